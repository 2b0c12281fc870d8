/**
 * A feed as its user holds it: hypercore's names where they exist, and what hypercore lacks.
 *
 * @module
 */
import { EventEmitter } from 'node:events'
import { isSynclineError, SynclineError } from '../errors.ts'
import { type Direction, letsIn, type Mode } from '../engine/input.ts'
import type { ChannelProgress } from '../engine/engine.ts'
import { type BlockCipher, BlockEncryption, ENCRYPTION_PADDING } from '../feed/encryption.ts'
import type { AppendOptions, AuditReport, Feed, FeedChange } from '../feed/feed.ts'
import { missingRanges } from '../feed/missing-ranges.ts'
import { discoveryKeyOf } from '../feed/namespace.ts'
import { TICK_MS } from '../limits.ts'
import { depth, leftChild, rightChild } from '../primitives/flat-tree.ts'
import type { Manifest } from '../wire/manifest.ts'
import { packedBlock, type PackedBlocks } from '../wire/run.ts'
import type { TreeNode } from '../wire/message.ts'
import { formatKey } from './key.ts'
import {
  checkBlock,
  checkDirection,
  checkMode,
  checkName,
  checkPriority,
  checkRange,
  checkRanges
} from './arguments.ts'
import { emit } from './emit.ts'
import type { ExtensionHandlers, FeedExtension } from './extension.ts'
import type { Peer } from './peer.ts'
import { SharedSession } from './shared-session.ts'
import { seekRemote } from './seek.ts'
import { setRepeating, systemClock } from './timers.ts'
import { decodeValue, encodeValue, type ValueEncoding } from './value-encoding.ts'
import { Wants } from './wants.ts'
import { closedError, stoppable, Waiters, type WaitOptions } from './waiting.ts'

/** Options of {@link FeedSession.get}. */
export interface GetOptions extends WaitOptions {
  /** False: null instead of asking peers. Default: true. */
  readonly wait?: boolean
  /** Milliseconds; as `timeoutMs`, hypercore's name. */
  readonly timeout?: number
  /** Default: the session's own. */
  readonly valueEncoding?: ValueEncoding
  /** True: the stored bytes, encrypted blocks undecrypted. Default: false. */
  readonly raw?: boolean
}

/** Options of {@link FeedSession.append}. */
export interface AppendValuesOptions extends AppendOptions {
  /** Default: the session's own. */
  readonly valueEncoding?: ValueEncoding
}

/** Options of {@link FeedSession.read}. */
export interface ReadOptions extends WaitOptions {
  /** First block; default 0. */
  readonly start?: number
  /** Block after the last; -1, the default: the length when the reading begins, or none if `live`. */
  readonly end?: number
  /** Goes on with blocks as they are appended. Default: false. */
  readonly live?: boolean
  /** False: ends at the first block that is not here. Default: true. */
  readonly wait?: boolean
  readonly valueEncoding?: ValueEncoding
}

/** A range, or a list of blocks, to download. */
export interface DownloadRange {
  readonly start?: number
  readonly end?: number
  /** Instead of `end`. */
  readonly length?: number
  readonly blocks?: Iterable<number>
}

/** A download under way. */
export interface Download {
  /**
   * Resolves when all of it is here, or it was given up.
   *
   * @throws SynclineError TIMEOUT, SESSION_CLOSED, DISK_FULL, STORAGE_FAILED; the signal's reason.
   */
  done(options?: WaitOptions): Promise<void>
  /** Kept for hypercore's users: resolves at once. */
  ready(): Promise<void>
  /** Gives up what is not here yet. */
  destroy(): void
}

/** Progress of one peer for one feed. */
export interface PeerFeedProgress extends ChannelProgress {
  /** Address and public key. */
  readonly name: string
}

