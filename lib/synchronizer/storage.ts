/**
 * Where a synchronizer finds its feeds: a folder, or memory.
 *
 * @module
 */
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import { discoveryKeyOf } from '../feed/namespace.ts'
import { identityFromKey, newIdentity, type NewIdentityOptions } from '../feed/identity.ts'
import { memoryStore } from '../feed/memory/memory-store.ts'
import type { Store } from '../feed/store.ts'

/** One stored feed, as a listing shows it without opening it. */
export interface StoredFeedInfo {
  /** 32 bytes. */
  readonly key: Uint8Array
  /** 32 bytes. */
  readonly discoveryKey: Uint8Array
  /** Name it was created under, or null. */
  readonly name: string | null
  readonly writable: boolean
}

/** Stores of many feeds. `FeedFolder` implements it on disk. */
export interface FeedStorage {
  /**
   * A new feed that can be written, under a name.
   * @throws SynclineError FEED_EXISTS, and what the disk throws.
   */
  create(name: string, options?: NewIdentityOptions): Promise<Store>
  /**
   * The store of a stored feed.
   * @throws SynclineError FEED_NOT_FOUND.
   */
  openByName(name: string): Promise<Store>
  openByKey(key: Uint8Array): Promise<Store>
  /** The store of a stored feed, or null: remotes may ask for anything. */
  openByDiscoveryKey(discoveryKey: Uint8Array): Promise<Store | null>
  /** The store of a feed of which only the key is known, made if it is not there. */
  add(key: Uint8Array): Promise<Store>
  /** Deletes a feed that nobody has open. */
  remove(key: Uint8Array): Promise<void>
  /** All stored feeds, cheaply. */
  list(): AsyncIterable<StoredFeedInfo>
}

/** Keeps feeds in memory: `new Synchronizer({ storage: memory() })`. They end with the synchronizer. */
export function memory(): FeedStorage {
  return new MemoryStorage()
}

class MemoryStorage implements FeedStorage {
  readonly #feeds = new Map<string, StoredFeedInfo>()

  async create(name: string, options: NewIdentityOptions = {}): Promise<Store> {
    for (const feed of this.#feeds.values()) {
      if (feed.name === name)
        throw new SynclineError('FEED_EXISTS', `a feed named "${name}" exists`)
    }
    const identity = newIdentity(options)
    this.#enter(identity.key, name, identity.keyPair !== null)
    return memoryStore(identity)
  }

  /** Feeds in memory are open for as long as they exist: none is to be opened again. */
  async openByName(name: string): Promise<Store> {
    throw new SynclineError('FEED_NOT_FOUND', `no feed named "${name}" is kept in memory`)
  }

  async openByKey(key: Uint8Array): Promise<Store> {
    throw new SynclineError(
      'FEED_NOT_FOUND',
      `no feed ${b4a.toString(key, 'hex')} is kept in memory`
    )
  }

  async openByDiscoveryKey(): Promise<Store | null> {
    return null
  }

  async add(key: Uint8Array): Promise<Store> {
    const identity = identityFromKey(key)
    this.#enter(identity.key, null, false)
    return memoryStore(identity)
  }

  async remove(key: Uint8Array): Promise<void> {
    this.#feeds.delete(b4a.toString(key, 'hex'))
  }

  async *list(): AsyncIterable<StoredFeedInfo> {
    yield* this.#feeds.values()
  }

  #enter(key: Uint8Array, name: string | null, writable: boolean): void {
    const discoveryKey = discoveryKeyOf(key)
    this.#feeds.set(b4a.toString(key, 'hex'), { key, discoveryKey, name, writable })
  }
}
