/**
 * A drive as its user holds it: Hyperdrive's names over the two feeds, its index and its blobs.
 *
 * Names are made normal as Hyperdrive does. Entries that cannot be read, and names that lead out of a folder, are
 * left out of listings and told by the event `bad-entry`.
 *
 * @module
 */
import { EventEmitter } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { SynclineError } from '../errors.ts'
import { equalBytes } from '../feed/bytes.ts'
import { Mutex } from '../feed/mutex.ts'
import { createKeyPair } from '../feed/signature.ts'
import type { KeyPair } from '../feed/store.ts'
import { LINKS_FOLLOWED_MAX } from '../limits.ts'
import { emit } from '../synchronizer/emit.ts'
import type { DownloadRange, FeedSession } from '../synchronizer/feed-session.ts'
import { formatKey, parseKey } from '../synchronizer/key.ts'
import type { AddOptions, Synchronizer } from '../synchronizer/synchronizer.ts'
import { orAbort, stoppable, type WaitOptions } from '../synchronizer/waiting.ts'
import { blobsKey, newDriveIdentities } from './blobs-key.ts'
import { DriveBlobs, type BlobReadOptions, type BlobWaitOptions } from './drive-blobs.ts'
import { DriveDownload } from './drive-download.ts'
import {
  keyOfName,
  normalFolder,
  normalName,
  partOfKey,
  rangeOfFolder,
  rangeOfPart,
  readName,
  resolveLink
} from './drive-name.ts'
import { decodeEntry, encodeEntry, type BlobRange, type Entry } from './entry.ts'
import type { Change } from './index/batch.ts'
import type { IndexSource } from './index/block-cache.ts'
import { DriveIndex, type EntriesOptions, type IndexEntry } from './index/drive-index.ts'
import { useSession } from './session-users.ts'

/** A file or link with its name. */
export interface DriveEntry {
  /** Block of the index that holds it; 0 while it waits in a batch. */
  readonly seq: number
  readonly key: string
  readonly value: Entry
}

/** What two versions have under one name. */
export interface DriveDiff {
  readonly left: DriveEntry | null
  readonly right: DriveEntry | null
}

/** A change of a file or link. */
export interface DriveChange {
  readonly type: 'put' | 'del'
  /** Block of the index: the version before the change. */
  readonly seq: number
  readonly key: string
  /** Null for a deletion. */
  readonly value: Entry | null
}

/** Something in the index that is left out. */
export interface BadEntry {
  /** For people only. */
  readonly name: string
  readonly seq: number
  readonly reason: string
}

/** Options of everything that looks up a name. */
export interface EntryOptions extends BlobWaitOptions {
  /** Follows links to what they lead to, from the folder that they are in. Default: false. */
  readonly follow?: boolean
}

/** Options of {@link Drive.get} and {@link Drive.createReadStream}. */
export interface ReadFileOptions extends BlobReadOptions, EntryOptions {}

/** What is kept with a file beside its bytes. */
export interface PutOptions {
  /** Default: false. */
  readonly executable?: boolean
  /** JSON; default: null. */
  readonly metadata?: unknown
}

/** Names in bytewise order, as they stand in the drive. */
export interface EntriesRange {
  readonly gt?: string
  readonly gte?: string
  readonly lt?: string
  readonly lte?: string
  /** Default: false. */
  readonly reverse?: boolean
  /** Default: all. */
  readonly limit?: number
}

/** Options of {@link Drive.list}. */
export interface ListOptions extends BlobWaitOptions {
  /** False: of each folder only its first file. Default: true. */
  readonly recursive?: boolean
  /** Names with all below them, or a function that is true for names that are left out. */
  readonly ignore?: string | readonly string[] | ((key: string) => boolean) | null
}

/** Options of {@link Drive.create}. */
export interface CreateDriveOptions extends Omit<AddOptions, 'ranges' | 'drive' | 'valueEncoding'> {
  /** Writes both feeds; a new one by default. */
  readonly keyPair?: KeyPair
}

