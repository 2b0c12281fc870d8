import type { PeerProgress } from '../engine/engine.ts'
import type { Direction, RateLimits } from '../engine/input.ts'
import { checkDirection, checkLimits } from './arguments.ts'

/** What a peer can be told; the synchronizer carries it out. */
export interface PeerControl {
  progress(id: number): PeerProgress | null
  configure(id: number, settings: { direction?: Direction; limits?: RateLimits }): void
  close(id: number): void
}

/** A connected remote, over whatever transport. It speaks about many feeds. */
export class Peer {
  /** Number within its synchronizer; never used again. */
  readonly id: number
  /** For people: the address, and the public key where there is one. */
  readonly name: string
  /** 32 bytes, or null where the transport gives none. */
  readonly remotePublicKey: Uint8Array | null
  /** True if we began the connection. */
  readonly initiator: boolean
  closed = false
  readonly #control: PeerControl

  /** Not for users. */
  constructor(
    id: number,
    link: {
      readonly name: string
      readonly remotePublicKey: Uint8Array | null
      readonly initiator: boolean
    },
    control: PeerControl
  ) {
    this.id = id
    this.name = link.name
    this.remotePublicKey = link.remotePublicKey
    this.initiator = link.initiator
    this.#control = control
  }

  /** Rates, round trip and window; null once it is gone. */
  progress(): PeerProgress | null {
    return this.#control.progress(this.id)
  }

  /** Says which way bytes may go, for all feeds. @throws SynclineError BAD_ARGUMENT. */
  setDirection(direction: Direction): void {
    checkDirection(direction)
    this.#control.configure(this.id, { direction })
  }

  /** Bytes per second each way; 0 is no limit. @throws SynclineError BAD_ARGUMENT. */
  setLimits(limits: RateLimits): void {
    checkLimits(limits)
    this.#control.configure(this.id, { limits })
  }

  /** Ends the connection in good order. */
  close(): void {
    this.#control.close(this.id)
  }

  /** As {@link Peer.close}, which does not wait for the end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }
}
