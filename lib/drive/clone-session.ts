/**
 * A clone that brings its folder up to date by itself, and seeds it.
 *
 * @module
 */
import { EventEmitter } from 'node:events'
import { isSynclineError, SynclineError } from '../errors.ts'
import { emit } from '../synchronizer/emit.ts'
import { toKey } from '../synchronizer/key.ts'
import type { Synchronizer } from '../synchronizer/synchronizer.ts'
import { systemClock } from '../synchronizer/timers.ts'
import { Waiters, type WaitOptions } from '../synchronizer/waiting.ts'
import type { CloneEvents, CloneOptions, CloneReport } from './clone.ts'
import { ClonedFolder, type CloneChoices } from './cloned-folder.ts'
import { Drive } from './drive.ts'
import { ProgressNotes } from './progress.ts'
import type { DriveRegistry } from './registry.ts'

/** Options of a {@link CloneSession}. */
export interface CloneSessionOptions
  extends CloneChoices, Pick<CloneOptions, 'fsync' | 'maxDelete'> {}

/** Events of a {@link CloneSession}. */
export interface CloneSessionEvents extends CloneEvents {
  /** It ended: the folder stays as it is until it is added again. */
  failed: [error: SynclineError]
  close: []
}

/** See the module comment. Made by `Synchronizer.add`. */
export class CloneSession extends EventEmitter<CloneSessionEvents> {
  /** 32 bytes: the key of the drive. */
  readonly key: Uint8Array
  /** How far it is; can be iterated while an update is under way, and throws what ended the clone. */
  readonly progress: ProgressNotes = new ProgressNotes()
  readonly #opening: Promise<ClonedFolder>
  readonly #waiters = new Waiters(systemClock)
  /** What ended it: the folder stays as it is until it is added again. */
  failure: SynclineError | null = null
  closing: Promise<void> | null = null
  #cloned: ClonedFolder | null = null
  #report: CloneReport | null = null

  /** Not for users. @param free - until it settles, something else may have the folder open. */
  constructor(
    sync: Synchronizer,
    registry: DriveRegistry,
    key: string | Uint8Array,
    dir: string,
    { fsync = false, maxDelete = null, ...choices }: CloneSessionOptions = {},
    free: Promise<void> = Promise.resolve()
  ) {
    super()
    this.key = toKey(key)
    const options = { fsync, maxDelete, progress: this.progress }
    this.#opening = free.then(() =>
      ClonedFolder.open(sync, registry, this.key, dir, choices, options)
    )
    this.#opening
      .then((cloned) => this.#follow(cloned))
      .catch((error: unknown) => this.#fail(error as SynclineError))
  }

  /** Resolves to the clone when its state is open. @throws SynclineError as {@link ClonedFolder.open}. */
  ready(): Promise<ClonedFolder> {
    return this.#opening
  }

  /** What the last update did; null before there was one. */
  get report(): CloneReport | null {
    return this.#report
  }

  /**
   * The folder is what the newest version is, or the version that it stays at; with `peers`, that many remote peers hold
   * everything that we have.
   *
   * @returns what the last update did.
   * @throws SynclineError TIMEOUT, SESSION_CLOSED, and what an update throws.
   */
  async synced(options: WaitOptions & { readonly peers?: number } = {}): Promise<CloneReport> {
    const cloned = await this.#opening
    if (this.failure !== null) throw this.failure
    if (this.closing !== null) throw closedError()
    await this.#waiters.wait(() => this.#isCurrent(cloned), 'the clone was not synced', options)
    if (options.peers !== undefined) {
      await cloned.index.synced(options)
      await (await cloned.blobs())?.synced(options)
    }
    return this.#report as CloneReport
  }

  /** The drive, to read any version that is kept here or by peers. It belongs to the clone. */
  async drive(): Promise<Drive> {
    const { folder } = await this.#opening
    return new Drive(folder.indexSession, async () => (await folder.blobs()).session)
  }

  /** Ends what is under way, keeps what came, and lets the folder go. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.#close()
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #isCurrent({ folder, index }: ClonedFolder): boolean {
    const { at } = folder.config
    const version = this.#report?.version
    if (version === undefined) return false
    return at === null
      ? version === folder.index.version && index.progress().synced
      : version === at
  }

  async #follow(cloned: ClonedFolder): Promise<void> {
    this.#cloned = cloned
    const { clone, index } = cloned
    clone.on('updated', (report) => {
      this.#report = report
      emit(this, 'updated', report)
      this.#waiters.check()
    })
    clone.on('superseded', (version, newer) => emit(this, 'superseded', version, newer))
    clone.on('renamed', (renamed) => emit(this, 'renamed', renamed))
    index.on('synced', () => this.#waiters.check())
    await cloned.follow()
  }

  #fail(error: SynclineError): void {
    if (this.closing !== null) return
    this.failure = isSynclineError(error)
      ? error
      : new SynclineError('STORAGE_FAILED', 'the clone ended', {}, error)
    this.#waiters.fail(this.failure)
    this.progress.fail(this.failure)
    emit(this, 'failed', this.failure)
  }

  async #close(): Promise<void> {
    this.#waiters.fail(this.failure ?? closedError())
    await this.#opening.catch(() => {})
    try {
      await this.#cloned?.close()
    } finally {
      this.progress.set({ phase: 'done' })
      emit(this, 'close')
    }
  }
}

function closedError(): SynclineError {
  return new SynclineError('SESSION_CLOSED', 'the clone is closed')
}
