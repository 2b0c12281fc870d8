/**
 * Everything that can happen to the engine.
 *
 * Peers and feeds are named by numbers that the shell gives and never uses again, so a late input about
 * something gone is recognised and dropped. Results carry the fork under which their effect was made.
 *
 * @module
 */
import type { ErrorCode } from '../errors.ts'
import type { ReadonlyBitmap } from '../primitives/bitmap.ts'
import type { BlockRequest, Data, Message, Request } from '../wire/message.ts'
import type { RequestRun, ValueRun } from '../wire/run.ts'

/** What a feed is synchronized for; see {@link Mode} values in the design's table of words. */
export type Mode = (typeof MODES)[number]
export const MODES = ['pull', 'follow', 'serve', 'both'] as const

/** Which way bytes may go. */
export type Direction = (typeof DIRECTIONS)[number]
export const DIRECTIONS = ['both', 'upload', 'download', 'none'] as const

/** True if a direction lets in what others have. */
export function letsIn(direction: Direction): boolean {
  return direction === 'both' || direction === 'download'
}

/** Bytes per second in each direction; 0 is no limit. */
export interface RateLimits {
  readonly upload: number
  readonly download: number
}

/** A node that is stored, so hash and size are authenticated. */
export interface Trusted {
  readonly index: number
  readonly size: number
}

/** State of a feed as the shell sees it after a change. */
export interface FeedView {
  readonly fork: number
  readonly length: number
  readonly byteLength: number
  readonly contiguousLength: number
  readonly writable: boolean
  readonly frozen: boolean
  /** False if higher forks of others are left alone. */
  readonly allowsForks: boolean
  /** True if a manifest is needed to verify the first head and we have none. */
  readonly needsManifest: boolean
  /** True if we hold a manifest that others may ask for. */
  readonly hasManifest: boolean
}

/** A change of a local feed, whoever made it. */
export type LocalChange =
  | { readonly type: 'length' }
  | { readonly type: 'have'; readonly start: number; readonly end: number }
  | { readonly type: 'clear'; readonly start: number; readonly end: number }
  | { readonly type: 'forget'; readonly start: number; readonly end: number }
  /** `length` is what stays of the old fork. */
  | { readonly type: 'truncate'; readonly length: number }
  | { readonly type: 'state' }

/** A failure that an effect ended with. `fault` tells whose it is. */
export interface Failure {
  readonly code: ErrorCode
  readonly message: string
  readonly fault: 'peer' | 'local'
}

