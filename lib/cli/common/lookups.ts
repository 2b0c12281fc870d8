import type { FeedSession } from '../../synchronizer/feed-session.ts'
import type { Synchronizer } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import { SWARM } from './flags.ts'

/** Milliseconds until unanswered look-ups are repeated, doubled up to the second; look-ups of one time. */
const LOOKUP_MS_START = 2000
const LOOKUP_MS_MAX = 60_000
const LOOKUPS_MAX = 64

/** Looks again for peers of feeds that nobody announced: they may have come since. */
export class Lookups {
  readonly #context: Context
  readonly #sync: Synchronizer
  readonly #server: boolean
  #waitMs = LOOKUP_MS_START
  #nextAt: number = performance.now() + LOOKUP_MS_START

  /** @param server - true if we are to be found as well. */
  constructor(context: Context, sync: Synchronizer, server: boolean) {
    this.#context = context
    this.#sync = sync
    this.#server = server
  }

  /** Looks if it is time to. */
  repeat(sessions: () => readonly FeedSession[]): void {
    const now = performance.now()
    if (now < this.#nextAt || !this.#context.get(SWARM)) return
    this.#waitMs = Math.min(2 * this.#waitMs, LOOKUP_MS_MAX)
    this.#nextAt = now + this.#waitMs
    const missed = sessions().filter(({ discoveryKey }) => {
      const topic = this.#sync.topic(discoveryKey)
      return topic !== null && topic.lookedUp && topic.announced === 0
    })
    for (const { discoveryKey } of missed.slice(0, LOOKUPS_MAX)) {
      // A look-up that fails is told by what the table knows then.
      this.#sync
        .swarm()
        .join(discoveryKey, { server: this.#server, client: true })
        .catch(() => {})
    }
  }
}
