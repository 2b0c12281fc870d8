/**
 * The stored tree nodes of one feed, behind a bounded cache.
 *
 * @module
 */
import { NODE_BYTES } from '../../kernels/fold.ts'
import { endBlock } from '../../primitives/flat-tree.ts'
import type { TreeNode } from '../../wire/message.ts'
import { readUint64, writeUint64 } from '../bytes.ts'
import type { NodeRun, Store } from '../store.ts'
import { dropPage, isBlank, keepPage, NodePage, PAGE_BLOCKS, PAGE_NODES } from './node-page.ts'

const HASH_BYTES: number = NODE_BYTES - 8
/** Upper nodes kept, one by one since they lie far apart in a store: those of 64,000 blocks, 200 KiB at most. */
const UPPER_NODES_MAX = 1024

/** Reads a node from dense nodes; null where there is none. */
export function nodeAtOffset(bytes: Uint8Array, offset: number, index: number): TreeNode | null {
  if (isBlank(bytes, offset)) return null
  // By hand: a view to copy from costs three times as much.
  const hash = new Uint8Array(HASH_BYTES)
  for (let i = 0; i < HASH_BYTES; i++) hash[i] = bytes[offset + 8 + i] as number
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
  /** By their numbers. */
  readonly #pages: Map<number, NodePage> = new Map()
  /** Nodes above the pages, first come first; null for those that are not stored, which are asked for as often. */
  readonly #upper: Map<number, TreeNode | null> = new Map()
  /** Changes with each write, so that a read which began before it is not kept. */
  #writes = 0
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
    if (isUpper(index)) return this.#upper.get(index) ?? undefined
    const page = this.#page(index)
    const at = page?.placeOf(index) ?? -1
    return page === undefined || at === -1
      ? undefined
      : (nodeAtOffset(page.bytes, at, index) ?? undefined)
  }

  /** Bytes below a node if it is cached, without the rest of it. */
  sizeOf(index: number): number | undefined {
    if (endBlock(index) > this.length) return undefined
    if (isUpper(index)) return this.#upper.get(index)?.size
    const page = this.#page(index)
    const at = page?.placeOf(index) ?? -1
    if (page === undefined || at === -1 || isBlank(page.bytes, at)) return undefined
    return readUint64(page.bytes, at)
  }

  /** Byte offset of a block if its page is cached and the offset of the page was noted. */
  offsetOf(block: number): number | undefined {
    const offset = this.#page(2 * block)?.offsetOf(block) ?? Number.NaN
    return Number.isNaN(offset) ? undefined : offset
  }

  /** First block of the page that holds a block. */
  pageStart(block: number): number {
    return block - (block % PAGE_BLOCKS)
  }

  /** Notes the byte offset of the first block of a page, if it is cached. */
  noteOffset(block: number, offset: number): void {
    this.#pages.get(block / PAGE_BLOCKS)?.setOffset(offset)
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
      const page = this.#page(node.index)
      if (page === undefined) continue
      const at = page.placeOf(node.index)
      if (at === -1) dropPage(page)
      else {
        putNode(page.bytes, at, node)
        page.changed()
      }
    }
    for (const { first, bytes } of runs) {
      const end = first + bytes.byteLength / NODE_BYTES
      for (let number = Math.floor(first / PAGE_NODES); number * PAGE_NODES < end; number++) {
        const page = this.#pages.get(number)
        if (page !== undefined) dropPage(page)
        this.#upper.delete((number + 1) * PAGE_NODES - 1)
      }
    }
  }

  /** Forgets what was cached, after a truncation or at the end. */
  clear(): void {
    this.#writes++
    for (const page of [...this.#pages.values()]) dropPage(page)
    this.#upper.clear()
  }

  async #loadUpper(index: number): Promise<TreeNode | null> {
    if (this.#upper.has(index)) return null
    const writes = this.#writes
    const node = await this.#store.getNode(index)
    if (writes !== this.#writes) return node
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
    // A cached page that reaches this far has just said that the node is absent.
    if ((this.#pages.get(number)?.placeOf(index) ?? -1) !== -1) return null
    const writes = this.#writes
    const count = Math.min(PAGE_NODES, 2 * this.length - 1 - first)
    const page = new NodePage(number, await this.#store.getNodeRun(first, count), this.#pages)
    if (writes === this.#writes) keepPage(page)
    const at = page.placeOf(index)
    return at === -1 ? null : nodeAtOffset(page.bytes, at, index)
  }

  #page(index: number): NodePage | undefined {
    const page = this.#pages.get(Math.floor(index / PAGE_NODES))
    if (page !== undefined) page.used = true
    return page
  }
}

/** True for the nodes above 64 leaves: the last of each page, which belongs to no subtree of the page. */
function isUpper(index: number): boolean {
  return index % PAGE_NODES === PAGE_NODES - 1
}
