/**
 * The rows of a catalog in memory: columns of numbers, since there may be a million of them.
 *
 * @module
 */
import { readMetadata, type BlobRange, type Entry } from '../entry.ts'
import type { Known } from './catalog.ts'
import { decodeStamp, STAMP_BYTES, type Stamp } from './stamp.ts'

/** What few rows have. */
interface Extra {
  readonly linkname: string | null
  /** Set where it is not just what the columns say. */
  readonly metadata?: unknown
  readonly path?: string
}

/** By their number, the lowest two bits of the flags. */
const KINDS = ['file', 'link', 'folder'] as const
/** The same in a line of the catalog. */
const TYPES = ['f', 'l', 'd'] as const
const EXECUTABLE = 4
const BLOB = 8
const BLOCK_MAP = 16
const STAMP = 32
const METADATA = 64
const ROWS_START = 64
/** Numbers of a row: where its blob is, its digest, its time. */
const NUMBERS = 6

/** See the module comment. */
export class CatalogRows {
  readonly #index = new Map<string, number>()
  /** Rows that are free again. */
  readonly #free: number[] = []
  #count = 0
  #flags = new Uint8Array(ROWS_START)
  #modes = new Uint16Array(ROWS_START)
  #numbers = new Float64Array(NUMBERS * ROWS_START)
  #stamps = Buffer.alloc(STAMP_BYTES * ROWS_START)
  readonly #extras = new Map<number, Extra>()

  get size(): number {
    return this.#index.size
  }

  has(name: string): boolean {
    return this.#index.has(name)
  }

