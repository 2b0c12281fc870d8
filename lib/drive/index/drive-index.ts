/**
 * The index of a drive: a B-tree in Hyperbee's format over an append-only feed, every version of it readable.
 *
 * A version is a length of the feed; versions below 2 are empty. Keys and values are views of blocks in memory:
 * they are to be read only, and copied by whoever keeps them for long.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { encodeChanges, type Change } from './batch.ts'
import { decodeHeader } from './block.ts'
import { BlockCache, type IndexSource } from './block-cache.ts'
import { INDEX_DEPTH_MAX } from '../../limits.ts'
import { nodeAt, rootOf, searchNode, TreeCursor, type Bound } from './cursor.ts'
import { diffVersions, type DiffEntry } from './diff.ts'
import { isWholeVersion, versionEnds } from './versions.ts'

/** A key with its value. */
export interface IndexEntry {
  /** Block of the feed that holds it. */
  readonly seq: number
  readonly key: Uint8Array
  /** Null if the writer gave none. */
  readonly value: Uint8Array | null
}

/** One change, as the history tells it. */
export interface HistoryEntry extends IndexEntry {
  readonly type: 'put' | 'del'
}

/** Which keys, in bytewise order; all by default. */
export interface KeyRange {
  readonly gt?: Uint8Array
  readonly gte?: Uint8Array
  readonly lt?: Uint8Array
  readonly lte?: Uint8Array
}

/** Options of {@link DriveIndex.entries}. */
export interface EntriesOptions extends KeyRange {
  /** From the last key to the first. Default: false. */
  readonly reverse?: boolean
  /** Fetches blocks that are not here before they are come to. Default: true. */
  readonly readAhead?: boolean
}

/** Entries that are handed over together at most. */
const BATCH_ENTRIES = 256

/** See the module comment. */
export class DriveIndex {
  readonly #blocks: BlockCache

  /** @param bytesMax - bytes of blocks that stay in memory. */
  constructor(source: IndexSource, bytesMax?: number) {
    this.#blocks = new BlockCache(source, bytesMax)
  }

  /** The newest version: the length of the feed. */
  get version(): number {
    return this.#blocks.source.length
  }

  /**
   * What block 0 says; null while the feed is empty.
   *
   * @throws SynclineError ENCRYPTED when block 0 is no header: the feed is encrypted with a key that was not
   * given, or it is no index at all.
   */
  async header(): Promise<{ readonly contentFeed: Uint8Array | null } | null> {
    const { source } = this.#blocks
    if (source.length === 0) return null
    const header = decodeHeader(await source.get(0))
    if (header === null) {
      throw new SynclineError(
        'ENCRYPTED',
        'block 0 is no header of an index: it needs its encryption key, or it is no drive'
      )
    }
    return header
  }

  /** The entry of a key, or null. @throws SynclineError BAD_MESSAGE. */
  async get(key: Uint8Array, version: number = this.version): Promise<IndexEntry | null> {
    const blocks = this.#blocks
    let node = await rootOf(blocks, version)
    for (let depth = 0; node !== null && depth < INDEX_DEPTH_MAX; depth++) {
      const { at, found } = await searchNode(blocks, node, key)
      if (found) {
        const { index, value, key: stored } = await blocks.load(node.keys[at] as number)
        return { seq: index, key: stored, value }
      }
      if (node.children.length === 0) return null
      const child = await blocks.load(node.children[2 * at] as number)
      node = nodeAt(child, node.children[2 * at + 1] as number)
    }
    if (node === null) return null
    throw new SynclineError('BAD_MESSAGE', 'the index is broken: its nodes are no tree')
  }

  /** Entries in the order of their keys. @throws SynclineError BAD_MESSAGE. */
  async *entries(
    options: EntriesOptions = {},
    version: number = this.version
  ): AsyncGenerator<IndexEntry, void, void> {
    for await (const batch of this.batches(options, version)) for (const entry of batch) yield entry
  }

