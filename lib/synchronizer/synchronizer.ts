/**
 * The synchronizer: stored feeds, connections to peers, and one event loop over both.
 *
 * @module
 */
import { EventEmitter } from 'node:events'
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import type { Telling } from '../engine/effect.ts'
import type { Direction, Mode, RateLimits } from '../engine/input.ts'
import { toHex } from '../feed/bytes.ts'
import type { Feed } from '../feed/feed.ts'
import { FeedFolder } from '../feed/file/feed-folder.ts'
import { HypercoreFeed } from '../feed/hypercore/hypercore-feed.ts'
import type { HypercoreLike } from '../feed/hypercore/hypercore-like.ts'
import type { NewIdentityOptions } from '../feed/identity.ts'
import { StoredFeed } from '../feed/stored-feed.ts'
import { simd } from '../kernels/hash.ts'
import {
  CONNECTIONS_MAX,
  EXTENSION_NAME_CHARS_MAX,
  FEEDS_OPENING_MAX,
  IDLE_FEED_MS
} from '../limits.ts'
import { attach, type AttachOptions } from '../transport/attach.ts'
import {
  HyperswarmTransport,
  type BootstrapNode,
  type TopicStatus
} from '../transport/hyperswarm.ts'
import type { NoiseKeyPair } from '../transport/secret-stream.ts'
import { TcpTransport } from '../transport/tcp.ts'
import type { TransportConnection } from '../transport/transport.ts'
import type { Extension } from '../wire/message.ts'
import { Connection } from './connection.ts'
import { Dialer } from './dialer.ts'
import { emit } from './emit.ts'
import {
  encodeExtension,
  handleExtension,
  type ExtensionHandlers,
  type FeedExtension
} from './extension.ts'
import { Gate } from './gate.ts'
import { HostedFeed, type HostOwner } from './hosted-feed.ts'
import { checkAdding, checkLimits, checkName, checkStorage } from './arguments.ts'
import { FeedSession, type SessionHost, type SessionSettings } from './feed-session.ts'
import { parseKey, toKey } from './key.ts'
import { Loop } from './loop.ts'
import { Peer } from './peer.ts'
import { Places } from './places.ts'
import { onSignals } from './signals.ts'
import type { FeedStorage, StoredFeedInfo } from './storage.ts'
import { systemClock } from './timers.ts'
import { Tried } from './tried.ts'
import type { ValueEncoding } from './value-encoding.ts'
import { joinSignals } from './waiting.ts'

/** Options of {@link Synchronizer}. */
export interface SynchronizerOptions {
  /** Folder of the stored feeds, made if it is missing; or `memory()`. */
  readonly storage: string | FeedStorage
  /**
   * False gives small copies files of their own, which hypercore 10 can open; with a folder only. Those that stand in the
   * journal already get them with their next write. Default: true.
   */
  readonly journal?: boolean
  /** Who we are towards peers; a fresh key pair by default. */
  readonly keyPair?: NoiseKeyPair
  /** Bytes per second each way over all peers; 0 is no limit, the default. */
  readonly limits?: RateLimits
  /**
   * Connections at a time, without those that we dial; CONNECTIONS_MAX by default. If there are as many, one of them that
   * has had no feed open for ten seconds makes way for the next.
   */
  readonly connections?: number
  /** True to close in good order on SIGINT and SIGTERM. Default: false. */
  readonly signals?: boolean
}

/** Options of {@link Synchronizer.add}. */
export interface AddOptions {
  /** Default: `both`. */
  readonly mode?: Mode
  /** What is wanted from the start; default everything. Empty: only what is asked for. */
  readonly ranges?: readonly (readonly [start: number, end: number])[]
  /** Feeds of a higher number are served first. Default: 0. */
  readonly priority?: number
  /** Which way bytes may go. Default: `both`. */
  readonly direction?: Direction
  /**
   * 32 bytes that decrypt (and encrypt) the blocks. Without it they pass through raw. A live `Hypercore` that encrypts does
   * so by itself, with its own key.
   */
  readonly encryptionKey?: Uint8Array
  /** Form of values that `get` gives and `append` takes. Default: `binary`. */
  readonly valueEncoding?: ValueEncoding
  /** Only the synchronizer that the package exports knows drives. */
  readonly drive?: never
}

/** Options of {@link Synchronizer.create}. */
export interface CreateOptions extends NewIdentityOptions, Omit<AddOptions, 'drive'> {}

