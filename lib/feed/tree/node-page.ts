/**
 * Pages of stored tree nodes in memory, of all feeds together.
 *
 * @module
 */
import { NODE_BYTES } from '../../kernels/fold.ts'
import { NODE_PAGES_MAX } from '../../limits.ts'
import { readUint64 } from '../bytes.ts'

/** Nodes of one page: 64 leaves and the parents between them, so one read serves the low half of a path. */
export const PAGE_NODES = 128
/** Blocks of one page. */
export const PAGE_BLOCKS = 64

/** Dense nodes, the first at flat index `number * PAGE_NODES`. */
export class NodePage {
  readonly number: number
  /** May end early. */
  readonly bytes: Uint8Array
  /** Taken out of it when the page has to go. */
  readonly owner: Map<number, NodePage>
  /** True if it was used since the cache last looked. */
  used = true
  /** Byte offset of each block from the first of the page on, and of the one after the last; null while not known. */
  #offsets: Float64Array | null = null

  constructor(number: number, bytes: Uint8Array, owner: Map<number, NodePage>) {
    this.number = number
    this.bytes = bytes
    this.owner = owner
  }

  /** Place of a node in `bytes`, or -1 if the page ends before it. */
  placeOf(index: number): number {
    const at = (index - this.number * PAGE_NODES) * NODE_BYTES
    return at < this.bytes.byteLength ? at : -1
  }

  /** Notes where the first block of the page begins; the others follow as far as their leaves are here. */
  setOffset(offset: number): void {
    const { bytes } = this
    const offsets = new Float64Array(PAGE_BLOCKS + 1).fill(Number.NaN)
    offsets[0] = offset
    for (let i = 0; i < PAGE_BLOCKS; i++) {
      const at = 2 * NODE_BYTES * i
      if (at + NODE_BYTES > bytes.byteLength || isBlank(bytes, at)) break
      offsets[i + 1] = (offsets[i] as number) + readUint64(bytes, at)
    }
    this.#offsets = offsets
  }

  /** Byte offset of a block of the page, or NaN if it is not known. */
  offsetOf(block: number): number {
    if (this.#offsets === null) return Number.NaN
    return this.#offsets[block - this.number * PAGE_BLOCKS] as number
  }

  /** A node of the page was written. */
  changed(): void {
    this.#offsets = null
  }
}

/** True if no node stands at `at`: it would have a hash. */
export function isBlank(bytes: Uint8Array, at: number): boolean {
  for (let i = at + 8; i < at + NODE_BYTES; i++) if (bytes[i] !== 0) return false
  return true
}

/** Pages in the order in which they came; those used since get a second chance. */
const pages: Set<NodePage> = new Set()

/** Adds a page to the cache, in the place of an older one of its number, and lets others go if there are too many. */
export function keepPage(page: NodePage): void {
  const older = page.owner.get(page.number)
  if (older !== undefined) pages.delete(older)
  page.owner.set(page.number, page)
  pages.add(page)
  for (const oldest of pages) {
    if (pages.size <= NODE_PAGES_MAX) return
    pages.delete(oldest)
    if (oldest.used) {
      oldest.used = false
      pages.add(oldest)
    } else oldest.owner.delete(oldest.number)
  }
}

/** Takes a page out of the cache. */
export function dropPage(page: NodePage): void {
  page.owner.delete(page.number)
  pages.delete(page)
}
