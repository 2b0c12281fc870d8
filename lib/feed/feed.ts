/**
 * What a feed is to the rest of syncline: identity, state, content, proofs, and the ways to grow it.
 *
 * Two things implement it: {@link StoredFeed} over a {@link Store} (flat files or memory), and an
 * adapter over a live `Hypercore` of the user's. `test/conformance/feed.ts` is the suite for both.
 *
 * Every method may be slow: the bytes may lie on a remote or sleepy disk.
 *
 * @module
 */
import type { BufferPool } from '../primitives/buffer-pool.ts'
import type { ReadonlyBitmap } from '../primitives/bitmap.ts'
import type { Manifest } from '../wire/manifest.ts'
import type { BlockRequest, Proof, SeekRequest, TreeNode, UpgradeRequest } from '../wire/message.ts'
import type { PackedBlocks } from '../wire/run.ts'
import type { BlockCipher } from './encryption.ts'

/** What a proof shall contain; field for field the parts of a request. */
export interface ProofRequest {
  readonly block?: BlockRequest | null
  readonly hash?: BlockRequest | null
  readonly seek?: SeekRequest | null
  readonly upgrade?: UpgradeRequest | null
  readonly manifest?: boolean
}

/** A tree node whose hash and size are authenticated and stored. */
export interface TrustedNode {
  /** Flat tree index. */
  readonly index: number
  /** Bytes of all blocks below it. */
  readonly size: number
}

/** What became of a proof that was in order. */
export interface Applied {
  /** False if the feed had moved on (other fork, already longer) and nothing was stored. */
  readonly applied: boolean
  /** True if the feed is longer now. */
  readonly upgraded: boolean
  /** Index of the block that was stored, or null. */
  readonly block: number | null
  /**
   * Nodes on the path from the block (or hash node) of the proof up to what was trusted before, that
   * node included, in ascending height; empty without a block or hash part.
   */
  readonly path: readonly TrustedNode[]
  /** Roots of the new head; empty if it is the old one. */
  readonly roots: readonly TrustedNode[]
}

/**
 * The blocks of one chunk as they arrived, for {@link Feed.putChunk}.
 *
 * Block `first + i` is `bytes[offsets[i], offsets[i] + lengths[i])`. A block that the feed holds already
 * has the length {@link HELD} and enters the fold through its stored node. The caller owns all arrays
 * and leaves them alone until the promise settles.
 */
export interface ChunkBlocks {
  readonly fork: number
  /** Flat index of the chunk's root: a stored node. */
  readonly root: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  readonly lengths: Uint32Array
}

/** Marks a block in {@link ChunkBlocks.lengths} that is held already. */
export const HELD = 0xffffffff

/** What became of a chunk: stored, stale (the fork moved on), or not what its root promises. */
export type ChunkResult = 'stored' | 'stale' | 'wrong'

/** Blocks whose bytes are at their place in the store already, for {@link Feed.adopt}. */
export interface AdoptedBlocks {
  /** First block. */
  readonly start: number
  /** Leaves of the blocks from `start` on, 40 bytes each (u64le size, hash): at least one and at most 65,536. */
  readonly leaves: Uint8Array
  /**
   * Nodes beside and above the blocks which are not stored, in any order. Nothing is believed of them: what the blocks and
   * they fold to is compared with what is stored.
   */
  readonly path?: readonly TreeNode[]
}

/** What became of an adoption: done, nothing stored leads to the blocks, or not what the tree says. */
export type AdoptResult = 'adopted' | 'stale' | 'wrong'

/** A change of a feed, whoever made it. */
export type FeedChange =
  | { readonly type: 'append'; readonly start: number; readonly length: number }
  | { readonly type: 'upgrade'; readonly start: number; readonly length: number }
  | { readonly type: 'have'; readonly start: number; readonly end: number }
  | { readonly type: 'clear'; readonly start: number; readonly end: number }
  /** Dropped since they were bad: unlike cleared blocks they are still wanted. */
  | { readonly type: 'forget'; readonly start: number; readonly end: number }
  | { readonly type: 'truncate'; readonly length: number; readonly fork: number }
  | { readonly type: 'freeze' }
  | { readonly type: 'manifest' }
  /** Whoever owns what is below closed it; nothing follows. */
  | { readonly type: 'close' }

