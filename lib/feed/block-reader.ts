/**
 * Reads held blocks from a store, in runs.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { NODE_BYTES } from '../kernels/fold.ts'
import type { ReadonlyBitmap } from '../primitives/bitmap.ts'
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
    const [block] = await this.#readPiece(index, index + 1)
    return block ?? null
  }

  /** Blocks `[start, end)`. @throws SynclineError BLOCK_NOT_AVAILABLE if one is not held. */
  async readRun(start: number, end: number): Promise<Uint8Array[]> {
    const blocks: Uint8Array[] = []
    while (start + blocks.length < end) {
      const piece = await this.#readPiece(start + blocks.length, end)
      if (piece.length === 0) throw notAvailable(start + blocks.length)
      for (const block of piece) blocks.push(block)
    }
    return blocks
  }

  /** Held blocks from `start` on, as many as one read takes, at most up to `end`; none if `start` is not held. */
  async #readPiece(start: number, end: number): Promise<Uint8Array[]> {
    const { have, store } = this.#source
    const tree = this.#source.tree()
    const last = Math.min(end, start + READ_BLOCKS_MAX, have.firstUnset(start))
    if (last <= start) return []
    const sizes = await this.#sizes(tree, start, last)
    const { fork, block, byteOffset: known } = this.#cursor
    const goesOn = fork === tree.fork && block === start
    const offset = goesOn ? known : await byteOffset(tree, start)
    let byteLength = 0
    let count = 0
    for (const size of sizes) {
      if (count > 0 && byteLength + size > READ_BYTES_MAX) break
      byteLength += size
      count++
    }
    const bytes = await store.getBytes(offset, byteLength)
    // What was cleared or rewritten meanwhile may have been read half.
    if (this.#source.tree().fork !== tree.fork) return this.#readPiece(start, end)
    if (!have.hasAll(start, start + count)) return []
    this.#cursor = { fork: tree.fork, block: start + count, byteOffset: offset + byteLength }
    let at = 0
    return sizes.slice(0, count).map((size) => {
      const block = count === 1 ? bytes : bytes.subarray(at, at + size)
      at += size
      return block
    })
  }

  async #sizes(tree: TreeView, start: number, end: number): Promise<number[]> {
    if (end - start === 1) return [(await requireNode(tree, 2 * start)).size]
    const run = await this.#source.nodes.run(start, end)
    return Array.from({ length: end - start }, (_, i) => readUint64(run, 2 * NODE_BYTES * i))
  }
}

/** Says that a block is not held. */
export function notAvailable(index: number): SynclineError {
  return new SynclineError('BLOCK_NOT_AVAILABLE', `block ${index} is not held`, { index })
}
