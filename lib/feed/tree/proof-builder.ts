/**
 * Builds proofs from stored nodes.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import {
  blockCount,
  depth,
  endBlock,
  firstBlock,
  fullRoots,
  leftChild,
  rightChild
} from '../../primitives/flat-tree.ts'
import type { Prologue } from '../../wire/manifest.ts'
import type { Proof, SeekRequest, TreeNode, UpgradeRequest } from '../../wire/message.ts'
import { copyBytes } from '../bytes.ts'
import type { ProofRequest } from '../feed.ts'
import { climb, planProof } from './proof-plan.ts'
import { byteOffset, requireNode, type TreeView } from './tree-view.ts'

/** The tree that proofs are built from, with what signs it. */
export interface ProvableTree extends TreeView {
  readonly fork: number
  readonly signature: Uint8Array
  readonly prologue: Prologue | null
}

/**
 * Builds a proof, all but the manifest. `value` gives the bytes of the block part.
 *
 * @throws SynclineError INVALID_OPERATION for what does not exist in this tree, BLOCK_NOT_AVAILABLE for
 * nodes and blocks that are not stored.
 */
export async function buildProof(
  tree: ProvableTree,
  request: ProofRequest,
  value: (index: number) => Promise<Uint8Array>
): Promise<Proof> {
  const { block = null, hash = null, seek = null } = request
  const upgrade = startAtPrologue(request.upgrade ?? null, tree.prologue)
  check(tree, request, upgrade)
  const target = targetOf(request)
  const outside = target !== null && (upgrade === null || target.last < upgrade.start)
  const end = upgrade === null ? tree.length : upgrade.start + upgrade.length
  const root = outside ? climb(target.index, target.nodes, end) : null
  const plan = planProof({
    length: tree.length,
    target: target && { index: target.index, own: block === null },
    root,
    seek:
      seek &&
      (root === null ? await seekFromStart(tree, seek, end) : await seekWithin(tree, seek, root)),
    upgrade
  })
  if (target !== null && plan.node === null) {
    throw new SynclineError('INVALID_OPERATION', `node ${target.index} is not part of the upgrade`)
  }
  const load = async (indexes: readonly number[]): Promise<TreeNode[]> => {
    const nodes: TreeNode[] = []
    for (const index of indexes) {
      const { size, hash } = tree.nodes.peek?.(index) ?? (await requireNode(tree, index))
      // The caller owns what it gets, and nodes may be cached.
      nodes.push({ index, size, hash: copyBytes(hash) })
    }
    return nodes
  }
  const nodes = await load(plan.node ?? [])
  return {
    fork: tree.fork,
    block: block && { index: block.index, value: await value(block.index), nodes },
    hash: block === null && hash !== null ? { index: hash.index, nodes } : null,
    seek: seek && plan.seek && { bytes: seek.bytes, nodes: await load(plan.seek) },
    upgrade: upgrade && {
      start: upgrade.start,
      length: upgrade.length,
      nodes: await load(plan.upgrade ?? []),
      additionalNodes: await load(plan.additional ?? []),
      signature: copyBytes(tree.signature)
    },
    manifest: null
  }
}

/** What lies within a prologue is proven by the prologue as a whole. */
function startAtPrologue(
  upgrade: UpgradeRequest | null,
  prologue: Prologue | null
): UpgradeRequest | null {
  if (upgrade === null || prologue === null || upgrade.start >= prologue.length) return upgrade
  return { start: 0, length: prologue.length }
}

function check(tree: TreeView, request: ProofRequest, upgrade: UpgradeRequest | null): void {
  const { block, hash, seek } = request
  const target = targetOf(request)
  if (block && hash) throw invalid('a proof is for a block or for a node, not for both')
  if (target !== null && target.last >= tree.length) {
    throw invalid(`node ${target.index} is beyond ${tree.length} blocks`)
  }
  if (upgrade === null) return
  if (upgrade.length <= 0 || upgrade.start + upgrade.length > tree.length) {
    throw invalid(`no upgrade from ${upgrade.start} by ${upgrade.length} of ${tree.length} blocks`)
  }
  if (seek && target !== null && target.last >= upgrade.start) {
    throw invalid('a seek cannot go with a block inside the upgrade')
  }
}

function targetOf({
  block,
  hash
}: ProofRequest): { index: number; nodes: number; last: number } | null {
  if (block) return { index: 2 * block.index, nodes: block.nodes, last: block.index }
  if (hash) return { index: hash.index, nodes: hash.nodes, last: endBlock(hash.index) - 1 }
  return null
}

/** Where a seek leads among the roots of the first `end` blocks; null beyond them. */
async function seekFromStart(
  tree: TreeView,
  { bytes, padding }: SeekRequest,
  end: number
): Promise<number | null> {
  let rest = bytes
  for (const root of fullRoots(end)) {
    const size = unpadded(await requireNode(tree, root), padding)
    if (rest === size) return root
    if (rest < size) return seekBelow(tree, root, rest, padding)
    rest -= size
  }
  return null
}

/** Where a seek leads below `root`. @throws SynclineError INVALID_OPERATION when it leads elsewhere. */
async function seekWithin(
  tree: TreeView,
  { bytes, padding }: SeekRequest,
  root: number
): Promise<number> {
  const offset = (await byteOffset(tree, firstBlock(root))) - padding * firstBlock(root)
  if (bytes === offset) return root
  const size = unpadded(await requireNode(tree, root), padding)
  if (bytes < offset || bytes >= offset + size) {
    throw invalid(`byte ${bytes} does not lie below node ${root}`)
  }
  return seekBelow(tree, root, bytes - offset, padding)
}

/** The highest node whose size tells where the position is, or the last stored one on the way. */
async function seekBelow(
  tree: TreeView,
  root: number,
  bytes: number,
  padding: number
): Promise<number> {
  if (bytes === 0) return root
  let rest = bytes
  let index = root
  for (let height = depth(root); height > 0; height--) {
    const left = await tree.nodes.get(leftChild(index, height))
    if (left === null) return index
    const size = unpadded(left, padding)
    if (rest === size) return left.index
    if (rest < size) {
      index = left.index
    } else {
      rest -= size
      index = rightChild(index, height)
    }
  }
  return index
}

/** Bytes of a node without the padding of its blocks. */
function unpadded(node: TreeNode, padding: number): number {
  return node.size - padding * blockCount(node.index)
}

function invalid(why: string): SynclineError {
  return new SynclineError('INVALID_OPERATION', why)
}
