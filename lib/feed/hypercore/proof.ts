/**
 * Proofs and manifests in hypercore's shape.
 *
 * @module
 */
import { parentHash } from '../../kernels/fold.ts'
import * as flat from '../../primitives/flat-tree.ts'
import type { Manifest } from '../../wire/manifest.ts'
import type { Proof, TreeNode } from '../../wire/message.ts'
import type { RawManifest, RawProof } from './hypercore-like.ts'

/** Hypercore keeps what it is given, and changes nodes: so it gets copies of all but the value. */
export function toRawProof(proof: Proof): RawProof {
  const { block, hash, seek, upgrade, manifest } = proof
  return {
    fork: proof.fork,
    block: block && {
      index: block.index,
      value: asBuffer(block.value),
      nodes: toRawNodes(block.nodes)
    },
    hash: hash && { index: hash.index, nodes: toRawNodes(hash.nodes) },
    seek: seek && { bytes: seek.bytes, nodes: toRawNodes(seek.nodes) },
    upgrade: upgrade && {
      start: upgrade.start,
      length: upgrade.length,
      nodes: toRawNodes(upgrade.nodes),
      additionalNodes: toRawNodes(upgrade.additionalNodes),
      signature: Buffer.from(upgrade.signature)
    },
    manifest: manifest && toRawManifest(manifest)
  }
}

/** Nodes that hypercore may keep and change. */
export function toRawNodes(nodes: readonly TreeNode[]): TreeNode[] {
  return nodes.map(({ index, size, hash }) => ({ index, size, hash: Buffer.from(hash) }))
}

/** The same bytes as the Buffer that hypercore expects. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The same bytes without Buffer's methods, which differ from those of a Uint8Array. */
export function asBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function toRawManifest(manifest: Manifest): object {
  return {
    version: manifest.version,
    hash: manifest.hash,
    allowPatch: manifest.allowPatch,
    quorum: manifest.quorum,
    signers: manifest.signers.map(({ signature, namespace, publicKey }) => ({
      signature,
      namespace: Buffer.from(namespace),
      publicKey: Buffer.from(publicKey)
    })),
    prologue: manifest.prologue && {
      hash: Buffer.from(manifest.prologue.hash),
      length: manifest.prologue.length
    },
    linked: manifest.linked && manifest.linked.map((key) => Buffer.from(key)),
    userData: manifest.userData && Buffer.from(manifest.userData)
  }
}

/** A copy of a core's manifest. */
export function fromRawManifest(manifest: RawManifest): Manifest {
  const { version, allowPatch, quorum, signers, prologue, linked, userData } = manifest
  return {
    version,
    hash: 'blake2b',
    allowPatch,
    quorum,
    signers: signers.map(({ namespace, publicKey }) => ({
      signature: 'ed25519',
      namespace: Uint8Array.from(namespace),
      publicKey: Uint8Array.from(publicKey)
    })),
    prologue: prologue && { hash: Uint8Array.from(prologue.hash), length: prologue.length },
    linked: linked ? linked.map((key) => Uint8Array.from(key)) : null,
    userData: userData ? Uint8Array.from(userData) : null
  }
}

/**
 * Replaces the nodes that the hash and seek parts of a verified proof begin with by their parent.
 *
 * A parent hash covers only the sum of its children's sizes, so that of two nodes which both came from
 * a peer bytes could be moved to the other; hypercore would store them so. From the parent on, sizes are sure.
 */
export function tieProof(proof: Proof): Proof {
  const { hash } = proof
  const seek = proof.seek && { ...proof.seek, nodes: foldFirst(proof.seek.nodes) }
  if (!hash) return { ...proof, seek }
  const [first, ...rest] = hash.nodes
  const [target, ...others] = seek?.nodes ?? []
  const beside = others.length === 0 && target?.index === flat.sibling(hash.index)
  const nodes = foldFirst(first && target && beside ? [first, target, ...rest] : hash.nodes)
  const index = nodes[0]?.index ?? hash.index
  return { ...proof, hash: { index, nodes }, seek: beside ? null : seek }
}

/**
 * The proof without a part that is a single node. Nothing is learned from one, and hypercore, which compares only its hash
 * with the stored one, would store its size.
 */
export function withoutLoneNode(proof: Proof): Proof {
  const { block, hash, seek, upgrade } = proof
  if (block || upgrade || (hash && seek)) return proof
  const nodes = hash?.nodes ?? seek?.nodes ?? []
  return nodes.length > 1 ? proof : { ...proof, hash: null, seek: null }
}

function foldFirst(nodes: readonly TreeNode[]): readonly TreeNode[] {
  const [first, second, ...rest] = nodes
  if (!first || !second || second.index !== flat.sibling(first.index)) return nodes
  const [left, right] = first.index < second.index ? [first, second] : [second, first]
  const index = flat.parent(first.index)
  return [{ index, size: left.size + right.size, hash: parentHash(left, right) }, ...rest]
}

/** Flat indexes from a node up to the full root above it; none if it reaches beyond `length`. */
export function pathAbove(index: number, length: number): number[] {
  const path: number[] = []
  for (let at = index; flat.endBlock(at) <= length; at = flat.parent(at)) path.push(at)
  return path
}
