/**
 * Replication as a state machine: one for all feeds and peers of a synchronizer.
 *
 * `step` takes one input or some and the time, and returns effects; it is synchronous, total and not re-entrant.
 * Inputs change state only; `decide` reads what they made dirty and says what follows.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import {
  CHANNELS_MAX,
  CLOSE_TIMEOUT_MS,
  PICKS_PER_STEP,
  REMOTE_HAVE_WORK_PAGES_PER_TICK,
  REQUEST_LIFE_MS_MAX,
  REQUEST_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS_MIN,
  REQUEST_TIMEOUTS_MAX,
  SILENT_PEER_MS,
  TICK_MS
} from '../limits.ts'
import {
  announce,
  answerWants,
  askHaves,
  greet,
  hasAll,
  onBitfield,
  onRange,
  onSync,
  onUnwant,
  onWant,
  startOver,
  touchChannel
} from './announce.ts'
import { doubt, isBelieved, isHead, outwait } from './claim.ts'
import { HELD, IN_FLIGHT, MISSING } from './chunk.ts'
import { advance, distrust, removeChunks, sweepChunks } from './chunks.ts'
import {
  halt,
  onData,
  onFolded,
  onNoData,
  onNodeChecked,
  onPathLoaded,
  onValues,
  onVerified,
  pick,
  tellDownload
} from './download.ts'
import type { Effect } from './effect.ts'
import type { FeedView, Input, LocalChange, RateLimits } from './input.ts'
import { dropNodes, onAskNodes } from './nodes.ts'
import { closePeer, send, wake } from './output.ts'
import { Bucket } from './rate.ts'
import { cancel, cancelAll, cancelRun, forget, forgetLate } from './request.ts'
import { type Snapshot, snapshotOf } from './snapshot.ts'
import {
  cancelQueued,
  forgetQueue,
  onCancel,
  onRequest,
  onRequests,
  onServed,
  refuseStale,
  requeue,
  serve
} from './serve.ts'
import {
  Channel,
  FeedState,
  OPEN,
  PeerState,
  rest,
  stir,
  touch,
  wakeChannel,
  type World
} from './state.ts'
import { recall, rehabilitate, suspect } from './suspicion.ts'
import { askFirst, onConflictChecked, onReorged } from './upgrade.ts'

/** Bytes per tick that a silent peer may send as keepalives: they are no answer. */
const KEEPALIVE_BYTES = 64

/** Progress of one feed, for people. */
export interface FeedProgress {
  /** Blocks wanted below the highest length seen. */
  readonly wantedBlocks: number
  /** Those of them that are held. */
  readonly heldBlocks: number
  /** Bytes still to come, estimated from the average block. */
  readonly missingBytes: number
  /** Highest length seen, ours included, of those from whom something may come. */
  readonly knownLength: number
  readonly synced: boolean
  /** Peers that have not yet told what they have, for ten seconds at most, or whose fork is being taken over. */
  readonly pendingPeers: number
  readonly peers: readonly ChannelProgress[]
}

/** One peer's side of a feed, for people. */
export interface ChannelProgress {
  readonly peer: number
  readonly length: number
  readonly fork: number
  /** Blocks of ours, of the length we both know, that it has. */
  readonly blocks: number
  /** True if it has everything that we have. */
  readonly hasAll: boolean
  readonly downloadedBlocks: number
  readonly downloadedBytes: number
  /** Smoothed, of this feed alone. */
  readonly downloadBytesPerSecond: number
  readonly uploadedBlocks: number
  readonly uploadedBytes: number
}

/** One connection, for people. */
export interface PeerProgress {
  readonly downloadBytesPerSecond: number
  readonly uploadBytesPerSecond: number
  readonly roundTripMs: number
  readonly requestsInFlight: number
  readonly windowRequests: number
  readonly windowBytes: number
}

/** See the module comment. */
export class Engine {
  readonly #world: World
  #limits: RateLimits
  #stepping = false

