import type { Peer } from './peer.ts'

/** What an extension does with messages. */
export interface ExtensionHandlers {
  /** Called with each message and the peer that sent it. The bytes belong to the handler. */
  readonly onmessage?: (message: Uint8Array, peer: Peer) => void
}

/** A registered extension of one feed; messages go to peers that have the feed open. */
export interface FeedExtension {
  readonly name: string
  /** Sends to one peer; false if the feed is not open there. */
  send(message: Uint8Array, peer: Peer): boolean
  /** Sends to all peers of the feed; returns to how many. */
  broadcast(message: Uint8Array): number
  destroy(): void
}
