/**
 * What the engine knows: feeds, peers, and channels (a peer's side of a feed).
 *
 * Invariants, referred to by number:
 * - I1: a block of a feed is in flight at one peer at most; a request given up may still be answered.
 * - I2: a block belongs to one chunk at most, and is in flight only as a block of a chunk.
 * - I3: a block is asked with `nodes = 0` only if the root of its chunk is trusted.
 * - I4: request ids are never used twice on a connection.
 * - I5: a proof is asked only of a peer whose own tree contains the node that it has to end at.
 * - I6: what is announced is held; it can be served unless our sync says that nothing is uploaded.
 *
 * @module
 */
import type { ReadonlyBitmap } from '../primitives/bitmap.ts'
import type { BlockRequest, Sync } from '../wire/message.ts'
import { EXPECTED_BLOCK_BYTES } from '../limits.ts'
import type { ErrorCode } from '../errors.ts'
import type { Chunk } from './chunk.ts'
import type { Effect } from './effect.ts'
import { type Direction, type FeedView, letsIn, type Mode, type RateLimits } from './input.ts'
import { RangeSet } from '../primitives/range-set.ts'
import { Bucket, Meter } from './rate.ts'
import { RemoteHave } from './remote-have.ts'
import { ServeQueue } from './serve-queue.ts'
import type { Suspicion } from './suspicion.ts'
import { Window } from './window.ts'

/** What a request in flight is for. Bare values are asked for in runs. */
export type RequestKind =
  /** A block with its proof. */
  | 'proof'
  /** Block 0 with the first head, sent along with the open. */
  | 'first'
  /** A longer head. */
  | 'upgrade'
  /** The head of a higher fork. */
  | 'reorg'
  /** A node of a higher fork, to find the common ancestors. */
  | 'ancestors'
  /** A node that somebody compares with. */
  | 'node'
  /** The other side's head at our length, under its id 0. */
  | 'conflict'

/** A request that was sent and not answered. */
export interface InFlight {
  readonly id: number
  readonly kind: RequestKind
  readonly channel: Channel
  /** Block index, or -1. */
  readonly index: number
  /** Id of the chunk, or -1. */
  readonly chunk: number
  /** The node that is asked for, or null. */
  readonly node: BlockRequest | null
  readonly fork: number
  readonly expectedBytes: number
  /** True if the answer needs tree nodes beside the roots of the remote's head. */
  readonly proof: boolean
  /** True if it is the one proof that is asked of a suspect. */
  readonly suspect: boolean
  readonly sentAt: number
  /** Given up: an answer that still comes is welcome, but nobody waits for it. */
  late: boolean
}

/** A node that somebody waits for, as it is asked for. */
export interface NodeAsk extends BlockRequest {
  /** What it is asked with; null while it is not, or while its answer is checked. */
  request: InFlight | null
  /** How often a peer did not give it. */
  readonly refusals: Map<number, number>
}

/** State of one request of a run: it waits for its answer. */
export const OPEN = 0
/** Given up, as {@link InFlight.late}. */
export const LATE = 1
/** Answered, or refused. */
export const SETTLED = 2

/** Bare values of one chunk that were asked for together and did not all come. */
export interface AskedRun {
  /** Id of the first request; the next ones follow, as the blocks do. */
  readonly id: number
  readonly index: number
  readonly count: number
  readonly channel: Channel
  /** Id of the chunk. */
  readonly chunk: number
  readonly fork: number
  /** Of each block. */
  readonly expectedBytes: number
  readonly sentAt: number
  /** One state per request. */
  readonly states: Uint8Array
  /** Requests in state OPEN. */
  open: number
  /** Requests that are not SETTLED. */
  unsettled: number
}

/** Stand for what most of thousands of feeds have none of. */
const NO_BLOCKS: ReadonlyMap<number, number> = new Map()
const NO_NODES: ReadonlyMap<number, NodeAsk> = new Map()
const NO_OPEN_NODES: ReadonlySet<NodeAsk> = new Set()

