/**
 * Brings a drive to what its folder holds: scan, plan, read what changed, append.
 *
 * In place, a file is read and hashed, and its blocks are appended as leaves only: their bytes stay where they are.
 * A file whose blocks the drive has already, under whatever name, brings no blocks at all.
 *
 * @module
 */
import path from 'node:path'
import { SynclineError } from '../errors.ts'
import { storageError, systemCode } from '../feed/file/file-error.ts'
import type { StoredFeed } from '../feed/stored-feed.ts'
import { NODE_BYTES } from '../kernels/fold.ts'
import { IMPORT_ENTRIES_MAX, SETTLE_MS } from '../limits.ts'
import { adoptAll, letGo, sameBlob } from './blob-check.ts'
import { compareContent } from './content.ts'
import { keyOfName } from './drive-name.ts'
import { encodeEntry, readMetadata, writeMetadata, type BlobRange, type Entry } from './entry.ts'
import type { CatalogRow, Known } from './folder/catalog.ts'
import { type DriveFolder, filePath } from './folder/drive-folder.ts'
import { blocksOf, digestOf, hashFile, leavesOf, readWhole } from './folder/file-reader.ts'
import { scan, type ScanCounts, type ScannedEntry, type Skipped } from './folder/scan.ts'
import { isRacy, sameStamp } from './folder/stamp.ts'
import type { GrowingFiles, Growth } from './growing-files.ts'
import { encodeHeader } from './index/block.ts'
import { holdsBack, plan, type Action, type Comparison } from './plan.ts'
import { ProgressNotes } from './progress.ts'

/** Options of {@link importFolder}. */
export interface ImportOptions {
  /** Deletes that are allowed; null holds back more than ten that are more than a quarter. Default: null. */
  readonly maxDelete?: number | null
  /** True tells what would be done, and does nothing. */
  readonly dryRun?: boolean
  /**
   * Files that were just being written when they were last looked at, for whoever looks again soon: given, they are taken
   * in when they have settled, or do not. Kept by the caller, changed here: what is unsettled at the end.
   */
  readonly growing?: GrowingFiles
  /** Told of each change as it is found. */
  readonly onchange?: (change: Change) => void
  readonly progress?: ProgressNotes
  readonly signal?: AbortSignal
}

/** One change of a drive. */
export interface Change {
  readonly type: 'add' | 'change' | 'touch' | 'remove'
  readonly name: string
  readonly byteLength: number
}

/** What an import did, or with `dryRun` would do. */
export interface ImportReport {
  /** Changes in all. */
  readonly changes: number
  /** Entries by what was done with them; `touched`: only mode or time is another. */
  readonly added: number
  readonly changed: number
  readonly touched: number
  readonly removed: number
  /** What the folder holds, and what was left out of it. */
  readonly counts: ScanCounts
  /** Files whose content the drive had under another name: nothing was stored for them. */
  readonly reused: number
  /** Names whose deletion is held back: too many at once. */
  readonly heldBack: readonly string[]
  /** What could not be taken in, ignored names left out. */
  readonly skipped: readonly Skipped[]
  /** Earlier contents that can be given to nobody any more, as their owner replaced or removed them. */
  readonly lost: readonly string[]
  /** Files that are being written: a later import takes them in. */
  readonly unsettled: readonly string[]
  /** Files that have been written for so long that they are taken in as they are, or are unsettled if they do not hold still. */
  readonly restless: readonly string[]
}

/** Bytes of small files that are read, hashed and appended together, and how many of them. */
const BATCH_BYTES: number = 4 * 1024 * 1024
const BATCH_FILES = 1024
/** Bytes from which a file is read in pieces. */
const LARGE_BYTES: number = 1024 * 1024
/** Times that a file is read that changes meanwhile. */
const TRIES = 3

type Step = Exclude<Action<ScannedEntry, CatalogRow>, { type: 'remove' }>

