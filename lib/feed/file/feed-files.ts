/**
 * The files of one feed, and a consistent look at them.
 *
 * @module
 */
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { SynclineError } from '../../errors.ts'
import { type FilePool, PooledFile } from './file-pool.ts'
import {
  decodeHeader,
  decodeLog,
  ENTRIES_OFFSET,
  type ExternalHeader,
  type LogHeader,
  type LogImage
} from './oplog.ts'
import type { BufferPool } from '../../primitives/buffer-pool.ts'
import { rewrite } from './rewrite.ts'
import { SyncMarkerFile } from './sync-marker.ts'

/** Looks at files that another process writes before it is given up. */
const TRIES = 20
/** Most logs, and most bitfields, are shorter than this. */
const LIKELY_BYTES: number = 2 * ENTRIES_OFFSET
const NO_BYTES: Uint8Array = new Uint8Array(0)

/** The log of a feed with its header, and the bitfield that belongs to it. */
export interface FilesImage {
  readonly log: LogImage
  readonly header: LogHeader
  /** Where the header is, if it does not fit the log. */
  readonly external: ExternalHeader | null
  /** Bytes of the log file, with what does not count. */
  readonly logSize: number
  /** Checksum of all that counts in the log, and of the header. */
  readonly sum: number
  readonly bitfield: Uint8Array
}

/**
 * Where the bytes of the blocks lie: one flat file, or wherever somebody who knows better keeps them.
 *
 * Offsets are those of the feed. Errors are SynclineErrors.
 */
export interface BlockData {
  /** Names the place in errors. */
  readonly path: string
  /**
   * Bytes `[offset, offset + byteLength)`, fewer where they end; null if there are none. The caller's; from `pool` if there
   * is one.
   */
  read(offset: number, byteLength: number, pool?: BufferPool): Promise<Uint8Array | null>
  /** Puts the parts one after the other from `offset` on. They are not kept. */
  write(parts: readonly Uint8Array[], offset: number): Promise<void>
  /** Resolves when what was written is on the disk, as far as its keeper promises that. */
  sync(): Promise<void>
  /** Writes a range again as it is, after a sync that failed. */
  rewrite(offset: number, byteLength: number): Promise<void>
  /** Gives the disk under a range back where the system can. */
  free(offset: number, byteLength: number): Promise<void>
  close(): Promise<void>
}

/** The files of the feed in `folder`. Nothing is opened or made before it is used. */
export class FeedFiles {
  readonly folder: string
  readonly oplog: PooledFile
  readonly tree: PooledFile
  readonly bitfield: PooledFile
  readonly data: BlockData
  /** Holds the header when it is too large for the log. */
  readonly header: PooledFile
  /** Ours alone: see sync-marker.ts. */
  readonly marker: PooledFile
  readonly #pool: FilePool
  /** The log that was looked at and not read yet. */
  #seen: Uint8Array | null = null

  /**
   * @param data - where blocks lie if not in the file `data`. Then the log has the name `log`: to whoever knows only
   * files named as hypercore's, this is no feed, and nobody announces blocks that are not in `data`.
   */
  constructor(pool: FilePool, folder: string, data: BlockData | null = null) {
    const file = (name: string): PooledFile => new PooledFile(pool, folder + path.sep + name)
    this.folder = folder
    this.#pool = pool
    this.oplog = file(data === null ? 'oplog' : 'log')
    this.tree = file('tree')
    this.bitfield = file('bitfield')
    this.data = data ?? new DataFile(pool, folder + path.sep + 'data')
    this.header = file('header')
    this.marker = file('syncline')
  }

