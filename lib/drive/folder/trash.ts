/**
 * What new versions replaced or deleted, in `DIR/.syncline/trash`, until it has to go.
 *
 * A file there is an entry, and its name tells all of it: `ID.TIME.SIZE.BLOB.NAME.old`. So one rename puts a file
 * into the trash, and whatever interrupts it, an entry is whole or is not there. A drive name that is too long for
 * that stands in a file `ID.name`, which is written before.
 *
 * @module
 */
import fs, { type BigIntStats } from 'node:fs'
import { promisify } from 'node:util'
import { storageError, systemCode } from '../../feed/file/file-error.ts'
import { SynclineError } from '../../errors.ts'
import { SEGMENT_BYTES_MAX, TRASH_BYTES_MIN, TRASH_DAYS, TRASH_PERCENT } from '../../limits.ts'
import type { BlobRange } from '../entry.ts'
import { copyWith } from './copy.ts'
import { NO_FOLLOW, TO_SYNC } from './new-file.ts'
import { sameStamp, stampOf } from './stamp.ts'
import { type SystemCalls, systemCalls } from './system-calls.ts'

/** What is remembered of a file or link in the trash. */
export interface TrashInfo {
  /** The drive's name. */
  readonly name: string
  /** Null for a link, and for what no version of the drive holds. */
  readonly blob: BlobRange | null
  /** When it came into the trash, ms since 1970. */
  readonly timeMs: number
}

/** A file or link in the trash. */
export interface TrashEntry extends TrashInfo {
  /** Ascends with the order in which entries came. */
  readonly id: number
  /** Absolute. */
  readonly path: string
  /** Bytes. */
  readonly size: number
}

/** What went into the trash so that something else can come into its place. */
export interface Replaced {
  readonly entry: TrashEntry
  /** True if it stands where it stood as well. */
  readonly stands: boolean
}

/** How long the trash keeps what it has. */
export interface KeepRule {
  /** Infinity for ever, 0 keeps nothing. */
  readonly days: number
  /** Of the data, or TRASH_BYTES_MIN if that is more, for all entries together; 0 keeps nothing. */
  readonly percent: number
}

/** What holds unless something else is said. */
export const KEEP_DEFAULT: KeepRule = { days: TRASH_DAYS, percent: TRASH_PERCENT }

/** True if all that comes into the trash would have to leave it at once. */
export function keepsNothing({ days, percent }: KeepRule): boolean {
  return days === 0 || percent === 0
}

/**
 * Reads a rule: `30d`, `10%`, `30d,10%`, or `0` to keep nothing. A part that is not given is the default's.
 *
 * @throws SynclineError BAD_ARGUMENT.
 */
export function parseKeep(text: string): KeepRule {
  if (text.trim() === '0') return { days: 0, percent: 0 }
  const rule: { days?: number; percent?: number } = {}
  for (const part of text.split(',')) {
    const match = /^\s*(\d{1,9}(?:\.\d{1,9})?)([d%])\s*$/.exec(part)
    const unit = match?.[2] === '%' ? 'percent' : 'days'
    if (match === null || rule[unit] !== undefined) {
      throw new SynclineError('BAD_ARGUMENT', `${text}: expected as 30d, 10%, 30d,10% or 0`)
    }
    rule[unit] = Number(match[1])
  }
  return { ...KEEP_DEFAULT, ...rule }
}

/**
 * Entries that `rule` does not keep, the oldest first. What no version of the drive holds, as the user's edits, goes by its
 * age alone: there is no other copy of it.
 */
export function expired(
  entries: Iterable<TrashEntry>,
  rule: KeepRule,
  nowMs: number,
  dataBytes: number
): TrashEntry[] {
  const keepsNone = keepsNothing(rule)
  const oldest = nowMs - rule.days * DAY_MS
  const sorted = Array.from(entries).sort((a, b) => a.timeMs - b.timeMs || a.id - b.id)
  let excess = -trashRoom(rule, dataBytes)
  for (const { size, blob } of sorted) if (blob !== null) excess += size
  return sorted.filter((entry) => {
    const isVersion = entry.blob !== null
    // All that came before went, so what is left is the newest.
    const goes = keepsNone || entry.timeMs < oldest || (isVersion && excess > 0)
    if (goes && isVersion) excess -= entry.size
    return goes
  })
}

/** Bytes that the trash of a folder with `dataBytes` of data keeps. */
export function trashRoom({ percent }: KeepRule, dataBytes: number): number {
  return Math.max((dataBytes * percent) / 100, TRASH_BYTES_MIN)
}

const DAY_MS = 24 * 60 * 60_000
const ENTRY = /^(\d+)\.(\d+)\.(\d+)\.(-|\d+-\d+-\d+-\d+(?:-m)?)\.(~|\+.*)\.old$/

/** What lies in the trash at `folder`, looked at without changing anything; nothing if there is none. */
export function listTrash(folder: string): TrashEntry[] {
  return fs.existsSync(folder) ? new Trash(folder, systemCalls, true).list() : []
}

