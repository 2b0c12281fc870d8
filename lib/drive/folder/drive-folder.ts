/**
 * A folder that is shared or cloned: its state in `.syncline`, and the two feeds of its drive.
 *
 * ```text
 * .syncline/
 *   config        what the folder is: key, kind, choices; `begun` until all of it was made
 *   index/        the index, a feed like any other
 *   blobs/        the blobs: tree, bits and log of a feed whose block bytes are the files of the folder
 *   catalog       which local file holds what (see catalog.ts)
 *   incoming/     files that are being received
 *   trash/        what a new version replaced or removed
 * ```
 * All paths in it are relative, so the folder can be moved. Secret keys are in the user's store only.
 *
 * @module
 */
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { isSynclineError, SynclineError } from '../../errors.ts'
import { ENCRYPTION_PADDING } from '../../feed/encryption.ts'
import { storageError, systemCode } from '../../feed/file/file-error.ts'
import { makeFolder } from '../../feed/file/make-folder.ts'
import { diskFiles } from '../../feed/file/file.ts'
import { FileStore } from '../../feed/file/file-store.ts'
import type { Identity, KeyPair } from '../../feed/store.ts'
import { StoredFeed } from '../../feed/stored-feed.ts'
import type { FeedSession } from '../../synchronizer/feed-session.ts'
import type { AddOptions, Synchronizer } from '../../synchronizer/synchronizer.ts'
import { blobsKey, blobsManifest, newDriveIdentities } from '../blobs-key.ts'
import { DriveIndex } from '../index/drive-index.ts'
import { listDrive } from '../listing.ts'
import { useSession } from '../session-users.ts'
import type { BlobRange } from '../entry.ts'
import { Catalog } from './catalog.ts'
import { digestOf, leavesOf, sizesOf } from './file-reader.ts'
import { Places } from './places.ts'
import { listTrash, type TrashEntry } from './trash.ts'
import { STATE_FOLDER } from './state-folder.ts'

/** What a folder is, as `config` keeps it. */
export interface FolderConfig {
  /** Of the index: the key of the drive, hexadecimal. */
  readonly key: string
  /** A mirror is a drive that is kept in the user's store, and that a folder is copied into. */
  readonly kind: 'share' | 'clone' | 'mirror'
  /** True keeps the blocks in the flat file of the feed instead of in place. */
  readonly copy: boolean
  /** Patterns of what a clone takes; empty is everything. */
  readonly only: readonly string[]
  /** The version that a clone stays at, or null for the newest. */
  readonly at: number | null
  /** True honours `.gitignore` files as well. */
  readonly gitignore: boolean
  /** How long and how much of what was replaced is kept: see trash.ts. */
  readonly keep: string
  /** True creates links that leave the folder, too. */
  readonly allLinks: boolean
}

/** Secrets that open a drive. */
export interface DriveSecrets {
  /** Signs both feeds. */
  readonly keyPair?: KeyPair | null
  readonly encryptionKey?: Uint8Array | null
}

/** Options of {@link DriveFolder.open}. */
export interface OpenFolderOptions extends DriveSecrets {
  /** Where the state is. Default: `.syncline` in the folder. */
  readonly state?: string
  /** True takes no lock and changes nothing. */
  readonly readOnly?: boolean
  /** Folders of users' stores: what of them is below the root is of no drive. Default: none. */
  readonly stores?: readonly string[]
  /** How the feeds are synchronized. Default: `serve` for a share, `both` for a clone. */
  readonly mode?: AddOptions['mode']
}

/** See the module comment. */
export class DriveFolder {
  /** Absolute path of the folder. */
  readonly root: string
  readonly key: Uint8Array
  readonly catalog: Catalog
  readonly places: Places
  /** The index, decoded. */
  readonly index: DriveIndex
  readonly indexSession: FeedSession
  /** Called with blocks of the blobs whose bytes are gone or changed, after they were dropped. */
  onbad: ((start: number, end: number) => void) | null = null
  readonly #sync: Synchronizer
  readonly #state: string
  readonly #options: OpenFolderOptions
  readonly #indexFeed: StoredFeed
  readonly #leaveIndex: () => Promise<void>
  #config: FolderConfig
  #placesLoaded = false
  #leaveBlobs: () => Promise<void> = () => Promise.resolve()
  #blobs: Promise<Blobs> | null = null
  /** Names of the files that hold a blob, by its byte offset. */
  readonly #users = new Map<number, string | Set<string>>()

