/**
 * One machine of a simulated world: a loop, its feeds, and what its user asked for.
 *
 * @module
 */
import type { Telling } from '../../lib/engine/effect.ts'
import type { Direction, Mode } from '../../lib/engine/input.ts'
import { RangeSet } from '../../lib/primitives/range-set.ts'
import type { SynclineError } from '../../lib/errors.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import type { Store } from '../../lib/feed/store.ts'
import { Loop } from '../../lib/synchronizer/loop.ts'
import type { VirtualClock } from './clock.ts'
import type { Liar } from './liar.ts'
import type { SimLink } from './link.ts'

/** A feed at a node. */
export interface NodeFeed {
  /** Place among the feeds of the world. */
  readonly at: number
  readonly store: Store
  readonly writes: boolean
  feed: StoredFeed
  /** Number in the loop. */
  id: number
  mode: Mode
  priority: number
  direction: Direction
  wants: RangeSet
  /** Blocks somebody waits for. */
  readonly gets: Set<number>
  /** Times that `synced` was told since the feed entered the loop or changed its mode. */
  synced: number
  downloads: number
}

/** What a node tells the world. */
export interface NodeListener {
  disconnected(node: SimNode, link: SimLink, error: SynclineError | null): void
  told(node: SimNode, feed: NodeFeed, telling: Telling): void
}

/** See the module comment. */
export class SimNode {
  readonly index: number
  readonly name: string
  readonly publicKey: Uint8Array
  readonly liar: Liar | null
  readonly feeds: (NodeFeed | null)[] = []
  readonly links: Map<number, SimLink> = new Map()
  readonly #clock: VirtualClock
  readonly #listener: NodeListener
  loop: Loop
  up: boolean = true

  constructor(index: number, liar: Liar | null, clock: VirtualClock, listener: NodeListener) {
    this.index = index
    this.name = `${liar === null ? 'n' : 'liar'}${index}`
    this.publicKey = new Uint8Array(32).fill(index + 1)
    this.liar = liar
    this.#clock = clock
    this.#listener = listener
    this.loop = this.#makeLoop()
  }

  get honest(): boolean {
    return this.liar === null
  }

  /** Opens the feed in a store and synchronizes it. */
  async addFeed(
    at: number,
    store: Store,
    options: Pick<NodeFeed, 'writes' | 'mode' | 'priority' | 'wants'>
  ): Promise<NodeFeed> {
    const entry: NodeFeed = {
      at,
      store,
      ...options,
      feed: await StoredFeed.open(store),
      id: -1,
      direction: 'both',
      gets: new Set(),
      synced: 0,
      downloads: 0
    }
    this.feeds[at] = entry
    this.#enter(entry)
    return entry
  }

  addLink(link: SimLink): void {
    this.links.set(this.loop.addLink(link), link)
  }

  want(entry: NodeFeed, start: number, end: number): void {
    entry.wants.add(start, end)
    this.loop.post({ type: 'want', feed: entry.id, start, end })
  }

  unwant(entry: NodeFeed, start: number, end: number): void {
    entry.wants.remove(start, end)
    this.loop.post({ type: 'unwant', feed: entry.id, start, end })
  }

  /** Waits for a block, until it is here or {@link SimNode.release}. */
  get(entry: NodeFeed, index: number): void {
    if (entry.gets.has(index) || entry.feed.have.get(index)) return
    entry.gets.add(index)
    this.loop.post({ type: 'get', feed: entry.id, index, release: false })
  }

  release(entry: NodeFeed, index: number): void {
    if (!entry.gets.delete(index)) return
    this.loop.post({ type: 'get', feed: entry.id, index, release: true })
  }

  setMode(entry: NodeFeed, mode: Mode): void {
    entry.mode = mode
    entry.synced = 0
    this.loop.setMode(entry.id, mode)
  }

  setDirection(entry: NodeFeed, direction: Direction): void {
    entry.direction = direction
    this.loop.post({ type: 'configure-feed', feed: entry.id, direction })
  }

  /** Stops as a process does, and starts again after `ms`. Who waited for blocks is gone. */
  async restart(ms: number): Promise<void> {
    if (!this.up) return
    this.up = false
    await this.loop.close()
    this.links.clear()
    for (const entry of this.feeds) {
      if (entry === null) continue
      entry.gets.clear()
      await entry.feed.close()
    }
    await new Promise<void>((resolve) => this.#clock.setTimer(resolve, ms))
    this.loop = this.#makeLoop()
    for (const entry of this.feeds) {
      if (entry === null) continue
      entry.feed = await StoredFeed.open(entry.store)
      this.#enter(entry)
    }
    this.up = true
  }

  #enter(entry: NodeFeed): void {
    entry.synced = 0
    const { mode, priority, direction, wants } = entry
    entry.id = this.loop.addFeed(entry.feed, {
      mode,
      priority,
      direction,
      wants: wants.ranges.map(([start, end]) => [start, end] as const)
    })
    entry.feed.onchange((change) => {
      if (change.type === 'clear') entry.wants.remove(change.start, change.end)
      for (const index of entry.gets) if (entry.feed.have.get(index)) this.release(entry, index)
    })
  }

  #makeLoop(): Loop {
    const loop: Loop = new Loop({
      clock: this.#clock,
      listener: {
        tell: (telling) => {
          const entry = this.feeds.find((one) => one !== null && one.id === telling.feed)
          if (entry !== undefined && entry !== null && this.loop === loop) {
            this.#listener.told(this, entry, telling)
          }
        },
        uploaded() {},
        extension() {},
        disconnected: (peer, error) => {
          const link = this.links.get(peer)
          this.links.delete(peer)
          if (link !== undefined) this.#listener.disconnected(this, link, error)
        },
        occupied() {},
        lookup: () => Promise.resolve(false)
      }
    })
    return loop
  }
}
