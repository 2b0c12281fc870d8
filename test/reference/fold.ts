// The slow, obvious twin of the fold kernel: nodes by recursion, hashes by the twin of the hash kernel.
import { referenceHash } from './hash.ts'

export interface ReferenceNode {
  readonly size: number
  readonly hash: Uint8Array
}

export type ReferenceHash = (parts: readonly Uint8Array[]) => Uint8Array

export function referenceLeaf(
  block: Uint8Array,
  hash: ReferenceHash = referenceHash
): ReferenceNode {
  const size = block.byteLength
  return { size, hash: hash([Buffer.of(0), u64le(size), block]) }
}

export function referenceParent(
  left: ReferenceNode,
  right: ReferenceNode,
  hash: ReferenceHash = referenceHash
): ReferenceNode {
  const size = left.size + right.size
  return { size, hash: hash([Buffer.of(1), u64le(size), left.hash, right.hash]) }
}

export function referenceTree(
  roots: readonly (ReferenceNode & { readonly index: number })[],
  hash: ReferenceHash = referenceHash
): Uint8Array {
  const parts = roots.flatMap((root) => [root.hash, u64le(root.index), u64le(root.size)])
  return hash([Buffer.of(2), ...parts])
}

/** All nodes above `leaves`, in the order of their flat indexes: left half, root, right half. */
export function referenceNodes(
  leaves: readonly ReferenceNode[],
  hash: ReferenceHash = referenceHash
): ReferenceNode[] {
  if (leaves.length === 1) return [...leaves]
  const half = leaves.length / 2
  const left = referenceNodes(leaves.slice(0, half), hash)
  const right = referenceNodes(leaves.slice(half), hash)
  const root = referenceParent(left[half - 1]!, right[half - 1]!, hash)
  return [...left, root, ...right]
}

/** Nodes in the layout of the tree file: u64le size, then hash. */
export function encodeNodes(nodes: readonly ReferenceNode[]): Uint8Array {
  return Buffer.concat(nodes.flatMap((node) => [u64le(node.size), node.hash]))
}

function u64le(value: number): Uint8Array {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
