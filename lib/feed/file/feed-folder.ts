/**
 * A folder of many feeds, in Corestore 6's layout but for small copies.
 *
 * ```text
 * primary-key                     32 random bytes from which the keys of named feeds follow
 * cores/aa/bb/<discovery key>/    one feed (aa, bb: its first digits)
 * journal/                        copies that are too small for files of their own
 * names/                          names of feeds that do not follow from the primary key
 * CORESTORE                       keeps hypercore 11 from migrating the folder
 * ```
 * Opening and listing makes nothing; the first feed that is made or added makes the rest. Folders have
 * mode 0700, files with secrets 0600.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { link, readdir, rm, rmdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { isSynclineError, SynclineError } from '../../errors.ts'
import { equalBytes, toHex as hexOf } from '../bytes.ts'
import { checkName, keyPairOfName, NameFolder, NO_NAMESPACE } from './feed-name.ts'
import { FeedFiles } from './feed-files.ts'
import { lockedError } from './feed-lock.ts'
import { JournalStore } from './journal-store.ts'
import { Journal, type JournalEntry } from './journal.ts'
import { storageError, systemCode } from './file-error.ts'
import { makeFolder } from './make-folder.ts'
import { readSmallFile } from './file.ts'
import { type FilePool, sharedPool } from './file-pool.ts'
import { FileStore, type FileStoreOptions, foldersUpTo } from './file-store.ts'
import { readText } from './text-file.ts'
import { identityFromKey, newIdentity, type NewIdentityOptions } from '../identity.ts'
import type { Manifest } from '../../wire/manifest.ts'
import { discoveryKeyOf } from '../namespace.ts'
import { isKeyPair } from '../signature.ts'
import type { Identity, Store } from '../store.ts'
import { StoredFeed } from '../stored-feed.ts'

/** Options of {@link FeedFolder.open}. */
export interface FeedFolderOptions {
  /** True refuses everything that writes, also on the stores. */
  readonly readOnly?: boolean
  /** Default: the pool that all feeds of the process share. */
  readonly pool?: FilePool
  /**
   * False gives every copy files of its own, which hypercore 10 can open; those that stand in the journal already get them
   * with their next write. Default: true.
   */
  readonly journal?: boolean
}

/** Options of {@link FeedFolder.create}; without a key pair it follows from the name. */
export interface CreateFeedOptions
  extends Omit<NewIdentityOptions, 'seed'>, Pick<FileStoreOptions, 'lock'> {}

/** One stored feed, as {@link FeedFolder.list} tells. */
export interface FeedEntry {
  readonly key: Uint8Array
  readonly discoveryKey: Uint8Array
  /** Null if it has none, or is in a namespace of Corestore's. */
  readonly name: string | null
  /** True if the secret key is here. */
  readonly writable: boolean
}

/** All that is needed to write a feed elsewhere. Secret. */
export interface FeedKeys {
  readonly key: Uint8Array
  readonly name: string | null
  readonly manifest: Manifest | null
  readonly publicKey: Uint8Array
  readonly secretKey: Uint8Array
}

const USER_DATA_NAME = 'corestore/name'
const USER_DATA_NAMESPACE = 'corestore/namespace'
/** Feeds that a listing looks at together. */
const LIST_BATCH = 32
/**
 * The check that hypercore-storage makes first compares platform and inode with what this file says
 * (device-file 2): neither ever fits, so it refuses before it touches anything.
 */
const GUARD_TEXT = `syncline keeps feeds in this folder, in the layout of hypercore 10.
Hypercore 11 must not migrate it: replicate instead.
device/platform=syncline
device/inode=0
`
const GUARD_MARK = 'device/platform=syncline'

/** See the module comment. Stores that it returns are not open yet and belong to the caller. */
export class FeedFolder {
  readonly root: string
  readonly #readOnly: boolean
  readonly #pool: FilePool
  readonly #names: NameFolder
  readonly #journal: Journal
  readonly #usesJournal: boolean
  #primaryKey: Uint8Array | null = null
  #preparing: Promise<Uint8Array> | null = null

  private constructor(root: string, options: FeedFolderOptions) {
    this.root = path.resolve(root)
    this.#readOnly = options.readOnly ?? false
    this.#pool = options.pool ?? sharedPool
    this.#names = new NameFolder(path.join(this.root, 'names'))
    this.#journal = new Journal(this.#pool, this.root)
    this.#usesJournal = options.journal ?? true
  }

