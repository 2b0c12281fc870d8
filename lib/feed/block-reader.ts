/**
 * Reads held blocks from a store, in runs.
 *
 * @module
 */
import { isSynclineError, SynclineError } from '../errors.ts'
import { leafHashes, NODE_BYTES } from '../kernels/fold.ts'
import { SERVE_RUN_BYTES_MAX } from '../limits.ts'
import type { BufferPool } from '../primitives/buffer-pool.ts'
import type { ReadonlyBitmap } from '../primitives/bitmap.ts'
import { packedBlock, type PackedBlocks } from '../wire/run.ts'
import { readUint64 } from './bytes.ts'
import type { Store } from './store.ts'
import { isBlank } from './tree/node-page.ts'
import { putNode, type TreeNodes } from './tree/tree-nodes.ts'
import { byteOffset, noNode, requireNode, type TreeView } from './tree/tree-view.ts'

/** Blocks and bytes of one read; more are read in several. */
const READ_BLOCKS_MAX = 4096
const READ_BYTES_MAX: number = 16 * 1024 * 1024

/** What blocks are read from. */
export interface BlockSource {
  readonly store: Store
  readonly nodes: TreeNodes
  readonly have: ReadonlyBitmap
  /** The tree as it is now. */
  tree(): TreeView & { readonly fork: number }
  /** Takes blocks whose bytes are not what their leaves say out of what is held. Null: bytes are not hashed. */
  readonly dropBad: ((start: number, end: number) => Promise<void>) | null
}

/** Sizes of consecutive blocks, at least one, and their leaves. */
interface Leaves {
  readonly sizes: Uint32Array
  /** Dense nodes: leaf i at byte 80 i. Null for a single block that is not hashed. */
  readonly nodes: Uint8Array | null
}

/** See the module comment. Reads overlap changes of the feed: what changed meanwhile is not handed out. */
export class BlockReader {
  readonly #source: BlockSource
  /** Where the last read ended: reads go on from there more often than not. */
  #cursor = { fork: 0, block: 0, byteOffset: 0 }

  constructor(source: BlockSource) {
    this.#source = source
  }

