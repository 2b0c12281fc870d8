/**
 * A feed over a store.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { NODE_BYTES } from '../kernels/fold.ts'
import { BLOCK_BYTES_MAX, FEED_LENGTH_MAX } from '../limits.ts'
import type { BufferPool } from '../primitives/buffer-pool.ts'
import type { Bitmap, ReadonlyBitmap } from '../primitives/bitmap.ts'
import { endBlock, firstBlock, fullRoots, parent, sibling } from '../primitives/flat-tree.ts'
import type { Manifest } from '../wire/manifest.ts'
import type { Proof, TreeNode } from '../wire/message.ts'
import type { PackedBlocks } from '../wire/run.ts'
import { verifyLeaves } from './adoption.ts'
import { appendBlocks, type AppendedNodes, appendLeaves } from './append-batch.ts'
import { BlockReader, notAvailable } from './block-reader.ts'
import { brokenParent, checkBlocks, type CheckedFeed } from './block-check.ts'
import { copyBytes, equalBytes, toHex } from './bytes.ts'
import { joinChunks, type VerifiedChunk, verifyChunk } from './chunk.ts'
import type {
  AdoptedBlocks,
  AdoptResult,
  AppendOptions,
  Applied,
  AuditReport,
  ChunkBlocks,
  ChunkResult,
  Feed,
  FeedChange,
  ProofRequest,
  Reorg,
  TrustedNode
} from './feed.ts'
import { GrowingTree } from './tree/growing-tree.ts'
import { singleSignerManifest } from './manifest.ts'
import { Mutex } from './mutex.ts'
import { discoveryKeyOf } from './namespace.ts'
import { buildProof, type ProvableTree } from './tree/proof-builder.ts'
import { prologueOf, type VerifiedTree, verifyProof, verifyTree } from './tree/proof-verifier.ts'
import { StoredReorg } from './reorg.ts'
import { rethrow } from './rethrow.ts'
import type { Commit, Head, KeyPair, Store, StoreState } from './store.ts'
import { TreeNodes } from './tree/tree-nodes.ts'
import { byteOffset, countMissing, seekTree, storedPath } from './tree/tree-view.ts'
import { Verifier } from './verifier.ts'

/** The signed tree of a feed at one moment. Replaced, never changed. */
interface SignedTree extends ProvableTree {
  readonly rootHash: Uint8Array
}

/** Leaves read in one piece. */
const LEAVES_READ_MAX = 4096

/** Blocks that wait to be appended with others in one batch. */
interface PendingAppend {
  readonly blocks: readonly Uint8Array[]
  readonly durability: 'fsync' | 'os'
  resolve(end: { length: number; byteLength: number }): void
  reject(error: unknown): void
}

/** A chunk that waits to be stored with others in one commit. */
interface PendingChunk {
  readonly chunk: ChunkBlocks
  resolve(result: ChunkResult): void
  reject(error: unknown): void
}

/** Options of {@link StoredFeed.open}. */
export interface StoredFeedOptions {
  /**
   * Hashes every block before it is handed out, for stores whose bytes others may change. Blocks that fail are forgotten,
   * and the read ends as if they had not been held. Default: false.
   */
  readonly verifyReads?: boolean
  /** Told of blocks that failed, after they were forgotten. */
  readonly onbad?: (start: number, end: number) => void
  /** Signs, where the store is not to know the secret key. */
  readonly keyPair?: KeyPair
}

/** A commit, of which the feed works out the rest. */
interface Change extends Omit<Commit, 'head' | 'contiguousLength'> {
  /** The new head, and the length that stays from the old one. */
  readonly head?: { readonly tree: SignedTree; readonly ancestors: number } | undefined
}

/**
 * See the module comment. All changes go one after the other; reads overlap them.
 *
 * Invariants: (1) a stored node that is no root of the head has its sibling and its parent stored;
 * (2) a held block has its leaf stored; (3) what is in memory is what the last commit that succeeded left.
 */
