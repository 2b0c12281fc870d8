/**
 * What is known of each file of a shared or cloned folder: the entry of the drive that it was last brought to, and
 * the stamp of the local file when it was known to hold just that.
 *
 * The file `catalog` is a list of lines, each a JSON array; later ones win, and a line that is torn or unreadable
 * is skipped. All of it can be found again, from the index and by hashing the files: it is a memory, not a truth, so
 * it is written without syncs, and losing a part of it costs time only.
 *
 * @module
 */
import { createReadStream } from 'node:fs'
import { appendFile, rename, rm, writeFile } from 'node:fs/promises'
import { storageError, systemCode } from '../../feed/file/file-error.ts'
import type { BlobRange, Entry } from '../entry.ts'
import { compareNames } from '../drive-name.ts'
import { CatalogRows } from './catalog-rows.ts'
import { EXACT_NAMES, refusalOf } from './file-names.ts'
import { decodeStamp, STAMP_BYTES, type Stamp } from './stamp.ts'

/** A file, link or empty folder of the drive, as it was last applied here. */
export interface Known {
  readonly kind: 'file' | 'link' | 'folder'
  /** Of a folder only `metadata` says something. */
  readonly entry: Entry
  /** Of the local file when it held this entry; null if it has to be looked at. */
  readonly stamp: Stamp | null
  /** 48 bits of a hash of its leaf hashes, by which equal files are found; 0 for all but files with content. */
  readonly digest: number
  /** Below the root, where it is not the name itself. */
  readonly path?: string
}

/** A row in a listing; one that was deleted since it was listed cannot be asked for. */
export class CatalogRow {
  readonly name: string
  readonly #rows: CatalogRows

  constructor(name: string, rows: CatalogRows) {
    this.name = name
    this.#rows = rows
  }

  get known(): Known {
    return this.#rows.get(this.name) as Known
  }
}

/** Lines beyond twice the rows, after which the file is written anew. */
const SPARE_LINES = 1000
const FORMAT = 'syncline catalog 1'
/** Bytes of the file that are read at a time: all of it may be larger than what is made of it. */
const READ_BYTES: number = 1024 * 1024

/** See the module comment. Not for several writers at a time: the lock of the index keeps them apart. */
export class Catalog {
  /** Length of the index that all rows together stand for; 0 if they stand for none. */
  #version = 0
  readonly #path: string
  readonly #rows = new CatalogRows()
  /** Names whose rows, or whose absence, are not written yet. */
  #changed = new Set<string>()
  #versionChanged = false
  #written = 0
  #sorted: string[] | null = null

  private constructor(file: string) {
    this.#path = file
  }

