/**
 * What the two sides tell each other without being asked: sync, haves, wants.
 *
 * @module
 */
import {
  ANNOUNCED_TAIL_BLOCKS,
  OUTBOX_BYTES_MAX,
  REMOTE_HAVE_PAGES_MAX,
  REMOTE_HAVE_WORK_PAGES_MAX,
  REMOTE_WANTS_MAX,
  TICK_MS,
  UNTOLD_RANGES_MAX,
  WANT_BITS_MAX
} from '../limits.ts'
import { firstBlock } from '../primitives/flat-tree.ts'
import { RangeSet } from '../primitives/range-set.ts'
import type { Bitfield, Message, Range, Sync, Unwant, Want } from '../wire/message.ts'
import { closePeer, send, wake } from './output.ts'
import { stir, wakeChannel, type Channel, type PeerState, type World } from './state.ts'

/** Wants that stay active although nothing in their segment is wanted any more. */
const KEPT_WANTS_MAX = 64
/** Times that a remote is asked what it has after it was given blocks. */
const HAVE_ASKS_MAX = 3

/**
 * Sends what a channel's remote does not know yet. What a remote that has it all anyway need not know at once waits
 * for something else that is told, or until `all` is true: each message costs both ends a call of the system.
 */
export function announce(world: World, channel: Channel, all: boolean): void {
  const sync = channel.syncDirty ? newSync(world, channel) : null
  const wants: Message[] = []
  if (channel.syncDirty) wantSegments(channel, wants)
  const ranges = channel.opened ? takeNews(channel) : []
  const isUrgent =
    wants.length > 0 || ranges.length > 0 || (sync !== null && isSyncUrgent(sync, channel))
  const waits = sync !== null || channel.prefixGrew
  channel.syncDirty = false
  if (!isUrgent && !all) {
    channel.syncDirty = sync !== null
    if (waits) world.untold.add(channel)
    return
  }
  world.untold.delete(channel)
  const messages: Message[] = []
  if (sync !== null) {
    channel.sentSync = sync
    messages.push(sync)
  }
  messages.push(...wants)
  const { contiguousLength } = channel.feed.view
  if (channel.prefixGrew && channel.mayAnnounce && contiguousLength > 0) {
    messages.push({ type: 'range', drop: false, start: 0, length: contiguousLength })
  }
  channel.prefixGrew = false
  messages.push(...ranges)
  send(world, channel, messages)
}

/** Says, once both sides are open, what we have without being asked. */
export function greet(channel: Channel): void {
  const { view, have } = channel.feed
  if (view.contiguousLength > 0) channel.news.push([0, view.contiguousLength])
  const tail = Math.max(view.contiguousLength, view.length - ANNOUNCED_TAIL_BLOCKS)
  for (const [start, end] of have.runs(tail, view.length)) channel.news.push([start, end])
}

/**
 * Takes back what the remote heard of blocks `[kept, length)` of a fork that is over, and asks anew for what
 * it has: hypercore 10 tells nobody of blocks that they had under the old fork.
 */
export function startOver(world: World, channel: Channel, kept: number, length: number): void {
  if (!channel.opened) return
  const messages: Message[] = []
  if (kept < length) {
    messages.push({ type: 'range', drop: true, start: kept, length: length - kept })
  }
  for (const segment of channel.wantedSegments) {
    const start = segment * WANT_BITS_MAX
    messages.push({ type: 'unwant', start, length: WANT_BITS_MAX, any: false })
  }
  channel.wantedSegments.clear()
  send(world, channel, messages)
}

/** True if the remote says that it has everything that we have. */
export function hasAll(channel: Channel): boolean {
  const { feed, remote, have } = channel
  const { fork, length } = feed.view
  if (remote === null || remote.fork !== fork || remote.length < length) return false
  if (have.hasAll(0, length)) return true
  for (const [start, end] of feed.have.runs(0, length)) if (!have.hasAll(start, end)) return false
  return true
}

/** Notes that the remote was given blocks: what it has by now is asked for once it has been quiet. */
export function gave(world: World, channel: Channel): void {
  channel.askedHaves = 0
  channel.asksHavesAt = world.now + askDelay(channel)
  world.served.add(channel)
}

/**
 * Asks a remote that was given blocks what it has, if it is time to: hypercore 10 never tells those who had
 * the blocks before. A few times, since it may not have stored all of them yet.
 */
