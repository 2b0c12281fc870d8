/**
 * Drives among the feeds that `sync` is given: their blobs are synchronized, too.
 *
 * @module
 */
import { DriveFolder } from '../../drive/folder/drive-folder.ts'
import { DriveSession } from '../../drive/drive-session.ts'
import { isSynclineError } from '../../errors.ts'
import type { FeedSession } from '../../synchronizer/feed-session.ts'
import type { AddOptions, Synchronizer } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import type { FoundDrive } from './drive-argument.ts'
import { ENCRYPTION_KEY } from './drive-flags.ts'
import { watched, type Watched } from './watch.ts'

/** See the module comment. */
export class SyncedDrives {
  readonly #context: Context
  readonly #sync: Synchronizer
  /** All feeds that are synchronized; blobs are added as they become known. */
  readonly #feeds: Watched[]
  readonly #folders: DriveFolder[] = []
  /** Feeds of which it is not known yet whether they are an index. */
  readonly #unclear = new Set<FeedSession>()
  readonly #blobs = new Set<FeedSession>()

  constructor(context: Context, sync: Synchronizer, feeds: Watched[]) {
    this.#context = context
    this.#sync = sync
    this.#feeds = feeds
  }

  /** True while a feed may still turn out to be a drive. One without blocks is none so far. */
  isUnclear(session: FeedSession): boolean {
    return session.length > 0 && this.#unclear.has(session)
  }

  /** True for the blobs of a drive: whoever has the key of the drive finds them. */
  isBlobs(session: FeedSession): boolean {
    return this.#blobs.has(session)
  }

  /**
   * Opens the feeds of a folder, or of a mirror; those of a folder that another process brings up to date are only served.
   *
   * @throws SynclineError as {@link DriveFolder.open}.
   */
  async addHere({ label, registered, here }: FoundDrive, options: AddOptions): Promise<void> {
    if (here === null) return
    const { root, state, config } = here
    const encryptionKey = this.#context.get(ENCRYPTION_KEY) ?? registered?.encryptionKey ?? null
    const secret = { encryptionKey, ...(state === undefined ? {} : { state }) }
    const serve = { ...secret, readOnly: true, mode: 'serve' } as const
    const open = (): Promise<DriveFolder> => DriveFolder.open(this.#sync, root, serve)
    const folder =
      config.kind === 'clone'
        ? await DriveFolder.open(this.#sync, root, {
            ...secret,
            ...(options.mode === undefined ? {} : { mode: options.mode })
          }).catch((error: unknown) => {
            if (isSynclineError(error, 'FEED_LOCKED')) return open()
            throw error
          })
        : await open()
    this.#folders.push(folder)
    this.#feeds.push(watched(folder.indexSession, label))
    // A clone that has nothing yet does not know its blobs.
    const blobs = await folder.blobs().catch(() => null)
    if (blobs !== null) this.#addBlobs(blobs.session, label)
  }

  /** Looks whether a feed is the index of a drive, as soon as its first block is here. */
  notice(feed: Watched, options: AddOptions): void {
    const { session, label } = feed
    // What is only given away is not fetched to look at it.
    if (options.mode === 'serve' && !session.holds(0)) return
    const encryptionKey = this.#context.get(ENCRYPTION_KEY)
    const drive = new DriveSession(this.#sync, session.key, {
      ...options,
      ...(encryptionKey === null ? {} : { encryptionKey })
    })
    this.#unclear.add(session)
    drive
      .ready()
      .then(
        (blobs) => this.#addBlobs(blobs, label),
        // A feed like any other, or one that nobody can look into.
        (error: unknown) => this.#context.log.detail(`${label}: ${String(error)}`)
      )
      .finally(() => this.#unclear.delete(session))
  }

  /** Writes what is remembered of folders. */
  async close(): Promise<void> {
    for (const folder of this.#folders) await folder.close()
  }

  #addBlobs(session: FeedSession, label: string): void {
    this.#blobs.add(session)
    const isKnown = this.#feeds.some((feed) => feed.session === session)
    if (!isKnown) this.#feeds.push(watched(session, `${label} (blobs)`))
  }
}