  /**
   * Opens the folder `root`, which need not exist.
   *
   * @throws SynclineError STORE_IS_V11, STORAGE_FAILED.
   */
  static async open(root: string, options: FeedFolderOptions = {}): Promise<FeedFolder> {
    const folder = new FeedFolder(root, options)
    await folder.#refuseV11()
    folder.#primaryKey = await readPrimaryKey(folder.#path('primary-key'))
    return folder
  }

  /**
   * Makes a feed whose key pair follows from `name` unless one is given, the one that Corestore 6 gives for this
   * name; by default a compat feed, as there.
   *
   * @throws SynclineError FEED_EXISTS when the name is taken or the feed is stored; BAD_ARGUMENT, DISK_FULL, STORAGE_FAILED.
   */
  async create(name: string, options: CreateFeedOptions = {}): Promise<FileStore> {
    checkName(name)
    const primaryKey = await this.#prepare()
    if ((await this.#find(name)) !== null) {
      throw new SynclineError('FEED_EXISTS', `the name ${name} is taken`, { path: this.root })
    }
    const { lock, ...rest } = options
    const keyPair = rest.keyPair ?? keyPairOfName(primaryKey, name)
    const identity = newIdentity({ compat: rest.manifest === undefined, ...rest, keyPair })
    // A copy without files, too, has blocks that must not be signed anew.
    if (await this.has(identity.key)) {
      throw new SynclineError('FEED_EXISTS', 'the feed is stored already', { path: this.root })
    }
    const isDerived = candidates(keyPairOfName(primaryKey, name)).some(({ key }) =>
      equalBytes(key, identity.key)
    )
    if (!isDerived) await this.#putName(name, identity.key)
    const userData = new Map([
      [USER_DATA_NAME, new TextEncoder().encode(name)],
      [USER_DATA_NAMESPACE, NO_NAMESPACE]
    ])
    return FileStore.create(this.folderOf(identity.key), identity, {
      ...this.#storeOptions({ lock: lock ?? false }),
      userData
    })
  }

  /**
   * The feed of a remote, made here if it is not stored yet.
   *
   * @param options.name - a name for it.
   * @throws SynclineError FEED_EXISTS when the name belongs to another feed; BAD_KEY, STORAGE_FAILED.
   */
  async add(key: Uint8Array, options: { readonly name?: string } = {}): Promise<Store> {
    const identity = identityFromKey(key)
    const discoveryKey = discoveryKeyOf(key)
    await this.#preparePut(identity, options.name ?? null)
    const small = this.#usesJournal ? await this.#addSmall(key, discoveryKey) : null
    return small ?? (await this.#stored(discoveryKey, {})) ?? this.#addFiles(identity, discoveryKey)
  }

  /**
   * The stored feed with this key.
   *
   * @throws SynclineError FEED_NOT_FOUND.
   */
  async openByKey(key: Uint8Array, options: Pick<FileStoreOptions, 'lock'> = {}): Promise<Store> {
    const store = await this.#stored(discoveryKeyOf(key), options)
    if (store !== null) return store
    const hex = Buffer.from(key).toString('hex')
    throw new SynclineError('FEED_NOT_FOUND', `no feed ${hex} is stored in ${this.root}`, {
      path: this.root
    })
  }

  /** The stored feed with this discovery key, or null. */
  async openByDiscoveryKey(discoveryKey: Uint8Array): Promise<Store | null> {
    return this.#stored(discoveryKey, {})
  }

  /**
   * The stored feed of this name.
   *
   * @throws SynclineError FEED_NOT_FOUND.
   */
  async openByName(name: string, options: Pick<FileStoreOptions, 'lock'> = {}): Promise<Store> {
    const key = await this.#find(name)
    if (key !== null) return this.openByKey(key, options)
    throw new SynclineError('FEED_NOT_FOUND', `no feed ${name} is stored in ${this.root}`, {
      path: this.root
    })
  }

  /** As {@link FeedFolder.openByKey} or, for a text, {@link FeedFolder.openByName}, and opened. */
  async openFeed(
    keyOrName: Uint8Array | string,
    options: Pick<FileStoreOptions, 'lock'> = {}
  ): Promise<StoredFeed> {
    const store =
      typeof keyOrName === 'string'
        ? await this.openByName(keyOrName, options)
        : await this.openByKey(keyOrName, options)
    return openStored(store)
  }

  /** As {@link FeedFolder.create}, and opened. */
  async createFeed(name: string, options: CreateFeedOptions = {}): Promise<StoredFeed> {
    return openStored(await this.create(name, options))
  }

  /** As {@link FeedFolder.add}, and opened. */
  async addFeed(key: Uint8Array, options: { readonly name?: string } = {}): Promise<StoredFeed> {
    return openStored(await this.add(key, options))
  }

  /** True if a feed with this key is stored. */
  has(key: Uint8Array): Promise<boolean> {
    return this.#isStored(discoveryKeyOf(key))
  }

  /**
   * Deletes a feed with all its blocks and its secret key. Nothing happens if it is not stored.
   *
   * @throws SynclineError FEED_LOCKED when it is being written; STORAGE_FAILED.
   */
  async remove(key: Uint8Array): Promise<void> {
    this.#refuseReadOnly()
    const discoveryKey = discoveryKeyOf(key)
    const inFiles = await this.#hasFiles(discoveryKey)
    const entry = await this.#entryOf(discoveryKey, inFiles)
    if (!inFiles && entry === null) return
    const folder = this.#folderOfId(discoveryKey)
    const store = inFiles ? this.#files(discoveryKey, { lock: true }) : null
    try {
      // What is damaged can be removed, what is being written cannot.
      await store?.open().catch((error: unknown) => {
        if (!isSynclineError(error, 'FEED_DAMAGED')) throw error
      })
      if (entry !== null) await this.#removeSmall(entry)
      if (inFiles) await this.#removeFiles(folder)
      await this.#removeName(key)
    } finally {
      await store?.close()
    }
    if (!inFiles) return
    await rmdir(path.dirname(folder)).catch(() => {})
    await rmdir(path.dirname(path.dirname(folder))).catch(() => {})
  }

  /** All stored feeds, in the order of their discovery keys. Reads one header of each and opens none. */
  async *list(): AsyncIterable<FeedEntry> {
    for await (const { identity, name } of this.#headers()) {
      const { key, keyPair } = identity
      yield { key, discoveryKey: discoveryKeyOf(key), name, writable: keyPair !== null }
    }
  }

  /** The keys of all feeds whose secret key is here. */
  async *exportKeys(): AsyncIterable<FeedKeys> {
    for await (const { identity, name } of this.#headers()) {
      const { key, manifest, keyPair } = identity
      if (keyPair !== null) yield { key, name, manifest, ...keyPair }
    }
  }

  /**
   * Makes the feed of exported keys, or makes a stored one writable.
   *
   * @throws SynclineError BAD_KEY when the keys do not belong together; FEED_EXISTS when the name belongs
   * to another feed; FEED_LOCKED; INVALID_MANIFEST.
   */
  async importKeys(keys: FeedKeys): Promise<void> {
    const { key, manifest, publicKey, secretKey, name } = keys
    if (!isKeyPair({ publicKey, secretKey })) {
      throw new SynclineError('BAD_KEY', 'the secret key does not belong to the public key')
    }
    const keyPair = { publicKey, secretKey }
    const compat = equalBytes(key, publicKey)
    const isSigner =
      manifest === null ||
      manifest.signers.some((signer) => equalBytes(signer.publicKey, publicKey))
    const identity = isSigner
      ? newIdentity({ keyPair, compat, ...(manifest === null ? {} : { manifest }) })
      : null
    if (identity === null || !equalBytes(identity.key, key)) {
      throw new SynclineError('BAD_KEY', 'the key pair is not one of this feed')
    }
    await this.#preparePut(identity, name)
    const discoveryKey = discoveryKeyOf(key)
    const store = (await this.#stored(discoveryKey, {})) ?? (await this.#makeFiles(identity))
    try {
      const { identity: stored, contiguousLength } = await store.open()
      const missing = stored.manifest === null ? identity.manifest : null
      if (missing !== null) {
        await store.commit({ manifest: missing, contiguousLength, durability: 'fsync' })
      }
      await store.putKeyPair(keyPair)
    } finally {
      await store.close()
    }
  }

  /** The folder of the feed with this key, stored or not. */
  folderOf(key: Uint8Array): string {
    return this.#folderOfId(discoveryKeyOf(key))
  }

  #folderOfId(discoveryKey: Uint8Array): string {
    const id = hexOf(discoveryKey)
    // Asked for each feed: joining paths looks at every letter.
    return [this.root, 'cores', id.slice(0, 2), id.slice(2, 4), id].join(path.sep)
  }

  /** Whatever comes before a feed is put here under a name. */
  async #preparePut(identity: Identity, name: string | null): Promise<void> {
    if (name !== null) checkName(name)
    await this.#prepare()
    if (name === null) return
    const owner = await this.#find(name)
    if (owner !== null && !equalBytes(owner, identity.key)) {
      throw new SynclineError('FEED_EXISTS', `the name ${name} is taken`, { path: this.root })
    }
    if (owner === null) await this.#putName(name, identity.key)
  }

  /** Adds a copy with files. */
  async #addFiles(identity: Identity, discoveryKey: Uint8Array): Promise<Store> {
    const files = await this.#makeFiles(identity)
    // Another process may have added it to the journal, and found no files, since we looked.
    const entry = await this.#entryOf(discoveryKey, true)
    if (entry === null) return files
    const folder = this.#folderOfId(discoveryKey)
    return this.#small(entry, { folder, files, options: {}, isBegun: false })
  }

