/**
 * The chunks of a feed: opening, rooting, filling, blaming, dissolving.
 *
 * @module
 */
import {
  CHUNK_BLOCKS_MAX,
  CHUNK_BYTES_MAX,
  OPEN_CHUNK_BYTES_MAX,
  OPEN_CHUNKS_MAX,
  SINGLE_BLOCK_BYTES,
  TRUSTED_NODES_MAX
} from '../limits.ts'
import {
  blockCount,
  depth,
  endBlock,
  firstBlock,
  nodeAt,
  parent,
  rootOf,
  sibling
} from '../primitives/flat-tree.ts'
import { Chunk, HELD, MISSING, RECEIVED } from './chunk.ts'
import type { Trusted } from './input.ts'
import { cancelAll } from './request.ts'
import { stir, wakeChannel, type Channel, type FeedState, type World } from './state.ts'

/**
 * Opens a chunk around a block that the channel offers: the largest subtree that may be fetched as one.
 * If nobody can bring it forward, returns the end of the blocks from this one on of which that is known.
 */
export function openChunk(
  world: World,
  channel: Channel,
  index: number,
  single: boolean
): Chunk | number {
  const { feed } = channel
  const root = regionFor(feed, channel, index, single)
  const size = blockCount(root) * feed.blockBytes
  const chunk = new Chunk(world.nextChunk++, root, size, single)
  for (const [start, end] of feed.have.runs(chunk.start, chunk.end)) {
    for (let block = start; block < end; block++) chunk.mark(block, HELD)
  }
  const best = rootWithin(feed, chunk, index)
  const lowest = best ?? lowestTrusted(feed, index)
  const explored = feed.bottoms?.has(lowest?.index ?? 2 * index) === true
  if (best === null && explored && !provable(feed, chunk)) {
    return lowest === null ? index + 1 : barrenEnd(feed, chunk, lowest.index)
  }
  feed.chunks.set(chunk.id, chunk)
  world.openBytes += chunk.size
  if (best !== null) fill(world, feed, chunk, best)
  else if (explored) chunk.phase = 'rooting'
  else {
    world.effects.push({ type: 'load-path', feed: feed.id, fork: feed.view.fork, block: index })
    chunk.entry = index
  }
  return chunk
}

/** End of the blocks below a node, under which nothing is stored, that nobody can prove as nobody can those of a chunk. */
function barrenEnd(feed: FeedState, chunk: Chunk, node: number): number {
  const end = endBlock(node)
  for (const channel of feed.channels.values()) {
    if (channel.usable && channel.mayDownload && reaches(channel, node)) {
      return Math.min(end, chunk.end)
    }
  }
  return end
}

/** True if another chunk may be opened. */
export function roomFor(world: World, feed: FeedState): boolean {
  return feed.chunks.size < OPEN_CHUNKS_MAX && world.openBytes < OPEN_CHUNK_BYTES_MAX
}

/** The largest aligned subtree around `index` whose missing blocks are all wanted, offered and free. */
function regionFor(feed: FeedState, channel: Channel, index: number, single: boolean): number {
  const average = feed.blockBytes
  if (single || average > SINGLE_BLOCK_BYTES) return 2 * index
  const top = depth(rootOf(index, feed.view.length))
  const blocks = Math.min(CHUNK_BLOCKS_MAX, Math.max(1, CHUNK_BYTES_MAX / Math.max(average, 1)))
  for (let height = Math.min(top, Math.floor(Math.log2(blocks))); height > 0; height--) {
    const root = nodeAt(height, Math.floor(index / 2 ** height))
    if (isFree(feed, root) && isOffered(feed, channel, root)) return root
  }
  return 2 * index
}

function isFree(feed: FeedState, root: number): boolean {
  const start = firstBlock(root)
  const end = endBlock(root)
  for (const chunk of feed.chunks.values()) if (chunk.start < end && start < chunk.end) return false
  return true
}

function isOffered(feed: FeedState, channel: Channel, root: number): boolean {
  const end = endBlock(root)
  let at = feed.have.firstUnset(firstBlock(root))
  while (at < end) {
    const next = feed.have.firstSet(at, end)
    const to = next === -1 ? end : next
    if (!feed.wanted.hasAll(at, to)) return false
    if (!channel.have.hasAll(at, to) && !offeredBySome(feed, at, to)) return false
    at = feed.have.firstUnset(to)
  }
  return true
}

function offeredBySome(feed: FeedState, start: number, end: number): boolean {
  for (let block = start; block < end; block++) {
    if (!isOfferedBlock(feed, block)) return false
  }
  return true
}

function isOfferedBlock(feed: FeedState, block: number): boolean {
  for (const other of feed.channels.values()) {
    if (other.usable && other.mayDownload && other.have.get(block)) return true
  }
  return false
}

