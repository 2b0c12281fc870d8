/**
 * What is used of a live `Hypercore` 11 object (11.21 to 11.39), member by member.
 *
 * Nothing here imports the package: a user's instance is looked at, and refused if something is missing.
 * `core.core` and what lies under it is not documented by hypercore and may change with any version.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import type { TreeNode } from '../../wire/message.ts'

/** A `Hypercore` as a user hands it over. */
export interface HypercoreLike {
  readonly key: Uint8Array | null
  ready(): Promise<unknown>
  session(options?: object): unknown
  // oxlint-disable-next-line typescript/no-explicit-any -- any event emitter fits
  on(event: string, listener: (...args: any[]) => void): unknown
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  off(event: string, listener: (...args: any[]) => void): unknown
}

/** A `Hypercore` session. */
export interface HypercoreSession {
  readonly core: HypercoreCore
  readonly state: HypercoreState
  readonly key: Uint8Array
  readonly discoveryKey: Uint8Array
  readonly writable: boolean
  readonly closed: boolean
  /** Null, or the promise of `close()`. */
  readonly closing: unknown
  /** What encrypts in this session; null, or left out, where nothing does. */
  encryption?: HypercoreEncryption | null
  ready(): Promise<unknown>
  session(options: object): HypercoreSession
  close(): Promise<void>
  append(blocks: readonly Uint8Array[]): Promise<{ length: number; byteLength: number }>
  truncate(length: number, options: object): Promise<void>
  applyProof(proof: RawProof): Promise<boolean>
  getUserData(name: string): Promise<Uint8Array | null>
  setUserData(name: string, value: Uint8Array | null): Promise<unknown>
  on(event: string, listener: (...args: number[]) => void): unknown
  off(event: string, listener: (...args: number[]) => void): unknown
}

/** Hypercore's own encryption, or one of the user's that has its methods. */
export interface HypercoreEncryption {
  padding(core: HypercoreCore, index: number): number
  /** Works in place; the block stands behind its padding. */
  decrypt(index: number, stored: Uint8Array, core: HypercoreCore): unknown
}

/** The part that all sessions of one core share: `session.core`. */
export interface HypercoreCore {
  readonly state: HypercoreState
  readonly replicator: HypercoreReplicator
  readonly bitfield: HypercoreBits
  readonly compat: boolean
  readonly header: { readonly frozen?: boolean; readonly manifest: RawManifest | null }
  /** Null, or the promise of the core's close. */
  readonly closing: unknown
  /** True if tree nodes got lost and nothing may be committed. */
  readonly _repairMode: boolean
  verifyReorg(proof: RawProof): Promise<RawReorg>
  reorg(batch: RawReorg): Promise<boolean>
  checkConflict(proof: RawProof): Promise<boolean>
  _setBitfieldRanges(start: number, end: number, value: boolean): void
  updateContiguousLength(range: { start: number; length: number; drop: boolean }): void
  flushHints(): Promise<void>
}

/** Head, tree and storage of the signed feed: `core.core.state`. */
export interface HypercoreState {
  readonly length: number
  readonly byteLength: number
  readonly fork: number
  readonly roots: readonly TreeNode[]
  readonly signature: Uint8Array | null
  readonly mutex: { lock(): Promise<void> }
  readonly storage: { read(): HypercoreReads; write(): HypercoreWriter }
  createWriteBatch(): HypercoreWriter
  flush(): Promise<unknown>
  _unlock(): void
}

/** Collects reads, which go out together with `tryFlush`. */
export interface HypercoreReads {
  getTreeNode(index: number): Promise<TreeNode | null>
  getBlock(index: number): Promise<Uint8Array | null>
  tryFlush(): void
}

/** Collects writes, which go out together with `flush`, or `state.flush` if they are those of `state.createWriteBatch`. */
export interface HypercoreWriter {
  deleteBlock(index: number): void
  deleteBlockRange(start: number, end: number): void
  putBitfieldPage(index: number, page: Uint8Array): void
  deleteTreeNode(index: number): void
  putUserData(name: string, value: Uint8Array): void
  flush(): Promise<unknown>
}

/** Called by the core after each change of its bits. */
export interface HypercoreReplicator {
  /** False if the core never takes a higher fork of its writer's over. */
  readonly allowFork?: boolean
  onhave(start: number, length: number, drop?: boolean): void
  onupgrade(): void
}