  constructor(options: { readonly now: number; readonly limits?: RateLimits }) {
    this.#limits = options.limits ?? { upload: 0, download: 0 }
    this.#world = {
      now: options.now,
      feeds: new Map(),
      peers: new Map(),
      effects: [],
      dirtyPeers: new Set(),
      dirtyChannels: new Set(),
      untold: new Set(),
      dirtyFeeds: new Set(),
      unswept: new Set(),
      upload: new Bucket(this.#limits.upload, options.now),
      download: new Bucket(this.#limits.download, options.now),
      uploadTurns: new Set(),
      downloadTurns: new Set(),
      cancels: new Map(),
      openBytes: 0,
      nextChunk: 1,
      starved: new Set(),
      watched: new Set(),
      served: new Set(),
      receiving: new Set(),
      verifying: new Map(),
      wakeAt: Infinity,
      suspects: new Map()
    }
  }

  /** As {@link Engine.stepAll}, for one input. */
  step(input: Input, now: number): Effect[] {
    return this.stepAll([input], now)
  }

  /**
   * Takes inputs in and returns what is to be done, in order. What follows of them together is decided once.
   *
   * @param now - monotonic milliseconds, never less than in the step before.
   */
  stepAll(inputs: readonly Input[], now: number): Effect[] {
    if (this.#stepping) throw new SynclineError('BROKEN_INVARIANT', 'engine step is not re-entrant')
    this.#stepping = true
    const world = this.#world
    world.now = now
    world.effects = []
    world.wakeAt = Infinity
    for (const input of inputs) this.#take(input)
    this.#decide()
    this.#stepping = false
    if (world.wakeAt !== Infinity) world.effects.push({ type: 'wake', at: world.wakeAt })
    return world.effects
  }

  /** Progress of a feed, or null if it is unknown. Linear in wanted ranges and peers. */
  progress(id: number): FeedProgress | null {
    const { feeds, now } = this.#world
    const feed = feeds.get(id)
    if (feed === undefined) return null
    const channels = [...feed.channels.values()]
    const knownLength = highestLength(feed)
    let wantedBlocks = 0
    let heldBlocks = 0
    for (const [start, end] of feed.wanted.ranges) {
      const last = Math.min(end, knownLength)
      if (start >= last) continue
      wantedBlocks += last - start
      heldBlocks += feed.have.count(start, last)
    }
    return {
      wantedBlocks,
      heldBlocks,
      missingBytes: (wantedBlocks - heldBlocks) * feed.blockBytes,
      knownLength,
      synced: feed.synced,
      pendingPeers: channels.filter((channel) => isPending(channel, now)).length,
      peers: channels.filter((channel) => channel.opened).map(channelProgress)
    }
  }

  /** As {@link FeedProgress.synced}. */
  isSynced(id: number): boolean {
    return this.#world.feeds.get(id)?.synced ?? false
  }

  /** Rates and windows of a connection, or null if it is unknown. */
  peerProgress(id: number): PeerProgress | null {
    const peer = this.#world.peers.get(id)
    if (peer === undefined) return null
    return {
      downloadBytesPerSecond: peer.received.bytesPerSecond,
      uploadBytesPerSecond: peer.sent.bytesPerSecond,
      roundTripMs: peer.window.roundTrip,
      requestsInFlight: peer.inFlight,
      windowRequests: peer.window.requests,
      windowBytes: peer.window.bytes
    }
  }

  /** State of all peers and of one feed, copied. Linear in their number. */
  snapshot(feed: number = -1): Snapshot {
    return snapshotOf(this.#world, feed)
  }

  /** Everything that must hold between steps; throws BROKEN_INVARIANT. For tests. */
  check(): void {
    const world = this.#world
    let openBytes = 0
    for (const feed of world.feeds.values()) {
      const seen = new Map<number, number>()
      for (const chunk of feed.chunks.values()) {
        openBytes += chunk.size
        let missing = 0
        let inFlight = 0
        for (let i = 0; i < chunk.blocks.length; i++) {
          if (chunk.blocks[i] === MISSING) missing++
          if (chunk.blocks[i] === IN_FLIGHT) inFlight++
          if (seen.has(chunk.start + i)) broken(`I2: block ${chunk.start + i} is in two chunks`)
          seen.set(chunk.start + i, chunk.id)
        }
        if (missing !== chunk.missing || inFlight !== chunk.inFlight) broken('chunk counts are off')
      }
    }
    if (Math.abs(openBytes - world.openBytes) > 1e-3) broken('open bytes are off')
    const blocks = new Set<string>()
    for (const peer of world.peers.values()) {
      let inFlight = 0
      const add = (feed: FeedState, index: number): void => {
        const key = `${feed.id}:${index}`
        if (blocks.has(key)) broken(`I1: block ${key} is in flight twice`)
        blocks.add(key)
      }
      const asked = new Map<Channel, number>()
      for (const request of peer.requests.values()) {
        const { late, kind, channel, index, node } = request
        asked.set(channel, (asked.get(channel) ?? 0) + 1)
        if (late) continue
        inFlight++
        if (kind === 'proof') add(channel.feed, index)
        if (node !== null && channel.feed.nodes.get(node.index)?.request !== request) {
          broken(`node ${node.index} is in flight for nobody`)
        }
      }
      for (const run of peer.runs) {
        const { states, open, unsettled, channel, index } = run
        if (!channel.runs.includes(run)) broken('a run is unknown to its channel')
        asked.set(channel, (asked.get(channel) ?? 0) + unsettled)
        inFlight += open
        let waiting = 0
        for (let i = 0; i < states.length; i++) {
          if (states[i] !== OPEN) continue
          waiting++
          add(channel.feed, index + i)
        }
        if (waiting !== open || unsettled === 0) broken('counts of a run are off')
      }
      for (const channel of peer.channels.values()) {
        if (channel.asked !== (asked.get(channel) ?? 0)) broken('requests of a channel are off')
        if (channel.runs.some((run) => !peer.runs.has(run))) broken('a run of a channel is lost')
      }
      if (inFlight !== peer.inFlight) broken('requests in flight are off')
    }
  }

  #take(input: Input): void {
    const world = this.#world
    switch (input.type) {
      case 'peer-open':
        world.peers.set(
          input.peer,
          new PeerState(
            input.peer,
            input.identity,
            input.limits ?? { upload: 0, download: 0 },
            world.now
          )
        )
        wake(world, world.now + TICK_MS)
        return
      case 'peer-close':
        return this.#closePeer(input.peer, input.broken)
      case 'peer-runs':
        world.peers.get(input.peer)?.window.readsRuns()
        return
      case 'channel-opening':
        return this.#openChannel(input.peer, input.feed)
      case 'channel-open':
        return this.#channelOpened(input.peer, input.feed)
      case 'channel-close':
        return this.#closeChannel(input.peer, input.feed)
      case 'message':
        return this.#message(input)
      case 'data': {
        const channel = this.#channel(input.peer, input.feed)
        if (channel !== null) onData(world, channel, input.answers)
        return
      }
      case 'values': {
        const channel = this.#channel(input.peer, input.feed)
        if (channel !== null) onValues(world, channel, input.runs)
        return
      }
      case 'requests': {
        const channel = this.#channel(input.peer, input.feed)
        if (channel !== null) for (const run of input.runs) onRequests(world, channel, run)
        return
      }
      case 'add-feed':
        return this.#addFeed(input)
      case 'remove-feed':
        return this.#removeFeed(input.feed)
      case 'configure-feed':
        return this.#configureFeed(input)
      case 'configure-peer':
        return this.#configurePeer(input)
      case 'configure':
        this.#limits = input.limits
        world.upload.setRate(input.limits.upload, world.now)
        world.download.setRate(input.limits.download, world.now)
        for (const peer of world.peers.values()) world.dirtyPeers.add(peer)
        return
      case 'want':
        return this.#want(input.feed, input.start, input.end)
      case 'unwant':
        return this.#unwant(input.feed, input.start, input.end)
      case 'get':
        return this.#get(input.feed, input.index, input.release)
      case 'head': {
        const feed = world.feeds.get(input.feed)
        if (feed === undefined) return
        feed.awaitingHead += input.release ? -1 : 1
        touch(world, feed)
        return
      }
      case 'ask-nodes': {
        const feed = world.feeds.get(input.feed)
        if (feed !== undefined) onAskNodes(world, feed, input.nodes)
        return
      }
      case 'drop-nodes': {
        const feed = world.feeds.get(input.feed)
        if (feed !== undefined) dropNodes(world, feed, input.indexes)
        return
      }
      case 'node-checked':
        return onNodeChecked(world, input)
      case 'changed':
        return this.#changed(input.feed, input.view, input.change)
      case 'path-loaded':
        return onPathLoaded(world, input)
      case 'roots-loaded': {
        const feed = world.feeds.get(input.feed)
        if (feed === undefined || feed.view.fork !== input.fork) return
        feed.roots?.set(input.length, input.stored)
        for (const channel of feed.channels.values()) touchChannel(world, channel)
        return
      }
      case 'verified': {
        const request = world.verifying.get(`${input.peer}:${input.request}`)
        onVerified(world, input)
        if (request !== undefined && input.failure === null && input.block !== null) {
          tellDownload(
            world,
            request.channel.feed,
            input.peer,
            input.block,
            Uint32Array.of(input.byteLength)
          )
        }
        return
      }
      case 'folded':
        return onFolded(world, input)
      case 'served':
        return onServed(world, input)
      case 'reorged':
        return onReorged(world, input)
      case 'conflict-checked':
        return onConflictChecked(world, input)
      case 'feed-failed': {
        const feed = world.feeds.get(input.feed)
        if (feed !== undefined) halt(world, feed, input.failure.code, input.failure.message)
        return
      }
      case 'flow':
        return this.#flow(input)
      case 'tick':
        return this.#tick()
      default:
        input satisfies never
    }
  }

  #decide(): void {
    const world = this.#world
    for (const feed of world.unswept) {
      world.unswept.delete(feed)
      sweepChunks(world, feed)
    }
    if (world.cancels.size > 0) cancelQueued(world)
    const synced = this.#newlySynced()
    if (world.dirtyChannels.size > 0) {
      for (const channel of world.dirtyChannels) {
        announce(world, channel, synced.has(channel.feed))
      }
      world.dirtyChannels.clear()
    }
    const { upload, download, uploadTurns, downloadTurns } = world
    let picks = 0
    for (const peer of world.dirtyPeers) {
      if (download.isLimited) downloadTurns.add(peer)
      if (upload.isLimited) uploadTurns.add(peer)
      let busy = true
      while (busy && picks < PICKS_PER_STEP) {
        picks++
        // Not `||`: a peer that gives also takes in the same turn.
        const asked = !download.isLimited && pick(world, peer)
        const answered = !upload.isLimited && serve(world, peer)
        busy = asked || answered
      }
      if (busy) {
        wake(world, world.now)
        break
      }
      world.dirtyPeers.delete(peer)
    }
    this.#giveTurns(downloadTurns, download, pick)
    this.#giveTurns(uploadTurns, upload, serve)
    for (const { id } of synced) world.effects.push({ type: 'tell', event: 'synced', feed: id })
    if (world.dirtyChannels.size > 0 || world.dirtyFeeds.size > 0) wake(world, world.now)
  }

  /** Lets peers take from a limited rate by turns, for as long as there is something to take. */
  #giveTurns(
    turns: Set<PeerState>,
    bucket: Bucket,
    take: (world: World, peer: PeerState) => boolean
  ): void {
    const world = this.#world
    let taken = 0
    for (const peer of turns) {
      const delay = bucket.delay(world.now)
      if (delay > 0 || taken === PICKS_PER_STEP) {
        wake(world, world.now + delay)
        return
      }
      taken++
      turns.delete(peer)
      // Whoever took something goes to the end.
      if (take(world, peer)) turns.add(peer)
    }
  }