  /** Makes the files of a feed that is not stored. */
  async #makeFiles(identity: Identity): Promise<FileStore> {
    const folder = this.folderOf(identity.key)
    try {
      return await FileStore.create(folder, identity, this.#storeOptions({}))
    } catch (error) {
      // Another process was faster.
      if (!isSynclineError(error, 'FEED_EXISTS')) throw error
      return FileStore.open(folder, this.#storeOptions({}))
    }
  }

  /**
   * Adds a copy to the journal. Null if it is here already, has files that were begun and never finished, or does not fit;
   * and if another process writes the journal.
   */
  async #addSmall(key: Uint8Array, discoveryKey: Uint8Array): Promise<JournalStore | null> {
    const journal = this.#journal
    const folder = this.#folderOfId(discoveryKey)
    if (await this.#pool.layer.exists(folder)) return null
    if ((await journal.find(hexOf(discoveryKey))) !== null) return null
    if (!(await journal.enter())) return null
    try {
      if (!journal.full) {
        const entry = await journal.add(key, discoveryKey)
        return this.#small(entry, { folder, options: {}, entered: true, isBegun: false })
      }
    } catch (error) {
      await journal.leave()
      throw error
    }
    await journal.leave()
    return null
  }

  async #removeSmall(entry: JournalEntry): Promise<void> {
    const journal = this.#journal
    if (!(await journal.enter())) throw lockedError(this.root, journal.writer, 'small feeds')
    try {
      const now = await journal.find(entry.id)
      if (now !== null && now.writer !== null)
        throw lockedError(this.root, process.pid, 'small feeds')
      if (now === null) return
      // Nobody may begin to write it until it is gone.
      now.writer = this
      await journal.remove(now).finally(() => {
        now.writer = null
      })
    } finally {
      await journal.leave()
    }
  }