export function askHaves(world: World, channel: Channel): void {
  if (channel.asksHavesAt > world.now) return
  if (hasAll(channel) || channel.askedHaves === HAVE_ASKS_MAX) {
    world.served.delete(channel)
    return
  }
  channel.askedHaves++
  channel.asksHavesAt = world.now + 4 ** channel.askedHaves * askDelay(channel)
  const messages: Message[] = []
  for (let start = 0; start < channel.feed.view.length; start += WANT_BITS_MAX) {
    const want: Want = { type: 'want', start, length: WANT_BITS_MAX, any: false }
    const unwant: Unwant = { ...want, type: 'unwant' }
    // Wants are counted by those who remember them: none is added to what stands.
    if (channel.wantedSegments.has(start / WANT_BITS_MAX)) messages.push(unwant, want)
    else messages.push(want, unwant)
  }
  send(world, channel, messages)
}

/** A remote that has part of a long feed answers with up to a bit for each block: it is asked less often. */
function askDelay(channel: Channel): number {
  return TICK_MS + channel.feed.view.length / 100
}

function ownSync(world: World, channel: Channel): Sync {
  const { feed, remote } = channel
  const { view } = feed
  return {
    type: 'sync',
    fork: view.fork,
    length: view.length,
    remoteLength: remote !== null && remote.fork === view.fork ? remote.length : 0,
    canUpgrade: canUpgrade(world, channel),
    uploading: channel.mayUpload,
    downloading: channel.mayDownload,
    hasManifest: view.hasManifest,
    allowPush: false
  }
}

function canUpgrade(world: World, channel: Channel): boolean {
  const { feed, remote } = channel
  if (remote === null) return true
  if (remote.fork !== feed.view.fork) return false
  if (remote.length === 0) return true
  if (remote.length >= feed.view.length) return false
  feed.roots ??= new Map()
  const known = feed.roots.get(remote.length)
  if (known === undefined) {
    feed.roots.set(remote.length, null)
    world.effects.push({
      type: 'load-roots',
      feed: feed.id,
      fork: feed.view.fork,
      length: remote.length
    })
  }
  return known === true
}

/** Our sync, if it says something that the last one did not and that is of use to the remote; else null. */
function newSync(world: World, channel: Channel): Sync | null {
  const { sentSync } = channel
  const sync = ownSync(world, channel)
  if (sentSync === null || !sameHead(sync, sentSync) || !sameRules(sync, sentSync)) return sync
  // What we heard of it, and that its head is no way to ours, matters to nobody who is not behind us.
  return lacksHead(channel) && !sameEcho(sync, sentSync) ? sync : null
}

/** False if all that is new is that we have come as far as the remote. One that is further is to say how we come there. */
function isSyncUrgent(sync: Sync, { feed, remote, sentSync }: Channel): boolean {
  if (sentSync === null || remote === null || remote.fork !== sync.fork) return true
  if (remote.length !== feed.view.length) return true
  return !sameRules(sync, sentSync)
}

/** True if our head may be news for the remote. */
function lacksHead({ feed: { view }, remote }: Channel): boolean {
  return remote === null || remote.fork !== view.fork || remote.length < view.length
}

function sameHead(a: Sync, b: Sync): boolean {
  return a.fork === b.fork && a.length === b.length && a.hasManifest === b.hasManifest
}

function sameRules(a: Sync, b: Sync): boolean {
  return a.fork === b.fork && a.uploading === b.uploading && a.downloading === b.downloading
}

/** True if they say the same of what we heard. */
function sameEcho(a: Sync, b: Sync): boolean {
  return a.remoteLength === b.remoteLength && a.canUpgrade === b.canUpgrade
}

/**
 * Keeps a want active for each segment that holds something wanted that is not here: a hypercore 11 peer with gaps says
 * nothing of what it has before it is asked so. Who has everything asks for nothing: each want is answered.
 */
function wantSegments(channel: Channel, messages: Message[]): void {
  const { feed, remote } = channel
  const active = channel.mayDownload
  const length = Math.max(feed.view.length, remote === null ? 0 : remote.length, 1)
  for (const segment of channel.wantedSegments) {
    const start = segment * WANT_BITS_MAX
    // A want that stands costs little; one for each block that is asked for brings the bitmap each time.
    const few = channel.wantedSegments.size <= KEPT_WANTS_MAX
    if (active && (few || overlapsWanted(channel, start, start + WANT_BITS_MAX))) continue
    channel.wantedSegments.delete(segment)
    messages.push({ type: 'unwant', start, length: WANT_BITS_MAX, any: false })
  }
  if (!active) return
  // By what is wanted and not by the length: that is only what the remote claims.
  for (const [from, to] of feed.wanted.ranges) {
    const last = Math.ceil(Math.min(to, length) / WANT_BITS_MAX)
    for (let segment = Math.floor(from / WANT_BITS_MAX); segment < last; segment++) {
      if (channel.wantedSegments.size >= REMOTE_WANTS_MAX) return
      if (channel.wantedSegments.has(segment)) continue
      const start = Math.max(from, segment * WANT_BITS_MAX)
      const end = Math.min(to, length, (segment + 1) * WANT_BITS_MAX)
      if (feed.have.firstUnset(start) < end) wantSegment(channel, segment, messages)
    }
  }
  for (const index of feed.urgent.keys()) {
    if (channel.wantedSegments.size >= REMOTE_WANTS_MAX) return
    if (index < length) wantSegment(channel, Math.floor(index / WANT_BITS_MAX), messages)
  }
  for (const index of feed.nodes.keys()) {
    if (channel.wantedSegments.size >= REMOTE_WANTS_MAX) return
    wantSegment(channel, Math.floor(firstBlock(index) / WANT_BITS_MAX), messages)
  }
}

