/**
 * Virtual time: what is due runs one after the other, and between two events everything that only waits for
 * promises runs to its end.
 *
 * @module
 */
import type { Clock } from '../../lib/synchronizer/timers.ts'

interface Due {
  readonly at: number
  readonly order: number
  run: (() => void) | null
}

/** Events at one moment beyond which time is taken to stand still for ever. */
const EVENTS_PER_MOMENT_MAX = 50_000

/** See the module comment. */
export class VirtualClock implements Clock {
  #now = 0
  #order = 0
  readonly #heap: Due[] = []
  #moment = 0
  /** Events that ran. */
  events = 0
  /** Called after each event. */
  onevent: () => void = () => {}

  now(): number {
    return this.#now
  }

  setTimer(run: () => void, ms: number): () => void {
    return this.at(this.#now + Math.max(0, ms), run)
  }

  soon(run: () => void): void {
    this.at(this.#now, run)
  }

  /** Calls `run` at a moment; those of one moment in the order in which they were asked for. */
  at(time: number, run: () => void): () => void {
    const due: Due = { at: Math.max(time, this.#now), order: this.#order++, run }
    this.#push(due)
    return () => {
      due.run = null
    }
  }

  /** Runs until `done`, or until the clock shows `end`; tells whether it was done. */
  async runUntil(end: number, done: () => boolean = () => false): Promise<boolean> {
    await settle()
    for (;;) {
      if (done()) return true
      const next = this.#heap[0]
      if (next === undefined || next.at > end) {
        this.#now = Math.max(this.#now, end)
        return done()
      }
      this.#pop()
      const { run } = next
      if (run === null) continue
      if (next.at > this.#now) this.#moment = 0
      if (++this.#moment > EVENTS_PER_MOMENT_MAX) {
        throw new Error(`livelock: ${EVENTS_PER_MOMENT_MAX} events at ${this.#now} ms`)
      }
      this.#now = next.at
      this.events++
      run()
      await settle()
      this.onevent()
    }
  }

  #push(due: Due): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(due)
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!before(due, heap[above] as Due)) break
      heap[at] = heap[above] as Due
      at = above
    }
    heap[at] = due
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Due
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && before(heap[below + 1] as Due, heap[below] as Due)) below++
      if (!before(heap[below] as Due, last)) break
      heap[at] = heap[below] as Due
      at = below
    }
    heap[at] = last
  }
}

function before(a: Due, b: Due): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** Lets everything run that only waits for promises. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
