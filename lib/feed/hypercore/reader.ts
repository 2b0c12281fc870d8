/**
 * Reads blocks and tree nodes of a live Hypercore.
 *
 * @module
 */
import { endBlock } from '../../primitives/flat-tree.ts'
import type { TreeNode } from '../../wire/message.ts'
import type { HypercoreReads, HypercoreState } from './hypercore-like.ts'
import { asBytes } from './proof.ts'

/**
 * See the module comment. Nodes are copies; blocks are the bytes that the storage read. Nodes that reach beyond the end are
 * absent: a truncation left them behind.
 */
export class HypercoreReader {
  /** A node, or null; nodes that are asked for in one go become one read. */
  readonly node: (index: number) => Promise<TreeNode | null>
  /** A block, or null; blocks that are asked for in one go become one read. */
  readonly block: (index: number) => Promise<Uint8Array | null>
  readonly #state: HypercoreState

  constructor(state: HypercoreState) {
    this.#state = state
    this.node = coalesced((indexes) => this.nodes(indexes))
    this.block = coalesced((indexes) => this.blocks(indexes))
  }

  /** Nodes, or null in their place, by one read. */
  async nodes(indexes: readonly number[]): Promise<(TreeNode | null)[]> {
    const { length } = this.#state
    const nodes = await this.#read(indexes, async (reads, index) =>
      endBlock(index) > length ? null : reads.getTreeNode(index)
    )
    return nodes.map((node) => node && copyNode(node))
  }

  /** Blocks, or null in their place, by one read. */
  async blocks(indexes: readonly number[]): Promise<(Uint8Array | null)[]> {
    const blocks = await this.#read(indexes, (reads, index) => reads.getBlock(index))
    return blocks.map((block) => block && asBytes(block))
  }

  async #read<T>(
    indexes: readonly number[],
    read: (reads: HypercoreReads, index: number) => Promise<T>
  ): Promise<T[]> {
    if (indexes.length === 0) return []
    const reads = this.#state.storage.read()
    const values = indexes.map((index) => read(reads, index))
    reads.tryFlush()
    return Promise.all(values)
  }
}

/** A copy with bytes of its own: hypercore shares nodes with its tree. */
export function copyNode({ index, size, hash }: TreeNode): TreeNode {
  return { index, size, hash: Uint8Array.from(hash) }
}

function coalesced<T>(
  read: (indexes: readonly number[]) => Promise<(T | null)[]>
): (index: number) => Promise<T | null> {
  let wanted: number[] = []
  let values: Promise<(T | null)[]> | null = null
  return async (index) => {
    const at = wanted.push(index) - 1
    values ??= Promise.resolve().then(() => {
      const indexes = wanted
      wanted = []
      values = null
      return read(indexes)
    })
    return (await values)[at] ?? null
  }
}
