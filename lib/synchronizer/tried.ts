import { RETRY_MS_MAX, RETRY_MS_START, TRIED_ADDRESSES_MAX } from '../limits.ts'

/** Addresses (or identities) that failed, and when they may be tried again. */
export class Tried {
  readonly #failed = new Map<string, { failures: number; readyAt: number }>()

  /** Notes a failure; the wait doubles with each, until there was none for longer than the longest wait. */
  fail(address: string, now: number): void {
    const last = this.#failed.get(address)
    const isRecent = last !== undefined && now - last.readyAt <= RETRY_MS_MAX
    const failures = (isRecent ? last.failures : 0) + 1
    const wait = Math.min(RETRY_MS_MAX, RETRY_MS_START * 2 ** (failures - 1))
    // The latest failure goes to the end: the oldest is forgotten first.
    this.#failed.delete(address)
    this.#failed.set(address, { failures, readyAt: now + wait })
    const oldest = this.#failed.keys().next().value
    if (this.#failed.size > TRIED_ADDRESSES_MAX && oldest !== undefined) this.#failed.delete(oldest)
  }

  succeed(address: string): void {
    this.#failed.delete(address)
  }

  /** Milliseconds until it may be tried again; 0 for now. */
  delay(address: string, now: number): number {
    return Math.max(0, (this.#failed.get(address)?.readyAt ?? 0) - now)
  }

  /** Failures in a row. */
  failures(address: string): number {
    return this.#failed.get(address)?.failures ?? 0
  }
}
