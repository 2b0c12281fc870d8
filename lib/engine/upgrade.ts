/**
 * Growing the head: first requests, upgrades, higher forks, conflicts.
 *
 * @module
 */
import type { ErrorCode } from '../errors.ts'
import { FIRST_REQUESTS_MAX, NO_DATA_REST_MS } from '../limits.ts'
import type { Data } from '../wire/message.ts'
import type { Input } from './input.ts'
import { awaitProvable, doubt, isBelieved, mistrust } from './claim.ts'
import { closePeer, send } from './output.ts'
import { ask, cancel, cancelAll, follows, mayAskProof } from './request.ts'
import { rest, stir, type Channel, type FeedState, type World } from './state.ts'

/** Bytes that an answer without a block is expected to take. */
const HEAD_BYTES = 1024

/**
 * Asks for block 0 and the first head in the same breath as the open, so that the first block is here
 * after one round trip. Only block 0 may be asked so: anything beyond the remote's length is an error there.
 */
export function askFirst(world: World, channel: Channel): void {
  const { feed } = channel
  const { view } = feed
  if (view.length !== 0 || view.fork !== 0 || view.writable) return
  if (!channel.mayDownload || !feed.wants(0) || feed.firsts >= FIRST_REQUESTS_MAX) return
  const request = ask(world, channel, {
    kind: 'first',
    index: 0,
    fork: 0,
    expectedBytes: HEAD_BYTES,
    parts: {
      block: { index: 0, nodes: 0 },
      upgrade: { start: 0, length: 1 },
      manifest: view.needsManifest
    }
  })
  send(world, channel, [request])
}

/** Asks for a longer head of our fork, if this remote has one and can prove it. */
export function askUpgrade(world: World, channel: Channel): boolean {
  const { feed, remote } = channel
  const { view } = feed
  if (remote === null || !channel.usable || feed.reorg?.proven === true) return false
  // Who was asked in vain before keeps nobody waiting who was not.
  if (feed.upgrade !== null && channel.unproven >= feed.upgrade.channel.unproven) return false
  if (feed.firsts > 0 || !feed.grows) return false
  if (remote.length <= view.length) {
    channel.unprovableSince = 0
    return false
  }
  // The flag speaks of the length that the remote echoed: any other is not decided yet.
  const provable = remote.canUpgrade && remote.remoteLength === view.length
  if (view.length > 0 && !(provable && mayAskProof(channel))) {
    awaitProvable(world, channel)
    return false
  }
  channel.unprovableSince = 0
  if (feed.upgrade !== null) cancel(world, feed.upgrade)
  const request = ask(world, channel, {
    kind: 'upgrade',
    fork: view.fork,
    expectedBytes: HEAD_BYTES,
    parts: {
      upgrade: { start: view.length, length: remote.length - view.length },
      manifest: view.needsManifest && remote.hasManifest,
      priority: 1
    }
  })
  send(world, channel, [request])
  return true
}

/** Asks for the head of a higher fork. */
export function askReorg(world: World, channel: Channel): boolean {
  const { feed, remote } = channel
  const { view } = feed
  if (remote === null || remote.fork <= view.fork || remote.length === 0) return false
  if (!view.allowsForks) return false
  if (!channel.opened || !remote.uploading || channel.accused !== null) return false
  if (feed.reorg !== null && !takesOver(channel, feed.reorg, remote.fork)) return false
  // With blocks of our own, the search for common ancestors follows.
  if (view.length > 0 && !mayAskProof(channel)) return false
  if (feed.reorg !== null) {
    // It had its time: otherwise those who claim ever higher forks would never be found out.
    const left = feed.channels.get(feed.reorg.peer)
    if (left !== undefined) mistrust(world, left)
  }
  cancelAll(world, feed, (_, request) => 'kind' in request && follows(feed, request))
  if (feed.reorg !== null) world.effects.push({ type: 'reorg-drop', feed: feed.id })
  feed.reorg = { peer: channel.peer.id, fork: remote.fork, request: -1, proven: false }
  const request = ask(world, channel, {
    kind: 'reorg',
    fork: remote.fork,
    expectedBytes: HEAD_BYTES,
    parts: {
      upgrade: { start: 0, length: remote.length },
      manifest: view.needsManifest && remote.hasManifest,
      priority: 1
    }
  })
  send(world, channel, [request])
  return true
}