  async #removeFiles(folder: string): Promise<void> {
    try {
      // Without its log it is no feed, should the rest be interrupted.
      await rm(path.join(folder, 'oplog'), { force: true })
      await rm(folder, { recursive: true, force: true })
    } catch (error) {
      throw storageError(error, folder)
    }
  }

  async #removeName(key: Uint8Array): Promise<void> {
    const name = (await this.#names.all()).get(hexOf(key))
    if (name === undefined) return
    await this.#names.delete(name).catch((error: unknown) => {
      throw storageError(error, this.#path('names'))
    })
  }

  async #putName(name: string, key: Uint8Array): Promise<void> {
    // Left by a feed that was never finished, or was removed by hand: `#find` did not take it.
    await this.#names.delete(name)
    await this.#names.put(name, key)
  }

  /** The key of the feed of this name, or null. */
  async #find(name: string): Promise<Uint8Array | null> {
    if (this.#primaryKey !== null) {
      for (const { key } of candidates(keyPairOfName(this.#primaryKey, name))) {
        if (await this.has(key)) return key
      }
    }
    const key = await this.#names.get(name)
    return key !== null && (await this.has(key)) ? key : null
  }

  async *#headers(): AsyncIterable<{ identity: Identity; name: string | null }> {
    const names = await this.#names.all()
    const small = await this.#journal.all()
    let batch: Promise<{ identity: Identity; name: string | null } | null>[] = []
    for await (const { id, inFiles } of this.#ids([...small.keys()].sort())) {
      const header = this.#headerOf(id, inFiles, small.get(id)?.key ?? null, names)
      // It is awaited below; a failure until then is no unhandled one.
      header.catch(() => {})
      batch.push(header)
      if (batch.length < LIST_BATCH) continue
      for (const found of await Promise.all(batch)) if (found !== null) yield found
      batch = []
    }
    for (const found of await Promise.all(batch)) if (found !== null) yield found
  }

  /** Discovery keys of all feeds, in their order: those that have files, and these. */
  async *#ids(others: readonly string[]): AsyncIterable<{ id: string; inFiles: boolean }> {
    let next = 0
    for await (const id of this.#idsOfFiles()) {
      for (let other = others[next]; other !== undefined && other <= id; other = others[++next]) {
        if (other !== id) yield { id: other, inFiles: false }
      }
      yield { id, inFiles: true }
    }
    for (const id of others.slice(next)) yield { id, inFiles: false }
  }

  async *#idsOfFiles(): AsyncIterable<string> {
    const cores = this.#path('cores')
    for (const a of await subfolders(cores)) {
      for (const b of await subfolders(path.join(cores, a))) {
        for (const id of await subfolders(path.join(cores, a, b))) {
          if (/^[0-9a-f]{64}$/.test(id)) yield id
        }
      }
    }
  }

  /** @param small - key of the feed if it stands in the journal: its files, if there are any, know more. */
  async #headerOf(
    id: string,
    inFiles: boolean,
    small: Uint8Array | null,
    names: ReadonlyMap<string, string>
  ): Promise<{ identity: Identity; name: string | null } | null> {
    const ofFiles =
      inFiles || small === null
        ? await this.#header(this.#folderOfId(Buffer.from(id, 'hex')), names)
        : null
    if (ofFiles !== null || small === null) return ofFiles
    const identity = { key: small, manifest: null, keyPair: null }
    return { identity, name: names.get(hexOf(small)) ?? null }
  }

  async #header(
    folder: string,
    names: ReadonlyMap<string, string>
  ): Promise<{ identity: Identity; name: string | null } | null> {
    const files = new FeedFiles(this.#pool, folder)
    try {
      const header = await files.readHeader()
      if (header === null) return null
      const { key, manifest, keyPair, userData } = header
      const name = userData.get(USER_DATA_NAME)
      const namespace = userData.get(USER_DATA_NAMESPACE) ?? NO_NAMESPACE
      const isPlain = name !== undefined && equalBytes(namespace, NO_NAMESPACE)
      return {
        identity: { key, manifest, keyPair: keyPair?.secretKey.byteLength ? keyPair : null },
        name: isPlain
          ? new TextDecoder().decode(name)
          : (names.get(Buffer.from(key).toString('hex')) ?? null)
      }
    } finally {
      await files.close()
    }
  }

  async #isStored(discoveryKey: Uint8Array): Promise<boolean> {
    if (await this.#hasFiles(discoveryKey)) return true
    return (await this.#entryOf(discoveryKey, false)) !== null
  }

  /** What the journal has of a feed, or null. Files are worth more than a journal that cannot be read. */
  async #entryOf(discoveryKey: Uint8Array, inFiles: boolean): Promise<JournalEntry | null> {
    const finding = this.#journal.find(hexOf(discoveryKey))
    return inFiles ? finding.catch(() => null) : finding
  }

  async #hasFiles(discoveryKey: Uint8Array): Promise<boolean> {
    const files = await this.#filesIfAny(discoveryKey, {})
    await files?.close()
    return files !== null
  }

  /** The store of a feed, or null if it is not here. */
  async #stored(
    discoveryKey: Uint8Array,
    options: Pick<FileStoreOptions, 'lock'>
  ): Promise<FileStore | JournalStore | null> {
    const files = await this.#filesIfAny(discoveryKey, options)
    const entry = await this.#entryOf(discoveryKey, files !== null)
    if (entry === null) return files
    const folder = this.#folderOfId(discoveryKey)
    const isBegun = files === null && (await this.#pool.layer.exists(folder))
    return this.#small(entry, { folder, files, options, isBegun })
  }

  /** @param state.isBegun - true if there are files that are no feed yet. */
  #small(
    entry: JournalEntry,
    state: {
      readonly folder: string
      readonly files?: FileStore | null
      readonly isBegun: boolean
      readonly entered?: boolean
      readonly options: Pick<FileStoreOptions, 'lock'>
    }
  ): JournalStore {
    return new JournalStore({
      journal: this.#journal,
      entry,
      entered: state.entered ?? false,
      files: state.files ?? null,
      folder: state.folder,
      stays: this.#usesJournal && !state.isBegun,
      options: this.#storeOptions(state.options),
      layer: this.#pool.layer
    })
  }

  #files(discoveryKey: Uint8Array, options: Pick<FileStoreOptions, 'lock'>): FileStore {
    return FileStore.open(this.#folderOfId(discoveryKey), this.#storeOptions(options))
  }

  /** The store of a feed that has files of its own, or null. */
  async #filesIfAny(
    discoveryKey: Uint8Array,
    options: Pick<FileStoreOptions, 'lock'>
  ): Promise<FileStore | null> {
    const folder = this.#folderOfId(discoveryKey)
    if (!(await this.#pool.layer.exists(folder))) return null
    const store = this.#files(discoveryKey, options)
    let isThere = false
    try {
      isThere = await store.exists()
    } finally {
      if (!isThere) await store.close()
    }
    return isThere ? store : null
  }

  #storeOptions(options: Pick<FileStoreOptions, 'lock'>): FileStoreOptions {
    return { ...options, pool: this.#pool, readOnly: this.#readOnly, root: this.root }
  }

  #path(...parts: string[]): string {
    return path.join(this.root, ...parts)
  }

  #refuseReadOnly(): void {
    if (!this.#readOnly) return
    throw new SynclineError('INVALID_OPERATION', `${this.root} was opened to be read only`, {
      path: this.root
    })
  }

  async #refuseV11(): Promise<void> {
    const guard = (await readText(this.#path('CORESTORE'))) ?? GUARD_MARK
    const database = await this.#pool.layer.exists(this.#path('db', 'CURRENT'))
    if (guard.includes(GUARD_MARK) && !database) return
    const hint = 'open it with corestore 7 and hand over its feeds, or replicate from it'
    throw new SynclineError('STORE_IS_V11', `${this.root} belongs to hypercore 11: ${hint}`, {
      path: this.root
    })
  }

  /** Makes what a new folder needs; the primary key last, as it is what makes it one. */
  async #prepare(): Promise<Uint8Array> {
    this.#refuseReadOnly()
    if (this.#primaryKey !== null) return this.#primaryKey
    // Thousands of feeds may be added at once.
    this.#preparing ??= this.#makePrimaryKey().finally(() => {
      this.#preparing = null
    })
    return this.#preparing
  }

  async #makePrimaryKey(): Promise<Uint8Array> {
    const file = this.#path('primary-key')
    const draft = `${file}.${process.pid}`
    try {
      const made = await makeFolder(this.root, 0o700)
      await writeFile(this.#path('CORESTORE'), GUARD_TEXT, { mode: 0o600, flush: true })
      await writeFile(draft, randomBytes(32), { mode: 0o600, flush: true })
      // Of several processes one wins, with a whole key.
      await link(draft, file).catch((error: unknown) => {
        if (systemCode(error) !== 'EEXIST') throw error
      })
      await rm(draft, { force: true })
      const top = made === null ? this.root : path.dirname(path.resolve(made))
      for (const folder of foldersUpTo(this.root, top)) await this.#pool.layer.syncFolder(folder)
    } catch (error) {
      await rm(draft, { force: true }).catch(() => {})
      throw storageError(error, file)
    }
    this.#primaryKey = await readPrimaryKey(file)
    if (this.#primaryKey !== null) return this.#primaryKey
    throw new SynclineError('FEED_DAMAGED', `${file} has no 32 bytes`, { path: file })
  }
}

/** The identities that Corestore gives a derived key pair: compat, and default manifests of both versions. */
function candidates(keyPair: { publicKey: Uint8Array; secretKey: Uint8Array }): Identity[] {
  const { manifest } = newIdentity({ keyPair })
  return [
    newIdentity({ keyPair, compat: true }),
    newIdentity({ keyPair }),
    ...(manifest === null ? [] : [newIdentity({ keyPair, manifest: { ...manifest, version: 0 } })])
  ]
}

async function openStored(store: Store): Promise<StoredFeed> {
  try {
    return await StoredFeed.open(store)
  } catch (error) {
    await store.close().catch(() => {})
    throw error
  }
}

async function readPrimaryKey(file: string): Promise<Uint8Array | null> {
  const bytes = await readSmallFile(file)
  return bytes === null || bytes.byteLength < 32 ? null : Uint8Array.from(bytes.subarray(0, 32))
}

async function subfolders(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return []
    throw storageError(error, folder)
  }
}