/** Remembers nodes that are stored. */
export function trust(feed: FeedState, nodes: readonly Trusted[]): void {
  if (feed.trusted.size > TRUSTED_NODES_MAX) distrust(feed)
  for (const { index, size } of nodes) feed.trusted.set(index, size)
}

/** Remembers all stored nodes on the path of a block, in ascending height: below the first nothing is stored. */
export function trustWholePath(feed: FeedState, block: number, nodes: readonly Trusted[]): void {
  trust(feed, nodes)
  feed.bottoms ??= new Set()
  feed.bottoms.add(nodes[0]?.index ?? 2 * block)
}

/** Forgets which nodes are stored. */
export function distrust(feed: FeedState): void {
  feed.trusted.clear()
  feed.bottoms = null
}

/**
 * Remembers a verified path and the siblings along it: a block ties the sizes of all of them, since
 * each parent's size is trusted and the child on the path is known.
 */
export function trustPath(feed: FeedState, path: readonly Trusted[]): void {
  trust(feed, path)
  for (let i = 0; i + 1 < path.length; i++) {
    const child = path[i] as Trusted
    const above = path[i + 1] as Trusted
    if (parent(child.index) !== above.index) continue
    feed.trusted.set(sibling(child.index), above.size - child.size)
  }
}

/** The lowest remembered node on or above a block's leaf that lies within our tree, or null. */
export function lowestTrusted(feed: FeedState, block: number): Trusted | null {
  const top = rootOf(block, feed.view.length)
  if (top === -1) return null
  for (let node = 2 * block; ; node = parent(node)) {
    const size = feed.trusted.get(node)
    if (size !== undefined) return { index: node, size }
    if (node === top) return null
  }
}

/**
 * Narrows a chunk to the largest trusted subtree of it above `block` and begins to fill it. False if
 * there is none yet.
 */
export function takeRoot(world: World, feed: FeedState, chunk: Chunk, block: number): boolean {
  const best = rootWithin(feed, chunk, block)
  if (best === null) return false
  fill(world, feed, chunk, best)
  return true
}

/** The largest trusted subtree of a chunk above `block` that is small enough, or null. */
function rootWithin(feed: FeedState, chunk: Chunk, block: number): Trusted | null {
  let best: Trusted | null = null
  for (let node = 2 * block; ; node = parent(node)) {
    const size = feed.trusted.get(node)
    if (size !== undefined && (size <= CHUNK_BYTES_MAX || node === 2 * block)) {
      best = { index: node, size }
    }
    if (node === chunk.root) return best
  }
}

function fill(world: World, feed: FeedState, chunk: Chunk, root: Trusted): void {
  world.openBytes += root.size - chunk.size
  chunk.narrow(root.index, root.size)
  chunk.phase = 'filling'
  advance(world, feed, chunk)
}

/** Moves a chunk on when nothing of it is missing any more. */
export function advance(world: World, feed: FeedState, chunk: Chunk): void {
  if (!chunk.complete) return
  if (chunk.blocks.every((state) => state === HELD)) {
    removeChunk(world, feed, chunk)
    return
  }
  if (chunk.phase !== 'filling') return
  chunk.phase = 'folding'
  world.effects.push({
    type: 'fold',
    feed: feed.id,
    chunk: chunk.id,
    fork: feed.view.fork,
    root: chunk.root,
    start: chunk.start,
    count: chunk.end - chunk.start
  })
}

/** Lets a chunk go; what was received and not folded is lost, what is in flight is given up. */
export function removeChunk(world: World, feed: FeedState, chunk: Chunk): void {
  if (!feed.chunks.delete(chunk.id)) return
  if (chunk.inFlight > 0) cancelAll(world, feed, (_, request) => request.chunk === chunk.id)
  world.openBytes -= chunk.size
  world.effects.push({ type: 'drop-chunk', feed: feed.id, chunk: chunk.id })
  stir(world, feed)
  for (const channel of world.starved) wakeChannel(world, channel)
  world.starved.clear()
}

/** Lets all chunks of a feed go: its fork changed, or it is closed. */
export function removeChunks(world: World, feed: FeedState): void {
  for (const chunk of [...feed.chunks.values()]) removeChunk(world, feed, chunk)
  distrust(feed)
}

/**
 * Dissolves the chunks that can no longer be completed as they are (nobody offers a block of them, or
 * it is not wanted any more), so that smaller ones can take their place.
 */
export function sweepChunks(world: World, feed: FeedState): void {
  feed.orphaned = false
  for (const chunk of [...feed.chunks.values()]) {
    if (chunk.phase === 'folding' || chunk.phase === 'planning') continue
    const outlook = outlookOf(feed, chunk)
    if (outlook === 'hopeless') removeChunk(world, feed, chunk)
    else if (outlook === 'orphaned') feed.orphaned = true
  }
}

