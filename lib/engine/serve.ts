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
  SERVE_RUN_BYTES_MAX,
  SERVES_UNDER_WAY_MAX
} from '../limits.ts'
import { depth, endBlock, firstBlock } from '../primitives/flat-tree.ts'
import type { Cancel, NoData, Request } from '../wire/message.ts'
import { messageCount, type RequestRun, runOfRequest, sliceRequests } from '../wire/run.ts'
import { gave, tellWanted } from './announce.ts'
import type { Input } from './input.ts'
import { closePeer, send, wake } from './output.ts'
import type { Queued } from './serve-queue.ts'
import type { Channel, PeerState, World } from './state.ts'

/**
 * noData reasons; 0 says nothing and is not counted against us by a hypercore peer. A block that is not held any more was
 * taken back by a drop before: a hypercore does not ask for it again, but of blocks that it was told are not available it
 * takes 32, in all the time of a connection.
 */
const NO_REASON = 0
const INVALID = 2

/** Expected bytes of an answer without a block. */
const PROOF_BYTES = 512

/** Queues a request for its answer, or says at once that there will be none. */
export function onRequest(world: World, channel: Channel, request: Request): void {
  const run = runOfRequest(request)
  if (run !== null) {
    onRequests(world, channel, run)
    return
  }
  const reason = refusal(channel, request)
  if (reason === null) enqueue(world, channel, request)
  else refuse(world, channel, request.id, 1, reason)
}

/** As {@link onRequest}, for bare values. */
export function onRequests(world: World, channel: Channel, run: RequestRun): void {
  const { feed, peer } = channel
  const { view, have } = feed
  const { id, index, count } = run
  if (isClosedTo(channel, run.fork)) {
    refuse(world, channel, id, count, NO_REASON)
    return
  }
  const end = Math.min(index + count, view.length)
  const room = index + Math.max(0, SERVE_QUEUE_MAX - peer.queue.count)
  const last = Math.min(end, room)
  for (let at = index; at < last;) {
    const held = have.get(at)
    const next = held ? have.firstUnset(at) : have.firstSet(at, last)
    const to = next === -1 ? last : Math.min(next, last)
    if (held) enqueue(world, channel, sliceRequests(run, at - index, to - index))
    else refuse(world, channel, id + at - index, to - at, NO_REASON)
    at = to
  }
  if (last < end) refuse(world, channel, id + last - index, end - last, NO_REASON)
  if (end < index + count) {
    const beyond = Math.max(0, end - index)
    refuse(world, channel, id + beyond, count - beyond, INVALID)
  }
}

function enqueue(world: World, { peer, feed }: Channel, item: Queued): void {
  peer.queue.add(feed, item)
  world.dirtyPeers.add(peer)
}

/** Says that requests are not answered. */
function refuse(world: World, channel: Channel, id: number, count: number, reason: number): void {
  const messages: NoData[] = []
  for (let i = 0; i < count; i++) messages.push({ type: 'no-data', request: id + i, reason })
  send(world, channel, messages)
  if (reason !== INVALID) return
  const { peer, feed } = channel
  peer.invalidRequests += count
  if (peer.invalidRequests <= INVALID_REQUESTS_MAX) return
  closePeer(world, peer, feed, 'BAD_MESSAGE', 'too many invalid requests')
}

/** True if nothing of a fork is given to this peer now. */
function isClosedTo(channel: Channel, fork: number): boolean {
  const { view } = channel.feed
  // Asked with the open, before our length could be known.
  return !channel.mayUpload || fork !== view.fork || view.length === 0
}

/** Why a request for more than a bare value is not answered, or null. */
function refusal(channel: Channel, request: Request): number | null {
  const { feed, peer } = channel
  const { view } = feed
  if (isClosedTo(channel, request.fork) || peer.queue.count >= SERVE_QUEUE_MAX) return NO_REASON
  const { block, hash, seek, upgrade } = request
  if (upgrade !== null && upgrade.start + upgrade.length > view.length) return INVALID
  if (upgrade !== null && upgrade.length === 0) return INVALID
  if (block !== null) {
    if (block.index >= view.length || block.nodes > 64) return INVALID
    if (!feed.have.get(block.index)) return NO_REASON
  }
  if (hash !== null) {
    if (depth(hash.index) > 50 || endBlock(hash.index) > view.length || hash.nodes > 64)
      return INVALID
    if (firstBlock(hash.index) >= view.length) return INVALID
  }
  // With an upgrade it is for what may come: who has less answers with the upgrade alone.
  if (seek !== null && upgrade === null && seek.bytes > view.byteLength) return INVALID
  return null
}

