import b4a from 'b4a'
import { rethrow } from '../feed/rethrow.ts'
import { prefixed } from '../wire/codec.ts'
import type { Peer } from './peer.ts'
import { decodeValue, encodeValue, type ValueEncoding } from './value-encoding.ts'

/** What an extension does with messages, and how it writes them. */
export interface ExtensionHandlers {
  /**
   * Called with each message and the peer that sent it. What the message is made of belongs to the handler. A
   * message that cannot be decoded is dropped.
   */
  // oxlint-disable-next-line typescript/no-explicit-any -- whatever the encoding gives
  readonly onmessage?: (message: any, peer: Peer) => void
  /** Default: bytes with their length before them, as hypercore's default is; `binary` is without. */
  readonly encoding?: ValueEncoding | null
}

/** A registered extension of one feed; messages go to peers that have the feed open. */
export interface FeedExtension {
  readonly name: string
  /** Sends to one peer; false if the feed is not open there. */
  send(message: unknown, peer: Peer): boolean
  /** Sends to all peers of the feed; returns to how many. */
  broadcast(message: unknown): number
  destroy(): void
}

/** The bytes of an extension message. */
export function encodeExtension(message: unknown, { encoding }: ExtensionHandlers): Uint8Array {
  if (encoding !== undefined && encoding !== null) return encodeValue(message, encoding)
  return encodeValue(typeof message === 'string' ? b4a.from(message) : message, prefixed)
}

/** Hands a received message to its handler. */
export function handleExtension(bytes: Uint8Array, peer: Peer, handlers: ExtensionHandlers): void {
  if (handlers.onmessage === undefined) return
  let message: unknown
  try {
    message = decodeValue(b4a.from(bytes), handlers.encoding ?? prefixed)
  } catch {
    // A stranger's bytes: hypercore would end the whole connection here.
    return
  }
  try {
    handlers.onmessage(message, peer)
  } catch (error) {
    rethrow(error)
  }
}