function wantSegment(channel: Channel, segment: number, messages: Message[]): void {
  if (channel.wantedSegments.has(segment)) return
  channel.wantedSegments.add(segment)
  const start = segment * WANT_BITS_MAX
  messages.push({ type: 'want', start, length: WANT_BITS_MAX, any: false })
}

function overlapsWanted(channel: Channel, start: number, end: number): boolean {
  if (channel.feed.wanted.overlaps(start, end)) return true
  const { urgent, nodes } = channel.feed
  for (const index of urgent.keys()) if (start <= index && index < end) return true
  for (const index of nodes.keys()) {
    const block = firstBlock(index)
    if (start <= block && block < end) return true
  }
  return false
}

/** Takes what became ours out of the news and returns the ranges that a remote lacks, and wants or sees beside the end. */
function takeNews(channel: Channel): Range[] {
  const ranges: Range[] = []
  if (channel.news.length === 0) return ranges
  const news = channel.news.splice(0)
  if (!channel.mayAnnounce) return ranges
  const { view, have } = channel.feed
  let lacksPrefix = false
  for (const [start, end] of news) {
    // A prefix is always told, also to those who have it: it is how they see us progress.
    if (start < view.contiguousLength) channel.prefixGrew = true
    if (channel.have.hasAll(start, end)) continue
    if (start < view.contiguousLength) lacksPrefix = true
    if (end <= view.contiguousLength || !have.hasAll(start, end)) continue
    if (end <= view.length - ANNOUNCED_TAIL_BLOCKS && !wanted(channel, start, end)) continue
    ranges.push({ type: 'range', drop: false, start, length: end - start })
  }
  if (!lacksPrefix) return ranges
  channel.prefixGrew = false
  return [{ type: 'range', drop: false, start: 0, length: view.contiguousLength }, ...ranges]
}

function wanted(channel: Channel, start: number, end: number): boolean {
  if (channel.wants === null) return true
  return channel.wants.some((want) => want.start < end && start < want.end)
}

/** Takes the remote's state in. */
export function onSync(world: World, channel: Channel, sync: Sync): void {
  const before = channel.remote
  channel.remote = sync
  if (channel.feed.orphaned || (before !== null && givesLess(before, sync))) {
    world.unswept.add(channel.feed)
  }
  if (before !== null && before.fork !== sync.fork) {
    const kept = Math.min(before.length, sync.length)
    countPages(world, channel, channel.have.drop(kept, Number.MAX_SAFE_INTEGER))
  }
  touchChannel(world, channel)
  world.dirtyFeeds.add(channel.feed)
  world.effects.push({
    type: 'tell',
    event: 'remote',
    feed: channel.feed.id,
    peer: channel.peer.id
  })
}

/** True if a remote takes back what it said it could give. */
function givesLess(before: Sync, sync: Sync): boolean {
  if (before.fork !== sync.fork || sync.length < before.length) return true
  return before.uploading && !sync.uploading
}

export function onRange(world: World, channel: Channel, range: Range): void {
  const end = range.start + range.length
  if (range.drop) {
    countPages(world, channel, channel.have.drop(range.start, end))
    stir(world, channel.feed)
  } else countPages(world, channel, channel.have.set(range.start, end))
  haveChanged(world, channel)
}

export function onBitfield(world: World, channel: Channel, bitfield: Bitfield): void {
  if (bitfield.start % 32 !== 0) {
    closePeer(world, channel.peer, channel.feed, 'BAD_MESSAGE', 'bitfield does not start at a word')
    return
  }
  countPages(world, channel, channel.have.setWords(bitfield.start, bitfield.words))
  haveChanged(world, channel)
}

/** Counts the work that a peer makes by what it says it has, and closes one that makes too much. */
function countPages(world: World, { peer, feed }: Channel, pages: number): void {
  peer.havePages += pages
  if (peer.havePages <= REMOTE_HAVE_WORK_PAGES_MAX) return
  closePeer(world, peer, feed, 'TOO_MANY', 'what the remote says it has changes too much')
}

