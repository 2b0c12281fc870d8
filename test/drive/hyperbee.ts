/**
 * Hyperbee, as far as the tests use it.
 *
 * @module
 */
import { createRequire } from 'node:module'
import type { FeedSession } from '../../lib/index.ts'
import type { IndexSource } from '../../lib/drive/index/block-cache.ts'

export interface BeeEntry {
  readonly seq: number
  readonly key: string
  readonly value: string | null
}
export interface BeeBatch {
  put(key: string, value: string): Promise<void>
  del(key: string): Promise<void>
  flush(): Promise<void>
}
export interface Bee extends BeeBatch {
  readonly version: number
  ready(): Promise<void>
  get(key: string): Promise<BeeEntry | null>
  batch(): BeeBatch
  checkout(version: number): Bee
  createReadStream(range?: object): AsyncIterable<BeeEntry>
  createHistoryStream(options?: object): AsyncIterable<BeeEntry & { readonly type: string }>
  createDiffStream(
    version: number,
    range?: object
  ): AsyncIterable<{ left: BeeEntry | null; right: BeeEntry | null }>
  close(): Promise<void>
}

const require = createRequire(import.meta.url)

/** The installed version, for the names of tests. */
export const BEE_VERSION: string = (require('hyperbee/package.json') as { version: string }).version

const Hyperbee = require('hyperbee') as new (feed: object, options: object) => Bee

/** A Hyperbee of texts on a feed. */
export async function openBee(feed: object): Promise<Bee> {
  const bee = new Hyperbee(feed, {
    keyEncoding: 'utf-8',
    valueEncoding: 'utf-8',
    metadata: { contentFeed: null },
    extension: false
  })
  await bee.ready()
  return bee
}

/** The blocks of a session, and what was read of them. */
export function sourceOf(feed: FeedSession): IndexSource & { reads: number } {
  return {
    reads: 0,
    get length() {
      return feed.length
    },
    async get(index) {
      this.reads++
      return feed.get(index) as Promise<Uint8Array>
    }
  }
}

/** Blocks in an array: the source of a reader that needs no feed. */
export function sourceOfBlocks(blocks: readonly Uint8Array[]): IndexSource {
  return {
    get length() {
      return blocks.length
    },
    async get(index) {
      const block = blocks[index]
      if (block === undefined) throw new Error(`block ${index} does not exist`)
      return block
    }
  }
}

/** Random integers below a bound, from a seed. */
export function random(seed: number): (bound: number) => number {
  let state = seed >>> 0 || 1
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
}

/** All items of an iterable. */
export async function listOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}
