/**
 * The event loop: it owns the local feeds and the links to peers, turns what arrives into inputs of
 * the engine, and carries out the effects that the engine returns.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { Engine, type FeedProgress, type PeerProgress } from '../engine/engine.ts'
import type { Effect, Telling } from '../engine/effect.ts'
import type {
  Direction,
  Failure,
  FeedView,
  Input,
  LocalChange,
  Mode,
  RateLimits
} from '../engine/input.ts'
import type { Snapshot } from '../engine/snapshot.ts'
import { copyBytes, toHex } from '../feed/bytes.ts'
import type { ChunkResult, Feed, FeedChange, Reorg } from '../feed/feed.ts'
import { copyManifest } from '../feed/manifest.ts'
import { rethrow } from '../feed/rethrow.ts'
import { leafHash } from '../kernels/fold.ts'
import { BufferPool } from '../primitives/buffer-pool.ts'
import { fullRoots } from '../primitives/flat-tree.ts'
import type { BlockRequest, Data, Extension, Proof, TreeNode } from '../wire/message.ts'
import type { RequestRun, ValueRun } from '../wire/run.ts'
import { answer, toFailure } from './answer.ts'
import { ChunkBuffer } from './chunk-buffer.ts'
import type { Outgoing } from './frame.ts'
import type { Link, Received } from './link.ts'
import { type LearntNodes, RemoteNodes } from './remote-nodes.ts'
import type { Clock } from './timers.ts'
import { closedError, type WaitOptions } from './waiting.ts'

/** Items taken from one link before the next has its turn. */
const ITEMS_PER_TURN = 512

/** How a feed enters the loop. */
export interface FeedSettings {
  readonly mode: Mode
  readonly priority: number
  readonly direction: Direction
  readonly wants: readonly (readonly [start: number, end: number])[]
}

/** What the loop tells its owner. */
export interface LoopListener {
  /** Something that the engine has to tell about a feed. */
  tell(telling: Telling): void
  /** Blocks from `start` on were given to a peer: one length in bytes for each. */
  uploaded(feed: number, peer: number, start: number, byteLengths: Uint32Array): void
  /** An extension message came. */
  extension(feed: number, peer: number, message: Extension): void
  /** A connection ended; the error names the peer's fault, if it was one. */
  disconnected(peer: number, error: SynclineError | null): void
  /** A feed is already replicated by something else on this connection and is left alone there. */
  occupied(feed: number, peer: number): void
  /** A remote wants a feed that is not open: open it and `addFeed`, or resolve to false. */
  lookup(discoveryKey: Uint8Array): Promise<boolean>
}

interface FeedEntry {
  readonly id: number
  readonly feed: Feed
  mode: Mode
  readonly stop: () => void
  /** Leaf hashes of chunks that did not fold, by block; null if there are none. */
  suspects: Map<number, { chunk: number; peer: number; hash: Uint8Array }> | null
  /** Null until somebody asks for one. */
  nodes: RemoteNodes | null
  reorg: Reorg | null
  /** Grows whenever a reorg begins or is dropped: what belongs to an earlier one is stale. */
  reorgs: number
}

interface PeerEntry {
  readonly id: number
  readonly link: Link
  /** Feed of each channel, and back. */
  readonly feeds: Map<number, number>
  readonly channels: Map<number, number>
  /** Feeds that the remote rejected or closed. */
  readonly closed: Set<number>
  /** True once we ended the connection. */
  leaving: boolean
  error: SynclineError | null
}

/** See the module comment. */
export class Loop {
  readonly #clock: Clock
  readonly #listener: LoopListener
  readonly #engine: Engine
  readonly #feeds = new Map<number, FeedEntry>()
  readonly #byDiscoveryKey = new Map<string, number>()
  readonly #peers = new Map<number, PeerEntry>()
  /** Values of chunks that are being filled, by chunk. */
  readonly #buffers = new Map<number, ChunkBuffer>()
  #inbox: Input[] = []
  readonly #readable = new Set<PeerEntry>()
  readonly #pool = new BufferPool()
  #nextFeed = 1
  #nextPeer = 1
  #scheduled = false
  #turning = false
  /** True while what one link received is taken in: what follows of it is decided once. */
  #receiving = false
  #stopWake: (() => void) | null = null
  #wakeAt = Infinity
  #work = 0
  #idle: (() => void)[] = []
  #closed = false

