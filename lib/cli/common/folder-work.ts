/**
 * Work on shared and cloned folders: shows how far it is, says why nothing comes, and gives up in time.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import type { DriveProgress } from '../../drive/progress.ts'
import type { FeedSession } from '../../synchronizer/feed-session.ts'
import type { Synchronizer } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import { diagnose } from './diagnosis.ts'
import { FolderProgress, RateMeter, type DriveStatus } from './drive-progress.ts'
import { FLOW_BYTES, sleep } from './watch.ts'

/** A folder that is worked on. */
export interface WorkedOn {
  readonly label: string
  /** What it does when there is nothing to do. */
  readonly rest: string
  /** How far it is now. */
  readonly progress: () => DriveProgress
  /** True while it needs something from peers. By default in the phases in which that is so. */
  readonly waits?: () => boolean
  /** The feeds that are open so far: the index, and then the blobs. */
  readonly sessions: () => readonly FeedSession[]
}

/** Options of {@link showWork}. */
export interface WorkOptions {
  /** Milliseconds without anything from peers after which the work is given up; 0 is never. */
  readonly timeoutMs: number
  /** Called with each look. */
  readonly ontick?: () => Promise<void> | void
  /** The sentence for who waited in vain. */
  readonly late?: (label: string) => string
}

/** Milliseconds between two looks. */
const TICK_MS = 100
/** Milliseconds after which a wait is explained. */
const EXPLAIN_MS = 1500

/**
 * Waits for work on folders and shows how far it is.
 *
 * @param work - goes on when this throws: whoever began it ends it.
 * @returns what the work resolves to.
 * @throws what the work throws; SynclineError TIMEOUT when nothing comes from peers; the signal's reason.
 */
export async function showWork<T>(
  context: Context,
  sync: Synchronizer,
  folders: readonly WorkedOn[],
  work: Promise<T>,
  options: WorkOptions
): Promise<T> {
  const { log, signal } = context
  const { timeoutMs, ontick, late = (label) => `no peer had ${label} in time` } = options
  const shown = new FolderProgress(log)
  const watches = folders.map((folder) => new FolderWatch(sync, folder))
  const stop = new AbortController()
  const ends = AbortSignal.any([stop.signal, signal])
  const ended = work.finally(() => stop.abort())
  ended.catch(() => {})
  while (!ends.aborted) {
    await ontick?.()
    const now = performance.now()
    shown.update(watches.map((watch) => watch.look(now)))
    const [first] = watches
    const isLate = timeoutMs > 0 && watches.every((watch) => watch.stalledMs(now) >= timeoutMs)
    if (isLate && first !== undefined) {
      throw new SynclineError('TIMEOUT', `${late(first.label)}: ${first.why()}`)
    }
    await sleep(TICK_MS, ends)
  }
  log.clear()
  signal.throwIfAborted()
  return ended
}

class FolderWatch {
  readonly #sync: Synchronizer
  readonly #folder: WorkedOn
  readonly #rate: RateMeter
  #mark = Number.NaN
  #movedAt: number

  constructor(sync: Synchronizer, folder: WorkedOn) {
    const now = performance.now()
    this.#sync = sync
    this.#folder = folder
    this.#rate = new RateMeter(now)
    this.#movedAt = now
  }

  look(now: number): DriveStatus {
    const progress = this.#folder.progress()
    const sessions = this.#folder.sessions()
    let mark = progress.files + progress.bytes
    let uploaded = 0
    let peers = 0
    let flows = false
    for (const session of sessions) {
      const feed = session.progress()
      mark += session.length + feed.heldBlocks + feed.knownLength
      peers = Math.max(peers, feed.peers.length)
      flows ||= feed.downloadBytesPerSecond >= FLOW_BYTES
      for (const peer of feed.peers) {
        mark += peer.downloadedBytes + peer.uploadedBytes + peer.blocks
        uploaded += peer.uploadedBytes
      }
    }
    const { phase } = progress
    const waits = this.#folder.waits?.() ?? (phase === 'connect' || phase === 'transfer')
    // What is done here needs no peers, however long it takes.
    if (mark !== this.#mark || flows || !waits) this.#movedAt = now
    this.#mark = mark
    const bytesPerSecond = this.#rate.measure(phase === 'done' ? uploaded : progress.bytes, now)
    const { label, rest } = this.#folder
    const waiting = this.stalledMs(now) >= EXPLAIN_MS ? this.why() : null
    return { ...progress, label, rest, bytesPerSecond, peers, waiting }
  }

  /** Milliseconds for which nothing came. */
  stalledMs(now: number): number {
    return now - this.#movedAt
  }

  get label(): string {
    return this.#folder.label
  }

  /** Why nothing comes. */
  why(): string {
    const sessions = this.#folder.sessions()
    // Peers are found by the key of the drive, which is that of the index.
    const session = this.#sync.peers.length === 0 ? sessions[0] : sessions.at(-1)
    return session === undefined ? 'it is not open yet' : diagnose(this.#sync, session)
  }
}
