/**
 * A folder that is shared: its drive follows what the user does in it.
 *
 * @module
 */
import { EventEmitter } from 'node:events'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { isSynclineError, SynclineError } from '../errors.ts'
import { createKeyPair } from '../feed/signature.ts'
import type { KeyPair } from '../feed/store.ts'
import { emit } from '../synchronizer/emit.ts'
import type { Synchronizer } from '../synchronizer/synchronizer.ts'
import type { WaitOptions } from '../synchronizer/waiting.ts'
import { newDriveIdentities } from './blobs-key.ts'
import {
  DEFAULTS,
  DriveFolder,
  readBegun,
  readConfig,
  type FolderConfig
} from './folder/drive-folder.ts'
import { isFolder, isSameFolder } from './folder/look.ts'
import { checkOutside } from './folder/stores.ts'
import { watchFolder, type WatchEvent, type WatchOptions } from './folder/watch.ts'
import { GrowingFiles } from './growing-files.ts'
import { importFolder, type ImportOptions, type ImportReport } from './import.ts'
import { checkSecret, type DriveRegistry, type RegisteredDrive } from './registry.ts'
import { STATE_FOLDER } from './folder/state-folder.ts'

/** Options of {@link SharedFolder.open}. */
export interface ShareOptions {
  /** True stores the blocks, so that versions are kept. Turns a share in place into one. Default: as it was, else false. */
  readonly copy?: boolean
  /** True honours `.gitignore` files. Default: as it was, else false. */
  readonly gitignore?: boolean
  /** 32 bytes; encrypts a new drive. */
  readonly encryptionKey?: Uint8Array
  /** True for a folder that was shared before: what lost its state is not shared anew. Default: false. */
  readonly again?: boolean
}

/** Events of a {@link SharedFolder}. */
export interface ShareEvents {
  /** The drive follows what was found; nothing is told of an import that changed nothing. */
  imported: [report: ImportReport]
  /** A later import failed; the next change, or the next look, tries again. */
  failed: [error: SynclineError]
  /** The system has no watches left: changes are found by looking, from time to time. */
  unwatched: [code: string]
  /** Files are written without a pause: they are taken in as they are, now and then. Told once for each. */
  restless: [names: readonly string[]]
}

/** See the module comment. */
export class SharedFolder extends EventEmitter<ShareEvents> {
  readonly folder: DriveFolder
  readonly #stop = new AbortController()
  /** One import at a time. */
  #importing: Promise<unknown> = Promise.resolve()
  #poke: () => void = () => {}
  /** Names of restless files that were told. */
  readonly #restless = new Set<string>()

  private constructor(folder: DriveFolder) {
    super()
    this.folder = folder
    // What was read and is not there any more is a change, too.
    folder.onbad = () => this.#poke()
  }

  /**
   * Opens the share of a folder, made if there is none. The same folder keeps its key.
   *
   * @throws SynclineError FOLDER_MISSING; NOT_WRITABLE if its secret key is not in this registry; REFUSED for a copy of
   * another share, a clone, a folder in the store, or another encryption key than the drive has; FEED_LOCKED, DISK_FULL,
   * STORAGE_FAILED.
   */
  static async open(
    sync: Synchronizer,
    registry: DriveRegistry,
    dir: string,
    options: ShareOptions = {}
  ): Promise<SharedFolder> {
    const root = path.resolve(dir)
    if (!(await isFolder(root))) {
      throw new SynclineError('FOLDER_MISSING', `${root} is no folder`, { path: root })
    }
    checkOutside(root, registry.stores)
    const config = await readConfig(root)
    const folder =
      config === null
        ? await create(sync, registry, root, options)
        : await reopen(sync, registry, root, config, options)
    const share = new SharedFolder(folder)
    try {
      await share.#configure(options)
    } catch (error) {
      await folder.close()
      throw error
    }
    return share
  }

  /** 32 bytes: the key of the drive. */
  get key(): Uint8Array {
    return this.folder.key
  }

  /** Brings the drive to what the folder holds now. @throws SynclineError as {@link importFolder}. */
  import(options: ImportOptions = {}): Promise<ImportReport> {
    const importing = this.#importing.then(() => importFolder(this.folder, options))
    this.#importing = importing.catch(() => {})
    return importing
  }

  /**
   * Follows the folder until the share is closed: changes are imported as they settle, with the given options.
   *
   * @throws SynclineError what an import throws that no later one can mend.
   */
  async follow(options: ImportOptions & WatchOptions = {}): Promise<void> {
    const { signal } = this.#stop
    const { config, root, stores } = this.folder
    const watching = watchFolder(root, { gitignore: config.gitignore, stores, ...options })
    const close = (): void => watching.close()
    signal.addEventListener('abort', close)
    // However many blocks are lost, they are one reason to look.
    this.#poke = () => watching.nudge()
    const { growing = new GrowingFiles() } = options
    let isDue = false
    let timer: NodeJS.Timeout | undefined
    const look = (): void => {
      isDue = true
      watching.nudge()
    }
    try {
      await watching.ready
      look()
      for await (const event of watching) {
        if (event.type === 'unwatched') emit(this, 'unwatched', event.code)
        else if (isDue || isNews(event, growing)) {
          isDue = false
          clearTimeout(timer)
          await this.#follow({ ...options, growing })
          const { waitMs } = growing
          if (waitMs < Infinity) timer = setTimeout(look, waitMs)
        }
        if (signal.aborted) return
      }
    } finally {
      this.#poke = () => {}
      clearTimeout(timer)
      signal.removeEventListener('abort', close)
      watching.close()
    }
  }