/** Options of {@link Synchronizer.swarm}. */
export interface SwarmOptions {
  /** Nodes to begin with instead of the public ones: `HOST:PORT`, or `{ host, port }` as in Hyperswarm. */
  readonly bootstrap?: readonly BootstrapNode[]
}

/** Events of a {@link Synchronizer}. */
export interface SynchronizerEvents {
  'peer-connect': [peer: Peer]
  /** The error names what ended the connection; null for an orderly end. */
  'peer-disconnect': [peer: Peer, error: SynclineError | null]
  /** A peer did something wrong and was closed for it; `peer-disconnect` follows. */
  'peer-fault': [peer: Peer, error: SynclineError]
  /** Something else on an attached connection replicates this feed already: it is left alone there. */
  occupied: [feed: FeedSession, peer: Peer]
  /** A feed froze since two validly signed histories of it exist. */
  conflict: [feed: FeedSession, error: SynclineError]
  /** A feed stopped since its own storage failed. */
  'feed-error': [feed: FeedSession, error: SynclineError]
  close: []
}

interface Entry {
  readonly name: string | null
  readonly session: FeedSession
  settings: SessionSettings
  /** Null until the feed is in the loop. */
  host: HostedFeed | null
  /** True while only remotes asked for it: it is closed again once they left. */
  lazy: boolean
  /** Null until there is one. */
  extensions: Map<string, ExtensionHandlers> | null
}

/** Codes for which a remote is kept away for a while: it did something wrong. */
const FAULTS = new Set<string>([
  'BAD_CAPABILITY',
  'BAD_MESSAGE',
  'DUPLICATE_OPEN',
  'INVALID_CHECKSUM',
  'INVALID_MANIFEST',
  'INVALID_PROOF',
  'INVALID_SIGNATURE',
  'PEER_TIMEOUT',
  'TOO_MANY'
])

/** Nothing to wait for. */
const FREE: Promise<void> = Promise.resolve()
const ALL: readonly (readonly [number, number])[] = [[0, Infinity]]
/** How a feed is opened that only remotes asked for. */
const LAZY: AddOptions = { mode: 'serve', ranges: [] }

let warned = false