/** True if a fork is to be followed instead of the one that is: that is only a claim, and this one is the better. */
function takesOver(
  channel: Channel,
  reorg: NonNullable<FeedState['reorg']>,
  fork: number
): boolean {
  const followed = channel.feed.channels.get(reorg.peer)
  if (followed === undefined) return true
  if (reorg.proven && followed !== channel) return false
  if (channel.unproven !== followed.unproven) return channel.unproven < followed.unproven
  return fork > reorg.fork && isBelieved(channel)
}

/** Takes in a step of following a fork: asks for the next node, or is done. */
export function onReorged(world: World, input: Extract<Input, { type: 'reorged' }>): void {
  const feed = world.feeds.get(input.feed)
  const channel = feed?.channels.get(input.peer)
  if (feed === undefined || feed.reorg === null || feed.reorg.peer !== input.peer) return
  const { fork } = feed.reorg
  if (input.failure === null && input.next !== null && channel !== undefined) {
    feed.reorg.proven = true
    const request = ask(world, channel, {
      kind: 'ancestors',
      fork,
      expectedBytes: HEAD_BYTES,
      parts: { hash: input.next, priority: 1 }
    })
    send(world, channel, [request])
    return
  }
  feed.reorg = null
  world.effects.push({ type: 'reorg-drop', feed: feed.id })
  if (input.failure === null && channel !== undefined) {
    if (feed.view.fork >= fork) channel.unproven = 0
    else doubt(world, channel)
  }
  if (input.failure !== null && channel !== undefined) {
    if (input.failure.fault === 'peer') {
      closePeer(world, channel.peer, feed, input.failure.code, input.failure.message)
    } else {
      rest(world, channel, NO_DATA_REST_MS)
    }
  }
  stir(world, feed)
}

/**
 * Ends a peer that gave something wrong. If its history might be a validly signed other one, it is first asked
 * for its head at our length: that tells a liar from a conflict.
 */
export function accuse(world: World, channel: Channel, code: ErrorCode, message: string): void {
  const { feed, peer, remote } = channel
  if (peer.closing || channel.accused !== null) return
  const { view } = feed
  const length = Math.min(view.length, remote === null ? 0 : remote.length)
  if (remote === null || remote.fork !== view.fork || length === 0 || code === 'BAD_MESSAGE') {
    closePeer(world, peer, feed, code, message)
    return
  }
  channel.accused = { code, message, at: world.now }
  world.watched.add(channel)
  cancelAll(world, feed, (_, request) => request.channel === channel)
  send(world, channel, [
    {
      type: 'request',
      id: 0,
      fork: view.fork,
      block: null,
      hash: null,
      seek: null,
      upgrade: { start: 0, length },
      manifest: false,
      priority: 0
    }
  ])
}

/** Has a head that came under id 0 compared with ours. */
export function onConflictProof(world: World, channel: Channel, data: Data): void {
  const { feed } = channel
  if (data.upgrade === null || data.upgrade.start !== 0) return
  if (data.fork !== feed.view.fork || feed.view.length === 0 || feed.view.frozen) return
  world.effects.push({ type: 'check-conflict', peer: channel.peer.id, feed: feed.id, data })
}

/** Takes in whether two signed histories differ. */
export function onConflictChecked(
  world: World,
  input: Extract<Input, { type: 'conflict-checked' }>
): void {
  const feed = world.feeds.get(input.feed)
  if (feed === undefined) return
  const channel = feed.channels.get(input.peer)
  if (input.conflict) {
    world.effects.push({ type: 'tell', event: 'conflict', feed: feed.id, peer: input.peer })
    for (const other of feed.channels.values()) {
      world.effects.push({ type: 'close-channel', peer: other.peer.id, feed: feed.id })
    }
    return
  }
  if (channel !== undefined && channel.accused !== null) {
    closePeer(world, channel.peer, feed, channel.accused.code, channel.accused.message)
  }
}