  /**
   * Reads log and bitfield, again if another process changed them meanwhile.
   *
   * @throws SynclineError FEED_NOT_FOUND, FEED_DAMAGED, STORE_IS_V11, STORAGE_FAILED.
   */
  async read(): Promise<FilesImage> {
    for (let tries = 1; ; tries++) {
      const before = this.#seen ?? (await this.#readLog())
      this.#seen = null
      try {
        const image = await this.#readBehind(before)
        // What the log alone says cannot be torn.
        const isWhole = image.external === null && image.bitfield.byteLength === 0
        if (isWhole || tries === TRIES || equal(before, await this.#readLog())) return image
      } catch (error) {
        // A header that is being replaced can look damaged.
        if (tries === TRIES || equal(before, await this.#readLog())) throw error
      }
    }
  }

  /** The last header, without what entries changed since; null if there is none. */
  async readHeader(): Promise<LogHeader | null> {
    const bytes = await this.oplog.read(0, ENTRIES_OFFSET)
    const header = bytes === null ? null : (decodeLog(bytes)?.header ?? null)
    if (header === null || !('start' in header)) return header
    return this.#decodeExternal(await this.#readExternal(header))
  }

  /** True if a feed is stored, damaged or not. {@link FeedFiles.read} goes on from what this has read. */
  async exists(): Promise<boolean> {
    const bytes = await this.oplog.readAll(LIKELY_BYTES)
    if (bytes === null) return false
    this.#seen = bytes
    return decodeLog(bytes) !== null || !(await this.#isUnfinished())
  }

  /** What the log file holds now; null if there is none or it was never finished. */
  async readLog(): Promise<Pick<FilesImage, 'log' | 'logSize' | 'sum'> | null> {
    const bytes = await this.#readLog()
    const log = decodeLog(bytes)
    if (log === null) return null
    const header = 'start' in log.header ? await this.#readExternal(log.header) : null
    return { log, logSize: bytes.byteLength, sum: sumOf(bytes, log, header) }
  }

  async close(): Promise<void> {
    const { oplog, tree, bitfield, data, header, marker } = this
    for (const file of [oplog, tree, bitfield, data, header, marker]) await file.close()
  }

  async #readLog(): Promise<Uint8Array> {
    return (await this.oplog.readAll(LIKELY_BYTES)) ?? NO_BYTES
  }

  async #readBehind(file: Uint8Array): Promise<FilesImage> {
    const log = decodeLog(file)
    if (log === null) throw await this.#absent()
    const external = 'start' in log.header ? log.header : null
    const bytes = external === null ? null : await this.#readExternal(external)
    const header = 'start' in log.header ? this.#decodeExternal(bytes ?? NO_BYTES) : log.header
    const bitfield = (await this.bitfield.readAll(LIKELY_BYTES)) ?? NO_BYTES
    const sum = sumOf(file, log, bytes)
    return { log, header, external, logSize: file.byteLength, sum, bitfield }
  }

  /** The bytes of a header that does not fit the log. */
  async #readExternal({ start, length }: ExternalHeader): Promise<Uint8Array> {
    const bytes = await this.header.read(start, length)
    if (bytes !== null && bytes.byteLength === length) return bytes
    const { path } = this.header
    throw new SynclineError('FEED_DAMAGED', `${path} lacks the header of the feed`, { path })
  }

  #decodeExternal(bytes: Uint8Array): LogHeader {
    const { path } = this.header
    try {
      const header = decodeHeader({ start: 0, end: bytes.byteLength, buffer: bytes })
      if (!('start' in header)) return header
    } catch (error) {
      throw new SynclineError('FEED_DAMAGED', `the header in ${path} is damaged`, { path }, error)
    }
    throw new SynclineError('FEED_DAMAGED', `the header in ${path} is not there`, { path })
  }

  /**
   * True if the log without header is what a creation leaves that did not come to its end: shorter than
   * both slots or, after a loss of power, nothing was stored behind it. The header of a copy is synced with
   * the first fold only: without any, all is lost that was stored.
   *
   * Not so beside `bitfield` or the marker: ours are made after the header was synced, and hypercore 10, which has no
   * marker, makes `bitfield` with the first blocks. There the header was lost by damage.
   */
  async #isUnfinished(): Promise<boolean> {
    const size = await this.oplog.size()
    if (size === null) return true
    if ((await this.bitfield.size()) !== null) return false
    const isMarked = (await this.marker.size()) !== null
    if (isMarked && !(await new SyncMarkerFile(this.marker).isFirstFailure())) return false
    if (size < ENTRIES_OFFSET) return true
    if (size === ENTRIES_OFFSET && ((await this.tree.size()) ?? 0) === 0) return true
    const slots = (await this.oplog.read(0, ENTRIES_OFFSET)) ?? NO_BYTES
    return slots.every((byte) => byte === 0)
  }

  /** Why there is no log. */
  async #absent(): Promise<SynclineError> {
    if (!(await this.#isUnfinished())) {
      const { path } = this.oplog
      return new SynclineError('FEED_DAMAGED', `both headers of ${path} are damaged`, { path })
    }
    const details = { path: this.folder }
    const database = new PooledFile(this.#pool, path.join(this.folder, 'db', 'CURRENT'))
    const size = await database.size()
    await database.close()
    if (size !== null) {
      const hint = 'open it with hypercore 11 and hand over the instance, or replicate'
      const reason = `${this.folder} is a store of hypercore 11: ${hint}`
      return new SynclineError('STORE_IS_V11', reason, details)
    }
    return new SynclineError('FEED_NOT_FOUND', `no feed is stored in ${this.folder}`, details)
  }
}

/** The flat file of block bytes. */
export class DataFile extends PooledFile implements BlockData {
  rewrite(offset: number, byteLength: number): Promise<void> {
    return rewrite(this, offset, offset + byteLength)
  }

  async free(offset: number, byteLength: number): Promise<void> {
    if ((await this.size()) !== null) await this.punch(offset, byteLength)
  }
}

function sumOf(file: Uint8Array, { byteLength }: LogImage, external: Uint8Array | null): number {
  const sum = crc32(file.subarray(0, ENTRIES_OFFSET + byteLength))
  return external === null ? sum : crc32(external, sum)
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
