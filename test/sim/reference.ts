/**
 * What the writers of a world wrote: the truth that everything else is held against.
 *
 * @module
 */
import { createKeyPair } from '../../lib/feed/signature.ts'
import type { KeyPair } from '../../lib/feed/store.ts'
import { leafHash, parentHash } from '../../lib/kernels/fold.ts'
import { depth, leftChild, rightChild } from '../../lib/primitives/flat-tree.ts'
import { type BlockSizes, drawBlock, type FeedOptions } from './options.ts'
import type { Prng } from './prng.ts'
import type { NodeFeed } from './node.ts'

/** Blocks of one feed under each of its forks. */
export class Reference {
  readonly options: FeedOptions
  readonly keyPair: KeyPair
  readonly #prng: Prng
  readonly #forks: Uint8Array[][] = [[]]
  #writes: Promise<unknown> = Promise.resolve()

  constructor(prng: Prng, options: FeedOptions) {
    this.#prng = prng
    this.options = options
    this.keyPair = createKeyPair(prng.bytes(32))
  }

  get fork(): number {
    return this.#forks.length - 1
  }

  get length(): number {
    return this.#blocks.length
  }

  /** The right bytes of a block, or null if there is no such block. */
  block(fork: number, index: number): Uint8Array | null {
    return this.#forks[fork]?.[index] ?? null
  }

  /** The right hash of a tree node, with the bytes below it. */
  node(fork: number, index: number): { readonly size: number; readonly hash: Uint8Array } | null {
    if (depth(index) === 0) {
      const block = this.block(fork, index / 2)
      return block && { size: block.byteLength, hash: leafHash(block) }
    }
    const left = this.node(fork, leftChild(index))
    const right = this.node(fork, rightChild(index))
    return left && right && { size: left.size + right.size, hash: parentHash(left, right) }
  }

  append(entry: NodeFeed, count: number, sizes: BlockSizes): void {
    const blocks = Array.from({ length: count }, () => drawBlock(this.#prng, sizes))
    this.#blocks.push(...blocks)
    this.#after(() => entry.feed.append(blocks))
  }

  /** Gives an empty feed that can be written all that there is. */
  copyTo(entry: NodeFeed): void {
    const blocks = [...this.#blocks]
    this.#after(() => entry.feed.append(blocks))
  }

  truncate(entry: NodeFeed, length: number): void {
    this.#forks.push(this.#blocks.slice(0, length))
    this.#after(() => entry.feed.truncate(length))
  }

  clear(entry: NodeFeed, start: number, end: number): void {
    this.#after(() => entry.feed.clear(start, end))
  }

  /** Resolves when everything is written. */
  written(): Promise<unknown> {
    return this.#writes
  }

  get #blocks(): Uint8Array[] {
    return this.#forks[this.fork] as Uint8Array[]
  }

  #after(write: () => Promise<unknown>): void {
    this.#writes = this.#writes.then(write)
  }
}
