/**
 * Choosing what to ask of whom, and taking the answers in.
 *
 * @module
 */
import type { ErrorCode } from '../errors.ts'
import { BLOCK_BYTES_MAX, NO_DATA_REST_MS } from '../limits.ts'
import type { Data, NoData } from '../wire/message.ts'
import { dataOfRun, runOfData, type ValueRun } from '../wire/run.ts'
import { Batch, expected } from './batch.ts'
import { type Chunk, HELD, MISSING } from './chunk.ts'
import {
  advance,
  blame,
  canProve,
  dropOrphans,
  openChunk,
  proofFor,
  removeChunk,
  roomFor,
  takeRoot,
  trustPath,
  trustWholePath
} from './chunks.ts'
import type { Input } from './input.ts'
import { doubt, isHead } from './claim.ts'
import { askNodes, dropNodes, onNode, refuseNode } from './nodes.ts'
import { closePeer, wake } from './output.ts'
import {
  cancelAll,
  follows,
  mayAskProof,
  measure,
  release,
  releaseBlock,
  runOf,
  settle,
  settleOne,
  settleOpen
} from './request.ts'
import {
  LATE,
  OPEN,
  rest,
  SETTLED,
  stir,
  touch,
  type AskedRun,
  type Channel,
  type FeedState,
  type InFlight,
  type PeerState,
  type World
} from './state.ts'
import { clearOf } from './suspicion.ts'
import { accuse, askReorg, askUpgrade, onConflictProof } from './upgrade.ts'

/** Steps of a search for the next block before it is continued later. */
const SEARCH_STEPS = 1000
/** Times that nobody can bring a block forward before a search is continued later. */
const BARREN_MAX = 32

/** Asks a peer for more, one batch of one feed; false if there is nothing to ask or no room. */
export function pick(world: World, peer: PeerState): boolean {
  if (peer.closing || peer.hungry.size === 0 || !hasRoom(world, peer)) return false
  const channel = peer.nextHungry()
  if (channel === null || !mayRefill(peer, channel)) return false
  const asked = askNext(world, channel)
  // Taking turns: whoever was served goes to the end, whoever has nothing to ask leaves.
  peer.dropHungry(channel)
  if (asked) peer.feedHungry(channel)
  return true
}

/**
 * True if it is time to ask for more: on a fast line nobody asks for a few blocks at each answer, since every batch costs
 * both sides a call of the system. What somebody waits for, and new feeds, are asked for at once.
 */
function mayRefill(peer: PeerState, { feed, opened }: Channel): boolean {
  if (feed.urgent.size > 0 || !opened || feed.chunks.size === 0) return true
  const { inFlight, inFlightBytes, window } = peer
  peer.refills ||=
    inFlight <= window.refillShare * window.requests &&
    inFlightBytes <= window.refillShare * window.bytes
  return peer.refills
}

function hasRoom(world: World, peer: PeerState): boolean {
  if (peer.inFlight >= peer.window.requests || peer.inFlightBytes >= peer.window.bytes) {
    peer.refills = false
    return false
  }
  const delay = Math.max(peer.download.delay(world.now), world.download.delay(world.now))
  if (delay > 0) wake(world, world.now + delay)
  return delay === 0
}

function askNext(world: World, channel: Channel): boolean {
  if (!channel.mayDownload || !channel.opened) return false
  if (channel.restsUntil > world.now) return false
  if (askReorg(world, channel) || askUpgrade(world, channel)) return true
  if (!channel.usable) return false
  const batch = new Batch(world, channel)
  askUrgent(world, channel, batch)
  askNodes(channel, batch)
  const searched = openMore(world, channel)
  // Roots first: all other blocks of their chunks wait for them.
  for (const chunk of channel.feed.chunks.values()) {
    if (batch.full) break
    if (chunk.phase === 'rooting') askRoot(channel, chunk, batch)
  }
  for (const chunk of channel.feed.chunks.values()) {
    if (batch.full) break
    askBlocks(world, channel, chunk, batch)
  }
  return batch.flush() || !searched
}

