/**
 * Files of a shared folder that somebody is writing: when they are to be taken in.
 *
 * @module
 */
import { GROWING_MS_MAX, SETTLE_MS, SETTLE_MS_MAX } from '../limits.ts'
import { sameStamp, type Stamp } from './folder/stamp.ts'

/** What a look at a file tells: `restless` is one that has grown for so long that nobody waits for its end. */
export type Growth = 'growing' | 'settled' | 'restless'

interface Growing {
  stamp: Stamp
  /** When it was first found so, in milliseconds. */
  readonly sinceMs: number
  /** When it was first seen with this stamp. */
  stampMs: number
  /** Milliseconds since the first for which its end is waited for. */
  patienceMs: number
}

/** The files that were being written at the last look. */
export class GrowingFiles {
  readonly #files = new Map<string, Growing>()
  readonly #now: () => number

  /** @param now - milliseconds of a clock that only goes forward. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  get size(): number {
    return this.#files.size
  }

  has(name: string): boolean {
    return this.#files.has(name)
  }

  /** Milliseconds until the next look: as many as the youngest has grown for, within bounds. Infinity for none. */
  get waitMs(): number {
    const now = this.#now()
    let waitMs = Infinity
    for (const { sinceMs } of this.#files.values()) waitMs = Math.min(waitMs, now - sinceMs)
    return waitMs === Infinity ? waitMs : Math.min(Math.max(waitMs, SETTLE_MS), SETTLE_MS_MAX)
  }

  /**
   * Looks at a file that is new or changed.
   *
   * @param isYoung - it was changed just now, by the time of the file system, which need not be ours.
   */
  look(name: string, stamp: Stamp, isYoung: boolean): Growth {
    if (!isYoung) return 'settled'
    const now = this.#now()
    const known = this.#files.get(name)
    if (known === undefined) {
      this.#add(name, stamp, now)
      return 'growing'
    }
    if (!sameStamp(known.stamp, stamp)) {
      known.stamp = stamp
      known.stampMs = now
    } else if (now - known.stampMs >= SETTLE_MS) return 'settled'
    return now - known.sinceMs >= known.patienceMs ? 'restless' : 'growing'
  }

  /** Notes that a file did not hold still while it was read. */
  failed(name: string, stamp: Stamp): void {
    const known = this.#files.get(name)
    // A long one is not read in vain again and again.
    if (known !== undefined) known.patienceMs *= 2
    else this.#add(name, stamp, this.#now())
  }

  /** Forgets all but these. */
  keep(names: readonly string[]): void {
    const kept = new Set(names)
    for (const name of this.#files.keys()) if (!kept.has(name)) this.#files.delete(name)
  }

  #add(name: string, stamp: Stamp, now: number): void {
    this.#files.set(name, { stamp, sinceMs: now, stampMs: now, patienceMs: GROWING_MS_MAX })
  }
}