/**
 * See the module comment. The folder is a share of ours.
 *
 * @throws SynclineError FOLDER_MISSING; REFUSED for a folder that lost all its files; NOT_WRITABLE, DISK_FULL,
 * STORAGE_FAILED; the signal's reason. What was taken in until then stays.
 */
export async function importFolder(
  folder: DriveFolder,
  options: ImportOptions = {}
): Promise<ImportReport> {
  return new Import(folder, options).run()
}

class Import {
  readonly #folder: DriveFolder
  readonly #options: ImportOptions
  readonly #progress: ProgressNotes
  readonly #changes = { add: 0, change: 0, touch: 0, remove: 0 }
  readonly #unsettled: string[] = []
  readonly #restless: string[] = []
  readonly #skipped: Skipped[] = []
  /** What goes to the index next. */
  #puts: { readonly key: Uint8Array; readonly value: Uint8Array | null }[] = []
  /** What the catalog is told once the index has it; a row of null is gone. */
  #rows: (readonly [name: string, known: Known | null])[] = []
  #small: ScannedEntry[] = []
  #smallBytes = 0
  #buffer: Uint8Array | null = null
  /** Blobs by digest; made when a file is new or changed. */
  #digests: Map<number, BlobRange[]> | null = null
  /** Leaves that are about to be appended, by their first block. */
  readonly #pending = new Map<number, Uint8Array>()
  #reused = 0
  /** Contents that a name left and no other had by then. */
  #lost: { readonly name: string; readonly blob: BlobRange }[] = []
  /** In a dry run, files that are new or changed: they were not read, so nobody knows that they are those of other names. */
  readonly #foreseen: ScannedEntry[] = []

  constructor(folder: DriveFolder, options: ImportOptions) {
    this.#folder = folder
    this.#options = options
    this.#progress = options.progress ?? new ProgressNotes()
  }

  async run(): Promise<ImportReport> {
    const folder = this.#folder
    const { catalog, config, root } = folder
    const { signal, dryRun = false, maxDelete = null } = this.#options
    await folder.reconcile()
    const before = catalog.size
    const scanning = scan(root, {
      gitignore: config.gitignore,
      stores: folder.stores,
      onSkipped: (skipped) => {
        if (skipped.reason !== 'ignored' && skipped.reason !== 'state') this.#skipped.push(skipped)
      }
    })
    const { counts } = scanning
    // A share that imports serves, too.
    const feed = dryRun ? null : (await folder.blobs()).feed
    const have = feed?.have ?? null
    if (feed !== null) {
      await this.#distrustBeyond(feed.length)
      await this.#releaseTail()
    }
    const isWhole = feed === null || feed.contiguousLength === feed.length
    const same = (source: ScannedEntry, row: CatalogRow): Comparison => {
      // Most files are as they were.
      if (isWhole && catalog.stampOf(row.name) === source.stamp) return 'same'
      const comparison = compare(source, row)
      const blob = row.known.entry.blob
      if (comparison !== 'same' || blob === null || have === null) return comparison
      // It was away when somebody asked for it.
      const isHeld = have.hasAll(blob.blockOffset, blob.blockOffset + blob.blockLength)
      return isHeld ? 'same' : 'unknown'
    }
    const removals: CatalogRow[] = []
    this.#progress.set({ phase: 'scan', files: 0, bytes: 0 })
    for await (const batch of plan(scanning, catalog.listing(), same)) {
      signal?.throwIfAborted()
      this.#progress.set({ filesTotal: counts.files, bytesTotal: counts.bytes })
      for (const step of batch) {
        if (step.type === 'remove') removals.push(step.target)
        else if (dryRun) await this.#foresee(step)
        else await this.#take(step)
      }
    }
    await this.#takeSmall()
    // What cannot be looked at is not gone.
    const gone = this.#withoutUnreadable(removals)
    // An empty folder is gone, too, where it holds something now.
    const goneFiles = gone.filter(({ known }) => !isFolder(known.kind))
    if (goneFiles.length > 0 && counts.files + counts.links === 0 && maxDelete === null) {
      const reason = `${root} has none of its ${before} entries any more: is a disk missing?`
      throw new SynclineError('REFUSED', `${reason} --max-delete ${before} goes on`, { path: root })
    }
    // What has another name now is not lost.
    let lost = goneFiles.filter(({ name, known }) => !folder.hasOther(name, known.entry.blob))
    if (dryRun && holdsBack(lost.length, before, maxDelete)) lost = await this.#withoutMoved(lost)
    const held = new Set(holdsBack(lost.length, before, maxDelete) ? lost : [])
    for (const row of gone) if (!held.has(row)) await this.#remove(row)
    if (!dryRun) {
      await this.#flush()
      await this.#beginEmpty()
      // Until the catalog stands for this version, a stop has all of it looked at again.
      await this.#dropLost()
      catalog.version = folder.index.version
      await catalog.save()
      this.#options.growing?.keep(this.#unsettled)
    }
    this.#progress.set({ phase: 'done' })
    const { add, change, touch, remove } = this.#changes
    return {
      changes: add + change + touch + remove,
      added: add,
      changed: change,
      touched: touch,
      removed: remove,
      counts,
      reused: this.#reused,
      heldBack: Array.from(held, ({ name }) => name),
      skipped: this.#skipped,
      lost: this.#lost.map(({ name }) => name),
      unsettled: this.#unsettled,
      restless: this.#restless
    }
  }

