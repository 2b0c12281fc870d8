/**
 * The messages of one `hypercore/alpha` channel as plain records.
 *
 * `number` fields are unsigned integers below 2^53. Byte fields of decoded messages are views into
 * the received frame: copy what must outlive it. Source: hypercore 11 `lib/messages.js`.
 *
 * @module
 */
import type { Manifest } from './manifest.ts'

/** A Merkle tree node: flat (in-order) index, bytes of all leaves below, 32-byte hash. */
export interface TreeNode {
  readonly index: number
  readonly size: number
  readonly hash: Uint8Array
}

/** First bytes on a channel. `capability` proves knowledge of the key and binds it to the connection. */
export interface Handshake {
  /** True if the sender can answer seeks; every known peer can. */
  readonly seeks: boolean
  /** 32 bytes. */
  readonly capability: Uint8Array
}

/** State of one side: sent after open and whenever it changes. */
export interface Sync {
  readonly type: 'sync'
  readonly fork: number
  readonly length: number
  /** The receiver's length as the sender last processed it; 0 when the forks differ. */
  readonly remoteLength: number
  /** True if the sender can prove an upgrade from the receiver's length to its own. */
  readonly canUpgrade: boolean
  readonly uploading: boolean
  readonly downloading: boolean
  readonly hasManifest: boolean
  /** Never set by syncline: it changes what an upgrade answer starts from. */
  readonly allowPush: boolean
}

/** Asks for a block (`block`), a tree node (`hash`), a byte position, a longer length, the manifest. */
export interface Request {
  readonly type: 'request'
  /** Chosen by the sender; 0 is kept for conflict proofs. */
  readonly id: number
  readonly fork: number
  readonly block: BlockRequest | null
  readonly hash: BlockRequest | null
  readonly seek: SeekRequest | null
  readonly upgrade: UpgradeRequest | null
  readonly manifest: boolean
  /** 0 for ranges, 1 for a block that somebody waits for. */
  readonly priority: number
}

/** `index` is a block index (block) or flat tree index (hash); `nodes` the parents to climb. */
export interface BlockRequest {
  readonly index: number
  readonly nodes: number
}

/** Byte position to find; `padding` is the bytes before each block that do not count. */
export interface SeekRequest {
  readonly bytes: number
  readonly padding: number
}

/** From length `start`, by `length` blocks. */
export interface UpgradeRequest {
  readonly start: number
  readonly length: number
}

/** Takes back a request; best effort. */
export interface Cancel {
  readonly type: 'cancel'
  readonly request: number
}

/** A proof: what a request is answered with. */
export interface Proof {
  readonly fork: number
  readonly block: BlockProof | null
  readonly hash: HashProof | null
  readonly seek: SeekProof | null
  readonly upgrade: UpgradeProof | null
  readonly manifest: Manifest | null
}

/** `value` is the block as stored (encrypted blocks stay so); `nodes` are siblings, leaf upward. */
export interface BlockProof {
  readonly index: number
  readonly value: Uint8Array
  readonly nodes: readonly TreeNode[]
}

/** `nodes` holds the node itself and then siblings upward. */
export interface HashProof {
  readonly index: number
  readonly nodes: readonly TreeNode[]
}

/** `nodes` holds the target and then siblings upward to the subtree that the block part omits. */
export interface SeekProof {
  readonly bytes: number
  readonly nodes: readonly TreeNode[]
}

/** From length `start` by `length` blocks, then on to the sender's full length, which is signed. */
export interface UpgradeProof {
  readonly start: number
  readonly length: number
  readonly nodes: readonly TreeNode[]
  readonly additionalNodes: readonly TreeNode[]
  readonly signature: Uint8Array
}

/** Answers a request. `request` 0 with an upgrade from 0 is a conflict proof. */
export interface Data extends Proof {
  readonly type: 'data'
  readonly request: number
}

/** Answers a request that cannot be served. */
export interface NoData {
  readonly type: 'no-data'
  readonly request: number
  /** 0 none given, 1 not available, 2 invalid request; 32 of 1 or 2 pause a hypercore peer. */
  readonly reason: number
}

/** Asks to hear what the receiver has in `[start, start + length)`. */
export interface Want {
  readonly type: 'want'
  readonly start: number
  readonly length: number
  /** True if one bit suffices to know that there is something. */
  readonly any: boolean
}

/** Takes a want back. */
export interface Unwant {
  readonly type: 'unwant'
  readonly start: number
  readonly length: number
  readonly any: boolean
}

/** What the sender has from bit `start`; bit k of word j is block `start + 32 j + k`. */
export interface Bitfield {
  readonly type: 'bitfield'
  readonly start: number
  readonly words: Uint32Array
}

/** What the sender has now, or (drop) has no longer: `[start, start + length)`. */
export interface Range {
  readonly type: 'range'
  readonly drop: boolean
  readonly start: number
  readonly length: number
}

/** A message for an extension that both sides registered by name. */
export interface Extension {
  readonly type: 'extension'
  /** Empty for the name of the extension message before it. */
  readonly name: string
  readonly message: Uint8Array
}

/** Any message of the channel. */
export type Message =
  | Sync
  | Request
  | Cancel
  | Data
  | NoData
  | Want
  | Unwant
  | Bitfield
  | Range
  | Extension

/** Message types in the order of their number on the wire. */
export const MESSAGE_TYPES: readonly Message['type'][] = [
  'sync',
  'request',
  'cancel',
  'data',
  'no-data',
  'want',
  'unwant',
  'bitfield',
  'range',
  'extension'
]
