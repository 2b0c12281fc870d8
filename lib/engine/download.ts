/**
 * Choosing what to ask of whom, and taking the answers in.
 *
 * @module
 */
import type { ErrorCode } from '../errors.ts'
import {
  BATCH_REPLY_BYTES_MAX,
  BATCH_REQUESTS_MAX,
  BLOCK_BYTES_MAX,
  NO_DATA_REST_MS,
  SINGLE_FRAME_BYTES
} from '../limits.ts'
import type { Data, NoData, Request } from '../wire/message.ts'
import { Chunk, HELD, IN_FLIGHT, MISSING } from './chunk.ts'
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
import { closePeer, send, wake } from './output.ts'
import { ask, cancelAll, follows, mayAskProof, measure, release, settle } from './request.ts'
import {
  rest,
  touch,
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
/** Blocks which nobody can bring forward that are looked at before a search is continued later. */
const BARREN_MAX = 32

/** Asks a peer for more, one batch of one feed; false if there is nothing to ask or no room. */
export function pick(world: World, peer: PeerState): boolean {
  if (peer.closing || !hasRoom(world, peer)) return false
  const channel = peer.nextHungry()
  if (channel === null) return false
  const asked = askNext(world, channel)
  // Taking turns: whoever was served goes to the end, whoever has nothing to ask leaves.
  peer.dropHungry(channel)
  if (asked) peer.feedHungry(channel)
  return true
}

function hasRoom(world: World, peer: PeerState): boolean {
  if (peer.inFlight >= peer.windowRequests || peer.inFlightBytes >= peer.windowBytes) return false
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
  for (const chunk of channel.feed.chunks.values()) {
    if (batch.full) break
    askChunk(world, channel, chunk, batch)
  }
  const searched = openMore(world, channel, batch)
  return batch.flush() || !searched
}

/** Opens chunks until enough is asked for; false if the search for more goes on in the next turn. */
function openMore(world: World, channel: Channel, batch: Batch): boolean {
  const { feed, peer } = channel
  for (let barren = 0; barren < BARREN_MAX;) {
    if (batch.full || lookAhead(feed) >= 2 * peer.windowRequests) return true
    const index = nextBlock(channel)
    if (index === -1) return channel.cursor === 0
    if (!roomFor(world, feed) && !dropOrphans(world)) {
      world.starved.add(channel)
      return true
    }
    const chunk = openChunk(world, channel, index, false)
    if (chunk === undefined) {
      barren++
      channel.cursor = index + 1
    } else askChunk(world, channel, chunk, batch)
  }
  return false
}

/** Requests of one channel on their way to be sent, within the window. */
class Batch {
  readonly #world: World
  readonly #channel: Channel
  #requests: Request[] = []
  #bytes = 0
  #asked = 0

  constructor(world: World, channel: Channel) {
    this.#world = world
    this.#channel = channel
  }

  /** True if this turn may ask for no more. */
  get full(): boolean {
    const { peer } = this.#channel
    return (
      this.#asked >= BATCH_REQUESTS_MAX ||
      peer.inFlight >= peer.windowRequests ||
      peer.inFlightBytes >= peer.windowBytes
    )
  }

  /** Asks for a block: its bare value (`nodes` null) or with a proof. */
  add(index: number, chunk: Chunk, nodes: number | null, priority: number): void {
    const channel = this.#channel
    const expectedBytes = expected(channel.feed, chunk)
    const request = ask(this.#world, channel, {
      kind: nodes === null ? 'value' : 'proof',
      index,
      chunk: chunk.id,
      fork: channel.feed.view.fork,
      expectedBytes,
      parts: { block: { index, nodes: nodes ?? 0 }, priority }
    })
    chunk.mark(index, IN_FLIGHT)
    this.#asked++
    // A large block is asked for in a frame of its own: batched answers come back as one frame.
    if (expectedBytes >= SINGLE_FRAME_BYTES) {
      send(this.#world, channel, [request])
      return
    }
    if (this.#bytes + expectedBytes > BATCH_REPLY_BYTES_MAX) this.#send()
    this.#requests.push(request)
    this.#bytes += expectedBytes
  }

  /** Sends what is left; returns whether anything was asked in this turn. */
  flush(): boolean {
    this.#send()
    return this.#asked > 0
  }

  #send(): void {
    send(this.#world, this.#channel, this.#requests)
    this.#requests = []
    this.#bytes = 0
  }
}

function expected(feed: FeedState, chunk: Chunk): number {
  if (chunk.phase === 'planning' || chunk.phase === 'rooting') return feed.blockBytes
  return Math.ceil(chunk.size / chunk.blocks.length)
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
      if (opened !== undefined) askChunk(world, channel, opened, batch)
      continue
    }
    if (chunk.phase !== 'filling' || chunk.state(index) !== MISSING) continue
    const proof = mayAskProof(channel) ? proofFor(channel, index) : null
    if (proof !== null) batch.add(index, chunk, proof.nodes, 1)
  }
}

