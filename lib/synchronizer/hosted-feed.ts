import type { Direction, Mode } from '../engine/input.ts'
import type { Feed } from '../feed/feed.ts'
import type { TreeNode } from '../wire/message.ts'
import type { ExtensionHandlers, FeedExtension } from './extension.ts'
import type { SessionHost } from './feed-session.ts'
import type { Loop } from './loop.ts'
import type { Peer } from './peer.ts'
import type { WaitOptions } from './waiting.ts'

/** What only the synchronizer can do for a feed in the loop, by its number. */
export interface HostOwner {
  progress(id: number): ReturnType<SessionHost['progress']>
  peers(id: number): Peer[]
  extension(id: number, name: string, handlers: ExtensionHandlers): FeedExtension
  /** The feed is synchronized for something else from now on. */
  modeChanged(id: number): void
  release(id: number): Promise<void>
}

/** What a session sees of the loop and the synchronizer: a class, since there may be thousands. */
export class HostedFeed implements SessionHost {
  readonly id: number
  readonly feed: Feed
  readonly #loop: Loop
  readonly #owner: HostOwner

  constructor(id: number, feed: Feed, loop: Loop, owner: HostOwner) {
    this.id = id
    this.feed = feed
    this.#loop = loop
    this.#owner = owner
  }

  want(start: number, end: number): void {
    this.#loop.post({ type: 'want', feed: this.id, start, end })
    this.#loop.reopen(this.id)
  }

  unwant(start: number, end: number): void {
    this.#loop.post({ type: 'unwant', feed: this.id, start, end })
  }

  get(index: number, release: boolean): void {
    this.#loop.post({ type: 'get', feed: this.id, index, release })
    if (!release) this.#loop.reopen(this.id)
  }

  head(release: boolean): void {
    this.#loop.post({ type: 'head', feed: this.id, release })
    if (!release) this.#loop.reopen(this.id)
  }

  node(index: number, options: WaitOptions): Promise<TreeNode> {
    this.#loop.reopen(this.id)
    return this.#loop.node(this.id, index, options)
  }

  setMode(mode: Mode): void {
    this.#loop.setMode(this.id, mode)
    this.#owner.modeChanged(this.id)
  }

  setPriority(priority: number): void {
    this.#loop.post({ type: 'configure-feed', feed: this.id, priority })
  }

  setDirection(direction: Direction, peer: Peer | null): void {
    const { id } = this
    if (peer === null) this.#loop.post({ type: 'configure-feed', feed: id, direction })
    else this.#loop.post({ type: 'configure-peer', peer: peer.id, feed: id, direction })
  }

  progress(): ReturnType<SessionHost['progress']> {
    return this.#owner.progress(this.id)
  }

  isSynced(): boolean {
    return this.#loop.isSynced(this.id)
  }

  peers(): Peer[] {
    return this.#owner.peers(this.id)
  }

  extension(name: string, handlers: ExtensionHandlers): FeedExtension {
    return this.#owner.extension(this.id, name, handlers)
  }

  release(): Promise<void> {
    return this.#owner.release(this.id)
  }
}
