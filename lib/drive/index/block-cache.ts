/**
 * Decoded blocks of an index, those used last kept in memory.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { INDEX_CACHE_BYTES_MAX } from '../../limits.ts'
import { decodeChange, decodeNodes, type ChangeBlock, type Node } from './block.ts'

/** The feed under an index. */
export interface IndexSource {
  readonly length: number
  /** A block, decrypted, fetched first if it must be. It stays unchanged. */
  get(index: number): Promise<Uint8Array>
  /** False if a block would have to be fetched: such ones are asked for ahead of a reader. */
  holds?(index: number): boolean
  /** Blocks from `start` on that one read gives, at most up to `end`; null if the first is not here. */
  getRun?(start: number, end: number): Promise<Uint8Array[] | null>
}

/** Blocks of one page: what is read at once, and dropped at once. */
const PAGE_BLOCKS = 256
/** Counted for each block beside its bytes. */
const BLOCK_OVERHEAD_BYTES = 256

/** A decoded block; its nodes are decoded when they are first asked for. */
export class CachedBlock implements ChangeBlock {
  readonly index: number
  readonly key: Uint8Array
  readonly value: Uint8Array | null
  readonly nodes: Uint8Array
  #decoded: readonly Node[] | null = null

  constructor(index: number, bytes: Uint8Array) {
    const { key, value, nodes } = decodeChange(bytes)
    this.index = index
    this.key = key
    this.value = value
    this.nodes = nodes
  }

  /** @throws SynclineError BAD_MESSAGE when it holds no node of that number. */
  node(level: number): Node {
    const node = this.all()[level]
    if (node === undefined) {
      throw new SynclineError('BAD_MESSAGE', `block ${this.index} holds no node ${level}`, {
        index: this.index
      })
    }
    return node
  }

  /** All nodes of the block. @throws SynclineError BAD_MESSAGE. */
  all(): readonly Node[] {
    this.#decoded ??= decodeNodes(this.nodes, this.index)
    return this.#decoded
  }
}

interface Page {
  byteLength: number
  readonly raw: (Uint8Array | undefined)[]
  readonly decoded: (CachedBlock | undefined)[]
}

/** See the module comment. */
export class BlockCache {
  readonly source: IndexSource
  readonly #bytesMax: number
  readonly #pages = new Map<number, Page>()
  readonly #reading = new Map<number, Promise<void>>()
  #byteLength = 0
  #last = -1
  /** Grows when the cache is cleared: what was read before does not enter it. */
  #epoch = 0

  constructor(source: IndexSource, bytesMax: number = INDEX_CACHE_BYTES_MAX) {
    this.source = source
    this.#bytesMax = bytesMax
  }

  /** A block that is in memory, or null. @throws SynclineError BAD_MESSAGE. */
  peek(index: number): CachedBlock | null {
    const number = Math.floor(index / PAGE_BLOCKS)
    const page = this.#pages.get(number)
    if (page === undefined) return null
    if (number !== this.#last) {
      this.#last = number
      this.#pages.delete(number)
      this.#pages.set(number, page)
    }
    const at = index % PAGE_BLOCKS
    const block = page.decoded[at]
    if (block !== undefined) return block
    const raw = page.raw[at]
    if (raw === undefined) return null
    const decoded = new CachedBlock(index, raw)
    page.decoded[at] = decoded
    page.raw[at] = undefined
    return decoded
  }

  /**
   * A block, read if it must be.
   *
   * @throws SynclineError BAD_MESSAGE when it is none of an index; what the source throws.
   */
  async load(index: number): Promise<CachedBlock> {
    const present = this.peek(index)
    if (present !== null) return present
    await this.#readRun(index)
    const read = this.peek(index)
    if (read !== null) return read
    const epoch = this.#epoch
    const bytes = await this.source.get(index)
    if (epoch !== this.#epoch) return new CachedBlock(index, bytes)
    this.#enter(index, bytes)
    // The cache may be too small even for this one.
    return this.peek(index) ?? new CachedBlock(index, bytes)
  }

  /** True if asking for a block now would go to the network: nobody has it in memory or on disk. */
  isFar(index: number): boolean {
    return this.peek(index) === null && this.source.holds?.(index) !== true
  }

  /** Forgets everything: the feed was rewritten. */
  clear(): void {
    this.#pages.clear()
    this.#reading.clear()
    this.#byteLength = 0
    this.#last = -1
    this.#epoch++
  }

  /** Reads the page of a block as far as it is here; calls for one page share the reading. */
  async #readRun(index: number): Promise<void> {
    const { source } = this
    if (source.getRun === undefined || source.holds?.(index) === false) return
    const number = Math.floor(index / PAGE_BLOCKS)
    const reading = this.#reading.get(number)
    if (reading !== undefined) return reading
    const began = this.#readPage(number, index)
    this.#reading.set(number, began)
    try {
      await began
    } finally {
      if (this.#reading.get(number) === began) this.#reading.delete(number)
    }
  }

  async #readPage(number: number, index: number): Promise<void> {
    const { source } = this
    const epoch = this.#epoch
    const end = Math.min((number + 1) * PAGE_BLOCKS, source.length)
    let start = number * PAGE_BLOCKS
    let run = (await source.getRun?.(start, end)) ?? null
    if (run === null || start + run.length <= index) {
      start = index
      run = (await source.getRun?.(start, end)) ?? null
    }
    if (run === null || epoch !== this.#epoch) return
    for (const [i, bytes] of run.entries()) this.#enter(start + i, bytes)
  }

  #enter(index: number, bytes: Uint8Array): void {
    const number = Math.floor(index / PAGE_BLOCKS)
    let page = this.#pages.get(number)
    if (page === undefined) {
      page = { byteLength: 0, raw: [], decoded: [] }
      this.#pages.set(number, page)
    }
    const at = index % PAGE_BLOCKS
    if (page.raw[at] !== undefined || page.decoded[at] !== undefined) return
    page.raw[at] = bytes
    const byteLength = bytes.byteLength + BLOCK_OVERHEAD_BYTES
    page.byteLength += byteLength
    this.#byteLength += byteLength
    this.#shrink(number)
  }

  /** Drops the pages that were used longest ago, save the one that is being filled. */
  #shrink(filling: number): void {
    if (this.#byteLength <= this.#bytesMax) return
    for (const [number, page] of this.#pages) {
      if (number === filling) continue
      this.#pages.delete(number)
      this.#byteLength -= page.byteLength
      if (this.#byteLength <= this.#bytesMax) return
    }
  }
}