  private constructor(
    sync: Synchronizer,
    root: string,
    config: FolderConfig,
    catalog: Catalog,
    indexFeed: StoredFeed,
    options: OpenFolderOptions
  ) {
    this.#sync = sync
    this.#state = stateOf(root, options)
    this.#options = options
    this.#config = config
    this.root = root
    this.key = b4a.from(config.key, 'hex')
    this.catalog = catalog
    this.places = new Places(root, this.statePath(), this.statePath('blobs'))
    this.#indexFeed = indexFeed
    this.indexSession = sync.host(this.key, async () => indexFeed, {
      mode: this.#mode(),
      ...this.#encryption()
    })
    this.#leaveIndex = useSession(this.indexSession)
    this.index = new DriveIndex(this.indexSession)
  }

  /**
   * Notes what a folder is about to become, durably; it is nothing yet. Whoever is stopped before the end of
   * {@link DriveFolder.create} finds by {@link readBegun} which key he meant to use.
   *
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  static async begin(
    root: string,
    config: FolderConfig,
    options: Pick<OpenFolderOptions, 'state'> = {}
  ): Promise<void> {
    const state = stateOf(root, options)
    try {
      await makeFolder(path.join(state, 'incoming'), 0o700)
    } catch (error) {
      throw storageError(error, state)
    }
    await writeConfig(state, config, 'begun')
  }

  /**
   * Makes the state of a folder that is to be shared or cloned, and opens it.
   *
   * @param identity - of the index; with the manifest for a share.
   * @throws SynclineError FEED_EXISTS if there is one already; DISK_FULL, STORAGE_FAILED.
   */
  static async create(
    sync: Synchronizer,
    root: string,
    config: FolderConfig,
    options: OpenFolderOptions = {}
  ): Promise<DriveFolder> {
    const state = stateOf(root, options)
    if ((await readConfig(root, state)) !== null) {
      throw new SynclineError('FEED_EXISTS', `${root} is shared or cloned already`, { path: root })
    }
    const key = b4a.from(config.key, 'hex')
    const { keyPair = null } = options
    const identities = keyPair === null ? null : newDriveIdentities(keyPair)
    await DriveFolder.begin(root, config, options)
    try {
      const identity: Identity = {
        key,
        manifest: identities?.index.manifest ?? null,
        keyPair: null
      }
      // Of a try that did not come to its end there may be something.
      await rm(path.join(state, 'index'), { recursive: true, force: true })
      await rm(path.join(state, 'blobs'), { recursive: true, force: true })
      await (await FileStore.create(path.join(state, 'index'), identity)).close()
      await rename(path.join(state, 'begun'), path.join(state, 'config'))
      // Once something is signed it must not look as if it had only begun: it would be signed anew, and otherwise.
      await diskFiles.syncFolder(state)
    } catch (error) {
      throw storageError(error, state)
    }
    return DriveFolder.open(sync, root, options)
  }

  /**
   * Opens the folder at `root`.
   *
   * @throws SynclineError FEED_NOT_FOUND if it is neither shared nor cloned; FEED_LOCKED also if the synchronizer has the
   * drive open from elsewhere; FEED_DAMAGED, STORAGE_FAILED.
   */
  static async open(
    sync: Synchronizer,
    root: string,
    options: OpenFolderOptions = {}
  ): Promise<DriveFolder> {
    const absolute = path.resolve(root)
    const state = stateOf(root, options)
    const config = await readConfig(absolute, state)
    if (config === null) {
      const reason = `${absolute} is neither shared nor cloned`
      throw new SynclineError('FEED_NOT_FOUND', reason, { path: absolute })
    }
    const catalog = await Catalog.open(path.join(state, 'catalog'))
    // Before it is hosted: who may not write it has no part in the session of who does.
    const indexFeed = await openIndex(state, options)
    try {
      const folder = new DriveFolder(sync, absolute, config, catalog, indexFeed, options)
      // Whoever writes the folder does so itself.
      if (options.readOnly === true) folder.placeTrash(listTrash(folder.statePath('trash')))
      try {
        await folder.#checkHosted(folder.indexSession, indexFeed)
      } catch (error) {
        await folder.#leaveIndex()
        throw error
      }
      return folder
    } catch (error) {
      await indexFeed.close().catch(() => {})
      throw error
    }
  }

