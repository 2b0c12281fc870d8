/**
 * The ledger of requests in flight: made, answered, given up.
 *
 * @module
 */
import type { BlockRequest, Cancel, Request } from '../wire/message.ts'
import type { RequestRun } from '../wire/run.ts'
import { MISSING, IN_FLIGHT } from './chunk.ts'
import { send } from './output.ts'
import { Meter } from './rate.ts'
import {
  LATE,
  OPEN,
  SETTLED,
  stir,
  wakeChannel,
  type AskedRun,
  type Channel,
  type FeedState,
  type InFlight,
  type PeerState,
  type RequestKind,
  type World
} from './state.ts'

/** What a new request asks for; parts that are left out are null. */
export interface Asked {
  readonly kind: RequestKind
  readonly index?: number
  readonly chunk?: number
  readonly node?: BlockRequest
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
    node: asked.node ?? null,
    fork: asked.fork,
    expectedBytes: asked.expectedBytes,
    proof,
    suspect: proof && channel.proofs === 'suspect',
    sentAt: world.now,
    late: false
  }
  peer.requests.set(id, inFlight)
  count(world, channel, 1, asked.expectedBytes)
  if (proof) channel.proofsInFlight++
  if (inFlight.suspect) peer.suspectAsked = true
  if (asked.kind === 'upgrade') channel.feed.upgrade = inFlight
  if (asked.kind === 'first') channel.feed.firsts++
  if (inFlight.node !== null) holdNode(channel.feed, inFlight)
  const { reorg } = channel.feed
  const { parts } = asked
  if (reorg !== null && (asked.kind === 'reorg' || asked.kind === 'ancestors')) reorg.request = id
  return {
    type: 'request',
    id,
    fork: asked.fork,
    block: parts.block ?? null,
    hash: parts.hash ?? null,
    seek: parts.seek ?? null,
    upgrade: parts.upgrade ?? null,
    manifest: parts.manifest ?? false,
    priority: parts.priority ?? 0
  }
}

/** As {@link ask}, for the bare values of consecutive blocks of a chunk. */
export function askRun(
  world: World,
  channel: Channel,
  asked: Pick<AskedRun, 'index' | 'count' | 'chunk' | 'fork' | 'expectedBytes'>,
  priority: number
): RequestRun {
  const { peer } = channel
  const { index, count: blocks, chunk, fork, expectedBytes } = asked
  const id = peer.nextRequest
  peer.nextRequest += blocks
  // Part by part: an object that is spread and then grows takes many times as long to make.
  const run: AskedRun = {
    id,
    index,
    count: blocks,
    channel,
    chunk,
    fork,
    expectedBytes,
    sentAt: world.now,
    states: new Uint8Array(blocks).fill(OPEN),
    open: blocks,
    unsettled: blocks
  }
  peer.runs.add(run)
  channel.runs.push(run)
  count(world, channel, blocks, blocks * expectedBytes)
  return { type: 'requests', id, fork, index, count: blocks, priority }
}

function count(world: World, channel: Channel, requests: number, bytes: number): void {
  const { peer } = channel
  if (peer.inFlight === 0) peer.window.begin(world.now)
  channel.asked += requests
  peer.inFlight += requests
  peer.inFlightBytes += bytes
  peer.download.take(bytes, world.now)
  world.download.take(bytes, world.now)
}

/** Bare values need no tree nodes, and a head from the start on only its roots. */
function isProof({ kind, parts }: Asked): boolean {
  if (kind === 'upgrade' || kind === 'reorg') return parts.upgrade?.start !== 0
  return kind !== 'conflict'
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
  channel.asked--
  if (!request.late) uncount(world, request)
  return request
}

/** The run that a request belongs to, or null. */
export function runOf(channel: Channel, id: number): AskedRun | null {
  const { runs } = channel
  const run = runs[placeOf(runs, id)]
  return run !== undefined && id < run.id + run.count ? run : null
}

/** Place of the last run that begins at `id` or before, or -1. */
function placeOf(runs: readonly AskedRun[], id: number): number {
  let low = 0
  let high = runs.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((runs[middle] as AskedRun).id <= id) low = middle + 1
    else high = middle
  }
  return low - 1
}

/** Takes an answered request of a run out of the ledger and returns the state that it was in. */
export function settleOne(world: World, run: AskedRun, at: number): number {
  const state = run.states[at] as number
  if (state === SETTLED) return state
  run.states[at] = SETTLED
  run.channel.asked--
  run.unsettled--
  if (state === OPEN) {
    run.open--
    uncountRun(world, run, 1)
  }
  if (run.unsettled === 0) dropRun(run)
  return state
}

/** As {@link settleOne} for `[from, to)`, if all of them wait for their answer; else does nothing and returns false. */
export function settleOpen(world: World, run: AskedRun, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (run.states[at] !== OPEN) return false
  const count = to - from
  run.states.fill(SETTLED, from, to)
  run.channel.asked -= count
  run.unsettled -= count
  run.open -= count
  uncountRun(world, run, count)
  if (run.unsettled === 0) dropRun(run)
  return true
}

