/**
 * What the index of a drive says of a file or link: JSON, in Hyperdrive's shape.
 *
 * @module
 */
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import { ENTRY_BYTES_MAX } from '../limits.ts'

/** Where the bytes of a file are in the blobs feed. */
export interface BlobRange {
  readonly blockOffset: number
  readonly blockLength: number
  readonly byteOffset: number
  readonly byteLength: number
  /** True if the blocks are a map to those of the file; `byteLength` is the map's then. Never written by us. */
  readonly blockMap?: true
}

/** True if both are the same blocks and bytes, and mean the same file. */
export function sameRange(a: BlobRange, b: BlobRange): boolean {
  return (
    a.blockOffset === b.blockOffset &&
    a.blockLength === b.blockLength &&
    a.byteOffset === b.byteOffset &&
    a.byteLength === b.byteLength &&
    a.blockMap === b.blockMap
  )
}

/** A file or link of a drive. */
export interface Entry {
  /** True if its owner may execute it. */
  readonly executable: boolean
  /** Target of a link as its writer gave it: relative, absolute, or leading anywhere. Null for a file. */
  readonly linkname: string | null
  /** Content of a file; null for a link. */
  readonly blob: BlobRange | null
  /** What an application keeps with it: JSON, or null. Ours is read with {@link readMetadata}. */
  readonly metadata: unknown
}

/** What syncline keeps in the metadata of an entry. */
export interface EntryMetadata {
  /** Milliseconds since 1970, may have a fraction; null if unknown. */
  readonly mtimeMs: number | null
  /** Permission bits, 0 to 0o777; null if unknown. */
  readonly mode: number | null
}

/** Furthest time that a Date can tell, in ms. */
const TIME_MS_MAX = 8.64e15

/** The bytes of an entry. */
export function encodeEntry({ executable, linkname, blob, metadata }: Entry): Uint8Array {
  // Others compare entries as text: the members stand in Hyperdrive's order.
  return b4a.from(
    JSON.stringify({
      executable,
      linkname,
      blob: blob && {
        blockOffset: blob.blockOffset,
        byteOffset: blob.byteOffset,
        blockLength: blob.blockLength,
        byteLength: blob.byteLength,
        ...(blob.blockMap === true ? { blockMap: true } : {})
      },
      metadata: metadata ?? null
    })
  )
}

/**
 * Reads an entry. Whether its blob lies within the blobs feed is for the caller to see.
 *
 * @throws SynclineError BAD_MESSAGE when it is none; TOO_MANY when it is too large to be one.
 */
export function decodeEntry(bytes: Uint8Array | null): Entry {
  if (bytes === null) throw bad('it has no value')
  if (bytes.byteLength > ENTRY_BYTES_MAX) {
    throw new SynclineError('TOO_MANY', `an entry of ${bytes.byteLength} bytes is too large`)
  }
  const value = parse(bytes)
  const { executable = false, linkname = null, blob = null, metadata = null } = value
  if (typeof executable !== 'boolean') throw bad('"executable" is not true or false')
  if (linkname !== null && typeof linkname !== 'string') throw bad('"linkname" is no text')
  return { executable, linkname, blob: blob === null ? null : readBlob(blob), metadata }
}

/** What is known of a file's time and mode; foreign shapes of metadata tell nothing. */
export function readMetadata(metadata: unknown): EntryMetadata {
  if (!isRecord(metadata)) return { mtimeMs: null, mode: null }
  const { mtime, mode } = metadata
  const timed = typeof mtime === 'number' && Math.abs(mtime) <= TIME_MS_MAX
  const moded = typeof mode === 'number' && Number.isInteger(mode) && mode >= 0 && mode <= 0o177777
  return { mtimeMs: timed ? mtime : null, mode: moded ? mode & 0o777 : null }
}

/** The metadata that {@link readMetadata} reads; null if nothing is known. */
export function writeMetadata({ mtimeMs, mode }: EntryMetadata): Record<string, number> | null {
  if (mtimeMs === null && mode === null) return null
  return {
    ...(mtimeMs === null ? {} : { mtime: mtimeMs }),
    ...(mode === null ? {} : { mode: mode & 0o777 })
  }
}

function readBlob(value: unknown): BlobRange {
  if (!isRecord(value)) throw bad('"blob" is no object')
  const { blockOffset, blockLength, byteOffset, byteLength, blockMap = false } = value
  if (!isCount(blockOffset) || !isCount(blockLength) || !isCount(byteOffset)) {
    throw bad('"blob" has numbers that are no counts')
  }
  if (!isCount(byteLength) || typeof blockMap !== 'boolean') {
    throw bad('"blob" has members of a wrong type')
  }
  const ends = isCount(blockOffset + blockLength) && isCount(byteOffset + byteLength)
  if (!ends || (blockLength === 0 && byteLength > 0)) throw bad('"blob" is an impossible range')
  const range = { blockOffset, blockLength, byteOffset, byteLength }
  return blockMap ? { ...range, blockMap } : range
}

function parse(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(b4a.toString(bytes, 'utf-8'))
  } catch (error) {
    throw new SynclineError('BAD_MESSAGE', 'an entry is no JSON', {}, error)
  }
  if (!isRecord(value)) throw bad('it is no object')
  return value
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function bad(why: string): SynclineError {
  return new SynclineError('BAD_MESSAGE', `an entry of the drive is not valid: ${why}`)
}