/** Opens chunks until enough can be asked for; false if the search for more goes on in the next turn. */
function openMore(world: World, channel: Channel): boolean {
  const { feed, peer } = channel
  // The first block brings nodes that would be looked up in the store otherwise.
  if (feed.firsts > 0) return true
  for (let barren = 0; barren < BARREN_MAX;) {
    if (looksAhead(feed, peer)) return true
    const index = nextBlock(channel)
    if (index === -1) return channel.cursor === 0
    if (!roomFor(world, feed) && !dropOrphans(world)) {
      world.starved.add(channel)
      return true
    }
    const opened = openChunk(world, channel, index, false)
    if (typeof opened === 'number') {
      barren++
      channel.cursor = opened
    }
  }
  return false
}

/** Blocks somebody waits for: each with a proof of its own, so that it need not wait for its chunk. */
function askUrgent(world: World, channel: Channel, batch: Batch): void {
  const { feed } = channel
  for (const index of feed.urgent.keys()) {
    if (batch.full) return
    if (feed.have.get(index) || index >= feed.view.length || !channel.have.get(index)) continue
    const chunk = feed.chunkOf(index)
    if (chunk === null) {
      const opened = openChunk(world, channel, index, true)
      if (typeof opened !== 'number') askOpened(world, channel, opened, batch)
      continue
    }
    if (chunk.phase !== 'filling' || chunk.state(index) !== MISSING) continue
    const proof = mayAskProof(channel) ? proofFor(channel, index) : null
    if (proof !== null) batch.addProof(index, chunk, proof.nodes, 1)
  }
}

function askOpened(world: World, channel: Channel, chunk: Chunk, batch: Batch): void {
  if (chunk.phase === 'rooting') askRoot(channel, chunk, batch)
  else askBlocks(world, channel, chunk, batch)
}

/** Asks for one block of a chunk with the proof that makes its root trusted. */
function askRoot(channel: Channel, chunk: Chunk, batch: Batch): void {
  if (chunk.prover !== -1 || !mayAskProof(channel)) return
  const proof = canProve(channel, chunk)
  if (proof === null) return
  chunk.prover = channel.peer.id
  batch.addProof(proof.index, chunk, proof.nodes, chunk.urgent ? 1 : 0)
}

function askBlocks(world: World, channel: Channel, chunk: Chunk, batch: Batch): void {
  if (chunk.phase === 'filling') askValues(channel, chunk, batch)
  else if (chunk.phase === 'blame' && mayAskProof(channel)) askProofs(channel, chunk, batch)
  else return
  if (chunk.complete) advance(world, channel.feed, chunk)
}

function askValues(channel: Channel, chunk: Chunk, batch: Batch): void {
  const { start, end } = chunk
  for (let at = chunk.nextMissing(start); at !== -1 && !batch.full; at = chunk.nextMissing(at)) {
    if (!channel.have.get(at)) {
      at = channel.have.firstSet(at, end)
      if (at === -1) return
      continue
    }
    const to = channel.have.runEnd(at, chunk.missingEnd(at))
    at += batch.addRun(at, to - at, chunk, chunk.urgent ? 1 : 0)
  }
}

function askProofs(channel: Channel, chunk: Chunk, batch: Batch): void {
  const { start } = chunk
  for (
    let at = chunk.nextMissing(start);
    at !== -1 && !batch.full;
    at = chunk.nextMissing(at + 1)
  ) {
    if (!channel.have.get(at)) continue
    // The peer that gave the first answer is asked again only if there is no other.
    if (chunk.from[at - start] === channel.peer.id && othersOffer(channel, at)) continue
    const proof = proofFor(channel, at)
    if (proof !== null) batch.addProof(at, chunk, proof.nodes, 0)
  }
}

function othersOffer(channel: Channel, index: number): boolean {
  for (const other of channel.feed.channels.values()) {
    if (other !== channel && other.usable && other.mayDownload && other.have.get(index)) return true
  }
  return false
}

/**
 * True if nothing is gained by opening another chunk yet: what can be asked for fills the window twice, or the roots of
 * two chunks are on their way already. A root takes a round trip, and its turn behind what is being stored. Those that
 * another peer is asked for are no concern of this one: it may be that they never come.
 */
