/**
 * Signs trees and verifies their signatures, by the rules of a manifest.
 *
 * Source: hypercore 11 `lib/verifier.js`, `lib/caps.js`.
 *
 * @module
 */
import { isSynclineError, SynclineError } from '../errors.ts'
import { FEED_LENGTH_MAX } from '../limits.ts'
import type { Manifest, Signer } from '../wire/manifest.ts'
import type { TreeNode } from '../wire/message.ts'
import {
  decodeMultisig,
  decodeMultisigV0,
  encodeMultisig,
  encodeMultisigV0
} from '../wire/multisig-codec.ts'
import { equalBytes, writeUint64 } from './bytes.ts'
import { foldNode, GrowingTree } from './tree/growing-tree.ts'
import { isCompat } from './manifest.ts'
import { TREE } from './namespace.ts'
import { spanRoots } from './tree/proof-plan.ts'
import { sign, verify } from './signature.ts'
import type { KeyPair } from './store.ts'

/** The rules under which the trees of one feed are signed. */
export class Verifier {
  readonly key: Uint8Array
  readonly manifest: Manifest
  /** True if the key is the public key of the only signer: signables then name no manifest. */
  readonly compat: boolean
  /** True if a signature is bare, not a container of several. */
  readonly #bare: boolean

  constructor(key: Uint8Array, manifest: Manifest) {
    this.key = key
    this.manifest = manifest
    this.compat = isCompat(key, manifest)
    const single = manifest.signers.length === 1 && !manifest.allowPatch
    this.#bare = this.compat || (manifest.version === 0 && single)
  }

  /** Tells whether `signature` makes this tree the feed's. A broken signature is simply not valid. */
  verify(tree: GrowingTree, signature: Uint8Array): boolean {
    const { signers, version, prologue } = this.manifest
    if (this.#bare) return this.#verifyOne(signers[0], tree, signature)
    if (version > 0 && prologue !== null && tree.length <= prologue.length) {
      return tree.length === prologue.length && equalBytes(tree.hash(), prologue.hash)
    }
    return this.#verifyQuorum(tree, signature)
  }

  /** True if the holder of this key pair alone can sign trees. */
  canSign(keyPair: KeyPair): boolean {
    return this.#signerOf(keyPair) !== -1 && (this.#bare || this.manifest.quorum === 1)
  }

  /**
   * Signs a tree in the form that {@link verify} takes.
   *
   * @throws SynclineError NOT_WRITABLE when this key pair cannot sign alone.
   */
  sign(tree: GrowingTree, keyPair: KeyPair): Uint8Array {
    if (!this.canSign(keyPair)) {
      throw new SynclineError('NOT_WRITABLE', 'the key pair cannot sign this feed alone')
    }
    const index = this.#signerOf(keyPair)
    const signer = this.manifest.signers[index] as Signer
    const signature = sign(this.#signable(signer, tree), keyPair.secretKey)
    if (this.#bare) return signature
    return this.manifest.version === 0
      ? encodeMultisigV0({ proofs: [{ signer: index, signature, patch: null }], nodes: [] })
      : encodeMultisig({ proofs: [{ signer: index, signature, patch: 0 }], nodes: [] })
  }

  #signerOf({ publicKey }: KeyPair): number {
    return this.manifest.signers.findIndex((signer) => equalBytes(signer.publicKey, publicKey))
  }

  /** The first signatures of the container, as many as the quorum, must all be valid and of different signers. */
  #verifyQuorum(tree: GrowingTree, bytes: Uint8Array): boolean {
    const { signers, quorum, allowPatch } = this.manifest
    const container = this.#decode(bytes)
    if (container === null || quorum === 0 || container.proofs.length < quorum) return false
    const seen = new Set<number>()
    for (const { signer, signature, patch } of container.proofs.slice(0, quorum)) {
      const signed = patch > 0 && allowPatch ? extend(tree, patch, container.nodes) : tree
      if (signed === null || seen.has(signer)) return false
      if (!this.#verifyOne(signers[signer], signed, signature)) return false
      seen.add(signer)
    }
    return true
  }

  #decode(bytes: Uint8Array): {
    proofs: readonly { signer: number; signature: Uint8Array; patch: number }[]
    nodes: readonly TreeNode[]
  } | null {
    try {
      if (this.manifest.version > 0) return decodeMultisig(bytes)
      const { proofs, nodes } = decodeMultisigV0(bytes)
      return { proofs: proofs.map((one) => ({ ...one, patch: one.patch?.length ?? 0 })), nodes }
    } catch (error) {
      if (isSynclineError(error)) return null
      throw error
    }
  }

  #verifyOne(signer: Signer | undefined, tree: GrowingTree, signature: Uint8Array): boolean {
    return signer !== undefined && verify(this.#signable(signer, tree), signature, signer.publicKey)
  }

  #signable(signer: Signer, tree: GrowingTree): Uint8Array {
    if (this.compat) return signable([TREE, tree.hash()], tree)
    const context = this.manifest.version === 0 ? signer.namespace : this.key
    return signable([TREE, context, tree.hash()], tree)
  }
}

/** The parts, 32 bytes each, then length and fork. */
function signable(parts: readonly Uint8Array[], { length, fork }: GrowingTree): Uint8Array {
  const bytes = new Uint8Array(32 * parts.length + 16)
  parts.forEach((part, i) => bytes.set(part, 32 * i))
  writeUint64(bytes, bytes.byteLength - 16, length)
  writeUint64(bytes, bytes.byteLength - 8, fork)
  return bytes
}

/** The tree with `count` more blocks, of which the nodes are among `nodes`; null if some are missing. */
function extend(tree: GrowingTree, count: number, nodes: readonly TreeNode[]): GrowingTree | null {
  if (tree.length + count > FEED_LENGTH_MAX) return null
  const longer = tree.branch()
  const known = new Map(nodes.map((node) => [node.index, node]))
  for (const index of spanRoots(tree.length, tree.length + count)) {
    const node = known.get(index)
    if (node === undefined || !Number.isSafeInteger(longer.byteLength + node.size)) return null
    longer.append(foldNode(node, true))
  }
  return longer
}
