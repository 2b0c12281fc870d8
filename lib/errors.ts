/** Every code a {@link SynclineError} can carry. Codes are API: they are only ever added. */
export type ErrorCode =
  | 'BAD_ARGUMENT' // A caller passed a value that the documentation excludes.
  | 'BAD_CAPABILITY' // A peer opened a feed without proving that it knows the key.
  | 'BAD_KEY' // A key, or what was given as one, cannot be read.
  | 'BAD_MESSAGE' // A peer sent bytes that are no message, or a message that breaks the protocol.
  | 'BLOCK_NOT_AVAILABLE' // A block is not stored here, and nobody was asked or nobody had it.
  | 'BROKEN_INVARIANT' // A bug of syncline's own.
  | 'CONFLICT' // Two valid signatures for different content at one length: the feed is frozen.
  | 'CONNECTION_FAILED' // A transport could not connect, or lost its connection.
  | 'DISK_FULL' // The storage has no room left.
  | 'DUPLICATE_OPEN' // A peer opened the same feed twice on one connection.
  | 'ENCRYPTED' // The feed is encrypted and no or the wrong encryption key was given.
  | 'FEED_DAMAGED' // Stored files of a feed contradict each other or their checksums.
  | 'FEED_EXISTS' // A feed of that name or key is stored already.
  | 'FEED_FROZEN' // The feed is frozen after a conflict.
  | 'FEED_LOCKED' // Another process writes this feed; the message names its pid.
  | 'FEED_NOT_FOUND' // No feed of that name or key is stored here.
  | 'FOLDER_MISSING' // A folder that should hold files is not there; nothing is concluded from that.
  | 'FILE_NOT_FOUND' // The drive has no file of that name.
  | 'INVALID_CHECKSUM' // A block or tree node does not hash to what is trusted.
  | 'INVALID_MANIFEST' // A manifest does not match the key, or breaks its own rules.
  | 'INVALID_OPERATION' // The feed cannot do this in its state, or a proof cannot be built from it.
  | 'INVALID_PROOF' // A proof has the wrong nodes or shape.
  | 'INVALID_SIGNATURE' // A signature does not verify.
  | 'NOT_WRITABLE' // The secret key of the feed is not here.
  | 'PEER_TIMEOUT' // A peer stayed silent or too slow for too long.
  | 'REFUSED' // An action was held back because it could destroy something.
  | 'SESSION_CLOSED' // The feed, synchronizer or connection is closed.
  | 'STORAGE_FAILED' // The storage refused to read or write; the cause tells why.
  | 'STORE_IS_V11' // The folder belongs to hypercore 11; hand over the live instance instead.
  | 'TIMEOUT' // The time that the caller allowed has passed.
  | 'TOO_MANY' // A bound of limits.ts was exceeded.
  | 'UNSUPPORTED' // The platform or the given object cannot do this.

/** Where an error happened; only what is known. */
export interface ErrorDetails {
  /** Discovery key of the feed, hexadecimal. */
  readonly feed?: string
  /** Block index. */
  readonly index?: number
  /** Flat tree index. */
  readonly node?: number
  /** Name or address of the peer. */
  readonly peer?: string
  /** Path of the file or folder. */
  readonly path?: string
  /** Process id that is in the way. */
  readonly pid?: number
}

/**
 * The one error class. `code` says what happened, `details` where, `cause` what lay beneath.
 *
 * The message starts with the code, so a bare log line is searchable.
 */
export class SynclineError extends Error {
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(`${code}: ${message}`, cause === undefined ? undefined : { cause })
    this.name = 'SynclineError'
    this.code = code
    this.details = details
  }
}

/** Tells whether `error` is a {@link SynclineError} with one of `codes` (any code if none is given). */
export function isSynclineError(error: unknown, ...codes: ErrorCode[]): error is SynclineError {
  return error instanceof SynclineError && (codes.length === 0 || codes.includes(error.code))
}
