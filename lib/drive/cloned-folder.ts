/**
 * A folder that is a clone of a drive, and seeds it.
 *
 * @module
 */
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import { storageError, systemCode } from '../feed/file/file-error.ts'
import { makeFolder } from '../feed/file/make-folder.ts'
import type { FeedSession } from '../synchronizer/feed-session.ts'
import type { Synchronizer } from '../synchronizer/synchronizer.ts'
import { Clone, type CloneOptions, type CloneReport } from './clone.ts'
import { DEFAULTS, DriveFolder, readConfig, type FolderConfig } from './folder/drive-folder.ts'
import { checkOutside } from './folder/stores.ts'
import { withClone, type DriveRegistry } from './registry.ts'
import { STATE_FOLDER } from './folder/state-folder.ts'
import { keepsNothing, parseKeep } from './folder/trash.ts'

/** What a clone is made with; left out, a clone that is there stays as it is. */
export interface CloneChoices {
  /** Patterns with git's meaning of what is taken. They are added to those that hold already. */
  readonly only?: readonly string[]
  /** The version to stay at; null follows the newest. */
  readonly at?: number | null
  /** How long and how much of what was replaced is kept: `30d,10%`, or `0`. */
  readonly keep?: string
  /** True keeps by the default rule if nothing is kept so far, and `keep` says nothing else. */
  readonly trash?: boolean
  /** True creates links that leave the folder, too. */
  readonly allLinks?: boolean
  /** 32 bytes, for an encrypted drive. */
  readonly encryptionKey?: Uint8Array
  /** True clones onto a folder that is not empty; files that match are kept. */
  readonly force?: boolean
}

/** Options of {@link ClonedFolder.update}. */
export interface UpdateOptions {
  readonly signal?: AbortSignal
}

/** See the module comment. */
export class ClonedFolder {
  readonly folder: DriveFolder
  /** Tells what it does by events. */
  readonly clone: Clone
  readonly #stop = new AbortController()
  /** The update that is under way, or the last one. */
  #updating: Promise<unknown> = Promise.resolve()

  private constructor(folder: DriveFolder, options: Omit<CloneOptions, 'signal'>) {
    this.folder = folder
    this.clone = new Clone(folder, { ...options, signal: this.#stop.signal })
    folder.onbad = (start, end) => void this.#unwant(start, end)
  }

  /**
   * Opens the clone at `dir`, made if there is none.
   *
   * @param key - 32 bytes; null for whatever is cloned there.
   * @throws SynclineError REFUSED for a folder that is not empty, or shared, or a clone of another drive, or in the store;
   * FEED_NOT_FOUND if there is none and no key; DISK_FULL, STORAGE_FAILED.
   */
  static async open(
    sync: Synchronizer,
    registry: DriveRegistry,
    key: Uint8Array | null,
    dir: string,
    choices: CloneChoices = {},
    options: Omit<CloneOptions, 'signal'> = {}
  ): Promise<ClonedFolder> {
    const root = path.resolve(dir)
    const { stores } = registry
    checkOutside(root, stores)
    const config = await readConfig(root)
    if (config === null) {
      if (key === null) throw notCloned(root)
      const made = await create(sync, registry, key, root, choices)
      return new ClonedFolder(made, options)
    }
    checkConfig(root, config, key)
    const drive = await registry.get(b4a.from(config.key, 'hex'))
    const encryptionKey = choices.encryptionKey ?? drive?.encryptionKey ?? null
    if (drive?.kind === 'clone' && drive.encryptionKey === null && encryptionKey !== null) {
      await registry.put({ ...drive, encryptionKey })
    }
    const folder = await DriveFolder.open(sync, root, { encryptionKey, stores })
    try {
      await folder.configure(changes(config, choices))
    } catch (error) {
      await folder.close()
      throw error
    }
    return new ClonedFolder(folder, options)
  }

  /** 32 bytes: the key of the drive. */
  get key(): Uint8Array {
    return this.folder.key
  }

  /** The index: its peers, and how far it is. */
  get index(): FeedSession {
    return this.folder.indexSession
  }

  /** The blobs; null until the index tells which feed they are. */
  async blobs(): Promise<FeedSession | null> {
    return this.folder.blobs().then(
      ({ session }) => session,
      () => null
    )
  }

  /**
   * Waits for the index and brings the folder to its newest version, or to the one that it stays at.
   *
   * @throws SynclineError as {@link Clone.update}; SESSION_CLOSED; the signal's reason.
   */
  update({ signal }: UpdateOptions = {}): Promise<CloneReport> {
    const updating = this.#update(this.#both(signal))
    this.#updating = updating.catch(() => {})
    return updating
  }

  /** Follows the drive until the clone is closed. */
  async follow(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        const { version } = await this.update()
        await this.#newer(version)
      } catch (error) {
        if (signal.aborted) return
        throw error
      }
    }
  }

