/**
 * The stored tree nodes of one feed, behind a bounded cache.
 *
 * @module
 */
import { NODE_BYTES } from '../kernels/fold.ts'
import { endBlock } from '../primitives/flat-tree.ts'
import type { TreeNode } from '../wire/message.ts'
import { copyBytes, readUint64, writeUint64 } from './bytes.ts'
import type { NodeRun, Store } from './store.ts'

/** Nodes of one page: 64 leaves and most of the parents above them, so one read serves whole paths. */
const PAGE_NODES = 128
/** Pages kept: the upper nodes that all proofs share and some 2,000 recent leaves, 160 KiB at most. */
const PAGES_MAX = 32

/** Reads a node from dense nodes; null where there is none. */
export function nodeAtOffset(bytes: Uint8Array, offset: number, index: number): TreeNode | null {
  const hash = copyBytes(bytes.subarray(offset + 8, offset + NODE_BYTES))
  if (hash.every((byte) => byte === 0)) return null
  return { index, size: readUint64(bytes, offset), hash }
}

/** Writes a node into dense nodes. */
export function putNode(bytes: Uint8Array, offset: number, node: Omit<TreeNode, 'index'>): void {
  writeUint64(bytes, offset, node.size)
  bytes.set(node.hash, offset + 8)
}

/**
 * See the module comment. A node that reaches beyond `length` blocks counts as absent, whatever an
 * older and longer tree left in the store.
 */
export class TreeNodes {
  readonly #store: Store
  /** Page number -> dense nodes, least recently used first. A page may end early. */
  readonly #pages: Map<number, Uint8Array> = new Map()
  /** Changes with each write, so that a read which began before it is not kept. */
  #writes = 0
  /** Length of the feed, in blocks. */
  length: number

  constructor(store: Store, length: number) {
    this.#store = store
    this.length = length
  }

  async get(index: number): Promise<TreeNode | null> {
    if (endBlock(index) > this.length) return null
    const number = Math.floor(index / PAGE_NODES)
    const at = (index - number * PAGE_NODES) * NODE_BYTES
    let page = this.#pages.get(number)
    if (page === undefined || page.byteLength <= at) {
      const first = number * PAGE_NODES
      const writes = this.#writes
      page = await this.#store.getNodeRun(first, Math.min(PAGE_NODES, 2 * this.length - 1 - first))
      if (page.byteLength <= at) return null
      if (writes !== this.#writes) return nodeAtOffset(page, at, index)
    }
    this.#pages.delete(number)
    this.#pages.set(number, page)
    if (this.#pages.size > PAGES_MAX) {
      for (const [oldest] of this.#pages) {
        this.#pages.delete(oldest)
        break
      }
    }
    return nodeAtOffset(page, at, index)
  }

  /** The nodes at `indexes`, in their order. */
  async many(indexes: readonly number[]): Promise<(TreeNode | null)[]> {
    const nodes: (TreeNode | null)[] = []
    for (const index of indexes) nodes.push(await this.get(index))
    return nodes
  }

  /** Dense nodes below the blocks `[start, end)`: leaf `start + i` at byte 80 i. Not cached. */
  run(start: number, end: number): Promise<Uint8Array> {
    return this.#store.getNodeRun(2 * start, 2 * (end - start) - 1)
  }

  /** Keeps the cache in step with nodes that were written. */
  written(nodes: readonly TreeNode[], runs: readonly NodeRun[]): void {
    this.#writes++
    for (const node of nodes) {
      const number = Math.floor(node.index / PAGE_NODES)
      const page = this.#pages.get(number)
      const at = (node.index - number * PAGE_NODES) * NODE_BYTES
      if (page === undefined) continue
      if (page.byteLength > at) putNode(page, at, node)
      else this.#pages.delete(number)
    }
    for (const { first, bytes } of runs) {
      const end = first + bytes.byteLength / NODE_BYTES
      for (let n = Math.floor(first / PAGE_NODES); n * PAGE_NODES < end; n++) this.#pages.delete(n)
    }
  }

  /** Forgets what was cached, after a truncation. */
  clear(): void {
    this.#writes++
    this.#pages.clear()
  }
}