export type Input =
  /** A connection stands. `identity` is the same for the same remote over reconnections. */
  | {
      readonly type: 'peer-open'
      readonly peer: number
      readonly identity: string
      readonly limits?: RateLimits
    }
  | { readonly type: 'peer-close'; readonly peer: number; readonly broken: boolean }
  /** The remote said that it reads whole runs of requests. */
  | { readonly type: 'peer-runs'; readonly peer: number }
  /** We opened the channel; messages may be sent. */
  | { readonly type: 'channel-opening'; readonly peer: number; readonly feed: number }
  /** The remote opened too, and its capability was verified. */
  | { readonly type: 'channel-open'; readonly peer: number; readonly feed: number }
  | { readonly type: 'channel-close'; readonly peer: number; readonly feed: number }
  /** Any message but data and extension. */
  | {
      readonly type: 'message'
      readonly peer: number
      readonly feed: number
      readonly message: Exclude<Message, { type: 'data' | 'extension' }>
    }
  /** Answers that arrived together, in order. */
  | {
      readonly type: 'data'
      readonly peer: number
      readonly feed: number
      readonly answers: readonly Data[]
    }
  /** Bare values that arrived together, in order. */
  | {
      readonly type: 'values'
      readonly peer: number
      readonly feed: number
      readonly runs: readonly ValueRun[]
    }
  /** Requests for bare values that arrived together, in order. */
  | {
      readonly type: 'requests'
      readonly peer: number
      readonly feed: number
      readonly runs: readonly RequestRun[]
    }
  | {
      readonly type: 'add-feed'
      readonly feed: number
      readonly view: FeedView
      /** The blocks held: a live view; every change of it is followed by a `changed` input. */
      readonly have: ReadonlyBitmap
      readonly mode: Mode
      readonly priority: number
      readonly direction: Direction
      /** Half-open ranges that are wanted from the start; the end may be Infinity. */
      readonly wants: readonly (readonly [start: number, end: number])[]
    }
  | { readonly type: 'remove-feed'; readonly feed: number }
  | {
      readonly type: 'configure-feed'
      readonly feed: number
      readonly mode?: Mode
      readonly priority?: number
      readonly direction?: Direction
    }
  | {
      readonly type: 'configure-peer'
      readonly peer: number
      /** Null means every feed of the peer. */
      readonly feed: number | null
      readonly direction?: Direction
      readonly limits?: RateLimits
    }
  | { readonly type: 'configure'; readonly limits: RateLimits }
  | {
      readonly type: 'want'
      readonly feed: number
      readonly start: number
      readonly end: number
    }
  | {
      readonly type: 'unwant'
      readonly feed: number
      readonly start: number
      readonly end: number
    }
  /** Somebody waits for one block, or (`release`) no longer. */
  | {
      readonly type: 'get'
      readonly feed: number
      readonly index: number
      readonly release: boolean
    }
  /** Somebody waits for the newest head, or (`release`) no longer. */
  | { readonly type: 'head'; readonly feed: number; readonly release: boolean }
  /** Nodes that are not stored are waited for, each with the parents to climb up to one that is known. */
  | {
      readonly type: 'ask-nodes'
      readonly feed: number
      readonly nodes: readonly BlockRequest[]
    }
  /** Nodes are not waited for any longer. */
  | {
      readonly type: 'drop-nodes'
      readonly feed: number
      readonly indexes: readonly number[]
    }
  | {
      readonly type: 'changed'
      readonly feed: number
      readonly view: FeedView
      readonly change: LocalChange
    }
  /** Result of `load-path`: stored nodes from the leaf upward, in ascending height. */
  | {
      readonly type: 'path-loaded'
      readonly feed: number
      readonly fork: number
      readonly block: number
      readonly nodes: readonly Trusted[]
    }
  /** Result of `load-roots`. */
  | {
      readonly type: 'roots-loaded'
      readonly feed: number
      readonly fork: number
      readonly length: number
      readonly stored: boolean
    }
  /** Result of `verify`. */
  | {
      readonly type: 'verified'
      readonly peer: number
      readonly feed: number
      readonly request: number
      readonly fork: number
      readonly failure: Failure | null
      /** True if the feed became longer. */
      readonly upgraded: boolean
      /** The block that was stored, and its length in bytes. */
      readonly block: number | null
      readonly byteLength: number
      readonly path: readonly Trusted[]
      /** The peer whose earlier bytes for this block were wrong, or -1. */
      readonly liar: number
    }
  /** Result of `check-node`. */
  | {
      readonly type: 'node-checked'
      readonly peer: number
      readonly feed: number
      readonly request: number
      readonly failure: Failure | null
      /** Nodes that are not waited for any longer. */
      readonly learned: readonly number[]
      /** The peer that had given another size for a node, or -1. */
      readonly liar: number
    }
  /** Result of `fold`. */
  | {
      readonly type: 'folded'
      readonly feed: number
      readonly chunk: number
      readonly result: 'stored' | 'stale' | 'wrong'
      readonly failure: Failure | null
    }
  /** Result of `serve`. */
  | {
      readonly type: 'served'
      readonly peer: number
      readonly feed: number
      readonly count: number
      /** Bytes that were expected, and bytes that were sent. */
      readonly expected: number
      readonly bytes: number
      /** What has still to be answered, since enough was sent for one turn. */
      readonly rest: readonly (Request | RequestRun)[]
      readonly failure: Failure | null
    }
  /** Result of `reorg`: the next hash request, or null once the new fork was taken over or is stale. */
  | {
      readonly type: 'reorged'
      readonly feed: number
      readonly peer: number
      readonly next: BlockRequest | null
      readonly failure: Failure | null
    }
  /** Result of `check-conflict`. */
  | {
      readonly type: 'conflict-checked'
      readonly feed: number
      readonly peer: number
      readonly conflict: boolean
    }
  /** The storage of a feed failed while it was read for something else than an answer. */
  | { readonly type: 'feed-failed'; readonly feed: number; readonly failure: Failure }
  /** State of a connection that only the shell sees. */
  | {
      readonly type: 'flow'
      readonly peer: number
      readonly bytesReceived: number
      readonly outboxBytes: number
      /** True while the shell itself keeps the connection from being read. */
      readonly paused: boolean
    }
  | { readonly type: 'tick' }
