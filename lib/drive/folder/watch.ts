/**
 * Tells that something changed below a folder.
 *
 * @module
 */
import { watch as watchPath } from 'node:fs'
import { RESCAN_MS, WATCH_SETTLE_MS, WATCH_SETTLE_MS_MAX, WATCHED_NAMES_MAX } from '../../limits.ts'
import { systemReader, type FolderReader } from './reader.ts'
import { storesBelow } from './stores.ts'
import { watchEachFolder } from './watch-each.ts'
import type { TreeWatch, WatchPath, WatchTarget } from './watch-target.ts'
import { watchTree } from './watch-tree.ts'

/** The longest that a timer of the platform can wait. */
const TIMER_MS_MAX = 2 ** 31 - 1

/** What a watch tells. */
export type WatchEvent =
  /** Files or folders of these names, and anything below them, may have come, changed or gone. */
  | { readonly type: 'changed'; readonly names: ReadonlySet<string> }
  /** Anything may have changed: too much did, the rules of what is ignored did, or it is time to look. */
  | { readonly type: 'everything' }
  /** The system grants no (more) watches, for the reason of `code`; from now on only `everything` is told. Told once. */
  | { readonly type: 'unwatched'; readonly code: string }
  /** {@link Watch.nudge} was called since this was told last. */
  | { readonly type: 'nudged' }

export interface WatchOptions {
  /** Whether git's ignore files hold too. Default false. */
  readonly gitignore?: boolean
  /** Folders of users' stores, wherever they are: nothing is told of them. Default: none. */
  readonly stores?: readonly string[]
  /** Milliseconds after which `everything` is told when nothing else was. Default {@link RESCAN_MS}. */
  readonly rescanMs?: number
  /** Milliseconds without a change before changes are told. Default {@link WATCH_SETTLE_MS}. */
  readonly settleMs?: number
  /** Whether one watch sees a whole tree. Default: on macOS and Windows. */
  readonly recursive?: boolean
  /** Default: the file system's. */
  readonly watchPath?: WatchPath
  /** Default: the file system. */
  readonly reader?: FolderReader
}

/** A watch. It can be iterated once, and keeps the process alive until it is closed; ending the iteration closes it. */
export interface Watch extends AsyncIterable<WatchEvent> {
  /** Resolves when changes are seen, or it is known that they will not be: what is scanned from then on is complete. */
  readonly ready: Promise<void>
  /** Tells `nudged` at once: for whoever has a reason of his own to look. */
  nudge(): void
  /** Ends the iteration. */
  close(): void
}

/**
 * Watches the folder at `root`, but not what is ignored in it. Links are not followed.
 *
 * @remarks Changes are told when they have settled. Those that happen while an event is worked on are told by the next.
 */
export function watchFolder(root: string, options: WatchOptions = {}): Watch {
  return new FolderWatch(root, options)
}

class FolderWatch implements Watch {
  readonly ready: Promise<void>
  readonly #tree: TreeWatch
  readonly #rescanMs: number
  readonly #settleMs: number
  /** Changed names that were not told yet, and whether they were renamed. */
  #touched = new Map<string, boolean>()
  #everything = false
  /** Why watches were given up; null once told. */
  #failure: string | null = null
  #watching = true
  #closed = false
  #nudged = false
  #firstAt = 0
  #lastAt = 0
  #rescanAt: number
  #wake: () => void = () => {}
  readonly #events: AsyncGenerator<WatchEvent> = this.#run()

  constructor(root: string, options: WatchOptions) {
    const { gitignore = false, stores = [], reader = systemReader } = options
    const { recursive = process.platform === 'darwin' || process.platform === 'win32' } = options
    this.#rescanMs = options.rescanMs ?? RESCAN_MS
    this.#settleMs = options.settleMs ?? WATCH_SETTLE_MS
    this.#rescanAt = performance.now() + this.#rescanMs
    const target: WatchTarget = {
      root: root.replace(/\/+$/, ''),
      gitignore,
      stores: storesBelow(root, stores),
      reader,
      watchPath: options.watchPath ?? watchPath,
      touch: (name, renamed) => this.#touch(name, renamed),
      giveUp: (code) => this.#giveUp(code)
    }
    this.#tree = recursive ? watchTree(target) : watchEachFolder(target)
    this.ready = this.#tree.start()
  }

  [Symbol.asyncIterator](): AsyncIterator<WatchEvent> {
    return this.#events
  }

  nudge(): void {
    this.#nudged = true
    this.#wake()
  }

  close(): void {
    this.#closed = true
    this.#tree.stop()
    this.#wake()
  }

  async *#run(): AsyncGenerator<WatchEvent> {
    try {
      await this.ready
      while (!this.#closed) {
        const event = await this.#next()
        if (event !== null && !this.#closed) yield event
      }
    } finally {
      this.close()
    }
  }

  /** The next event; null if there turned out to be none. */
  async #next(): Promise<WatchEvent | null> {
    await this.#due()
    if (this.#closed) return null
    if (this.#failure !== null) {
      const code = this.#failure
      this.#failure = null
      return { type: 'unwatched', code }
    }
    if (this.#nudged && performance.now() < this.#dueAt()) {
      this.#nudged = false
      return { type: 'nudged' }
    }
    const touched = this.#touched
    const everything = this.#everything || performance.now() >= this.#rescanAt
    this.#touched = new Map()
    this.#everything = false
    const names = everything ? null : await this.#tree.follow(touched)
    if (names === null) {
      // Folders whose coming was missed are found so, and a root that was away.
      if (this.#watching && !this.#closed) await this.#tree.start()
      this.#rescanAt = performance.now() + this.#rescanMs
      return { type: 'everything' }
    }
    return names.size > 0 ? { type: 'changed', names } : null
  }

  /** Waits until there is something to tell, or to look for, or the watch is closed. */
  async #due(): Promise<void> {
    while (!this.#closed && this.#failure === null && !this.#nudged) {
      const waitMs = this.#dueAt() - performance.now()
      if (waitMs <= 0) return
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(Math.ceil(waitMs), TIMER_MS_MAX))
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  #dueAt(): number {
    if (!this.#everything && this.#touched.size === 0) return this.#rescanAt
    const settledAt = this.#lastAt + this.#settleMs
    return Math.min(settledAt, this.#firstAt + WATCH_SETTLE_MS_MAX, this.#rescanAt)
  }

  #touch(name: string | null, renamed: boolean): void {
    if (this.#closed || !this.#watching) return
    this.#lastAt = performance.now()
    if (!this.#everything && this.#touched.size === 0) {
      this.#firstAt = this.#lastAt
      this.#wake()
    }
    if (name === null || this.#touched.size >= WATCHED_NAMES_MAX) {
      this.#everything = true
      this.#touched.clear()
    } else if (!this.#everything) {
      this.#touched.set(name, renamed || this.#touched.get(name) === true)
    }
  }

  #giveUp(code: string): void {
    if (!this.#watching) return
    this.#watching = false
    this.#failure = code
    this.#everything ||= this.#touched.size > 0
    this.#tree.stop()
    this.#wake()
  }
}
