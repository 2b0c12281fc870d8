/**
 * Runs asynchronous work one after the other.
 *
 * @module
 */

/** A queue of one: each run waits for all before it, whether they failed or not. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  /** Runs `work` alone and passes on what becomes of it. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {})
    return result
  }
}
