/**
 * Where a {@link StoredFeed} keeps its state: head, tree nodes, block bytes, bits, named user data.
 *
 * A store knows nothing of hashes and signatures. `memory-store.ts` and `file-store.ts` implement it.
 *
 * @module
 */
import type { BufferPool } from '../primitives/buffer-pool.ts'
import type { Bitmap } from '../primitives/bitmap.ts'
import type { Manifest } from '../wire/manifest.ts'
import type { BlockRange } from '../primitives/ranges.ts'
import type { TreeNode } from '../wire/message.ts'

/** An Ed25519 key pair: 32 and 64 bytes. */
export interface KeyPair {
  readonly publicKey: Uint8Array
  readonly secretKey: Uint8Array
}

/** Who the feed is. */
export interface Identity {
  readonly key: Uint8Array
  readonly manifest: Manifest | null
  readonly keyPair: KeyPair | null
}

/** The signed end of the feed. Length 0 has no signature yet. */
export interface Head {
  readonly fork: number
  readonly length: number
  /** 32 bytes: tree hash of the roots at `length`; empty for length 0. */
  readonly rootHash: Uint8Array
  readonly signature: Uint8Array
}

/** What a store holds when it is opened. The bitmap is handed over: the feed owns and changes it. */
export interface StoreState {
  readonly identity: Identity
  readonly head: Head
  /** Roots of the tree of `head`, where they were read already. */
  readonly roots?: readonly TreeNode[]
  readonly bitmap: Bitmap
  /** Found by the last close or checkpoint; a lower bound. */
  readonly contiguousLength: number
  readonly frozen: boolean
  /**
   * Blocks stored since the last point known to be on disk, when the store was not closed cleanly: they
   * are hashed before they are believed. Half-open ranges, ascending.
   */
  readonly doubtful: readonly (readonly [start: number, end: number])[]
}

/** Consecutive tree nodes: 40 bytes each (u64le size, 32-byte hash), the first at flat index `first`. */
export interface NodeRun {
  readonly first: number
  readonly bytes: Uint8Array
}

/** Consecutive block bytes at a byte offset of the feed. The parts are written one after the other. */
export interface ByteRun {
  readonly offset: number
  readonly parts: readonly Uint8Array[]
}

/** One change, applied as a whole or not at all, in this order: data and nodes, then the rest. */
export interface Commit {
  readonly data?: readonly ByteRun[] | undefined
  readonly nodes?: readonly TreeNode[] | undefined
  /** Dense nodes of chunks; they lie under a stored root, so they need not stand in the log. */
  readonly nodeRuns?: readonly NodeRun[] | undefined
  /** New head; `ancestors` is the length that stays from the old one (less than it for a truncation). */
  readonly head?: (Head & { readonly ancestors: number }) | undefined
  /** Bits set or (drop) cleared. */
  readonly bits?:
    | readonly { readonly start: number; readonly end: number; readonly drop: boolean }[]
    | undefined
  readonly manifest?: Manifest | undefined
  readonly userData?:
    | readonly { readonly name: string; readonly value: Uint8Array | null }[]
    | undefined
  readonly frozen?: boolean | undefined
  /** The contiguous length after this commit, kept as a hint. */
  readonly contiguousLength: number
  /** `fsync`: durable when the promise resolves. `os`: safe against the end of the process. */
  readonly durability: 'fsync' | 'os'
}

/**
 * See the module comment. Calls of `commit`, `clear` and `close` never overlap; reads may overlap everything.
 *
 * Errors: SynclineError STORAGE_FAILED (cause: the system's error), DISK_FULL, FEED_DAMAGED,
 * FEED_LOCKED. A failed commit leaves the state as it was before.
 */
export interface Store {
  /** Reads the state. Called once, before anything else. */
  open(): Promise<StoreState>
  /** The caller has hashed the doubtful blocks and taken back those that do not hold; until then they stay doubtful. */
  checked(): void
  /** The stored node at a flat index, or null. */
  getNode(index: number): Promise<TreeNode | null>
  /** Raw 40-byte nodes at flat indexes `[first, first + count)`; all zero where absent. */
  getNodeRun(first: number, count: number): Promise<Uint8Array>
  /** Bytes `[offset, offset + byteLength)` of the block data, the caller's; from `pool` if there is one and it is of use. */
  getBytes(offset: number, byteLength: number, pool?: BufferPool): Promise<Uint8Array>
  /** Applies one change. */
  commit(commit: Commit): Promise<void>
  /** Frees the disk under block bytes `[offset, offset + byteLength)`, where the system can; the bits are the caller's. */
  free(offset: number, byteLength: number): Promise<void>
  getUserData(name: string): Promise<Uint8Array | null>
  /**
   * Blocks that others have taken back since it was opened, for stores that others may write to meanwhile: what was read of
   * them does not count, nor will they be there again.
   *
   * @throws SynclineError FEED_LOCKED if blocks were cut off: nothing that was read counts, and the store is to be opened again.
   */
  takenBack?(): Promise<readonly BlockRange[]>
  /** Makes everything durable and compacts the log. */
  flush(): Promise<void>
  /** Flushes, marks the state as clean, lets files and locks go. Idempotent. */
  close(): Promise<void>
}