  /**
   * The same, as many together as are here: whoever takes thousands waits for few promises.
   *
   * @throws SynclineError BAD_MESSAGE.
   */
  async *batches(
    options: EntriesOptions = {},
    version: number = this.version
  ): AsyncGenerator<readonly IndexEntry[], void, void> {
    const blocks = this.#blocks
    const { reverse = false, readAhead = true } = options
    const [low, high] = boundsOf(options)
    const end = reverse ? low : high
    const direction = reverse ? -1 : 1
    const cursor = new TreeCursor(blocks, version, { reverse, readAhead })
    await cursor.open(reverse ? high : low)
    let last: Uint8Array | null = null
    let batch: IndexEntry[] = []
    while (!cursor.settle()) {
      // What is here is not kept back for what peers have.
      if (batch.length > 0 && blocks.isFar(cursor.onKey ? cursor.key : cursor.child[0])) {
        yield batch
        batch = []
      }
      if (!cursor.onKey) {
        await cursor.enter()
        continue
      }
      const block = blocks.peek(cursor.key) ?? (await blocks.load(cursor.key))
      cursor.pass()
      const { key } = block
      if (last !== null && Buffer.compare(key, last) * direction <= 0) throw outOfOrder(block.index)
      if (end !== null) {
        const order = Buffer.compare(key, end.key) * direction
        if (order > 0 || (order === 0 && !end.included)) break
      }
      last = key
      batch.push({ seq: block.index, key, value: block.value })
      if (batch.length < BATCH_ENTRIES) continue
      yield batch
      batch = []
    }
    if (batch.length > 0) yield batch
  }

  /**
   * Keys whose entries differ between two versions, in their order. Subtrees that both share are not read.
   *
   * @throws SynclineError BAD_MESSAGE.
   */
  diff(left: number, right: number, range: KeyRange = {}): AsyncGenerator<DiffEntry, void, void> {
    return diffVersions(this.#blocks, left, right, ...boundsOf(range))
  }

  /**
   * Changes in the order in which they were made: blocks `[start, end)`, the header left out.
   *
   * @throws SynclineError BAD_MESSAGE.
   */
  async *history(
    start: number = 1,
    end: number = this.version
  ): AsyncGenerator<HistoryEntry, void, void> {
    for (let seq = Math.max(1, start); seq < end; seq++) {
      const block = this.#blocks.peek(seq) ?? (await this.#blocks.load(seq))
      const { key, value } = block
      // A deletion is no key of the tree. A value may be missing otherwise, too.
      const put = value !== null || block.all().some((node) => node.keys.includes(seq))
      yield { seq, type: put ? 'put' : 'del', key, value }
    }
  }

  /**
   * Which blocks of `[start, end)` end a version, a byte of 1 each; the others stand within changes that were made
   * together, and a version that would end there cannot be read.
   *
   * @throws SynclineError BAD_MESSAGE.
   */
  versionEnds(start: number, end: number): Promise<Uint8Array> {
    return versionEnds(this.#blocks, start, end)
  }

  /** True if a version can be read; see {@link DriveIndex.versionEnds}. @throws SynclineError BAD_MESSAGE. */
  isWhole(version: number): Promise<boolean> {
    return isWholeVersion(this.#blocks, version)
  }

  /**
   * The blocks that make these changes when they are appended, all at once, at the present length. The first
   * index of a feed brings its header along. Deletions of what is not there give none.
   *
   * @param contentFeed - key of the blobs feed; only the header of a compat drive names it.
   * @throws SynclineError BAD_MESSAGE when the present tree is broken.
   */
  async encode(
    changes: Iterable<Change>,
    contentFeed: Uint8Array | null = null
  ): Promise<Uint8Array[]> {
    return encodeChanges(this.#blocks, changes, contentFeed)
  }

  /** Forgets what is in memory: the feed was cut or rewritten. */
  clear(): void {
    this.#blocks.clear()
  }
}

/** The lower and the upper bound of a range. */
function boundsOf({ gt, gte, lt, lte }: KeyRange): [low: Bound | null, high: Bound | null] {
  return [boundOf(gt, gte), boundOf(lt, lte)]
}

function boundOf(excluded?: Uint8Array, included?: Uint8Array): Bound | null {
  if (excluded !== undefined) return { key: excluded, included: false }
  return included === undefined ? null : { key: included, included: true }
}

function outOfOrder(index: number): SynclineError {
  return new SynclineError('BAD_MESSAGE', 'the index is broken: its keys are out of order', {
    index
  })
}