/** A local feed. */
export class FeedState {
  readonly id: number
  readonly have: ReadonlyBitmap
  view: FeedView
  mode: Mode
  priority: number
  direction: Direction
  /** What is wanted for as long as {@link FeedState.pursues}. */
  readonly wanted: RangeSet = new RangeSet()
  #urgent: Map<number, number> | null = null
  #nodes: Map<number, NodeAsk> | null = null
  #openNodes: Set<NodeAsk> | null = null
  readonly channels: Map<number, Channel> = new Map()
  /** By id, in the order of their opening. */
  readonly chunks: Map<number, Chunk> = new Map()
  /** True if some of them wait for somebody to come back. */
  orphaned = false
  /** Sizes of nodes known to be stored, by flat index. */
  readonly trusted: Map<number, number> = new Map()
  /** Remembered nodes below which nothing is stored, on the paths that were looked up. */
  bottoms: Set<number> | null = null
  /** The upgrade in flight, or null. */
  upgrade: InFlight | null = null
  /** How many wait for the newest head. */
  awaitingHead = 0
  /** First requests under way. */
  firsts = 0
  /** The remote whose fork is being taken over, the last request for that, and whether it proved anything; or null. */
  reorg: { readonly peer: number; readonly fork: number; request: number; proven: boolean } | null =
    null
  /** Set when its storage failed: nothing more is downloaded. */
  halted = false
  /** True once `synced` was told for the present length and wants. */
  synced = false
  /** By length: whether an upgrade from there can be proven; null while that is being looked up. */
  roots: Map<number, boolean | null> | null = null

  constructor(id: number, view: FeedView, have: ReadonlyBitmap, mode: Mode) {
    this.id = id
    this.view = view
    this.have = have
    this.mode = mode
    this.priority = 0
    this.direction = 'both'
  }

  /** Blocks that somebody waits for, with how many. */
  get urgent(): ReadonlyMap<number, number> {
    return this.#urgent ?? NO_BLOCKS
  }

