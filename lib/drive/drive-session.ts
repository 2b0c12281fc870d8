/**
 * A drive that is synchronized as its two feeds, without a folder: seeded, or read through `Drive`.
 *
 * @module
 */
import { EventEmitter } from 'node:events'
import { SynclineError } from '../errors.ts'
import { emit } from '../synchronizer/emit.ts'
import type { FeedSession } from '../synchronizer/feed-session.ts'
import type { AddOptions, Synchronizer } from '../synchronizer/synchronizer.ts'
import type { WaitOptions } from '../synchronizer/waiting.ts'
import { blobsKey } from './blobs-key.ts'
import { Drive } from './drive.ts'
import { DriveIndex } from './index/drive-index.ts'
import { useSession } from './session-users.ts'

/** Events of a {@link DriveSession}. */
export interface DriveSessionEvents {
  close: []
}

/** See the module comment. */
export class DriveSession extends EventEmitter<DriveSessionEvents> {
  readonly index: FeedSession
  readonly #sync: Synchronizer
  readonly #options: Omit<AddOptions, 'ranges'>
  readonly #stop = new AbortController()
  readonly #opening: Promise<FeedSession>
  closing: Promise<void> | null = null
  #failure: SynclineError | null = null
  readonly #leaveIndex: () => Promise<void>
  #leaveBlobs: () => Promise<void> = () => Promise.resolve()
  #blobs: FeedSession | null = null
  #drive: Drive | null = null

  /**
   * @param free - until it settles, something else may have the blobs open.
   * @throws SynclineError as {@link Synchronizer.add}.
   */
  constructor(
    sync: Synchronizer,
    key: string | Uint8Array,
    options: Omit<AddOptions, 'ranges'> = {},
    free: Promise<void> = Promise.resolve()
  ) {
    super()
    this.#sync = sync
    this.#options = options
    this.index = sync.add(key, options)
    this.#leaveIndex = useSession(this.index)
    this.#opening = free.then(() => this.#open())
    this.#opening.catch((error: SynclineError) => {
      if (this.closing === null) this.#failure = error
    })
  }

  /** 32 bytes: the key of the drive. */
  get key(): Uint8Array {
    return this.index.key
  }

  /** Why it cannot be opened, or what stopped one of its feeds. */
  get failure(): SynclineError | null {
    return this.#failure ?? this.index.failure ?? this.#blobs?.failure ?? null
  }

  /** The blobs; null until the index tells which feed they are. */
  get blobs(): FeedSession | null {
    return this.#blobs
  }

  /**
   * Resolves to the blobs when the index tells which feed they are.
   *
   * @throws SynclineError ENCRYPTED; UNSUPPORTED if the feed is no index of a drive; SESSION_CLOSED.
   */
  ready(): Promise<FeedSession> {
    return this.#opening
  }

  /**
   * Everything of both feeds is here; with `peers`, that many remote peers hold everything that we have.
   *
   * @throws SynclineError TIMEOUT, SESSION_CLOSED, and what {@link DriveSession.ready} throws.
   */
  async synced(options: WaitOptions & { readonly peers?: number } = {}): Promise<void> {
    await this.index.synced(options)
    const blobs = await this.#opening
    await blobs.synced(options)
  }

  /** The drive, to be read; it belongs to the session. */
  get drive(): Drive {
    this.#drive ??= new Drive(this.index, () => this.#opening)
    return this.#drive
  }

  /** Closes both feeds, unless a share, a clone or another drive has them. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.#close()
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    this.#stop.abort(new SynclineError('SESSION_CLOSED', 'the drive is closed'))
    // At once: who adds the drive meanwhile gets an index of its own.
    const indexClosed = this.#leaveIndex()
    indexClosed.catch(() => {})
    await this.#opening.catch(() => {})
    try {
      await this.#leaveBlobs()
    } finally {
      try {
        await indexClosed
      } finally {
        emit(this, 'close')
      }
    }
  }

  async #open(): Promise<FeedSession> {
    await this.index.ready()
    // The manifest comes with the first block.
    await this.index.get(0, { signal: this.#stop.signal, raw: false })
    const header = await new DriveIndex(this.index).header()
    const key = blobsKey(this.index.key, this.index.manifest, header?.contentFeed ?? null)
    if (key === null) {
      throw new SynclineError('UNSUPPORTED', 'the index does not say which feed its blobs are')
    }
    this.#blobs = this.#sync.add(key, this.#options)
    this.#leaveBlobs = useSession(this.#blobs)
    return this.#blobs
  }
}
