/**
 * The stored tree nodes of one feed, behind a bounded cache.
 *
 * @module
 */
import { NODE_BYTES } from '../../kernels/fold.ts'
import { endBlock } from '../../primitives/flat-tree.ts'
import type { TreeNode } from '../../wire/message.ts'
import { copyBytes, readUint64, writeUint64 } from '../bytes.ts'
import type { NodeRun, Store } from '../store.ts'

/** Nodes of one page: 64 leaves and the parents between them, so one read serves the low half of a path. */
const PAGE_NODES = 128
/** Pages kept: some 2,000 recent leaves, 160 KiB at most. */
const PAGES_MAX = 32
/** Upper nodes kept, one by one since they lie far apart in a store: those of 64,000 blocks, 200 KiB at most. */
const UPPER_NODES_MAX = 1024

/** Reads a node from dense nodes; null where there is none. */
export function nodeAtOffset(bytes: Uint8Array, offset: number, index: number): TreeNode | null {
  const hash = copyBytes(bytes.subarray(offset + 8, offset + NODE_BYTES))
  if (hash.every((byte) => byte === 0)) return null
  return { index, size: readUint64(bytes, offset), hash }
}

/** The nodes of a run, one by one. */
export function nodesOfRun({ first, bytes }: NodeRun): TreeNode[] {
  const nodes: TreeNode[] = []
  for (let at = 0; at < bytes.byteLength; at += NODE_BYTES) {
    const node = nodeAtOffset(bytes, at, first + at / NODE_BYTES)
    if (node !== null) nodes.push(node)
  }
  return nodes
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
  /** Nodes above the pages, first come first. */
  readonly #upper: Map<number, TreeNode> = new Map()
  /** Changes with each write, so that a read which began before it is not kept. */
  #writes = 0
  /** The page used last. */
  #recent = -1
  /** Length of the feed, in blocks. */
  length: number

  constructor(store: Store, length: number) {
    this.#store = store
    this.length = length
  }

  async get(index: number): Promise<TreeNode | null> {
    const cached = this.peek(index)
    if (cached !== undefined) return cached
    if (endBlock(index) > this.length) return null
    return isUpper(index) ? this.#loadUpper(index) : this.#loadPage(index)
  }

  /** The stored node if it is cached. */
  peek(index: number): TreeNode | undefined {
    if (endBlock(index) > this.length) return undefined
    if (isUpper(index)) return this.#upper.get(index)
    const number = Math.floor(index / PAGE_NODES)
    const at = (index - number * PAGE_NODES) * NODE_BYTES
    const page = this.#pages.get(number)
    if (page === undefined || page.byteLength <= at) return undefined
    this.#touch(number, page)
    return nodeAtOffset(page, at, index) ?? undefined
  }

  /** Dense nodes below the blocks `[start, end)`: leaf `start + i` at byte 80 i. Not cached. */
  run(start: number, end: number): Promise<Uint8Array> {
    return this.#store.getNodeRun(2 * start, 2 * (end - start) - 1)
  }

  /** Keeps the cache in step with nodes that were written. */
  written(nodes: readonly TreeNode[], runs: readonly NodeRun[]): void {
    this.#writes++
    for (const node of nodes) {
      if (isUpper(node.index)) {
        this.#upper.delete(node.index)
        continue
      }
      const number = Math.floor(node.index / PAGE_NODES)
      const page = this.#pages.get(number)
      const at = (node.index - number * PAGE_NODES) * NODE_BYTES
      if (page === undefined) continue
      if (page.byteLength > at) putNode(page, at, node)
      else this.#pages.delete(number)
    }
    for (const { first, bytes } of runs) {
      const end = first + bytes.byteLength / NODE_BYTES
      for (let number = Math.floor(first / PAGE_NODES); number * PAGE_NODES < end; number++) {
        this.#pages.delete(number)
        this.#upper.delete((number + 1) * PAGE_NODES - 1)
      }
    }
  }

  /** Forgets what was cached, after a truncation. */
  clear(): void {
    this.#writes++
    this.#pages.clear()
    this.#upper.clear()
  }

  async #loadUpper(index: number): Promise<TreeNode | null> {
    const writes = this.#writes
    const node = await this.#store.getNode(index)
    if (node === null || writes !== this.#writes) return node
    if (this.#upper.size >= UPPER_NODES_MAX) {
      for (const [oldest] of this.#upper) {
        this.#upper.delete(oldest)
        break
      }
    }
    this.#upper.set(index, node)
    return node
  }

  async #loadPage(index: number): Promise<TreeNode | null> {
    const number = Math.floor(index / PAGE_NODES)
    const first = number * PAGE_NODES
    const at = (index - first) * NODE_BYTES
    const cached = this.#pages.get(number)
    // A cached page that reaches this far has just said that the node is absent.
    if (cached !== undefined && cached.byteLength > at) return null
    const writes = this.#writes
    const count = Math.min(PAGE_NODES, 2 * this.length - 1 - first)
    const page = await this.#store.getNodeRun(first, count)
    if (writes === this.#writes) this.#touch(number, page)
    return nodeAtOffset(page, at, index)
  }

  /** Makes a page the most recent one, and lets the oldest go if there are too many. */
  #touch(number: number, page: Uint8Array): void {
    if (number === this.#recent && this.#pages.get(number) === page) return
    this.#recent = number
    this.#pages.delete(number)
    this.#pages.set(number, page)
    if (this.#pages.size <= PAGES_MAX) return
    for (const [oldest] of this.#pages) {
      this.#pages.delete(oldest)
      return
    }
  }
}

/** True for the nodes above 64 leaves: the last of each page, which belongs to no subtree of the page. */
function isUpper(index: number): boolean {
  return index % PAGE_NODES === PAGE_NODES - 1
}
