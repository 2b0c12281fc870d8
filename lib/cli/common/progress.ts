/**
 * Progress of feeds on stderr: bars that are redrawn on a terminal, else a line every few seconds.
 *
 * @module
 */
import type { Log } from './log.ts'
import { count, formatBytes, formatMs } from './text.ts'

/** How far one feed is, as shown. */
export interface FeedStatus {
  readonly label: string
  readonly held: number
  readonly wanted: number
  readonly bytesPerSecond: number
  readonly etaMs: number | null
  readonly peers: number
  /** What it waits for, or null. */
  readonly waiting: string | null
  readonly done: boolean
}

/** Milliseconds between two plain lines. */
const PLAIN_MS = 3000
const BAR = 24
/** Feeds that get a line of their own where lines are not redrawn. */
const PLAIN_FEEDS = 8

/** Lines that say how far something is: redrawn on a terminal, else printed now and then. */
export class ProgressLines {
  readonly #log: Log
  readonly #clock: () => number
  #shownAt: number
  #shown = ''

  /** @param firstMs - milliseconds until the first plain line. */
  constructor(log: Log, firstMs: number, clock: () => number = () => performance.now()) {
    this.#log = log
    this.#clock = clock
    this.#shownAt = clock() + firstMs - PLAIN_MS
  }

  /** Shows the present state, if it is time to; both are asked for only then. Empty lines are not shown. */
  update(bars: () => readonly string[], plain: () => readonly string[]): void {
    if (this.#log.progress && this.#log.isTerminal) this.#log.draw(bars())
    else this.#plain(plain)
  }

  /** Shows the last state and leaves it there. */
  end(bars: () => readonly string[]): void {
    if (!this.#log.progress || !this.#log.isTerminal) return
    this.#log.draw(bars())
    this.#log.settle()
  }

  #plain(plain: () => readonly string[]): void {
    const now = this.#clock()
    if (now - this.#shownAt < PLAIN_MS) return
    this.#shownAt = now
    const text = plain().join('\n')
    if (text === this.#shown || text === '') return
    this.#shown = text
    this.#log.info(text)
  }
}

/** A bar, `part` of it full, and what it is of. */
export function bar(part: number, text: string): string {
  const full = Math.floor(part * BAR)
  return `[${'#'.repeat(full)}${'.'.repeat(BAR - full)}] ${text}`
}

/** See the module comment. */
export class Progress {
  readonly #log: Log
  readonly #lines: ProgressLines

  /** @param firstMs - milliseconds until the first plain line. */
  constructor(log: Log, firstMs: number, clock?: () => number) {
    this.#log = log
    this.#lines = new ProgressLines(log, firstMs, clock)
  }

  /** Shows the present state, if it is time to. */
  update(feeds: readonly FeedStatus[]): void {
    this.#lines.update(
      () => this.#bars(feeds),
      () => this.#plain(feeds)
    )
  }

  /** Shows the last state and leaves it there. */
  end(feeds: readonly FeedStatus[]): void {
    this.#lines.end(() => this.#bars(feeds))
  }

  #bars(feeds: readonly FeedStatus[]): string[] {
    if (feeds.length > this.#log.size.rows - 2) return [summary(feeds)]
    return feeds.map((feed) => bar(feed.wanted === 0 ? 0 : feed.held / feed.wanted, lineOf(feed)))
  }

  #plain(feeds: readonly FeedStatus[]): string[] {
    const open = feeds.filter((feed) => !feed.done)
    // Why nothing comes is said even without progress.
    const told = this.#log.progress ? open : open.filter(({ waiting }) => waiting !== null)
    return told.length > PLAIN_FEEDS ? [summary(feeds)] : told.map(lineOf)
  }
}

function lineOf(feed: FeedStatus): string {
  const { label, held, wanted, bytesPerSecond, etaMs, peers, waiting, done } = feed
  const percent = wanted === 0 ? 0 : Math.floor((held / wanted) * 100)
  const parts = [`${held}/${wanted} blocks`, `${percent} %`, count(peers, 'peer')]
  if (bytesPerSecond >= 1 && !done) parts.push(`${formatBytes(bytesPerSecond)}/s`)
  if (etaMs !== null && etaMs > 0 && !done) parts.push(`${formatMs(etaMs)} left`)
  if (waiting !== null) return `${label}: waiting: ${waiting}`
  return `${label}: ${parts.join(', ')}`
}

function summary(feeds: readonly FeedStatus[]): string {
  let held = 0
  let wanted = 0
  let done = 0
  let bytesPerSecond = 0
  for (const feed of feeds) {
    held += feed.held
    wanted += feed.wanted
    // Peers are shared: each feed reports the rate of its connections.
    bytesPerSecond = Math.max(bytesPerSecond, feed.bytesPerSecond)
    if (feed.done) done++
  }
  const waiting = feeds.find((feed) => feed.waiting !== null)?.waiting
  const rate = bytesPerSecond >= 1 ? `, ${formatBytes(bytesPerSecond)}/s` : ''
  const why = waiting === undefined || waiting === null ? '' : `; some wait: ${waiting}`
  return `${done}/${feeds.length} feeds, ${held}/${wanted} blocks${rate}${why}`
}
