/**
 * The synchronizer as its users have it: one that knows drives and folders, too.
 *
 * @module
 */
import path from 'node:path'
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import type { HypercoreLike } from '../feed/hypercore/hypercore-like.ts'
import { emit } from '../synchronizer/emit.ts'
import type { FeedSession } from '../synchronizer/feed-session.ts'
import { toKey } from '../synchronizer/key.ts'
import {
  Synchronizer as FeedSynchronizer,
  type AddOptions,
  type SynchronizerOptions
} from '../synchronizer/synchronizer.ts'
import { CloneSession, type CloneSessionOptions } from './clone-session.ts'
import { DriveSession } from './drive-session.ts'
import type { WatchOptions } from './folder/watch.ts'
import type { ImportOptions } from './import.ts'
import { memoryRegistry, Registry, type DriveRegistry } from './registry.ts'
import { SharedFolder, type ShareOptions } from './shared-folder.ts'

/** Options of {@link Synchronizer.add} for a drive without a folder. */
export interface AddDriveOptions extends Omit<AddOptions, 'ranges' | 'drive' | 'valueEncoding'> {
  readonly drive: true
}

/** Options of {@link Synchronizer.add} for a drive in a folder. */
export interface AddCloneOptions extends CloneSessionOptions {
  /** The folder: empty, missing, or a clone of this drive. */
  readonly drive: string
}

/** Options of {@link Synchronizer.share}. */
export interface ShareFolderOptions
  extends
    ShareOptions,
    Pick<ImportOptions, 'maxDelete' | 'progress'>,
    Pick<WatchOptions, 'rescanMs'> {
  /** False imports once. Default: true, the folder is followed until the share is closed. */
  readonly live?: boolean
}

/**
 * Keeps feeds and drives in sync with peers.
 *
 * The secret keys of shared folders are kept in the folder of the storage; with `memory()` they end with the
 * synchronizer, and so nobody can write these drives any more.
 */
export class Synchronizer extends FeedSynchronizer {
  readonly #registry: DriveRegistry
  /** What was added or shared here and is open: closed with the synchronizer. */
  readonly #open = new Map<string, DriveSession | CloneSession>()
  readonly #shares = new Set<SharedFolder>()
  #ending: Promise<void> | null = null

  constructor(options: SynchronizerOptions) {
    super(options)
    const { storage } = options
    this.#registry = typeof storage === 'string' ? new Registry(storage) : memoryRegistry()
  }

  /**
   * Synchronizes a drive. With `drive: true` it has no folder: its feeds are seeded, or read through `Drive`. With a
   * folder it is cloned into it and followed: see {@link CloneSession.synced}. Adding it again gives the session that is
   * there, or a new one if that one failed.
   *
   * @throws SynclineError BAD_KEY, SESSION_CLOSED; REFUSED if the folder is the clone of another drive that is open. What opening throws comes from the session's `ready()`.
   */
  override add(key: string | Uint8Array, options: AddDriveOptions): DriveSession
  override add(key: string | Uint8Array, options: AddCloneOptions): CloneSession
  /**
   * Synchronizes a feed: one that is stored, one of which only the key is known, or a live `Hypercore` 11 of
   * the user's. Adding a feed again gives the session that is there.
   *
   * @throws SynclineError BAD_KEY, UNSUPPORTED, SESSION_CLOSED. What opening the storage throws comes from the
   * session's `ready()`.
   */
  override add(source: string | Uint8Array | HypercoreLike, options?: AddOptions): FeedSession
  override add(
    source: string | Uint8Array | HypercoreLike,
    options: AddOptions | AddDriveOptions | AddCloneOptions = {}
  ): FeedSession | DriveSession | CloneSession {
    if (!isDriveOptions(options)) return super.add(source, options)
    const key = toKey(source as string | Uint8Array)
    const place = options.drive === true ? b4a.toString(key, 'hex') : path.resolve(options.drive)
    const present = this.#open.get(place)
    if (present !== undefined && !isOver(present)) {
      if (b4a.equals(present.key, key)) return present
      throw new SynclineError('REFUSED', `${place} is a clone of another drive`, { path: place })
    }
    const session = this.#addDrive(
      key,
      options,
      present?.close().catch(() => {})
    )
    this.#open.set(place, session)
    session.on('close', () => {
      if (this.#open.get(place) === session) this.#open.delete(place)
    })
    return session
  }

  /**
   * Shares a folder: its drive is made if there is none, brought to what the folder holds, and follows it. Resolves after
   * the first import; later ones, and what they could not do, are told by events.
   *
   * @throws SynclineError as {@link SharedFolder.open} and {@link SharedFolder.import}.
   */
  async share(dir: string, options: ShareFolderOptions = {}): Promise<SharedFolder> {
    const { live = true, maxDelete = null, progress, rescanMs, ...choices } = options
    const shared = await SharedFolder.open(this, this.#registry, dir, choices)
    const imports = { maxDelete, ...(progress === undefined ? {} : { progress }) }
    try {
      await shared.import(imports)
    } catch (error) {
      await shared.close()
      throw error
    }
    this.#shares.add(shared)
    if (live) {
      const watch = rescanMs === undefined ? {} : { rescanMs }
      shared.follow({ ...imports, ...watch }).catch((error) => emit(shared, 'failed', error))
    }
    return shared
  }

  /**
   * Closes folders, connections, transports and feeds in good order. Idempotent.
   *
   * @throws SynclineError DISK_FULL, STORAGE_FAILED of the first that could not be closed, once all else is.
   */
  override close(): Promise<void> {
    this.#ending ??= this.#end()
    return this.#ending
  }

  async #end(): Promise<void> {
    const failures: unknown[] = []
    const failed = (error: unknown): void => {
      failures.push(error)
    }
    for (const open of [...this.#shares, ...this.#open.values()]) await open.close().catch(failed)
    await super.close().catch(failed)
    if (failures.length > 0) throw failures[0]
  }

  /** @param free - settles when what was there before is closed. */
  #addDrive(
    key: Uint8Array,
    options: AddDriveOptions | AddCloneOptions,
    free?: Promise<void>
  ): DriveSession | CloneSession {
    if (options.drive === true) {
      const { drive: _, ...rest } = options
      return new DriveSession(this, key, rest, free)
    }
    const { drive: dir, ...rest } = options
    return new CloneSession(this, this.#registry, key, dir, rest, free)
  }
}

/** True for a session that begins anew when it is added again; a conflict stays one. */
function isOver({ closing, failure }: DriveSession | CloneSession): boolean {
  return closing !== null || (failure !== null && failure.code !== 'CONFLICT')
}

function isDriveOptions(
  options: AddOptions | AddDriveOptions | AddCloneOptions
): options is AddDriveOptions | AddCloneOptions {
  return options.drive === true || typeof options.drive === 'string'
}