  /** Reads the catalog; one that is missing or of another format is empty. @throws SynclineError STORAGE_FAILED. */
  static async open(file: string): Promise<Catalog> {
    const catalog = new Catalog(file)
    try {
      let rest = ''
      const pieces = createReadStream(file, { encoding: 'utf8', highWaterMark: READ_BYTES })
      for await (const piece of pieces) {
        const lines = (rest + String(piece)).split('\n')
        rest = lines.pop() ?? ''
        if (!lines.every((line) => catalog.#load(line))) return catalog
      }
      catalog.#load(rest)
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw storageError(error, file)
    }
    return catalog
  }

  get version(): number {
    return this.#version
  }

  set version(version: number) {
    if (version === this.#version) return
    this.#version = version
    this.#versionChanged = true
  }

  get size(): number {
    return this.#rows.size
  }

  /** Bytes of all blobs; one that several files hold counts as often. */
  get byteLength(): number {
    return this.#rows.byteLength
  }

  /** The block after the last one of all blobs. */
  get blocksEnd(): number {
    return this.#rows.blocksEnd
  }

  /** The stamp of a file, without the rest of its row; null if there is none. */
  stampOf(name: string): Stamp | null {
    return this.#rows.stampOf(name)
  }

  get(name: string): Known | undefined {
    return this.#rows.get(name)
  }

  set(name: string, known: Known): void {
    if (this.#rows.set(name, known)) this.#sorted = null
    this.#changed.add(name)
  }

  delete(name: string): void {
    if (!this.#rows.delete(name)) return
    this.#sorted = null
    this.#changed.add(name)
  }

  /** Names and rows in the order of the index. A name that is set or deleted meanwhile may or may not be seen. */
  *rows(): IterableIterator<readonly [name: string, known: Known]> {
    this.#sorted ??= this.#rows.names().sort(compareNames)
    for (const name of this.#sorted) {
      const known = this.#rows.get(name)
      if (known !== undefined) yield [name, known]
    }
  }

  /** As {@link Catalog.rows}, each row made when it is asked for. */
  *listing(): IterableIterator<CatalogRow> {
    this.#sorted ??= this.#rows.names().sort(compareNames)
    for (const name of this.#sorted)
      if (this.#rows.has(name)) yield new CatalogRow(name, this.#rows)
  }

  /** Writes what changed. @throws SynclineError DISK_FULL, STORAGE_FAILED; then it is written with the next call. */
  async save(): Promise<void> {
    const changed = this.#changed
    if (changed.size === 0 && !this.#versionChanged) return
    const versionChanged = this.#versionChanged
    this.#changed = new Set()
    this.#versionChanged = false
    try {
      const count = changed.size + (versionChanged ? 1 : 0)
      if (this.#written === 0 || this.#written + count > 2 * this.#rows.size + SPARE_LINES) {
        await this.#rewrite()
      } else {
        await appendFile(this.#path, this.#linesOf(changed, versionChanged))
        this.#written += count
      }
    } catch (error) {
      for (const name of changed) this.#changed.add(name)
      this.#versionChanged ||= versionChanged
      throw storageError(error, this.#path)
    }
  }

  async #rewrite(): Promise<void> {
    const draft = `${this.#path}.new`
    const names = this.#rows.names()
    const text = `${JSON.stringify([FORMAT])}\n${this.#linesOf(names, true)}`
    try {
      await writeFile(draft, text, { mode: 0o600 })
      await rename(draft, this.#path)
    } catch (error) {
      await rm(draft, { force: true }).catch(() => {})
      throw error
    }
    this.#written = names.length + 2
  }

  /** Lines that say what is known of some names now, and then of all together. */
  #linesOf(names: Iterable<string>, withVersion: boolean): string {
    let text = ''
    for (const name of names) text += `${this.#rows.line(name) ?? JSON.stringify(['-', name])}\n`
    return withVersion ? `${text}${JSON.stringify(['v', this.#version])}\n` : text
  }

  /** Takes a line of the file; false if the file is of another format. */
  #load(line: string): boolean {
    const row = parseLine(line)
    if (this.#written === 0) {
      if (row?.[0] !== FORMAT) return false
      this.#written = 1
      return true
    }
    if (row === null) return true
    this.#written++
    const [type, name] = row
    if (type === 'v' && isCount(name)) this.#version = name
    if (typeof name !== 'string') return true
    if (type === '-') this.#rows.delete(name)
    else {
      const known = parseRow(row)
      if (known !== null) this.#rows.set(name, known)
    }
    return true
  }
}

const KIND_OF: Record<string, Known['kind']> = { f: 'file', l: 'link', d: 'folder' }

function parseLine(line: string): unknown[] | null {
  if (line === '') return null
  try {
    const row: unknown = JSON.parse(line)
    return Array.isArray(row) ? row : null
  } catch {
    return null
  }
}

function parseRow(row: readonly unknown[]): Known | null {
  const [type, , executable, linkname, range, metadata, stamp, digest, path] = row
  const kind = typeof type === 'string' ? KIND_OF[type] : undefined
  if (kind === undefined || (linkname !== null && typeof linkname !== 'string')) return null
  const blob = range === null ? null : parseRange(range)
  if (blob === undefined || !isCount(digest)) return null
  // Who cannot trust the catalog of a folder that came from elsewhere is not led out of it.
  if (typeof path === 'string' && refusalOf(`/${path}`, EXACT_NAMES) !== null) return null
  return {
    kind,
    entry: { executable: executable === 1, linkname, blob, metadata: metadata ?? null },
    stamp: typeof stamp === 'string' ? parseStamp(stamp) : null,
    digest,
    ...(typeof path === 'string' ? { path } : {})
  }
}

function parseStamp(text: string): Stamp | null {
  const bytes = Buffer.from(text, 'base64')
  return bytes.byteLength === STAMP_BYTES ? decodeStamp(bytes) : null
}

function parseRange(range: unknown): BlobRange | undefined {
  if (!Array.isArray(range) || range.length !== 5 || !range.every(isCount)) return undefined
  const [blockOffset, blockLength, byteOffset, byteLength, map] = range
  return {
    blockOffset: blockOffset as number,
    blockLength: blockLength as number,
    byteOffset: byteOffset as number,
    byteLength: byteLength as number,
    ...(map === 1 ? { blockMap: true } : {})
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
