/**
 * The engine's state as plain values: for tests, for people who wonder why nothing moves.
 *
 * @module
 */
import type { World } from './state.ts'

/** See {@link Engine.snapshot}. */
export interface Snapshot {
  /** Expected bytes of all open chunks. */
  readonly openChunkBytes: number
  readonly peers: readonly PeerSnapshot[]
  /** The feed that was asked for, or null. */
  readonly feed: FeedSnapshot | null
}

/** One connection. */
export interface PeerSnapshot {
  readonly peer: number
  /** Requests in flight, and their expected bytes. */
  readonly requests: number
  readonly requestBytes: number
  readonly windowRequests: number
  readonly windowBytes: number
  /** Requests that wait to be answered, and answers under way. */
  readonly queued: number
  readonly serving: number
  readonly closing: boolean
}

/** One feed with its chunks and channels. */
export interface FeedSnapshot {
  readonly fork: number
  readonly length: number
  readonly mode: string
  readonly direction: string
  readonly synced: boolean
  readonly halted: boolean
  readonly wanted: readonly (readonly [start: number, end: number])[]
  readonly urgent: readonly number[]
  readonly upgrade: number | null
  readonly firsts: number
  readonly reorg: { readonly peer: number; readonly fork: number } | null
  readonly chunks: readonly {
    readonly id: number
    readonly phase: string
    readonly start: number
    readonly end: number
    readonly size: number
    readonly missing: number
    readonly inFlight: number
  }[]
  readonly channels: readonly {
    readonly peer: number
    readonly opened: boolean
    readonly fork: number
    readonly length: number
    readonly echoed: number
    readonly canUpgrade: boolean
    readonly uploading: boolean
    readonly prefix: number
    readonly blocks: number
    readonly proofs: string
    readonly resting: boolean
    readonly accused: boolean
  }[]
}

/** Copies what is known of all peers and of one feed. */
export function snapshotOf(world: World, id: number): Snapshot {
  const peers = [...world.peers.values()].map((peer) => ({
    peer: peer.id,
    requests: peer.inFlight,
    requestBytes: peer.inFlightBytes,
    windowRequests: peer.window.requests,
    windowBytes: peer.window.bytes,
    queued: peer.queue.count,
    serving: peer.serving,
    closing: peer.closing
  }))
  return { openChunkBytes: world.openBytes, peers, feed: feedSnapshot(world, id) }
}

function feedSnapshot(world: World, id: number): FeedSnapshot | null {
  const feed = world.feeds.get(id)
  if (feed === undefined) return null
  return {
    fork: feed.view.fork,
    length: feed.view.length,
    mode: feed.mode,
    direction: feed.direction,
    synced: feed.synced,
    halted: feed.halted,
    wanted: feed.wanted.ranges.map(([start, end]) => [start, end] as const),
    urgent: [...feed.urgent.keys()],
    upgrade: feed.upgrade?.channel.peer.id ?? null,
    firsts: feed.firsts,
    reorg: feed.reorg === null ? null : { peer: feed.reorg.peer, fork: feed.reorg.fork },
    chunks: [...feed.chunks.values()].map(({ id, phase, start, end, size, missing, inFlight }) => ({
      id,
      phase,
      start,
      end,
      size,
      missing,
      inFlight
    })),
    channels: [...feed.channels.values()].map((channel) => ({
      peer: channel.peer.id,
      opened: channel.opened,
      fork: channel.remote?.fork ?? -1,
      length: channel.remote?.length ?? -1,
      echoed: channel.remote?.remoteLength ?? -1,
      canUpgrade: channel.remote?.canUpgrade ?? false,
      uploading: channel.remote?.uploading ?? false,
      prefix: channel.have.prefix,
      blocks: channel.have.count(0, feed.view.length),
      proofs: channel.proofs,
      resting: channel.restsUntil > world.now,
      accused: channel.accused !== null
    }))
  }
}