  /**
   * So many remote peers hold all that is here of the drive.
   *
   * @throws SynclineError TIMEOUT, SESSION_CLOSED.
   */
  async synced(options: WaitOptions & { readonly peers: number }): Promise<void> {
    await this.folder.indexSession.synced(options)
    await (await this.folder.blobs()).session.synced(options)
  }

  /** Ends what is under way and lets the folder go. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new SynclineError('SESSION_CLOSED', 'the share is closed'))
    await this.#importing
    await this.folder.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #follow(options: ImportOptions): Promise<void> {
    const { signal } = this.#stop
    try {
      const report = await this.import({ ...options, signal })
      const { changes, lost, heldBack, restless } = report
      if (changes + lost.length + heldBack.length > 0) emit(this, 'imported', report)
      this.#tellRestless(restless)
    } catch (error) {
      if (signal.aborted) return
      if (!isSynclineError(error)) throw error
      options.growing?.keep([])
      emit(this, 'failed', error)
    }
  }

  #tellRestless(names: readonly string[]): void {
    const untold = names.filter((name) => !this.#restless.has(name))
    for (const name of untold) this.#restless.add(name)
    if (untold.length > 0) emit(this, 'restless', untold)
  }

  async #configure({ copy, gitignore }: ShareOptions): Promise<void> {
    const { config } = this.folder
    if (gitignore !== undefined && gitignore !== config.gitignore) {
      await this.folder.configure({ gitignore })
    }
    if (copy === true && !config.copy) await this.folder.storeCopies()
  }
}

/** False for what is looked at soon in any case. */
function isNews(event: WatchEvent, growing: GrowingFiles): boolean {
  if (event.type === 'changed') return [...event.names].some((name) => !growing.has(name))
  // Blocks are lost of files that are being written.
  return event.type === 'everything' || growing.size === 0
}

async function create(
  sync: Synchronizer,
  registry: DriveRegistry,
  root: string,
  { copy = false, gitignore = false, encryptionKey, again = false }: ShareOptions
): Promise<DriveFolder> {
  const begun = await keyPairOfBegun(registry, root)
  if (begun === null) await checkStanding(registry, root, again)
  const keyPair = begun ?? createKeyPair()
  const { key } = newDriveIdentities(keyPair).index
  const drive: RegisteredDrive = {
    key,
    kind: 'share',
    folder: root,
    keyPair,
    encryptionKey: encryptionKey ?? null
  }
  const config: FolderConfig = {
    ...DEFAULTS,
    key: b4a.toString(key, 'hex'),
    kind: 'share',
    copy: copy || encryptionKey !== undefined,
    gitignore
  }
  await DriveFolder.begin(root, config)
  // A key that others may have learnt must not be lost.
  await registry.put(drive)
  try {
    return await DriveFolder.create(sync, root, config, {
      ...secretsOf(drive),
      stores: registry.stores
    })
  } catch (error) {
    // One that was found may be that of another process, which is just making the share.
    if (begun === null) await registry.delete(key)
    throw error
  }
}

/**
 * Of what was a share nothing is made anew while it may only be away: the place where a disk is mounted is an empty folder.
 *
 * @throws SynclineError FOLDER_MISSING.
 */
async function checkStanding(registry: DriveRegistry, root: string, again: boolean): Promise<void> {
  if ((await registry.find(root))?.kind !== 'share') return
  const isEmpty = (await readdir(root)).length === 0
  if (!again && !isEmpty) return
  const reason = `${root} was a share and ${isEmpty ? 'is empty' : 'has nothing of it'}`
  throw new SynclineError(
    'FOLDER_MISSING',
    `${reason}: its disk may be away; unshare it to begin anew`,
    {
      path: root
    }
  )
}

/** The key pair of a share that was stopped before it was one: a second one would be registered beside it. */
async function keyPairOfBegun(registry: DriveRegistry, root: string): Promise<KeyPair | null> {
  const begun = await readBegun(root)
  if (begun?.kind !== 'share') return null
  const drive = await registry.get(b4a.from(begun.key, 'hex'))
  if (drive?.kind !== 'share') return null
  return (await isSameFolder(drive.folder, root)) ? drive.keyPair : null
}

async function reopen(
  sync: Synchronizer,
  registry: DriveRegistry,
  root: string,
  config: FolderConfig,
  { encryptionKey }: ShareOptions
): Promise<DriveFolder> {
  if (config.kind === 'clone') {
    throw new SynclineError('REFUSED', `${root} is a clone: only its source can share it anew`, {
      path: root
    })
  }
  const drive = await registry.get(b4a.from(config.key, 'hex'))
  if (drive?.keyPair == null) {
    const reason = `the secret key of ${root} is not in this store`
    throw new SynclineError('NOT_WRITABLE', reason, { path: root })
  }
  checkSecret(drive, encryptionKey)
  if (!(await isSameFolder(drive.folder, root))) {
    const other = await readConfig(drive.folder).catch(() => null)
    if (other?.key === config.key) {
      const reason = `${root} is a copy of ${drive.folder}: two folders cannot have one key`
      const way = `remove ${path.join(root, STATE_FOLDER)} to share it under a key of its own`
      throw new SynclineError('REFUSED', `${reason}; ${way}`, { path: root })
    }
    await registry.put({ ...drive, folder: root })
  }
  return DriveFolder.open(sync, root, { ...secretsOf(drive), stores: registry.stores })
}

/** What opens a drive that is registered. */
export function secretsOf({
  keyPair,
  encryptionKey
}: RegisteredDrive): Pick<RegisteredDrive, 'keyPair' | 'encryptionKey'> {
  return { keyPair, encryptionKey }
}