  /** Waits for a session, and refuses one that is of another store: nothing that comes would be kept here. */
  async #checkHosted(session: FeedSession, feed: StoredFeed): Promise<void> {
    await session.ready()
    if (this.#options.readOnly === true || (await session.feed()) === feed) return
    const reason = `the drive of ${this.root} is open here from elsewhere`
    throw new SynclineError('FEED_LOCKED', reason, { path: this.root, pid: process.pid })
  }

  get config(): FolderConfig {
    return this.#config
  }

  /** True if blobs are files of the folder: encrypted blocks differ from the files, so they are copies. */
  get inPlace(): boolean {
    return !this.#config.copy && !this.encrypted
  }

  get encrypted(): boolean {
    return this.encryptionKey !== null
  }

  /** 32 bytes; null for a drive that is not encrypted. */
  get encryptionKey(): Uint8Array | null {
    return this.#options.encryptionKey ?? null
  }

  /** Folders of users' stores, which are of no drive. */
  get stores(): readonly string[] {
    return this.#options.stores ?? []
  }

  /** A path below the state of the folder. */
  statePath(...parts: string[]): string {
    return path.join(this.#state, ...parts)
  }

  /** Changes what the folder is, durably. */
  async configure(change: Partial<FolderConfig>): Promise<void> {
    const config = { ...this.#config, ...change }
    await writeConfig(this.statePath(), config)
    this.#config = config
  }

  /**
   * The blobs, once the index tells which feed they are.
   *
   * @throws SynclineError INVALID_OPERATION while the manifest of the index is not here; ENCRYPTED.
   */
  blobs(): Promise<Blobs> {
    this.#blobs ??= this.#openBlobs().catch((error: unknown) => {
      this.#blobs = null
      throw error
    })
    return this.#blobs
  }

  /**
   * Where a block of the blobs begins, as entries count bytes: what encryption adds is left out.
   *
   * @throws SynclineError BLOCK_NOT_AVAILABLE when the tree is not known there.
   */
  async offsetOf(block: number): Promise<number> {
    const { feed } = await this.blobs()
    return (await feed.offsetOf(block)) - (this.encrypted ? block * ENCRYPTION_PADDING : 0)
  }

  /** As {@link DriveFolder.offsetOf}, of all blocks from `start` up to `end`, which are held. */
  async offsetsOf(start: number, end: number): Promise<Float64Array> {
    const { feed } = await this.blobs()
    const sizes = sizesOf(await feed.leaves(start, end))
    const padding = this.encrypted ? ENCRYPTION_PADDING : 0
    const offsets = new Float64Array(sizes.length + 1)
    let offset = await this.offsetOf(start)
    for (let i = 0; i < sizes.length; i++) {
      offsets[i] = offset
      offset += (sizes[i] as number) - padding
    }
    offsets[sizes.length] = offset
    return offsets
  }

  /**
   * The leaves that a file has which holds a blob, 40 bytes for each block. Of blocks that are not here they may be zero;
   * null where only the blocks could tell, as the tree of an encrypted drive does not.
   */
  async leaves({
    blockOffset,
    blockLength
  }: Pick<BlobRange, 'blockOffset' | 'blockLength'>): Promise<Uint8Array | null> {
    const { feed, session } = await this.blobs()
    const end = blockOffset + blockLength
    if (!this.encrypted) return feed.leaves(blockOffset, end)
    const leaves: Uint8Array[] = []
    for (let block = blockOffset; block < end;) {
      const blocks = await session.getRun(block, end).catch((error: unknown) => {
        // Who only reads cannot drop what is bad.
        if (isSynclineError(error, 'INVALID_OPERATION')) return null
        throw error
      })
      if (blocks === null) return null
      leaves.push(leavesOf(blocks))
      block += blocks.length
    }
    return Buffer.concat(leaves)
  }