  names(): string[] {
    return [...this.#index.keys()]
  }

  /** The stamp of a file; null if there is no such file, or its stamp does not count. */
  stampOf(name: string): Stamp | null {
    const row = this.#index.get(name)
    if (row === undefined) return null
    const flags = this.#flags[row] as number
    if ((flags & 3) !== 0 || (flags & STAMP) === 0) return null
    return decodeStamp(this.#stamps, STAMP_BYTES * row)
  }

  /** Bytes of all blobs; one that several files hold counts as often. */
  get byteLength(): number {
    let sum = 0
    for (const at of this.#blobs()) sum += this.#numbers[at + 3] as number
    return sum
  }

  /** The block after the last one of all blobs. */
  get blocksEnd(): number {
    let end = 0
    for (const at of this.#blobs()) {
      end = Math.max(end, (this.#numbers[at] as number) + (this.#numbers[at + 1] as number))
    }
    return end
  }

  get(name: string): Known | undefined {
    const row = this.#index.get(name)
    return row === undefined ? undefined : this.#read(row)
  }

  /** True if there was no row of this name. */
  set(name: string, known: Known): boolean {
    const old = this.#index.get(name)
    if (old !== undefined) {
      this.#write(old, known)
      return false
    }
    const row = this.#free.pop() ?? this.#count++
    if (row >= this.#flags.length) this.#grow()
    this.#index.set(name, row)
    this.#write(row, known)
    return true
  }

  /** A row as a JSON array, made of the columns; null if there is none. */
  line(name: string): string | null {
    const row = this.#index.get(name)
    if (row === undefined) return null
    const flags = this.#flags[row] as number
    const at = NUMBERS * row
    const numbers = this.#numbers
    const extra = this.#extras.get(row)
    const range =
      (flags & BLOB) === 0
        ? 'null'
        : `[${numbers[at]},${numbers[at + 1]},${numbers[at + 2]},${numbers[at + 3]},${(flags & BLOCK_MAP) === 0 ? 0 : 1}]`
    const metadata =
      (flags & METADATA) === 0
        ? JSON.stringify(extra?.metadata ?? null)
        : `{"mtime":${numbers[at + 5]},"mode":${this.#modes[row]}}`
    const stampAt = STAMP_BYTES * row
    const stamp =
      (flags & STAMP) === 0
        ? 'null'
        : `"${this.#stamps.toString('base64', stampAt, stampAt + STAMP_BYTES)}"`
    const path = extra?.path === undefined ? '' : `,${JSON.stringify(extra.path)}`
    return (
      `["${TYPES[flags & 3]}",${JSON.stringify(name)},${(flags & EXECUTABLE) === 0 ? 0 : 1},` +
      `${JSON.stringify(extra?.linkname ?? null)},${range},${metadata},${stamp},${numbers[at + 4]}${path}]`
    )
  }

  delete(name: string): boolean {
    const row = this.#index.get(name)
    if (row === undefined) return false
    this.#index.delete(name)
    this.#flags[row] = 0
    this.#extras.delete(row)
    this.#free.push(row)
    return true
  }

  /** Where the numbers of rows with a blob begin. */
  *#blobs(): Generator<number, void, void> {
    for (let row = 0; row < this.#count; row++) {
      if (((this.#flags[row] as number) & BLOB) !== 0) yield NUMBERS * row
    }
  }

  #read(row: number): Known {
    const flags = this.#flags[row] as number
    const at = NUMBERS * row
    const numbers = this.#numbers
    const extra = this.#extras.get(row)
    const blob: BlobRange | null =
      (flags & BLOB) === 0
        ? null
        : {
            blockOffset: numbers[at] as number,
            blockLength: numbers[at + 1] as number,
            byteOffset: numbers[at + 2] as number,
            byteLength: numbers[at + 3] as number,
            ...((flags & BLOCK_MAP) === 0 ? {} : { blockMap: true as const })
          }
    const own =
      (flags & METADATA) === 0
        ? null
        : { mtime: numbers[at + 5] as number, mode: this.#modes[row] as number }
    const entry: Entry = {
      executable: (flags & EXECUTABLE) !== 0,
      linkname: extra?.linkname ?? null,
      blob,
      metadata: extra?.metadata ?? own
    }
    return {
      kind: KINDS[flags & 3] as Known['kind'],
      entry,
      stamp: (flags & STAMP) === 0 ? null : decodeStamp(this.#stamps, STAMP_BYTES * row),
      digest: numbers[at + 4] as number,
      ...(extra?.path === undefined ? {} : { path: extra.path })
    }
  }

  #write(row: number, { kind, entry, stamp, digest, path }: Known): void {
    const { executable, linkname, blob, metadata } = entry
    const at = NUMBERS * row
    const numbers = this.#numbers
    const plain = isPlain(metadata)
    this.#flags[row] =
      KINDS.indexOf(kind) |
      (executable ? EXECUTABLE : 0) |
      (blob === null ? 0 : BLOB) |
      (blob?.blockMap === true ? BLOCK_MAP : 0) |
      (stamp === null ? 0 : STAMP) |
      (plain ? METADATA : 0)
    numbers[at] = blob?.blockOffset ?? 0
    numbers[at + 1] = blob?.blockLength ?? 0
    numbers[at + 2] = blob?.byteOffset ?? 0
    numbers[at + 3] = blob?.byteLength ?? 0
    numbers[at + 4] = digest
    const { mtimeMs, mode } = readMetadata(metadata)
    numbers[at + 5] = mtimeMs ?? 0
    this.#modes[row] = mode ?? 0
    if (stamp !== null) this.#stamps.write(stamp, STAMP_BYTES * row, 'latin1')
    const other = !plain && metadata !== null
    if (linkname === null && path === undefined && !other) this.#extras.delete(row)
    else {
      this.#extras.set(row, {
        linkname,
        ...(other ? { metadata } : {}),
        ...(path === undefined ? {} : { path })
      })
    }
  }

  #grow(): void {
    const { length } = this.#flags
    this.#flags = grown(this.#flags, new Uint8Array(2 * length))
    this.#modes = grown(this.#modes, new Uint16Array(2 * length))
    this.#numbers = grown(this.#numbers, new Float64Array(NUMBERS * 2 * length))
    this.#stamps = grown(this.#stamps, Buffer.alloc(STAMP_BYTES * 2 * length))
  }
}

/** True for the metadata that syncline writes, and nothing else. */
function isPlain(metadata: unknown): boolean {
  const { mtimeMs, mode } = readMetadata(metadata)
  return mtimeMs !== null && mode !== null && Object.keys(metadata as object).length === 2
}

function grown<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from)
  return to
}