/** Makes room by letting go what was received of chunks that nobody offers any more; false if there is none. */
export function dropOrphans(world: World): boolean {
  let dropped = false
  for (const feed of world.feeds.values()) {
    if (!feed.orphaned) continue
    for (const chunk of [...feed.chunks.values()]) {
      if (chunk.phase !== 'filling' || outlookOf(feed, chunk) !== 'orphaned') continue
      removeChunk(world, feed, chunk)
      dropped = true
    }
    feed.orphaned = false
  }
  return dropped
}

/**
 * Whether a chunk can be completed as it is. It is orphaned if all who offered the rest of it are gone: they may
 * come back, and over a line that breaks often nothing would ever be complete if it began anew each time.
 */
function outlookOf(feed: FeedState, chunk: Chunk): 'possible' | 'orphaned' | 'hopeless' {
  let offered = false
  let missed = false
  for (let at = chunk.nextMissing(chunk.start); at !== -1; at = chunk.nextMissing(at)) {
    const end = chunk.missingEnd(at)
    if (isWanted(feed, at, end) && isOfferedWhole(feed, at, end)) {
      offered = true
      at = end
      continue
    }
    if (!feed.wants(at)) return 'hopeless'
    if (isOfferedBlock(feed, at)) offered = true
    else missed = true
    at++
  }
  if (missed && offered) return 'hopeless'
  if (missed) {
    const begun = chunk.phase === 'filling' && chunk.inFlight === 0 && chunk.receivedBytes > 0
    return begun && !isReceivedOffered(feed, chunk) ? 'orphaned' : 'hopeless'
  }
  const moves = chunk.phase === 'filling' || chunk.inFlight > 0 || provable(feed, chunk)
  return moves ? 'possible' : 'hopeless'
}

function isWanted(feed: FeedState, start: number, end: number): boolean {
  return feed.pursues && feed.wanted.hasAll(start, end)
}

/** True if one channel offers all of `[start, end)`. */
function isOfferedWhole(feed: FeedState, start: number, end: number): boolean {
  for (const other of feed.channels.values()) {
    if (other.usable && other.mayDownload && other.have.hasAll(start, end)) return true
  }
  return false
}

/** True if somebody could give again what was received: then it need not wait for the rest. */
function isReceivedOffered(feed: FeedState, chunk: Chunk): boolean {
  for (let i = 0; i < chunk.blocks.length; i++) {
    if (chunk.blocks[i] === RECEIVED && isOfferedBlock(feed, chunk.start + i)) return true
  }
  return false
}

/** True if somebody can give a proof for a missing block of the chunk. */
function provable(feed: FeedState, chunk: Chunk): boolean {
  for (const channel of feed.channels.values()) {
    if (channel.usable && channel.mayDownload && canProve(channel, chunk) !== null) return true
  }
  return false
}

/**
 * A missing block of the chunk for which this channel can give a proof that ends at a node of ours, and
 * the number of nodes to climb; null if it cannot (I5).
 */
export function canProve(channel: Channel, chunk: Chunk): { index: number; nodes: number } | null {
  const { feed, have } = channel
  if (channel.proofs === 'values-only') return null
  for (let i = chunk.cursor; i < chunk.blocks.length; i++) {
    const index = chunk.start + i
    if (chunk.blocks[i] !== MISSING || !have.get(index)) continue
    const ancestor = lowestTrusted(feed, index)
    if (ancestor === null) continue
    if (reaches(channel, ancestor.index)) return { index, nodes: depth(ancestor.index) }
    // Nothing is stored below: it is the lowest of all other blocks there, too.
    if (feed.bottoms?.has(ancestor.index) === true) i = endBlock(ancestor.index) - 1 - chunk.start
  }
  return null
}

/** As {@link canProve}, for one block. */
export function proofFor(channel: Channel, index: number): { index: number; nodes: number } | null {
  const ancestor = lowestTrusted(channel.feed, index)
  if (ancestor === null || !reaches(channel, ancestor.index)) return null
  return { index, nodes: depth(ancestor.index) }
}

/** True if a node lies in the remote's own tree. */
function reaches({ remote }: Channel, node: number): boolean {
  return remote !== null && endBlock(node) <= remote.length
}

/** A chunk did not fold: the only contributor lied, or every block is asked again with its proof. */
export function blame(world: World, feed: FeedState, chunk: Chunk): number | null {
  const contributors = chunk.contributors()
  const only = contributors.length === 1 ? (contributors[0] as number) : null
  if (only === null) {
    world.effects.push({ type: 'suspect', feed: feed.id, chunk: chunk.id })
    chunk.phase = 'blame'
  } else {
    world.effects.push({ type: 'drop-chunk', feed: feed.id, chunk: chunk.id })
    chunk.phase = 'filling'
    chunk.from.fill(-1)
  }
  for (let i = 0; i < chunk.blocks.length; i++) {
    if (chunk.blocks[i] === RECEIVED) chunk.mark(chunk.start + i, MISSING)
  }
  stir(world, feed)
  return only
}