function looksAhead(feed: FeedState, { id, window }: PeerState): boolean {
  let blocks = 0
  let bytes = 0
  let rootless = 0
  for (const chunk of feed.chunks.values()) {
    if (chunk.phase === 'filling') {
      blocks += chunk.missing
      bytes += chunk.missing * expected(feed, chunk)
    } else if (chunk.phase === 'planning') rootless++
    else if (chunk.phase === 'rooting' && (chunk.prover === -1 || chunk.prover === id)) rootless++
  }
  return rootless > 1 || blocks >= 2 * window.requests || bytes >= 2 * window.bytes
}

/** The next block that is wanted, missing, in no chunk, and offered by the channel; or -1. */
function nextBlock(channel: Channel): number {
  const { feed, remote } = channel
  if (remote === null || !feed.pursues) return -1
  const length = Math.min(feed.view.length, remote.length)
  let steps = 0
  for (const [start, end] of feed.wanted.ranges) {
    const last = Math.min(end, length)
    let at = Math.max(start, channel.cursor)
    while (at < last) {
      if (++steps > SEARCH_STEPS) {
        channel.cursor = at
        return -1
      }
      const missing = feed.have.firstUnset(at)
      if (missing >= last) break
      const chunk = feed.chunkOf(missing)
      if (chunk !== null) {
        at = chunk.end
        continue
      }
      const offered = channel.have.firstSet(missing, last)
      if (offered === -1) break
      if (offered === missing) return missing
      at = offered
    }
  }
  channel.cursor = 0
  return -1
}

/** Takes bare values in that arrived together. */
export function onValues(world: World, channel: Channel, runs: readonly ValueRun[]): void {
  for (const run of runs) {
    for (let i = 0; i < run.count && !channel.peer.closing;) {
      const asked = runOf(channel, run.id + i)
      if (asked === null) {
        onAnswer(world, channel, dataOfRun(run, i))
        i++
        continue
      }
      const end = Math.min(run.count, asked.id + asked.count - run.id)
      takeValues(world, channel, asked, run, i, end)
      i = end
    }
  }
}

/** Takes answers in that arrived together. */
export function onData(world: World, channel: Channel, answers: readonly Data[]): void {
  for (const data of answers) {
    if (channel.peer.closing) return
    const asked = runOf(channel, data.request)
    // Whatever else such an answer brings was not asked for.
    const run = asked === null ? null : runOfData(valueOf(data))
    if (asked === null) onAnswer(world, channel, data)
    else if (run !== null) takeValues(world, channel, asked, run, 0, 1)
    else closePeer(world, channel.peer, channel.feed, 'BAD_MESSAGE', 'answer has no block')
  }
}

function valueOf({ type, request, fork, block }: Data): Data {
  const bare = block === null ? null : { ...block, nodes: [] }
  const nothing = { hash: null, seek: null, upgrade: null, manifest: null }
  return { type, request, fork, block: bare, ...nothing }
}

/** Takes in the values `[from, to)` of a run, which all answer requests of one run of ours. */
function takeValues(
  world: World,
  channel: Channel,
  asked: AskedRun,
  run: ValueRun,
  from: number,
  to: number
): void {
  const { feed, peer } = channel
  const first = run.id - asked.id
  if (asked.index + first !== run.index) {
    closePeer(world, peer, feed, 'BAD_MESSAGE', 'answer is for another block')
    return
  }
  let bytes = 0
  for (let i = from; i < to; i++) {
    const byteLength = run.lengths[i] as number
    if (byteLength > BLOCK_BYTES_MAX) {
      closePeer(world, peer, feed, 'BAD_MESSAGE', 'block is too large')
      return
    }
    bytes += byteLength
  }
  measure(world, asked, to - from, bytes)
  const chunk = feed.chunks.get(asked.chunk)
  const current = run.fork === asked.fork && run.fork === feed.view.fork
  const filling = current && chunk?.phase === 'filling' ? chunk : null
  if (!takeAll(world, channel, asked, filling, run, from, to)) {
    takeEach(world, channel, asked, filling, run, from, to)
  }
  if (run.fork !== asked.fork) rest(world, channel, NO_DATA_REST_MS)
  if (filling === null) return
  // More bytes than the root vouches for: somebody lied, and no fold is needed to know it.
  if (filling.receivedBytes > filling.size) blameChunk(world, feed, filling)
  else advance(world, feed, filling)
}