/** How far a feed is. */
export interface Progress {
  /** Blocks wanted below the highest length seen, and those of them that are here. */
  readonly wantedBlocks: number
  readonly heldBlocks: number
  readonly byteLength: number
  /** Bytes still to come, estimated from the average block. */
  readonly missingBytes: number
  /** Highest length seen, ours included, of those from whom something may come. */
  readonly knownLength: number
  /** Smoothed, over all peers of this feed. */
  readonly downloadBytesPerSecond: number
  /** Milliseconds until all is here at the present rate; null if unknown. */
  readonly etaMs: number | null
  readonly synced: boolean
  /** Peers that have not yet told what they have, for ten seconds at most, or whose fork is being taken over. */
  readonly pendingPeers: number
  readonly peers: readonly PeerFeedProgress[]
}

/** Events of a {@link FeedSession}; hypercore's names and arguments where it has them. */
export interface FeedEvents {
  ready: []
  /** The feed is longer. */
  append: []
  truncate: [length: number, fork: number]
  /** A block came and is stored. */
  download: [index: number, byteLength: number, peer: Peer | null]
  /** A block was given to a peer. */
  upload: [index: number, byteLength: number, peer: Peer | null]
  'peer-add': [peer: Peer]
  'peer-remove': [peer: Peer]
  /** A peer's length, fork or haves changed. */
  remote: [peer: Peer]
  /** Everything wanted up to the highest length seen is here. */
  synced: []
  /** Two validly signed histories: the feed is frozen. */
  conflict: [error: SynclineError]
  /** The feed's own storage failed; nothing more is downloaded until it is added again. */
  failed: [error: SynclineError]
  close: []
}

/** Events that do not depend on what a session shows of the feed. */
type SharedEvent = Exclude<keyof FeedEvents, 'append' | 'truncate' | 'close'>

/** What a session needs of its synchronizer. */
export interface SessionHost {
  /** Number of the feed in the loop. */
  readonly id: number
  readonly feed: Feed
  want(start: number, end: number): void
  unwant(start: number, end: number): void
  get(index: number, release: boolean): void
  /** Asks for the newest head, whatever the mode, until it is released. */
  head(release: boolean): void
  node(index: number, options: WaitOptions): Promise<TreeNode>
  setMode(mode: Mode): void
  setPriority(priority: number): void
  setDirection(direction: Direction, peer: Peer | null): void
  progress(): Omit<Progress, 'byteLength' | 'etaMs'>
  /** The same as {@link Progress.synced}, at no cost. */
  isSynced(): boolean
  peers(): Peer[]
  extension(name: string, handlers: ExtensionHandlers): FeedExtension
  /** Lets the feed go. */
  release(): Promise<void>
}

/** Settings that a session keeps. */
export interface SessionSettings {
  readonly mode: Mode
  readonly priority: number
  readonly direction: Direction
  readonly encryptionKey: Uint8Array | null
  readonly valueEncoding: ValueEncoding
  /** What is wanted from the start. */
  readonly ranges: readonly (readonly [start: number, end: number])[]
}

const REPLICATOR = { setInflightRange(): void {} }

/** See the module comment. Made by `Synchronizer.add`, `create` and `open`. */
export class FeedSession extends EventEmitter<FeedEvents> {
  /** 32 bytes. */
  readonly key: Uint8Array
  /** Always null: there is no cache shared between sessions. Read by hyperbee. */
  readonly globalCache: null = null
  /** Stands for hypercore's replicator towards hyperbee and mirror-drive; the engine sizes its own windows. */
  readonly replicator: { setInflightRange(): void } = REPLICATOR
  opened = false
  closing: Promise<void> | null = null
  closed = false
  /** What stopped it: its own storage, or a conflict. Nothing more is downloaded. */
  failure: SynclineError | null = null
  readonly #opening: Promise<SessionHost>
  #host: SessionHost | null = null
  #discoveryKey: Uint8Array | null = null
  #settings: SessionSettings
  #encryption: BlockEncryption | null = null
  readonly #waiters = new Waiters(systemClock)
  #stop: () => void = () => {}
  #changing: Promise<unknown> = Promise.resolve()
  /** Null until there is one. */
  #sessions: Set<SharedSession> | null = null
  /** Null until somebody wants something else than the settings say. */
  #changedWants: Wants | null = null