  constructor(options: {
    readonly clock: Clock
    readonly listener: LoopListener
    readonly limits?: RateLimits
  }) {
    this.#clock = options.clock
    this.#listener = options.listener
    this.#engine = new Engine({
      now: options.clock.now(),
      ...(options.limits === undefined ? {} : { limits: options.limits })
    })
  }

  /** Takes a feed in; it is opened on all links that stand. Returns its number. */
  addFeed(feed: Feed, settings: FeedSettings): number {
    const id = this.#nextFeed++
    const entry: FeedEntry = {
      id,
      feed,
      mode: settings.mode,
      stop: feed.onchange((change) => this.#changed(id, change)),
      suspects: null,
      nodes: null,
      reorg: null,
      reorgs: 0
    }
    this.#feeds.set(id, entry)
    this.#byDiscoveryKey.set(toHex(feed.discoveryKey), id)
    const { mode, priority, direction, wants } = settings
    const view = viewOf(feed)
    const { have } = feed
    this.post({ type: 'add-feed', feed: id, view, have, mode, priority, direction, wants })
    for (const peer of this.#peers.values()) this.#offer(peer, entry)
    return id
  }

  /** Lets a feed go; its channels are closed. The feed itself stays open. */
  removeFeed(id: number): void {
    const entry = this.#feeds.get(id)
    if (entry === undefined) return
    entry.stop()
    entry.nodes?.fail(closedError())
    this.post({ type: 'remove-feed', feed: id })
    this.#drain()
    for (const peer of this.#peers.values()) peer.link.unwatch(entry.feed.discoveryKey)
    this.#feeds.delete(id)
    this.#byDiscoveryKey.delete(toHex(entry.feed.discoveryKey))
  }

  /** The number of a feed that is in the loop, or null. */
  feedId(discoveryKey: Uint8Array): number | null {
    return this.#byDiscoveryKey.get(toHex(discoveryKey)) ?? null
  }

  /**
   * Takes a link in and opens on it what is to be synchronized. Returns the peer's number.
   *
   * @param identity - what stays the same when the remote comes again; by default its public key.
   */
  addLink(link: Link, limits?: RateLimits, identity: string = identityOf(link)): number {
    const id = this.#nextPeer++
    const entry: PeerEntry = {
      id,
      link,
      feeds: new Map(),
      channels: new Map(),
      closed: new Set(),
      leaving: false,
      error: null
    }
    this.#peers.set(id, entry)
    this.post({
      type: 'peer-open',
      peer: id,
      identity,
      ...(limits === undefined ? {} : { limits })
    })
    link.onreadable = () => this.#schedule(entry)
    link.ondrain = () => this.#flow(entry)
    for (const feed of this.#feeds.values()) this.#offer(entry, feed)
    this.#schedule(entry)
    return id
  }

  /** Opens a feed on the links where it is not open: after it was closed there, or its mode changed. */
  reopen(id: number): void {
    const entry = this.#feeds.get(id)
    if (entry === undefined) return
    for (const peer of this.#peers.values()) {
      peer.closed.delete(id)
      if (!peer.channels.has(id)) this.#open(peer, entry)
    }
  }

  setMode(id: number, mode: Mode): void {
    const entry = this.#feeds.get(id)
    if (entry === undefined) return
    entry.mode = mode
    this.post({ type: 'configure-feed', feed: id, mode })
    if (mode !== 'serve') this.reopen(id)
  }

  /** Sends an extension message to one peer of a feed; false if the feed is not open there. */
  sendExtension(feed: number, peer: number, message: Extension): boolean {
    const entry = this.#peers.get(peer)
    const channel = entry?.channels.get(feed)
    if (entry === undefined || channel === undefined) return false
    entry.link.send(channel, [message])
    return true
  }

  /** As {@link RemoteNodes.get}. */
  async node(feed: number, index: number, options?: WaitOptions): Promise<TreeNode> {
    const entry = this.#feeds.get(feed)
    if (entry === undefined) throw closedError()
    return this.#nodesOf(entry).get(index, options)
  }

  /** Hands the engine an input; its effects follow before the next one is taken. */
  post(input: Input): void {
    if (this.#closed) return
    this.#inbox.push(input)
    if (this.#scheduled || this.#turning) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#drain()
    })
  }

  progress(feed: number): FeedProgress | null {
    return this.#engine.progress(feed)
  }

  /** True if everything wanted of a feed is here. */
  isSynced(feed: number): boolean {
    return this.#engine.isSynced(feed)
  }

  peerProgress(peer: number): PeerProgress | null {
    return this.#engine.peerProgress(peer)
  }

  /** Ends a connection in good order. */
  closePeer(id: number): void {
    const peer = this.#peers.get(id)
    if (peer === undefined) return
    peer.leaving = true
    peer.link.terminate(null)
  }

  /** The link of a peer, or null once it is gone. */
  link(peer: number): Link | null {
    return this.#peers.get(peer)?.link ?? null
  }

  get peers(): Iterable<number> {
    return this.#peers.keys()
  }

  /** State of the engine, of one feed in particular; for tests and for people. */
  snapshot(feed?: number): Snapshot {
    return this.#engine.snapshot(feed)
  }

  /** Lets the engine check its invariants. */
  check(): void {
    this.#engine.check()
  }

  /** Resolves when no effect that takes time is under way and everything that arrived was taken in. */
  idle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve()
    return new Promise((resolve) => this.#idle.push(resolve))
  }

  /** Ends all links and waits for what is under way. Feeds stay open. */
  async close(): Promise<void> {
    if (this.#closed) return
    for (const peer of this.#peers.keys()) this.closePeer(peer)
    this.#drain()
    for (const entry of this.#feeds.values()) {
      entry.stop()
      entry.nodes?.fail(closedError())
    }
    await this.idle()
    this.#closed = true
    this.#stopWake?.()
  }

  /** Opens a feed on a link, or, if it is only served, waits for the remote to want it. */
  #offer(peer: PeerEntry, entry: FeedEntry): void {
    if (entry.mode === 'serve') peer.link.watch(entry.feed.discoveryKey)
    else this.#open(peer, entry)
  }

  #open(peer: PeerEntry, entry: FeedEntry): void {
    if (peer.channels.has(entry.id) || entry.feed.frozen || peer.error !== null) return
    const channel = peer.link.open(entry.feed)
    if (channel === -1) {
      this.#listener.occupied(entry.id, peer.id)
      return
    }
    // The remote may refuse it now, and want it later.
    peer.link.watch(entry.feed.discoveryKey)
    peer.feeds.set(channel, entry.id)
    peer.channels.set(entry.id, channel)
    this.post({ type: 'channel-opening', peer: peer.id, feed: entry.id })
    // The first messages leave with the open: nothing else may come between.
    if (!this.#turning && !this.#receiving) this.#drain()
  }

  #schedule(peer: PeerEntry): void {
    const waiting = this.#readable.size > 0
    this.#readable.add(peer)
    // Not at once: a read of the socket brings many frames, and what they ask for is answered together.
    if (!waiting) this.#clock.soon(() => this.#turn())
  }

  /** Gives each link with waiting items a turn. */
  #turn(): void {
    for (const peer of [...this.#readable]) {
      const items = peer.link.receive(ITEMS_PER_TURN)
      if (items.length < ITEMS_PER_TURN) this.#readable.delete(peer)
      this.#receiving = true
      this.#received(peer, items)
      this.#receiving = false
      // Before the link is asked for more: the bytes in its items are only lent.
      this.#drain()
    }
    if (this.#readable.size > 0) this.#clock.soon(() => this.#turn())
    else this.#settleIdle()
  }

  #received(peer: PeerEntry, items: readonly Received[]): void {
    for (let i = 0; i < items.length; i++) {
      const item = items[i] as Received
      switch (item.type) {
        case 'wanted':
          this.#wanted(peer, item.discoveryKey)
          break
        case 'channel-open': {
          const feed = peer.feeds.get(item.channel)
          if (feed !== undefined) this.#inbox.push({ type: 'channel-open', peer: peer.id, feed })
          break
        }
        case 'channel-close': {
          const feed = peer.feeds.get(item.channel)
          if (feed === undefined) break
          // What came before may be answered on this channel, and not on the next one of the feed.
          this.#drain()
          this.#forgetChannel(peer, feed)
          peer.closed.add(feed)
          this.#inbox.push({ type: 'channel-close', peer: peer.id, feed })
          break
        }
        case 'message':
          i = this.#message(peer, items, i)
          break
        case 'values': {
          const runs = runsFrom(items, i, item)
          const feed = peer.feeds.get(item.channel)
          if (feed !== undefined) this.#inbox.push({ type: 'values', peer: peer.id, feed, runs })
          i += runs.length - 1
          break
        }
        case 'reads-runs':
          this.post({ type: 'peer-runs', peer: peer.id })
          break
        case 'requests': {
          const runs = runsFrom(items, i, item)
          const feed = peer.feeds.get(item.channel)
          if (feed !== undefined) this.#inbox.push({ type: 'requests', peer: peer.id, feed, runs })
          i += runs.length - 1
          break
        }
        case 'disconnected':
          this.#disconnected(peer, item.error)
          return
        default:
          item satisfies never
      }
    }
  }

  /** Takes one message in, or as many answers of one feed as stand together; returns the last place. */
  #message(peer: PeerEntry, items: readonly Received[], at: number): number {
    const first = items[at]
    if (first === undefined || first.type !== 'message') return at
    const feed = peer.feeds.get(first.channel)
    const { message } = first
    if (message.type !== 'data') {
      if (feed === undefined) return at
      if (message.type === 'extension') {
        this.#drain()
        this.#listener.extension(feed, peer.id, message)
      } else this.#inbox.push({ type: 'message', peer: peer.id, feed, message })
      return at
    }
    const answers: Data[] = [message]
    let last = at
    for (let next = items[last + 1]; next !== undefined; next = items[last + 1]) {
      if (next.type !== 'message' || next.channel !== first.channel) break
      if (next.message.type !== 'data') break
      answers.push(next.message)
      last++
    }
    if (feed !== undefined) this.#inbox.push({ type: 'data', peer: peer.id, feed, answers })
    return last
  }

  #wanted(peer: PeerEntry, discoveryKey: Uint8Array): void {
    const id = this.feedId(discoveryKey)
    const entry = id === null ? undefined : this.#feeds.get(id)
    if (entry !== undefined) {
      this.#open(peer, entry)
      if (!peer.channels.has(entry.id)) peer.link.reject(discoveryKey)
      return
    }
    const key = Uint8Array.from(discoveryKey)
    this.#working(
      this.#listener.lookup(key).then((found) => {
        if (!this.#peers.has(peer.id)) return
        const opened = found ? this.feedId(key) : null
        const added = opened === null ? undefined : this.#feeds.get(opened)
        if (added !== undefined) this.#open(peer, added)
        if (added === undefined || !peer.channels.has(added.id)) peer.link.reject(key)
      })
    )
  }

  #forgetChannel(peer: PeerEntry, feed: number): void {
    const channel = peer.channels.get(feed)
    if (channel === undefined) return
    peer.channels.delete(feed)
    peer.feeds.delete(channel)
  }

  #disconnected(peer: PeerEntry, error: SynclineError | null): void {
    this.#readable.delete(peer)
    this.#peers.delete(peer.id)
    // A hypercore whose stream breaks may end it as if in good order.
    this.#inbox.push({ type: 'peer-close', peer: peer.id, broken: !peer.leaving })
    this.#drain()
    this.#listener.disconnected(peer.id, peer.error ?? error)
  }

  #changed(id: number, change: FeedChange): void {
    const entry = this.#feeds.get(id)
    if (entry === undefined) return
    if (change.type === 'truncate') {
      entry.nodes?.fail(new SynclineError('INVALID_OPERATION', 'the feed was truncated'))
    }
    for (const local of localChanges(change)) {
      this.post({ type: 'changed', feed: id, view: viewOf(entry.feed), change: local })
    }
    if (change.type === 'forget' && entry.mode !== 'serve') this.reopen(id)
  }

  #flow(peer: PeerEntry): void {
    if (!this.#peers.has(peer.id)) return
    this.post(flowOf(peer))
  }

  #drain(): void {
    if (this.#turning) return
    this.#turning = true
    try {
      while (this.#inbox.length > 0) {
        const inputs = this.#inbox
        this.#inbox = []
        this.#step(inputs)
      }
    } finally {
      this.#turning = false
    }
    this.#settleIdle()
  }

  #step(inputs: readonly Input[]): void {
    for (const effect of this.#engine.stepAll(inputs, this.#clock.now())) this.#carryOut(effect)
  }

  #tick(): void {
    this.#wakeAt = Infinity
    this.#stopWake = null
    for (const peer of this.#peers.values()) this.post(flowOf(peer))
    this.post({ type: 'tick' })
  }

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case 'send':
        return this.#send(effect)
      case 'wake':
        return this.#wake(effect.at)
      case 'tell':
        if (effect.event === 'feed-error') {
          const error = new SynclineError(effect.code, effect.message)
          this.#feeds.get(effect.feed)?.nodes?.fail(error)
        }
        return this.#listener.tell(effect)
      case 'close-peer': {
        const peer = this.#peers.get(effect.peer)
        if (peer === undefined || peer.error !== null) return
        const feed = this.#feeds.get(effect.feed)
        peer.error = new SynclineError(effect.code, effect.message, {
          peer: peer.link.name,
          ...(feed === undefined ? {} : { feed: toHex(feed.feed.discoveryKey) })
        })
        peer.link.terminate(peer.error)
        return
      }
      case 'close-channel': {
        const peer = this.#peers.get(effect.peer)
        const channel = peer?.channels.get(effect.feed)
        if (peer === undefined || channel === undefined) return
        this.#forgetChannel(peer, effect.feed)
        peer.link.close(channel)
        this.post({ type: 'channel-close', peer: effect.peer, feed: effect.feed })
        return
      }
      default:
        return this.#carryOutOnFeed(effect)
    }
  }

  #carryOutOnFeed(
    effect: Exclude<Effect, { type: 'send' | 'wake' | 'tell' | 'close-peer' | 'close-channel' }>
  ): void {
    // Also of a feed that was let go meanwhile.
    if (effect.type === 'drop-chunk') this.#dropBuffer(effect.chunk)
    const entry = this.#feeds.get(effect.feed)
    if (entry === undefined) return
    switch (effect.type) {
      case 'load-path':
        return this.#loadPath(entry, effect)
      case 'load-roots':
        return this.#loadRoots(entry, effect)
      case 'verify':
        return this.#verify(entry, effect)
      case 'check-node':
        return this.#checkNode(entry, effect)
      case 'hold':
        return this.#hold(effect)
      case 'fold':
        return this.#fold(entry, effect)
      case 'suspect':
        return this.#suspect(entry, effect.chunk)
      case 'drop-chunk':
        for (const [index, suspect] of entry.suspects ?? []) {
          if (suspect.chunk === effect.chunk) entry.suspects?.delete(index)
        }
        return
      case 'serve':
        return this.#serve(entry, effect)
      case 'reorg':
        return this.#reorg(entry, effect)
      case 'reorg-drop':
        entry.reorg = null
        entry.reorgs++
        return
      case 'check-conflict':
        return this.#checkConflict(entry, effect)
      default:
        effect satisfies never
    }
  }

  #send(effect: Extract<Effect, { type: 'send' }>): void {
    const peer = this.#peers.get(effect.peer)
    const channel = peer?.channels.get(effect.feed)
    if (peer !== undefined && channel !== undefined) peer.link.send(channel, effect.messages)
  }

  #wake(at: number): void {
    if (at >= this.#wakeAt || this.#closed) return
    this.#stopWake?.()
    this.#wakeAt = at
    const delay = at - this.#clock.now()
    if (delay > 0) {
      this.#stopWake = this.#clock.setTimer(() => this.#tick(), delay)
      return
    }
    let stopped = false
    this.#stopWake = () => {
      stopped = true
    }
    this.#clock.soon(() => {
      if (!stopped) this.#tick()
    })
  }

  #loadPath(entry: FeedEntry, effect: Extract<Effect, { type: 'load-path' }>): void {
    const { feed, fork, block } = effect
    this.#working(
      entry.feed.trustedPath(block).then(
        (nodes) => this.post({ type: 'path-loaded', feed, fork, block, nodes }),
        (error: unknown) => this.#failed(feed, error)
      )
    )
  }

  #loadRoots(entry: FeedEntry, effect: Extract<Effect, { type: 'load-roots' }>): void {
    const { feed, fork, length } = effect
    this.#working(
      Promise.all(fullRoots(length).map((root) => entry.feed.missingNodes(root))).then(
        (missing) =>
          this.post({
            type: 'roots-loaded',
            feed,
            fork,
            length,
            stored: missing.every((nodes) => nodes === 0)
          }),
        (error: unknown) => this.#failed(feed, error)
      )
    )
  }

  #failed(feed: number, error: unknown): void {
    this.post({ type: 'feed-failed', feed, failure: toFailure(error, 'local') })
  }

  #verify(entry: FeedEntry, effect: Extract<Effect, { type: 'verify' }>): void {
    const { feed, peer, request, fork } = effect
    const proof = copyProof(effect.data)
    const byteLength = proof.block === null ? 0 : proof.block.value.byteLength
    this.#working(
      entry.feed.applyProof(proof).then(
        (applied) =>
          this.post({
            type: 'verified',
            feed,
            peer,
            request,
            fork,
            failure: null,
            upgraded: applied.upgraded,
            block: applied.block,
            byteLength,
            path: [...applied.path, ...applied.roots],
            liar: applied.block === null ? -1 : findLiar(entry, proof)
          }),
        (error: unknown) =>
          this.post({
            type: 'verified',
            feed,
            peer,
            request,
            fork,
            failure: toFailure(error),
            upgraded: false,
            block: null,
            byteLength: 0,
            path: [],
            liar: -1
          })
      )
    )
  }

  #nodesOf(entry: FeedEntry): RemoteNodes {
    const { id, feed } = entry
    entry.nodes ??= new RemoteNodes({
      feed,
      clock: this.#clock,
      ask: (nodes) => this.post({ type: 'ask-nodes', feed: id, nodes }),
      drop: (index) => this.post({ type: 'drop-nodes', feed: id, indexes: [index] })
    })
    return entry.nodes
  }

  #checkNode(entry: FeedEntry, effect: Extract<Effect, { type: 'check-node' }>): void {
    const { feed, peer, request, fork, asked } = effect
    const done = (learnt: LearntNodes, failure: Failure | null): void =>
      this.post({ type: 'node-checked', feed, peer, request, failure, ...learnt })
    this.#working(
      this.#nodesOf(entry)
        .take(asked, fork, peer, copyProof(effect.data))
        .then(
          (learnt) => done(learnt, null),
          (error: unknown) => done({ learned: [], liar: -1 }, toFailure(error))
        )
    )
  }

  #hold(effect: Extract<Effect, { type: 'hold' }>): void {
    let buffer = this.#buffers.get(effect.chunk)
    if (buffer === undefined) {
      buffer = new ChunkBuffer(effect.start, effect.count, this.#pool.take(effect.size))
      this.#buffers.set(effect.chunk, buffer)
    }
    buffer.hold(effect.run, effect.from, effect.to, effect.peer)
  }

  #fold(entry: FeedEntry, effect: Extract<Effect, { type: 'fold' }>): void {
    const { feed, chunk, fork, root } = effect
    const buffer =
      this.#buffers.get(chunk) ?? new ChunkBuffer(effect.start, effect.count, this.#pool.take(0))
    buffer.folding = true
    const done = (result: ChunkResult, failure: Failure | null): void => {
      buffer.folding = false
      if (buffer.dropped) this.#pool.give(buffer.bytes)
      this.post({ type: 'folded', feed, chunk, result, failure })
    }
    this.#working(
      entry.feed.putChunk({ fork, root, ...buffer.blocks }).then(
        (result) => done(result, null),
        (error: unknown) => done('stale', toFailure(error, 'local'))
      )
    )
  }

  /** Lets the bytes of a chunk go; what is being stored is still needed until it is. */
  #dropBuffer(chunk: number): void {
    const buffer = this.#buffers.get(chunk)
    if (buffer === undefined) return
    this.#buffers.delete(chunk)
    buffer.dropped = true
    if (!buffer.folding) this.#pool.give(buffer.bytes)
  }

  #suspect(entry: FeedEntry, chunk: number): void {
    const buffer = this.#buffers.get(chunk)
    if (buffer === undefined) return
    entry.suspects ??= new Map()
    for (const { index, peer, hash } of buffer.leaves()) {
      entry.suspects.set(index, { chunk, peer, hash })
    }
    this.#dropBuffer(chunk)
  }

  #serve(entry: FeedEntry, effect: Extract<Effect, { type: 'serve' }>): void {
    const { feed, peer, fork, expected } = effect
    const target = this.#peers.get(peer)
    const channel = target?.channels.get(feed)
    let bytes = 0
    const stale = (): boolean =>
      target === undefined ||
      channel === undefined ||
      target.channels.get(feed) !== channel ||
      entry.feed.fork !== fork
    const send = (messages: readonly Outgoing[]): void => {
      if (target !== undefined && channel !== undefined)
        bytes += target.link.send(channel, messages)
    }
    const done = answer(entry.feed, effect.requests, send, stale, effect.most)
    this.#working(
      done.then(({ given, rest, failure }) => {
        let count = 0
        for (const { byteLengths } of given) count += byteLengths.length
        if (target !== undefined && this.#peers.has(peer)) this.post(flowOf(target))
        this.post({ type: 'served', peer, feed, count, expected, bytes, rest, failure })
        for (const { start, byteLengths } of given) {
          this.#listener.uploaded(feed, peer, start, byteLengths)
        }
      })
    )
  }

  #reorg(entry: FeedEntry, effect: Extract<Effect, { type: 'reorg' }>): void {
    const { feed, peer } = effect
    const proof = copyProof(effect.data)
    if (effect.begin) entry.reorgs++
    const { reorgs } = entry
    const done = (next: BlockRequest | null, failure: Failure | null): void => {
      if (entry.reorgs === reorgs) this.post({ type: 'reorged', feed, peer, next, failure })
    }
    this.#working(
      this.#reorgStep(entry, effect.begin, proof).then(
        (next) => done(next, null),
        (error: unknown) => done(null, toFailure(error))
      )
    )
  }

  async #reorgStep(entry: FeedEntry, begin: boolean, proof: Proof): Promise<BlockRequest | null> {
    const { reorgs } = entry
    const reorg = begin ? await entry.feed.reorg(proof) : entry.reorg
    if (!begin) await reorg?.accept(proof)
    if (reorg === null || entry.reorgs !== reorgs) return null
    entry.reorg = reorg
    if (reorg.next === null) await reorg.commit()
    return reorg.next
  }

  #checkConflict(entry: FeedEntry, effect: Extract<Effect, { type: 'check-conflict' }>): void {
    const { feed, peer } = effect
    this.#working(
      entry.feed.checkConflict(copyProof(effect.data)).then(
        (conflict) => this.post({ type: 'conflict-checked', feed, peer, conflict }),
        () => this.post({ type: 'conflict-checked', feed, peer, conflict: false })
      )
    )
  }

  #working(promise: Promise<unknown>): void {
    this.#work++
    void promise
      .catch((error: unknown) => {
        // A rejection here is a bug of ours: it must not be lost.
        rethrow(error)
      })
      .finally(() => {
        this.#work--
        this.#settleIdle()
      })
  }

  #isIdle(): boolean {
    return this.#work === 0 && this.#inbox.length === 0 && this.#readable.size === 0
  }

  #settleIdle(): void {
    if (!this.#isIdle()) return
    for (const resolve of this.#idle.splice(0)) resolve()
  }
}

