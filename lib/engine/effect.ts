/**
 * Everything that the engine can ask of its shell. Effects are returned, in the order in which they are
 * to be carried out.
 *
 * @module
 */
import type { ErrorCode } from '../errors.ts'
import type { BlockRequest, Data, Message, Request } from '../wire/message.ts'
import type { RequestRun, ValueRun } from '../wire/run.ts'

export type Effect =
  /** Messages that belong together: one frame where they fit. */
  | {
      readonly type: 'send'
      readonly peer: number
      readonly feed: number
      readonly messages: readonly (Message | RequestRun)[]
    }
  /** Which nodes above this block are stored? */
  | {
      readonly type: 'load-path'
      readonly feed: number
      readonly fork: number
      readonly block: number
    }
  /** Are all roots of this length stored, so that an upgrade from it can be proven? */
  | {
      readonly type: 'load-roots'
      readonly feed: number
      readonly fork: number
      readonly length: number
    }
  /** Verify a proof and store what it brings. The byte fields are views: copy what must last. */
  | {
      readonly type: 'verify'
      readonly peer: number
      readonly feed: number
      readonly request: number
      readonly fork: number
      readonly data: Data
    }
  /** Does the hash part of an answer fold to a known node? Nothing is stored. The byte fields are views. */
  | {
      readonly type: 'check-node'
      readonly peer: number
      readonly feed: number
      readonly request: number
      readonly fork: number
      readonly asked: BlockRequest
      readonly data: Data
    }
  /** Keep the values `[from, to)` of a run for a chunk, by copy. All are blocks of the chunk. */
  | {
      readonly type: 'hold'
      readonly feed: number
      readonly chunk: number
      readonly peer: number
      readonly start: number
      readonly count: number
      readonly size: number
      readonly run: ValueRun
      readonly from: number
      readonly to: number
    }
  /** All blocks of the chunk are held or kept: fold, compare with the root, store. */
  | {
      readonly type: 'fold'
      readonly feed: number
      readonly chunk: number
      readonly fork: number
      readonly root: number
      readonly start: number
      readonly count: number
    }
  /** Remember who gave which leaf of a chunk that did not fold, then let its bytes go. */
  | { readonly type: 'suspect'; readonly feed: number; readonly chunk: number }
  /** Let the bytes of a chunk, and what is remembered of it, go. */
  | { readonly type: 'drop-chunk'; readonly feed: number; readonly chunk: number }
  /** Answer requests, together and in order. All are of this fork, and those for bare values for what is held. */
  | {
      readonly type: 'serve'
      readonly peer: number
      readonly feed: number
      readonly fork: number
      readonly requests: readonly (Request | RequestRun)[]
      /** Bytes that the answers were taken to be; `served` tells how many there were. */
      readonly expected: number
      /** Bytes of answers after which the rest is left for another turn. */
      readonly most: number
    }
  /** Begin (`data` answers the upgrade) or continue (it answers the hash request) to follow a fork. */
  | {
      readonly type: 'reorg'
      readonly peer: number
      readonly feed: number
      readonly begin: boolean
      readonly data: Data
    }
  /** Forget a reorg that cannot go on. */
  | { readonly type: 'reorg-drop'; readonly feed: number }
  | {
      readonly type: 'check-conflict'
      readonly peer: number
      readonly feed: number
      readonly data: Data
    }
  | { readonly type: 'close-channel'; readonly peer: number; readonly feed: number }
  | {
      readonly type: 'close-peer'
      readonly peer: number
      readonly code: ErrorCode
      readonly message: string
      readonly feed: number
    }
  /** Call `step` with a tick at this time at the latest; a newer one replaces it. */
  | { readonly type: 'wake'; readonly at: number }
  | ({ readonly type: 'tell' } & Telling)

/** What the user is told. */
export type Telling =
  /** Blocks of a feed from `start` on came from a peer and are stored: one length in bytes for each. */
  | {
      readonly event: 'download'
      readonly feed: number
      readonly peer: number
      readonly start: number
      readonly byteLengths: Uint32Array
    }
  | {
      readonly event: 'peer-add' | 'peer-remove'
      readonly feed: number
      readonly peer: number
    }
  /** Everything wanted up to the highest length seen is held. */
  | { readonly event: 'synced'; readonly feed: number }
  /** A peer's length, fork or haves changed. */
  | { readonly event: 'remote'; readonly feed: number; readonly peer: number }
  /** What the feed is synchronized for, or from whom something may come, changed. */
  | { readonly event: 'configured'; readonly feed: number }
  | { readonly event: 'conflict'; readonly feed: number; readonly peer: number }
  /** The feed stopped because its own storage failed. */
  | {
      readonly event: 'feed-error'
      readonly feed: number
      readonly code: ErrorCode
      readonly message: string
    }
