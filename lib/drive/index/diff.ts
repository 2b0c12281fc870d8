import { SynclineError } from '../../errors.ts'
import type { BlockCache, CachedBlock } from './block-cache.ts'
import { TreeCursor, type Bound } from './cursor.ts'
import type { IndexEntry } from './drive-index.ts'

/** What two versions have for a key of which they have not the same. */
export interface DiffEntry {
  readonly left: IndexEntry | null
  readonly right: IndexEntry | null
}

/** Compares two versions; see `DriveIndex.diff`. */
export async function* diffVersions(
  blocks: BlockCache,
  left: number,
  right: number,
  low: Bound | null,
  high: Bound | null
): AsyncGenerator<DiffEntry, void, void> {
  const a = new Side(blocks, left, high)
  const b = new Side(blocks, right, high)
  await Promise.all([a.cursor.open(low), b.cursor.open(low)])
  for (;;) {
    const aEnds = a.settle()
    const bEnds = b.settle()
    if (aEnds && bEnds) return
    if (aEnds || bEnds) {
      const side = aEnds ? b : a
      const entry = await side.take()
      if (entry !== null) yield aEnds ? { left: null, right: entry } : { left: entry, right: null }
    } else if (sameItem(a.cursor, b.cursor)) {
      a.cursor.pass()
      b.cursor.pass()
    } else if (a.cursor.onKey && b.cursor.onKey) {
      const order = Buffer.compare((await a.block()).key, (await b.block()).key)
      const one = order <= 0 ? await a.take() : null
      const other = order >= 0 ? await b.take() : null
      if (one !== null || other !== null) yield { left: one, right: other }
    } else if (a.cursor.onKey) {
      await b.cursor.enter()
    } else if (b.cursor.onKey) {
      await a.cursor.enter()
    } else {
      // The one that reaches further may contain the other.
      const order = await compareBounds(blocks, a.cursor.bound, b.cursor.bound)
      if (order >= 0) await a.cursor.enter()
      if (order <= 0) await b.cursor.enter()
    }
  }
}

/** One of the versions. */
class Side {
  readonly cursor: TreeCursor
  readonly #blocks: BlockCache
  readonly #high: Bound | null
  #last: Uint8Array | null = null
  #ended = false

  constructor(blocks: BlockCache, version: number, high: Bound | null) {
    this.cursor = new TreeCursor(blocks, version)
    this.#blocks = blocks
    this.#high = high
  }

  /** True at the end of the tree or of the range. */
  settle(): boolean {
    return this.#ended || this.cursor.settle()
  }

  /** The block of the key that the cursor stands on. */
  async block(): Promise<CachedBlock> {
    const index = this.cursor.key
    return this.#blocks.peek(index) ?? (await this.#blocks.load(index))
  }

  /** Takes the key and moves on; goes into a subtree instead, and gives null. Also null at the end of the range. */
  async take(): Promise<IndexEntry | null> {
    const { cursor } = this
    if (!cursor.onKey) {
      await cursor.enter()
      return null
    }
    const { index, key, value } = await this.block()
    cursor.pass()
    if (this.#last !== null && Buffer.compare(key, this.#last) <= 0) {
      throw new SynclineError('BAD_MESSAGE', 'the index is broken: its keys are out of order', {
        index
      })
    }
    this.#last = key
    if (this.#high !== null) {
      const order = Buffer.compare(key, this.#high.key)
      if (order > 0 || (order === 0 && !this.#high.included)) {
        this.#ended = true
        return null
      }
    }
    return { seq: index, key, value }
  }
}

/** True if both stand on the same key, or on the same subtree. */
function sameItem(a: TreeCursor, b: TreeCursor): boolean {
  if (a.onKey || b.onKey) return a.onKey && b.onKey && a.key === b.key
  const [block, level] = a.child
  const [otherBlock, otherLevel] = b.child
  return block === otherBlock && level === otherLevel
}

/** Compares the keys that follow two subtrees; null is the end. */
async function compareBounds(
  blocks: BlockCache,
  a: number | null,
  b: number | null
): Promise<number> {
  if (a === b) return 0
  if (a === null) return 1
  if (b === null) return -1
  const [{ key }, { key: other }] = await Promise.all([blocks.load(a), blocks.load(b)])
  return Buffer.compare(key, other)
}