/** The trash of one folder. One process at a time. */
export class Trash {
  readonly #folder: string
  readonly #calls: SystemCalls
  readonly #entries = new Map<number, TrashEntry>()
  #nextId = 1

  /**
   * Reads what is there, and makes the folder if it is missing.
   *
   * @param folder - absolute; a real folder whose parent exists.
   * @param readOnly - true leaves the folder as it is; see {@link listTrash}.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  constructor(folder: string, calls: SystemCalls = systemCalls, readOnly = false) {
    this.#folder = folder
    this.#calls = calls
    try {
      this.#load(readOnly)
    } catch (error) {
      throw storageError(error, folder)
    }
  }

  /** All entries, the oldest first. */
  list(): TrashEntry[] {
    return [...this.#entries.values()]
  }

  /** The entry of an id, or null. Its file is the caller's to read, not to change. */
  get(id: number): TrashEntry | null {
    return this.#entries.get(id) ?? null
  }

  /**
   * Moves a file or link into the trash.
   *
   * @param path - absolute; looked at by the caller, who knows that it is to go.
   * @returns null if it changed while it was copied from another file system: then it stays.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  async put(path: string, info: TrashInfo): Promise<TrashEntry | null> {
    const [entry, stats] = this.#prepare(path, info)
    try {
      if (!this.#rename(path, entry.path)) {
        if (!(await this.#copy(path, entry.path, stats))) return null
        this.#calls.unlinkSync(path)
      }
    } catch (error) {
      throw storageError(error, path)
    }
    this.#entries.set(entry.id, entry)
    return entry
  }

  /**
   * As {@link Trash.put}, but what stands at `path` stays there where the file system allows it, so that it can be
   * replaced by one rename and is never missing.
   */
  async putReplaced(path: string, info: TrashInfo): Promise<Replaced | null> {
    const [entry, stats] = this.#prepare(path, info)
    let stands = true
    try {
      // Not every system makes a second name of a link itself.
      if (stats.isSymbolicLink() || !this.#link(path, entry.path)) {
        stands = !this.#rename(path, entry.path)
        if (stands && !(await this.#copy(path, entry.path, stats))) return null
      }
    } catch (error) {
      throw storageError(error, path)
    }
    this.#entries.set(entry.id, entry)
    return { entry, stands }
  }

  /**
   * Undoes a {@link Trash.putReplaced}, as nothing came into the place of what stood at `path`. Where the system does not
   * let it, or something else stands there by now, the entry stays.
   */
  putBack({ entry, stands }: Replaced, path: string): void {
    try {
      if (!stands) {
        if (this.#calls.lstatSync(path, { throwIfNoEntry: false }) !== undefined) return
        this.#calls.renameSync(entry.path, path)
      }
      this.delete(entry.id)
    } catch {
      // It is kept as any other, then.
    }
  }

  /**
   * Deletes an entry for good.
   *
   * @throws SynclineError STORAGE_FAILED.
   */
  delete(id: number): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    try {
      this.#unlink(entry.path)
      if (entry.path.endsWith('.~.old')) this.#unlink(`${this.#folder}/${id}.name`)
    } catch (error) {
      throw storageError(error, entry.path)
    }
    this.#entries.delete(id)
  }

  /**
   * Deletes what is not kept any longer. An entry that cannot be deleted stays, for the next time.
   *
   * @param dataBytes - of the drive's current version.
   * @returns what was deleted, the oldest first.
   */
  expire(nowMs: number, dataBytes: number, rule: KeepRule = KEEP_DEFAULT): TrashEntry[] {
    return expired(this.#entries.values(), rule, nowMs, dataBytes).filter(({ id }) => {
      try {
        this.delete(id)
        return true
      } catch {
        return false
      }
    })
  }

  #load(readOnly: boolean): void {
    const calls = this.#calls
    try {
      if (!readOnly) calls.mkdirSync(this.#folder, { mode: 0o700 })
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error
    }
    if (!calls.lstatSync(this.#folder).isDirectory()) {
      throw new SynclineError('REFUSED', `${this.#folder} is no folder`, { path: this.#folder })
    }
    const names = new Set<number>()
    for (const file of calls.readdirSync(this.#folder)) {
      const id = Number(/^(\d+)\.name$/.exec(file)?.[1] ?? Number.NaN)
      if (Number.isSafeInteger(id)) names.add(id)
      // What a copy into the trash left when it was interrupted.
      else if (!file.startsWith('copy-')) this.#read(file)
      else if (!readOnly) this.#unlink(`${this.#folder}/${file}`)
    }
    for (const id of names) {
      if (!readOnly && !this.#entries.has(id)) this.#unlink(`${this.#folder}/${id}.name`)
    }
    const sorted = this.list().sort((a, b) => a.id - b.id)
    this.#entries.clear()
    for (const entry of sorted) this.#entries.set(entry.id, entry)
    this.#nextId = (sorted.at(-1)?.id ?? 0) + 1
  }

  #read(file: string): void {
    const match = ENTRY.exec(file)
    if (match === null) return
    const [id, timeMs, size] = match.slice(1, 4).map(Number) as [number, number, number]
    if (!Number.isSafeInteger(id)) return
    const name = this.#nameOf(id, match[5] as string)
    if (name === null) return
    const path = `${this.#folder}/${file}`
    this.#entries.set(id, { id, name, blob: readBlob(match[4] as string), timeMs, path, size })
  }

  /** The drive's name that an entry stands for; null if it cannot be told. */
  #nameOf(id: number, text: string): string | null {
    try {
      if (text !== '~') return decodeURIComponent(text.replaceAll('+', '/'))
      return this.#calls.readFileSync(`${this.#folder}/${id}.name`, 'utf8')
    } catch (error) {
      if (error instanceof URIError || systemCode(error) === 'ENOENT') return null
      throw error
    }
  }

  #prepare(path: string, info: TrashInfo): [TrashEntry, BigIntStats] {
    const id = this.#nextId++
    try {
      const stats = this.#calls.lstatSync(path, { bigint: true })
      const size = Number(stats.size)
      const timeMs = Math.max(0, Math.round(info.timeMs))
      const { name, blob } = info
      const start = `${id}.${timeMs}.${size}.${writeBlob(blob)}.`
      let file = `${start}${escape(name)}.old`
      if (Buffer.byteLength(file) > SEGMENT_BYTES_MAX) {
        this.#writeName(id, name)
        file = `${start}~.old`
      }
      return [{ id, name, blob, timeMs, path: `${this.#folder}/${file}`, size }, stats]
    } catch (error) {
      throw storageError(error, path)
    }
  }

  #writeName(id: number, name: string): void {
    const path = `${this.#folder}/${id}.name`
    const { O_CREAT, O_EXCL, O_WRONLY } = fs.constants
    const fd = this.#calls.openSync(path, O_CREAT | O_EXCL | O_WRONLY, 0o600)
    try {
      const bytes = Buffer.from(name)
      for (let at = 0; at < bytes.byteLength;) at += this.#calls.writeSync(fd, bytes, at)
    } finally {
      this.#calls.closeSync(fd)
    }
  }

  /** False if the file lies on another file system. */
  #rename(from: string, to: string): boolean {
    try {
      this.#calls.renameSync(from, to)
      return true
    } catch (error) {
      if (systemCode(error) === 'EXDEV') return false
      throw error
    }
  }

  /** False if the file cannot have a second name. */
  #link(from: string, to: string): boolean {
    try {
      this.#calls.linkSync(from, to)
      return true
    } catch (error) {
      if (['ENOENT', 'ENOSPC', 'EDQUOT', 'EIO'].includes(systemCode(error))) throw error
      return false
    }
  }

  /** False, with nothing copied, if the original is not what `stats` say when the copy is made. */
  async #copy(from: string, to: string, stats: BigIntStats): Promise<boolean> {
    const calls = this.#calls
    const draft = `${this.#folder}/copy-${process.pid}-${this.#nextId++}`
    if (stats.isSymbolicLink()) calls.symlinkSync(calls.readlinkSync(from), draft)
    else {
      await copyWith(calls, from, draft)
      await this.#sync(draft)
    }
    const now = calls.lstatSync(from, { bigint: true, throwIfNoEntry: false })
    if (now === undefined || !sameStamp(stampOf(now), stampOf(stats))) {
      this.#unlink(draft)
      return false
    }
    calls.renameSync(draft, to)
    return true
  }

