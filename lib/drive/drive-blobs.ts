/**
 * The blobs feed of a drive: the bytes of its files, cut into blocks.
 *
 * Hyperblobs' names where it has them. Each file begins with a block of its own.
 *
 * @module
 */
import { Readable } from 'node:stream'
import { SynclineError } from '../errors.ts'
import type { AppendOptions } from '../feed/feed.ts'
import { Mutex } from '../feed/mutex.ts'
import { BLOB_READ_AHEAD_BLOCKS, BLOB_READ_AHEAD_BYTES } from '../limits.ts'
import type { FeedSession } from '../synchronizer/feed-session.ts'
import { joinSignals, stoppable, type WaitOptions } from '../synchronizer/waiting.ts'
import { checkMapRange, decodeBlockMap, type MappedBlock } from './block-map.ts'
import { BlobWriter } from './blob-writer.ts'
import type { BlobRange } from './entry.ts'

/** How reads wait for blocks that are not here; for each block, not for all. */
export interface BlobWaitOptions extends WaitOptions {
  /** False: an error instead of asking peers. Default: true. */
  readonly wait?: boolean
  /** As `timeoutMs`, Hyperdrive's name. */
  readonly timeout?: number
}

/** Which bytes of a file are read; all by default. */
export interface BlobReadOptions extends BlobWaitOptions {
  /** First byte. */
  readonly start?: number
  /** Last byte, included. */
  readonly end?: number
  /** Instead of `end`. */
  readonly length?: number
}

/** Writers of one feed wait for each other, whoever made them: the blocks of a file are not mixed with others. */
const locks = new WeakMap<FeedSession, Mutex>()

/** See the module comment. */
export class DriveBlobs {
  /** The feed. */
  readonly core: FeedSession

  constructor(core: FeedSession) {
    this.core = core
  }

  get key(): Uint8Array {
    return this.core.key
  }

  get discoveryKey(): Uint8Array {
    return this.core.discoveryKey
  }

  /**
   * Bytes of a file; they are the caller's. Null if they are not here and `wait` is false.
   *
   * @throws SynclineError BAD_MESSAGE when the feed does not hold what the range says; TIMEOUT.
   */
  async get(id: BlobRange, options: BlobReadOptions = {}): Promise<Buffer | null> {
    const pieces: Uint8Array[] = []
    try {
      for await (const piece of this.read(id, options)) pieces.push(piece)
    } catch (error) {
      const absent = error instanceof SynclineError && error.code === 'BLOCK_NOT_AVAILABLE'
      if (absent && options.wait === false) return null
      throw error
    }
    const [only] = pieces
    if (pieces.length !== 1 || only === undefined) return Buffer.concat(pieces)
    return Buffer.from(only.buffer, only.byteOffset, only.byteLength)
  }

  /**
   * Bytes of a file, piece by piece; blocks are fetched some ahead of the reader.
   *
   * @throws SynclineError BAD_MESSAGE, BLOCK_NOT_AVAILABLE (with `wait` false), TIMEOUT; the signal's reason.
   */
  async *read(
    id: BlobRange,
    options: BlobReadOptions = {}
  ): AsyncGenerator<Uint8Array, void, void> {
    const blocks = id.blockMap === true ? await this.#mapped(id, options) : null
    const byteLength = blocks === null ? id.byteLength : byteLengthOf(blocks)
    const [start, end] = spanOf(byteLength, options)
    if (start >= end) return
    const first = blocks === null ? await this.#seek(id, start, options) : seekMap(blocks, start)
    const last =
      blocks === null ? await this.#lastBlock(id, end, options) : seekMap(blocks, end - 1).at
    const indexOf = (at: number): number =>
      blocks === null ? id.blockOffset + at : (blocks[at] as MappedBlock).index
    let skip = first.offset
    let left = end - start
    let at = first.at
    for await (const block of this.#readBlocks(indexOf, first.at, last + 1, options)) {
      const expected = blocks?.[at++]?.byteLength
      if (expected !== undefined && block.byteLength !== expected) break
      const piece = block.subarray(skip, skip + left)
      skip = 0
      left -= piece.byteLength
      if (piece.byteLength > 0) yield piece
      if (left === 0) return
    }
    throw new SynclineError('BAD_MESSAGE', 'the blocks of a file are not those of its entry', {
      index: id.blockOffset
    })
  }