export class StoredFeed implements Feed {
  readonly key: Uint8Array
  readonly discoveryKey: Uint8Array
  /** Always null: blocks are stored as they are given. */
  readonly cipher: null = null
  readonly allowsForks: boolean = true
  readonly #store: Store
  readonly #keyPair: KeyPair | null
  readonly #bitmap: Bitmap
  readonly #nodes: TreeNodes
  readonly #reader: BlockReader
  readonly #mutex: Mutex = new Mutex()
  readonly #looks: Mutex = new Mutex()
  readonly #listeners: Set<(change: FeedChange) => void> = new Set()
  #verifier: Verifier | null
  #tree: SignedTree
  #contiguousLength: number
  /** Blocks that others have taken back so far. */
  #lost = 0
  #frozen: boolean
  /** True while the head was signed here, maybe by a process that was killed, and is not known to be on disk. */
  #unsynced: boolean
  #appends: PendingAppend[] = []
  #chunks: PendingChunk[] = []
  /** Who keeps chunks from being stored; see {@link StoredFeed.holdChunks}. */
  #holds = 0
  /** A commit under way that takes nodes away; the store knows of it before the feed does. */
  #cutting: Promise<void> | null = null
  #closing: Promise<void> | null = null

  private constructor(
    store: Store,
    state: StoreState,
    nodes: TreeNodes,
    roots: readonly TreeNode[],
    { verifyReads = false, onbad, keyPair: signer }: StoredFeedOptions
  ) {
    const { key, manifest, keyPair } = state.identity
    this.key = key
    this.discoveryKey = discoveryKeyOf(key)
    this.#store = store
    this.#keyPair = signer ?? keyPair
    this.#bitmap = state.bitmap
    this.#nodes = nodes
    this.#reader = new BlockReader({
      store,
      nodes,
      have: this.#bitmap,
      tree: () => this.#tree,
      dropBad: verifyReads ? (start, end) => this.#dropBad(start, end, onbad) : null
    })
    this.#frozen = state.frozen
    // A head without a manifest was signed by the key itself.
    const compat = state.head.length > 0 || (keyPair !== null && equalBytes(keyPair.publicKey, key))
    const known = manifest ?? (compat ? singleSignerManifest(key) : null)
    this.#verifier = known && new Verifier(key, known)
    this.#tree = this.#treeOf(new GrowingTree(state.head.fork, roots), state.head)
    this.#contiguousLength = Math.min(this.#bitmap.firstUnset(0), this.#tree.length)
    this.#unsynced = this.#tree.length > 0 && this.writable
  }

  /**
   * Opens the feed of a store, which from then on belongs to the feed. Blocks that were not known to be on
   * disk are hashed again first; those that fail are not held any longer.
   *
   * @throws SynclineError FEED_DAMAGED when the head and the tree contradict each other; else what the store throws.
   */
  static async open(store: Store, options: StoredFeedOptions = {}): Promise<StoredFeed> {
    const state = await store.open()
    try {
      const feed = await StoredFeed.#load(store, state, options)
      for (const [start, end] of state.doubtful) {
        const { bad } = await checkBlocks(feed.#checked(), start, end)
        await feed.#drop(bad)
      }
      store.checked()
      return feed
    } catch (error) {
      // Nobody else could let go of its files and locks.
      await store.close().catch(() => {})
      throw error
    }
  }

  static async #load(
    store: Store,
    state: StoreState,
    options: StoredFeedOptions
  ): Promise<StoredFeed> {
    const { head, identity } = state
    const nodes = new TreeNodes(store, head.length)
    const roots = [...(state.roots ?? [])]
    if (state.roots === undefined) {
      for (const index of fullRoots(head.length)) {
        const root = await nodes.get(index)
        if (root === null) throw damaged(identity.key, `root ${index} is missing`)
        roots.push(root)
      }
    }
    const { rootHash } = head
    if (head.length > 0 && !equalBytes(new GrowingTree(head.fork, roots).hash(), rootHash)) {
      throw damaged(identity.key, 'the roots do not hash to the head')
    }
    return new StoredFeed(store, state, nodes, roots, options)
  }

  get manifest(): Manifest | null {
    return this.#verifier === null || this.#verifier.compat ? null : this.#verifier.manifest
  }

  get compat(): boolean {
    return this.#verifier?.compat ?? false
  }

  get length(): number {
    return this.#tree.length
  }

  get byteLength(): number {
    return this.#tree.byteLength
  }

  get fork(): number {
    return this.#tree.fork
  }

  get contiguousLength(): number {
    return this.#contiguousLength
  }

  get writable(): boolean {
    return this.#keyPair !== null && (this.#verifier?.canSign(this.#keyPair) ?? false)
  }

  get frozen(): boolean {
    return this.#frozen
  }

  get closed(): boolean {
    return this.#closing !== null
  }

  get have(): ReadonlyBitmap {
    return this.#bitmap
  }

  async append(
    blocks: readonly Uint8Array[],
    options: AppendOptions = {}
  ): Promise<{ length: number; byteLength: number }> {
    this.#signer()
    for (const block of blocks) {
      if (!(block instanceof Uint8Array)) throw badArgument('a block is a Uint8Array')
      if (block.byteLength > BLOCK_BYTES_MAX) {
        throw badArgument(`a block of ${block.byteLength} bytes; ${BLOCK_BYTES_MAX} is the most`)
      }
    }
    const { durability = 'fsync' } = options
    return new Promise((resolve, reject) => {
      // Whatever comes while an append is being written is signed and written together after it.
      const waiting = this.#appends.push({ blocks: [...blocks], durability, resolve, reject })
      if (waiting === 1) void this.#mutex.run(() => this.#appendPending())
    })
  }

  /**
   * As `append`, for blocks whose bytes the store has or will find where they lie: of each only its leaf is given, 40
   * bytes (u64le size, hash).
   *
   * @throws SynclineError as `append`.
   */
  appendLeaves(
    leaves: Uint8Array,
    options: AppendOptions = {}
  ): Promise<{ length: number; byteLength: number }> {
    return this.#exclusive(async () => {
      this.#signer()
      const count = leaves.byteLength / NODE_BYTES
      if (!Number.isInteger(count)) throw badArgument('a leaf has 40 bytes')
      if (count > 0) {
        await this.#grow(
          count,
          (tree, prologue) => appendLeaves(tree, leaves, prologue),
          [],
          options.durability ?? 'fsync'
        )
      }
      return { length: this.length, byteLength: this.byteLength }
    })
  }

  /** The stored leaves of blocks `[start, end)`, 40 bytes each (u64le size, hash), all zero where one is not stored. */
  async leaves(start: number, end: number): Promise<Uint8Array> {
    this.#requireOpen()
    const leaves = new Uint8Array(NODE_BYTES * Math.max(end - start, 0))
    for (let block = start; block < end; block += LEAVES_READ_MAX) {
      const to = Math.min(block + LEAVES_READ_MAX, end)
      const run = await this.#nodes.run(block, to)
      for (let i = 0; i < to - block; i++) {
        const at = 2 * NODE_BYTES * i
        leaves.set(run.subarray(at, at + NODE_BYTES), NODE_BYTES * (block - start + i))
      }
    }
    return leaves
  }

  async read(index: number): Promise<Uint8Array | null> {
    this.#requireOpen()
    return this.#steady(() => this.#reader.read(index))
  }

  async readRun(start: number, end: number): Promise<Uint8Array[]> {
    this.#requireOpen()
    return this.#steady(() => this.#reader.readRun(start, end))
  }

  async readPacked(start: number, end: number, pool?: BufferPool): Promise<PackedBlocks> {
    this.#requireOpen()
    return this.#steady(() => this.#reader.readPacked(start, end, pool))
  }

  async seek(bytes: number): Promise<readonly [index: number, offset: number] | null> {
    this.#requireOpen()
    const target = await seekTree(this.#tree, bytes)
    return target === null || target.index % 2 === 1 ? null : [target.index / 2, target.offset]
  }

  /**
   * Bytes of all blocks before `block`, which may be the length.
   *
   * @throws SynclineError BLOCK_NOT_AVAILABLE when the tree is not known there: it is where the block before or `block`
   * itself is held.
   */
  async offsetOf(block: number): Promise<number> {
    this.#requireOpen()
    return this.#reader.offsetOf(block)
  }

  truncate(length: number, fork?: number): Promise<void> {
    return this.#exclusive(async () => {
      const { keyPair, verifier } = this.#signer()
      const old = this.#tree
      const next = fork ?? old.fork + 1
      if (!Number.isInteger(length) || length < 0 || length > old.length) {
        throw badArgument(`a feed of ${old.length} blocks cannot be truncated to ${length}`)
      }
      if (!Number.isSafeInteger(next) || next <= old.fork) {
        throw badArgument(`fork ${next} does not follow ${old.fork}`)
      }
      if (length < (old.prologue?.length ?? 0)) {
        throw new SynclineError('INVALID_OPERATION', 'a truncation may not break the prologue')
      }
      const roots: TreeNode[] = []
      for (const index of fullRoots(length)) {
        const root = await this.#nodes.get(index)
        if (root === null) throw notAvailable(firstBlock(index))
        roots.push(root)
      }
      const tree = new GrowingTree(next, roots)
      await this.#commit({
        head: { tree: this.#sign(tree, verifier, keyPair), ancestors: length },
        bits: [{ start: length, end: old.length, drop: true }],
        durability: 'fsync'
      })
      this.#tell({ type: 'truncate', length, fork: next })
      await this.#store.free(tree.byteLength, old.byteLength - tree.byteLength)
    })
  }

  clear(start: number, end: number): Promise<void> {
    return this.#exclusive(async () => {
      const bits: { start: number; end: number; drop: boolean }[] = []
      const bytes: [number, number][] = []
      for (const [from, to] of this.#bitmap.runs(start, Math.min(end, this.length))) {
        const offset = await byteOffset(this.#tree, from)
        bytes.push([offset, (await byteOffset(this.#tree, to)) - offset])
        bits.push({ start: from, end: to, drop: true })
      }
      if (bits.length === 0) return
      // The bits must be gone for good before the bytes are.
      await this.#commit({ bits, durability: 'fsync' })
      for (const bit of bits) this.#tell({ type: 'clear', start: bit.start, end: bit.end })
      for (const [offset, byteLength] of bytes) await this.#store.free(offset, byteLength)
    })
  }

  /** As `clear`, for ranges whose bytes whoever keeps them has dropped, or is about to. */
  release(ranges: readonly (readonly [start: number, end: number])[]): Promise<void> {
    return this.#exclusive(async () => {
      const bits = ranges.flatMap(([start, end]) =>
        [...this.#bitmap.runs(start, Math.min(end, this.length))].map(([from, to]) => ({
          start: from,
          end: to,
          drop: true
        }))
      )
      if (bits.length === 0) return
      await this.#commit({ bits, durability: 'os' })
      for (const { start, end } of bits) this.#tell({ type: 'clear', start, end })
    })
  }

  async proof(request: ProofRequest): Promise<Proof> {
    this.#requireOpen()
    return this.#steady(() => this.#prove(request))
  }

  async #prove(request: ProofRequest): Promise<Proof> {
    const { block, hash, seek, upgrade, manifest } = request
    // A head that is lost and signed anew is a conflict, which freezes the feed for ever.
    const tree = upgrade && this.#unsynced ? await this.#syncedTree() : this.#tree
    const empty = { fork: tree.fork, block: null, hash: null, seek: null, upgrade: null }
    const proof: Omit<Proof, 'manifest'> =
      block || hash || seek || upgrade
        ? await buildProof(tree, request, async (index) => {
            const block = await this.#reader.read(index)
            if (block === null) throw notAvailable(index)
            return block
          })
        : empty
    if (this.#tree.fork !== tree.fork) {
      throw new SynclineError('INVALID_OPERATION', 'the feed was truncated while a proof was built')
    }
    return { ...proof, manifest: manifest ? this.manifest : null }
  }

  async missingNodes(index: number): Promise<number> {
    this.#requireOpen()
    return countMissing(this.#tree, index)
  }

  async node(index: number): Promise<TreeNode | null> {
    this.#requireOpen()
    const node = await this.#nodes.get(index)
    // Nodes may be cached, and the caller owns what it gets.
    return node && { ...node, hash: copyBytes(node.hash) }
  }

  async trustedPath(index: number): Promise<TrustedNode[]> {
    this.#requireOpen()
    return storedPath(this.#tree, index)
  }

  applyProof(proof: Proof): Promise<Applied> {
    return this.#exclusive(async () => {
      const stale: Applied = { applied: false, upgraded: false, block: null, path: [], roots: [] }
      const known = { key: this.key, verifier: this.#verifier, tree: this.#tree }
      const verified = await verifyProof(known, proof)
      if (verified === null || this.#frozen) return stale
      const { grown, learned, nodes, path, roots } = verified
      const start = this.#tree.length
      const verifier = learned === null ? this.#verifier : new Verifier(this.key, learned)
      const head =
        grown === null || proof.upgrade === null
          ? null
          : { tree: this.#treeOf(grown, proof.upgrade, verifier), ancestors: start }
      const block =
        proof.block !== null && !this.#bitmap.get(proof.block.index) ? proof.block : null
      const bits = block && [{ start: block.index, end: block.index + 1, drop: false }]
      const data = block && [
        {
          offset: await this.#offsetWith(head?.tree ?? this.#tree, nodes, block.index),
          parts: [block.value]
        }
      ]
      const changed = block !== null || head !== null || learned !== null || nodes.length > 0
      if (changed) {
        await this.#commit({
          data: data ?? undefined,
          bits: bits ?? undefined,
          head: head ?? undefined,
          manifest: learned ?? undefined,
          nodes,
          durability: 'os'
        })
      }
      if (learned !== null) this.#tell({ type: 'manifest' })
      if (head !== null) this.#tell({ type: 'upgrade', start, length: head.tree.length - start })
      if (block !== null) this.#tell({ type: 'have', start: block.index, end: block.index + 1 })
      const index = proof.block?.index ?? null
      return { applied: true, upgraded: head !== null, block: index, path, roots }
    })
  }

  async putChunk(chunk: ChunkBlocks): Promise<ChunkResult> {
    this.#requireOpen()
    return new Promise((resolve, reject) => {
      // Whatever comes while something else is being written is written together after it.
      const waiting = this.#chunks.push({ chunk, resolve, reject })
      if (waiting === 1 && this.#holds === 0) this.#storeSoon()
    })
  }

  /**
   * Keeps chunks that come in memory until the function that is returned is called, and then stores them together: what
   * stores their bytes knows better by then where they belong. Blocks that come with proofs of their own are stored at
   * once, so that what is proven with them lets further chunks come.
   */
  holdChunks(): () => void {
    this.#holds++
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      if (--this.#holds === 0 && this.#chunks.length > 0) this.#storeSoon()
    }
  }

  adopt(blocks: AdoptedBlocks): Promise<AdoptResult> {
    return this.#exclusive(async () => {
      const verified = this.#frozen ? 'stale' : await verifyLeaves(this.#tree, blocks)
      if (typeof verified === 'string') return verified
      const { start, end, nodes, nodeRuns } = verified
      if (this.#bitmap.hasAll(start, end)) return 'adopted'
      const bits = [{ start, end, drop: false }]
      if (nodeRuns.length > 0 && nodes.length > 0) await this.#commit({ nodes, durability: 'os' })
      const rest = nodeRuns.length > 0 ? { nodeRuns } : { nodes }
      await this.#commit({ ...rest, bits, durability: 'os' })
      this.#tell({ type: 'have', start, end })
      return 'adopted'
    })
  }

  async reorg(proof: Proof): Promise<Reorg | null> {
    this.#requireOpen()
    if (proof.fork <= this.fork || this.#frozen) return null
    const theirs = verifyTree({ key: this.key, verifier: this.#verifier }, proof)
    const ours = this.#tree
    return StoredReorg.begin(ours, theirs, (tree, nodes, ancestors) =>
      this.#exclusive(() => this.#takeOver(ours.fork, tree, nodes, ancestors))
    )
  }

  checkConflict(proof: Proof): Promise<boolean> {
    return this.#exclusive(async () => {
      if (proof.fork !== this.fork || this.#verifier === null || this.length === 0) return false
      const { tree } = verifyTree({ key: this.key, verifier: this.#verifier }, proof)
      let differs = false
      for (const node of tree.nodes) {
        const ours = await this.#nodes.get(node.index)
        if (ours !== null && !equalBytes(ours.hash, node.hash)) differs = true
      }
      if (!differs || this.#frozen) return differs
      await this.#commit({ frozen: true, durability: 'fsync' })
      this.#tell({ type: 'freeze' })
      return true
    })
  }

  async audit(options: { readonly signal?: AbortSignal } = {}): Promise<AuditReport> {
    this.#requireOpen()
    while (true) {
      const tree = this.#tree
      const lost = this.#lost
      const { blocks, bad } = await checkBlocks(this.#checked(), 0, tree.length, options.signal)
      const head = await this.#checkHead(tree)
      await this.#look()
      // A truncation in the meantime would make good blocks look bad, and so would what others took back.
      if (this.#tree.fork !== tree.fork || this.#lost !== lost) continue
      return { blocks, bad: bad.filter((block) => this.#bitmap.get(block)), head }
    }
  }

  forget(blocks: readonly number[]): Promise<void> {
    return this.#exclusive(async () => {
      await this.#drop(blocks)
    })
  }

  async getUserData(name: string): Promise<Uint8Array | null> {
    this.#requireOpen()
    return this.#store.getUserData(name)
  }

  setUserData(name: string, value: Uint8Array | null): Promise<void> {
    return this.#exclusive(() => this.#commit({ userData: [{ name, value }], durability: 'os' }))
  }

  onchange(callback: (change: FeedChange) => void): () => void {
    this.#listeners.add(callback)
    return () => this.#listeners.delete(callback)
  }

  flush(): Promise<void> {
    return this.#exclusive(async () => {
      await this.#store.flush()
      this.#unsynced = false
    })
  }

  /** The tree as it is on the disk now: who appends without a pause has another one by the time that this resolves. */
  #syncedTree(): Promise<SignedTree> {
    return this.#exclusive(async () => {
      const tree = this.#tree
      if (this.#unsynced) await this.#store.flush()
      this.#unsynced = false
      return tree
    })
  }

  close(): Promise<void> {
    if (this.#closing !== null) return this.#closing
    // What was kept back is stored before.
    if (this.#holds > 0 && this.#chunks.length > 0) this.#storeSoon()
    this.#closing = this.#mutex.run(() => {
      this.#nodes.clear()
      return this.#store.close()
    })
    return this.#closing
  }

  async #appendPending(): Promise<void> {
    const pending = this.#appends.splice(0)
    try {
      const blocks = pending.flatMap((append) => append.blocks)
      const durable = pending.some((append) => append.durability === 'fsync')
      let { length, byteLength } = this.#tree
      if (blocks.length > 0) {
        const offset = byteLength
        await this.#grow(
          blocks.length,
          (tree, prologue) => appendBlocks(tree, blocks, prologue),
          [{ offset, parts: blocks }],
          durable ? 'fsync' : 'os'
        )
      }
      for (const append of pending) {
        length += append.blocks.length
        for (const block of append.blocks) byteLength += block.byteLength
        append.resolve({ length, byteLength })
      }
    } catch (error) {
      for (const append of pending) append.reject(error)
    }
  }

  /** Appends `count` blocks whose nodes `append` puts into the tree. */
  async #grow(
    count: number,
    append: (tree: GrowingTree, prologue: SignedTree['prologue']) => AppendedNodes,
    data: NonNullable<Commit['data']>,
    durability: 'fsync' | 'os'
  ): Promise<void> {
    const { keyPair, verifier } = this.#signer()
    const old = this.#tree
    if (old.length + count > FEED_LENGTH_MAX) throw badArgument('the feed is full')
    const tree = new GrowingTree(old.fork, old.roots)
    const nodes = append(tree, old.prologue)
    if (durability !== 'fsync') this.#unsynced = true
    await this.#commit({
      ...nodes,
      data,
      head: { tree: this.#sign(tree, verifier, keyPair), ancestors: old.length },
      bits: [{ start: old.length, end: tree.length, drop: false }],
      durability
    })
    if (durability === 'fsync') this.#unsynced = false
    this.#tell({ type: 'append', start: old.length, length: count })
  }

  #storeSoon(): void {
    void this.#mutex.run(() => this.#storePending())
  }

  async #storePending(): Promise<void> {
    const pending = this.#chunks.splice(0)
    const stored: PendingChunk[] = []
    const chunks: VerifiedChunk[] = []
    for (const waiting of pending) {
      try {
        const verified = await this.#verify(waiting.chunk)
        if (typeof verified === 'string') {
          waiting.resolve(verified)
        } else {
          stored.push(waiting)
          chunks.push(verified)
        }
      } catch (error) {
        waiting.reject(error)
      }
    }
    if (chunks.length === 0) return
    try {
      const joined = joinChunks(chunks)
      const { data, nodes, nodeRuns, bits } = joined
      await this.#commit({ data, nodes, nodeRuns, bits, durability: 'os' })
      for (const { start, end } of joined.bits) this.#tell({ type: 'have', start, end })
      for (const waiting of stored) waiting.resolve('stored')
    } catch (error) {
      for (const waiting of stored) waiting.reject(error)
    }
  }

  async #verify(chunk: ChunkBlocks): Promise<VerifiedChunk | 'stale' | 'wrong'> {
    if (chunk.fork !== this.fork || this.#frozen) return 'stale'
    return verifyChunk(this.#tree, this.#bitmap, chunk)
  }

  /** Byte offset of a block below nodes of which some are about to be stored. */
  #offsetWith(tree: SignedTree, nodes: readonly TreeNode[], block: number): Promise<number> {
    const fresh = new Map(nodes.map((node) => [node.index, node]))
    const get = async (index: number): Promise<TreeNode | null> => this.#nodes.get(index)
    const peek = (index: number): TreeNode | undefined =>
      fresh.get(index) ?? this.#nodes.peek(index)
    const { length, byteLength, roots } = tree
    return byteOffset({ length, byteLength, roots, nodes: { get, peek } }, block)
  }

  async #takeOver(
    fork: number,
    { tree, signature, learned }: VerifiedTree,
    nodes: readonly TreeNode[],
    ancestors: number
  ): Promise<number | null> {
    const old = this.#tree
    if (old.fork !== fork || this.#frozen) return null
    const verifier = this.#verifier ?? (learned && new Verifier(this.key, learned))
    const manifest = this.#verifier === null ? learned : null
    await this.#commit({
      head: { tree: this.#treeOf(tree, { signature }, verifier), ancestors },
      bits: [{ start: ancestors, end: old.length, drop: true }],
      nodes,
      ...(manifest && { manifest }),
      durability: 'os'
    })
    if (manifest !== null) this.#tell({ type: 'manifest' })
    this.#tell({ type: 'truncate', length: ancestors, fork: tree.fork })
    this.#tell({ type: 'upgrade', start: ancestors, length: tree.length - ancestors })
    return ancestors
  }

  /** Hashes blocks again, while nothing changes, and drops those that fail. */
  #dropBad(start: number, end: number, onbad: StoredFeedOptions['onbad']): Promise<void> {
    return this.#exclusive(async () => {
      const { bad } = await checkBlocks(this.#checked(), start, end)
      for (const dropped of await this.#drop(bad)) onbad?.(dropped.start, dropped.end)
    })
  }

  /**
   * Drops bits, and with them the nodes on their paths that do not hold, so that both can be fetched again; returns the
   * blocks that are not held any longer.
   */
  async #drop(blocks: readonly number[]): Promise<readonly { start: number; end: number }[]> {
    const bits: { start: number; end: number; drop: boolean }[] = []
    const nodes: TreeNode[] = []
    for (const block of blocks) {
      if (block < 0 || block >= this.length) continue
      const broken = await brokenParent(this.#tree, block)
      const start = broken === null ? block : firstBlock(broken)
      const end = broken === null ? block + 1 : endBlock(broken)
      const last = bits.at(-1)
      if (last !== undefined && last.start <= start && end <= last.end) continue
      for (const [from, to] of this.#bitmap.runs(start, end)) {
        if (last?.end === from) last.end = to
        else bits.push({ start: from, end: to, drop: true })
      }
      if (broken === null) continue
      for (let index = 2 * block; index !== broken; index = parent(index)) {
        nodes.push(absent(index), absent(sibling(index)))
      }
    }
    if (bits.length === 0 && nodes.length === 0) return []
    await this.#commit({ bits, nodes, durability: 'os' })
    // With nodes that are gone all that hung from them is.
    if (nodes.length > 0) this.#nodes.clear()
    for (const { start, end } of bits) this.#tell({ type: 'forget', start, end })
    return bits
  }

  async #checkHead(tree: SignedTree): Promise<boolean> {
    if (tree.length === 0) return true
    for (const root of tree.roots) {
      const stored = await this.#store.getNode(root.index)
      if (stored?.size !== root.size || !equalBytes(stored.hash, root.hash)) return false
    }
    const grown = new GrowingTree(tree.fork, tree.roots)
    return this.#verifier?.verify(grown, tree.signature) ?? false
  }

  #checked(): CheckedFeed {
    return {
      tree: this.#tree,
      have: this.#bitmap,
      getBytes: (offset, byteLength) => this.#store.getBytes(offset, byteLength)
    }
  }

  /** Commits a change, then makes it visible. */
  async #commit(change: Change): Promise<void> {
    const { head, bits = [], nodes = [], nodeRuns = [] } = change
    const length = head?.tree.length ?? this.length
    const kept = Math.min(this.#contiguousLength, head?.ancestors ?? this.length)
    const committed = this.#store.commit({
      // Field by field: a spread costs twenty times as much.
      data: change.data,
      nodes: change.nodes,
      nodeRuns: change.nodeRuns,
      bits: change.bits,
      manifest: change.manifest,
      userData: change.userData,
      frozen: change.frozen,
      durability: change.durability,
      head: head && headOf(head.tree, head.ancestors),
      contiguousLength: contiguousAfter(kept, this.#bitmap, bits)
    })
    if (head !== undefined && head.ancestors < this.length) this.#cutting = committed
    try {
      await committed
    } catch (error) {
      // Some that were being written may have been read.
      if (nodeRuns.length > 0) this.#nodes.clear()
      throw error
    } finally {
      this.#cutting = null
    }
    if (head !== undefined) {
      this.#nodes.length = length
      if (head.ancestors < this.length) this.#nodes.clear()
      this.#tree = head.tree
    }
    this.#nodes.written(nodes, nodeRuns)
    for (const { start, end, drop } of bits) this.#bitmap.setRange(start, end, !drop)
    this.#contiguousLength = Math.min(
      this.#bitmap.firstUnset(contiguousAfter(kept, this.#bitmap, bits)),
      length
    )
    if (change.manifest !== undefined) this.#verifier = new Verifier(this.key, change.manifest)
    if (change.frozen !== undefined) this.#frozen = change.frozen
  }

  #sign(tree: GrowingTree, verifier: Verifier, keyPair: KeyPair): SignedTree {
    return this.#treeOf(tree, { signature: verifier.sign(tree, keyPair) }, verifier)
  }

  #treeOf(
    tree: GrowingTree,
    { signature }: Pick<Head, 'signature'>,
    verifier: Verifier | null = this.#verifier
  ): SignedTree {
    return {
      fork: tree.fork,
      length: tree.length,
      byteLength: tree.byteLength,
      roots: tree.roots.map(({ index, size, hash }) => ({ index, size, hash: copyBytes(hash) })),
      rootHash: tree.length === 0 ? new Uint8Array(0) : tree.hash(),
      signature: copyBytes(signature),
      prologue: prologueOf(verifier),
      nodes: this.#nodes
    }
  }

  #signer(): { keyPair: KeyPair; verifier: Verifier } {
    this.#requireOpen()
    if (this.#frozen) throw new SynclineError('FEED_FROZEN', 'the feed is frozen after a conflict')
    const keyPair = this.#keyPair
    const verifier = this.#verifier
    if (keyPair === null || verifier === null || !verifier.canSign(keyPair)) {
      throw new SynclineError('NOT_WRITABLE', 'the secret key of the feed is not here')
    }
    return { keyPair, verifier }
  }

  /**
   * Reads anew what a truncation came between: half of the nodes may have been those of another fork. The same for blocks
   * that others took back.
   */
  async #steady<T>(read: () => Promise<T>): Promise<T> {
    for (;;) {
      const fork = this.#tree.fork
      const lost = this.#lost
      try {
        const result = await read()
        await this.#cutting?.catch(() => {})
        await this.#look()
        if (this.#tree.fork === fork && this.#lost === lost) return result
      } catch (error) {
        await this.#cutting?.catch(() => {})
        await this.#look()
        if (this.#tree.fork === fork && this.#lost === lost) throw error
      }
    }
  }

  /** Takes blocks that others took back out of what is held. One look at a time: whoever asks next sees what this one found. */
  #look(): Promise<void> {
    return this.#looks.run(async () => {
      const takenBack = (await this.#store.takenBack?.()) ?? []
      for (const [first, last] of takenBack) {
        for (const [start, end] of [...this.#bitmap.runs(first, last)]) {
          this.#bitmap.setRange(start, end, false)
          this.#contiguousLength = Math.min(this.#contiguousLength, start)
          this.#lost += end - start
          this.#tell({ type: 'clear', start, end })
        }
      }
    })
  }

  #requireOpen(): void {
    if (this.closed) throw new SynclineError('SESSION_CLOSED', 'the feed is closed')
  }

  async #exclusive<T>(work: () => Promise<T>): Promise<T> {
    this.#requireOpen()
    return this.#mutex.run(work)
  }

  #tell(change: FeedChange): void {
    for (const listener of this.#listeners) {
      try {
        listener(change)
      } catch (error) {
        // What it was told of is done, and on the disk.
        rethrow(error)
      }
    }
  }
}

function headOf(tree: SignedTree, ancestors: number): Head & { ancestors: number } {
  const { fork, length, rootHash, signature } = tree
  return { fork, length, rootHash, signature, ancestors }
}

/** A lower bound of the contiguous length after bits change. */
function contiguousAfter(
  contiguous: number,
  bitmap: ReadonlyBitmap,
  bits: NonNullable<Commit['bits']>
): number {
  let length = contiguous
  for (const { start, end, drop } of bits) {
    if (drop) length = Math.min(length, start)
    else if (start <= length && length < end) length = Math.max(end, bitmap.firstUnset(end))
  }
  return length
}

/** What a node that is not there is stored as. */
function absent(index: number): TreeNode {
  return { index, size: 0, hash: new Uint8Array(32) }
}

function badArgument(message: string): SynclineError {
  return new SynclineError('BAD_ARGUMENT', message)
}

function damaged(key: Uint8Array, message: string): SynclineError {
  const feed = toHex(discoveryKeyOf(key))
  return new SynclineError('FEED_DAMAGED', message, { feed })
}
