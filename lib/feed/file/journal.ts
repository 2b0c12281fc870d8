/**
 * The journal of a folder of feeds: the copies that are too small for files of their own, in one file.
 *
 * ```text
 * journal/log       records (see journal-record.ts); only ever added to, or replaced as a whole
 * journal/unsynced  is there if a sync failed and the log was not written anew since: what the system then has in memory
 *                   may not be on the disk, though the next sync says so
 * ```
 * Every process may read it, one at a time writes it: whoever has the lock of the folder `journal`. Which feeds that
 * process writes, its records tell. Others may take a feed that it does not write out of the journal, into files of its own:
 * a feed with files that are not empty stands in these, whatever the journal says.
 *
 * What is committed in one turn of the event loop goes into the file by one write. A commit counts as soon as its record is
 * whole, so there is nothing to be doubted after a loss of power: what did not come to the disk is not there. Commits of a
 * feed have numbers, and it ends before the first one that is missing.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { isSynclineError, SynclineError } from '../../errors.ts'
import { JOURNAL_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX, JOURNAL_WASTE_BYTES } from '../../limits.ts'
import { copyBytes, equalBytes, toHex } from '../bytes.ts'
import type { Commit } from '../store.ts'
import { JOURNAL_NAME, lockedError, type Release } from './feed-lock.ts'
import { storageError } from './file-error.ts'
import { type FilePool, PooledFile } from './file-pool.ts'
import {
  afterDamage,
  BEGIN_BYTES,
  type DataPlace,
  decodeCommit,
  keysAt,
  Kind,
  isLater,
  numberAt,
  opensAt,
  RecordBatch,
  recordAt,
  type RecordPlace
} from './journal-record.ts'
import { SmallFeed } from './small-feed.ts'
import { processOf } from './sync-marker.ts'

/** Bytes read at a time: several records of the largest size. */
const SCAN_BYTES: number = 4 * JOURNAL_RECORD_BYTES_MAX
/** Bytes written at a time when the journal is written anew. */
const REWRITE_BYTES: number = 4 * JOURNAL_RECORD_BYTES_MAX

/** A feed of the journal. */
export interface JournalEntry {
  /** Discovery key, hexadecimal. */
  readonly id: string
  readonly key: Uint8Array
  /** Stands for the feed in its records. */
  readonly number: number
  /** Of the file that these stand in. */
  readonly mark: number
  /** Number of its last commit. */
  sequence: number
  /** Places of its commits: position and bytes of each, in turn. */
  readonly commits: number[]
  /** Bytes of its records. */
  byteLength: number
  /** True if the writer of the journal writes this feed, as far as the records tell. */
  open: boolean
  /** Who writes it in this process, or is about to. */
  writer: object | null
}

/** A commit that waits to be written. */
interface Waiting {
  readonly durable: boolean
  /** Bytes of the batch before it. */
  readonly at: number
  resolve(position: number): void
  reject(error: unknown): void
}

/** See the module comment. Nothing is touched before it is asked for something. */
export class Journal {
  readonly folder: string
  readonly #pool: FilePool
  readonly #file: PooledFile
  readonly #unsynced: PooledFile
  /** By their discovery keys. */
  #entries: Map<string, JournalEntry> = new Map()
  #byNumber: Map<number, JournalEntry> = new Map()
  /** Those that are being added. */
  readonly #adding: Map<string, Promise<JournalEntry>> = new Map()
  /** The first bytes of the file that the entries were read from, which no other file has; null if it is not known. */
  #beginning: Uint8Array | null = null
  /** Where the last record that was read lies, and its first bytes. */
  #last: { readonly position: number; readonly bytes: Uint8Array } | null = null
  /** Bytes of the file that were read or written; records begin after them. */
  #end = 0
  /** Bytes of records that belong to entries. */
  #live = 0
  #nextNumber = 1
  /** Begins each record of the file; null while there is none. */
  #mark: number | null = null
  /** The process that wrote last. */
  #pid = 0
  #reading: Promise<void> | null = null