/** The bits of the blocks held. */
export interface HypercoreBits {
  get(index: number): boolean
  firstSet(start: number): number
  firstUnset(start: number): number
  countSet(start: number, length: number): number
  want(start: number, length: number): Iterable<{ start: number; bitfield: Uint32Array }>
}

/** A manifest as hypercore holds it. */
export interface RawManifest {
  readonly version: number
  readonly allowPatch: boolean
  readonly quorum: number
  readonly signers: readonly { readonly namespace: Uint8Array; readonly publicKey: Uint8Array }[]
  readonly prologue: { readonly hash: Uint8Array; readonly length: number } | null
  readonly linked?: readonly Uint8Array[] | null
  readonly userData?: Uint8Array | null
}

/** A proof as hypercore takes it. */
export interface RawProof {
  readonly fork: number
  readonly block: {
    readonly index: number
    readonly value: Uint8Array | null
    readonly nodes: readonly TreeNode[]
  } | null
  readonly hash: { readonly index: number; readonly nodes: readonly TreeNode[] } | null
  readonly seek: { readonly bytes: number; readonly nodes: readonly TreeNode[] } | null
  readonly upgrade: {
    readonly start: number
    readonly length: number
    readonly nodes: readonly TreeNode[]
    readonly additionalNodes: readonly TreeNode[]
    readonly signature: Uint8Array
  } | null
  readonly manifest: object | null
}

/** Hypercore's `ReorgBatch`. */
export interface RawReorg {
  readonly fork: number
  readonly length: number
  /** Length of the core when the batch was made. */
  readonly treeLength: number
  /** Blocks that stay. */
  ancestors: number
  /** What will be stored. */
  nodes: TreeNode[]
  /** The node below which the first difference lies. */
  readonly diff: TreeNode | null
  /** Blocks below `diff` and its height; null once the first difference is known. */
  readonly want: { readonly start: number; readonly nodes: number } | null
  update(proof: RawProof): boolean | Promise<boolean>
}

/** Members that a ready session must have, as paths. */
const METHODS: readonly string[] = [
  'ready',
  'session',
  'close',
  'append',
  'truncate',
  'applyProof',
  'getUserData',
  'setUserData',
  'on',
  'off',
  'core.verifyReorg',
  'core.reorg',
  'core.checkConflict',
  'core._setBitfieldRanges',
  'core.updateContiguousLength',
  'core.flushHints',
  'core.bitfield.get',
  'core.bitfield.firstSet',
  'core.bitfield.firstUnset',
  'core.bitfield.countSet',
  'core.bitfield.want',
  'core.replicator.onhave',
  'core.replicator.onupgrade',
  'core.state.mutex.lock',
  'core.state.storage.read',
  'core.state.storage.write',
  'core.state.createWriteBatch',
  'core.state.flush',
  'core.state._unlock'
]
const NUMBERS: readonly string[] = ['core.state.length', 'core.state.byteLength', 'core.state.fork']
const OBJECTS: readonly string[] = ['key', 'discoveryKey', 'core.header', 'core.state.roots']

/**
 * Returns a ready `Hypercore` as a session with all members that syncline uses.
 *
 * @throws SynclineError UNSUPPORTED when one is missing, or when it is a snapshot, batch or named session.
 */
export function checkHypercore(object: unknown): HypercoreSession {
  for (const path of METHODS) expect(object, path, 'function')
  for (const path of NUMBERS) expect(object, path, 'number')
  for (const path of OBJECTS) expect(object, path, 'object')
  const session = object as HypercoreSession
  if (session.state !== session.core.state) {
    throw new SynclineError('UNSUPPORTED', 'a snapshot, batch or named session of a Hypercore')
  }
  return session
}

function expect(object: unknown, path: string, type: string): void {
  let value = object
  for (const name of path.split('.')) value = (value as Record<string, unknown> | null)?.[name]
  // oxlint-disable-next-line valid-typeof -- `type` is one of typeof's words
  if (typeof value === type && value !== null) return
  throw new SynclineError('UNSUPPORTED', `not a Hypercore 11.21 or a later 11: it has no ${path}`)
}
