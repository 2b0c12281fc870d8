import { SynclineError } from '../errors.ts'
import { KEEPALIVE_MS, KEEPALIVES_MISSED_MAX, WRITE_TIMEOUT_MS } from '../limits.ts'

const SILENCE_MS: number = KEEPALIVE_MS * (KEEPALIVES_MISSED_MAX + 1)

/** What is looked at every KEEPALIVE_MS. All counters only grow. */
export interface Vitals {
  /** Bytes received on the raw stream, whole frames or not. */
  readonly rawBytesRead: number
  /** Bytes that the raw stream gave to the network. */
  readonly rawBytesWritten: number
  /** Bytes of whole frames received, empty ones included. */
  readonly frameBytesRead: number
  /** Frames received that carried something. */
  readonly frames: number
  /** True if bytes wait to be written. */
  readonly waiting: boolean
  /** True if reading was stopped by us at any time since the last look. */
  readonly paused: boolean
}

/**
 * Decides whether the other side is gone.
 *
 * Silence counts only against a peer that was seen to send keepalives: hypercore and Hyperswarm do, every 5 s, unless
 * their user switched it off, and then an idle peer is silent for good reason. What such a peer owes us is found by its
 * unanswered requests and by writes that do not move.
 */
export class Liveness {
  #last: Vitals
  #lookedAt: number
  #heardAt: number
  #movedAt: number
  #keepsAlive = false

  constructor(vitals: Vitals, now: number) {
    this.#last = vitals
    this.#lookedAt = now
    this.#heardAt = now
    this.#movedAt = now
  }

  /** Call every KEEPALIVE_MS. Returns why the connection is to be closed, or null. */
  look(vitals: Vitals, now: number): SynclineError | null {
    const last = this.#last
    // A machine that slept, or a blocked process, says nothing about the other side.
    const late = now - this.#lookedAt > 2 * KEEPALIVE_MS
    this.#last = vitals
    this.#lookedAt = now
    if (late || vitals.paused || vitals.rawBytesRead !== last.rawBytesRead) this.#heardAt = now
    if (late || !vitals.waiting || vitals.rawBytesWritten !== last.rawBytesWritten) {
      this.#movedAt = now
    }
    // Frames without any that carries something are keepalives.
    if (
      !vitals.paused &&
      vitals.frames === last.frames &&
      vitals.frameBytesRead !== last.frameBytesRead
    ) {
      this.#keepsAlive = true
    }
    if (now - this.#movedAt >= WRITE_TIMEOUT_MS) {
      return new SynclineError(
        'PEER_TIMEOUT',
        `nothing could be written for ${WRITE_TIMEOUT_MS} ms`
      )
    }
    if (this.#keepsAlive && now - this.#heardAt >= SILENCE_MS) {
      return new SynclineError('PEER_TIMEOUT', `nothing was heard for ${SILENCE_MS} ms`)
    }
    return null
  }
}
