/**
 * How much may be in flight on a connection: what its remote answers in the time that it takes, so that it never waits for
 * us, and no more, since whoever waits for a block waits behind it.
 *
 * @module
 */
import {
  BATCH_REPLY_BYTES_MAX,
  BATCH_REQUESTS_MAX,
  RUN_BATCH_REPLY_BYTES_MAX,
  RUN_BATCH_REQUESTS_MAX,
  WINDOW_BYTES_MAX,
  WINDOW_BYTES_START,
  WINDOW_REQUESTS_MAX,
  WINDOW_REQUESTS_MIN,
  WINDOW_REQUESTS_RUNS,
  WINDOW_REQUESTS_START,
  WINDOW_TURN_MS
} from '../limits.ts'

/** Milliseconds over which rates are measured: long enough for some turns of the event loop, short enough to follow. */
const SAMPLE_MS = 10
/** Round trip in milliseconds from which on a connection leaves the local network. */
const LONG_MS = 5

/** See the module comment. */
export class Window {
  requests: number = WINDOW_REQUESTS_START
  /** Expected bytes of answers. */
  bytes: number = WINDOW_BYTES_START
  /** Shortest time from request to answer, milliseconds; 0 before the first answer. */
  roundTrip = 0
  /** Share of the window that may be in flight when it is filled again: on a slow line nobody waits for half of it. */
  refillShare = 1
  /** Requests of one batch, and the expected bytes of their answers. */
  batchRequests: number = BATCH_REQUESTS_MAX
  batchBytes: number = BATCH_REPLY_BYTES_MAX
  /** True if the remote answers runs as cheaply as single requests; a hypercore gets slower with each that waits. */
  #runs = false
  #answersPerMs = 0
  #bytesPerMs = 0
  #answers = 0
  #answerBytes = 0
  #since = 0

  /** The remote reads whole runs. */
  readsRuns(): void {
    this.#runs = true
    this.batchRequests = RUN_BATCH_REQUESTS_MAX
    this.batchBytes = RUN_BATCH_REPLY_BYTES_MAX
    this.requests = Math.max(this.requests, WINDOW_REQUESTS_RUNS)
  }

  /** The first request after a time without any is made. */
  begin(now: number): void {
    this.#since = now
    this.#answers = 0
    this.#answerBytes = 0
  }

  /** Answers came `took` milliseconds after they were asked for. */
  answered(now: number, took: number, answers: number, byteLength: number): void {
    this.roundTrip = this.roundTrip === 0 ? took : Math.min(this.roundTrip, took)
    this.#answers += answers
    this.#answerBytes += byteLength
    const elapsed = now - this.#since
    if (elapsed < SAMPLE_MS) return
    this.#answersPerMs += (this.#answers / elapsed - this.#answersPerMs) / 2
    this.#bytesPerMs += (this.#answerBytes / elapsed - this.#bytesPerMs) / 2
    this.begin(now)
    this.#adapt()
  }

  /** Lets the shortest time be forgotten slowly, so that a route that became longer is noticed. Call it on ticks. */
  tick(): void {
    this.roundTrip *= 1.01
  }

  /** Twice what a round trip carries, and never less than what a fast network needs. */
  #adapt(): void {
    const requests = 2 * this.#answersPerMs * this.roundTrip
    const single = this.roundTrip > LONG_MS ? WINDOW_REQUESTS_START : WINDOW_REQUESTS_MIN
    const floor = this.#runs ? WINDOW_REQUESTS_RUNS : single
    this.requests = Math.min(WINDOW_REQUESTS_MAX, Math.max(floor, Math.ceil(requests)))
    const bytes = this.#bytesPerMs * Math.max(2 * this.roundTrip, WINDOW_TURN_MS)
    this.bytes = Math.min(WINDOW_BYTES_MAX, WINDOW_BYTES_START + Math.ceil(bytes))
    const halfMs = Math.min(this.requests / this.#answersPerMs, this.bytes / this.#bytesPerMs) / 2
    this.refillShare = halfMs <= WINDOW_TURN_MS ? 0.5 : 1
  }
}