  /** Not for users. */
  constructor(key: Uint8Array, settings: SessionSettings, opening: Promise<SessionHost>) {
    super()
    this.key = key
    this.#settings = settings
    this.#opening = opening
    this.setMaxListeners(0)
    opening.then(
      (host) => this.#open(host),
      (error: unknown) => this.#waiters.end(error as SynclineError)
    )
  }

  /** 32 bytes: safe to announce. */
  get discoveryKey(): Uint8Array {
    // Worked out when it is asked for: thousands of feeds may be added in one turn.
    this.#discoveryKey ??= this.#host?.feed.discoveryKey ?? discoveryKeyOf(this.key)
    return this.#discoveryKey
  }

  /** The key in z-base-32. */
  get id(): string {
    return formatKey(this.key)
  }

  get length(): number {
    return this.#host?.feed.length ?? 0
  }

  /** Bytes of all blocks, without what encryption adds. */
  get byteLength(): number {
    const feed = this.#host?.feed
    if (feed === undefined) return 0
    return feed.byteLength - feed.length * this.#paddingOf(feed)
  }

  get fork(): number {
    return this.#host?.feed.fork ?? 0
  }

  get contiguousLength(): number {
    return this.#host?.feed.contiguousLength ?? 0
  }

  get writable(): boolean {
    return this.#host?.feed.writable ?? false
  }

  get readable(): boolean {
    return !this.closed
  }

  get frozen(): boolean {
    return this.#host?.feed.frozen ?? false
  }

  get manifest(): Manifest | null {
    return this.#host?.feed.manifest ?? null
  }

  /** Peers that have this feed open. */
  get peers(): Peer[] {
    return this.#host?.peers() ?? []
  }

  get mode(): Mode {
    return this.#settings.mode
  }

  /** Resolves when the feed is open. @throws SynclineError what opening it threw. */
  async ready(): Promise<void> {
    await this.#opening
  }

