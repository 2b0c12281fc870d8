import { SILENT_PEER_MS } from '../limits.ts'
import type { Clock } from './timers.ts'

/**
 * The places of those who came by themselves. One that has no feed open for a while gives its place up when there is no
 * other: strangers that say nothing would otherwise keep all places for ever.
 */
export class Places {
  readonly #clock: Clock
  readonly #most: number
  readonly #evict: (peer: number) => void
  /** Feeds that are open, by peer. */
  readonly #feeds = new Map<number, number>()
  /** Since when peers have no feed open, oldest first; without those that stay. */
  readonly #idle = new Map<number, number>()
  readonly #staying = new Set<number>()

  constructor(options: {
    readonly clock: Clock
    readonly most: number
    /** Ends the connection of a peer that lost its place. */
    readonly evict: (peer: number) => void
  }) {
    this.#clock = options.clock
    this.#most = options.most
    this.#evict = options.evict
  }

  /** Makes a place free if there is none; false if all are in use. */
  free(): boolean {
    if (this.#feeds.size < this.#most) return true
    const [oldest] = this.#idle
    if (oldest === undefined) return false
    const [peer, since] = oldest
    if (this.#clock.now() - since < SILENT_PEER_MS) return false
    this.leave(peer)
    this.#evict(peer)
    return true
  }

  /** @param stays - true for one that keeps its place whatever it does. */
  take(peer: number, stays: boolean): void {
    if (stays) this.#staying.add(peer)
    this.#feeds.set(peer, 0)
    this.#rest(peer)
  }

  /** Notes that a feed was opened with a peer, whether it has a place or not. */
  opened(peer: number): void {
    const feeds = this.#feeds.get(peer)
    if (feeds === undefined) return
    this.#feeds.set(peer, feeds + 1)
    this.#idle.delete(peer)
  }

  closed(peer: number): void {
    const feeds = this.#feeds.get(peer)
    if (feeds === undefined) return
    this.#feeds.set(peer, feeds - 1)
    if (feeds === 1) this.#rest(peer)
  }

  /** Gives a place back. */
  leave(peer: number): void {
    this.#feeds.delete(peer)
    this.#idle.delete(peer)
    this.#staying.delete(peer)
  }

  #rest(peer: number): void {
    if (!this.#staying.has(peer)) this.#idle.set(peer, this.#clock.now())
  }
}