/** The runs from place `at` on that are of one kind and channel with the first of them. */
function runsFrom<T extends RequestRun | ValueRun>(
  items: readonly Received[],
  at: number,
  first: { readonly type: T['type']; readonly channel: number; readonly run: T }
): T[] {
  const runs = [first.run]
  for (let next = items[at + 1]; next?.type === first.type; next = items[at + runs.length]) {
    const { channel, run } = next as typeof first
    if (channel !== first.channel) break
    runs.push(run)
  }
  return runs
}

function identityOf(link: Link): string {
  return link.remotePublicKey === null ? link.name : toHex(link.remotePublicKey)
}

function flowOf(peer: PeerEntry): Input {
  return {
    type: 'flow',
    peer: peer.id,
    bytesReceived: peer.link.bytesReceived(),
    outboxBytes: peer.link.outboxBytes,
    paused: false
  }
}

/** The state of a feed as the engine wants it. */
function viewOf(feed: Feed): FeedView {
  return {
    fork: feed.fork,
    length: feed.length,
    byteLength: feed.byteLength,
    contiguousLength: feed.contiguousLength,
    writable: feed.writable,
    frozen: feed.frozen,
    allowsForks: feed.allowsForks,
    needsManifest: feed.length === 0 && feed.manifest === null,
    hasManifest: feed.manifest !== null && !feed.compat
  }
}