  /**
   * Makes the catalog say what the newest version of the index says, where a stop came in between. Stamps stay where the
   * content is the same; the rest has to be looked at.
   */
  async reconcile(): Promise<void> {
    const { catalog, index } = this
    const version = index.version
    if (catalog.version === version) return
    const seen = new Set<string>()
    for await (const { name, kind, entry } of listDrive(index, version)) {
      seen.add(name)
      const known = catalog.get(name)
      const same =
        known?.kind === kind &&
        known.entry.blob?.byteOffset === entry.blob?.byteOffset &&
        known.entry.blob?.byteLength === entry.blob?.byteLength
      catalog.set(name, {
        kind,
        entry,
        stamp: same ? known.stamp : null,
        digest: same ? known.digest : await this.#digestOf(entry.blob)
      })
      if (entry.blob !== null) this.placeFile(name, entry.blob)
    }
    for (const [name] of [...catalog.rows()]) if (!seen.has(name)) catalog.delete(name)
    if (this.#options.readOnly !== true) await this.#releaseUnknown()
    catalog.version = version
    if (this.#options.readOnly !== true) await catalog.save()
  }

  /** Lets go of the blocks that are in place nowhere any more. */
  async #releaseUnknown(): Promise<void> {
    if (!this.inPlace || this.#config.kind !== 'share') return
    const { feed } = await this.blobs()
    const blobs = Array.from(this.catalog.rows(), ([, { entry }]) => entry.blob)
      .filter((blob) => blob !== null)
      .sort((a, b) => a.blockOffset - b.blockOffset)
    const gaps: [start: number, end: number][] = []
    let at = 0
    for (const { blockOffset, blockLength } of blobs) {
      if (blockOffset > at) gaps.push([at, blockOffset])
      at = Math.max(at, blockOffset + blockLength)
    }
    await feed.release([...gaps, [at, feed.length]])
  }

  /**
   * Turns references into blocks: what is held in place is copied into the flat file, and so is all that comes.
   *
   * @throws SynclineError DISK_FULL, STORAGE_FAILED; then all is as before.
   */
  async storeCopies(): Promise<void> {
    const { feed } = await this.blobs()
    const stored: BlobRange[] = []
    for (const [, { entry }] of this.catalog.rows()) {
      const { blob } = entry
      if (blob === null || this.places.fileOf(blob) === null) continue
      const end = blob.blockOffset + blob.blockLength
      let offset = blob.byteOffset
      try {
        for (let block = blob.blockOffset; block < end && feed.have.get(block);) {
          const packed = await feed.readPacked(block, end)
          await this.places.store([packed.bytes], offset)
          offset += packed.bytes.byteLength
          block += packed.lengths.length
        }
      } catch (error) {
        // The user changed the file: the next import says so.
        if (!isSynclineError(error, 'BLOCK_NOT_AVAILABLE')) throw error
      }
      stored.push(blob)
    }
    await this.places.sync()
    await feed.flush()
    await this.configure({ copy: true })
    for (const blob of stored) await this.places.drop(blob)
  }

  async #digestOf(blob: BlobRange | null): Promise<number> {
    if (blob === null || blob.byteLength === 0 || blob.blockMap === true) return 0
    const { feed } = await this.blobs()
    const isHeld = feed.have.hasAll(blob.blockOffset, blob.blockOffset + blob.blockLength)
    const leaves = isHeld ? await this.leaves(blob) : null
    return leaves === null ? 0 : digestOf(leaves)
  }

  /**
   * Notes that the file of `name` holds a blob.
   *
   * @param local - its path below the root, where it is not the name itself.
   */
  placeFile(name: string, blob: BlobRange, local?: string): void {
    this.#loadPlaces()
    if (blob.byteLength === 0 || blob.blockMap === true) return
    const { byteOffset } = blob
    const user = this.#users.get(byteOffset)
    if (user === undefined) this.#users.set(byteOffset, name)
    else if (user instanceof Set) user.add(name)
    else if (user !== name) this.#users.set(byteOffset, new Set([user, name]))
    if (this.inPlace) this.places.put(blob, local === undefined ? filePath(name) : local)
  }

  /** Notes what lies in the trash and nowhere else. */
  placeTrash(entries: Iterable<TrashEntry>): void {
    if (!this.inPlace) return
    for (const { blob, path: file } of entries) {
      // A file is not the bytes of its map.
      if (blob === null || blob.blockMap === true || this.places.fileOf(blob) !== null) continue
      this.places.put(blob, path.relative(this.root, file))
    }
  }

  /**
   * Notes that the file of `name` no longer holds a blob.
   *
   * @returns true if no other file does.
   */
  leaveFile(name: string, blob: BlobRange): boolean {
    this.#loadPlaces()
    const { byteOffset } = blob
    const user = this.#users.get(byteOffset)
    if (!(user instanceof Set)) {
      if (user === name) this.#users.delete(byteOffset)
      return user === undefined || user === name
    }
    user.delete(name)
    const [other] = user
    if (other === undefined) this.#users.delete(byteOffset)
    else if (this.inPlace) {
      this.places.put(blob, this.catalog.get(other)?.path ?? filePath(other))
    }
    return other === undefined
  }

  /** True if a file holds a blob. */
  isPlaced({ byteOffset }: BlobRange): boolean {
    return this.#users.has(byteOffset)
  }

  /** True if a file of another name holds the same blob. */
  hasOther(name: string, blob: BlobRange | null): boolean {
    if (blob === null || blob.byteLength === 0) return false
    this.#loadPlaces()
    const user = this.#users.get(blob.byteOffset)
    return user instanceof Set
      ? user.size > (user.has(name) ? 1 : 0)
      : user !== undefined && user !== name
  }

  /** Writes what is remembered, and lets feeds and files go. @throws SynclineError DISK_FULL, STORAGE_FAILED, once they are. */
  async close(): Promise<void> {
    try {
      if (this.#options.readOnly !== true) await this.catalog.save()
    } finally {
      await this.#closeFeeds()
    }
  }

  async #closeFeeds(): Promise<void> {
    await this.#blobs?.catch(() => {})
    try {
      await this.#leaveBlobs()
    } finally {
      await this.#leaveIndex()
    }
  }

  /** Only who reads or changes blobs needs to know where they are. */
  #loadPlaces(): void {
    if (this.#placesLoaded) return
    this.#placesLoaded = true
    for (const [name, { entry, path: local }] of this.catalog.rows()) {
      if (entry.blob !== null) this.placeFile(name, entry.blob, local)
    }
    if (this.inPlace) this.places.resume()
  }

  async #openBlobs(): Promise<Blobs> {
    this.#loadPlaces()
    const feed = this.#indexFeed
    const header = await this.index.header()
    const contentFeed = header?.contentFeed ?? null
    const key = blobsKey(feed.key, feed.manifest, contentFeed)
    if (key === null) {
      throw new SynclineError('INVALID_OPERATION', 'the index does not say yet where its blobs are')
    }
    const derives = contentFeed === null && feed.manifest !== null
    const manifest = derives ? blobsManifest(feed.key, feed.manifest) : null
    const blobs = await this.#openBlobsFeed({ key, manifest, keyPair: null })
    const session = this.#sync.host(key, async () => blobs, {
      mode: this.#mode(),
      ranges: [],
      ...this.#encryption()
    })
    const leave = useSession(session)
    try {
      await this.#checkHosted(session, blobs)
    } catch (error) {
      await leave()
      await blobs.close().catch(() => {})
      throw error
    }
    this.#leaveBlobs = leave
    return { session, feed: blobs }
  }

  async #openBlobsFeed(identity: Identity): Promise<StoredFeed> {
    const folder = this.statePath('blobs')
    const { readOnly = false, keyPair } = this.#options
    const options = { readOnly, lock: !readOnly, data: this.places }
    let store = FileStore.open(folder, options)
    if (!readOnly && !(await store.exists())) {
      store = await FileStore.create(folder, identity, options)
    }
    return StoredFeed.open(store, {
      verifyReads: true,
      onbad: (start, end) => this.onbad?.(start, end),
      ...(keyPair == null ? {} : { keyPair })
    })
  }

  #mode(): NonNullable<AddOptions['mode']> {
    return this.#options.mode ?? (this.#config.kind === 'clone' ? 'both' : 'serve')
  }

  #encryption(): Pick<AddOptions, 'encryptionKey'> {
    const { encryptionKey } = this.#options
    return encryptionKey == null ? {} : { encryptionKey }
  }
}

