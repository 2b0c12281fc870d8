/**
 * One connection as the event loop sees it: whole messages pass to and from it.
 *
 * The loop sends `send` and `terminate` one way; `received` items, the last of which is
 * `disconnected`, come the other way. `connection.ts` implements it over protomux, the simulator in memory.
 *
 * @module
 */
import type { SynclineError } from '../errors.ts'
import type { Message } from '../wire/message.ts'
import type { RequestRun, ValueRun } from '../wire/run.ts'
import type { Outgoing } from './frame.ts'

/** What came from a connection. `channel` is the number that {@link Link.open} gave. */
export type Received =
  /** The remote speaks of a feed that is not open here yet; answer with `open` or `reject`. */
  | { readonly type: 'wanted'; readonly discoveryKey: Uint8Array }
  /** Both sides opened and the remote's capability was verified. */
  | { readonly type: 'channel-open'; readonly channel: number }
  /** A message, none that a run could stand for; its byte fields are views that are valid until `receive` is called again. */
  | { readonly type: 'message'; readonly channel: number; readonly message: Message }
  /** Bare values, as answers, or requests for them; the bytes are lent as those of a message. */
  | { readonly type: 'values'; readonly channel: number; readonly run: ValueRun }
  | { readonly type: 'requests'; readonly channel: number; readonly run: RequestRun }
  /** The remote is one that reads requests in runs. */
  | { readonly type: 'reads-runs' }
  /** The remote closed, or rejected, the channel. */
  | { readonly type: 'channel-close'; readonly channel: number }
  /** The connection is gone; nothing follows. Null for an orderly end. */
  | { readonly type: 'disconnected'; readonly error: SynclineError | null }

/** See the module comment. */
export interface Link {
  /** For people: address and, where known, public key of the remote. */
  readonly name: string
  /** 32 bytes, or null if unknown. */
  readonly remotePublicKey: Uint8Array | null
  /** True if this side began the connection. */
  readonly initiator: boolean

  /**
   * Takes up to `limit` items that have arrived, in order. While items wait, reading from the stream is
   * bounded (INBOX_MESSAGES_MAX, INBOX_BYTES_MAX) and then paused; taking them resumes it.
   */
  receive(limit: number): Received[]
  /** Called once items wait after none did. Set by the loop. */
  onreadable: () => void

  /**
   * Opens the channel of a feed and sends our capability; messages may be sent at once.
   * Returns a number that is never used again on this link, or -1 if something else on this connection
   * already replicates that feed (then nothing is touched), or CHANNELS_MAX is reached.
   */
  open(feed: { readonly key: Uint8Array; readonly discoveryKey: Uint8Array }): number
  /** Closes a channel. Messages sent before still go out. */
  close(channel: number): void
  /** Says that no feed of that discovery key will be opened. */
  reject(discoveryKey: Uint8Array): void
  /**
   * Lets the remote open the feed first (`wanted`) where we are not told of everything that it opens: on a stream of the
   * user's, whose Corestore answers for feeds that nobody watches. Elsewhere nothing needs to be watched.
   */
  watch(discoveryKey: Uint8Array): void
  /** Takes {@link Link.watch} back. */
  unwatch(discoveryKey: Uint8Array): void
  /**
   * Queues messages of one channel, kept together in few frames. The byte fields of messages are
   * encoded before the call returns, so the caller may reuse them.
   * @returns bytes that were queued for it.
   */
  send(channel: number, messages: readonly Outgoing[]): number
  /** Bytes queued and not yet taken by the stream; the loop stops answering above OUTBOX_BYTES_MAX. */
  readonly outboxBytes: number
  /** Called when `outboxBytes` falls to zero after it was not. Set by the loop. */
  ondrain: () => void
  /** Bytes received on the raw stream so far, whole frames or not: the measure of liveness. */
  bytesReceived(): number
  /** Bytes handed to the stream so far. */
  bytesSent(): number
  /** Stops or continues reading: flow control of the loop on top of the bounded queue. */
  pause(paused: boolean): void
  /** Ends the connection: orderly without an error, at once with one. `disconnected` follows. */
  terminate(error: SynclineError | null): void
}