function haveChanged(world: World, channel: Channel): void {
  if (channel.have.pages > REMOTE_HAVE_PAGES_MAX) {
    closePeer(
      world,
      channel.peer,
      channel.feed,
      'TOO_MANY',
      'bitmap of the remote has too many pages'
    )
    return
  }
  channel.cursor = 0
  world.dirtyFeeds.add(channel.feed)
  wakeChannel(world, channel)
  world.effects.push({
    type: 'tell',
    event: 'remote',
    feed: channel.feed.id,
    peer: channel.peer.id
  })
}

/** Remembers what the remote wants to hear of, and tells it what we have there. */
export function onWant(world: World, channel: Channel, want: Want): void {
  const end = want.start + want.length
  const { length } = want
  const regular = length >= 32 && 2 ** Math.floor(Math.log2(length)) === length
  if (channel.wants !== null) {
    if (!regular || want.start % length !== 0 || channel.wants.length >= REMOTE_WANTS_MAX) {
      channel.wants = null
    } else if (!channel.wants.some((other) => other.start === want.start && other.end === end)) {
      channel.wants.push({ start: want.start, end, any: want.any })
    }
  }
  if (channel.opened) answerWant(world, channel, want.start, end)
}

export function onUnwant(channel: Channel, unwant: Unwant): void {
  const end = unwant.start + unwant.length
  if (channel.wants === null) return
  channel.wants = channel.wants.filter((want) => want.start !== unwant.start || want.end !== end)
}

/** Answers the wants that came before we could upload. */
export function answerWants(world: World, channel: Channel): void {
  for (const want of channel.wants ?? []) answerWant(world, channel, want.start, want.end)
}

/** Tells of a prefix at once; all else takes its turn, see {@link tellWanted}. */
function answerWant(world: World, channel: Channel, start: number, end: number): void {
  const { view } = channel.feed
  if (!channel.mayAnnounce || start >= view.length) return
  if (end <= view.contiguousLength || view.contiguousLength === view.length) {
    send(world, channel, [{ type: 'range', drop: false, start: 0, length: view.contiguousLength }])
    return
  }
  const { peer } = channel
  channel.unanswered ??= new RangeSet()
  channel.unanswered.add(start - (start % 32), Math.min(end, view.length))
  const { ranges } = channel.unanswered
  const [first, last] = [ranges[0], ranges.at(-1)]
  if (ranges.length > UNTOLD_RANGES_MAX && first !== undefined && last !== undefined) {
    channel.unanswered.add(first[0], last[1])
  }
  peer.wanting.add(channel)
  world.dirtyPeers.add(peer)
}

/**
 * Tells a peer what we have of the next piece that it asked about. A few bytes ask for a quarter of a megabyte, which is
 * why they are answered piece by piece, as what waits on their way out allows. Returns the bytes that it takes.
 */
export function tellWanted(world: World, peer: PeerState): number {
  const [channel] = peer.wanting
  if (channel === undefined) return 0
  peer.wanting.delete(channel)
  const bitfield = nextPiece(channel)
  // Whoever was told something goes to the end.
  if (channel.unanswered !== null) peer.wanting.add(channel)
  if (bitfield === null) return 0
  send(world, channel, [bitfield])
  const { byteLength } = bitfield.words
  peer.outboxBytes += byteLength
  // What really waits is known when we are woken.
  if (peer.outboxBytes > OUTBOX_BYTES_MAX) wake(world, world.now)
  return byteLength
}

/** Takes a piece out of what a remote asked about; null if we have nothing there. */
function nextPiece(channel: Channel): Bitfield | null {
  const { feed, unanswered } = channel
  const [from = 0, to = 0] = unanswered?.ranges[0] ?? []
  const end = Math.min(to, feed.view.length)
  const held = channel.mayAnnounce ? feed.have.firstSet(from, end) : -1
  const start = held === -1 ? end : from + WANT_BITS_MAX * Math.floor((held - from) / WANT_BITS_MAX)
  const last = Math.min(end, start + WANT_BITS_MAX)
  unanswered?.remove(from, held === -1 ? to : last)
  if (unanswered?.ranges.length === 0) channel.unanswered = null
  if (held === -1) return null
  const words = feed.have.words(start, Math.ceil((last - start) / 32))
  return { type: 'bitfield', start, words }
}

/** Marks one channel as to be looked at for everything. */
export function touchChannel(world: World, channel: Channel): void {
  channel.syncDirty = true
  world.dirtyChannels.add(channel)
  wakeChannel(world, channel)
}