/** Takes in values that all are waited for and fill blocks of one chunk, as they do while nothing is lost; else false. */
function takeAll(
  world: World,
  channel: Channel,
  asked: AskedRun,
  chunk: Chunk | null,
  run: ValueRun,
  from: number,
  to: number
): boolean {
  const first = run.id - asked.id
  if (chunk === null || !chunk.awaits(run.index + from, run.index + to)) return false
  if (!settleOpen(world, asked, first + from, first + to)) return false
  chunk.receiveRun(run.index + from, channel.peer.id, run.lengths.subarray(from, to))
  hold(world, channel, chunk, run, from, to)
  return true
}

function takeEach(
  world: World,
  channel: Channel,
  asked: AskedRun,
  chunk: Chunk | null,
  run: ValueRun,
  from: number,
  to: number
): void {
  const { feed, peer } = channel
  const first = run.id - asked.id
  let held = from
  let released = false
  for (let i = from; i < to; i++) {
    const index = run.index + i
    const state = settleOne(world, asked, first + i)
    if (state !== SETTLED && chunk?.takes(index) === true) {
      chunk.receive(index, peer.id, run.lengths[i] as number)
      if (state === LATE) cancelBlock(world, feed, index)
      continue
    }
    hold(world, channel, chunk, run, held, i)
    held = i + 1
    if (state !== OPEN) continue
    releaseBlock(world, feed, asked.chunk, index)
    released = true
  }
  hold(world, channel, chunk, run, held, to)
  if (released) stir(world, feed)
}

function hold(
  world: World,
  { feed, peer }: Channel,
  chunk: Chunk | null,
  run: ValueRun,
  from: number,
  to: number
): void {
  if (chunk === null || from === to) return
  const { id, start, end, size } = chunk
  const count = end - start
  const effect = { chunk: id, peer: peer.id, start, count, size, run, from, to }
  world.effects.push({ type: 'hold', feed: feed.id, ...effect })
}

/** Takes in the answer to a request that was no bare value. */
function onAnswer(world: World, channel: Channel, data: Data): void {
  const { peer, feed } = channel
  if (data.block !== null && data.block.value.byteLength > BLOCK_BYTES_MAX) {
    closePeer(world, peer, feed, 'BAD_MESSAGE', 'block is too large')
    return
  }
  if (data.request === 0) {
    onConflictProof(world, channel, data)
    return
  }
  const request = settle(world, channel, data.request)
  if (request === null) return
  const byteLength = request.kind === 'node' ? request.expectedBytes : 0
  measure(world, request, 1, data.block === null ? byteLength : data.block.value.byteLength)
  if (data.fork !== request.fork) {
    giveUp(world, request)
    if (isHead(request)) doubt(world, channel)
    else rest(world, channel, NO_DATA_REST_MS)
    return
  }
  if (request.kind === 'reorg' || request.kind === 'ancestors') {
    // Another remote may be followed by now.
    if (!follows(feed, request)) return
    const begin = request.kind === 'reorg'
    world.effects.push({ type: 'reorg', peer: peer.id, feed: feed.id, begin, data })
    return
  }
  if (request.kind === 'node') {
    onNode(world, channel, request, data)
    return
  }
  const other = data.block === null ? request.kind === 'proof' : data.block.index !== request.index
  if (request.index !== -1 && other) {
    giveUp(world, request)
    closePeer(world, peer, feed, 'BAD_MESSAGE', 'answer is for another block')
    return
  }
  world.verifying.set(`${peer.id}:${request.id}`, request)
  world.effects.push({
    type: 'verify',
    peer: peer.id,
    feed: feed.id,
    request: request.id,
    fork: request.fork,
    data
  })
}

/** Lets go what an answered request holds; one that was late has given it up before. */
function giveUp(world: World, request: InFlight): void {
  if (!request.late) release(world, request)
}