  /** Ends what is under way, keeps what came, and lets the folder go. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new SynclineError('SESSION_CLOSED', 'the clone is closed'))
    await this.#updating
    await this.folder.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #update(signal: AbortSignal): Promise<CloneReport> {
    const { at } = this.folder.config
    if (at === null || this.index.length < at || !(await this.index.has(0, at))) {
      this.clone.progress.set({ phase: 'connect' })
      await this.#synced(signal)
    }
    return this.clone.update(signal)
  }

  /** Waits for the index. The blobs are opened as soon as it tells which they are, so that their peers are known by then. */
  async #synced(signal: AbortSignal): Promise<void> {
    const { folder, index } = this
    const look = (): void => {
      if (!index.holds(0)) return
      index.off('append', look)
      index.off('download', look)
      // Whoever needs them hears what is wrong.
      folder.blobs().catch(() => {})
    }
    index.on('append', look)
    index.on('download', look)
    look()
    try {
      await index.synced({ signal })
    } finally {
      index.off('append', look)
      index.off('download', look)
    }
  }

  #both(signal: AbortSignal | undefined): AbortSignal {
    return signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
  }

  /** Resolves when the index is longer than a version. */
  #newer(version: number): Promise<void> {
    const { index } = this
    const { signal } = this.#stop
    return new Promise((resolve) => {
      const look = (): void => {
        const { at } = this.folder.config
        if (!signal.aborted && (at !== null || index.length <= version)) return
        index.off('append', look)
        signal.removeEventListener('abort', look)
        resolve()
      }
      index.on('append', look)
      signal.addEventListener('abort', look)
      look()
    })
  }

  /** The user changed a file: its blocks are gone, and nobody asks for them unless another file is to have them. */
  async #unwant(start: number, end: number): Promise<void> {
    if (this.clone.awaits(start, end)) return
    const blobs = await this.blobs()
    await blobs?.unwant([start, end]).catch(() => {})
  }
}

async function create(
  sync: Synchronizer,
  registry: DriveRegistry,
  key: Uint8Array,
  root: string,
  choices: CloneChoices
): Promise<DriveFolder> {
  const { force = false } = choices
  try {
    await makeFolder(root)
    const names = await readdir(root)
    if (!force && names.some((name) => name !== STATE_FOLDER)) {
      throw new SynclineError('REFUSED', `${root} is not empty: --force clones onto it`, {
        path: root
      })
    }
  } catch (error) {
    if (systemCode(error) === 'EEXIST' || systemCode(error) === 'ENOTDIR') {
      throw new SynclineError('REFUSED', `${root} is no folder`, { path: root })
    }
    throw storageError(error, root)
  }
  const empty: FolderConfig = { ...DEFAULTS, key: b4a.toString(key, 'hex'), kind: 'clone' }
  const known = await registry.get(key)
  const encryptionKey = choices.encryptionKey ?? known?.encryptionKey ?? null
  const config = { ...empty, ...changes(empty, choices), copy: encryptionKey !== null }
  const options = { encryptionKey, stores: registry.stores }
  // Who writes it keeps his key.
  const before = known?.kind === 'clone' ? { ...known, encryptionKey } : known
  // Before it is a clone: one that nobody knows of is not found by its name, nor is its secret.
  await registry.put(
    before === null
      ? { key, kind: 'clone', folder: root, keyPair: null, encryptionKey }
      : withClone(before, root)
  )
  try {
    return await DriveFolder.create(sync, root, config, options)
  } catch (error) {
    // Another process may have made it meanwhile.
    const isNone = (await readConfig(root).catch(() => null)) === null
    if (isNone && known === null) await registry.delete(key)
    else if (isNone && known !== null) await registry.put(known)
    throw error
  }
}

function checkConfig(root: string, config: FolderConfig, key: Uint8Array | null): void {
  if (config.kind === 'share') {
    throw new SynclineError('REFUSED', `${root} is shared: it cannot be a clone as well`, {
      path: root
    })
  }
  if (key !== null && config.key !== b4a.toString(key, 'hex')) {
    throw new SynclineError('REFUSED', `${root} is a clone of another drive`, { path: root })
  }
}

/** What the choices change of what a clone is. */
function changes(config: FolderConfig, choices: CloneChoices): Partial<FolderConfig> {
  const { only = [], at, allLinks } = choices
  const isOff = choices.trash === true && keepsNothing(parseKeep(config.keep))
  const keep = choices.keep ?? (isOff ? DEFAULTS.keep : undefined)
  return {
    only: [...config.only, ...only.filter((pattern) => !config.only.includes(pattern))],
    ...(at === undefined ? {} : { at }),
    ...(keep === undefined ? {} : { keep }),
    ...(allLinks === undefined ? {} : { allLinks })
  }
}

function notCloned(root: string): SynclineError {
  return new SynclineError('FEED_NOT_FOUND', `${root} is no clone`, { path: root })
}
