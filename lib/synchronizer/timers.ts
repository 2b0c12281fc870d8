/**
 * Time, as the synchronizer sees it. Nothing else in this folder asks the system for it.
 *
 * @module
 */

/** A source of time that tests can replace. */
export interface Clock {
  /** Milliseconds that only ever grow; not the time of day. */
  now(): number
  /** Calls `run` once after `ms`; returns the way to prevent it. */
  setTimer(run: () => void, ms: number): () => void
  /** Calls `run` once, after what is waiting to be read from sockets and disks had its turn. */
  soon(run: () => void): void
}

/** The clock of the system. A pending timer keeps the process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(run, ms) {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
  soon(run) {
    setImmediate(run)
  }
}

/** Calls `run` every `ms` until the returned function is called. */
export function setRepeating(clock: Clock, run: () => void, ms: number): () => void {
  let stop = clock.setTimer(again, ms)
  let stopped = false
  function again(): void {
    run()
    if (!stopped) stop = clock.setTimer(again, ms)
  }
  return () => {
    stopped = true
    stop()
  }
}
