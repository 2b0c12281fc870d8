/**
 * A store that takes its (virtual) time.
 *
 * @module
 */
import type { Commit, Store, StoreState } from '../../lib/feed/store.ts'
import type { TreeNode } from '../../lib/wire/message.ts'
import type { VirtualClock } from './clock.ts'
import type { Prng } from './prng.ts'

/** Delays what another store does, by up to `mostMs`; not at all while `instant` says so. */
export class SlowStore implements Store {
  readonly #store: Store
  readonly #clock: VirtualClock
  readonly #prng: Prng
  readonly #mostMs: number
  readonly #instant: () => boolean

  constructor(options: {
    readonly store: Store
    readonly clock: VirtualClock
    readonly prng: Prng
    readonly mostMs: number
    readonly instant: () => boolean
  }) {
    this.#store = options.store
    this.#clock = options.clock
    this.#prng = options.prng
    this.#mostMs = options.mostMs
    this.#instant = options.instant
  }

  open(): Promise<StoreState> {
    return this.#store.open()
  }

  checked(): void {
    this.#store.checked()
  }

  async getNode(index: number): Promise<TreeNode | null> {
    await this.#wait()
    return this.#store.getNode(index)
  }

  async getNodeRun(first: number, count: number): Promise<Uint8Array> {
    await this.#wait()
    return this.#store.getNodeRun(first, count)
  }

  async getBytes(offset: number, byteLength: number): Promise<Uint8Array> {
    await this.#wait()
    return this.#store.getBytes(offset, byteLength)
  }

  async commit(commit: Commit): Promise<void> {
    await this.#wait()
    return this.#store.commit(commit)
  }

  async free(offset: number, byteLength: number): Promise<void> {
    await this.#wait()
    return this.#store.free(offset, byteLength)
  }

  getUserData(name: string): Promise<Uint8Array | null> {
    return this.#store.getUserData(name)
  }

  flush(): Promise<void> {
    return this.#store.flush()
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  #wait(): Promise<void> {
    if (this.#mostMs === 0 || this.#instant()) return Promise.resolve()
    const ms = this.#prng.next() * this.#mostMs
    return new Promise((resolve) => this.#clock.setTimer(resolve, ms))
  }
}