function askChunk(world: World, channel: Channel, chunk: Chunk, batch: Batch): void {
  if (chunk.phase === 'rooting') {
    if (chunk.rooted || !mayAskProof(channel)) return
    const proof = canProve(channel, chunk)
    if (proof === null) return
    chunk.rooted = true
    batch.add(proof.index, chunk, proof.nodes, chunk.urgent ? 1 : 0)
    return
  }
  if (chunk.phase !== 'filling' && chunk.phase !== 'blame') return
  const proven = chunk.phase === 'blame'
  if (proven && !mayAskProof(channel)) return
  while (chunk.cursor < chunk.blocks.length && chunk.blocks[chunk.cursor] !== MISSING)
    chunk.cursor++
  for (let i = chunk.cursor; i < chunk.blocks.length && chunk.missing > 0 && !batch.full; i++) {
    const index = chunk.start + i
    if (chunk.blocks[i] !== MISSING || !channel.have.get(index)) continue
    if (!proven) {
      batch.add(index, chunk, null, chunk.urgent ? 1 : 0)
      continue
    }
    // The peer that gave the first answer is asked again only if there is no other.
    if (chunk.from[i] === channel.peer.id && othersOffer(channel, index)) continue
    const proof = proofFor(channel, index)
    if (proof !== null) batch.add(index, chunk, proof.nodes, 0)
  }
  if (chunk.complete) advance(world, channel.feed, chunk)
}

function othersOffer(channel: Channel, index: number): boolean {
  for (const other of channel.feed.channels.values()) {
    if (other !== channel && other.usable && other.mayDownload && other.have.get(index)) return true
  }
  return false
}

