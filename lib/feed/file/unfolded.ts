/**
 * What the entries of a log add to the files `tree` and `bitfield`, which are brought up to date only
 * when the log is folded into them.
 *
 * @module
 */
import { NODE_BYTES } from '../../kernels/fold.ts'
import { blockCount, endBlock, parent } from '../../primitives/flat-tree.ts'
import { PAGE_BITS } from '../../primitives/bitmap.ts'
import { type BlockRange, joinRanges } from '../../primitives/ranges.ts'
import type { TreeNode } from '../../wire/message.ts'
import type { LogEntry, LogHeader, ReorgHint } from './oplog.ts'
import type { Head } from '../store.ts'
import { NodeTable } from './node-table.ts'
import { putNode } from '../tree/tree-nodes.ts'

/** Bytes of a bitfield page. */
export const PAGE_BYTES: number = PAGE_BITS / 8
/** Forks that a header remembers, as hypercore 10 does. */
const REORG_HINTS_MAX = 4

/** A change of bits; half-open. */
export interface BitChange {
  readonly start: number
  readonly end: number
  readonly drop: boolean
}

/** Bytes for a place in a file. */
export interface FileWrite {
  readonly position: number
  readonly bytes: Uint8Array
}

/**
 * The head of the feed and all that is newer than the files. Invariants:
 * U1: a node exists only if all its blocks lie below the length of the head.
 * U2: of the nodes in the file only those count whose blocks lie below `cut`, if there is one.
 * U3: of the nodes in the file none counts that is stray.
 */
export class Unfolded {
  head: Head
  readonly userData: Map<string, Uint8Array>
  reorgs: readonly ReorgHint[]
  readonly #nodes: NodeTable = new NodeTable()
  #bits: BitChange[] = []
  #cut: number | null = null
  /** Flat indexes, ascending and disjoint. */
  #strays: readonly BlockRange[] = []
  #hides = false

  constructor(header: LogHeader) {
    this.head = header.head
    this.userData = new Map(header.userData)
    this.reorgs = header.reorgs
  }

  /** True if the files and the header say all. */
  get empty(): boolean {
    const strays = this.#strays.length
    return this.#nodes.size + this.#bits.length + strays === 0 && this.#cut === null
  }