function dropRun(run: AskedRun): void {
  const { peer, runs } = run.channel
  peer.runs.delete(run)
  runs.splice(placeOf(runs, run.id), 1)
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

function uncountRun(world: World, { channel: { peer }, expectedBytes }: AskedRun, n: number): void {
  peer.inFlight -= n
  peer.inFlightBytes -= n * expectedBytes
  world.dirtyPeers.add(peer)
}

/** Measures by answers of so many bytes what the remote is able to do. */
export function measure(
  world: World,
  request: { readonly channel: Channel; readonly sentAt: number },
  answers: number,
  byteLength: number
): void {
  const { channel } = request
  const { peer } = channel
  const took = world.now - request.sentAt
  peer.answerTime = peer.answerTime === 0 ? took : peer.answerTime + (took - peer.answerTime) / 8
  peer.timeouts = 0
  peer.received.add(byteLength)
  if (channel.received === null) {
    channel.received = new Meter(world.now)
    world.receiving.add(channel)
  }
  channel.received.add(byteLength)
  peer.window.answered(world.now, took, answers, byteLength)
}

/** Gives up what a request holds, so that it may be asked of another peer. */
export function release(world: World, request: InFlight): void {
  const { feed } = request.channel
  if (feed.upgrade === request) feed.upgrade = null
  if (request.kind === 'first') feed.firsts--
  if (request.node !== null) releaseNode(feed, request)
  if (follows(feed, request)) {
    feed.reorg = null
    world.effects.push({ type: 'reorg-drop', feed: feed.id })
  }
  const chunk = feed.chunks.get(request.chunk)
  if (chunk?.phase === 'rooting' && chunk.covers(request.index)) chunk.prover = -1
  releaseBlock(world, feed, request.chunk, request.index)
  stir(world, feed)
}

function holdNode(feed: FeedState, request: InFlight): void {
  const ask = request.node === null ? undefined : feed.nodes.get(request.node.index)
  if (ask === undefined) return
  feed.setNodeOpen(ask, false)
  ask.request = request
}

/** Lets a node be asked for again, unless another request for it is under way. */
function releaseNode(feed: FeedState, request: InFlight): void {
  const ask = request.node === null ? undefined : feed.nodes.get(request.node.index)
  if (ask === undefined || (ask.request !== null && ask.request !== request)) return
  ask.request = null
  feed.setNodeOpen(ask, true)
}

/** Gives up a block of a chunk that was asked for. The caller touches the feed. */
export function releaseBlock(world: World, feed: FeedState, id: number, index: number): void {
  const chunk = feed.chunks.get(id)
  if (chunk === undefined || !chunk.covers(index) || chunk.state(index) !== IN_FLIGHT) return
  chunk.mark(index, MISSING)
  // By now perhaps nobody offers it any more.
  world.unswept.add(feed)
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

/** As {@link cancel}, for the blocks of a run that meet a condition. */
export function cancelRun(world: World, run: AskedRun, which: (index: number) => boolean): void {
  const { feed } = run.channel
  const cancels: Cancel[] = []
  for (let i = 0; i < run.count && run.open > 0; i++) {
    if (run.states[i] !== OPEN || !which(run.index + i)) continue
    run.states[i] = LATE
    run.open--
    cancels.push({ type: 'cancel', request: run.id + i })
    releaseBlock(world, feed, run.chunk, run.index + i)
  }
  if (cancels.length === 0) return
  uncountRun(world, run, cancels.length)
  send(world, run.channel, cancels)
  stir(world, feed)
}

/** What {@link cancelAll} asks of a request or a run of them; `index` is the block, or -1. */
export type Condition = (index: number, request: InFlight | AskedRun) => boolean

/** Takes back the requests of a feed that meet a condition. */
export function cancelAll(world: World, feed: FeedState, which: Condition): void {
  for (const channel of feed.channels.values()) {
    if (channel.asked === 0) continue
    for (const request of [...channel.peer.requests.values()]) {
      if (request.channel === channel && which(request.index, request)) cancel(world, request)
    }
    for (const run of [...channel.runs]) cancelRun(world, run, (index) => which(index, run))
  }
}

/** Forgets all requests of a channel that is gone. */
export function forget(world: World, channel: Channel): void {
  if (channel.asked === 0) return
  const { peer, feed } = channel
  for (const [id, request] of peer.requests) {
    if (request.channel !== channel) continue
    peer.requests.delete(id)
    if (request.late) continue
    uncount(world, request)
    release(world, request)
  }
  for (const run of channel.runs.splice(0)) {
    peer.runs.delete(run)
    for (let i = 0; i < run.count; i++) {
      if (run.states[i] === OPEN) releaseBlock(world, feed, run.chunk, run.index + i)
    }
    uncountRun(world, run, run.open)
    stir(world, feed)
  }
  channel.asked = 0
}

/** Forgets what was given up before `sentBefore`. */
export function forgetLate(peer: PeerState, sentBefore: number): void {
  for (const [id, request] of peer.requests) {
    if (request.sentAt > sentBefore) break
    if (!request.late) continue
    peer.requests.delete(id)
    request.channel.asked--
  }
  for (const run of peer.runs) {
    if (run.sentAt > sentBefore) break
    if (run.open > 0) continue
    run.channel.asked -= run.unsettled
    dropRun(run)
  }
}
