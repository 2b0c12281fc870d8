/**
 * Asking for tree nodes that are not stored, for whoever compares bytes of its own with the tree.
 *
 * What comes is checked and never stored: of two siblings that came together only the sum of the sizes is sure.
 *
 * @module
 */
import { NO_DATA_REST_MS, NODE_REFUSALS_MAX, WANT_BITS_MAX } from '../limits.ts'
import { endBlock, firstBlock, parent } from '../primitives/flat-tree.ts'
import type { BlockRequest, Data, NoData } from '../wire/message.ts'
import { touchChannel } from './announce.ts'
import type { Batch } from './batch.ts'
import { cancel, mayAskProof, release } from './request.ts'
import {
  type Channel,
  type FeedState,
  type InFlight,
  type NodeAsk,
  rest,
  touch,
  wakeChannel,
  type World
} from './state.ts'
import { closePeer } from './output.ts'

/** Takes nodes in that are waited for from now on. */
export function onAskNodes(world: World, feed: FeedState, asked: readonly BlockRequest[]): void {
  if (feed.nodes.size === 0) touch(world, feed)
  const segments = new Set<number>()
  for (const { index, nodes } of asked) {
    if (feed.nodes.has(index)) continue
    const ask: NodeAsk = { index, nodes, request: null, refusals: new Map() }
    feed.addNode(ask)
    segments.add(Math.floor(firstBlock(index) / WANT_BITS_MAX))
  }
  for (const channel of feed.channels.values()) {
    const isTold = [...segments].every((segment) => channel.wantedSegments.has(segment))
    if (isTold) wakeChannel(world, channel)
    else touchChannel(world, channel)
  }
}

/** Takes in that nodes are not waited for any longer. */
export function dropNodes(world: World, feed: FeedState, indexes: readonly number[]): void {
  for (const index of indexes) {
    const ask = feed.nodes.get(index)
    if (ask === undefined) continue
    feed.deleteNode(ask)
    if (ask.request !== null) cancel(world, ask.request)
  }
  if (feed.nodes.size === 0) touch(world, feed)
}

/** Asks a channel for the nodes that it can prove. */
export function askNodes(channel: Channel, batch: Batch): void {
  for (const ask of channel.feed.openNodes) {
    if (batch.full || !mayAskProof(channel)) return
    if (isOffered(channel, ask)) batch.addNode(ask)
  }
}

/**
 * True if the remote has the node, its sibling and all beside the path above them: it does if it has a block below the
 * two. One that has them all lost none of the nodes, so it is asked first.
 */
function isOffered(channel: Channel, ask: NodeAsk): boolean {
  if (!canGive(channel, ask)) return false
  const [start, end] = blocksOf(ask)
  if (channel.have.hasAll(start, end)) return true
  if (channel.have.firstSet(start, end) === -1) return false
  for (const other of channel.feed.channels.values()) {
    if (other !== channel && canGive(other, ask) && other.have.hasAll(start, end)) return false
  }
  return true
}

function canGive(channel: Channel, { index, nodes, refusals }: NodeAsk): boolean {
  const { remote, peer, proofs } = channel
  if (remote === null || !channel.usable || !channel.mayDownload) return false
  if (proofs === 'values-only' || (refusals.get(peer.id) ?? 0) >= NODE_REFUSALS_MAX) return false
  let top = index
  for (let i = 0; i < nodes; i++) top = parent(top)
  return endBlock(top) <= remote.length
}

/** Blocks below a node and its sibling. */
function blocksOf({ index }: NodeAsk): [start: number, end: number] {
  const above = parent(index)
  return [firstBlock(above), endBlock(above)]
}

/** Has an answer checked. */
export function onNode(world: World, channel: Channel, request: InFlight, data: Data): void {
  const { peer, feed } = channel
  const asked = request.node
  const ask = asked === null ? undefined : feed.nodes.get(asked.index)
  // Nobody waits for it any longer.
  if (asked === null || ask === undefined) return
  if (data.hash === null) {
    if (!request.late) release(world, request)
    closePeer(world, peer, feed, 'BAD_MESSAGE', 'answer has no node')
    return
  }
  if (ask.request === request) ask.request = null
  world.verifying.set(`${peer.id}:${request.id}`, request)
  const { id, fork } = request
  world.effects.push({
    type: 'check-node',
    peer: peer.id,
    feed: feed.id,
    request: id,
    fork,
    asked,
    data
  })
}

/** Takes in that a remote does not give a node: it may lack it, or not give it now. */
export function refuseNode(
  world: World,
  channel: Channel,
  request: InFlight,
  { reason }: NoData
): void {
  const { peer, feed } = channel
  const ask = request.node === null ? undefined : feed.nodes.get(request.node.index)
  // Hypercore 10 gives no reasons, so that nothing is known of the next time.
  if (reason === 0) rest(world, channel, NO_DATA_REST_MS)
  const refusals = (ask?.refusals.get(peer.id) ?? 0) + 1
  ask?.refusals.set(peer.id, reason === 0 ? refusals : NODE_REFUSALS_MAX)
}
