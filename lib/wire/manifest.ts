/**
 * The manifest of a feed: who may sign it. The key of a feed is the hash of its manifest.
 *
 * @module
 */

/** One signer: its Ed25519 public key and the 32-byte namespace that its signatures are bound to. */
export interface Signer {
  readonly signature: 'ed25519'
  readonly namespace: Uint8Array
  readonly publicKey: Uint8Array
}

/** Content that is part of the key and needs no signature: tree hash at `length`. */
export interface Prologue {
  readonly hash: Uint8Array
  readonly length: number
}

/** Shapes and defaults as in hypercore 11 `lib/verifier.js`. */
export interface Manifest {
  /** 0 to 3 are understood. */
  readonly version: number
  readonly hash: 'blake2b'
  /** True if signers may sign different lengths of the same tree. */
  readonly allowPatch: boolean
  /** Signatures that are needed. 0 never verifies (static feeds have no signer). */
  readonly quorum: number
  readonly signers: readonly Signer[]
  readonly prologue: Prologue | null
  /** Keys of other feeds that belong to this one (version 2). */
  readonly linked: readonly Uint8Array[] | null
  /** Free bytes (version 2). */
  readonly userData: Uint8Array | null
}
