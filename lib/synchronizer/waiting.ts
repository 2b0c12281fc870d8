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

/** What is thrown by a feed that is closed. */
export function closedError(): SynclineError {
  return new SynclineError('SESSION_CLOSED', 'the feed is closed')
}
