/**
 * Reads held blocks from a store, in runs.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { NODE_BYTES } from '../kernels/fold.ts'
import { SERVE_RUN_BYTES_MAX } from '../limits.ts'
import type { ReadonlyBitmap } from '../primitives/bitmap.ts'
import { packedBlock, type PackedBlocks } from '../wire/run.ts'
import { readUint64 } from './bytes.ts'
import type { Store } from './store.ts'
import type { TreeNodes } from './tree/tree-nodes.ts'
import { byteOffset, requireNode, type TreeView } from './tree/tree-view.ts'

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
    while (start + blocks.length < end) {
      const piece = await this.#readPiece(start + blocks.length, end, READ_BYTES_MAX)
      if (piece === null) throw notAvailable(start + blocks.length)
      for (let i = 0; i < piece.lengths.length; i++) blocks.push(packedBlock(piece, i))
    }
    return blocks
  }

  /** As {@link Feed.readPacked}. */
  async readPacked(start: number, end: number): Promise<PackedBlocks> {
    const piece = await this.#readPiece(start, end, SERVE_RUN_BYTES_MAX)
    if (piece === null) throw notAvailable(start)
    return piece
  }

  /** Held blocks from `start` on, as many as one read takes, at most up to `end`; null if `start` is not held. */
  async #readPiece(start: number, end: number, bytesMax: number): Promise<PackedBlocks | null> {
    const { have, store } = this.#source
    const tree = this.#source.tree()
    const last = Math.min(end, start + READ_BLOCKS_MAX, have.firstUnset(start))
    if (last <= start) return null
    const sizes = await this.#sizes(tree, start, last)
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
    const bytes = await store.getBytes(offset, byteLength)
    // What was cleared or rewritten meanwhile may have been read half.
    if (this.#source.tree().fork !== tree.fork) return this.#readPiece(start, end, bytesMax)
    if (!have.hasAll(start, start + count)) return null
    this.#cursor = { fork: tree.fork, block: start + count, byteOffset: offset + byteLength }
    return { bytes, offsets: offsets.subarray(0, count), lengths: sizes.subarray(0, count) }
  }

  /** Where a block begins: known at once for all blocks of a page once it is known for the first. */
  async #offset(tree: TreeView, block: number): Promise<number> {
    const { nodes } = this.#source
    const known = nodes.offsetOf(block)
    if (known !== undefined) return known
    const first = nodes.pageStart(block)
    const offset = await byteOffset(tree, first).catch(() => null)
    if (offset !== null) nodes.noteOffset(first, offset)
    return nodes.offsetOf(block) ?? byteOffset(tree, block)
  }

  async #sizes(tree: TreeView, start: number, end: number): Promise<Uint32Array> {
    if (end - start === 1) {
      const known = this.#source.nodes.sizeOf(2 * start)
      return Uint32Array.of(known ?? (await requireNode(tree, 2 * start)).size)
    }
    const run = await this.#source.nodes.run(start, end)
    const sizes = new Uint32Array(end - start)
    for (let i = 0; i < sizes.length; i++) sizes[i] = readUint64(run, 2 * NODE_BYTES * i)
    return sizes
  }
}

/** Says that a block is not held. */
export function notAvailable(index: number): SynclineError {
  return new SynclineError('BLOCK_NOT_AVAILABLE', `block ${index} is not held`, { index })
}