/** Refuses the requests for a fork that is over, which still wait for their answer. */
export function refuseStale(world: World, channel: Channel): void {
  const { peer, feed } = channel
  for (const item of peer.queue.remove(feed)) {
    if (item.fork === feed.view.fork) peer.queue.add(feed, item)
    else refuse(world, channel, item.id, messageCount(item), NO_REASON)
  }
}

/** Puts the requests that wait where they belong, once the priority of their feed is another. */
export function requeue(channel: Channel): void {
  const { peer, feed } = channel
  for (const item of peer.queue.remove(feed)) peer.queue.add(feed, item)
}

/** Forgets what a channel that is gone asked for. */
export function forgetQueue({ peer, feed }: Channel): void {
  peer.queue.remove(feed)
}

/**
 * Takes a request back that was not answered yet, together with all others of this step: each look for one goes through
 * all that wait.
 */
export function onCancel(world: World, channel: Channel, { request }: Cancel): void {
  const ids = world.cancels.get(channel)
  if (ids === undefined) world.cancels.set(channel, new Set([request]))
  else ids.add(request)
}

/** Carries out what {@link onCancel} noted. */
export function cancelQueued(world: World): void {
  for (const [{ peer, feed }, ids] of world.cancels) peer.queue.cancel(feed, ids)
  world.cancels.clear()
}

/** Gives a peer the next of what it asked for; false if that is nothing or there is no room. */
export function serve(world: World, peer: PeerState): boolean {
  if (peer.closing || peer.outboxBytes > OUTBOX_BYTES_MAX) return false
  const isLimited = peer.upload.isLimited || world.upload.isLimited
  // How much an answer takes of a rate is known only once it was read.
  const isFree = peer.serving < (isLimited ? 1 : SERVES_UNDER_WAY_MAX)
  if (peer.wanting.size === 0 && (peer.queue.count === 0 || !isFree)) return false
  const delay = Math.max(peer.upload.delay(world.now), world.upload.delay(world.now))
  if (delay > 0) {
    wake(world, world.now + delay)
    return false
  }
  if (peer.wanting.size > 0) {
    charge(world, peer, tellWanted(world, peer))
    return true
  }
  const bytes = Math.min(SERVE_RUN_BYTES_MAX, peer.upload.share, world.upload.share)
  const next = peer.queue.next((feed, queue) => takeSome(queue, bytes, feed.blockBytes))
  if (next === null) return false
  const [feed, requests] = next
  let expected = 0
  for (const item of requests) expected += bytesOf(item, feed.blockBytes)
  charge(world, peer, expected)
  peer.serving++
  // Whatever has meanwhile become stale is refused by the shell as it cannot be read.
  world.effects.push({
    type: 'serve',
    peer: peer.id,
    feed: feed.id,
    fork: feed.view.fork,
    requests,
    expected,
    most: isLimited ? bytes : OUTBOX_BYTES_MAX
  })
  return true
}

function charge(world: World, peer: PeerState, bytes: number): void {
  peer.upload.take(bytes, world.now)
  world.upload.take(bytes, world.now)
}

/** Takes requests for about `bytes` of answers, and at least one, from the front of a queue. */
function takeSome(queue: Queued[], bytes: number, blockBytes: number): Queued[] {
  let room = bytes
  let most = SERVE_RUN_BLOCKS_MAX
  const some: Queued[] = []
  let taken = 0
  for (const item of queue) {
    const least = some.length === 0 ? 1 : 0
    const each = bytesOf(item, blockBytes) / messageCount(item)
    const fits = Math.max(least, Math.min(most, Math.floor(room / Math.max(each, 1))))
    if (fits === 0) break
    if (item.type === 'requests' && item.count > fits) {
      some.push(sliceRequests(item, 0, fits))
      queue[taken] = sliceRequests(item, fits, item.count)
      break
    }
    some.push(item)
    room -= each * messageCount(item)
    most -= messageCount(item)
    taken++
  }
  queue.splice(0, taken)
  return some
}

/** Expected bytes of the answers. */
function bytesOf(item: Queued, blockBytes: number): number {
  if (item.type === 'requests') return item.count * blockBytes
  return item.block === null ? PROOF_BYTES : blockBytes
}

/** Takes in that requests were answered. */
export function onServed(world: World, input: Extract<Input, { type: 'served' }>): void {
  const peer = world.peers.get(input.peer)
  const more = input.bytes - input.expected
  world.upload.take(more, world.now)
  if (peer === undefined) return
  peer.upload.take(more, world.now)
  peer.serving--
  peer.sent.add(input.bytes)
  const channel = peer.channels.get(input.feed)
  if (channel !== undefined) {
    channel.uploadedBlocks += input.count
    channel.uploadedBytes += input.bytes
    if (input.count > 0) gave(world, channel)
    for (const item of input.rest) {
      if (item.type === 'requests') onRequests(world, channel, item)
      else onRequest(world, channel, item)
    }
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