/** Options of {@link Drive.open}. */
export interface OpenDriveOptions extends Omit<AddOptions, 'ranges' | 'drive' | 'valueEncoding'> {
  /** True: blobs come when they are read. False: all are downloaded. Default: true. */
  readonly sparse?: boolean
}

/** Options of the constructor of {@link Drive}. */
export interface DriveOptions {
  /** True if closing the drive closes its feeds, unless another drive, share or clone has them. Default: false. */
  readonly owned?: boolean
}

/** Gives the session of the blobs feed once its key is known. */
export type BlobsOpener = (key: Uint8Array) => FeedSession | Promise<FeedSession>

/** Events of a {@link Drive}. */
export interface DriveEvents {
  /** The key of the blobs feed is known. */
  'content-key': [key: Uint8Array]
  blobs: [blobs: DriveBlobs]
  'bad-entry': [entry: BadEntry]
  close: []
}

/** What a drive, its checkouts and its batches share. */
interface Shared {
  readonly index: FeedSession
  readonly tree: DriveIndex
  readonly openBlobs: BlobsOpener
  readonly owned: boolean
  /** Let go of the sessions if they are its own. */
  readonly leaveIndex: () => Promise<void>
  leaveBlobs: () => Promise<void>
  blobs: DriveBlobs | null
  opening: Promise<DriveBlobs> | null
  /** True once block 0 was seen to be a header. */
  checked: boolean
  /** Lets the sessions go. */
  readonly release: () => void
  closing: Promise<void> | null
}

/** What a checkout or a batch is of. */
interface View {
  readonly main: Drive
  readonly checkout: number | null
  readonly pending: Map<string, Entry | null> | null
}

/** Writers of one index wait for each other, whoever made them. */
const locks = new WeakMap<FeedSession, Mutex>()

const STAYS = (): Promise<void> => Promise.resolve()

/** See the module comment. */
export class Drive extends EventEmitter<DriveEvents> {
  /** Read by mirror-drive: metadata of entries is kept. */
  readonly supportsMetadata = true
  readonly #shared: Shared
  readonly #main: Drive
  /** Null: the newest. */
  readonly #checkout: number | null
  /** Changes that wait for {@link Drive.flush}, by name; null outside of a batch. */
  readonly #pending: Map<string, Entry | null> | null