  /** The feeds of which everything wanted is here since now. Their remotes are to hear of it at once. */
  #newlySynced(): ReadonlySet<FeedState> {
    const world = this.#world
    const found = new Set<FeedState>()
    for (const feed of world.dirtyFeeds) {
      const synced = isSynced(feed)
      if (!synced) {
        if (feed.mode !== 'pull') feed.synced = false
        continue
      }
      if (feed.synced) continue
      feed.synced = true
      found.add(feed)
      if (feed.mode === 'pull') touch(world, feed)
      for (const channel of feed.channels.values()) {
        if (world.untold.has(channel)) world.dirtyChannels.add(channel)
      }
    }
    world.dirtyFeeds.clear()
    return found
  }

  #channel(peer: number, feed: number): Channel | null {
    const state = this.#world.peers.get(peer)
    if (state === undefined || state.closing) return null
    return state.channels.get(feed) ?? null
  }

  #closePeer(id: number, broken: boolean): void {
    const world = this.#world
    const peer = world.peers.get(id)
    if (peer === undefined) return
    if (broken && !peer.closing) suspect(world, peer)
    peer.closing = true
    for (const channel of [...peer.channels.values()]) this.#closeChannel(id, channel.feed.id)
    world.peers.delete(id)
    world.dirtyPeers.delete(peer)
    world.uploadTurns.delete(peer)
    world.downloadTurns.delete(peer)
  }

  #openChannel(peerId: number, feedId: number): void {
    const world = this.#world
    const peer = world.peers.get(peerId)
    const feed = world.feeds.get(feedId)
    if (peer === undefined || feed === undefined || peer.channels.has(feedId)) return
    if (peer.channels.size >= CHANNELS_MAX) return
    const channel = new Channel(peer, feed, world.now)
    recall(world, channel)
    peer.channels.set(feedId, channel)
    feed.channels.set(peerId, channel)
    // Before the remote has proved that it knows the key, it hears nothing of what we hold.
    if (feed.view.length === 0) {
      announce(world, channel, true)
      if (channel.proofs === 'normal') askFirst(world, channel)
    }
  }

  #channelOpened(peerId: number, feedId: number): void {
    const world = this.#world
    const channel = this.#channel(peerId, feedId)
    if (channel === null || channel.opened) return
    channel.opened = true
    greet(channel)
    answerWants(world, channel)
    touchChannel(world, channel)
    world.dirtyFeeds.add(channel.feed)
    world.effects.push({ type: 'tell', event: 'peer-add', feed: feedId, peer: peerId })
  }

  #closeChannel(peerId: number, feedId: number): void {
    const world = this.#world
    const peer = world.peers.get(peerId)
    const channel = peer?.channels.get(feedId)
    if (peer === undefined || channel === undefined) return
    const { feed } = channel
    forget(world, channel)
    peer.channels.delete(feedId)
    feed.channels.delete(peerId)
    peer.dropHungry(channel)
    peer.wanting.delete(channel)
    world.cancels.delete(channel)
    world.dirtyChannels.delete(channel)
    world.untold.delete(channel)
    world.starved.delete(channel)
    world.watched.delete(channel)
    world.served.delete(channel)
    world.receiving.delete(channel)
    forgetQueue(channel)
    if (feed.reorg !== null && feed.reorg.peer === peerId) {
      feed.reorg = null
      world.effects.push({ type: 'reorg-drop', feed: feedId })
    }
    if (channel.opened) {
      world.effects.push({ type: 'tell', event: 'peer-remove', feed: feedId, peer: peerId })
    } else {
      world.effects.push({ type: 'tell', event: 'remote', feed: feedId, peer: peerId })
    }
    if (world.feeds.has(feedId)) {
      world.unswept.add(feed)
      stir(world, feed)
    }
  }

  #message(input: Extract<Input, { type: 'message' }>): void {
    const world = this.#world
    const channel = this.#channel(input.peer, input.feed)
    if (channel === null) return
    const { message } = input
    switch (message.type) {
      case 'sync':
        return onSync(world, channel, message)
      case 'range':
        onRange(world, channel, message)
        if (message.drop || channel.feed.orphaned) world.unswept.add(channel.feed)
        return
      case 'bitfield':
        onBitfield(world, channel, message)
        world.unswept.add(channel.feed)
        return
      case 'want':
        return onWant(world, channel, message)
      case 'unwant':
        return onUnwant(channel, message)
      case 'request':
        return onRequest(world, channel, message)
      case 'cancel':
        return onCancel(world, channel, message)
      case 'no-data':
        return onNoData(world, channel, message)
      default:
        message satisfies never
    }
  }

  #addFeed(input: Extract<Input, { type: 'add-feed' }>): void {
    const feed = new FeedState(input.feed, input.view, input.have, input.mode)
    feed.priority = input.priority
    feed.direction = input.direction
    for (const [start, end] of input.wants) feed.wanted.add(start, end)
    this.#world.feeds.set(input.feed, feed)
    if (!feed.takes) this.#world.dirtyFeeds.add(feed)
  }

  #removeFeed(id: number): void {
    const world = this.#world
    const feed = world.feeds.get(id)
    if (feed === undefined) return
    world.feeds.delete(id)
    for (const peer of [...feed.channels.keys()]) {
      world.effects.push({ type: 'close-channel', peer, feed: id })
      this.#closeChannel(peer, id)
    }
    removeChunks(world, feed)
    world.dirtyFeeds.delete(feed)
    world.unswept.delete(feed)
  }

  #configureFeed(input: Extract<Input, { type: 'configure-feed' }>): void {
    const feed = this.#world.feeds.get(input.feed)
    if (feed === undefined) return
    const uploaded = feed.uploads
    const took = feed.takes
    if (input.mode !== undefined) feed.mode = input.mode
    if (input.direction !== undefined) feed.direction = input.direction
    if (input.priority !== undefined && input.priority !== feed.priority) {
      for (const channel of feed.channels.values()) channel.peer.dropHungry(channel)
      feed.priority = input.priority
      for (const channel of feed.channels.values()) requeue(channel)
    }
    if (input.mode !== undefined || (!took && feed.takes)) feed.synced = false
    if (input.mode !== undefined || input.direction !== undefined) this.#configured(feed)
    for (const channel of feed.channels.values()) {
      if (!uploaded && feed.uploads) this.#offer(channel)
      this.#withdraw(channel)
    }
    this.#cancelUnwanted(feed)
    this.#world.unswept.add(feed)
    touch(this.#world, feed)
  }

  /** Has all looked at again that depends on whom we take from. */
  #configured(feed: FeedState): void {
    const world = this.#world
    world.dirtyFeeds.add(feed)
    world.effects.push({ type: 'tell', event: 'configured', feed: feed.id })
  }

  /** Announces what may be given now and might not before. */
  #offer(channel: Channel): void {
    if (!channel.opened) return
    greet(channel)
    answerWants(this.#world, channel)
  }

  /** Takes requests back that may not be answered any more. */
  #withdraw(channel: Channel): void {
    if (channel.mayDownload) return
    cancelAll(this.#world, channel.feed, (_, request) => request.channel === channel)
  }

  #configurePeer(input: Extract<Input, { type: 'configure-peer' }>): void {
    const world = this.#world
    const peer = world.peers.get(input.peer)
    if (peer === undefined) return
    if (input.limits !== undefined) {
      peer.upload.setRate(input.limits.upload, world.now)
      peer.download.setRate(input.limits.download, world.now)
      world.dirtyPeers.add(peer)
    }
    if (input.direction === undefined) return
    const shut = new Set([...peer.channels.values()].filter(({ letsIn }) => !letsIn))
    if (input.feed === null) peer.direction = input.direction
    for (const channel of peer.channels.values()) {
      if (input.feed !== null && channel.feed.id !== input.feed) continue
      if (input.feed !== null) channel.direction = input.direction
      if (shut.has(channel) && channel.letsIn) channel.feed.synced = false
      this.#configured(channel.feed)
      if (channel.mayUpload) this.#offer(channel)
      this.#withdraw(channel)
      world.unswept.add(channel.feed)
      touchChannel(world, channel)
    }
  }

  #want(id: number, start: number, end: number): void {
    const feed = this.#world.feeds.get(id)
    if (feed === undefined) return
    feed.wanted.add(start, end)
    feed.synced = false
    for (const channel of feed.channels.values()) channel.cursor = 0
    touch(this.#world, feed)
  }

  #unwant(id: number, start: number, end: number): void {
    const world = this.#world
    const feed = world.feeds.get(id)
    if (feed === undefined) return
    feed.wanted.remove(start, end)
    this.#cancelUnwanted(feed)
    world.unswept.add(feed)
    touch(world, feed)
  }

  #cancelUnwanted(feed: FeedState): void {
    cancelAll(
      this.#world,
      feed,
      (index, request) =>
        index !== -1 && !('kind' in request && request.kind === 'first') && !feed.wants(index)
    )
  }

  #get(id: number, index: number, release: boolean): void {
    const world = this.#world
    const feed = world.feeds.get(id)
    if (feed === undefined) return
    const waiting = (feed.urgent.get(index) ?? 0) + (release ? -1 : 1)
    feed.setUrgent(index, waiting)
    for (const channel of feed.channels.values()) channel.peer.dropHungry(channel)
    if (waiting <= 0 && !feed.have.get(index)) {
      this.#cancelUnwanted(feed)
      world.unswept.add(feed)
    }
    touch(world, feed)
  }

  #changed(id: number, view: FeedView, change: LocalChange): void {
    const world = this.#world
    const feed = world.feeds.get(id)
    if (feed === undefined) return
    const before = feed.view
    feed.view = view
    switch (change.type) {
      case 'length':
        feed.roots = null
        break
      case 'have':
        this.#stored(feed, change.start, change.end)
        break
      case 'clear':
        feed.wanted.remove(change.start, change.end)
        this.#dropped(feed, change.start, change.end)
        break
      case 'forget':
        feed.synced = false
        this.#dropped(feed, change.start, change.end)
        break
      case 'truncate':
      case 'state':
        break
      default:
        change satisfies never
    }
    const kept = change.type === 'truncate' ? change.length : before.length
    const forked = view.fork !== before.fork || change.type === 'truncate'
    if (forked) this.#forked(feed, kept, before.length)
    // Blocks alone are news, and nothing else of what we say or ask for depends on them.
    if (forked || change.type !== 'have' || view.length !== before.length) touch(world, feed)
  }

  #stored(feed: FeedState, start: number, end: number): void {
    const world = this.#world
    for (const chunk of [...feed.chunks.values()]) {
      if (chunk.end <= start || end <= chunk.start) continue
      if (chunk.phase === 'folding') continue
      for (let i = Math.max(start, chunk.start); i < Math.min(end, chunk.end); i++) {
        if (chunk.state(i) === MISSING && feed.have.get(i)) chunk.mark(i, HELD)
      }
      advance(world, feed, chunk)
    }
    // With the blocks came tree nodes, perhaps those that were missing to prove our head to somebody.
    let provesMore = false
    for (const [length, stored] of feed.roots ?? []) {
      if (stored === false) provesMore = feed.roots?.delete(length) ?? false
    }
    world.dirtyFeeds.add(feed)
    for (const channel of feed.channels.values()) {
      channel.news.push([start, end])
      if (provesMore) channel.syncDirty = true
      world.dirtyChannels.add(channel)
    }
  }

  #dropped(feed: FeedState, start: number, end: number): void {
    const world = this.#world
    // Hypercore 11 deletes tree nodes with the blocks.
    distrust(feed)
    for (const chunk of [...feed.chunks.values()]) {
      if (chunk.start < end && start < chunk.end) chunk.restart(feed.have)
    }
    world.unswept.add(feed)
    for (const channel of feed.channels.values()) {
      if (!channel.opened) continue
      send(world, channel, [{ type: 'range', drop: true, start, length: end - start }])
    }
  }

  /** Blocks `[kept, length)` of the old fork are gone. */
  #forked(feed: FeedState, kept: number, length: number): void {
    const world = this.#world
    cancelAll(world, feed, (_, request) => request.fork !== feed.view.fork)
    for (const channel of feed.channels.values()) {
      refuseStale(world, channel)
      startOver(world, channel, kept, length)
      channel.accused = null
      greet(channel)
    }
    removeChunks(world, feed)
    dropNodes(world, feed, [...feed.nodes.keys()])
    feed.roots = null
    feed.upgrade = null
    feed.synced = false
  }

  #flow(input: Extract<Input, { type: 'flow' }>): void {
    const world = this.#world
    const peer = world.peers.get(input.peer)
    if (peer === undefined) return
    // What we asked may still wait behind what we give.
    const waits = input.paused || input.outboxBytes > 0
    if (waits || input.bytesReceived - peer.bytesReceived > KEEPALIVE_BYTES) {
      peer.heardAt = world.now
    }
    peer.bytesReceived = input.bytesReceived
    if (peer.outboxBytes !== input.outboxBytes) world.dirtyPeers.add(peer)
    peer.outboxBytes = input.outboxBytes
  }

  #tick(): void {
    const world = this.#world
    for (const peer of world.peers.values()) {
      peer.received.tick(world.now)
      peer.sent.tick(world.now)
      peer.window.tick()
      peer.havePages = Math.max(0, peer.havePages - REMOTE_HAVE_WORK_PAGES_PER_TICK)
      this.#expire(peer)
      if (peer.queue.count > 0 || peer.wanting.size > 0) world.dirtyPeers.add(peer)
      if (peer.hungry.size > 0) world.dirtyPeers.add(peer)
    }
    for (const channel of world.receiving) {
      if (channel.received?.tick(world.now) === true) continue
      channel.received = null
      world.receiving.delete(channel)
    }
    this.#watch()
    if (world.peers.size > 0) wake(world, world.now + TICK_MS)
  }

  /** Looks at the few channels that wait for a moment to pass. */
  #watch(): void {
    const world = this.#world
    for (const channel of world.watched) {
      if (channel.accused !== null) {
        if (world.now - channel.accused.at <= CLOSE_TIMEOUT_MS) continue
        const { code, message } = channel.accused
        closePeer(world, channel.peer, channel.feed, code, message)
      } else {
        const proofs = rehabilitate(world, channel)
        const waits = outwait(world, channel) || proofs
        if (channel.restsUntil > world.now) continue
        if (channel.restsUntil > 0) wakeChannel(world, channel)
        channel.restsUntil = 0
        if (waits) continue
      }
      world.watched.delete(channel)
    }
    for (const channel of world.served) askHaves(world, channel)
    for (const channel of world.untold) announce(world, channel, true)
  }

  /** Gives up requests whose time is over; closes a peer that let too many pass. */
  #expire(peer: PeerState): void {
    const world = this.#world
    const patience = Math.min(
      REQUEST_TIMEOUT_MS,
      Math.max(REQUEST_TIMEOUT_MS_MIN, 8 * peer.answerTime)
    )
    const limit = peer.answerTime === 0 ? REQUEST_TIMEOUT_MS : patience
    forgetLate(peer, world.now - 2 * REQUEST_LIFE_MS_MAX)
    const silent = world.now - peer.heardAt > limit
    const lifeMs = silent ? limit : Math.max(limit, REQUEST_LIFE_MS_MAX)
    // Nobody else is asked for a head meanwhile, so that bytes of other answers buy no more time.
    const headMs = silent ? limit : REQUEST_TIMEOUT_MS
    let expired = 0
    for (const request of peer.requests.values()) {
      const age = world.now - request.sentAt
      if (age <= limit) break
      if (request.late || age <= (isHead(request) ? headMs : lifeMs)) continue
      const { channel } = request
      cancel(world, request)
      if (isHead(request)) doubt(world, channel)
      rest(world, channel, limit)
      expired++
    }
    for (const run of peer.runs) {
      if (world.now - run.sentAt <= lifeMs) break
      if (run.open === 0) continue
      cancelRun(world, run, () => true)
      rest(world, run.channel, limit)
      expired++
    }
    if (expired === 0) return
    peer.timeouts++
    if (peer.timeouts >= REQUEST_TIMEOUTS_MAX) {
      closePeer(world, peer, null, 'PEER_TIMEOUT', 'requests were not answered in time')
    }
  }
}

