/**
 * A live `Hypercore` 11 of the user's as a feed.
 *
 * Proofs go through the core's own `applyProof`: the core verifies and stores as it always does, and may
 * itself replicate, append, clear and truncate at the same time. What it has no public call for is done
 * through `core.core`, which {@link checkHypercore} looks at first.
 *
 * @module
 */
import { type ErrorDetails, isSynclineError, SynclineError } from '../../errors.ts'
import { fold, leafHash, NODE_BYTES } from '../../kernels/fold.ts'
import { BLOCK_BYTES_MAX, SERVE_RUN_BLOCKS_MAX, SERVE_RUN_BYTES_MAX } from '../../limits.ts'
import type { ReadonlyBitmap } from '../../primitives/bitmap.ts'
import * as flat from '../../primitives/flat-tree.ts'
import type { Manifest } from '../../wire/manifest.ts'
import type { Proof, TreeNode } from '../../wire/message.ts'
import { packBlocks, type PackedBlocks } from '../../wire/run.ts'
import { brokenParent } from '../block-check.ts'
import { equalBytes, readUint64 } from '../bytes.ts'
import type { BlockCipher } from '../encryption.ts'
import {
  type AdoptResult,
  type Applied,
  type AuditReport,
  type ChunkBlocks,
  type ChunkResult,
  type Feed,
  type FeedChange,
  HELD,
  type ProofRequest,
  type Reorg,
  type TrustedNode
} from '../feed.ts'
import { GrowingTree } from '../tree/growing-tree.ts'
import { auditBlocks } from './audit.ts'
import { clearedPages, HypercoreBitmap } from './bits.ts'
import { chunkProofs } from './chunk.ts'
import { type Blame, hypercoreError } from './error.ts'
import {
  checkHypercore,
  type HypercoreLike,
  type HypercoreSession,
  type HypercoreState,
  type RawProof,
  type RawReorg
} from './hypercore-like.ts'
import {
  asBuffer,
  asBytes,
  fromRawManifest,
  pathAbove,
  tieProof,
  toRawProof,
  withoutLoneNode
} from './proof.ts'
import { copyNode, HypercoreReader } from './reader.ts'
import { HypercoreReorg } from './reorg.ts'
import { watchHave } from './watch.ts'
import { copyManifest } from '../manifest.ts'
import { rethrow } from '../rethrow.ts'
import { buildProof, type ProvableTree } from '../tree/proof-builder.ts'
import { prologueOf, verifyProof, verifyTree } from '../tree/proof-verifier.ts'
import { putNode } from '../tree/tree-nodes.ts'
import { seekTree } from '../tree/tree-view.ts'
import { Verifier } from '../verifier.ts'

/** Blocks of a chunk that the core verifies at a time: enough for one write batch, bounded in memory. */
const CONCURRENT_PROOFS = 256
/** Of a tree: its leaves are blocks below FEED_LENGTH_MAX. */
const HEIGHT_MAX = 50
/** Begins the names under which {@link HypercoreFeed.setUserData} keeps bytes among the user's own. */
const USER_DATA_PREFIX = 'syncline/'
/** Name under which a freeze is kept: hypercore's storage drops the flag that hypercore writes. */
const FROZEN_NAME = 'syncline-frozen'
const STALE: Applied = { applied: false, upgraded: false, block: null, path: [], roots: [] }

/**
 * See the module comment. It works on a session of its own: closing the feed leaves the user's core open,
 * closing the core closes the feed.
 *
 * Limits of the core: `append` and `flush` are as durable as hypercore makes them, whatever
 * {@link AppendOptions} say, and blocks that the user cleared may have taken nodes along that proofs of other blocks need.
 */
export class HypercoreFeed implements Feed {
  readonly key: Uint8Array
  readonly discoveryKey: Uint8Array
  readonly have: ReadonlyBitmap