async function openIndex(
  state: string,
  { readOnly = false, keyPair }: OpenFolderOptions
): Promise<StoredFeed> {
  // A clone has no secret key, but is as much changed by one process at a time.
  const store = FileStore.open(path.join(state, 'index'), { readOnly, lock: !readOnly })
  return StoredFeed.open(store, keyPair == null ? {} : { keyPair })
}

/** The blobs of a drive: as its peers see them, and the feed below. */
export interface Blobs {
  readonly session: FeedSession
  readonly feed: StoredFeed
}

/** Path of a name, relative to the root of the folder. */
export function filePath(name: string): string {
  return name.slice(1).split('/').join(path.sep)
}

/** The nearest folder from `start` upwards that is shared or cloned, or null. */
export async function findFolder(start: string): Promise<string | null> {
  for (let at = path.resolve(start); ; at = path.dirname(at)) {
    if (await isFile(path.join(at, STATE_FOLDER, 'config'))) return at
    if (at === path.dirname(at)) return null
  }
}

/** What the folder at `root` is; null if it is neither shared nor cloned. @throws SynclineError FEED_DAMAGED. */
export async function readConfig(
  root: string,
  state: string = path.join(root, STATE_FOLDER)
): Promise<FolderConfig | null> {
  return readFrom(path.join(state, 'config'))
}