  /**
   * A drive over sessions that the caller opened; they stay its own unless `owned`.
   *
   * @param blobs - or what opens it, once the index told its key.
   * @param view - not for users.
   */
  constructor(
    index: FeedSession,
    blobs: FeedSession | BlobsOpener,
    options: DriveOptions = {},
    view: View | null = null
  ) {
    super()
    this.setMaxListeners(0)
    this.#checkout = view?.checkout ?? null
    this.#pending = view?.pending ?? null
    this.#main = view?.main ?? this
    if (view !== null) {
      this.#shared = view.main.#shared
      return
    }
    const known = typeof blobs === 'function' ? null : new DriveBlobs(blobs)
    const tree = new DriveIndex(indexSource(index))
    const ontruncate = (): void => tree.clear()
    index.on('truncate', ontruncate)
    const { owned = false } = options
    this.#shared = {
      index,
      tree,
      openBlobs: typeof blobs === 'function' ? blobs : () => blobs,
      owned,
      leaveIndex: owned ? useSession(index) : STAYS,
      leaveBlobs: owned && known !== null ? useSession(known.core) : STAYS,
      blobs: known,
      opening: known && Promise.resolve(known),
      checked: false,
      release: () => index.off('truncate', ontruncate),
      closing: null
    }
  }

  /**
   * Makes a drive in the storage of a synchronizer: feeds of the names `NAME` and `NAME/blobs`.
   *
   * @throws SynclineError FEED_EXISTS; what the storage throws.
   */
  static async create(
    sync: Synchronizer,
    name: string,
    options: CreateDriveOptions = {}
  ): Promise<Drive> {
    const { keyPair = createKeyPair(), ...rest } = options
    const { blobs } = newDriveIdentities(keyPair)
    // The blobs first: an index that stands alone could never be written.
    const { manifest } = blobs
    const blobsSession = await sync.create(`${name}/blobs`, {
      ...rest,
      keyPair,
      ...(manifest === null ? {} : { manifest })
    })
    try {
      const index = await sync.create(name, { ...rest, keyPair })
      return new Drive(index, blobsSession, { owned: true })
    } catch (error) {
      await sync.remove(blobsSession.key, { force: true })
      throw error
    }
  }

  /**
   * Opens a drive by name, if it is stored here, or by key. The index is downloaded as a whole.
   *
   * @throws SynclineError FEED_NOT_FOUND, BAD_KEY; what the storage throws.
   */
  static async open(
    sync: Synchronizer,
    nameOrKey: string | Uint8Array,
    options: OpenDriveOptions = {}
  ): Promise<Drive> {
    const { sparse = true, ...rest } = options
    const key = typeof nameOrKey === 'string' ? parseKey(nameOrKey) : nameOrKey
    const index = key === null ? await sync.open(nameOrKey, rest) : sync.add(key, rest)
    const openBlobs = (blobs: Uint8Array): FeedSession =>
      sync.add(blobs, { ...rest, ...(sparse ? { ranges: [] } : {}) })
    const drive = new Drive(index, openBlobs, { owned: true })
    await drive.ready()
    return drive
  }

  /** A name as the drive has it. @throws SynclineError BAD_ARGUMENT. */
  static normalizePath(name: string): string {
    return normalName(name)
  }

  /** The feed of the index. */
  get core(): FeedSession {
    return this.#shared.index
  }

  /** The blobs, once their key is known. */
  get blobs(): DriveBlobs | null {
    return this.#shared.blobs
  }

  /** 32 bytes. */
  get key(): Uint8Array {
    return this.core.key
  }

  /** The key in z-base-32. */
  get id(): string {
    return formatKey(this.key)
  }

  /** 32 bytes: safe to announce. */
  get discoveryKey(): Uint8Array {
    return this.core.discoveryKey
  }

  /** Key of the blobs feed, 32 bytes; null until it is known. */
  get contentKey(): Uint8Array | null {
    return this.#shared.blobs?.key ?? null
  }

  /** Length of the index, at least 1. */
  get version(): number {
    return Math.max(1, this.#checkout ?? this.core.length)
  }

  get writable(): boolean {
    return this.core.writable
  }

  get readable(): boolean {
    return this.core.readable
  }

  get closed(): boolean {
    return this.#shared.closing !== null
  }

  /**
   * Resolves when the index is open; its first block may still have to come from peers.
   *
   * @throws SynclineError ENCRYPTED; what opening the feeds threw.
   */
  async ready(): Promise<void> {
    const { index } = this.#shared
    await index.ready()
    if (index.holds(0) || (index.writable && index.length === 0)) await this.getBlobs()
  }

  /**
   * The blobs, when the index told their key: the first block may have to come from peers.
   *
   * @throws SynclineError ENCRYPTED; UNSUPPORTED when the index names no blobs; SESSION_CLOSED.
   */
  getBlobs(): Promise<DriveBlobs> {
    const shared = this.#shared
    if (shared.opening === null) {
      const opening = this.#openBlobs()
      shared.opening = opening
      opening.catch(() => {
        if (shared.opening === opening) shared.opening = null
      })
    }
    return shared.opening
  }

  /** Closes the drive, and its feeds if they are its own and nobody else's; checkouts and batches need no close. Idempotent. */
  async close(): Promise<void> {
    if (this !== this.#main) return
    this.#shared.closing ??= this.#close()
    return this.#shared.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /**
   * Waits for the newest version that the connected peers know; with `wait: true` for a peer, too, and with false for
   * nothing.
   *
   * @returns true if there is a newer one than before.
   */
  async update(options: BlobWaitOptions = {}): Promise<boolean> {
    const { wait } = options
    return this.core.update({ ...limitsOf(options), ...(wait === undefined ? {} : { wait }) })
  }

  /**
   * The entry of a name, or null.
   *
   * @param name - an entry is given back as it is.
   * @throws SynclineError BAD_ARGUMENT for what is no name, BAD_MESSAGE when the entry cannot be read, TIMEOUT,
   * BLOCK_NOT_AVAILABLE with `wait` false, ENCRYPTED; INVALID_OPERATION when links lead in a circle.
   */
  async entry(name: string | DriveEntry, options: EntryOptions = {}): Promise<DriveEntry | null> {
    if (typeof name !== 'string') return name
    let key = normalName(name)
    for (let followed = 0; followed < LINKS_FOLLOWED_MAX; followed++) {
      const entry = await this.#entry(key, options)
      const linkname = entry?.value.linkname ?? null
      if (entry === null || linkname === null || options.follow !== true) return entry
      key = resolveLink(key, linkname)
    }
    throw new SynclineError('INVALID_OPERATION', `the links from ${name} lead in a circle`)
  }

  async exists(name: string): Promise<boolean> {
    return (await this.entry(name)) !== null
  }

  /**
   * The bytes of a file, the caller's; null if there is none of that name.
   *
   * @throws SynclineError as {@link Drive.entry} and {@link DriveBlobs.read}.
   */
  async get(name: string | DriveEntry, options: ReadFileOptions = {}): Promise<Buffer | null> {
    const blob = (await this.entry(name, options))?.value.blob ?? null
    if (blob === null) return null
    const bytes = await (await this.getBlobs()).get(blob, options)
    if (bytes !== null) return bytes
    throw new SynclineError('BLOCK_NOT_AVAILABLE', `the bytes of the file are not all here`)
  }

  /**
   * The bytes of a file as a stream; that of a link is empty.
   *
   * The stream fails with FILE_NOT_FOUND, and with what {@link Drive.get} throws.
   */
  createReadStream(name: string | DriveEntry, options: ReadFileOptions = {}): Readable {
    const read = (signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> =>
      this.#read(name, options, signal)
    return Readable.from(stoppable(read, options.signal), { objectMode: false })
  }

  /**
   * Writes a file; durable when it resolves.
   *
   * @throws SynclineError NOT_WRITABLE, BAD_ARGUMENT, DISK_FULL, STORAGE_FAILED.
   */
  async put(name: string, bytes: Uint8Array | string, options: PutOptions = {}): Promise<void> {
    const key = normalName(name)
    const blob = await (await this.#writableBlobs()).put(bytes, this.#blobDurability)
    await this.#write(key, fileEntry(blob, options))
  }

  /**
   * Writes a file as its bytes come; it is in the drive when the stream has finished.
   *
   * @throws SynclineError BAD_ARGUMENT when it is no name.
   */
  createWriteStream(name: string, options: PutOptions = {}): Writable {
    const key = normalName(name)
    const opening = this.#writableBlobs().then((blobs) => blobs.createWriter(this.#blobDurability))
    opening.catch(() => {})
    return new Writable({
      write: (chunk: Uint8Array, _encoding, done) => {
        opening.then((writer) => writer.write(chunk)).then(() => done(), done)
      },
      final: (done) => {
        opening
          .then((writer) => writer.end())
          .then((blob) => this.#write(key, fileEntry(blob, options)))
          .then(() => done(), done)
      },
      destroy: (error, done) => {
        opening.then(
          (writer) => writer.destroy(),
          () => {}
        )
        done(error)
      }
    })
  }

  /** Writes an entry whose blob is in the blobs feed already, or has none. @throws SynclineError NOT_WRITABLE. */
  async putEntry(name: string, entry: Partial<Entry> = {}): Promise<void> {
    const { executable = false, linkname = null, blob = null, metadata = null } = entry
    await this.#write(normalName(name), { executable, linkname, blob, metadata })
  }

  /** Writes a link. Its target is not looked at. @throws SynclineError NOT_WRITABLE. */
  async symlink(
    name: string,
    linkname: string,
    options: Pick<PutOptions, 'metadata'> = {}
  ): Promise<void> {
    const { metadata = null } = options
    await this.#write(normalName(name), { executable: false, linkname, blob: null, metadata })
  }

  /** Deletes a file or link; nothing happens if there is none. Its blobs stay. @throws SynclineError NOT_WRITABLE. */
  async del(name: string): Promise<void> {
    await this.#write(normalName(name), null)
  }

  /** Entries in the order of their names' bytes. */
  async *entries(
    range: EntriesRange = {},
    options: Pick<ListOptions, 'ignore'> & BlobWaitOptions = {}
  ): AsyncGenerator<DriveEntry, void, void> {
    const { gt, gte, lt, lte, reverse = false, limit = Infinity } = range
    const all = rangeOfPart()
    const bounds: EntriesOptions = {
      ...(gt === undefined ? {} : { gt: keyOfName(gt) }),
      ...(gte === undefined ? {} : { gte: keyOfName(gte) }),
      ...(gt === undefined && gte === undefined ? { gt: all.gt } : {}),
      ...(lt === undefined ? {} : { lt: keyOfName(lt) }),
      ...(lte === undefined ? {} : { lte: keyOfName(lte) }),
      ...(lt === undefined && lte === undefined ? { lt: all.lt } : {})
    }
    yield* this.#scan({ ...bounds, reverse }, limit, options)
  }

  [Symbol.asyncIterator](): AsyncGenerator<DriveEntry, void, void> {
    return this.entries()
  }

  /** Entries below a folder, in the order of their names' bytes. */
  list(
    folder: string | ListOptions = '/',
    options: ListOptions = {}
  ): AsyncGenerator<DriveEntry, void, void> {
    return typeof folder === 'string' ? this.#list(folder, options) : this.#list('/', folder)
  }

  /** Names of the files, links and folders in a folder. */
  async *readdir(
    folder: string = '/',
    options: BlobWaitOptions = {}
  ): AsyncGenerator<string, void, void> {
    for await (const [name] of this.#shallow(normalFolder(folder), options)) yield name
  }

  /** The drive as it was at a version; it can only be read. */
  checkout(version: number): Drive {
    return this.#view(Math.max(1, version), null)
  }

  /** Changes that are made together by {@link Drive.flush}. Only `entry` and what builds on it sees them before. */
  batch(): Drive {
    return this.#view(null, new Map())
  }

  /** Makes the changes of a batch, durable when it resolves. Elsewhere there are none. */
  async flush(): Promise<void> {
    const pending = this.#pending
    if (pending === null || pending.size === 0) return
    const made = [...pending]
    // The bytes must be there for good before the entries are.
    const { core } = await this.getBlobs()
    await (await core.feed()).flush()
    await this.#append(made.map(([name, entry]) => changeOf(name, entry)))
    // What came meanwhile waits for the next flush.
    for (const [name, entry] of made) if (pending.get(name) === entry) pending.delete(name)
  }

  /** Names whose entries differ: `left` is in this version, `right` in `version`. */
  diff(
    version: number,
    folder: string | BlobWaitOptions = '/',
    options: BlobWaitOptions = {}
  ): AsyncGenerator<DriveDiff, void, void> {
    return typeof folder === 'string'
      ? this.#diff(version, folder, options)
      : this.#diff(version, '/', folder)
  }

  /** Changes of files and links in the order in which they were made, from version `start` to version `end`. */
  async *history(
    options: BlobWaitOptions & { readonly start?: number; readonly end?: number } = {}
  ): AsyncGenerator<DriveChange, void, void> {
    const tree = this.#tree(options)
    const present = await this.#present(tree, options)
    const { start = 1, end = present } = options
    for await (const change of tree.history(start, Math.min(end, present))) {
      if (partOfKey(change.key) !== 'files') continue
      const { type, seq } = change
      const { name: key, fault } = readName(change.key)
      if (type === 'put') {
        const entry = this.#decode(change)
        if (entry !== null) yield { type, seq, key, value: entry.value }
      } else if (fault === null) yield { type, seq, key, value: null }
    }
  }

  /** Downloads the bytes of all files in a folder, or of one file. */
  download(folder: string | BlobWaitOptions = '/', options: BlobWaitOptions = {}): DriveDownload {
    if (typeof folder !== 'string') return this.download('/', folder)
    const blobsOf = async function* (drive: Drive): AsyncGenerator<BlobRange, void, void> {
      const normal = normalFolder(folder)
      const file = normal === '/' ? null : await drive.entry(normal, options)
      if (file?.value.blob) yield file.value.blob
      for await (const { value } of drive.list(normal, options)) if (value.blob) yield value.blob
    }
    return new DriveDownload(() => this.getBlobs(), blobsOf(this))
  }

  /** Downloads the bytes of files that `version` has not, or has otherwise. */
  downloadDiff(
    version: number,
    folder: string = '/',
    options: BlobWaitOptions = {}
  ): DriveDownload {
    const blobsOf = async function* (drive: Drive): AsyncGenerator<BlobRange, void, void> {
      for await (const { left } of drive.diff(version, folder, options)) {
        if (left?.value.blob) yield left.value.blob
      }
    }
    return new DriveDownload(() => this.getBlobs(), blobsOf(this))
  }

  /** Downloads ranges of blocks of the index and of the blobs. */
  downloadRange(index: readonly DownloadRange[], blobs: readonly DownloadRange[]): DriveDownload {
    const download = new DriveDownload(() => this.getBlobs(), [], blobs)
    for (const range of index) download.add(this.core.download(range))
    return download
  }

  /** True if all bytes of a file, or of all files in a folder, are here. */
  async has(name: string): Promise<boolean> {
    const normal = normalFolder(name)
    const entry = normal === '/' || name.endsWith('/') ? null : await this.entry(normal)
    const blobs = await this.getBlobs()
    if (entry !== null) return entry.value.blob !== null && blobs.has(entry.value.blob)
    let any = false
    for await (const { value } of this.list(normal)) {
      any = true
      if (value.blob !== null && !(await blobs.has(value.blob))) return false
    }
    return any
  }

  /** Drops the bytes of a file here; its entry stays. Nothing happens if it is not here. */
  async clear(name: string | DriveEntry): Promise<void> {
    const blob = (await this.entry(name))?.value.blob ?? null
    if (blob !== null) await (await this.getBlobs()).clear(blob)
  }

  /** Drops the bytes of all files of all versions here. */
  async clearAll(): Promise<void> {
    const { core } = await this.getBlobs()
    if (core.length > 0) await core.clear(0, core.length)
  }

  /** Bytes of a file, which a block map says otherwise than its entry. */
  async getByteLength(entry: DriveEntry): Promise<number> {
    const { blob } = entry.value
    return blob === null ? 0 : (await this.getBlobs()).getByteLength(blob)
  }

  /** Orders two entries by their age. */
  compare(a: DriveEntry, b: DriveEntry): number {
    return Math.sign(a.seq - b.seq)
  }

  /** Blobs of a batch are made durable by its flush. */
  get #blobDurability(): { readonly durability: 'os' | 'fsync' } {
    return { durability: this.#pending === null ? 'fsync' : 'os' }
  }

  async #openBlobs(): Promise<DriveBlobs> {
    const shared = this.#shared
    const { index, tree } = shared
    await index.ready()
    let contentFeed: Uint8Array | null = null
    if (index.length > 0 || !index.writable) {
      await index.get(0, { valueEncoding: 'binary' })
      contentFeed = (await tree.header())?.contentFeed ?? null
    }
    const key = blobsKey(index.key, index.manifest, contentFeed)
    if (key === null) {
      throw new SynclineError('UNSUPPORTED', 'the index does not say which feed its blobs are')
    }
    const session = await shared.openBlobs(key)
    if (shared.closing !== null) throw closedError()
    if (shared.owned) shared.leaveBlobs = useSession(session)
    shared.blobs = new DriveBlobs(session)
    emit(this.#main, 'content-key', key)
    emit(this.#main, 'blobs', shared.blobs)
    return shared.blobs
  }

  async #close(): Promise<void> {
    const { leaveBlobs, leaveIndex, release } = this.#shared
    release()
    try {
      await leaveBlobs()
    } finally {
      await leaveIndex()
      emit(this, 'close')
    }
  }

  #view(checkout: number | null, pending: Map<string, Entry | null> | null): Drive {
    if (this.#pending !== null) throw invalid('a batch has no batches and checkouts')
    return new Drive(this.core, this.#shared.openBlobs, {}, { main: this.#main, checkout, pending })
  }

  async *#read(
    name: string | DriveEntry,
    options: ReadFileOptions,
    signal: AbortSignal
  ): AsyncGenerator<Uint8Array, void, void> {
    // Not by the signal: with one, nothing of the tree is kept for the next lookup.
    const entry = await orAbort(this.entry(name, options), signal)
    if (entry === null) {
      throw new SynclineError('FILE_NOT_FOUND', `the drive has no file "${name as string}"`)
    }
    const { blob } = entry.value
    if (blob === null) return
    const blobs = await orAbort(this.getBlobs(), signal)
    yield* blobs.read(blob, { ...options, signal })
  }

  async #entry(key: string, options: BlobWaitOptions): Promise<DriveEntry | null> {
    const pending = this.#pending?.get(key)
    if (pending === null) return null
    if (pending !== undefined) return { seq: 0, key, value: pending }
    const tree = this.#tree(options)
    const version = await this.#present(tree, options)
    const found = await tree.get(keyOfName(key), version)
    return found === null ? null : { seq: found.seq, key, value: decodeEntry(found.value) }
  }

  async *#list(folder: string, options: ListOptions): AsyncGenerator<DriveEntry, void, void> {
    const normal = normalFolder(folder)
    if (options.recursive !== false) {
      yield* this.#scan(rangeOfFolder(normal), Infinity, options)
      return
    }
    const ignored = ignoreOf(options.ignore)
    for await (const [, entry] of this.#shallow(normal, options)) {
      if (!ignored(entry.key)) yield entry
    }
  }

  async *#diff(
    version: number,
    folder: string,
    options: BlobWaitOptions
  ): AsyncGenerator<DriveDiff, void, void> {
    const tree = this.#tree(options)
    const present = await this.#present(tree, options)
    const range = rangeOfFolder(normalFolder(folder))
    for await (const { left, right } of tree.diff(present, Math.max(1, version), range)) {
      const one = left && this.#decode(left)
      const other = right && this.#decode(right)
      if (one !== null || other !== null) yield { left: one, right: other }
    }
  }

  async *#scan(
    bounds: EntriesOptions,
    limit: number,
    options: ListOptions
  ): AsyncGenerator<DriveEntry, void, void> {
    if (limit <= 0) return
    const tree = this.#tree(options)
    const version = await this.#present(tree, options)
    const ignored = ignoreOf(options.ignore)
    let count = 0
    for await (const found of tree.entries(bounds, version)) {
      const entry = this.#decode(found)
      if (entry === null || ignored(entry.key)) continue
      yield entry
      if (++count >= limit) return
    }
  }

  /** What lies directly in a folder, each with its first entry: that of a folder lies below it. */
  async *#shallow(
    folder: string,
    options: BlobWaitOptions
  ): AsyncGenerator<readonly [name: string, entry: DriveEntry], void, void> {
    const tree = this.#tree(options)
    const version = await this.#present(tree, options)
    const prefix = folder === '/' ? '/' : `${folder}/`
    const { gt, lt } = rangeOfFolder(folder)
    let bounds: EntriesOptions | null = { gt, lt }
    while (bounds !== null) {
      const entries: AsyncGenerator<IndexEntry, void, void> = tree.entries(
        { ...bounds, readAhead: false },
        version
      )
      bounds = null
      for await (const found of entries) {
        const entry = this.#decode(found)
        if (entry === null) continue
        const [name, ...below] = entry.key.slice(prefix.length).split('/') as [string, ...string[]]
        if (below.length === 0) {
          yield [name, entry]
          continue
        }
        // A file may have the name of a folder; then it has been told already.
        const path = `${prefix}${name}`
        if ((await tree.get(keyOfName(path), version)) === null) yield [name, entry]
        bounds = { gte: rangeOfFolder(path).lt, lt }
        break
      }
    }
  }

  async #writableBlobs(): Promise<DriveBlobs> {
    if (this.#checkout !== null) throw invalid('a checkout can only be read')
    const { index } = this.#shared
    await index.ready()
    if (!index.writable) throw new SynclineError('NOT_WRITABLE', 'the drive is written elsewhere')
    return this.getBlobs()
  }

  async #write(name: string, entry: Entry | null): Promise<void> {
    await this.#writableBlobs()
    if (this.#pending === null) return this.#append([changeOf(name, entry)])
    this.#pending.set(name, entry)
  }

  async #append(changes: readonly Change[]): Promise<void> {
    const { index, tree } = this.#shared
    const blobs = await this.getBlobs()
    const derived = blobsKey(index.key, index.manifest, null)
    const named = derived === null || !equalBytes(derived, blobs.key) ? blobs.key : null
    let lock = locks.get(index)
    if (lock === undefined) locks.set(index, (lock = new Mutex()))
    await lock.run(async () => {
      const blocks = await tree.encode(changes, named)
      if (blocks.length > 0) await index.append(blocks)
    })
  }

  /** The tree, through which blocks are waited for as `options` say. */
  #tree(options: BlobWaitOptions): DriveIndex {
    const { wait, timeout, timeoutMs, signal } = options
    const limited = [timeout, timeoutMs, signal].some((limit) => limit !== undefined)
    if (wait !== false && !limited) return this.#shared.tree
    return new DriveIndex(indexSource(this.core, options))
  }

  /** The version that is read. */
  async #present(tree: DriveIndex, options: BlobWaitOptions): Promise<number> {
    const shared = this.#shared
    if (shared.closing !== null) throw closedError()
    const { index } = shared
    await index.ready()
    if (this.#checkout === null && options.wait !== false) await index.update(limitsOf(options))
    const version = this.#checkout ?? index.length
    if (shared.checked || version < 2) return version
    if (options.wait !== false || index.holds(0)) {
      await tree.header()
      shared.checked = true
    }
    return version
  }

  /** The entry under a key of the index; null if it is left out. */
  #decode({ seq, key, value }: IndexEntry): DriveEntry | null {
    const { name, fault } = readName(key)
    let reason: string | null = fault
    if (fault === null) {
      try {
        return { seq, key: name, value: decodeEntry(value) }
      } catch (error) {
        if (!(error instanceof SynclineError)) throw error
        reason = error.message
      }
    }
    emit(this.#main, 'bad-entry', { name, seq, reason: reason ?? '' })
    return null
  }
}