  readonly #user: HypercoreSession
  readonly #session: HypercoreSession
  readonly #core: HypercoreSession['core']
  readonly #state: HypercoreState
  readonly #reader: HypercoreReader
  readonly #listeners: Set<(change: FeedChange) => void> = new Set()
  readonly #unwatch: () => void
  /** True while the core is told of blocks that are to be fetched again. */
  #forgetting = false
  /** Head as the listeners know it. */
  #length: number
  #fork: number
  #frozen: boolean
  /** True once the listeners know of a freeze. */
  #told = false
  #verifier: Verifier | null = null
  /** The core's manifest that {@link HypercoreFeed.#verifier} was made from. */
  #rawManifest: object | null = null
  /** Chunks on their way into the core, of which the blocks are told together. */
  readonly #chunks: Set<{ readonly start: number; readonly end: number }> = new Set()
  #closed = false
  #closing: Promise<void> | null = null
  #waking = false

  private constructor(user: HypercoreSession, session: HypercoreSession, frozen: boolean) {
    this.#user = user
    this.#session = session
    this.#core = session.core
    this.#state = session.core.state
    this.#reader = new HypercoreReader(this.#state)
    this.#length = this.#state.length
    this.#fork = this.#state.fork
    this.#frozen = frozen
    this.key = Uint8Array.from(session.key)
    this.discoveryKey = Uint8Array.from(session.discoveryKey)
    this.have = new HypercoreBitmap(this.#core)
    session.on('append', this.#onappend)
    session.on('truncate', this.#ontruncate)
    session.on('manifest', this.#onmanifest)
    session.on('conflict', this.#onconflict)
    session.on('close', this.#onclose)
    user.on('close', this.#onclose)
    this.#unwatch = watchHave(this.#core.replicator, this.#onhave)
  }

  /**
   * Opens a feed over a live core, once it is ready.
   *
   * @throws SynclineError UNSUPPORTED when `core` is no Hypercore 11 of a known shape, or a snapshot or
   * batch; SESSION_CLOSED when it is closed; STORAGE_FAILED when it cannot be opened.
   */
  static async open(core: HypercoreLike): Promise<HypercoreFeed> {
    if (typeof (core as { ready?: unknown } | null)?.ready !== 'function') {
      throw new SynclineError('UNSUPPORTED', 'not a Hypercore: it has no ready')
    }
    let session: HypercoreSession | null = null
    try {
      await core.ready()
      const user = checkHypercore(core)
      if (isClosed(user)) throw closedError()
      // Weak: it does not keep the core open. Not active: it does not make the core itself download.
      session = user.session({ weak: true, active: false, onwait: null, onseq: null })
      await session.ready()
      const frozen = await checkHypercore(session).getUserData(FROZEN_NAME)
      if (isClosed(user) || isClosed(session)) throw closedError()
      return new HypercoreFeed(user, session, frozen !== null)
    } catch (error) {
      void session?.close().catch(() => {})
      throw isClosed(core) ? closedError(error) : hypercoreError(error, 'storage')
    }
  }

  get manifest(): Manifest | null {
    const verifier = this.#knownVerifier()
    return verifier === null || verifier.compat ? null : verifier.manifest
  }

  get compat(): boolean {
    return this.#core.compat
  }

  get length(): number {
    return this.#state.length
  }

  /** Bytes as they are stored; those of hypercore's `padding` count. */
  get byteLength(): number {
    return this.#state.byteLength
  }

  get fork(): number {
    return this.#state.fork
  }

  get contiguousLength(): number {
    return Math.min(this.length, this.have.firstUnset(0))
  }

  get writable(): boolean {
    return this.#session.writable && !this.frozen && !this.closed
  }

  get frozen(): boolean {
    return this.#frozen || this.#core.header.frozen === true
  }

  /** False where the user's core was opened so: `allowFork: false`. */
  get allowsForks(): boolean {
    return this.#core.replicator.allowFork !== false
  }

  get closed(): boolean {
    return this.#closed || isClosed(this.#user) || isClosed(this.#session)
  }

  get cipher(): BlockCipher | null {
    const { encryption } = this.#user
    const core = this.#core
    if (!encryption) return null
    return {
      padding: encryption.padding(core, this.length),
      decrypt: async (index, stored) => {
        const bytes = Buffer.from(stored)
        await encryption.decrypt(index, bytes, core)
        return asBytes(bytes.subarray(encryption.padding(core, index)))
      }
    }
  }

  /** Blocks are encrypted if the user's core encrypts. Hypercore writes them without waiting for the disk. */
  async append(blocks: readonly Uint8Array[]): Promise<{ length: number; byteLength: number }> {
    this.#mayWrite()
    for (const block of blocks) {
      if (block.byteLength > BLOCK_BYTES_MAX) {
        throw new SynclineError('BAD_ARGUMENT', `a block of ${block.byteLength} bytes`)
      }
    }
    // Encryption works in place, and the arrays are the caller's.
    const copies = blocks.map((block) => Buffer.from(block))
    // The user may have set it after our session was opened.
    this.#session.encryption = this.#user.encryption ?? null
    const { length, byteLength } = await this.#call('caller', () => this.#session.append(copies))
    return { length, byteLength }
  }

  async read(index: number): Promise<Uint8Array | null> {
    this.#mustBeOpen()
    if (!this.have.get(index)) return null
    return this.#call('storage', () => this.#reader.block(index), { index })
  }

  async readPacked(start: number, end: number): Promise<PackedBlocks> {
    this.#mustBeOpen()
    const last = Math.min(end, start + SERVE_RUN_BLOCKS_MAX, this.have.firstUnset(start))
    const leaves = Array.from({ length: Math.max(last - start, 0) }, (_, i) => 2 * (start + i))
    let count = 0
    let bytes = 0
    for (const leaf of await this.#call('storage', () => this.#reader.nodes(leaves))) {
      // Of a block whose leaf was lost with its neighbours the size is not known: it is read alone.
      bytes += leaf?.size ?? SERVE_RUN_BYTES_MAX + 1
      if (bytes > SERVE_RUN_BYTES_MAX) break
      count++
    }
    return packBlocks(await this.readRun(start, start + Math.max(count, 1)))
  }

  async readRun(start: number, end: number): Promise<Uint8Array[]> {
    this.#mustBeOpen()
    const indexes = Array.from({ length: Math.max(end - start, 0) }, (_, i) => start + i)
    const blocks = this.have.hasAll(start, end)
      ? await this.#call('storage', () => this.#reader.blocks(indexes))
      : []
    return indexes.map((index, i) => {
      const block = blocks[i]
      if (!block) throw absentBlock(index)
      return block
    })
  }

  async seek(bytes: number): Promise<readonly [index: number, offset: number] | null> {
    this.#mustBeOpen()
    const found = await this.#call('storage', () => seekTree(this.#tree(), bytes))
    return found !== null && found.index % 2 === 0 ? [found.index / 2, found.offset] : null
  }

  async truncate(length: number, fork?: number): Promise<void> {
    this.#mayWrite()
    if (!Number.isInteger(length) || length < 0 || length > this.length) {
      throw new SynclineError(
        'BAD_ARGUMENT',
        `a feed of ${this.length} blocks ends before ${length}`
      )
    }
    if (fork !== undefined && fork <= this.fork) {
      throw new SynclineError('BAD_ARGUMENT', `fork ${fork} does not follow ${this.fork}`)
    }
    const options = fork === undefined ? {} : { fork }
    await this.#call('caller', () => this.#session.truncate(length, options))
  }

  async clear(start: number, end: number): Promise<void> {
    this.#mustBeOpen()
    await this.#call('storage', () =>
      this.#locked(() => this.#drop('clear', [[start, Math.min(end, this.length)]]))
    )
  }

  /** Deletes the bytes, too: hypercore looks for them before it looks at its bits. */
  async forget(blocks: readonly number[]): Promise<void> {
    this.#mustBeOpen()
    await this.#call('storage', () => this.#locked(() => this.#forget(blocks)))
  }

  async #forget(blocks: readonly number[]): Promise<void> {
    const ranges: [start: number, end: number][] = []
    const nodes: number[] = []
    for (const block of new Set(blocks)) {
      if (block < 0 || block >= this.length) continue
      const broken = await brokenParent(this.#tree(), block)
      ranges.push(
        broken === null ? [block, block + 1] : [flat.firstBlock(broken), flat.endBlock(broken)]
      )
      if (broken === null) continue
      // Wrong nodes would be taken for trusted ones when the block is fetched again.
      for (let index = 2 * block; index !== broken; index = flat.parent(index)) {
        nodes.push(index, flat.sibling(index))
      }
    }
    await this.#drop('forget', ranges, nodes)
  }

  async proof(request: ProofRequest): Promise<Proof> {
    this.#mustBeOpen()
    const { block, hash, seek, upgrade } = request
    const tree = this.#tree()
    const manifest = request.manifest && this.manifest ? copyManifest(this.manifest) : null
    if (!block && !hash && !seek && !upgrade) {
      return { fork: tree.fork, block: null, hash: null, seek: null, upgrade: null, manifest }
    }
    // All that the common request needs goes out together; whoever asks for it later, waits for it.
    const value = block ? ignored(this.#readHeld(block.index)) : null
    for (const index of siblingsOf(request)) void ignored(tree.nodes.get(index))
    const proof = await this.#call('storage', () =>
      buildProof(tree, request, (index) => value ?? this.#readHeld(index))
    )
    if (this.fork !== tree.fork) {
      throw new SynclineError('INVALID_OPERATION', `the feed moved on to fork ${this.fork}`)
    }
    return { ...proof, manifest }
  }

  async missingNodes(index: number): Promise<number> {
    this.#mustBeOpen()
    const path = pathAbove(index, this.length)
    const nodes = await this.#call('storage', () => this.#reader.nodes(path))
    const stored = nodes.findIndex((node) => node !== null)
    return stored === -1 ? path.length : stored
  }

  async node(index: number): Promise<TreeNode | null> {
    this.#mustBeOpen()
    return this.#call('storage', () => this.#reader.node(index))
  }

  async trustedPath(index: number): Promise<TrustedNode[]> {
    this.#mustBeOpen()
    const path = pathAbove(2 * index, this.length)
    const nodes = await this.#call('storage', () => this.#reader.nodes(path))
    return nodes
      .filter((node) => node !== null)
      .map((node) => ({ index: node.index, size: node.size }))
  }

  async applyProof(proof: Proof): Promise<Applied> {
    this.#mayStore()
    if (this.frozen) return STALE
    // Verified here first: hypercore takes sizes that nothing covers, and does not tell late from wrong.
    const known = { key: this.key, verifier: this.#knownVerifier(), tree: this.#tree() }
    const verified = await this.#call('proof', () => verifyProof(known, proof))
    if (verified === null) return STALE
    const rest = withoutLoneNode(tieProof(proof))
    const { fork, length } = known.tree
    if (rest.block || rest.hash || rest.seek || rest.upgrade || rest.manifest) {
      if (fork !== this.fork || (rest.upgrade && length !== this.length)) return STALE
      if (!(await this.#store([toRawProof(rest)]))) return STALE
      this.#wake()
    }
    const { grown, path, roots } = verified
    const index = proof.block?.index ?? null
    return { applied: true, upgraded: grown !== null, block: index, path, roots }
  }

  async putChunk(chunk: ChunkBlocks): Promise<ChunkResult> {
    this.#mayStore()
    if (chunk.fork !== this.fork || this.frozen) return 'stale'
    if (chunk.lengths.length !== flat.blockCount(chunk.root)) {
      throw new SynclineError('BAD_ARGUMENT', `${chunk.lengths.length} blocks below the root`, {
        node: chunk.root
      })
    }
    const { root, nodes } = await this.#call('storage', () => this.#readChunk(chunk))
    if (root === null) return 'stale'
    const folded = fold(chunk.bytes, chunk.offsets, chunk.lengths, nodes)
    const top = (folded.byteLength - NODE_BYTES) / 2
    if (readUint64(folded, top) !== root.size) return 'wrong'
    if (!equalBytes(folded.subarray(top + 8, top + NODE_BYTES), root.hash)) return 'wrong'
    const range = { start: flat.firstBlock(chunk.root), end: flat.endBlock(chunk.root) }
    this.#chunks.add(range)
    try {
      for (const wave of chunkProofs(chunk, folded)) {
        for (let i = 0; i < wave.length; i += CONCURRENT_PROOFS) {
          if (!(await this.#store(wave.slice(i, i + CONCURRENT_PROOFS)))) return 'stale'
        }
      }
    } finally {
      this.#chunks.delete(range)
      for (const [start, end] of this.have.runs(range.start, range.end)) {
        this.#emit({ type: 'have', start, end })
      }
      this.#wake()
    }
    return 'stored'
  }

  async adopt(): Promise<AdoptResult> {
    throw new SynclineError('UNSUPPORTED', 'a hypercore holds no bytes but those in its own store')
  }

  async reorg(proof: Proof): Promise<Reorg | null> {
    this.#mayStore()
    if (proof.fork <= this.fork || this.frozen || !this.allowsForks) return null
    const verifier = this.#knownVerifier()
    await this.#call('proof', async () => verifyTree({ key: this.key, verifier }, proof))
    const raw = toRawProof(tieProof(proof))
    const batch = await this.#call('proof', () => this.#core.verifyReorg(raw))
    return new HypercoreReorg(batch, this.#reader.node, this.#commitReorg)
  }

  /** Hypercore closes all sessions of a core that it freezes, so the feed is closed then. */
  async checkConflict(proof: Proof): Promise<boolean> {
    this.#mustBeOpen()
    const verifier = this.#knownVerifier()
    if (proof.fork !== this.fork || verifier === null || this.length === 0) return false
    const known = { key: this.key, verifier }
    const { nodes } = (await this.#call('proof', async () => verifyTree(known, proof))).tree
    const stored = await this.#call('storage', () =>
      this.#reader.nodes(nodes.map(({ index }) => index))
    )
    const differs = nodes.some(({ hash }, i) => {
      const ours = stored[i]
      return ours && !equalBytes(ours.hash, hash)
    })
    if (!differs || this.frozen) return differs
    await this.#call('storage', () => this.#keepFrozen())
    this.#frozen = true
    // It tells its peers, and ends replication. A proof longer than the feed it leaves alone; errors change nothing.
    await this.#core.checkConflict(toRawProof(tieProof(proof))).catch(() => {})
    if (!this.#told) this.#onconflict()
    return true
  }

  async audit(options: { readonly signal?: AbortSignal } = {}): Promise<AuditReport> {
    this.#mustBeOpen()
    const { length, fork, roots } = this.#state
    options.signal?.throwIfAborted()
    const head = await this.#call('storage', () => this.#auditHead())
    const source = {
      length,
      roots,
      have: this.have,
      readNodes: (indexes: readonly number[]) =>
        this.#call('storage', () => this.#reader.nodes(indexes)),
      readBlocks: (indexes: readonly number[]) =>
        this.#call('storage', () => this.#reader.blocks(indexes))
    }
    const bad: number[] = []
    let blocks = 0
    for await (const [index, good] of auditBlocks(source)) {
      options.signal?.throwIfAborted()
      blocks++
      // What was dropped or rewritten meanwhile is not bad.
      if (!good && this.have.get(index) && this.fork === fork) bad.push(index)
    }
    return { blocks, bad, head }
  }

  async getUserData(name: string): Promise<Uint8Array | null> {
    this.#mustBeOpen()
    const key = USER_DATA_PREFIX + name
    const value = await this.#call('storage', () => this.#session.getUserData(key))
    return value && asBytes(value)
  }

  async setUserData(name: string, value: Uint8Array | null): Promise<void> {
    this.#mustBeOpen()
    const key = USER_DATA_PREFIX + name
    const copy = value && Buffer.from(value)
    await this.#call('storage', () => this.#session.setUserData(key, copy))
  }

  onchange(callback: (change: FeedChange) => void): () => void {
    this.#listeners.add(callback)
    return () => void this.#listeners.delete(callback)
  }

  /** Waits for what the core is writing; it has no call that forces the disk. */
  async flush(): Promise<void> {
    this.#mustBeOpen()
    await this.#call('storage', () => this.#locked(() => this.#core.flushHints()))
  }

  /** Ends the feed's own session; the user's core stays open. */
  async close(): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  async #close(): Promise<void> {
    this.#detach()
    await this.#session.close()
  }

  #detach(): void {
    if (this.#closed) return
    this.#closed = true
    this.#unwatch()
    this.#user.off('close', this.#onclose)
    this.#session.off('append', this.#onappend)
    this.#session.off('truncate', this.#ontruncate)
    this.#session.off('manifest', this.#onmanifest)
    this.#session.off('conflict', this.#onconflict)
    this.#session.off('close', this.#onclose)
    this.#listeners.clear()
  }

  // Changes, whoever made them

  readonly #onhave = (start: number, length: number, drop: boolean): void => {
    const end = start + length
    const { length: now, fork } = this.#state
    if (drop) {
      // Of a truncation the bits are still set here; its own event follows.
      if (now !== this.#length || fork !== this.#fork) return
      const type = this.#forgetting ? 'forget' : 'clear'
      if (start < Math.min(end, now)) this.#emit({ type, start, end: Math.min(end, now) })
      return
    }
    if (fork === this.#fork && now > this.#length) {
      const from = this.#length
      this.#length = now
      if (this.#session.writable && start === from && end === now) {
        this.#emit({ type: 'append', start, length })
        return
      }
      this.#emit({ type: 'upgrade', start: from, length: now - from })
    }
    for (const chunk of this.#chunks) if (chunk.start <= start && end <= chunk.end) return
    if (start < end) this.#emit({ type: 'have', start, end })
  }

  readonly #onappend = (): void => {
    const { length, fork } = this.#state
    if (length <= this.#length) return
    const start = this.#length
    this.#length = length
    this.#fork = fork
    this.#emit({ type: 'upgrade', start, length: length - start })
  }

  readonly #ontruncate = (length: number, fork: number): void => {
    this.#length = length
    this.#fork = fork
    this.#emit({ type: 'truncate', length, fork })
    // A reorganization brings its longer head along, without an event of its own.
    this.#onappend()
  }

  readonly #onmanifest = (): void => this.#emit({ type: 'manifest' })

  readonly #onconflict = (): void => {
    // The core found it by itself and is about to close: what is not on its way to the storage when this returns is lost.
    if (!this.#frozen) void ignored(this.#keepFrozen())
    this.#frozen = true
    this.#told = true
    this.#emit({ type: 'freeze' })
  }

  readonly #onclose = (): void => {
    // A core that is frozen closes by itself, and its freeze stays to be seen.
    if (!this.#frozen) this.#emit({ type: 'close' })
    this.#detach()
    // The user's session may be one of several, so the feed's own is still open.
    this.close().catch(() => {})
  }

  async #keepFrozen(): Promise<void> {
    const writer = this.#state.storage.write()
    writer.putUserData(FROZEN_NAME, Buffer.of(1))
    await writer.flush()
  }

  #emit(change: FeedChange): void {
    for (const listener of this.#listeners) {
      try {
        listener(change)
      } catch (error) {
        // It must not break into what the core is doing.
        rethrow(error)
      }
    }
  }

  /** Lets `core.get()` and `core.download()` of the user's see what was stored: nothing else does. */
  #wake(): void {
    if (this.#waking) return
    this.#waking = true
    queueMicrotask(() => {
      this.#waking = false
      if (!this.closed) this.#core.replicator.onupgrade()
    })
  }

  // Storing

  /** Lets the core verify and store proofs that are right; false if it moved on. All of them end before this does. */
  async #store(proofs: readonly RawProof[]): Promise<boolean> {
    const results = await Promise.allSettled(proofs.map((proof) => this.#session.applyProof(proof)))
    let stored = true
    for (const result of results) {
      if (result.status === 'fulfilled') {
        stored &&= result.value
        continue
      }
      const failed = this.#translate(result.reason, 'caller')
      if (isSynclineError(failed, 'STORAGE_FAILED', 'DISK_FULL', 'SESSION_CLOSED')) throw failed
      // What it was verified against is gone: cleared, truncated or grown.
      stored = false
    }
    return stored
  }

  /** Root of a chunk (null if it or a held leaf is gone) and the nodes of its held blocks, as `fold` wants them. */
  async #readChunk(
    chunk: ChunkBlocks
  ): Promise<{ readonly root: TreeNode | null; readonly nodes: Uint8Array | null }> {
    const first = flat.firstBlock(chunk.root)
    const held: number[] = []
    for (const [i, length] of chunk.lengths.entries()) if (length === HELD) held.push(i)
    const [root = null, ...leaves] = await this.#reader.nodes([
      chunk.root,
      ...held.map((offset) => 2 * (first + offset))
    ])
    if (root === null || held.length === 0) return { root, nodes: null }
    const nodes = new Uint8Array(NODE_BYTES * (2 * chunk.lengths.length - 1))
    for (const [i, offset] of held.entries()) {
      const leaf = leaves[i] ?? (await this.#leafOf(first + offset))
      if (leaf === null) return { root: null, nodes: null }
      putNode(nodes, 2 * NODE_BYTES * offset, leaf)
    }
    return { root, nodes }
  }

  /** The leaf of a held block whose node was lost when the user cleared its neighbours. */
  async #leafOf(index: number): Promise<{ size: number; hash: Uint8Array } | null> {
    const block = await this.#reader.block(index)
    return block ? { size: block.byteLength, hash: leafHash(block) } : null
  }

  /**
   * Drops blocks and nodes of the locked core, in one write. The core's own `clear` would delete nodes that other blocks
   * need for their proofs; this keeps them.
   */
  async #drop(
    type: 'clear' | 'forget',
    ranges: readonly (readonly [start: number, end: number])[],
    nodes: readonly number[] = []
  ): Promise<void> {
    const runs = ranges.flatMap(([start, end]) => [...this.have.runs(start, end)])
    if (runs.length === 0 && nodes.length === 0) return
    const writer = this.#state.createWriteBatch()
    for (const [start, end] of runs) {
      if (end - start === 1) writer.deleteBlock(start)
      else writer.deleteBlockRange(start, end)
    }
    for (const index of nodes) writer.deleteTreeNode(index)
    for (const [page, bytes] of clearedPages(this.have, runs)) {
      writer.putBitfieldPage(page, asBuffer(bytes))
    }
    await this.#state.flush()
    this.#forgetting = type === 'forget'
    try {
      for (const [start, end] of runs) {
        if (!this.have.hasAny(start, end)) continue
        const length = end - start
        this.#core._setBitfieldRanges(start, end, false)
        this.#core.updateContiguousLength({ start, length, drop: true })
        this.#core.replicator.onhave(start, length, true)
      }
    } finally {
      this.#forgetting = false
    }
    await this.#core.flushHints()
  }

  readonly #commitReorg = async (batch: RawReorg): Promise<boolean> => {
    this.#mayStore()
    if (this.frozen) return false
    const fork = batch.fork
    const done = await this.#call('storage', () => this.#core.reorg(batch))
    // Hypercore also says true when another change came first.
    if (!done || this.fork !== fork) return false
    this.#wake()
    return true
  }

  // Reading

  /** The signed tree at this moment, which asks for no node twice. */
  #tree(): ProvableTree {
    const { fork, length, byteLength, signature } = this.#state
    const roots = this.#state.roots.map(copyNode)
    const nodes = new Map(roots.map((root) => [root.index, Promise.resolve<TreeNode | null>(root)]))
    const get = (index: number): Promise<TreeNode | null> => {
      const node = nodes.get(index) ?? this.#reader.node(index)
      nodes.set(index, node)
      return node
    }
    return {
      fork,
      length,
      byteLength,
      roots,
      signature: Uint8Array.from(signature ?? []),
      prologue: prologueOf(this.#knownVerifier()),
      nodes: { get }
    }
  }

  #knownVerifier(): Verifier | null {
    const raw = this.#core.header.manifest
    if (raw !== this.#rawManifest) {
      this.#rawManifest = raw
      this.#verifier = raw && new Verifier(this.key, fromRawManifest(raw))
    }
    return this.#verifier
  }

  async #readHeld(index: number): Promise<Uint8Array> {
    const block = this.have.get(index) ? await this.#reader.block(index) : null
    if (!block) throw absentBlock(index)
    return block
  }

  async #auditHead(): Promise<boolean> {
    const { fork, length, roots, signature } = this.#state
    if (length === 0) return true
    const stored = await this.#reader.nodes(flat.fullRoots(length))
    const same = stored.every((node, i) => {
      const root = roots[i]
      return node && root && node.size === root.size && equalBytes(node.hash, root.hash)
    })
    const verifier = this.#knownVerifier()
    if (!same || verifier === null || signature === null) return false
    return verifier.verify(new GrowingTree(fork, roots), signature)
  }

  // Guards

  #mustBeOpen(): void {
    if (this.closed) throw closedError()
  }

  #mayStore(): void {
    this.#mustBeOpen()
    if (this.#core._repairMode) {
      throw new SynclineError('FEED_DAMAGED', 'the core lost tree nodes and waits for repair')
    }
  }

  #mayWrite(): void {
    if (this.frozen) throw new SynclineError('FEED_FROZEN', 'the feed has two signed histories')
    this.#mayStore()
    if (!this.writable) throw new SynclineError('NOT_WRITABLE', 'the core has no secret key')
  }

  /** Runs a call into the core and translates what it throws. */
  async #call<T>(blame: Blame, call: () => Promise<T>, details?: ErrorDetails): Promise<T> {
    try {
      return await call()
    } catch (error) {
      throw this.#translate(error, blame, details)
    }
  }

