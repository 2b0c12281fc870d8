/**
 * The ledger of requests in flight: made, answered, given up.
 *
 * @module
 */
import type { Request } from '../wire/message.ts'
import { MISSING, IN_FLIGHT } from './chunk.ts'
import { send } from './output.ts'
import {
  touch,
  wakeChannel,
  type Channel,
  type FeedState,
  type InFlight,
  type RequestKind,
  type World
} from './state.ts'

/** What a new request asks for; parts that are left out are null. */
export interface Asked {
  readonly kind: RequestKind
  readonly index?: number
  readonly chunk?: number
  readonly fork: number
  readonly expectedBytes: number
  readonly parts: Partial<Omit<Request, 'type' | 'id' | 'fork'>>
}

/** Enters a request into the ledger and returns its message; the caller sends it. */
export function ask(world: World, channel: Channel, asked: Asked): Request {
  const { peer } = channel
  const id = peer.nextRequest++
  const proof = isProof(asked)
  const inFlight: InFlight = {
    id,
    kind: asked.kind,
    channel,
    index: asked.index ?? -1,
    chunk: asked.chunk ?? -1,
    fork: asked.fork,
    expectedBytes: asked.expectedBytes,
    proof,
    suspect: proof && channel.proofs === 'suspect',
    sentAt: world.now,
    late: false
  }
  peer.requests.set(id, inFlight)
  peer.inFlight++
  peer.inFlightBytes += asked.expectedBytes
  peer.download.take(asked.expectedBytes, world.now)
  world.download.take(asked.expectedBytes, world.now)
  if (proof) channel.proofsInFlight++
  if (inFlight.suspect) peer.suspectAsked = true
  if (asked.kind === 'upgrade') channel.feed.upgrade = inFlight
  if (asked.kind === 'first') channel.feed.firsts++
  const { reorg } = channel.feed
  if (reorg !== null && (asked.kind === 'reorg' || asked.kind === 'ancestors')) reorg.request = id
  return {
    type: 'request',
    id,
    fork: asked.fork,
    block: null,
    hash: null,
    seek: null,
    upgrade: null,
    manifest: false,
    priority: 0,
    ...asked.parts
  }
}

/** Bare values need no tree nodes, and a head from the start on only its roots. */
function isProof({ kind, parts }: Asked): boolean {
  if (kind === 'upgrade' || kind === 'reorg') return parts.upgrade?.start !== 0
  return kind !== 'value' && kind !== 'conflict'
}

/** True if the remote may be asked for something that needs its tree nodes. */
export function mayAskProof(channel: Channel): boolean {
  if (channel.proofs === 'values-only') return false
  return channel.proofs === 'normal' || !channel.peer.suspectAsked
}

/** Takes an answered request out of the ledger. Null if nobody asked. */
export function settle(world: World, channel: Channel, id: number): InFlight | null {
  const { peer } = channel
  const request = peer.requests.get(id)
  if (request === undefined || request.channel !== channel) return null
  peer.requests.delete(id)
  if (!request.late) uncount(world, request)
  return request
}

function uncount(world: World, request: InFlight): void {
  const { channel } = request
  const { peer } = channel
  peer.inFlight--
  peer.inFlightBytes -= request.expectedBytes
  if (request.proof) channel.proofsInFlight--
  if (request.suspect) {
    peer.suspectAsked = false
    for (const other of peer.channels.values()) {
      if (other.proofs === 'suspect') wakeChannel(world, other)
    }
  }
  world.dirtyPeers.add(peer)
}

/** Measures the time that an answer took. */
export function measure(world: World, request: InFlight): void {
  const { peer } = request.channel
  const took = world.now - request.sentAt
  peer.roundTrip = peer.roundTrip === 0 ? took : Math.min(peer.roundTrip, took)
  peer.answerTime = peer.answerTime === 0 ? took : peer.answerTime + (took - peer.answerTime) / 8
  peer.timeouts = 0
  peer.answers.add(1)
}

/** Gives up what a request holds, so that it may be asked of another peer. */
export function release(world: World, request: InFlight): void {
  const { feed } = request.channel
  if (feed.upgrade === request) feed.upgrade = null
  if (request.kind === 'first') feed.firsts--
  if (follows(feed, request)) {
    feed.reorg = null
    world.effects.push({ type: 'reorg-drop', feed: feed.id })
  }
  const chunk = feed.chunks.get(request.chunk)
  if (chunk !== undefined && chunk.covers(request.index)) {
    if (chunk.state(request.index) === IN_FLIGHT) {
      chunk.mark(request.index, MISSING)
      // By now perhaps nobody offers it any more.
      world.unswept.add(feed)
    }
    if (chunk.phase === 'rooting') chunk.rooted = false
  }
  touch(world, feed)
}

/** True if a request belongs to the fork that is being taken over. */
export function follows({ reorg }: FeedState, request: InFlight): boolean {
  if (request.kind !== 'reorg' && request.kind !== 'ancestors') return false
  return reorg !== null && reorg.peer === request.channel.peer.id && reorg.request === request.id
}

/** Takes one request back, by a cancel; an answer that is under way is still welcome. */
export function cancel(world: World, request: InFlight): void {
  if (request.late) return
  request.late = true
  uncount(world, request)
  send(world, request.channel, [{ type: 'cancel', request: request.id }])
  release(world, request)
}

/** Takes back the requests of a feed that meet a condition. */
export function cancelAll(
  world: World,
  feed: FeedState,
  which: (request: InFlight) => boolean
): void {
  for (const channel of feed.channels.values()) {
    for (const request of [...channel.peer.requests.values()]) {
      if (request.channel === channel && which(request)) cancel(world, request)
    }
  }
}

/** Forgets all requests of a channel that is gone. */
export function forget(world: World, channel: Channel): void {
  for (const [id, request] of channel.peer.requests) {
    if (request.channel !== channel) continue
    channel.peer.requests.delete(id)
    if (request.late) continue
    uncount(world, request)
    release(world, request)
  }
}
