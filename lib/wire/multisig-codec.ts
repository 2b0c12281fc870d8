/**
 * The signature of a feed that has more than one signer, or a manifest of version 1 and above.
 *
 * Such a signature is a list of Ed25519 signatures. With `allowPatch` a signer may have signed a
 * longer tree than the shortest: the nodes that lead there are shared between all signers. Source:
 * hypercore 11 `lib/messages.js`, `lib/multisig.js`.
 *
 * @module
 */
import c from 'compact-encoding'
import { PROOF_NODES_MAX, SIGNERS_MAX } from '../limits.ts'
import {
  type Codec,
  type CodecState,
  decodeLength,
  decodeList,
  decodeSpan,
  decodeValue,
  encodeList,
  encodeValue,
  preencodeList,
  strict,
  treeNode
} from './field.ts'
import type { TreeNode } from './message.ts'

/** One signature. */
export interface MultisigProof {
  /** Index of the signer in the manifest; not checked against it here. */
  readonly signer: number
  /** 64 bytes. */
  readonly signature: Uint8Array
  /** Blocks by which the tree that was signed is longer; 0 for none. */
  readonly patch: number
}

/** The signature of manifests of version 1 and above, single signers included. */
export interface Multisig {
  readonly proofs: readonly MultisigProof[]
  /** Nodes that extend the tree for proofs with a patch. */
  readonly nodes: readonly TreeNode[]
}

/** How a signer's tree goes on in a version 0 signature. */
export interface MultisigPatchV0 {
  readonly start: number
  readonly length: number
  /** Positions in the shared list of nodes. */
  readonly nodes: readonly number[]
}

/** One signature of version 0. */
export interface MultisigProofV0 {
  readonly signer: number
  /** 64 bytes. */
  readonly signature: Uint8Array
  readonly patch: MultisigPatchV0 | null
}

/** The signature of a version 0 manifest with several signers or `allowPatch`. */
export interface MultisigV0 {
  readonly proofs: readonly MultisigProofV0[]
  readonly nodes: readonly TreeNode[]
}

const HAS_PATCH = 1

const proof: Codec<MultisigProof> = {
  preencode(state, value) {
    c.uint.preencode(state, value.signer)
    c.fixed64.preencode(state, value.signature)
    c.uint.preencode(state, value.patch)
  },
  encode(state, value) {
    c.uint.encode(state, value.signer)
    c.fixed64.encode(state, value.signature)
    c.uint.encode(state, value.patch)
  },
  decode(state) {
    return {
      signer: c.uint.decode(state),
      signature: c.fixed64.decode(state),
      patch: decodeLength(state)
    }
  }
}

const patchV0: Codec<MultisigPatchV0> = {
  preencode(state, value) {
    c.uint.preencode(state, value.start)
    c.uint.preencode(state, value.length)
    preencodeList(state, c.uint, value.nodes)
  },
  encode(state, value) {
    c.uint.encode(state, value.start)
    c.uint.encode(state, value.length)
    encodeList(state, c.uint, value.nodes)
  },
  decode(state) {
    const { start, length } = decodeSpan(state)
    return { start, length, nodes: decodeList(state, c.uint, PROOF_NODES_MAX, 'count of nodes') }
  }
}

const proofV0: Codec<MultisigProofV0> = {
  preencode(state, value) {
    state.end++ // Flags.
    c.uint.preencode(state, value.signer)
    c.fixed64.preencode(state, value.signature)
    if (value.patch !== null) patchV0.preencode(state, value.patch)
  },
  encode(state, value) {
    c.uint.encode(state, value.patch !== null ? HAS_PATCH : 0)
    c.uint.encode(state, value.signer)
    c.fixed64.encode(state, value.signature)
    if (value.patch !== null) patchV0.encode(state, value.patch)
  },
  decode(state) {
    const flags = c.uint.decode(state)
    return {
      signer: c.uint.decode(state),
      signature: c.fixed64.decode(state),
      patch: (flags & HAS_PATCH) !== 0 ? patchV0.decode(state) : null
    }
  }
}

interface Container<P> {
  readonly proofs: readonly P[]
  readonly nodes: readonly TreeNode[]
}

function container<P>(item: Codec<P>): Codec<Container<P>> {
  return {
    preencode(state: CodecState, value: Container<P>): void {
      preencodeList(state, item, value.proofs)
      preencodeList(state, treeNode, value.nodes)
    },
    encode(state: CodecState, value: Container<P>): void {
      encodeList(state, item, value.proofs)
      encodeList(state, treeNode, value.nodes)
    },
    decode(state: CodecState): Container<P> {
      const proofs = decodeList(state, item, SIGNERS_MAX, 'count of signatures')
      // Every signer may bring a path of its own.
      const most = PROOF_NODES_MAX * proofs.length
      return { proofs, nodes: decodeList(state, treeNode, most, 'count of nodes') }
    }
  }
}

/** Signatures of manifests of version 1 and above. Views: copy what must outlive the bytes. */
export const multisigCodec: Codec<Multisig> = strict('signature', container(proof))

/** Signatures of version 0 manifests with several signers or `allowPatch`. */
export const multisigV0Codec: Codec<MultisigV0> = strict('signature', container(proofV0))

/**
 * Encodes a signature of version 1 and above.
 *
 * @throws SynclineError BAD_ARGUMENT when a field has the wrong size.
 */
export function encodeMultisig(multisig: Multisig): Uint8Array {
  return encodeValue(multisigCodec, multisig)
}

/**
 * Decodes a signature of version 1 and above, without copying.
 *
 * @throws SynclineError BAD_MESSAGE when the bytes are none.
 */
export function decodeMultisig(bytes: Uint8Array): Multisig {
  return decodeValue(multisigCodec, bytes)
}

/**
 * Encodes a version 0 signature.
 *
 * @throws SynclineError BAD_ARGUMENT when a field has the wrong size.
 */
export function encodeMultisigV0(multisig: MultisigV0): Uint8Array {
  return encodeValue(multisigV0Codec, multisig)
}

/**
 * Decodes a version 0 signature, without copying.
 *
 * @throws SynclineError BAD_MESSAGE when the bytes are none.
 */
export function decodeMultisigV0(bytes: Uint8Array): MultisigV0 {
  return decodeValue(multisigV0Codec, bytes)
}
