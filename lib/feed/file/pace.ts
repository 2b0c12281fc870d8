/**
 * Where small file operations run: on the thread of the event loop while they are quick, else by the
 * thread pool.
 *
 * What the system has in memory is read or written in 2 us on the spot; the way through the thread pool and
 * back takes 50 us of processor time. But a disk that sleeps, is full of work or is on the network must not
 * hold up the event loop: slow operations may take a small share of its time, and once they have used that up
 * all go to the thread pool until it is made up for. An operation counts as quick if it was merely interrupted,
 * since other processes wanted the processor. And thousands of quick ones in a row let others have their turn.
 *
 * @module
 */

/** Bytes above which the thread pool is worth its way, and copies while others compute. */
export const SMALL_BYTES: number = 64 * 1024
/** Milliseconds from which an operation is slow: far longer than any that finds its bytes in memory. */
const SLOW_MS = 1
/** Share of the time that slow operations may take on the spot. */
const SLOW_SHARE = 1 / 20
/** Milliseconds of slow operations that are forgiven at once. */
const SLOW_BURST_MS = 50
/** Milliseconds for which the system lets others have the processor at a time, at most. */
const INTERRUPTION_MS_MAX = 20
/** Milliseconds for which a look at the interruptions holds: it takes 3 us, and more in a large process. */
const LOOK_MS = 50
/** Milliseconds of one turn of the event loop that operations may fill. */
const TURN_MS = 5
/** Operations that wait for a turn and begin in it together: some hundreds of microseconds of work each. */
const TURN_STARTS = 16

/** What a pace measures by. */
export interface PaceGauge {
  /** Milliseconds. */
  now(): number
  /** How often the system took the processor from this process so far; always 0 where it does not tell. */
  interruptions(): number
}

const systemGauge: PaceGauge = {
  now: () => performance.now(),
  interruptions: () => process.resourceUsage().involuntaryContextSwitches
}

/** See the module comment. */
export class Pace {
  readonly #gauge: PaceGauge
  /** Until then operations go to the thread pool. */
  #restUntil = Number.NEGATIVE_INFINITY
  /** Interruptions when they were last looked at, and when that was. */
  #interruptions = 0
  #looked = Number.NEGATIVE_INFINITY

  constructor(gauge: PaceGauge = systemGauge) {
    this.#gauge = gauge
  }

  /** Does an operation on `byteLength` bytes, `now` or `later`. */
  async run<T>(byteLength: number, now: () => T, later: () => Promise<T>): Promise<T> {
    if (byteLength > SMALL_BYTES) return later()
    while (turnIsFull()) await nextTurn()
    const began = this.#gauge.now()
    if (began < this.#restUntil) return later()
    if (began - this.#looked > LOOK_MS) this.#look(began)
    try {
      return now()
    } finally {
      const ended = this.#gauge.now()
      if (ended - began > SLOW_MS) this.#slow(began, ended)
    }
  }

  #look(now: number): void {
    this.#looked = now
    this.#interruptions = this.#gauge.interruptions()
  }

  #slow(began: number, ended: number): void {
    const ms = ended - began
    const before = this.#interruptions
    this.#look(ended)
    if (this.#interruptions > before && ms < INTERRUPTION_MS_MAX) return
    const forgiven = ended - SLOW_BURST_MS / SLOW_SHARE
    this.#restUntil = Math.max(this.#restUntil, forgiven) + ms / SLOW_SHARE
  }
}

/** When the first operation of this turn began, or null if there was none yet. */
let turnBegan: number | null = null
const waiting: (() => void)[] = []

function turnIsFull(): boolean {
  const now = performance.now()
  if (turnBegan !== null) return now - turnBegan > TURN_MS
  beginTurn(now)
  return false
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve)
  })
}

function beginTurn(now: number): void {
  turnBegan = now
  setImmediate(endTurn)
}

function endTurn(): void {
  turnBegan = null
  if (waiting.length === 0) return
  beginTurn(performance.now())
  for (const resolve of waiting.splice(0, TURN_STARTS)) resolve()
}
