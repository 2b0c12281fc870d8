/**
 * Folds proofs into the nodes that they prove. Nothing is believed here: whoever folds compares the
 * result with what is trusted, a stored node or a signature.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { BLOCK_BYTES_MAX, FEED_LENGTH_MAX, PROOF_NODES_MAX } from '../../limits.ts'
import { leafHash } from '../../kernels/fold.ts'
import { endBlock, sibling } from '../../primitives/flat-tree.ts'
import type { Prologue } from '../../wire/manifest.ts'
import type { Proof, TreeNode, UpgradeProof } from '../../wire/message.ts'
import { equalBytes } from '../bytes.ts'
import { type FoldNode, foldNode, foldParent, GrowingTree } from './growing-tree.ts'
import { spanRoots } from './proof-plan.ts'

/** What the block, hash and seek parts of a proof fold to. */
export interface FoldedParts {
  /** The highest node, which something trusted must equal; null without such parts. */
  readonly root: FoldNode | null
  /** All nodes, given and computed. */
  readonly nodes: readonly FoldNode[]
  /** The nodes from the block (or hash node) up to `root`; empty for a seek part alone. */
  readonly path: readonly FoldNode[]
}

/**
 * Checks the form of a proof: counts, ranges, sizes of hashes.
 *
 * @throws SynclineError INVALID_PROOF
 */
export function checkProof({ fork, block, hash, seek, upgrade }: Proof): void {
  checkCount(fork, 'fork')
  if (block !== null && hash !== null) throw invalid('both a block and a node')
  if (block !== null) {
    checkBlockIndex(block.index)
    if (block.value.byteLength > BLOCK_BYTES_MAX) throw invalid('the block is too large')
    checkNodes(block.nodes)
  }
  if (hash !== null) checkNodes(hash.nodes)
  if (seek !== null) {
    checkCount(seek.bytes, 'byte position')
    checkNodes(seek.nodes)
  }
  if (upgrade !== null) {
    checkCount(upgrade.start, 'start')
    checkCount(upgrade.length, 'length')
    if (upgrade.length === 0) throw invalid('an upgrade by nothing')
    if (upgrade.start + upgrade.length > FEED_LENGTH_MAX)
      throw invalid('an upgrade that is too long')
    checkNodes(upgrade.nodes)
    checkNodes(upgrade.additionalNodes)
  }
}

/**
 * Folds the block, hash and seek parts of a checked proof.
 *
 * @throws SynclineError INVALID_PROOF when nodes are missing, too many or out of order
 */
export function foldParts({ block, hash, seek }: Proof): FoldedParts {
  const nodes: FoldNode[] = []
  const below = seek === null ? null : foldPath(null, seek.nodes, null, nodes)
  if (block === null && hash === null) return { root: below?.at(-1) ?? null, nodes, path: [] }
  const leaf: FoldNode | null = block && {
    index: 2 * block.index,
    size: block.value.byteLength,
    hash: leafHash(block.value),
    tied: true
  }
  const given = block?.nodes ?? hash?.nodes ?? []
  if (hash !== null && given[0]?.index !== hash.index) throw invalid(`no node ${hash.index}`)
  const path = foldPath(leaf, given, below?.at(-1) ?? null, nodes)
  return { root: path.at(-1) ?? null, nodes, path }
}

/** What an upgrade makes of a tree. */
export interface FoldedUpgrade {
  readonly tree: GrowingTree
  /** True if the root of the other parts became part of the tree. */
  readonly consumed: boolean
}

/**
 * Grows a tree by the upgrade part of a checked proof, which must start at its length. `inner` is the root
 * of the other parts, which stands for one node of the upgrade if it lies in the new area.
 *
 * @throws SynclineError INVALID_PROOF when nodes are missing, too many or out of order
 */
export function foldUpgrade(
  tree: GrowingTree,
  upgrade: UpgradeProof,
  inner: FoldNode | null,
  prologue: Prologue | null
): FoldedUpgrade {
  const end = upgrade.start + upgrade.length
  if (prologue !== null && upgrade.start < prologue.length) {
    if (upgrade.start !== 0 || upgrade.length < prologue.length) {
      throw invalid('the upgrade does not reach over the prologue')
    }
  }
  const consumed = extend(tree, upgrade.nodes, spanRoots(tree.length, end), inner)
  if (prologue !== null && tree.length === prologue.length) {
    if (!equalBytes(tree.hash(), prologue.hash)) throw invalid('this is not the prologue')
  }
  const last = upgrade.additionalNodes.at(-1)
  if (last !== undefined) {
    extend(tree, upgrade.additionalNodes, spanRoots(end, endBlock(last.index)), null)
  }
  return { tree, consumed }
}

/** Marks what a signature covers: the sizes of the roots are hashed with them. */
export function tieRoots(tree: GrowingTree): void {
  for (const root of tree.roots) root.tied = true
}

/** Folds from `leaf`, or else the first given node, upward; returns the path. */
function foldPath(
  leaf: FoldNode | null,
  given: readonly TreeNode[],
  extra: FoldNode | null,
  nodes: FoldNode[]
): FoldNode[] {
  let taken = 0
  let rest = extra
  let at = leaf
  if (at === null) {
    const first = given[taken++]
    if (first === undefined) return []
    at = foldNode(first, false)
  }
  const path = [at]
  nodes.push(at)
  while (taken < given.length || rest !== null) {
    const wanted = sibling(at.index)
    let next: FoldNode
    if (rest !== null && rest.index === wanted) {
      next = rest
      rest = null
    } else {
      next = take(given[taken++], wanted)
      nodes.push(next)
    }
    at = foldParent(at, next)
    if (endBlock(at.index) > FEED_LENGTH_MAX) throw invalid('a path that leads out of the tree')
    path.push(at)
    nodes.push(at)
  }
  return path
}

/** Appends the nodes of `indexes`, in that order, and nothing else; tells whether `inner` was among them. */
function extend(
  tree: GrowingTree,
  given: readonly TreeNode[],
  indexes: readonly number[],
  inner: FoldNode | null
): boolean {
  let taken = 0
  let consumed = false
  for (const index of indexes) {
    if (inner !== null && inner.index === index && !consumed) {
      tree.append(inner)
      consumed = true
    } else {
      tree.append(take(given[taken++], index))
    }
  }
  if (taken !== given.length) throw invalid('an upgrade with too many nodes')
  return consumed
}

function take(node: TreeNode | undefined, index: number): FoldNode {
  if (node === undefined) throw invalid(`node ${index} is missing`)
  if (node.index !== index) throw invalid(`node ${node.index} in the place of ${index}`)
  return foldNode(node, false)
}

function checkNodes(nodes: readonly TreeNode[]): void {
  if (nodes.length > PROOF_NODES_MAX) throw invalid(`${nodes.length} nodes`)
  for (const { index, size, hash } of nodes) {
    checkCount(index, 'node index')
    checkBlockIndex(endBlock(index) - 1)
    checkCount(size, 'size')
    if (hash.byteLength !== 32) throw invalid(`a hash of ${hash.byteLength} bytes`)
  }
}

function checkBlockIndex(index: number): void {
  checkCount(index, 'block index')
  if (index >= FEED_LENGTH_MAX) throw invalid(`block ${index}`)
}

function checkCount(value: number, name: string): void {
  if (!Number.isSafeInteger(value) || value < 0) throw invalid(`${name} ${value}`)
}

function invalid(why: string): SynclineError {
  return new SynclineError('INVALID_PROOF', `the proof is not valid: ${why}`)
}