function localChanges(change: FeedChange): LocalChange[] {
  switch (change.type) {
    case 'append':
      return [
        { type: 'length' },
        { type: 'have', start: change.start, end: change.start + change.length }
      ]
    case 'upgrade':
      return [{ type: 'length' }]
    case 'have':
    case 'clear':
    case 'forget':
      return [{ type: change.type, start: change.start, end: change.end }]
    case 'truncate':
      return [{ type: 'truncate', length: change.length }]
    case 'freeze':
    case 'manifest':
      return [{ type: 'state' }]
    case 'close':
      return []
    default:
      change satisfies never
      return []
  }
}

/** The proof of an answer, with bytes of its own: the frame is only lent. */
function copyProof(data: Data): Proof {
  const { fork, block, hash, seek, upgrade, manifest } = data
  return {
    fork,
    block:
      block === null
        ? null
        : {
            index: block.index,
            value: copyBytes(block.value),
            nodes: copyNodes(block.nodes)
          },
    hash: hash === null ? null : { index: hash.index, nodes: copyNodes(hash.nodes) },
    seek: seek === null ? null : { bytes: seek.bytes, nodes: copyNodes(seek.nodes) },
    upgrade:
      upgrade === null
        ? null
        : {
            start: upgrade.start,
            length: upgrade.length,
            nodes: copyNodes(upgrade.nodes),
            additionalNodes: copyNodes(upgrade.additionalNodes),
            signature: copyBytes(upgrade.signature)
          },
    manifest: manifest === null ? null : copyManifest(manifest)
  }
}

function copyNodes(nodes: readonly TreeNode[]): TreeNode[] {
  return nodes.map(({ index, size, hash }) => ({ index, size, hash: copyBytes(hash) }))
}

/** The peer that gave other bytes for a block than those that are now proven, or -1. */
function findLiar(entry: FeedEntry, proof: Proof): number {
  if (proof.block === null) return -1
  const suspect = entry.suspects?.get(proof.block.index)
  if (suspect === undefined) return -1
  entry.suspects?.delete(proof.block.index)
  const hash = leafHash(proof.block.value)
  return hash.every((byte, i) => byte === suspect.hash[i]) ? -1 : suspect.peer
}
