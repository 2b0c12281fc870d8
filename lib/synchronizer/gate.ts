/**
 * Lets few in at a time.
 *
 * @module
 */

/** A queue in front of work of which only some may be under way; first come, first served. */
export class Gate {
  readonly #max: number
  #inside = 0
  readonly #waiting: (() => void)[] = []
  /** Those before it went in. */
  #head = 0

  /** @param max - how much work may be under way. */
  constructor(max: number) {
    this.#max = max
  }

  /** Runs `work` when there is room and passes on what becomes of it. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.#max) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
      })
    } else this.#inside++
    try {
      return await work()
    } finally {
      this.#next()
    }
  }

  /** Whoever waits takes the place of the one who leaves. */
  #next(): void {
    const next = this.#waiting[this.#head]
    if (next === undefined) {
      this.#inside--
      this.#waiting.length = 0
      this.#head = 0
      return
    }
    this.#head++
    next()
  }
}