/**
 * What the folder at `root` was to become when that was stopped, or null. Nothing of that key was signed then, so that
 * it can be begun with anew. @throws SynclineError as {@link readConfig}.
 */
export async function readBegun(
  root: string,
  state: string = path.join(root, STATE_FOLDER)
): Promise<FolderConfig | null> {
  return readFrom(path.join(state, 'begun'))
}

async function readFrom(file: string): Promise<FolderConfig | null> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw storageError(error, file)
  }
  try {
    const value = JSON.parse(text) as Partial<FolderConfig>
    const { key, kind } = value
    if (typeof key === 'string' && /^[0-9a-f]{64}$/.test(key)) {
      if (kind !== undefined && KINDS.includes(kind)) return { ...DEFAULTS, ...value, key, kind }
    }
  } catch {
    // As damaged as one without a key.
  }
  throw new SynclineError('FEED_DAMAGED', `${file} is damaged`, { path: file })
}

const KINDS: readonly FolderConfig['kind'][] = ['share', 'clone', 'mirror']

function stateOf(root: string, { state }: Pick<OpenFolderOptions, 'state'>): string {
  return state ?? path.join(path.resolve(root), STATE_FOLDER)
}

/** Choices of a folder that says nothing else. */
export const DEFAULTS: Omit<FolderConfig, 'key' | 'kind'> = {
  copy: false,
  only: [],
  at: null,
  gitignore: false,
  keep: '30d,10%',
  allLinks: false
}

async function writeConfig(
  state: string,
  config: FolderConfig,
  name: 'config' | 'begun' = 'config'
): Promise<void> {
  const file = path.join(state, name)
  const draft = `${file}.new`
  try {
    await writeFile(draft, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600, flush: true })
    await rename(draft, file)
  } catch (error) {
    throw storageError(error, file)
  }
}

async function isFile(file: string): Promise<boolean> {
  return stat(file).then(
    (stats) => stats.isFile(),
    () => false
  )
}
