/**
 * Waits for feeds, shows how far they are, and gives up when nothing moves any more.
 *
 * @module
 */
import type { SynclineError } from '../../errors.ts'
import type { FeedSession, Progress as FeedProgress } from '../../synchronizer/feed-session.ts'
import type { Synchronizer } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import type { Log } from './log.ts'
import { diagnose } from './diagnosis.ts'
import { Progress, type FeedStatus } from './progress.ts'

/** A feed that is waited for. */
export interface Watched {
  readonly label: string
  session: FeedSession
  /** True while it needs nothing. */
  done: boolean
  /** Length at which it was last said to be done. */
  doneLength: number
  /** Set when it will never be done. */
  error: SynclineError | null
}

/** A feed before the first look at it. */
export function watched(session: FeedSession, label: string): Watched {
  const feed: Watched = { label, session, done: false, doneLength: -1, error: null }
  followFailure(feed)
  return feed
}

/** Notes when the session of a feed fails. */
export function followFailure(feed: Watched): void {
  feed.session.on('failed', (error) => {
    feed.error = error
  })
}

/** Options of {@link watch}. */
export interface WatchOptions {
  /** True for a feed that needs nothing any more. With `live` it may need something again. */
  isDone(feed: Watched, progress: FeedProgress): boolean
  /** Called when a feed is done, and with `live` again for each greater length. */
  ondone?(feed: Watched): Promise<void>
  /** Called with each look. */
  ontick?(): Promise<void>
  /** True goes on when all are done. */
  readonly live: boolean
  /** Milliseconds without progress after which the wait ends; 0 is never. */
  readonly timeoutMs: number
}

/** Milliseconds between two looks: at least, and for each feed, so that looking stays cheap. */
const TICK_MS = 100
const TICK_MS_PER_FEED = 0.3
/** Bytes per second below which a connection is only idle. */
export const FLOW_BYTES = 100
/** Milliseconds after which a wait is explained. */
const EXPLAIN_MS = 1500

/** Resolves to true when all feeds are done (or failed), false when the time is over or a signal came. */
export async function watch(
  context: Context,
  sync: Synchronizer,
  feeds: readonly Watched[],
  options: WatchOptions
): Promise<boolean> {
  const { log, signal } = context
  const { live, timeoutMs } = options
  const progress = new Progress(log, EXPLAIN_MS + 500)
  const tickMs = Math.max(TICK_MS, TICK_MS_PER_FEED * feeds.length)
  let mark = Number.NaN
  let movedAt = performance.now()
  let statuses: FeedStatus[] = []
  while (!signal.aborted) {
    let moved = 0
    // Blocks are counted once they are verified, together: what flows until then counts too.
    let flows = false
    const now = performance.now()
    const explains = now - movedAt >= EXPLAIN_MS
    statuses = []
    for (const feed of feeds) {
      const present = feed.session.progress()
      if (feed.error === null && (live || !feed.done)) {
        feed.done = options.isDone(feed, present)
        if (feed.done) await tellDone(log, feed, options)
      }
      if (feed.error === null) moved += markOf(feed.session, present)
      flows ||= !feed.done && present.downloadBytesPerSecond >= FLOW_BYTES
      statuses.push(statusOf(sync, feed, present, explains))
    }
    await options.ontick?.()
    if (moved !== mark || flows) movedAt = now
    mark = moved
    if (!live && feeds.every(({ done, error }) => done || error !== null)) {
      progress.end(statuses)
      return true
    }
    progress.update(statuses)
    if (!live && timeoutMs > 0 && now - movedAt >= timeoutMs) break
    await sleep(tickMs, signal)
  }
  progress.end(statuses)
  return false
}

async function tellDone(log: Log, feed: Watched, options: WatchOptions): Promise<void> {
  if (feed.doneLength === feed.session.length) return
  feed.doneLength = feed.session.length
  // Results may go to the same terminal.
  log.clear()
  await options.ondone?.(feed)
}

/** Says why nothing comes, for as long as a feed is waited for. Returns the way to stop it. */
export function explainWaits(
  context: Context,
  sync: Synchronizer,
  session: FeedSession
): () => void {
  let mark = markOf(session, session.progress())
  let told = ''
  const timer = setInterval(() => {
    const now = markOf(session, session.progress())
    const text = now === mark ? diagnose(sync, session) : ''
    mark = now
    if (text !== '' && text !== told) context.log.info(`waiting: ${text}`)
    told = text
  }, EXPLAIN_MS)
  return () => clearInterval(timer)
}

/** A number that changes with whatever happens to a feed. */
function markOf(session: FeedSession, progress: FeedProgress): number {
  const { heldBlocks, knownLength, peers } = progress
  let mark = heldBlocks + knownLength + session.length
  for (const peer of peers) mark += peer.downloadedBytes + peer.uploadedBytes + peer.blocks
  return mark
}

function statusOf(
  sync: Synchronizer,
  feed: Watched,
  progress: FeedProgress,
  explains: boolean
): FeedStatus {
  const { session, label, done, error } = feed
  const { heldBlocks, wantedBlocks, downloadBytesPerSecond, etaMs, peers } = progress
  return {
    label,
    held: heldBlocks,
    wanted: wantedBlocks,
    bytesPerSecond: downloadBytesPerSecond,
    etaMs,
    peers: peers.length,
    waiting: explains && !done && error === null ? diagnose(sync, session) : null,
    done: done || error !== null
  }
}

/** Resolves after a while, or when the signal comes. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
  })
}