  #note(change: Change): void {
    this.#changes[change.type]++
    this.#options.onchange?.(change)
  }

  /** After a loss of power the catalog may know of blobs that the feed has no more: their files are taken in anew. */
  async #distrustBeyond(length: number): Promise<void> {
    const { catalog, places } = this.#folder
    if (catalog.blocksEnd <= length) return
    // Their blocks are about to be those of other files.
    for (const [name, known] of [...catalog.rows()]) {
      const { blob } = known.entry
      if (blob === null || blob.blockOffset + blob.blockLength <= length) continue
      this.#folder.leaveFile(name, blob)
      await places.drop(blob)
      catalog.set(name, { ...known, entry: { ...known.entry, blob: null }, stamp: null, digest: 0 })
    }
  }

  /** Lets go of blocks that were appended before a stop, and are no file's: a file has them again as others. */
  async #releaseTail(): Promise<void> {
    const folder = this.#folder
    if (!folder.inPlace) return
    const { feed } = await folder.blobs()
    await feed.release([[folder.catalog.blocksEnd, feed.length]])
  }

  async #foresee({ type, name, source, target }: Step): Promise<void> {
    const change = type === 'check' ? await this.#foreseeChecked(source, target) : type
    if (change === null) return
    this.#note({ type: change, name, byteLength: source.size })
    if (change !== 'touch' && source.kind === 'file') this.#foreseen.push(source)
  }

  /** Of names that are gone, those whose contents no file has that is new or changed. */
  async #withoutMoved(lost: readonly CatalogRow[]): Promise<CatalogRow[]> {
    const { signal } = this.#options
    const sizes = new Set(lost.map(({ known }) => known.entry.blob?.byteLength ?? 0))
    const digests = new Set<number>()
    for (const { name, size } of this.#foreseen) {
      if (size === 0 || !sizes.has(size)) continue
      // What cannot be read is not taken in either.
      const hashed = await hashFile(this.#pathOf(name), () => {}, signal).catch(() => null)
      signal?.throwIfAborted()
      if (hashed !== null) digests.add(digestOf(hashed.leaves))
    }
    return lost.filter(({ known }) => !digests.has(known.digest))
  }

  /** What will become of a name that both sides have, once its file is read; null for nothing. */
  async #foreseeChecked(
    source: ScannedEntry,
    { known }: CatalogRow
  ): Promise<Change['type'] | null> {
    const { signal } = this.#options
    const options = signal === undefined ? {} : { signal }
    const verdict = await compareContent(this.#folder, this.#pathOf(source.name), known, options)
    if (verdict !== 'ok') return 'change'
    return sameMetadata(known.entry, source) ? null : 'touch'
  }

  #withoutUnreadable(removals: readonly CatalogRow[]): CatalogRow[] {
    const unreadable = this.#skipped.filter(({ reason }) => reason === 'unreadable')
    const names = new Set(unreadable.map(({ name }) => name))
    const folders = unreadable.filter((item) => item.folder).map(({ name }) => `${name}/`)
    return removals.filter(
      ({ name }) => !names.has(name) && !folders.some((prefix) => name.startsWith(prefix))
    )
  }

  async #take({ source }: Step): Promise<void> {
    if (source.kind !== 'file') return this.#takeBare(source)
    const growth = this.#growthOf(source)
    if (growth === 'growing') {
      this.#unsettled.push(source.name)
      return
    }
    const isLarge = source.size >= LARGE_BYTES
    if (growth === 'restless') {
      this.#restless.push(source.name)
      // Now, and not with others: it would not be what it is any more.
      return this.#takeLarge(source, isLarge ? 1 : TRIES)
    }
    if (isLarge) return this.#takeLarge(source, TRIES)
    this.#small.push(source)
    this.#smallBytes += source.size
    if (this.#smallBytes >= BATCH_BYTES || this.#small.length >= BATCH_FILES)
      await this.#takeSmall()
  }

  /** Whether somebody may still be writing the file. */
  #growthOf({ name, mtimeMs, stamp }: ScannedEntry): Growth {
    const { growing } = this.#options
    return growing?.look(name, stamp, Date.now() - mtimeMs <= SETTLE_MS) ?? 'settled'
  }

  /** The file did not hold still while it was read. */
  #fail({ name, stamp }: ScannedEntry): void {
    this.#unsettled.push(name)
    this.#options.growing?.failed(name, stamp)
  }

  /** A link or an empty folder. */
  async #takeBare(source: ScannedEntry): Promise<void> {
    const { kind, linkname, mode, mtimeMs } = source
    const metadata = kind === 'link' ? null : writeMetadata({ mtimeMs, mode })
    const entry: Entry = { executable: false, linkname, blob: null, metadata }
    await this.#put(source, { kind, entry, stamp: source.stamp, digest: 0 })
  }

  async #takeSmall(): Promise<void> {
    const files = this.#small
    if (files.length === 0) return
    this.#small = []
    this.#smallBytes = 0
    this.#buffer ??= new Uint8Array(BATCH_BYTES + LARGE_BYTES)
    const readMs = Date.now()
    const read: { readonly file: ScannedEntry; readonly blocks: readonly Uint8Array[] }[] = []
    let at = 0
    for (const file of files) {
      const bytes = this.#buffer.subarray(at, at + file.size)
      if (!this.#readSmall(file, bytes)) continue
      read.push({ file, blocks: blocksOf(bytes) })
      at += file.size
    }
    await this.#arrive(read, leavesOf(read.flatMap(({ blocks }) => blocks)), readMs)
  }

  /** False if the file could not be read as it was seen. */
  #readSmall(file: ScannedEntry, target: Uint8Array): boolean {
    try {
      const stamp = readWhole(this.#pathOf(file.name), file.size, target)
      if (stamp !== null && sameStamp(stamp, file.stamp)) return true
      this.#fail(file)
    } catch (error) {
      this.#skip(file, error)
    }
    return false
  }

  /** Small files that were read: those that bring something new are appended together. */
  async #arrive(
    files: readonly { readonly file: ScannedEntry; readonly blocks: readonly Uint8Array[] }[],
    leaves: Uint8Array,
    readMs: number
  ): Promise<void> {
    const folder = this.#folder
    const { session, feed } = await folder.blobs()
    // Entries count bytes without what encryption adds.
    let { length, byteLength } = session
    const fresh: Uint8Array[] = []
    const freshBlocks: Uint8Array[] = []
    const settled: (readonly [file: ScannedEntry, blob: BlobRange, digest: number])[] = []
    let first = 0
    for (const { file, blocks } of files) {
      const own = leaves.subarray(NODE_BYTES * first, NODE_BYTES * (first + blocks.length))
      first += blocks.length
      const digest = digestOf(own)
      let blob = await this.#find(feed, file, digest, own)
      if (blob === null) {
        blob = {
          blockOffset: length,
          blockLength: blocks.length,
          byteOffset: byteLength,
          byteLength: file.size
        }
        length += blocks.length
        byteLength += file.size
        fresh.push(own)
        if (!folder.inPlace) freshBlocks.push(...blocks)
        this.#pending.set(blob.blockOffset, own)
        this.#remember(digest, blob)
      } else this.#countReused(file.name, blob)
      // Known before the blocks are announced.
      folder.placeFile(file.name, blob)
      settled.push([file, blob, digest])
    }
    if (folder.inPlace) await feed.appendLeaves(Buffer.concat(fresh), { durability: 'os' })
    else if (freshBlocks.length > 0) await session.append(freshBlocks, { durability: 'os' })
    this.#pending.clear()
    for (const [file, blob, digest] of settled) await this.#settle(file, blob, digest, readMs)
  }

  async #takeLarge(file: ScannedEntry, triesMax: number): Promise<void> {
    const { signal } = this.#options
    try {
      for (let tries = 1; tries <= triesMax; tries++) {
        const readMs = Date.now()
        const hashed = await hashFile(
          this.#pathOf(file.name),
          (piece) => this.#progress.add(0, piece.byteLength),
          signal
        )
        if (hashed === null) continue
        const { byteLength: size, leaves, stamp } = hashed
        if (await this.#arriveLarge({ ...file, size, stamp }, leaves, readMs)) return
      }
      this.#fail(file)
    } catch (error) {
      if (signal?.aborted === true || error instanceof SynclineError) throw error
      this.#skip(file, error)
    }
  }

  /** False if the file changed before its blocks were stored. */
  async #arriveLarge(file: ScannedEntry, leaves: Uint8Array, readMs: number): Promise<boolean> {
    const folder = this.#folder
    const { session, feed } = await folder.blobs()
    const digest = digestOf(leaves)
    const known = await this.#find(feed, file, digest, leaves)
    const blob = known ?? {
      blockOffset: feed.length,
      blockLength: leaves.byteLength / NODE_BYTES,
      byteOffset: session.byteLength,
      byteLength: file.size
    }
    if (known !== null) this.#countReused(file.name, blob)
    folder.placeFile(file.name, blob)
    if (known === null && folder.inPlace) await feed.appendLeaves(leaves, { durability: 'os' })
    else if (known === null) {
      const append = async (piece: Uint8Array): Promise<void> => {
        await session.append(blocksOf(piece), { durability: 'os' })
      }
      // What was appended for nothing would take up its room for good.
      const giveUp = (): Promise<void> => feed.clear(blob.blockOffset, feed.length)
      const again = await hashFile(this.#pathOf(file.name), append, this.#options.signal).catch(
        async (error: unknown) => {
          await giveUp().catch(() => {})
          throw error
        }
      )
      if (again === null || Buffer.compare(again.leaves, leaves) !== 0) {
        await giveUp()
        return false
      }
    }
    this.#remember(digest, blob)
    await this.#settle(file, blob, digest, readMs)
    return true
  }

  #countReused(name: string, blob: BlobRange): void {
    const before = this.#folder.catalog.get(name)?.entry.blob ?? null
    if (blob.byteLength > 0 && !sameBlob(before, blob)) this.#reused++
  }

  /** A file whose blob the drive has: its entry follows where it says something new. */
  async #settle(
    file: ScannedEntry,
    blob: BlobRange,
    digest: number,
    readMs: number
  ): Promise<void> {
    const { name, size, mode, mtimeMs } = file
    const before = this.#folder.catalog.get(name)
    this.#progress.add(1, size < LARGE_BYTES ? size : 0)
    // A stamp that will tell of every later change, or none.
    const stamp = isRacy(file.stamp, readMs) ? null : file.stamp
    const same = before?.kind === 'file' && sameBlob(before.entry.blob, blob)
    if (same && sameMetadata(before.entry, file)) {
      this.#rows.push([name, { ...before, stamp, digest }])
      return
    }
    const metadata = writeMetadata({ mtimeMs, mode })
    const executable = (mode & 0o100) !== 0
    const entry: Entry = { executable, linkname: null, blob, metadata }
    await this.#put(file, { kind: 'file', entry, stamp, digest }, same)
  }

  async #put(file: ScannedEntry, known: Known, onlyMetadata = false): Promise<void> {
    const { name, kind, size: byteLength } = file
    const before = this.#folder.catalog.get(name)
    const type = onlyMetadata ? 'touch' : before === undefined ? 'add' : 'change'
    this.#note({ type, name, byteLength })
    if (before !== undefined && isFolder(before.kind) !== isFolder(kind)) {
      this.#puts.push({ key: keyOf(name, before.kind), value: null })
    }
    const value = isFolder(kind) ? encodeFolder(known.entry) : encodeEntry(known.entry)
    this.#puts.push({ key: keyOf(name, kind), value })
    this.#rows.push([name, known])
    if (this.#puts.length >= IMPORT_ENTRIES_MAX) await this.#flush()
  }

  async #remove({ name, known }: CatalogRow): Promise<void> {
    const byteLength = known.entry.blob?.byteLength ?? 0
    this.#note({ type: 'remove', name, byteLength })
    if (this.#options.dryRun === true) return
    this.#puts.push({ key: keyOf(name, known.kind), value: null })
    this.#rows.push([name, null])
    if (this.#puts.length >= IMPORT_ENTRIES_MAX) await this.#flush()
  }

  /** Appends to the index what was gathered; only then the catalog may say so. */
  async #flush(): Promise<void> {
    const { index, indexSession, catalog } = this.#folder
    if (this.#puts.length + this.#rows.length === 0) return
    const blocks = await index.encode(this.#puts)
    if (blocks.length > 0) await indexSession.append(blocks, { durability: 'os' })
    this.#puts = []
    for (const [name, known] of this.#rows) {
      const blob = catalog.get(name)?.entry.blob ?? null
      if (blob !== null && !sameBlob(blob, known?.entry.blob ?? null)) this.#leave(name, blob)
      if (known === null) catalog.delete(name)
      else catalog.set(name, known)
    }
    this.#rows = []
    // It stands for no version until all is done: what of it and of the index a loss of power leaves need not fit.
    catalog.version = 0
    await catalog.save()
  }

  /** An index without a header is none: whoever clones it would wait for ever. */
  async #beginEmpty(): Promise<void> {
    const { index, indexSession } = this.#folder
    if (index.version > 0) return
    await indexSession.append(encodeHeader(null), { durability: 'os' })
  }

  /** The file of `name` holds something else now. */
  #leave(name: string, blob: BlobRange): void {
    if (!this.#folder.leaveFile(name, blob) || blob.byteLength === 0) return
    if (this.#folder.inPlace) this.#lost.push({ name, blob })
  }

  /** Says of contents that nobody has any more that they are gone. */
  async #dropLost(): Promise<void> {
    // A name that was looked at later may have them now.
    this.#lost = this.#lost.filter(({ blob }) => !this.#folder.isPlaced(blob))
    await letGo(
      this.#folder,
      this.#lost.map(({ blob }) => blob)
    )
  }

  /** A blob of the drive with just these leaves, or null. */
  async #find(
    feed: StoredFeed,
    { name, size }: ScannedEntry,
    digest: number,
    leaves: Uint8Array
  ): Promise<BlobRange | null> {
    if (digest === 0) return null
    for (const blob of this.#blobsByDigest().get(digest) ?? []) {
      if (blob.byteLength !== size || blob.blockMap === true) continue
      const end = blob.blockOffset + blob.blockLength
      const pending = this.#pending.get(blob.blockOffset)
      const isHeld = feed.have.hasAll(blob.blockOffset, end)
      const mayLie = this.#folder.inPlace || isHeld
      const theirs = pending ?? (mayLie ? await this.#folder.leaves(blob) : null)
      if (theirs === null || Buffer.compare(theirs, leaves) !== 0) continue
      if (pending !== undefined || isHeld) return blob
      // It was gone, or somebody thought so, and is here again.
      this.#folder.placeFile(name, blob)
      if (await adoptAll(feed, blob.blockOffset, leaves)) return blob
    }
    return null
  }

  #blobsByDigest(): Map<number, BlobRange[]> {
    if (this.#digests !== null) return this.#digests
    this.#digests = new Map()
    for (const [, { entry, digest }] of this.#folder.catalog.rows()) {
      if (entry.blob !== null) this.#remember(digest, entry.blob)
    }
    return this.#digests
  }

  #remember(digest: number, blob: BlobRange): void {
    if (digest === 0) return
    const digests = this.#blobsByDigest()
    const blobs = digests.get(digest)
    if (blobs === undefined) digests.set(digest, [blob])
    else if (!blobs.some((other) => sameBlob(other, blob))) blobs.push(blob)
  }

  #pathOf(name: string): string {
    return path.join(this.#folder.root, filePath(name))
  }

  #skip(file: ScannedEntry, error: unknown): void {
    const { name } = file
    const code = systemCode(error)
    // It vanished after it was seen: the next import takes it out.
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') this.#fail(file)
    else if (UNREADABLE.has(code)) {
      this.#skipped.push({ name, reason: 'unreadable', folder: false, code })
    } else throw storageError(error, this.#pathOf(name))
  }
}