function broken(message: string): never {
  throw new SynclineError('BROKEN_INVARIANT', message)
}

/** The length of ours, or of whoever gives more of the same fork. */
function highestLength(feed: FeedState): number {
  let length = feed.view.length
  for (const channel of feed.channels.values()) {
    if (!channel.opened || channel.remote === null || !mayGive(channel)) continue
    if (channel.remote.fork === feed.view.fork) {
      length = Math.max(length, channel.remote.length)
    }
  }
  return length
}

/** True if what a remote says that it has may be waited for. */
function mayGive(channel: Channel): boolean {
  return channel.letsIn && isBelieved(channel)
}

function isPending(channel: Channel, now: number): boolean {
  const { opened, remote, since } = channel
  if (!channel.letsIn) return false
  if (!opened || remote === null) return now - since < SILENT_PEER_MS
  return offersFork(channel, remote)
}

/** True if there is a higher fork that is to be followed before anything else. */
function offersFork(channel: Channel, { fork, length }: { fork: number; length: number }): boolean {
  const { view } = channel.feed
  return view.allowsForks && fork > view.fork && length > 0 && mayGive(channel)
}

function isSynced(feed: FeedState): boolean {
  // Asked after each answer, while something is under way as a rule.
  if (feed.chunks.size > 0) return false
  if (!feed.takes) return feed.view.length > 0 && holdsWanted(feed, feed.view.length)
  let heard = false
  for (const channel of feed.channels.values()) {
    if (!channel.opened || channel.remote === null) continue
    if (offersFork(channel, channel.remote)) return false
    heard = true
  }
  const length = highestLength(feed)
  if (!heard || length === 0 || length > feed.view.length) return false
  return holdsWanted(feed, length)
}

function holdsWanted(feed: FeedState, length: number): boolean {
  for (const [start, end] of feed.wanted.ranges) {
    if (!feed.have.hasAll(start, Math.min(end, length))) return false
  }
  return true
}

function channelProgress(channel: Channel): ChannelProgress {
  const { feed, remote, have } = channel
  const sameFork = remote !== null && remote.fork === feed.view.fork
  return {
    peer: channel.peer.id,
    length: remote === null ? 0 : remote.length,
    fork: remote === null ? 0 : remote.fork,
    blocks: sameFork ? have.count(0, feed.view.length) : 0,
    hasAll: hasAll(channel),
    downloadedBlocks: channel.downloadedBlocks,
    downloadedBytes: channel.downloadedBytes,
    downloadBytesPerSecond: channel.received?.bytesPerSecond ?? 0,
    uploadedBlocks: channel.uploadedBlocks,
    uploadedBytes: channel.uploadedBytes
  }
}