  /** What is copied is deleted where it was: it must not be lost with the power. */
  async #sync(file: string): Promise<void> {
    const fd = this.#calls.openSync(file, TO_SYNC | NO_FOLLOW)
    try {
      await promisify(this.#calls.fsync)(fd)
    } finally {
      this.#calls.closeSync(fd)
    }
  }

  #unlink(path: string): void {
    try {
      this.#calls.unlinkSync(path)
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
    }
  }
}

/** A drive's name as part of a file's name, on every system: `/` is `+`, what is not plain ASCII is `%XX`. */
function escape(name: string): string {
  return encodeURIComponent(name).replaceAll('%2F', '+').replaceAll('*', '%2A')
}

function writeBlob(blob: BlobRange | null): string {
  if (blob === null) return '-'
  const { blockOffset, blockLength, byteOffset, byteLength, blockMap } = blob
  const numbers = `${blockOffset}-${blockLength}-${byteOffset}-${byteLength}`
  return blockMap === true ? `${numbers}-m` : numbers
}

function readBlob(text: string): BlobRange | null {
  if (text === '-') return null
  const parts = text.split('-')
  const [blockOffset, blockLength, byteOffset, byteLength] = parts.map(Number) as [
    number,
    number,
    number,
    number
  ]
  const range = { blockOffset, blockLength, byteOffset, byteLength }
  return parts.length > 4 ? { ...range, blockMap: true } : range
}
