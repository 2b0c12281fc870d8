/**
 * The effects that several parts of the engine make.
 *
 * @module
 */
import type { ErrorCode } from '../errors.ts'
import type { Message } from '../wire/message.ts'
import type { RequestRun } from '../wire/run.ts'
import type { Channel, FeedState, PeerState, World } from './state.ts'

/** Sends messages that belong together, if there are any and the peer is not being closed. */
export function send(
  world: World,
  channel: Channel,
  messages: readonly (Message | RequestRun)[]
): void {
  if (messages.length === 0 || channel.peer.closing) return
  world.effects.push({ type: 'send', peer: channel.peer.id, feed: channel.feed.id, messages })
}

/** Closes a peer for its own fault; what follows of it is ignored. */
export function closePeer(
  world: World,
  peer: PeerState,
  feed: FeedState | null,
  code: ErrorCode,
  message: string
): void {
  if (peer.closing) return
  peer.closing = true
  world.effects.push({
    type: 'close-peer',
    peer: peer.id,
    code,
    message,
    feed: feed === null ? -1 : feed.id
  })
}

/** Asks to be called at `at` at the latest. */
export function wake(world: World, at: number): void {
  world.wakeAt = Math.min(world.wakeAt, at)
}