/** Blocks that are asked for as soon as there is room: no further chunk is needed before they are. */
function lookAhead(feed: FeedState): number {
  let blocks = 0
  for (const chunk of feed.chunks.values()) blocks += chunk.missing
  return blocks
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

/** Takes answers in that arrived together. */
export function onData(world: World, channel: Channel, answers: readonly Data[]): void {
  const held = new Map<Chunk, Data[]>()
  for (const data of answers) {
    if (channel.peer.closing) break
    if (data.block !== null && data.block.value.byteLength > BLOCK_BYTES_MAX) {
      closePeer(world, channel.peer, channel.feed, 'BAD_MESSAGE', 'block is too large')
      break
    }
    if (data.request === 0) {
      onConflictProof(world, channel, data)
      continue
    }
    const request = settle(world, channel, data.request)
    if (request === null) continue
    measure(world, request)
    channel.peer.received.add(data.block === null ? 0 : data.block.value.byteLength)
    if (data.fork !== request.fork) {
      giveUp(world, request)
      if (isHead(request)) doubt(world, channel)
      else rest(world, channel, NO_DATA_REST_MS)
      continue
    }
    if (request.kind === 'value') {
      const chunk = takeValue(world, channel, request, data)
      if (chunk === null) {
        giveUp(world, request)
        continue
      }
      const list = held.get(chunk)
      if (list === undefined) held.set(chunk, [data])
      else list.push(data)
      continue
    }
    if (request.kind === 'reorg' || request.kind === 'ancestors') {
      // Another remote may be followed by now.
      if (!follows(channel.feed, request)) continue
      const begin = request.kind === 'reorg'
      world.effects.push({
        type: 'reorg',
        peer: channel.peer.id,
        feed: channel.feed.id,
        begin,
        data
      })
      continue
    }
    const other =
      data.block === null ? request.kind === 'proof' : data.block.index !== request.index
    if (request.index !== -1 && other) {
      giveUp(world, request)
      closePeer(world, channel.peer, channel.feed, 'BAD_MESSAGE', 'answer is for another block')
      break
    }
    world.verifying.set(`${channel.peer.id}:${request.id}`, request)
    world.effects.push({
      type: 'verify',
      peer: channel.peer.id,
      feed: channel.feed.id,
      request: request.id,
      fork: request.fork,
      data
    })
  }
  for (const [chunk, list] of held) hold(world, channel, chunk, list)
}

/** Lets go what an answered request holds; one that was late has given it up before. */
function giveUp(world: World, request: InFlight): void {
  if (!request.late) release(world, request)
}

/** Enters a bare value into its chunk; null if it is not needed any more. */
function takeValue(
  world: World,
  channel: Channel,
  { index, chunk: id, late }: InFlight,
  data: Data
): Chunk | null {
  const { feed } = channel
  if (data.block === null || data.block.index !== index) {
    closePeer(world, channel.peer, feed, 'BAD_MESSAGE', 'answer is for another block')
    return null
  }
  const chunk = feed.chunks.get(id)
  if (chunk === undefined || chunk.phase !== 'filling' || !chunk.covers(index)) return null
  const state = chunk.state(index)
  if (state !== IN_FLIGHT && state !== MISSING) return null
  if (data.fork !== feed.view.fork) return null
  chunk.receive(index, channel.peer.id, data.block.value.byteLength)
  if (late) cancelBlock(world, feed, index)
  return chunk
}

/** A late answer came first after all: whoever was asked instead need not answer. */
function cancelBlock(world: World, feed: FeedState, index: number): void {
  cancelAll(
    world,
    feed,
    (request) => request.index === index && (request.kind === 'value' || request.kind === 'proof')
  )
}

function hold(world: World, channel: Channel, chunk: Chunk, answers: readonly Data[]): void {
  const { feed } = channel
  world.effects.push({
    type: 'hold',
    feed: feed.id,
    chunk: chunk.id,
    peer: channel.peer.id,
    start: chunk.start,
    count: chunk.end - chunk.start,
    size: chunk.size,
    answers
  })
  // More bytes than the root vouches for: somebody lied, and no fold is needed to know it.
  if (chunk.receivedBytes > chunk.size) {
    blameChunk(world, feed, chunk)
    return
  }
  advance(world, feed, chunk)
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
  const request = settle(world, channel, message.request)
  if (request === null) return
  measure(world, request)
  const { feed } = channel
  const forking = channel.remote === null || channel.remote.fork !== feed.view.fork
  // A remote that rewrote or cut its feed meanwhile says so in a sync of its own.
  const claimed = channel.remote !== null && channel.remote.fork === request.fork
  if (isHead(request) && claimed) doubt(world, channel)
  else if (message.reason === 0 || forking || isHead(request)) {
    rest(world, channel, NO_DATA_REST_MS)
  } else if (request.index !== -1 && request.kind !== 'first') {
    channel.have.drop(request.index, request.index + 1)
  }
  giveUp(world, request)
  world.unswept.add(feed)
  touch(world, feed)
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
  touch(world, feed)
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
  touch(world, feed)
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
    chunk.rooted = false
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
  const byPeer = new Map<number, { indexes: number[]; byteLengths: number[] }>()
  for (let i = 0; i < chunk.from.length; i++) {
    const peer = chunk.from[i] as number
    if (peer === -1) continue
    let list = byPeer.get(peer)
    if (list === undefined) byPeer.set(peer, (list = { indexes: [], byteLengths: [] }))
    list.indexes.push(chunk.start + i)
    list.byteLengths.push(chunk.byteLengths[i] as number)
  }
  for (const [peer, { indexes, byteLengths }] of byPeer) {
    tellDownload(world, feed, peer, indexes, byteLengths)
  }
}

/** Counts stored blocks for their peer and tells the user. */
export function tellDownload(
  world: World,
  feed: FeedState,
  peer: number,
  indexes: readonly number[],
  byteLengths: readonly number[]
): void {
  const channel = feed.channels.get(peer)
  if (channel !== undefined) {
    channel.downloadedBlocks += indexes.length
    for (const byteLength of byteLengths) channel.downloadedBytes += byteLength
  }
  world.effects.push({
    type: 'tell',
    event: 'download',
    feed: feed.id,
    peer,
    indexes,
    byteLengths
  })
}

/** Stops the downloads of a feed whose storage failed. */
export function halt(world: World, feed: FeedState, code: ErrorCode, message: string): void {
  if (feed.halted) return
  feed.halted = true
  world.effects.push({ type: 'tell', event: 'feed-error', feed: feed.id, code, message })
  touch(world, feed)
}