/**
 * One step of following a remote that rewrote its feed.
 *
 * Ask for `next` (a hash request of the new fork), hand the answer to `accept`, until `next` is null;
 * then `commit` truncates to the common ancestors and takes over the new head.
 */
export interface Reorg {
  /** Fork of the remote. */
  readonly fork: number
  /** Length of the remote under that fork. */
  readonly length: number
  /** The hash request that narrows down the first difference, or null when it is found. */
  readonly next: BlockRequest | null
  /**
   * Takes the answer to `next`.
   * @throws SynclineError INVALID_PROOF, INVALID_CHECKSUM when the answer does not fit.
   */
  accept(proof: Proof): Promise<void>
  /** Takes the new fork over and resolves to the blocks kept, or to null if it became stale. */
  commit(): Promise<number | null>
}

/** Blocks of a feed that fail an audit. */
export interface AuditReport {
  /** Blocks that were hashed. */
  readonly blocks: number
  /** Indexes of held blocks whose bytes or nodes are wrong or missing. */
  readonly bad: readonly number[]
  /** True if the roots and the signature of the head are in order. */
  readonly head: boolean
}

/** Options of {@link Feed.append}. */
export interface AppendOptions {
  /** When the promise resolves: `fsync` after the disk confirmed (default), `os` after the write. */
  readonly durability?: 'fsync' | 'os'
}

/** See the module comment. All byte arrays that are returned belong to the caller. */
export interface Feed {
  /** 32 bytes. */
  readonly key: Uint8Array
  /** 32 bytes: keyed hash of the key, safe to announce. */
  readonly discoveryKey: Uint8Array
  /** Null while only the key is known, and for compat feeds whose key is the signer's public key. */
  readonly manifest: Manifest | null
  /** True if the key is itself the public key that signs. Decided by the first head or manifest. */
  readonly compat: boolean
  readonly length: number
  readonly byteLength: number
  readonly fork: number
  /** Blocks held from the start without a gap. */
  readonly contiguousLength: number
  readonly writable: boolean
  /** True after a conflict: never replicated again. */
  readonly frozen: boolean
  /** False if a higher fork of the writer's is never taken over. */
  readonly allowsForks: boolean
  readonly closed: boolean
  /** Set where whoever owns what is below encrypts: `append` takes plain blocks then, and this gives them back. */
  readonly cipher: BlockCipher | null
  /** The blocks held; a live view that follows every change. */
  readonly have: ReadonlyBitmap

  /**
   * Appends blocks as one batch and resolves when they are durable as asked. The arrays are not kept.
   * @returns the new length and byteLength.
   * @throws SynclineError NOT_WRITABLE, FEED_FROZEN, DISK_FULL, STORAGE_FAILED, BAD_ARGUMENT.
   */
  append(
    blocks: readonly Uint8Array[],
    options?: AppendOptions
  ): Promise<{ length: number; byteLength: number }>

  /**
   * The stored bytes of one block (encrypted blocks stay so), or null if it is not held.
   * @throws SynclineError FEED_LOCKED, for this and all other reads, if another process has cut off blocks of the feed since
   * it was opened: it is to be opened again.
   */
  read(index: number): Promise<Uint8Array | null>

  /**
   * The stored bytes of blocks `[start, end)`, read in runs.
   * @throws SynclineError BLOCK_NOT_AVAILABLE if one is not held.
   */
  readRun(start: number, end: number): Promise<Uint8Array[]>