/** The blocks of a session, of which its users may change nothing. */
export function indexSource(session: FeedSession, options: BlobWaitOptions = {}): IndexSource {
  const limits = {
    ...limitsOf(options),
    wait: options.wait ?? true,
    valueEncoding: 'binary' as const
  }
  return {
    get length() {
      return session.length
    },
    get: async (index) => {
      const block = (await session.get(index, limits)) as Uint8Array | null
      if (block !== null) return block
      throw new SynclineError('BLOCK_NOT_AVAILABLE', `block ${index} of the index is not here`, {
        index
      })
    },
    holds: (index) => session.holds(index),
    getRun: (start, end) => session.getRun(start, end)
  }
}

function limitsOf({ timeout, timeoutMs, signal }: BlobWaitOptions): WaitOptions {
  return {
    timeoutMs: timeoutMs ?? timeout ?? 0,
    ...(signal === undefined ? {} : { signal })
  }
}

function fileEntry(blob: BlobRange, { executable = false, metadata = null }: PutOptions): Entry {
  return { executable, linkname: null, blob, metadata }
}

function changeOf(name: string, entry: Entry | null): Change {
  return { key: keyOfName(name), value: entry && encodeEntry(entry) }
}

function ignoreOf(ignore: ListOptions['ignore']): (key: string) => boolean {
  if (ignore === undefined || ignore === null) return () => false
  if (typeof ignore === 'function') return ignore
  const names = (typeof ignore === 'string' ? [ignore] : ignore).map(normalFolder)
  return (key) => names.some((name) => key === name || key.startsWith(`${name}/`))
}

function invalid(why: string): SynclineError {
  return new SynclineError('INVALID_OPERATION', why)
}

function closedError(): SynclineError {
  return new SynclineError('SESSION_CLOSED', 'the drive is closed')
}
