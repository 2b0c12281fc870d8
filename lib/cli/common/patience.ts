/**
 * Gives up for a reader when the peers that it waits for bring nothing.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { DRIVE_BLOCK_BYTES } from '../../limits.ts'
import type { FeedSession } from '../../synchronizer/feed-session.ts'
import type { Synchronizer } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import { diagnose } from './diagnosis.ts'
import { LIMIT_DOWN, TIMEOUT } from './flags.ts'
import { FLOW_BYTES } from './watch.ts'

/** Milliseconds for which connected peers may bring nothing until a block counts as kept by none of them. */
const NOT_KEPT_MS = 5000
const LOOK_MS = 250

/** Why a reader need not wait any longer. */
export interface Reasons {
  /** Peers are connected, and none has what is read. */
  notKept(): SynclineError
  /** The rest of the sentence is why nobody brought it. */
  late(why: string): SynclineError
}

/** See the module comment. The clock stands while nothing is waited for. */
export class Patience {
  /** False while the reader has something to do: nothing need come meanwhile. */
  waits = true
  readonly #sync: Synchronizer
  readonly #session: FeedSession
  readonly #reasons: Reasons
  readonly #timeoutMs: number
  /** For which nothing comes since we ask for no more. */
  readonly #limitedMs: number
  readonly #stop = new AbortController()
  readonly #timer: NodeJS.Timeout
  #mark = -1
  /** When something came last. */
  #movedAt = performance.now()
  /** When nobody was connected last, or nobody was asked who has not answered. */
  #openAt = this.#movedAt

  constructor(context: Context, sync: Synchronizer, session: FeedSession, reasons: Reasons) {
    const limit = context.get(LIMIT_DOWN)
    this.#sync = sync
    this.#session = session
    this.#reasons = reasons
    this.#timeoutMs = context.get(TIMEOUT) * 1000
    this.#limitedMs = limit === 0 ? 0 : (DRIVE_BLOCK_BYTES / limit) * 1000
    this.#timer = setInterval(() => this.#look(performance.now()), LOOK_MS)
  }

  /** Aborted, with a reason, when it is over. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Lets the clock go. */
  end(): void {
    clearInterval(this.#timer)
  }

  #look(now: number): void {
    const { peers, pendingPeers, knownLength, downloadBytesPerSecond } = this.#session.progress()
    const mark = peers.reduce((sum, peer) => sum + peer.downloadedBytes, knownLength)
    // Blocks are counted once they are verified: what flows until then counts too.
    const moved = mark !== this.#mark || downloadBytesPerSecond >= FLOW_BYTES
    this.#mark = mark
    if (moved || !this.waits) this.#movedAt = now
    // Who is asked has it, until his time is over: on a slow line a block takes a while.
    if (peers.length === 0 || pendingPeers > 0 || this.#isAsked()) this.#openAt = now
    const idleMs = now - this.#movedAt - this.#limitedMs
    if (this.#timeoutMs > 0 && idleMs >= this.#timeoutMs) {
      this.#stop.abort(this.#reasons.late(diagnose(this.#sync, this.#session)))
    } else if (Math.min(idleMs, now - this.#openAt - this.#limitedMs) >= NOT_KEPT_MS) {
      this.#stop.abort(this.#reasons.notKept())
    }
  }

  #isAsked(): boolean {
    return this.#sync.peers.some((peer) => (peer.progress()?.requestsInFlight ?? 0) > 0)
  }
}