  /** Flat index behind the last node that is newer than the file. */
  get nodesEnd(): number {
    let end = 0
    for (const index of this.#nodes.indexes()) end = Math.max(end, index + 1)
    return end
  }

  /** Flat indexes where `tree` is to be made blank. */
  get strays(): readonly BlockRange[] {
    return this.#strays
  }

  /** True if nodes were taken back or cut off: dense nodes written to the file meanwhile would be hidden, and then lost. */
  get hides(): boolean {
    return this.#hides || this.#cut !== null || this.#strays.length > 0
  }

  /** Changes of bits in their order. */
  get bits(): readonly BitChange[] {
    return this.#bits
  }

  /** Blocks that were never cut off since the last fold, or null if none were: `tree` is to be cut there. */
  get cut(): number | null {
    return this.#cut
  }

  /** Takes all nodes in ranges of flat indexes for absent. */
  hide(strays: readonly BlockRange[]): void {
    this.#strays = joinRanges([...this.#strays, ...strays])
    for (const index of this.#nodes.indexes()) if (this.#isStray(index)) this.#nodes.delete(index)
  }

  /** Takes an entry over; `rootHash` belongs to its upgrade (empty while it is not known yet). */
  apply(entry: LogEntry, rootHash: Uint8Array): void {
    const { userData, nodes, upgrade, bits } = entry
    if (userData !== null) {
      if (userData.value === null) this.userData.delete(userData.key)
      else this.userData.set(userData.key, userData.value)
    }
    if (upgrade !== null) {
      const { fork, ancestors, length, signature } = upgrade
      if (ancestors < this.head.length) this.#truncate(ancestors)
      if (fork !== this.head.fork && this.head.length > 0) this.#addReorg(fork, ancestors)
      this.head = { fork, length, rootHash, signature }
    }
    for (const node of nodes) {
      const blank = node.size === 0 && node.hash.every((byte) => byte === 0)
      this.#hides ||= blank
      this.#nodes.put(node.index, blank ? null : node)
    }
    if (bits !== null) this.#bits.push(bits)
  }

  /** Adds a change of bits that no entry speaks of. */
  changeBits(change: BitChange): void {
    this.#bits.push(change)
  }

  /** A node that is newer than the file; null if it is absent, undefined if the file decides. */
  node(index: number): TreeNode | null | undefined {
    const end = endBlock(index)
    if (end > this.head.length) return null
    const node = this.#nodes.get(index)
    if (node !== undefined) return node
    const isGone = (this.#cut !== null && end > this.#cut) || this.#isStray(index)
    return isGone ? null : undefined
  }

  /** Corrects nodes as the file has them (`bytes`, the first at flat index `first`) to what counts. */
  overlay(first: number, bytes: Uint8Array): void {
    const count = bytes.byteLength / NODE_BYTES
    const end = first + count
    for (const [from, to] of this.#strays) {
      if (from >= end || to <= first) continue
      bytes.fill(0, NODE_BYTES * Math.max(from - first, 0), NODE_BYTES * (to - first))
    }
    // Below this index only nodes on the path to the end can be absent by U1 and U2.
    const limit = Math.min(this.head.length, this.#cut ?? this.head.length)
    for (const index of crossing(limit)) {
      if (index >= first && index < end) put(bytes, index - first, this.node(index) ?? null)
    }
    for (let index = Math.max(first, 2 * limit); index < end; index++) {
      const node = this.node(index)
      if (node !== undefined) put(bytes, index - first, node)
    }
    if (this.#nodes.size <= count) {
      for (const index of this.#nodes.indexes()) {
        if (index >= first && index < end) this.#lay(bytes, first, index)
      }
      return
    }
    for (let index = first; index < end; index++) this.#lay(bytes, first, index)
  }

  /** Nodes for `tree`, neighbours together. */
  treeWrites(): FileWrite[] {
    const writes: FileWrite[] = []
    const indexes = [...this.#nodes.indexes()].sort((a, b) => a - b)
    for (let i = 0; i < indexes.length;) {
      let to = i + 1
      while (to < indexes.length && indexes[to] === (indexes[to - 1] as number) + 1) to++
      const run = indexes.slice(i, to)
      const bytes = new Uint8Array(NODE_BYTES * run.length)
      for (const [at, index] of run.entries()) put(bytes, at, this.node(index) ?? null)
      writes.push({ position: NODE_BYTES * (run[0] as number), bytes })
      i = to
    }
    return writes
  }

  /** Numbers of the bitfield pages that change. */
  pages(): number[] {
    const pages = new Set<number>()
    for (const { start, end } of this.#bits) {
      for (let page = Math.floor(start / PAGE_BITS); page * PAGE_BITS < end; page++) pages.add(page)
    }
    return [...pages].sort((a, b) => a - b)
  }

  /** Brings one page of the bitfield up to date. */
  changePage(number: number, page: Uint8Array): void {
    const first = number * PAGE_BITS
    for (const { start, end, drop } of this.#bits) {
      fill(page, Math.max(start - first, 0), Math.min(end - first, PAGE_BITS), !drop)
    }
  }

  /** Everything stands in the files now. */
  folded(): void {
    this.#nodes.clear()
    this.#bits = []
    this.#cut = null
    this.#strays = []
    this.#hides = false
  }

  #isStray(index: number): boolean {
    return this.#strays.some(([from, to]) => index >= from && index < to)
  }

  /** Puts a node where it belongs among dense ones, if it is here and lies below the head. */
  #lay(bytes: Uint8Array, first: number, index: number): void {
    const node = endBlock(index) > this.head.length ? undefined : this.#nodes.get(index)
    if (node !== undefined) put(bytes, index - first, node)
  }

  #truncate(length: number): void {
    for (const index of this.#nodes.indexes()) {
      if (endBlock(index) > length) this.#nodes.delete(index)
    }
    for (const index of crossing(length)) this.#nodes.put(index, null)
    this.#cut = Math.min(this.#cut ?? length, length)
  }

  #addReorg(to: number, ancestors: number): void {
    const kept = this.reorgs.slice(1 - REORG_HINTS_MAX)
    while ((kept.at(-1)?.ancestors ?? 0) > ancestors) kept.pop()
    this.reorgs = [...kept, { from: this.head.fork, to, ancestors }]
  }
}

/** Nodes that lie below flat index `2 * length` and yet cover block `length`: roots that a feed of this length has not. */
export function crossing(length: number): number[] {
  const indexes: number[] = []
  for (let index = 2 * length; blockCount(index) <= 2 * length;) {
    index = parent(index)
    if (index < 2 * length) indexes.push(index)
  }
  return indexes
}

/** Bytes of `tree` for `length` blocks. */
export function treeBytes(length: number): number {
  return length === 0 ? 0 : NODE_BYTES * (2 * length - 1)
}

function put(bytes: Uint8Array, at: number, node: TreeNode | null): void {
  if (node === null) bytes.fill(0, NODE_BYTES * at, NODE_BYTES * (at + 1))
  else putNode(bytes, NODE_BYTES * at, node)
}

/** Sets or clears bits `[from, to)` of a page: bit i is byte i >> 3, mask 1 << (i & 7). */
function fill(page: Uint8Array, from: number, to: number, value: boolean): void {
  for (let bit = from; bit < to;) {
    if (bit % 8 === 0 && to - bit >= 8) {
      const whole = Math.floor((to - bit) / 8)
      page.fill(value ? 0xff : 0, bit / 8, bit / 8 + whole)
      bit += 8 * whole
      continue
    }
    const byte = page[bit >> 3] as number
    const mask = 1 << (bit & 7)
    page[bit >> 3] = value ? byte | mask : byte & ~mask
    bit++
  }
}