  /** The feed below: proofs, raw reads, audit. It belongs to the session. */
  async feed(): Promise<Feed> {
    return (await this.#opened()).feed
  }

  /**
   * Appends one block or a batch, durable when it resolves.
   *
   * @throws SynclineError NOT_WRITABLE, DISK_FULL and others of {@link Feed.append}.
   */
  async append(
    blocks: unknown,
    options: AppendValuesOptions = {}
  ): Promise<{ length: number; byteLength: number }> {
    const { feed } = await this.#opened()
    const list = Array.isArray(blocks) ? (blocks as unknown[]) : [blocks]
    const valueEncoding = options.valueEncoding ?? this.#settings.valueEncoding
    const encoded = list.map((block) => encodeValue(block, valueEncoding))
    const padding = this.#paddingOf(feed)
    if (padding === 0) return feed.append(encoded, options)
    const { length, byteLength } = await (this.#encrypts(feed)
      ? this.#inTurn(() => feed.append(this.#encrypt(feed, encoded), options))
      : feed.append(encoded, options))
    return { length, byteLength: byteLength - length * padding }
  }

  /**
   * A block, fetched from peers first if it is not here.
   *
   * @returns the decoded value, or null if it is not here and `wait` is false.
   * @throws SynclineError TIMEOUT, SESSION_CLOSED, ENCRYPTED; the signal's reason.
   */
  get(index: number, options: GetOptions = {}): Promise<any> {
    return this.getFor(this.#waiters, index, options)
  }

  /**
   * Not for users: {@link FeedSession.get}, for as long as `waiters` last.
   *
   * @param isGone - true once the block is not worth waiting for.
   */
  async getFor(
    waiters: Waiters,
    index: number,
    options: GetOptions,
    isGone: (() => boolean) | null = null
  ): Promise<any> {
    const host = await this.#opened()
    checkBlock(index)
    const { feed } = host
    let stored = feed.have.get(index) ? await feed.read(index) : null
    if (stored === null) {
      if (options.wait === false) return null
      await this.#fetch(host, index, options, waiters, isGone)
      stored = await feed.read(index)
      if (stored === null) {
        throw new SynclineError('BLOCK_NOT_AVAILABLE', `block ${index} was dropped again`, {
          index
        })
      }
    }
    const cipher = options.raw === true ? null : this.#cipherOf(feed)
    const bytes = cipher === null ? stored : await cipher.decrypt(index, stored)
    return decodeValue(bytes, options.valueEncoding ?? this.#settings.valueEncoding)
  }

  /**
   * Blocks from `start` on that are here and that one read gives, at most up to `end`: as `get` gives them without a value
   * encoding, and the caller's. Null if block `start` is not here.
   */
  async getRun(start: number, end: number): Promise<Uint8Array[] | null> {
    const { feed } = await this.#opened()
    if (start >= end || !feed.have.get(start)) return null
    let packed: PackedBlocks
    try {
      packed = await feed.readPacked(start, end)
    } catch (error) {
      // It was dropped meanwhile.
      if (isSynclineError(error, 'BLOCK_NOT_AVAILABLE')) return null
      throw error
    }
    const blocks = Array.from(packed.lengths, (_, i) => packedBlock(packed, i))
    const cipher = this.#cipherOf(feed)
    if (cipher === null) return blocks
    const plain: Uint8Array[] = []
    for (const [i, block] of blocks.entries()) plain.push(await cipher.decrypt(start + i, block))
    return plain
  }

  /** True if a block is here, as far as is known now. */
  holds(index: number): boolean {
    return this.#host?.feed.have.get(index) ?? false
  }

  /**
   * A node of the tree by its flat index, asked of peers if it is not here. Nothing of it is stored, and it need not be
   * near to a block that is.
   *
   * Its hash is proven, and covers its size. The size itself is a claim of the peer until the nodes below it are known:
   * whoever finds the same hash has the same bytes, whatever is claimed.
   *
   * @throws SynclineError BAD_ARGUMENT, TIMEOUT, SESSION_CLOSED, STORAGE_FAILED, INVALID_OPERATION when the feed is
   * truncated meanwhile; the signal's reason.
   */
  async node(index: number, options: WaitOptions = {}): Promise<TreeNode> {
    return (await this.#opened()).node(index, options)
  }

  /** The two nodes below a node, by one request; as {@link FeedSession.node}. */
  async children(index: number, options: WaitOptions = {}): Promise<[TreeNode, TreeNode]> {
    if (depth(index) === 0) throw new SynclineError('BAD_ARGUMENT', `node ${index} is a leaf`)
    return Promise.all([
      this.node(leftChild(index), options),
      this.node(rightChild(index), options)
    ])
  }

  /** True if all blocks of `[start, end)` are here. */
  async has(start: number, end: number = start + 1): Promise<boolean> {
    return (await this.#opened()).feed.have.hasAll(start, end)
  }

  /** The ranges of blocks that are not here, ascending; by default of the whole feed. @throws SynclineError BAD_ARGUMENT. */
  async missing(start = 0, end?: number): Promise<[start: number, end: number][]> {
    const { feed } = await this.#opened()
    const last = end ?? feed.length
    checkRange(start, last)
    return missingRanges(feed.have, start, Math.min(last, feed.length))
  }

  /**
   * Blocks in order, as an async iterable. Blocks that are not here are fetched ahead of the reader. It ends at once when it
   * is told to, whatever it waits for.
   *
   * @throws SynclineError BAD_ARGUMENT, and as {@link FeedSession.get}.
   */
  read(options: ReadOptions = {}): AsyncGenerator<any, void, void> {
    return stoppable((signal) => this.#read({ ...options, signal }), options.signal)
  }

  async *#read(options: ReadOptions): AsyncGenerator<any, void, void> {
    const host = await this.#opened()
    const { start = 0, live = false, wait = true } = options
    const last = options.end === -1 ? undefined : options.end
    const end = last ?? (live ? Infinity : host.feed.length)
    checkRange(start, end)
    const range = [start, end] as const
    const fetching = wait && !this.#covers(host, start, end)
    if (fetching) this.#hold(host, range)
    try {
      for (let index = start; index < end; index++) {
        const value: unknown = await this.get(index, options)
        if (value === null && !wait) return
        yield value
      }
    } finally {
      if (fetching) this.#release(host, range)
    }
  }

  get #wants(): Wants {
    return (this.#changedWants ??= new Wants(this.#settings.ranges))
  }

  #hold(host: SessionHost, range: readonly [start: number, end: number]): void {
    this.#wants.hold(range)
    host.want(...range)
  }

  #release(host: SessionHost, range: readonly [start: number, end: number]): void {
    for (const [start, end] of this.#wants.release(range)) host.unwant(start, end)
  }

  #covers(host: SessionHost, start: number, end: number): boolean {
    return end !== Infinity && host.feed.have.hasAll(start, end)
  }

  /** As {@link FeedSession.read}; hypercore's name. */
  createReadStream(options: ReadOptions = {}): AsyncGenerator<any, void, void> {
    return this.read(options)
  }

  /**
   * The block that holds a byte position, and the offset in it. Unknown parts of the tree are learned by
   * fetching blocks on the way.
   */
  seek(bytes: number, options: GetOptions = {}): Promise<[index: number, offset: number] | null> {
    return this.seekFor(this.#waiters, bytes, options)
  }

  /**
   * Not for users: {@link FeedSession.seek}, for as long as `waiters` last.
   *
   * @param isGone - true once a block is not worth waiting for.
   */
  async seekFor(
    waiters: Waiters,
    bytes: number,
    options: GetOptions,
    isGone: ((index: number) => boolean) | null = null
  ): Promise<[index: number, offset: number] | null> {
    const host = await this.#opened()
    return seekRemote(host.feed, bytes, this.#paddingOf(host.feed), async (index) => {
      if (options.wait === false) return false
      await this.#fetch(host, index, options, waiters, () => isGone?.(index) === true)
      return true
    })
  }

  /**
   * Asks the connected peers for the highest length that they know, whatever the mode, and waits for it; with `wait: true`
   * for a peer, too. A peer that tells nothing is waited for no longer than ten seconds. Where the direction lets nothing
   * in, it waits for nothing.
   *
   * @returns true if the feed became longer.
   */
  update(options: WaitOptions & { readonly wait?: boolean } = {}): Promise<boolean> {
    return this.updateFor(this.#waiters, options)
  }

  /** Not for users: {@link FeedSession.update}, for as long as `waiters` last. */
  async updateFor(
    waiters: Waiters,
    options: WaitOptions & { readonly wait?: boolean }
  ): Promise<boolean> {
    const host = await this.#opened()
    const { length, fork } = host.feed
    const looking: { stop?: () => void } = {}
    const mayDownload = (): boolean => letsIn(this.#settings.direction)
    const current = (): boolean => {
      if (!mayDownload()) return true
      const { knownLength, pendingPeers, peers } = host.progress()
      if (pendingPeers > 0) {
        // Nothing happens when a peer has been silent for too long.
        looking.stop ??= setRepeating(systemClock, () => waiters.check(), TICK_MS)
        return false
      }
      if (options.wait === true && peers.length === 0) return false
      return host.feed.length >= knownLength
    }
    if (!host.feed.writable && options.wait !== false && mayDownload()) {
      host.head(false)
      try {
        await waiters.wait(current, 'no peer had the feed', options)
      } finally {
        looking.stop?.()
        host.head(true)
      }
    }
    return host.feed.length > length || host.feed.fork > fork
  }

  /** Downloads a range, all of the feed by default. @throws SynclineError BAD_ARGUMENT. */
  download(range: DownloadRange = {}): Download {
    return this.downloadFor(this.#waiters, range)
  }

  /** Not for users: {@link FeedSession.download}, for as long as `waiters` last. */
  downloadFor(waiters: Waiters, range: DownloadRange): Download {
    const { start = 0, length } = range
    const end = range.end ?? (length === undefined ? Infinity : start + length)
    const ranges: [number, number][] =
      range.blocks === undefined
        ? [[start, end === -1 ? Infinity : end]]
        : [...range.blocks].map((block) => [block, block + 1])
    for (const [from, to] of ranges) checkRange(from, to)
    let destroyed = false
    const began = this.#opened().then((host) => {
      if (!destroyed) for (const range of ranges) this.#hold(host, range)
      return host
    })
    began.catch(() => {})
    return {
      ready: async () => {
        await began
      },
      done: async (options) => {
        const host = await began
        const here = (): boolean =>
          destroyed ||
          ranges.every(([from, to]) => host.feed.have.hasAll(from, Math.min(to, endOf(host))))
        await waiters.wait(here, 'the range did not come', options)
      },
      destroy: () => {
        destroyed = true
        void began.then(
          (host) => {
            for (const range of ranges) this.#release(host, range)
            waiters.check()
          },
          () => {}
        )
      }
    }
  }

  /** Adds ranges to what is wanted; ends may be Infinity. @throws SynclineError BAD_ARGUMENT. */
  async want(...ranges: (readonly [start: number, end: number])[]): Promise<void> {
    checkRanges(ranges)
    const host = await this.#opened()
    for (const [start, end] of ranges) {
      this.#wants.add(start, end)
      host.want(start, end)
    }
  }

  /** Takes ranges from what is wanted; what is on its way is cancelled. @throws SynclineError BAD_ARGUMENT. */
  async unwant(...ranges: (readonly [start: number, end: number])[]): Promise<void> {
    checkRanges(ranges)
    const host = await this.#opened()
    for (const range of ranges) {
      for (const [start, end] of this.#wants.remove(...range)) host.unwant(start, end)
    }
  }

  /** Cuts the feed to `length` under a new fork. */
  async truncate(length: number, fork?: number): Promise<void> {
    const { feed } = await this.#opened()
    const truncate = (): Promise<void> => feed.truncate(length, fork)
    await (this.#encrypts(feed) ? this.#inTurn(truncate) : truncate())
  }

  /** Drops the bytes of blocks `[start, end)`; they are no longer wanted, and peers are told. */
  async clear(start: number, end: number = start + 1): Promise<void> {
    checkRange(start, end)
    const host = await this.#opened()
    this.#wants.remove(start, end)
    host.unwant(start, end)
    await host.feed.clear(start, end)
  }

  /**
   * Without options: everything wanted up to the highest length seen is here. Nobody is waited for whom the direction keeps
   * from giving us anything, and in mode `serve` nobody at all. With `peers`: that many remote peers hold everything that we
   * have.
   *
   * @throws SynclineError TIMEOUT, SESSION_CLOSED, DISK_FULL, STORAGE_FAILED; the signal's reason.
   */
  async synced(options: WaitOptions & { readonly peers?: number } = {}): Promise<void> {
    const host = await this.#opened()
    const { peers } = options
    const ready = (): boolean => {
      // Asked after each run of blocks: the whole progress would be counted anew each time.
      if (peers === undefined) return host.isSynced()
      const progress = host.progress()
      return progress.peers.filter((peer) => peer.hasAll).length >= peers
    }
    const what =
      peers === undefined ? 'the feed was not synced' : `${peers} peers did not hold the feed`
    await this.#waiters.wait(ready, what, options)
  }

  /** How far the feed is, and with whom; nothing of it before the feed is open, and once it is closed. */
  progress(): Progress {
    const host = this.#host
    if (host === null || this.closing !== null) {
      return {
        wantedBlocks: 0,
        heldBlocks: 0,
        byteLength: 0,
        missingBytes: 0,
        knownLength: 0,
        downloadBytesPerSecond: 0,
        etaMs: null,
        synced: false,
        pendingPeers: 0,
        peers: []
      }
    }
    const progress = host.progress()
    const rate = progress.downloadBytesPerSecond
    const etaMs = rate > 0 ? (progress.missingBytes / rate) * 1000 : null
    return { ...progress, byteLength: this.byteLength, etaMs: progress.synced ? 0 : etaMs }
  }

  /** Changes what the feed is synchronized for. */
  async setMode(mode: Mode): Promise<void> {
    checkMode(mode)
    this.#settings = { ...this.#settings, mode }
    ;(await this.#opened()).setMode(mode)
  }

  /** Feeds of a higher number are served first. */
  async setPriority(priority: number): Promise<void> {
    checkPriority(priority)
    ;(await this.#opened()).setPriority(priority)
  }

  /** Says which way bytes may go, for all peers or for one. */
  async setDirection(direction: Direction, peer: Peer | null = null): Promise<void> {
    checkDirection(direction)
    if (peer === null) this.#settings = { ...this.#settings, direction }
    ;(await this.#opened()).setDirection(direction, peer)
  }

  /**
   * Sends and receives messages of an extension with peers that know it by the same name. One that is registered later
   * takes the place of an earlier one.
   *
   * @throws SynclineError BAD_ARGUMENT.
   */
  registerExtension(name: string, handlers: ExtensionHandlers = {}): FeedExtension {
    checkName(name)
    let extension: FeedExtension | null = null
    const registered = this.#opened().then((host) => {
      extension = host.extension(name, handlers)
    })
    registered.catch(() => {})
    return {
      name,
      send: (message, peer) => extension?.send(message, peer) ?? false,
      broadcast: (message) => extension?.broadcast(message) ?? 0,
      destroy: () => {
        void registered.then(
          () => extension?.destroy(),
          () => {}
        )
      }
    }
  }

  /** Hashes everything that is stored, again. */
  async audit(options: { readonly signal?: AbortSignal } = {}): Promise<AuditReport> {
    return (await this.#opened()).feed.audit(options)
  }

  async getUserData(name: string): Promise<Uint8Array | null> {
    return (await this.#opened()).feed.getUserData(name)
  }

  async setUserData(name: string, value: Uint8Array | null): Promise<void> {
    await (await this.#opened()).feed.setUserData(name, value)
  }

  /** A session of its own over the same feed: closing it leaves this one open. @throws SynclineError SESSION_CLOSED. */
  session(options: { readonly valueEncoding?: ValueEncoding } = {}): SharedSession {
    return this.view(options, false, null)
  }

  /**
   * A session whose length stays what it is now, or what it is when the feed is open; see {@link SharedSession.get}.
   *
   * @throws SynclineError SESSION_CLOSED.
   */
  snapshot(options: { readonly valueEncoding?: ValueEncoding } = {}): SharedSession {
    return this.view(options, true, null)
  }

  /** Not for users: a view of the feed, or of what a snapshot keeps of it. */
  view(
    options: { readonly valueEncoding?: ValueEncoding },
    isSnapshot: boolean,
    snapshot: SharedSession | null
  ): SharedSession {
    this.#checkOpen()
    const sessions = (this.#sessions ??= new Set<SharedSession>())
    const encoding = options.valueEncoding ?? null
    const view = new SharedSession(this, encoding, isSnapshot, () => sessions.delete(view))
    if (this.opened) view.freeze(snapshot)
    sessions.add(view)
    if (this.opened) {
      queueMicrotask(() => {
        if (!view.closed) emit(view, 'ready')
      })
    }
    return view
  }

  /** Closes the feed and lets it go from the synchronizer. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.#close()
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Not for users: takes other settings, before anybody has used the session. */
  configure(settings: SessionSettings): void {
    this.#changedWants = null
    this.#settings = settings
  }

  /** Not for users: looks at what is waited for. */
  check(): void {
    this.#waiters.check()
    for (const view of this.#sessions ?? []) view.check()
  }

  /** Not for users: ends what is waited for, since the storage failed. */
  fail(error: SynclineError): void {
    this.failure = error
    this.#endWaits(error)
    this.tell('failed', error)
  }

  /** Not for users: emits an event here and on all sessions that share the feed. */
  tell<Event extends SharedEvent>(event: Event, ...args: FeedEvents[Event]): void {
    const emitters: EventEmitter<FeedEvents>[] = [this, ...(this.#sessions ?? [])]
    for (const emitter of emitters) emit(emitter, event, ...args)
  }

  /** Not for users: true if somebody listens to an event, here or on a session that shares the feed. */
  isHeard(event: SharedEvent): boolean {
    if (this.listenerCount(event) > 0) return true
    for (const view of this.#sessions ?? []) if (view.listenerCount(event) > 0) return true
    return false
  }

  #endWaits(error: SynclineError): void {
    this.#waiters.end(error)
    for (const view of this.#sessions ?? []) view.fail(error)
  }

  /** True if blocks are encrypted here, and not by what is below. */
  #encrypts(feed: Feed): boolean {
    return this.#settings.encryptionKey !== null && feed.cipher === null
  }

  /** Bytes that encryption puts before each block. */
  #paddingOf(feed: Feed): number {
    return feed.cipher?.padding ?? (this.#encrypts(feed) ? ENCRYPTION_PADDING : 0)
  }

  /** Null where blocks are stored as they are. */
  #cipherOf(feed: Feed): BlockCipher | null {
    return feed.cipher ?? (this.#encrypts(feed) ? this.#encryptionOf(feed) : null)
  }

  #encrypt(feed: Feed, blocks: readonly Uint8Array[]): Uint8Array[] {
    const { length, fork } = feed
    const encryption = this.#encryptionOf(feed)
    return blocks.map((block, i) => encryption.encrypt(length + i, fork, block))
  }

  #encryptionOf(feed: Feed): BlockEncryption {
    const { encryptionKey } = this.#settings
    if (encryptionKey === null) throw new SynclineError('ENCRYPTED', 'no encryption key was given')
    this.#encryption ??= new BlockEncryption({
      feedKey: feed.key,
      encryptionKey,
      compat: feed.compat
    })
    return this.#encryption
  }

  /** Index and fork are part of the encryption: what changes them waits for each other. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const changed = this.#changing.then(change)
    this.#changing = changed.catch(() => {})
    return changed
  }

  async #opened(): Promise<SessionHost> {
    this.#checkOpen()
    const host = await this.#opening
    // It may have been closed while it was opened.
    this.#checkOpen()
    return host
  }

  #checkOpen(): void {
    if (this.closing !== null) throw closedError()
  }

  #open(host: SessionHost): void {
    this.#host = host
    this.opened = true
    this.#stop = host.feed.onchange((change) => this.#changed(change))
    for (const view of this.#sessions ?? []) view.freeze()
    this.tell('ready')
    this.#waiters.check()
  }

  #changed(change: FeedChange): void {
    if (change.type === 'append' || change.type === 'upgrade') emit(this, 'append')
    else if (change.type === 'truncate') emit(this, 'truncate', change.length, change.fork)
    else if (change.type === 'close') this.close().catch(() => {})
    for (const view of this.#sessions ?? []) view.changed(change)
    this.check()
  }

  async #fetch(
    host: SessionHost,
    index: number,
    options: GetOptions,
    waiters: Waiters,
    isGone: (() => boolean) | null = null
  ): Promise<void> {
    const timeoutMs = options.timeoutMs ?? options.timeout ?? 0
    const { signal } = options
    host.get(index, false)
    try {
      const isHere = (): boolean => host.feed.have.get(index) || isGone?.() === true
      await waiters.wait(isHere, `block ${index} did not come`, {
        timeoutMs,
        ...(signal === undefined ? {} : { signal })
      })
    } finally {
      host.get(index, true)
    }
  }

  async #close(): Promise<void> {
    this.#endWaits(closedError())
    let host: SessionHost | null = null
    try {
      host = await this.#opening
    } catch {
      // It never opened: there is nothing to let go.
    }
    this.#stop()
    for (const view of this.#sessions ?? []) await view.close()
    try {
      await host?.release()
    } finally {
      this.closed = true
      emit(this, 'close')
    }
  }
}

function endOf(host: SessionHost): number {
  return Math.max(host.progress().knownLength, 1)
}