/** A late answer came first after all: whoever was asked instead need not answer. */
function cancelBlock(world: World, feed: FeedState, index: number): void {
  cancelAll(
    world,
    feed,
    (at, request) => at === index && (!('kind' in request) || request.kind === 'proof')
  )
}

function blameChunk(world: World, feed: FeedState, chunk: Chunk): void {
  const liar = blame(world, feed, chunk)
  const channel = liar === null ? undefined : feed.channels.get(liar)
  if (channel !== undefined) {
    accuse(world, channel, 'INVALID_CHECKSUM', `blocks ${chunk.start} to ${chunk.end} do not fold`)
  }
}

/** Takes in that a request is not answered. */
export function onNoData(world: World, channel: Channel, message: NoData): void {
  const { feed } = channel
  const run = runOf(channel, message.request)
  const request = run === null ? settle(world, channel, message.request) : null
  if (run !== null) {
    const at = message.request - run.id
    const state = settleOne(world, run, at)
    if (state === SETTLED) return
    measure(world, run, 1, 0)
    lack(world, channel, message, run.index + at)
    if (state === OPEN) releaseBlock(world, feed, run.chunk, run.index + at)
  } else {
    if (request === null) return
    measure(world, request, 1, 0)
    // A remote that rewrote or cut its feed meanwhile says so in a sync of its own.
    const claimed = channel.remote !== null && channel.remote.fork === request.fork
    if (isHead(request) && claimed) doubt(world, channel)
    else if (isHead(request)) rest(world, channel, NO_DATA_REST_MS)
    else if (request.kind === 'node') refuseNode(world, channel, request, message)
    else lack(world, channel, message, request.index)
    giveUp(world, request)
  }
  world.unswept.add(feed)
  stir(world, feed)
}

/** Takes in that a remote does not give a block: it may not have it, or not now. */
function lack(world: World, channel: Channel, { reason }: NoData, index: number): void {
  const { feed, remote, have } = channel
  const forking = remote === null || remote.fork !== feed.view.fork
  // It took the block back in the meantime, and may well give others.
  if (!forking && index !== -1 && !have.get(index)) return
  if (reason === 0 || forking) rest(world, channel, NO_DATA_REST_MS)
  else if (index !== -1) have.drop(index, index + 1)
}

/** Takes in which nodes above a block are stored, and plans its chunk. */
export function onPathLoaded(world: World, input: Extract<Input, { type: 'path-loaded' }>): void {
  const feed = world.feeds.get(input.feed)
  if (feed === undefined || feed.view.fork !== input.fork) return
  trustWholePath(feed, input.block, input.nodes)
  for (const chunk of feed.chunks.values()) {
    if (chunk.phase !== 'planning' || chunk.entry !== input.block) continue
    if (!takeRoot(world, feed, chunk, chunk.entry)) chunk.phase = 'rooting'
  }
  world.unswept.add(feed)
  stir(world, feed)
}

/** Takes in what became of a proof. */
export function onVerified(world: World, input: Extract<Input, { type: 'verified' }>): void {
  const key = `${input.peer}:${input.request}`
  const request = world.verifying.get(key)
  if (request === undefined) return
  world.verifying.delete(key)
  const { channel } = request
  const { feed } = channel
  if (input.failure !== null) {
    giveUp(world, request)
    if (input.failure.fault === 'local')
      halt(world, feed, input.failure.code, input.failure.message)
    else accuse(world, channel, input.failure.code, input.failure.message)
    return
  }
  if (feed.upgrade === request) feed.upgrade = null
  if (request.kind === 'first' && !request.late) feed.firsts--
  // What they were to bring is here: the rest of the feed does not wait for those who do not answer.
  if (feed.firsts > 0 && feed.view.length > 0) cancelAll(world, feed, isFirst)
  const liar = input.liar === -1 ? undefined : feed.channels.get(input.liar)
  if (liar !== undefined) {
    accuse(world, liar, 'INVALID_CHECKSUM', `block ${input.block} was not what it must be`)
  }
  if (input.upgraded) channel.unproven = 0
  else if (request.kind === 'upgrade' && feed.view.fork === request.fork && isAhead(channel)) {
    doubt(world, channel)
  }
  if (request.proof) clearOf(world, channel)
  if (feed.view.fork === input.fork) trustPath(feed, input.path)
  settleBlock(world, request, input.block !== null)
  stir(world, feed)
}