  /** Users that may write; the lock is held while there are any. */
  #users = 0
  #entering: Promise<boolean> | null = null
  #leaving: Promise<void> | null = null
  #release: Release | null = null
  /** Records that come before all others of this writer; empty once they are written. */
  readonly #opening: RecordBatch = new RecordBatch()
  #batch: RecordBatch = new RecordBatch()
  #spare: RecordBatch = new RecordBatch()
  #waiting: Waiting[] = []
  /** What is being written, or will be at the end of the turn. */
  #flushing: Promise<void> | null = null
  /** Bytes up to the end of the last commit, and those of them that are known to be on the disk. */
  #committed = 0
  #synced = 0
  #unsyncedFolders: readonly string[] = []
  /** Why nothing can be written until all users have left. */
  #broken: SynclineError | null = null

  /** @param root - the folder of feeds. */
  constructor(pool: FilePool, root: string) {
    this.folder = path.join(root, JOURNAL_NAME)
    this.#pool = pool
    this.#file = new PooledFile(pool, path.join(this.folder, 'log'))
    this.#unsynced = new PooledFile(pool, path.join(this.folder, 'unsynced'))
  }

  /** The feed with this discovery key (hexadecimal), or null. */
  async find(id: string): Promise<JournalEntry | null> {
    await this.#refresh()
    return this.#entries.get(id) ?? null
  }

  /** All feeds, by their discovery keys. */
  async all(): Promise<ReadonlyMap<string, JournalEntry>> {
    await this.#refresh()
    return this.#entries
  }

  /** Looks at what others wrote. The writer knows. */
  async #refresh(): Promise<void> {
    if (this.#release === null) await this.#readNext()
    else await this.#reading
  }

  /** The process that writes the journal, or null if that is nobody, or us. */
  get writer(): number | null {
    return this.#release === null ? processOf({ pid: this.#pid }) : null
  }