  /** Sets how many wait for a block. */
  setUrgent(index: number, waiting: number): void {
    if (waiting <= 0) this.#urgent?.delete(index)
    else (this.#urgent ??= new Map()).set(index, waiting)
  }

  /** Nodes that somebody waits for, by flat index. */
  get nodes(): ReadonlyMap<number, NodeAsk> {
    return this.#nodes ?? NO_NODES
  }

  /** Those of them that can be asked for. */
  get openNodes(): ReadonlySet<NodeAsk> {
    return this.#openNodes ?? NO_OPEN_NODES
  }

  /** Takes in a node that somebody waits for. */
  addNode(ask: NodeAsk): void {
    ;(this.#nodes ??= new Map()).set(ask.index, ask)
    this.setNodeOpen(ask, true)
  }

  deleteNode(ask: NodeAsk): void {
    this.#nodes?.delete(ask.index)
    this.setNodeOpen(ask, false)
  }

  setNodeOpen(ask: NodeAsk, open: boolean): void {
    if (open) (this.#openNodes ??= new Set()).add(ask)
    else this.#openNodes?.delete(ask)
  }

  /** True if the feed may take blocks from somebody. */
  get downloads(): boolean {
    if (this.view.frozen || this.halted || !letsIn(this.direction)) return false
    return this.#isAwaited || this.urgent.size > 0 || this.nodes.size > 0
  }

  /** False where nothing is to come, so that nobody is waited for. */
  get takes(): boolean {
    return this.mode !== 'serve' && letsIn(this.direction)
  }

  /** True if what is wanted is asked for; otherwise only what somebody waits for is. */
  get pursues(): boolean {
    return this.mode !== 'serve' && !(this.mode === 'pull' && this.synced)
  }

  /** True if the feed is pursued, or its head is waited for. */
  get #isAwaited(): boolean {
    return this.pursues || this.awaitingHead > 0
  }

  /** True if a longer head is asked for. */
  get grows(): boolean {
    if (this.#isAwaited) return true
    for (const index of this.urgent.keys()) if (index >= this.view.length) return true
    return false
  }

  /** True if the feed may give blocks to somebody. */
  get uploads(): boolean {
    if (this.view.frozen) return false
    if (this.direction === 'download' || this.direction === 'none') return false
    return this.mode === 'serve' || this.mode === 'both'
  }

  /** Expected bytes of a block. */
  get blockBytes(): number {
    if (this.view.length === 0) return EXPECTED_BLOCK_BYTES
    return Math.ceil(this.view.byteLength / this.view.length)
  }

  chunkOf(index: number): Chunk | null {
    for (const chunk of this.chunks.values()) if (chunk.covers(index)) return chunk
    return null
  }

  wants(index: number): boolean {
    return (this.pursues && this.wanted.has(index)) || this.urgent.has(index)
  }
}

/** How far a remote may be asked for proofs of one feed; remembered beyond the connection. */
export type ProofTrust = 'normal' | 'suspect' | 'values-only'

/** One peer's side of one feed. */
export class Channel {
  readonly peer: PeerState
  readonly feed: FeedState
  /** When we opened it. */
  readonly since: number
  /** True once the remote opened and proved that it knows the key. */
  opened = false
  /** The remote's last sync. */
  remote: Sync | null = null
  readonly have: RemoteHave = new RemoteHave()
  /** What the remote wants to hear of; null means everything. */
  wants: { start: number; end: number; any: boolean }[] | null = []
  /** Blocks of which the remote asked what we have, and was not told yet; null if there are none. */
  unanswered: RangeSet | null = null
  sentSync: Sync | null = null
  /** Segments for which a want of ours is active. */
  readonly wantedSegments: Set<number> = new Set()
  direction: Direction = 'both'
  proofs: ProofTrust = 'normal'
  /** When a values-only remote is asked for a proof again. */
  provesAt = 0
  /** Proof requests in flight. */
  proofsInFlight = 0
  /** Requests of this channel that the ledger still knows, late ones included. */
  asked = 0
  /** Those of them for bare values, in the order of their ids. */
  readonly runs: AskedRun[] = []
  /** Nothing is asked of this channel before this time. */
  restsUntil = 0
  /** Requests in a row for the head that it claims, without a proof of it. */
  unproven = 0
  /** Since when it claims a head for which it may not be asked; 0 if there is none. */
  unprovableSince = 0
  /** The sync has to be looked at again. */
  syncDirty = true
  /** Runs that became ours and were not announced yet. */
  readonly news: [start: number, end: number][] = []
  /** The prefix that is ours grew since it was announced. */
  prefixGrew = false
  /** Set while we wait for the answer to a conflict request: how the peer ends if there is no conflict. */
  accused: { readonly code: ErrorCode; readonly message: string; readonly at: number } | null = null
  /** When the remote, which we gave blocks to, is asked what it has by now, and how often it was asked since. */
  asksHavesAt = 0
  askedHaves = 0
  /** Where the search for the next block to ask for goes on. */
  cursor = 0
  downloadedBlocks = 0
  downloadedBytes = 0
  uploadedBlocks = 0
  uploadedBytes = 0
  /** Null while nothing came for a while. */
  received: Meter | null = null

  constructor(peer: PeerState, feed: FeedState, since: number) {
    this.peer = peer
    this.feed = feed
    this.since = since
  }

  get mayDownload(): boolean {
    return this.feed.downloads && this.letsIn
  }

  /** True if no direction keeps out what the remote has. */
  get letsIn(): boolean {
    return letsIn(this.feed.direction) && letsIn(this.direction) && letsIn(this.peer.direction)
  }

  get mayUpload(): boolean {
    return (
      this.feed.uploads &&
      this.direction !== 'download' &&
      this.direction !== 'none' &&
      this.peer.direction !== 'download' &&
      this.peer.direction !== 'none'
    )
  }

  /** True if the remote may hear what we hold: also where we do not upload, so that it knows what arrived. */
  get mayAnnounce(): boolean {
    return !this.feed.view.frozen && this.feed.direction !== 'none' && this.direction !== 'none'
  }

  /** True if the remote follows the same fork and gives. */
  get usable(): boolean {
    return (
      this.opened &&
      this.remote !== null &&
      this.remote.fork === this.feed.view.fork &&
      this.remote.uploading &&
      this.accused === null
    )
  }
}

/** One connection. */
export class PeerState {
  readonly id: number
  readonly identity: string
  readonly channels: Map<number, Channel> = new Map()
  /** By id, oldest first. */
  readonly requests: Map<number, InFlight> = new Map()
  /** Requests for bare values, oldest first. */
  readonly runs: Set<AskedRun> = new Set()
  nextRequest = 1
  direction: Direction = 'both'
  readonly upload: Bucket
  readonly download: Bucket
  readonly received: Meter
  readonly sent: Meter
  /** Requests and expected bytes in flight. */
  inFlight = 0
  inFlightBytes = 0
  /** True while the window is being filled, from the time that enough of it is free until it is full. */
  refills = true
  readonly window: Window = new Window()
  /** Smoothed time from request to answer, milliseconds. */
  answerTime = 0
  timeouts = 0
  invalidRequests = 0
  /** Bitmap pages that were gone through for what it says it has; less with each tick. */
  havePages = 0
  /** True while a proof of a suspect feed is asked for: one at a time, so that a broken one is found. */
  suspectAsked = false
  bytesReceived = 0
  /** Last time that raw bytes came, or that none could be expected because we paused or our own still waited. */
  heardAt: number
  outboxBytes = 0
  /** Channels that may have something to ask for, by priority. */
  readonly hungry: Map<number, Set<Channel>> = new Map()
  readonly queue: ServeQueue = new ServeQueue()
  /** Channels of which the remote waits to be told what we have. */
  readonly wanting: Set<Channel> = new Set()
  serving = 0
  closing = false

  constructor(id: number, identity: string, limits: RateLimits, now: number) {
    this.id = id
    this.identity = identity
    this.upload = new Bucket(limits.upload, now)
    this.download = new Bucket(limits.download, now)
    this.received = new Meter(now)
    this.sent = new Meter(now)
    this.heardAt = now
  }

  /** Marks a channel as one that may have something to ask for. */
  feedHungry(channel: Channel): void {
    const priority = channel.feed.urgent.size > 0 ? Infinity : channel.feed.priority
    let set = this.hungry.get(priority)
    if (set === undefined) this.hungry.set(priority, (set = new Set()))
    set.add(channel)
  }

  dropHungry(channel: Channel): void {
    for (const [priority, set] of this.hungry) {
      if (set.delete(channel) && set.size === 0) this.hungry.delete(priority)
    }
  }

  /** The next channel in turn among those of the highest priority, or null. */
  nextHungry(): Channel | null {
    if (this.hungry.size === 0) return null
    const set = this.hungry.get(Math.max(...this.hungry.keys()))
    return set === undefined ? null : (set.values().next().value ?? null)
  }
}

/** Everything the engine's parts share during a step. */
export interface World {
  now: number
  readonly feeds: Map<number, FeedState>
  readonly peers: Map<number, PeerState>
  effects: Effect[]
  /** Peers that may ask for something or answer something. */
  readonly dirtyPeers: Set<PeerState>
  /** Channels whose sync, haves or wants may have to be sent. */
  readonly dirtyChannels: Set<Channel>
  /** Channels to which something is to be told that can wait for more. */
  readonly untold: Set<Channel>
  /** Feeds of which chunks may have lost the prospect of being completed. */
  readonly unswept: Set<FeedState>
  /** Feeds of which `synced` has to be looked at. */
  readonly dirtyFeeds: Set<FeedState>
  readonly upload: Bucket
  readonly download: Bucket
  /** Peers that wait for their part of a limited rate; whoever had none for longest comes first. */
  readonly uploadTurns: Set<PeerState>
  readonly downloadTurns: Set<PeerState>
  /** Ids of requests that remotes took back in this step. */
  readonly cancels: Map<Channel, Set<number>>
  /** Expected bytes of all open chunks. */
  openBytes: number
  nextChunk: number
  /** Channels that found no room for another chunk. */
  readonly starved: Set<Channel>
  /** Channels that wait for a moment to pass: resting, or accused. */
  readonly watched: Set<Channel>
  /** Channels that gave blocks to a remote which has not told yet that it has them all. */
  readonly served: Set<Channel>
  /** Channels on which something came lately. */
  readonly receiving: Set<Channel>
  /** Proofs that the shell verifies, by peer and request. */
  readonly verifying: Map<string, InFlight>
  /** The earliest time at which something is to be looked at again. */
  wakeAt: number
  /** Remotes (identity and feed) that broke off while they owed a proof. */
  readonly suspects: Map<string, Suspicion>
}

/** Marks all that depends on a feed as to be looked at. */
export function touch(world: World, feed: FeedState): void {
  world.dirtyFeeds.add(feed)
  for (const channel of feed.channels.values()) {
    channel.syncDirty = true
    world.dirtyChannels.add(channel)
    channel.peer.feedHungry(channel)
    world.dirtyPeers.add(channel.peer)
  }
}

/** Marks a feed as one of which there may be something to ask for, of whomever. */
export function stir(world: World, feed: FeedState): void {
  world.dirtyFeeds.add(feed)
  for (const channel of feed.channels.values()) wakeChannel(world, channel)
}

/** Marks one channel as one that may have something to ask for. */
export function wakeChannel(world: World, channel: Channel): void {
  channel.peer.feedHungry(channel)
  world.dirtyPeers.add(channel.peer)
}

/** Asks nothing of a channel for a while. */
export function rest(world: World, channel: Channel, ms: number): void {
  channel.restsUntil = world.now + ms
  world.watched.add(channel)
}