  /**
   * The stored bytes of blocks from `start` on, as many up to `end` as one read takes and at least one, in one buffer.
   *
   * @param pool - what the buffer may be taken from; the caller gives it back when it is done with it.
   * @throws SynclineError BLOCK_NOT_AVAILABLE if block `start` is not held.
   */
  readPacked(start: number, end: number, pool?: BufferPool): Promise<PackedBlocks>

  /**
   * The block that holds a byte position of the stored bytes, and the offset in it; null if the tree
   * nodes on the way are not all here. `bytes === byteLength` gives `[length, 0]`.
   */
  seek(bytes: number): Promise<readonly [index: number, offset: number] | null>

  /** Cuts the feed to `length`, signs it under `fork` (default: one more). */
  truncate(length: number, fork?: number): Promise<void>

  /** Drops the bytes of blocks `[start, end)` and frees their disk where the system can. */
  clear(start: number, end: number): Promise<void>

  /**
   * Builds a proof from what is stored.
   * @throws SynclineError INVALID_OPERATION for what does not exist in a feed of this length,
   * BLOCK_NOT_AVAILABLE for what is not held.
   */
  proof(request: ProofRequest): Promise<Proof>

  /**
   * Number of parents to climb from a node (block `i` has flat index `2 i`) to the first stored one; 0 if
   * the node is stored or lies beyond the length. It is the `nodes` field of a request.
   */
  missingNodes(index: number): Promise<number>

  /** The stored node at a flat index, or null. */
  node(index: number): Promise<TreeNode | null>

  /** Stored nodes on the path from block `index` up to its root, in ascending height. */
  trustedPath(index: number): Promise<TrustedNode[]>

  /**
   * Verifies a proof of the feed's own fork and stores what it brings (block, nodes, head, manifest).
   * @throws SynclineError INVALID_PROOF, INVALID_CHECKSUM, INVALID_SIGNATURE, INVALID_MANIFEST when it is
   * wrong (the sender's fault), DISK_FULL, STORAGE_FAILED when it could not be stored (ours).
   */
  applyProof(proof: Proof): Promise<Applied>

  /**
   * Folds a chunk, compares hash and size with the stored root, and stores values and nodes by one write
   * each if they match.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  putChunk(chunk: ChunkBlocks): Promise<ChunkResult>

  /**
   * Holds blocks from now on whose bytes the store has or will find where they lie, if their leaves fold to a stored node;
   * with them the nodes on the way are stored.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED, BAD_ARGUMENT; UNSUPPORTED where the store is not ours.
   */
  adopt(blocks: AdoptedBlocks): Promise<AdoptResult>

  /**
   * Begins to follow a higher fork: `proof` is an upgrade from 0 under that fork. Null if stale, or if the feed
   * allows no forks.
   * @throws SynclineError as {@link Feed.applyProof}.
   */
  reorg(proof: Proof): Promise<Reorg | null>

  /**
   * Tells whether `proof` (an upgrade from 0 under our fork) is validly signed and yet differs from what we
   * hold at that length; if so the feed is frozen, durably.
   * @throws SynclineError as {@link Feed.applyProof} when it is not validly signed.
   */
  checkConflict(proof: Proof): Promise<boolean>

  /** Hashes everything that is held, again. Bad blocks are reported, not changed. */
  audit(options?: { readonly signal?: AbortSignal }): Promise<AuditReport>

  /** Drops blocks from what is held without touching their bytes, so that they are fetched again. */
  forget(blocks: readonly number[]): Promise<void>

  /** Bytes kept beside the feed under a name, or null. */
  getUserData(name: string): Promise<Uint8Array | null>
  /** Keeps bytes beside the feed under a name; null deletes. Never replicated. */
  setUserData(name: string, value: Uint8Array | null): Promise<void>

  /** Calls back after each change, synchronously once it is visible; returns the way to stop it. */
  onchange(callback: (change: FeedChange) => void): () => void

  /** Makes everything durable. */
  flush(): Promise<void>
  /** Flushes and lets files and locks go. Idempotent. */
  close(): Promise<void>
}