  /** As {@link DriveBlobs.read}, as a stream. */
  createReadStream(id: BlobRange, options: BlobReadOptions = {}): Readable {
    const read = (signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> =>
      this.read(id, { ...options, signal })
    return Readable.from(stoppable(read, options.signal), { objectMode: false })
  }

  /** Writes a file of which all bytes are known; durable as asked when it resolves. */
  async put(bytes: Uint8Array | string, options: AppendOptions = {}): Promise<BlobRange> {
    const writer = this.createWriter(options)
    try {
      await writer.write(typeof bytes === 'string' ? Buffer.from(bytes) : bytes)
      return await writer.end()
    } finally {
      writer.destroy()
    }
  }

  /** Writes a file piece by piece. Other writers wait from its first block until it ends or is destroyed. */
  createWriter(options: AppendOptions = {}): BlobWriter {
    let lock = locks.get(this.core)
    if (lock === undefined) locks.set(this.core, (lock = new Mutex()))
    return new BlobWriter(this.core, lock, options)
  }

  /** The blocks of a file that has a map, else null. */
  async getBlockMap(
    id: BlobRange,
    options: BlobWaitOptions = {}
  ): Promise<{ readonly blocks: readonly MappedBlock[] } | null> {
    return id.blockMap === true ? { blocks: await this.#mapped(id, options) } : null
  }

  /** Bytes of a file: with a map they are not what the range says. */
  async getByteLength(id: BlobRange, options: BlobWaitOptions = {}): Promise<number> {
    return id.blockMap === true ? byteLengthOf(await this.#mapped(id, options)) : id.byteLength
  }

  /** True if all blocks of a file are here. */
  async has(id: BlobRange): Promise<boolean> {
    const whole = await this.core.has(id.blockOffset, id.blockOffset + id.blockLength)
    if (!whole || id.blockMap !== true) return whole
    const blocks = await this.#mapped(id, { wait: false })
    return blocks.every(({ index }) => this.core.holds(index))
  }

  /** Drops the blocks of a file, and those of its map. */
  async clear(id: BlobRange): Promise<void> {
    if (
      id.blockMap === true &&
      (await this.core.has(id.blockOffset, id.blockOffset + id.blockLength))
    ) {
      for (const { index } of await this.#mapped(id, { wait: false })) await this.core.clear(index)
    }
    if (id.blockLength === 0) return
    await this.core.clear(id.blockOffset, id.blockOffset + id.blockLength)
  }

  async #mapped(id: BlobRange, options: BlobWaitOptions): Promise<MappedBlock[]> {
    checkMapRange(id)
    const blocks: Uint8Array[] = []
    const indexOf = (at: number): number => id.blockOffset + at
    for await (const block of this.#readBlocks(indexOf, 0, id.blockLength, options))
      blocks.push(block)
    return decodeBlockMap(blocks)
  }

  /** Number of the block within a file that holds a byte of it, and the offset in the block. */
  async #seek(
    id: BlobRange,
    byte: number,
    options: BlobWaitOptions
  ): Promise<{ at: number; offset: number }> {
    if (byte === 0) return { at: 0, offset: 0 }
    const wait = waitOf(options)
    // Where bytes are is known below the length that is known: a block of the file brings it.
    if (wait.wait && this.core.length < id.blockOffset + id.blockLength) {
      await this.core.get(id.blockOffset, { ...wait, raw: true, valueEncoding: 'binary' })
    }
    const found = await this.core.seek(id.byteOffset + byte, wait)
    if (found === null) throw notHere(id.blockOffset)
    const [index, offset] = found
    const at = index - id.blockOffset
    if (at >= 0 && at < id.blockLength) return { at, offset }
    throw new SynclineError('BAD_MESSAGE', 'the bytes of a file are not in its blocks', { index })
  }

  async #lastBlock(id: BlobRange, end: number, options: BlobWaitOptions): Promise<number> {
    if (end === id.byteLength) return id.blockLength - 1
    return (await this.#seek(id, end - 1, options)).at
  }

  /** Blocks in order, some of them on their way before they are come to. */
  async *#readBlocks(
    indexOf: (at: number) => number,
    start: number,
    end: number,
    options: BlobWaitOptions
  ): AsyncGenerator<Uint8Array, void, void> {
    const stop = new AbortController()
    const { signal, ...wait } = waitOf(options)
    const get = {
      ...wait,
      valueEncoding: 'binary' as const,
      signal: joinSignals(stop.signal, signal)
    }
    const ahead: Promise<Uint8Array | null>[] = []
    let next = start
    let largest = 1
    try {
      for (let at = start; at < end; at++) {
        const room = Math.floor(BLOB_READ_AHEAD_BYTES / largest)
        const count = Math.max(1, Math.min(BLOB_READ_AHEAD_BLOCKS, room))
        // The first block tells how large they are.
        while (next < end && ahead.length < (at === start ? 1 : count)) {
          const block = this.core.get(indexOf(next++), get) as Promise<Uint8Array | null>
          // Whoever comes to it hears of it.
          block.catch(() => {})
          ahead.push(block)
        }
        const block = (await ahead.shift()) ?? null
        if (block === null) throw notHere(indexOf(at))
        largest = Math.max(largest, block.byteLength)
        yield block
      }
    } finally {
      stop.abort(new SynclineError('SESSION_CLOSED', 'the reader ended'))
    }
  }
}

/** The half-open range of bytes that is asked for. */
function spanOf(byteLength: number, { start = 0, end, length }: BlobReadOptions): [number, number] {
  const until = length === undefined ? (end === undefined ? byteLength : end + 1) : start + length
  for (const number of [start, until]) {
    if (Number.isSafeInteger(number) && number >= 0) continue
    throw new SynclineError('BAD_ARGUMENT', `${number} is no place in a file`)
  }
  return [start, Math.min(until, byteLength)]
}

function waitOf({ wait, timeout, timeoutMs, signal }: BlobWaitOptions): WaitOptions & {
  readonly wait: boolean
} {
  return {
    wait: wait ?? true,
    timeoutMs: timeoutMs ?? timeout ?? 0,
    ...(signal === undefined ? {} : { signal })
  }
}

function byteLengthOf(blocks: readonly MappedBlock[]): number {
  let sum = 0
  for (const { byteLength } of blocks) sum += byteLength
  if (!Number.isSafeInteger(sum)) {
    throw new SynclineError('BAD_MESSAGE', 'a block map sums up to no length')
  }
  return sum
}

function seekMap(blocks: readonly MappedBlock[], byte: number): { at: number; offset: number } {
  let offset = byte
  for (const [at, { byteLength }] of blocks.entries()) {
    if (offset < byteLength) return { at, offset }
    offset -= byteLength
  }
  return { at: blocks.length, offset: 0 }
}

function notHere(index: number): SynclineError {
  return new SynclineError('BLOCK_NOT_AVAILABLE', `block ${index} of the blobs is not here`, {
    index
  })
}