  /** One block, or null if it is not held. */
  async read(index: number): Promise<Uint8Array | null> {
    if (!this.#source.have.get(index)) return null
    const piece = await this.#readPiece(index, index + 1, READ_BYTES_MAX)
    return piece === null ? null : piece.bytes
  }

  /** Blocks `[start, end)`. @throws SynclineError BLOCK_NOT_AVAILABLE if one is not held. */
  async readRun(start: number, end: number): Promise<Uint8Array[]> {
    const blocks: Uint8Array[] = []
    // Hashing lets nothing else run: it comes in shorter pieces.
    const bytesMax = this.#source.dropBad === null ? READ_BYTES_MAX : SERVE_RUN_BYTES_MAX
    while (start + blocks.length < end) {
      const piece = await this.#readPiece(start + blocks.length, end, bytesMax)
      if (piece === null) throw notAvailable(start + blocks.length)
      for (let i = 0; i < piece.lengths.length; i++) blocks.push(packedBlock(piece, i))
    }
    return blocks
  }

  /** As {@link Feed.readPacked}. */
  async readPacked(start: number, end: number, pool?: BufferPool): Promise<PackedBlocks> {
    const piece = await this.#readPiece(start, end, SERVE_RUN_BYTES_MAX, pool)
    if (piece === null) throw notAvailable(start)
    return piece
  }

  /**
   * Held blocks from `start` on, as many as one read takes, at most up to `end`; null if `start` is not held.
   *
   * @param doubted - true if the last try met bytes that were not what they must be.
   */
  async #readPiece(
    start: number,
    end: number,
    bytesMax: number,
    pool?: BufferPool,
    doubted = false
  ): Promise<PackedBlocks | null> {
    const { have, store, dropBad } = this.#source
    const tree = this.#source.tree()
    const last = Math.min(end, start + READ_BLOCKS_MAX, have.firstUnset(start))
    if (last <= start) return null
    const { sizes, nodes } = await this.#leaves(tree, start, last)
    const { fork, block, byteOffset: known } = this.#cursor
    const goesOn = fork === tree.fork && block === start
    const offset = goesOn ? known : await this.#offset(tree, start)
    const offsets = new Uint32Array(sizes.length)
    let byteLength = 0
    let count = 0
    while (count < sizes.length) {
      const size = sizes[count] as number
      if (count > 0 && byteLength + size > bytesMax) break
      offsets[count++] = byteLength
      byteLength += size
    }
    const bytes = await store.getBytes(offset, byteLength, pool).catch((error: unknown) => {
      if (dropBad === null || !isSynclineError(error, 'FEED_DAMAGED')) throw error
      return null
    })
    // What was cleared or rewritten meanwhile may have been read half.
    if (this.#source.tree().fork !== tree.fork) return this.#readPiece(start, end, bytesMax, pool)
    if (!have.hasAll(start, start + count)) return null
    const lengths = sizes.subarray(0, count)
    const piece = bytes && { bytes, offsets: offsets.subarray(0, count), lengths }
    if (dropBad !== null && (piece === null || nodes === null || !isIntact(piece, nodes))) {
      // Looked at again while nothing changes: only then it is sure who is wrong.
      await dropBad(start, start + count)
      return doubted ? null : this.#readPiece(start, end, bytesMax, pool, true)
    }
    this.#cursor = { fork: tree.fork, block: start + count, byteOffset: offset + byteLength }
    return piece
  }

  /** Byte offset of a block. @throws SynclineError BLOCK_NOT_AVAILABLE when the tree is not known there. */
  offsetOf(block: number): Promise<number> {
    return this.#offset(this.#source.tree(), block)
  }

  /** Where a block begins: known at once for all blocks of a page once it is known for the first. */
  async #offset(tree: ReturnType<BlockSource['tree']>, block: number): Promise<number> {
    const { nodes } = this.#source
    const known = nodes.offsetOf(block)
    if (known !== undefined) return known
    const first = nodes.pageStart(block)
    const offset = await byteOffset(tree, first).catch(() => null)
    const isCurrent = this.#source.tree().fork === tree.fork
    if (offset !== null && isCurrent) nodes.noteOffset(first, offset)
    return nodes.offsetOf(block) ?? byteOffset(tree, block)
  }

  async #leaves(tree: TreeView, start: number, end: number): Promise<Leaves> {
    const { nodes, dropBad } = this.#source
    const index = 2 * start
    if (end - start > 1) {
      const run = await nodes.run(start, end)
      // Blocks that are hashed need not end there: the one whose leaf is absent will not be intact, and is forgotten.
      const count = dropBad === null ? leavesIn(run) : end - start
      if (count === 0) throw noNode(index)
      const sizes = new Uint32Array(count)
      for (let i = 0; i < count; i++) sizes[i] = readUint64(run, 2 * NODE_BYTES * i)
      return { sizes, nodes: run }
    }
    if (dropBad === null) {
      const size = nodes.sizeOf(index) ?? (await requireNode(tree, index)).size
      return { sizes: Uint32Array.of(size), nodes: null }
    }
    const leaf = nodes.peek(index) ?? (await requireNode(tree, index))
    const run = new Uint8Array(NODE_BYTES)
    putNode(run, 0, leaf)
    return { sizes: Uint32Array.of(leaf.size), nodes: run }
  }
}

/** Leaves that stand in dense nodes before the first that is absent. */
function leavesIn(nodes: Uint8Array): number {
  let at = 0
  while (at < nodes.byteLength && !isBlank(nodes, at)) at += 2 * NODE_BYTES
  return at / (2 * NODE_BYTES)
}

/** True if each block hashes to its leaf. */
function isIntact(piece: PackedBlocks, nodes: Uint8Array): boolean {
  const hashes = leafHashes(Array.from(piece.lengths, (_, i) => packedBlock(piece, i)))
  for (let i = 0; i < piece.lengths.length; i++) {
    const at = 2 * NODE_BYTES * i + 8
    for (let j = 0; j < 32; j++) if (hashes[32 * i + j] !== nodes[at + j]) return false
  }
  return true
}

/** Says that a block is not held. */
export function notAvailable(index: number): SynclineError {
  return new SynclineError('BLOCK_NOT_AVAILABLE', `block ${index} is not held`, { index })
}