/** See the module comment. */
export class Synchronizer extends EventEmitter<SynchronizerEvents> {
  readonly #options: SynchronizerOptions
  readonly #loop: Loop
  readonly #storage: Promise<FeedStorage>
  readonly #entries = new Map<string, Entry>()
  readonly #byId = new Map<number, Entry>()
  readonly #peers = new Map<number, Peer>()
  /** Connections of our own: their addresses, and whether a feed was open on them. */
  readonly #dialled = new Map<number, { readonly address: string; used: boolean }>()
  readonly #places: Places
  /** Last extension name on each channel, since a repeated one is sent empty. */
  readonly #extensionNames = new Map<string, string>()
  readonly #tried = new Tried()
  /** Feeds that were opened before the others can then go on: thousands may be added at once. */
  readonly #opening = new Gate(FEEDS_OPENING_MAX)
  readonly #tcp: TcpTransport
  readonly #dialer: Dialer
  /** Ends what is being attached. */
  readonly #attaching = new AbortController()
  #swarm: HyperswarmTransport | null = null
  #limits: RateLimits
  /** The synchronizer towards the sessions. */
  readonly #owner: HostOwner = {
    progress: (id) => this.#progress(id),
    peers: (id) => this.#peersOf(id),
    extension: (id, name, handlers) => this.#register(id, name, handlers),
    modeChanged: (id) => this.#modeChanged(id),
    release: (id) => this.#release(id)
  }
  readonly #idleTimers = new Set<() => void>()
  #stopSignals: (() => void) | null = null
  /** Feeds that are being removed, by key. */
  readonly #removals = new Map<string, Promise<void>>()
  /** What has stores open that no session knows of yet. */
  readonly #underWay = new Set<Promise<unknown>>()
  #closing: Promise<void> | null = null

  constructor(options: SynchronizerOptions) {
    super()
    this.setMaxListeners(0)
    if (!simd && !warned) {
      warned = true
      process.emitWarning('WebAssembly SIMD is missing: syncline hashes in JavaScript, slowly')
    }
    checkStorage(options?.storage)
    if (options.limits !== undefined) checkLimits(options.limits)
    this.#options = options
    this.#limits = options.limits ?? { upload: 0, download: 0 }
    const { storage, journal, keyPair } = options
    this.#storage =
      typeof storage === 'string'
        ? FeedFolder.open(storage, journal === undefined ? {} : { journal })
        : Promise.resolve(storage)
    // Whoever uses it hears of the failure; until then it is nobody's unhandled rejection.
    this.#storage.catch(() => {})
    this.#loop = new Loop({
      clock: systemClock,
      limits: this.#limits,
      listener: {
        tell: (telling) => this.#tell(telling),
        uploaded: (feed, peer, start, byteLengths) =>
          this.#transferred('upload', feed, peer, start, byteLengths),
        extension: (feed, peer, message) => this.#extension(feed, peer, message),
        disconnected: (peer, error) => this.#disconnected(peer, error),
        occupied: (feed, peer) => this.#occupied(feed, peer),
        lookup: (discoveryKey) => this.#lookup(discoveryKey)
      }
    })
    this.#places = new Places({
      clock: systemClock,
      most: this.#connectionsMax,
      evict: (peer) => this.#loop.closePeer(peer)
    })
    this.#tcp = new TcpTransport({
      ...(keyPair === undefined ? {} : { keyPair }),
      onconnection: (connection) => this.#accept(connection)
    })
    this.#dialer = new Dialer({
      clock: systemClock,
      connect: (host, port) => this.#tcp.connect(host, port),
      onconnection: (connection, address) => {
        const peer = this.#accept(connection)
        if (peer !== null) this.#dialled.set(peer.id, { address, used: false })
        return peer !== null
      }
    })
    if (options.signals === true) this.#stopSignals = onSignals(() => this.close())
  }

  /** Resolves when the storage is open. @throws SynclineError STORE_IS_V11, STORAGE_FAILED. */
  async ready(): Promise<void> {
    await this.#storage
  }

  /** The feeds that are open. */
  get feeds(): FeedSession[] {
    return [...this.#entries.values()].map(({ session }) => session)
  }

  /** The peers that are connected. */
  get peers(): Peer[] {
    return [...this.#peers.values()]
  }

  /**
   * Makes a new feed under a name, durable when it resolves.
   *
   * @throws SynclineError FEED_EXISTS, BAD_ARGUMENT, INVALID_MANIFEST; what the storage throws.
   */
  create(name: string, options: CreateOptions = {}): Promise<FeedSession> {
    return this.#track(this.#create(name, options))
  }

  async #create(name: string, options: CreateOptions): Promise<FeedSession> {
    checkName(name)
    checkAdding(options)
    const storage = await this.#open()
    const { compat = false } = options
    const feed = await StoredFeed.open(await storage.create(name, { ...options, compat }))
    await this.#closeIfLate(feed)
    const session = this.#enter(feed.key, toHex(feed.key), Promise.resolve(feed), options, name)
    await session.ready()
    return session
  }

  /**
   * Opens a stored feed by name or key.
   *
   * @throws SynclineError FEED_NOT_FOUND; what the storage throws.
   */
  open(nameOrKey: string | Uint8Array, options: AddOptions = {}): Promise<FeedSession> {
    return this.#track(this.#openFeed(nameOrKey, options))
  }

  async #openFeed(nameOrKey: string | Uint8Array, options: AddOptions): Promise<FeedSession> {
    if (!(nameOrKey instanceof Uint8Array)) checkName(nameOrKey)
    checkAdding(options)
    const key = typeof nameOrKey === 'string' ? parseKey(nameOrKey) : nameOrKey
    const known = key === null ? this.#idOfName(nameOrKey as string) : toHex(key)
    const present = known === null ? null : this.#present(known, options)
    if (present !== null) return present
    const storage = await this.#open()
    if (known !== null) await this.#closed(known)
    const store =
      key === null ? await storage.openByName(nameOrKey as string) : await storage.openByKey(key)
    const feed = await StoredFeed.open(store)
    await this.#closeIfLate(feed)
    const id = toHex(feed.key)
    // It may have been opened meanwhile, and under a name we may not have known that it is.
    if (this.#entries.has(id) || this.#removals.has(id)) {
      await feed.close()
      return this.#openFeed(feed.key, options)
    }
    const name = key === null ? (nameOrKey as string) : null
    const session = this.#enter(feed.key, id, Promise.resolve(feed), options, name)
    await session.ready()
    return session
  }

  /**
   * Synchronizes a feed: one that is stored, one of which only the key is known, or a live `Hypercore` 11 of
   * the user's. Adding a feed again gives the session that is there, or a new one if that one's storage failed.
   *
   * @throws SynclineError BAD_KEY, UNSUPPORTED, SESSION_CLOSED. What opening the storage throws comes from the
   * session's `ready()`.
   */
  add(source: string | Uint8Array | HypercoreLike, options: AddOptions = {}): FeedSession {
    if (this.#closing !== null) throw closedError()
    if (options.drive !== undefined) {
      throw new SynclineError('UNSUPPORTED', 'drives are not synchronized by this version')
    }
    if (typeof source === 'string' || source instanceof Uint8Array) {
      const key = toKey(source)
      const opening = async (): Promise<Feed> => {
        const storage = await this.#storage
        return StoredFeed.open(await storage.add(key))
      }
      return this.host(key, opening, options)
    }
    const key = source?.key
    if (!(key instanceof Uint8Array)) {
      throw new SynclineError('UNSUPPORTED', 'wait for ready() of the hypercore first')
    }
    // Open already: it takes none of the places for those that are being opened.
    return this.#hostOnce(key, options, (free) => free.then(() => HypercoreFeed.open(source)))
  }

  /**
   * Synchronizes a feed that the caller opens, wherever its store is. From then on it belongs to the session, which
   * closes it. A feed that is open here already is not opened again, and `opening` is not called.
   *
   * @throws SynclineError SESSION_CLOSED. What opening throws comes from the session's `ready()`.
   */
  host(key: Uint8Array, opening: () => Promise<Feed>, options: AddOptions = {}): FeedSession {
    if (this.#closing !== null) throw closedError()
    return this.#hostOnce(key, options, (free) => this.#opening.run(() => free.then(opening)))
  }

  /** The session of a feed: the one that is there, or a new one, for which `open` opens it once it is free. */
  #hostOnce(
    key: Uint8Array,
    options: AddOptions,
    open: (free: Promise<unknown>) => Promise<Feed>
  ): FeedSession {
    checkAdding(options)
    const id = toHex(key)
    return this.#present(id, options) ?? this.#enter(key, id, open(this.#closed(id)), options)
  }

  /** All stored feeds, open or not. */
  async *list(): AsyncIterable<StoredFeedInfo> {
    yield* (await this.#open()).list()
  }

  /**
   * Deletes a stored feed; it is closed first.
   *
   * @throws SynclineError FEED_NOT_FOUND, REFUSED for a writable one without `force`.
   */
  remove(
    nameOrKey: string | Uint8Array,
    options: { readonly force?: boolean } = {}
  ): Promise<void> {
    return this.#track(this.#removeStored(nameOrKey, options.force === true))
  }

  async #removeStored(nameOrKey: string | Uint8Array, force: boolean): Promise<void> {
    const storage = await this.#open()
    const wanted = typeof nameOrKey === 'string' ? null : nameOrKey
    for await (const info of storage.list()) {
      const same =
        wanted === null
          ? info.name === nameOrKey || sameKey(info.key, nameOrKey as string)
          : b4a.equals(info.key, wanted)
      if (!same) continue
      if (info.writable && !force) {
        throw new SynclineError(
          'REFUSED',
          'a writable feed cannot be fetched again: its secret key is only here'
        )
      }
      return this.#remove(storage, info.key)
    }
    throw new SynclineError(
      'FEED_NOT_FOUND',
      `no feed ${wanted === null ? String(nameOrKey) : toHex(wanted)} is stored`
    )
  }

  /**
   * Accepts TCP connections.
   *
   * @param host - all interfaces by default.
   * @returns the addresses under which others reach us, `HOST:PORT`.
   * @throws SynclineError CONNECTION_FAILED.
   */
  async listen(port: number = 0, host?: string): Promise<string[]> {
    await this.#tcp.listen({ port, ...(host === undefined ? {} : { host }) })
    return this.#tcp.addresses().map((address) => address.slice('tcp:'.length))
  }

  /**
   * Keeps a TCP connection to an address: lost ones are dialled again, with a growing wait.
   *
   * @throws SynclineError CONNECTION_FAILED when the first try fails; it is tried again all the same.
   */
  async connect(host: string, port: number): Promise<void> {
    if (this.#closing !== null) throw closedError()
    await this.#dialer.add(host, port)
  }

  /** Stops dialling an address; a connection that stands is left alone. */
  disconnect(host: string, port: number): void {
    this.#dialer.remove(host, port)
  }

  /** Why the addresses that are not connected could not be reached. */
  unreachable(): { readonly address: string; readonly error: SynclineError }[] {
    return this.#dialer.failures()
  }

  /** Finds peers over hyperswarm; topics are joined and left as feeds come and go. */
  swarm(options: SwarmOptions = {}): HyperswarmTransport {
    if (this.#closing !== null) throw closedError()
    if (this.#swarm !== null) return this.#swarm
    const { keyPair } = this.#options
    this.#swarm = new HyperswarmTransport({
      ...options,
      ...(keyPair === undefined ? {} : { keyPair }),
      maxPeers: this.#connectionsMax,
      onconnection: (connection) => this.#accept(connection)
    })
    for (const entry of this.#entries.values()) this.#join(entry)
    return this.#swarm
  }

  /** What the swarm knows of the peers of a feed; null without a swarm. */
  topic(discoveryKey: Uint8Array): TopicStatus | null {
    return this.#swarm?.status(discoveryKey) ?? null
  }

  /**
   * Replicates over a connection that the user already has.
   *
   * A raw duplex (with `isInitiator`) is encrypted and ours from then on; a secret-stream, a hyperswarm
   * connection or a Protomux stays the user's, with whatever else runs on it.
   *
   * @throws SynclineError BAD_ARGUMENT, CONNECTION_FAILED, TOO_MANY, SESSION_CLOSED; the signal's reason.
   */
  async attach(duplex: object, options: AttachOptions = {}): Promise<Peer> {
    if (this.#closing !== null) throw closedError()
    const signal = joinSignals(this.#attaching.signal, options.signal)
    const connection = await attach(duplex, { ...options, signal })
    const peer = this.#accept(connection)
    if (peer !== null) return peer
    if (this.#closing !== null) throw closedError()
    throw new SynclineError('TOO_MANY', 'there is no room for another connection')
  }

  get limits(): RateLimits {
    return this.#limits
  }

  /** Bytes per second each way over all peers; 0 is no limit. */
  setLimits(limits: RateLimits): void {
    checkLimits(limits)
    this.#limits = limits
    this.#loop.post({ type: 'configure', limits })
  }

  /**
   * Closes connections, transports and feeds in good order. Idempotent.
   *
   * @throws SynclineError DISK_FULL, STORAGE_FAILED of the first feed that could not be closed, once all else is.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    this.#stopSignals?.()
    for (const stop of this.#idleTimers) stop()
    this.#attaching.abort(closedError())
    this.#dialer.close()
    await this.#tcp.close()
    const gone = this.#gone()
    for (const peer of this.#peers.values()) peer.close()
    await gone
    await this.#loop.close()
    await Promise.allSettled(this.#underWay)
    const failures: unknown[] = []
    const failed = (error: unknown): void => {
      failures.push(error)
    }
    for (const { session } of [...this.#entries.values()]) await session.close().catch(failed)
    await this.#swarm?.close().catch(failed)
    emit(this, 'close')
    if (failures.length > 0) throw failures[0]
  }

  /** Resolves when no peer is left. A connection that closes has CLOSE_TIMEOUT_MS to do so in good order. */
  #gone(): Promise<void> {
    if (this.#peers.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.on('peer-disconnect', () => {
        if (this.#peers.size === 0) resolve()
      })
    })
  }

  get #connectionsMax(): number {
    return this.#options.connections ?? CONNECTIONS_MAX
  }

  #open(): Promise<FeedStorage> {
    if (this.#closing !== null) return Promise.reject(closedError())
    return this.#storage
  }

  /** Lets `close` wait for work on stores. */
  #track<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work)
    const done = (): void => void this.#underWay.delete(work)
    work.then(done, done)
    return work
  }

  /** A feed that was opened while the synchronizer closed would stay open. */
  async #closeIfLate(feed: Feed): Promise<void> {
    if (this.#closing === null) return
    await feed.close()
    throw closedError()
  }

  #present(id: string, options: AddOptions): FeedSession | null {
    const entry = this.#entries.get(id)
    if (entry === undefined) return null
    const { session } = entry
    // One that its storage stopped begins anew; a conflict stays one.
    if (session.failure !== null && session.failure.code !== 'CONFLICT') {
      session.close().catch(() => {})
    }
    if (session.closing !== null) return null
    if (entry.lazy) this.#claim(entry, options)
    return session
  }

  /** Only remotes had asked for the feed: who adds it now says how it is synchronized. */
  #claim(entry: Entry, options: AddOptions): void {
    const { session, host } = entry
    entry.lazy = false
    entry.settings = settingsOf(options)
    session.configure(entry.settings)
    if (host === null) return
    const { mode, priority, direction } = entry.settings
    host.setPriority(priority)
    host.setDirection(direction, null)
    for (const [start, end] of entry.settings.ranges) host.want(start, end)
    host.setMode(mode)
  }

  /** Resolves when a feed that is being closed or removed can be opened anew. */
  #closed(id: string): Promise<unknown> {
    const closing = this.#entries.get(id)?.session.closing ?? null
    const removal = this.#removals.get(id)
    // Asked for each of thousands of feeds that are added at once.
    if (closing === null && removal === undefined) return FREE
    return Promise.allSettled([closing, removal])
  }

  /** Nobody opens a feed while it is removed, not even for a remote that asks for it. */
  async #remove(storage: FeedStorage, key: Uint8Array): Promise<void> {
    const id = toHex(key)
    const before = this.#removals.get(id)?.catch(() => {})
    const closing = this.#entries.get(id)?.session.close()
    const removal = Promise.all([before, closing]).then(() => storage.remove(key))
    this.#removals.set(id, removal)
    try {
      await removal
    } finally {
      if (this.#removals.get(id) === removal) this.#removals.delete(id)
    }
  }

  #idOfName(name: string): string | null {
    for (const [id, entry] of this.#entries) if (entry.name === name) return id
    return null
  }

  /** @param id - the key, hexadecimal. */
  #enter(
    key: Uint8Array,
    id: string,
    opening: Promise<Feed>,
    options: AddOptions,
    name: string | null = null
  ): FeedSession {
    const settings = settingsOf(options)
    const hosted = opening.then((feed) => this.#host(entry, feed))
    hosted.catch(() => this.#forget(entry))
    const entry: Entry = {
      name,
      session: new FeedSession(key, settings, hosted),
      settings,
      host: null,
      lazy: false,
      extensions: null
    }
    this.#entries.set(id, entry)
    return entry.session
  }

  #host(entry: Entry, feed: Feed): SessionHost {
    const loop = this.#loop
    const { settings } = entry
    const id = loop.addFeed(feed, {
      mode: settings.mode,
      priority: settings.priority,
      direction: settings.direction,
      wants: settings.ranges
    })
    this.#byId.set(id, entry)
    entry.host = new HostedFeed(id, feed, loop, this.#owner)
    this.#join(entry)
    return entry.host
  }

  async #release(id: number): Promise<void> {
    const entry = this.#byId.get(id)
    this.#loop.removeFeed(id)
    this.#byId.delete(id)
    if (entry === undefined) return
    if (this.#closing === null) await this.#swarm?.leave(entry.session.discoveryKey)
    try {
      await entry.host?.feed.close()
    } finally {
      this.#forget(entry)
    }
  }

  /** Another entry of the feed may have taken its place. */
  #forget(entry: Entry): void {
    const id = toHex(entry.session.key)
    if (this.#entries.get(id) === entry) this.#entries.delete(id)
  }

  #progress(id: number): ReturnType<SessionHost['progress']> {
    const progress = this.#loop.progress(id)
    if (progress === null) throw closedError()
    let downloadBytesPerSecond = 0
    const peers = progress.peers.map((channel) => {
      downloadBytesPerSecond += channel.downloadBytesPerSecond
      return { ...channel, name: this.#peers.get(channel.peer)?.name ?? '' }
    })
    return { ...progress, peers, downloadBytesPerSecond }
  }

  #peersOf(id: number): Peer[] {
    const progress = this.#loop.progress(id)
    if (progress === null) return []
    return progress.peers.flatMap((channel) => this.#peers.get(channel.peer) ?? [])
  }

  /** Who serves a feed is to be found, who wants it looks for others. */
  #modeChanged(id: number): void {
    const entry = this.#byId.get(id)
    if (entry !== undefined) this.#join(entry)
  }

  #join(entry: Entry): void {
    const swarm = this.#swarm
    if (swarm === null || entry.host === null) return
    const { mode } = entry.session
    const server = mode !== 'pull'
    const client = mode !== 'serve'
    swarm.join(entry.session.discoveryKey, { server, client }).catch((error: unknown) => {
      if (this.#closing === null && error instanceof SynclineError) {
        emit(this, 'feed-error', entry.session, error)
      }
    })
  }

  /** Takes a connection in; null if there is no room or the remote has to wait. */
  #accept(connection: TransportConnection): Peer | null {
    const { remotePublicKey } = connection.stream
    const identity = remotePublicKey === null ? null : toHex(remotePublicKey)
    const banned = identity !== null && this.#tried.delay(identity, systemClock.now()) > 0
    const isOurs = connection.dialled !== null
    if (this.#closing !== null || banned || (!isOurs && !this.#places.free())) {
      if (connection.owned) connection.stream.destroy()
      return null
    }
    const link = new Connection(connection)
    // Hypercores take a new key pair for each plain connection: who is dialled is known by the address.
    const id = this.#loop.addLink(link, undefined, connection.dialled ?? undefined)
    const peer = new Peer(id, link, {
      progress: (number) => this.#loop.peerProgress(number),
      configure: (number, settings) =>
        this.#loop.post({ type: 'configure-peer', peer: number, feed: null, ...settings }),
      close: (number) => this.#loop.closePeer(number)
    })
    this.#peers.set(id, peer)
    if (!isOurs) this.#places.take(id, !connection.owned)
    emit(this, 'peer-connect', peer)
    return peer
  }

  #disconnected(id: number, error: SynclineError | null): void {
    const peer = this.#peers.get(id)
    if (peer === undefined) return
    this.#peers.delete(id)
    this.#places.leave(id)
    peer.closed = true
    const fault = error !== null && FAULTS.has(error.code)
    if (fault && peer.remotePublicKey !== null) {
      this.#tried.fail(toHex(peer.remotePublicKey), systemClock.now())
    }
    const dialled = this.#dialled.get(id)
    this.#dialled.delete(id)
    if (dialled !== undefined) this.#dialer.ended(dialled.address, { fault, used: dialled.used })
    if (fault && error !== null) emit(this, 'peer-fault', peer, error)
    emit(this, 'peer-disconnect', peer, error)
    for (const { session } of this.#entries.values()) session.check()
  }

  #tell(telling: Telling): void {
    if (telling.event === 'peer-add') this.#feedOpened(telling.peer)
    if (telling.event === 'peer-remove') {
      this.#places.closed(telling.peer)
      this.#extensionNames.delete(`${telling.peer}:${telling.feed}`)
    }
    const entry = this.#byId.get(telling.feed)
    if (entry === undefined) return
    const { session } = entry
    switch (telling.event) {
      case 'download':
        return this.#transferred(
          'download',
          telling.feed,
          telling.peer,
          telling.start,
          telling.byteLengths
        )
      case 'peer-add':
      case 'peer-remove':
      case 'remote': {
        const peer = this.#peers.get(telling.peer)
        if (peer !== undefined) session.tell(telling.event, peer)
        session.check()
        if (telling.event === 'peer-remove') this.#closeIdle(entry)
        return
      }
      case 'synced':
        session.tell('synced')
        session.check()
        return
      case 'configured':
        session.check()
        return
      case 'conflict': {
        const error = new SynclineError('CONFLICT', 'two signed histories of one feed exist', {
          feed: toHex(session.discoveryKey),
          peer: this.#peers.get(telling.peer)?.name ?? ''
        })
        session.tell('conflict', error)
        session.fail(error)
        emit(this, 'conflict', session, error)
        return
      }
      case 'feed-error': {
        // The user is closing the core below: nothing failed, and its close event may be yet to come.
        if (telling.code === 'SESSION_CLOSED') {
          session.close().catch(() => {})
          return
        }
        const error = new SynclineError(telling.code, telling.message, {
          feed: toHex(session.discoveryKey)
        })
        session.fail(error)
        emit(this, 'feed-error', session, error)
        return
      }
      default:
        telling satisfies never
    }
  }

  #feedOpened(peer: number): void {
    this.#places.opened(peer)
    const dialled = this.#dialled.get(peer)
    if (dialled !== undefined) dialled.used = true
  }

  #transferred(
    event: 'download' | 'upload',
    feed: number,
    peerId: number,
    start: number,
    byteLengths: Uint32Array
  ): void {
    const entry = this.#byId.get(feed)
    if (entry === undefined) return
    entry.session.check()
    if (!entry.session.isHeard(event)) return
    const peer = this.#peers.get(peerId) ?? null
    for (const [i, byteLength] of byteLengths.entries()) {
      entry.session.tell(event, start + i, byteLength, peer)
    }
  }

  #occupied(feed: number, peer: number): void {
    // Feeds are opened while a connection is taken in, before there is a peer to tell of.
    queueMicrotask(() => {
      const entry = this.#byId.get(feed)
      const remote = this.#peers.get(peer)
      if (entry === undefined || remote === undefined) return
      emit(this, 'occupied', entry.session, remote)
    })
  }

  #register(feed: number, name: string, handlers: ExtensionHandlers): FeedExtension {
    const entry = this.#byId.get(feed)
    if (entry === undefined) throw closedError()
    const extensions = (entry.extensions ??= new Map<string, ExtensionHandlers>())
    // As with hypercore, a later one takes the place of an earlier one of its name.
    extensions.set(name, handlers)
    const send = (message: Uint8Array, peer: number): boolean =>
      this.#loop.sendExtension(feed, peer, { type: 'extension', name, message })
    return {
      name,
      send: (message, peer) => send(encodeExtension(message, handlers), peer.id),
      broadcast: (message) => {
        const bytes = encodeExtension(message, handlers)
        let sent = 0
        for (const peer of this.#peersOf(feed)) if (send(bytes, peer.id)) sent++
        return sent
      },
      destroy: () => {
        if (extensions.get(name) === handlers) extensions.delete(name)
      }
    }
  }

  #extension(feed: number, peerId: number, message: Extension): void {
    const key = `${peerId}:${feed}`
    const name = message.name === '' ? (this.#extensionNames.get(key) ?? '') : message.name
    const peer = this.#peers.get(peerId)
    const handlers = this.#byId.get(feed)?.extensions?.get(name)
    // It may be registered before the next message comes.
    const isKept = handlers !== undefined || name.length <= EXTENSION_NAME_CHARS_MAX
    if (isKept) this.#extensionNames.set(key, name)
    else this.#extensionNames.delete(key)
    if (peer === undefined || handlers === undefined) return
    handleExtension(message.message, peer, handlers)
  }

  /** Closes a feed that only remotes asked for, if none of them has it open some time from now. */
  #closeIdle(entry: Entry): void {
    const unused = (): boolean =>
      entry.lazy && this.#closing === null && entry.session.peers.length === 0
    if (!unused()) return
    const stop = systemClock.setTimer(() => {
      this.#idleTimers.delete(stop)
      if (!unused()) return
      entry.session.close().catch((error: unknown) => {
        if (error instanceof SynclineError) emit(this, 'feed-error', entry.session, error)
      })
    }, IDLE_FEED_MS)
    this.#idleTimers.add(stop)
  }

  /** A remote wants a feed that is stored and not open: it is opened to be served. */
  async #lookup(discoveryKey: Uint8Array): Promise<boolean> {
    if (this.#closing !== null) return false
    try {
      const storage = await this.#storage
      const store = await storage.openByDiscoveryKey(discoveryKey)
      if (store === null) return false
      const feed = await StoredFeed.open(store)
      const id = toHex(feed.key)
      // Somebody may be adding it, or opened it meanwhile: a feed is hosted once.
      let session = this.#entries.get(id)?.session
      const isFree = !this.#removals.has(id) && this.#closing === null
      if (session === undefined && isFree) {
        session = this.#enter(feed.key, id, Promise.resolve(feed), LAZY)
        const entry = this.#entries.get(id)
        if (entry !== undefined) entry.lazy = true
      } else {
        await feed.close()
      }
      if (session === undefined) return false
      if (session.closing !== null) {
        await this.#closed(id)
        return await this.#lookup(discoveryKey)
      }
      await session.ready()
      // Whoever asked may be gone, or not know the key: no channel may ever tell that it left.
      const entry = this.#entries.get(id)
      if (entry !== undefined) this.#closeIdle(entry)
      return true
    } catch {
      // What cannot be opened is not served; whoever opens it by name hears why.
      return false
    }
  }
}

function settingsOf(options: AddOptions): SessionSettings {
  return {
    mode: options.mode ?? 'both',
    priority: options.priority ?? 0,
    direction: options.direction ?? 'both',
    encryptionKey: options.encryptionKey ?? null,
    valueEncoding: options.valueEncoding ?? 'binary',
    ranges: options.ranges ?? ALL
  }
}

function sameKey(key: Uint8Array, text: string): boolean {
  try {
    return b4a.equals(key, toKey(text))
  } catch {
    return false
  }
}

function closedError(): SynclineError {
  return new SynclineError('SESSION_CLOSED', 'the synchronizer is closed')
}