function isFirst(_: number, request: InFlight | AskedRun): boolean {
  return 'kind' in request && request.kind === 'first'
}

/** Takes in what became of the answer to a request for a node. */
export function onNodeChecked(world: World, input: Extract<Input, { type: 'node-checked' }>): void {
  const key = `${input.peer}:${input.request}`
  const request = world.verifying.get(key)
  if (request === undefined) return
  world.verifying.delete(key)
  const { channel } = request
  const { feed } = channel
  const { failure, liar, learned } = input
  const other = liar === -1 ? undefined : feed.channels.get(liar)
  if (other !== undefined) {
    accuse(world, other, 'INVALID_CHECKSUM', 'a node was of another size than it must be')
  }
  if (failure === null) {
    clearOf(world, channel)
    dropNodes(world, feed, learned)
    return
  }
  giveUp(world, request)
  if (failure.fault === 'local') halt(world, feed, failure.code, failure.message)
  else accuse(world, channel, failure.code, failure.message)
}

/** True if the remote claims more of our fork than we have. */
function isAhead({ feed, remote }: Channel): boolean {
  return remote !== null && remote.fork === feed.view.fork && remote.length > feed.view.length
}

function settleBlock(world: World, request: InFlight, stored: boolean): void {
  const { index, late } = request
  const { feed } = request.channel
  const chunk = feed.chunks.get(request.chunk)
  if (chunk === undefined || !chunk.covers(index)) return
  const held = stored || feed.have.get(index)
  if (late && !held) return
  chunk.mark(index, held ? HELD : MISSING)
  if (late) cancelBlock(world, feed, index)
  if (chunk.phase === 'rooting') {
    chunk.prover = -1
    if (!takeRoot(world, feed, chunk, index)) {
      chunk.phase = 'planning'
      chunk.entry = index
      world.effects.push({ type: 'load-path', feed: feed.id, fork: feed.view.fork, block: index })
    }
    return
  }
  advance(world, feed, chunk)
}

/** Takes in what became of a chunk. */
export function onFolded(world: World, input: Extract<Input, { type: 'folded' }>): void {
  const feed = world.feeds.get(input.feed)
  const chunk = feed?.chunks.get(input.chunk)
  if (feed === undefined || chunk === undefined) return
  if (input.failure !== null) {
    halt(world, feed, input.failure.code, input.failure.message)
    return
  }
  if (input.result === 'wrong') {
    blameChunk(world, feed, chunk)
    return
  }
  if (input.result === 'stored') tellStored(world, feed, chunk)
  removeChunk(world, feed, chunk)
}

function tellStored(world: World, feed: FeedState, chunk: Chunk): void {
  const { from, byteLengths, start } = chunk
  for (let i = 0; i < from.length;) {
    const peer = from[i] as number
    let end = i + 1
    while (end < from.length && from[end] === peer) end++
    if (peer !== -1) tellDownload(world, feed, peer, start + i, byteLengths.subarray(i, end))
    i = end
  }
}

/** Counts stored blocks from `start` on for their peer and tells the user. */
export function tellDownload(
  world: World,
  feed: FeedState,
  peer: number,
  start: number,
  byteLengths: Uint32Array
): void {
  const channel = feed.channels.get(peer)
  if (channel !== undefined) {
    channel.downloadedBlocks += byteLengths.length
    for (const byteLength of byteLengths) channel.downloadedBytes += byteLength
  }
  const event = 'download'
  world.effects.push({ type: 'tell', event, feed: feed.id, peer, start, byteLengths })
}

/** Stops the downloads of a feed whose storage failed. */
export function halt(world: World, feed: FeedState, code: ErrorCode, message: string): void {
  if (feed.halted) return
  feed.halted = true
  world.effects.push({ type: 'tell', event: 'feed-error', feed: feed.id, code, message })
  touch(world, feed)
}