  #translate(error: unknown, blame: Blame, details?: ErrorDetails): SynclineError {
    // A core that closes lets its calls fail in many ways.
    if (this.closed || this.#core.closing) return closedError(error)
    return hypercoreError(error, blame, details)
  }

  async #locked(run: () => Promise<void>): Promise<void> {
    await this.#state.mutex.lock()
    try {
      await run()
    } finally {
      this.#state._unlock()
    }
  }
}

function isClosed(core: object): boolean {
  const { closed, closing } = core as { readonly closed?: unknown; readonly closing?: unknown }
  return closed === true || Boolean(closing)
}

function closedError(cause?: unknown): SynclineError {
  return new SynclineError('SESSION_CLOSED', 'the core is closed', {}, cause)
}

function absentBlock(index: number): SynclineError {
  return new SynclineError('BLOCK_NOT_AVAILABLE', `block ${index} is not stored`, { index })
}

/** Nodes that a proof of a single block or node consists of; none for other requests. */
function siblingsOf({ block, hash, seek, upgrade }: ProofRequest): number[] {
  const part = block ? { index: 2 * block.index, nodes: block.nodes } : hash
  if (!part || seek || upgrade) return []
  const siblings: number[] = []
  let index = part.index
  for (let i = 0; i < Math.min(part.nodes, HEIGHT_MAX); i++) {
    siblings.push(flat.sibling(index))
    index = flat.parent(index)
  }
  return siblings
}

/** A promise whose rejection may go unheard, if nobody comes to wait for it. */
function ignored<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}