/** What the system says of one file that it does not give, whatever it gives of others. */
const UNREADABLE = new Set([
  'EACCES',
  'EAGAIN', // Somebody holds a lease on it.
  'EBUSY',
  'EIO',
  'ENOTSUP',
  'ENXIO',
  'EOPNOTSUPP',
  'EPERM',
  'EREMOTEIO',
  'ESTALE',
  'ETIMEDOUT',
  'ETXTBSY'
])

function compare(source: ScannedEntry, { known }: CatalogRow): Comparison {
  const { kind, entry, stamp } = known
  if (kind !== source.kind) return 'content'
  if (kind === 'link') return entry.linkname === source.linkname ? 'same' : 'content'
  if (kind === 'folder')
    return readMetadata(entry.metadata).mode === source.mode ? 'same' : 'content'
  return stamp !== null && sameStamp(stamp, source.stamp) ? 'same' : 'unknown'
}

/** True if time and mode of a file are what the drive says of it. */
export function sameMetadata(entry: Entry, { mode, mtimeMs }: ScannedEntry): boolean {
  const known = readMetadata(entry.metadata)
  return known.mode === mode && known.mtimeMs === mtimeMs
}

function isFolder(kind: Known['kind']): boolean {
  return kind === 'folder'
}

function keyOf(name: string, kind: Known['kind']): Uint8Array {
  return keyOfName(name, isFolder(kind) ? 'dirs' : 'files')
}

function encodeFolder({ metadata }: Entry): Uint8Array {
  return Buffer.from(JSON.stringify({ metadata }))
}