  /**
   * Becomes a user that may write, until it leaves; false if another process is the writer.
   *
   * @throws SynclineError STORAGE_FAILED, DISK_FULL.
   */
  async enter(): Promise<boolean> {
    this.#users++
    const entering = (this.#entering ??= this.#begin())
    let entered = false
    try {
      entered = await entering
    } finally {
      if (!entered) {
        this.#users--
        if (this.#entering === entering) this.#entering = null
      }
    }
    return entered
  }

  /** The last user that leaves gives the lock back. */
  async leave(): Promise<void> {
    if (--this.#users > 0) return
    this.#entering = null
    this.#leaving = this.#giveUp()
    await this.#leaving
  }

  /** True if no more feeds fit. */
  get full(): boolean {
    return this.#end + this.#batch.byteLength > JOURNAL_BYTES_MAX
  }

  /** Adds a feed. For users only, as all that follows. */
  async add(key: Uint8Array, discoveryKey: Uint8Array): Promise<JournalEntry> {
    const id = toHex(discoveryKey)
    const known = this.#entries.get(id)
    if (known !== undefined) return known
    // Whoever adds it once more meanwhile gets the same, or the same error.
    let adding = this.#adding.get(id)
    if (adding === undefined) {
      adding = this.#add(id, key, discoveryKey).finally(() => this.#adding.delete(id))
      this.#adding.set(id, adding)
    }
    return adding
  }

  /** Adds a commit of a feed; returns where its data stands in the record. Never two of one feed at a time. */
  async commit(entry: JournalEntry, commit: Commit): Promise<readonly DataPlace[]> {
    const start = this.#batch.byteLength
    const sequence = entry.sequence + 1
    const places = this.#batch.commit(entry.number, sequence, !entry.open, commit)
    const byteLength = this.#batch.byteLength - start
    const position = await this.#written(start, commit.durability === 'fsync')
    entry.sequence = sequence
    entry.open = true
    entry.commits.push(position, byteLength)
    entry.byteLength += byteLength
    this.#live += byteLength
    return places
  }

  /** Notes that a feed is no longer written. It is written with what follows. */
  closed(entry: JournalEntry): void {
    entry.open = false
    this.#note(Kind.closed, entry)
  }

  /** Forgets a feed. */
  async remove(entry: JournalEntry): Promise<void> {
    const start = this.#batch.byteLength
    this.#note(Kind.removed, entry)
    await this.#written(start, false)
    this.#drop(entry)
  }

  /** The state of a feed, as its records tell. */
  async load(entry: JournalEntry): Promise<SmallFeed> {
    const feed = new SmallFeed()
    // Others may come meanwhile.
    const count = entry.commits.length / 2
    for (let i = 0; i < count; i++) {
      const { bytes, place } = await this.#record(entry, i)
      feed.load(decodeCommit(bytes, place))
    }
    return feed
  }

  /** All of a feed as one commit. */
  async wholeCommit(entry: JournalEntry, feed: SmallFeed): Promise<Commit> {
    const { head, manifest, have, contiguousLength } = feed
    const data: { offset: number; parts: Uint8Array[] }[] = []
    for (const { offset, byteLength, commit, at } of feed.data) {
      const record = await this.record(entry, commit)
      data.push({ offset, parts: [record.subarray(at, at + byteLength)] })
    }
    return {
      data,
      nodes: [...feed.nodes()],
      ...(head.length > 0 && { head: { ...head, ancestors: 0 } }),
      ...(manifest && { manifest }),
      bits: have.map(([start, end]) => ({ start, end, drop: false })),
      contiguousLength,
      durability: 'fsync'
    }
  }

  /**
   * The record of commit `index` of a feed.
   *
   * @throws SynclineError FEED_DAMAGED when it does not stand there any more.
   */
  async record(entry: JournalEntry, index: number): Promise<Uint8Array> {
    return (await this.#record(entry, index)).bytes
  }

  async #record(
    entry: JournalEntry,
    index: number
  ): Promise<{ readonly bytes: Uint8Array; readonly place: RecordPlace }> {
    const position = entry.commits[2 * index] ?? 0
    const bytes = await this.#file.read(position, entry.commits[2 * index + 1] ?? 0)
    const place = bytes === null ? null : recordAt(bytes, 0, entry.mark)
    if (bytes !== null && place !== null && place !== 'short' && place.kind === Kind.commit) {
      // Another one may stand there once the journal was written anew.
      const isSame = numberAt(bytes, place, 0) === entry.number && place.next === bytes.byteLength
      if (isSame) return { bytes, place }
    }
    const reason = `commit ${index} of a feed is not at byte ${position} of ${this.#file.path}`
    throw new SynclineError('FEED_DAMAGED', reason, { path: this.#file.path, feed: entry.id })
  }

  /**
   * Makes all commits durable, also those of another process.
   *
   * @param readOnly - true leaves the file as it is.
   */
  async sync(readOnly: boolean): Promise<void> {
    if (this.#release === null) return this.#syncFound(readOnly)
    await this.#flushing
    if (this.#broken !== null) throw this.#broken
    if (this.#synced < this.#committed) await this.#sync()
  }

  async #begin(): Promise<boolean> {
    await this.#leaving?.catch(() => {})
    const { layer } = this.#pool
    try {
      await layer.makeFolder(this.folder)
    } catch (error) {
      throw storageError(error, this.folder)
    }
    try {
      this.#release = await layer.lock(this.folder, async () => null)
    } catch (error) {
      if (isSynclineError(error, 'FEED_LOCKED')) return false
      throw error
    }
    try {
      await this.#readNext()
      if (await layer.exists(this.#unsynced.path)) await this.#renew()
      else if (this.#end > JOURNAL_WASTE_BYTES && this.#live < this.#end / 2) await this.#tidy()
      await this.#beginWriting()
    } catch (error) {
      const release = this.#release
      this.#release = null
      await release()
      throw error
    }
    return true
  }

  /** Cuts off what does not count, and says that we write now. */
  async #beginWriting(): Promise<void> {
    this.#broken = null
    for (const entry of this.#entries.values()) entry.open = false
    const size = await this.#file.size()
    if ((size ?? 0) > this.#end) await this.#file.truncate(this.#end)
    // Whoever made and wrote it may have been killed before he synced anything.
    this.#unsyncedFolders = foldersOf(this.folder)
    this.#committed = this.#end
    this.#synced = 0
    this.#opening.clear()
    const mark = (this.#mark ??= newMark())
    for (const batch of [this.#opening, this.#batch, this.#spare]) batch.mark = mark
    if (this.#end === 0) this.#opening.begin(randomBytes(16))
    this.#opening.session(process.pid)
    this.#pid = process.pid
  }

  async #giveUp(): Promise<void> {
    const release = this.#release
    if (release === null) return
    try {
      if (this.#broken === null) {
        if (this.#entries.size === 0) await this.#clear()
        else await this.#flushed()
      }
    } finally {
      this.#batch.clear()
      // Records whose sync failed stand in the file, and count.
      if (this.#broken !== null) this.#forget()
      // What others write from now on is read from the file they have then.
      await this.#file.close()
      this.#release = null
      await release()
    }
  }

  /** Nothing is in it any more. */
  async #clear(): Promise<void> {
    await this.#flushing
    await this.#file.close()
    await this.#pool.layer.remove(this.#file.path)
    this.#forget()
  }

  #forget(): void {
    this.#entries = new Map()
    this.#byNumber = new Map()
    this.#beginning = null
    this.#mark = null
    this.#last = null
    this.#end = 0
    this.#live = 0
    this.#pid = 0
  }

  #enter(entry: JournalEntry): void {
    this.#entries.set(entry.id, entry)
    this.#byNumber.set(entry.number, entry)
    this.#live += entry.byteLength
  }

  #drop(entry: JournalEntry): void {
    this.#entries.delete(entry.id)
    this.#byNumber.delete(entry.number)
    this.#live -= entry.byteLength
  }

  async #add(id: string, key: Uint8Array, discoveryKey: Uint8Array): Promise<JournalEntry> {
    const number = this.#nextNumber++
    const start = this.#batch.byteLength
    this.#batch.feed(number, 0, key, discoveryKey)
    const byteLength = this.#batch.byteLength - start
    const entry: JournalEntry = {
      id,
      key: copyBytes(key),
      number,
      mark: this.#batch.mark,
      sequence: 0,
      commits: [],
      byteLength,
      open: false,
      writer: null
    }
    await this.#written(start, false)
    this.#enter(entry)
    return entry
  }

  #note(kind: number, entry: JournalEntry): void {
    this.#batch.note(kind, entry.number)
    this.#schedule()
  }

  /** Resolves to the position of a record that begins at byte `at` of the batch, once it is written. */
  #written(at: number, durable: boolean): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ durable, at, resolve, reject })
      this.#schedule()
    })
  }

  /** Whatever comes in this turn is written together at its end. */
  #schedule(): void {
    this.#flushing ??= new Promise((resolve) => {
      setImmediate(() => resolve(this.#flush()))
    })
  }

  async #flushed(): Promise<void> {
    if (this.#batch.byteLength > 0) this.#schedule()
    await this.#flushing
  }

  async #flush(): Promise<void> {
    while (this.#batch.byteLength > 0 || this.#waiting.length > 0) {
      const batch = this.#batch
      const waiting = this.#waiting
      this.#batch = this.#spare
      this.#waiting = []
      try {
        if (this.#broken !== null) throw this.#broken
        await this.#append([this.#opening.bytes, batch.bytes])
        const position = this.#end + this.#opening.byteLength
        this.#end = position + batch.byteLength
        if (waiting.length > 0) this.#committed = this.#end
        this.#opening.clear()
        if (waiting.some(({ durable }) => durable)) await this.#sync()
        for (const task of waiting) task.resolve(position + task.at)
      } catch (error) {
        for (const task of waiting) task.reject(error)
      }
      batch.clear()
      this.#spare = batch
    }
    // At once: whoever comes before a promise settles must not wait for what has ended.
    this.#flushing = null
  }

  /** Writes at the end of the file, or leaves it as it is. */
  async #append(parts: readonly Uint8Array[]): Promise<void> {
    try {
      await this.#file.write(parts, this.#end)
    } catch (error) {
      // Records that came to the file whole would count.
      await this.#file.truncate(this.#end).catch(() => this.#break(error))
      throw error
    }
  }

  /** A sync that failed may have lost bytes for good, and the next one would not say so. */
  async #sync(): Promise<void> {
    // What is written from now on may not be part of it.
    const committed = this.#committed
    try {
      await this.#file.sync()
      for (const folder of this.#unsyncedFolders) await this.#pool.layer.syncFolder(folder)
    } catch (error) {
      this.#break(error)
      await this.#noteFailure()
      throw storageError(error, this.#file.path)
    }
    this.#unsyncedFolders = []
    this.#synced = Math.max(this.#synced, committed)
  }

  async #syncFound(readOnly: boolean): Promise<void> {
    if ((await this.#file.size()) === null) return
    const { layer } = this.#pool
    if (await layer.exists(this.#unsynced.path)) return this.#syncRenewed(readOnly)
    try {
      await this.#file.syncFound()
      for (const folder of foldersOf(this.folder)) await layer.syncFolder(folder)
    } catch (error) {
      if (!readOnly) await this.#noteFailure()
      throw storageError(error, this.#file.path)
    }
  }

  /** Only whoever may write can make durable what a sync failed to write. */
  async #syncRenewed(readOnly: boolean): Promise<void> {
    const { path } = this.#file
    if (readOnly) {
      const reason = `a sync of ${path} failed, and here it cannot be written again`
      throw new SynclineError('STORAGE_FAILED', reason, { path })
    }
    if (!(await this.enter())) throw lockedError(this.folder, this.writer, 'small feeds')
    try {
      await this.sync(readOnly)
    } finally {
      await this.leave()
    }
  }

  /** Tells the next writer that a sync failed. What cannot be written here is not to hide why. */
  async #noteFailure(): Promise<void> {
    await this.#unsynced.write([Uint8Array.of(1)], 0).catch(() => {})
    await this.#unsynced.close()
  }

  #break(cause: unknown): void {
    const reason = `${this.#file.path} failed to write: its feeds must be opened again before the next write`
    const { path } = this.#file
    this.#broken ??= new SynclineError('STORAGE_FAILED', reason, { path }, cause)
  }

  /** Reads after all that is being read, and after `prepare`, which whoever looks for a feed then awaits, too. */
  #readNext(prepare: () => Promise<void> = async () => {}): Promise<void> {
    const before = this.#reading ?? Promise.resolve()
    const reading = before
      .catch(() => {})
      .then(prepare)
      .then(() => this.#read())
    reading.catch(() => {})
    this.#reading = reading
    return reading
  }

  /** Brings the entries up to date with the file. */
  async #read(): Promise<void> {
    // It may be another file by now.
    await this.#file.close()
    const beginning = await this.#file.read(0, BEGIN_BYTES)
    const size = (beginning === null ? null : await this.#file.size()) ?? 0
    if (beginning !== null && isLater(beginning)) {
      const reason = `${this.#file.path} was written by a later version`
      throw new SynclineError('UNSUPPORTED', reason, { path: this.#file.path })
    }
    const known = this.#beginning
    const isSame = known !== null && beginning !== null && equalBytes(known, beginning)
    if (!isSame || size < this.#end || !(await this.#isLastThere())) this.#forget()
    this.#beginning = beginning
    await this.#scan(size)
  }

  /** False if the last record that was read is gone: its writer takes back what he could not write as a whole. */
  async #isLastThere(): Promise<boolean> {
    if (this.#last === null) return true
    const { position, bytes } = this.#last
    const found = await this.#file.read(position, bytes.byteLength)
    return found !== null && equalBytes(found, bytes)
  }

  async #scan(size: number): Promise<void> {
    let at = this.#end
    while (at < size) {
      const bytes = await this.#file.read(at, Math.min(SCAN_BYTES, size - at))
      if (bytes === null || bytes.byteLength === 0) return
      const isLast = at + bytes.byteLength >= size
      let local = 0
      let last: RecordPlace | null = null
      while (local < bytes.byteLength) {
        const place = recordAt(bytes, local, this.#mark)
        if (place === 'short' && !isLast && local > 0) break
        if (place === null || place === 'short') local = afterDamage(local)
        else {
          this.#mark = place.mark
          this.#take(bytes, place, at)
          last = place
          local = place.next
          this.#end = at + local
        }
      }
      if (last !== null) {
        const { at: start, start: end } = last
        this.#last = { position: at + start, bytes: copyBytes(bytes.subarray(start, end)) }
      }
      at += local
    }
  }

  #take(bytes: Uint8Array, place: RecordPlace, position: number): void {
    const { kind } = place
    if (kind === Kind.session) {
      this.#pid = numberAt(bytes, place, 0)
      for (const entry of this.#entries.values()) entry.open = false
      return
    }
    const number = kind === Kind.begin ? 0 : numberAt(bytes, place, 0)
    const byteLength = place.next - place.at
    if (kind === Kind.feed) {
      const { key, discoveryKey } = keysAt(bytes, place)
      this.#nextNumber = Math.max(this.#nextNumber, number + 1)
      this.#enter({
        id: toHex(discoveryKey),
        key: copyBytes(key),
        number,
        mark: place.mark,
        sequence: numberAt(bytes, place, 1),
        commits: [],
        byteLength,
        open: false,
        writer: null
      })
      return
    }
    const entry = this.#byNumber.get(number)
    if (entry === undefined) return
    if (kind === Kind.removed) this.#drop(entry)
    else if (kind === Kind.closed) entry.open = false
    else if (kind === Kind.commit && numberAt(bytes, place, 1) === entry.sequence + 1) {
      entry.sequence++
      entry.open ||= opensAt(bytes, place)
      entry.commits.push(position + place.at, byteLength)
      entry.byteLength += byteLength
      this.#live += byteLength
    }
  }

  /** Writes all anew, after a sync that failed. */
  async #renew(): Promise<void> {
    try {
      await this.#rewrite()
    } catch {
      await this.#readAgain()
      await this.#rewrite()
    }
    await this.#pool.layer.remove(this.#unsynced.path)
  }

  /** What cannot be written anew is written on as it is. */
  async #tidy(): Promise<void> {
    await this.#rewrite().catch(() => this.#readAgain())
  }

  /** Reads all again: without records that were damaged since they were read. */
  async #readAgain(): Promise<void> {
    this.#forget()
    await this.#readNext()
  }

  /** Writes what counts into a new file, each feed as one commit, and puts that in the place of the old one. */
  async #rewrite(): Promise<void> {
    const { layer } = this.#pool
    const draft = new PooledFile(this.#pool, path.join(this.folder, 'draft'))
    try {
      await draft.truncate(0)
      let end = 0
      const batch = new RecordBatch()
      batch.mark = newMark()
      const write = async (): Promise<void> => {
        await draft.write([batch.bytes], end)
        end += batch.byteLength
        batch.clear()
      }
      batch.begin(randomBytes(16))
      for (const entry of this.#entries.values()) {
        await this.#rewriteEntry(entry, batch)
        if (batch.byteLength > REWRITE_BYTES) await write()
      }
      await write()
      await draft.sync()
      await draft.close()
      await this.#readNext(async () => {
        await this.#file.close()
        await layer.rename(draft.path, this.#file.path)
        await layer.syncFolder(this.folder)
      })
    } catch (error) {
      await draft.close()
      await layer.remove(draft.path).catch(() => {})
      throw storageError(error, draft.path)
    }
  }

  async #rewriteEntry(entry: JournalEntry, batch: RecordBatch): Promise<void> {
    const feed = await this.load(entry)
    const isEmpty = feed.commits === 0
    const { sequence, number, key } = entry
    batch.feed(number, sequence - (isEmpty ? 0 : 1), key, Buffer.from(entry.id, 'hex'))
    if (!isEmpty) batch.commit(number, sequence, false, await this.wholeCommit(entry, feed))
  }
}

function newMark(): number {
  return randomBytes(4).readUInt32LE()
}

/** Those that know of a journal. */
function foldersOf(folder: string): readonly string[] {
  return [path.dirname(folder), folder]
}
