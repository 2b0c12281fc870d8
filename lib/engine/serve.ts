/**
 * Answering requests: fair across feeds, bounded, within the upload rate.
 *
 * @module
 */
import {
  INVALID_REQUESTS_MAX,
  OUTBOX_BYTES_MAX,
  SERVE_QUEUE_MAX,
  SERVE_RUN_BLOCKS_MAX,
  SERVES_UNDER_WAY_MAX
} from '../limits.ts'
import { depth, endBlock, firstBlock } from '../primitives/flat-tree.ts'
import type { Cancel, Request } from '../wire/message.ts'
import { gave } from './announce.ts'
import type { Input } from './input.ts'
import { closePeer, send, wake } from './output.ts'
import type { Channel, PeerState, World } from './state.ts'

/** noData reasons; 0 says nothing and is not counted against us by a hypercore peer. */
const NO_REASON = 0
const NOT_AVAILABLE = 1
const INVALID = 2

/** Queues a request for its answer, or says at once that there will be none. */
export function onRequest(world: World, channel: Channel, request: Request): void {
  const { peer, feed } = channel
  const reason = refusal(channel, request)
  if (reason === null) {
    let queue = peer.queue.get(feed.id)
    if (queue === undefined) peer.queue.set(feed.id, (queue = []))
    if (request.priority > 0) queue.unshift(request)
    else queue.push(request)
    peer.queued++
    world.dirtyPeers.add(peer)
    return
  }
  send(world, channel, [{ type: 'no-data', request: request.id, reason }])
  if (reason === INVALID && ++peer.invalidRequests > INVALID_REQUESTS_MAX) {
    closePeer(world, peer, feed, 'BAD_MESSAGE', 'too many invalid requests')
  }
}

/** Why a request is not answered, or null. */
function refusal(channel: Channel, request: Request): number | null {
  const { feed, peer } = channel
  const { view } = feed
  if (!channel.mayUpload || peer.queued >= SERVE_QUEUE_MAX) return NO_REASON
  if (request.fork !== view.fork) return NO_REASON
  // Asked with the open, before our length could be known.
  if (view.length === 0) return NO_REASON
  const { block, hash, seek, upgrade } = request
  if (upgrade !== null && upgrade.start + upgrade.length > view.length) return INVALID
  if (upgrade !== null && upgrade.length === 0) return INVALID
  if (block !== null) {
    if (block.index >= view.length || block.nodes > 64) return INVALID
    if (!feed.have.get(block.index)) return NOT_AVAILABLE
  }
  if (hash !== null) {
    if (depth(hash.index) > 50 || endBlock(hash.index) > view.length || hash.nodes > 64)
      return INVALID
    if (firstBlock(hash.index) >= view.length) return INVALID
  }
  if (seek !== null && seek.bytes > view.byteLength) return INVALID
  return null
}

/** Refuses the requests for a fork that is over, which still wait for their answer. */
export function refuseStale(world: World, channel: Channel): void {
  const { peer, feed } = channel
  const queue = peer.queue.get(feed.id) ?? []
  const kept = queue.filter((request) => request.fork === feed.view.fork)
  if (kept.length === queue.length) return
  peer.queued -= queue.length - kept.length
  if (kept.length > 0) peer.queue.set(feed.id, kept)
  else peer.queue.delete(feed.id)
  const refused = queue.filter((request) => request.fork !== feed.view.fork)
  send(
    world,
    channel,
    refused.map(({ id }) => ({ type: 'no-data', request: id, reason: NO_REASON }) as const)
  )
}

/** Takes a request back that was not answered yet. */
export function onCancel(channel: Channel, cancel: Cancel): void {
  const { peer, feed } = channel
  const queue = peer.queue.get(feed.id)
  const at = queue?.findIndex((request) => request.id === cancel.request) ?? -1
  if (queue === undefined || at === -1) return
  queue.splice(at, 1)
  peer.queued--
  if (queue.length === 0) peer.queue.delete(feed.id)
}

/** Has the next requests of a peer answered; false if there are none or there is no room. */
export function serve(world: World, peer: PeerState): boolean {
  if (peer.closing || peer.queued === 0 || peer.serving >= SERVES_UNDER_WAY_MAX) return false
  if (peer.outboxBytes > OUTBOX_BYTES_MAX) return false
  const delay = Math.max(peer.upload.delay(world.now), world.upload.delay(world.now))
  if (delay > 0) {
    wake(world, world.now + delay)
    return false
  }
  const [id, queue] = nextQueue(world, peer)
  const feed = world.feeds.get(id)
  const requests = queue.splice(
    0,
    feed === undefined ? queue.length : runLength(queue, feed.blockBytes)
  )
  peer.queued -= requests.length
  // Taking turns: the feed goes to the end of the map.
  peer.queue.delete(id)
  if (queue.length > 0) peer.queue.set(id, queue)
  if (feed === undefined) return true
  const bytes = requests.length * feed.blockBytes
  peer.upload.take(bytes, world.now)
  world.upload.take(bytes, world.now)
  peer.serving++
  // Whatever has meanwhile become stale is refused by the shell as it cannot be read.
  world.effects.push({
    type: 'serve',
    peer: peer.id,
    feed: id,
    fork: feed.view.fork,
    requests
  })
  return true
}

function nextQueue(world: World, peer: PeerState): [number, Request[]] {
  let best: [number, Request[]] | null = null
  let priority = -Infinity
  for (const [id, queue] of peer.queue) {
    const own = (queue[0] as Request).priority > 0 ? Infinity : (world.feeds.get(id)?.priority ?? 0)
    if (best !== null && own <= priority) continue
    best = [id, queue]
    priority = own
    if (own === Infinity) break
  }
  return best as [number, Request[]]
}

/** How many requests from the front are answered together: a run of bare values, or one proof. */
function runLength(queue: readonly Request[], blockBytes: number): number {
  // All of a run is in memory at once.
  const most = Math.min(SERVE_RUN_BLOCKS_MAX, OUTBOX_BYTES_MAX / Math.max(blockBytes, 1))
  let count = 0
  while (count < queue.length && count < most && isBare(queue[count] as Request)) count++
  return Math.max(count, 1)
}

/** True if only the bare value of a block is asked for: no proof, no tree node. */
export function isBare(request: Request): boolean {
  return (
    request.block !== null &&
    request.block.nodes === 0 &&
    request.hash === null &&
    request.seek === null &&
    request.upgrade === null &&
    !request.manifest
  )
}

/** Takes in that requests were answered. */
export function onServed(world: World, input: Extract<Input, { type: 'served' }>): void {
  const peer = world.peers.get(input.peer)
  if (peer === undefined) return
  peer.serving--
  peer.sent.add(input.bytes)
  const channel = peer.channels.get(input.feed)
  if (channel !== undefined) {
    channel.uploadedBlocks += input.count
    channel.uploadedBytes += input.bytes
    if (input.count > 0) gave(world, channel)
    if (input.failure !== null) {
      world.effects.push({
        type: 'tell',
        event: 'feed-error',
        feed: input.feed,
        code: input.failure.code,
        message: input.failure.message
      })
    }
  }
  world.dirtyPeers.add(peer)
}
