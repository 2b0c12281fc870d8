import { SynclineError } from '../errors.ts'
import type { Clock } from './timers.ts'

/** How long a call may wait. */
export interface WaitOptions {
  /** Milliseconds; 0 or left out: for ever. */
  readonly timeoutMs?: number
  /** Ends the wait with its reason. */
  readonly signal?: AbortSignal
}

/**
 * Waits until `ready` says so; it is asked at once and each time `check` of the returned set is called.
 *
 * @throws SynclineError TIMEOUT with `what`, the signal's reason, or what `fail` was given.
 */
export class Waiters {
  readonly #clock: Clock
  readonly #waiting = new Set<{ ready: () => boolean; end: (error: unknown) => void }>()
  /** Why nothing is worth waiting for any more. */
  #failure: SynclineError | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#waiting.size
  }

  wait(ready: () => boolean, what: string, options: WaitOptions = {}): Promise<void> {
    const { signal, timeoutMs = 0 } = options
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error)
    if (ready()) return Promise.resolve()
    if (this.#failure !== null) return Promise.reject(this.#failure)
    return new Promise((resolve, reject) => {
      const stopTimer =
        timeoutMs > 0
          ? this.#clock.setTimer(
              () => end(new SynclineError('TIMEOUT', `${what} within ${timeoutMs} ms`)),
              timeoutMs
            )
          : null
      const onabort = (): void => end(signal?.reason)
      const waiter = { ready, end }
      const waiting = this.#waiting
      function end(error: unknown): void {
        if (!waiting.delete(waiter)) return
        stopTimer?.()
        signal?.removeEventListener('abort', onabort)
        if (error === null) resolve()
        else reject(error)
      }
      signal?.addEventListener('abort', onabort)
      waiting.add(waiter)
    })
  }

  /** Lets those go on whose condition holds now. */
  check(): void {
    for (const waiter of this.#waiting) if (waiter.ready()) waiter.end(null)
  }

  /** Ends all waits with an error, and those to come whose condition does not hold. */
  end(error: SynclineError): void {
    this.#failure = error
    this.fail(error)
  }

  /** Ends all waits with an error. */
  fail(error: SynclineError): void {
    for (const waiter of this.#waiting) waiter.end(error)
  }
}

/** What a promise gives, or the signal's reason if that comes first; whatever the promise stands for goes on. */
export function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onabort = (): void => reject(signal.reason as Error)
    if (signal.aborted) onabort()
    signal.addEventListener('abort', onabort)
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onabort))
  })
}

/**
 * A generator that can be ended while it waits: others end when what they wait for is there.
 *
 * @param read - the generator; what it waits for ends with the signal.
 * @param signal - another one that ends it.
 */
export function stoppable<T>(
  read: (signal: AbortSignal) => AsyncGenerator<T, void, void>,
  signal: AbortSignal | undefined
): AsyncGenerator<T, void, void> {
  const stop = new AbortController()
  const generator = read(joinSignals(stop.signal, signal))
  const end = generator.return.bind(generator)
  const fail = generator.throw.bind(generator)
  generator.return = (value) => {
    stop.abort(new SynclineError('SESSION_CLOSED', 'the reader ended'))
    return end(value)
  }
  generator.throw = (error) => {
    stop.abort(error)
    return fail(error)
  }
  return generator
}

/** A signal that follows two. */
export function joinSignals(one: AbortSignal, other: AbortSignal | undefined): AbortSignal {
  return other === undefined ? one : AbortSignal.any([one, other])
}

/** What is thrown by a feed that is closed. */
export function closedError(): SynclineError {
  return new SynclineError('SESSION_CLOSED', 'the feed is closed')
}
