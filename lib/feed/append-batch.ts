/**
 * Turns blocks into the nodes that append them to a tree.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { fold, FOLD_BLOCKS_MAX, HELD_LENGTH, leafHashes, NODE_BYTES } from '../kernels/fold.ts'
import { LOGGED_BLOCKS_MAX } from '../limits.ts'
import { blockCount, depth, firstBlock } from '../primitives/flat-tree.ts'
import type { Prologue } from '../wire/manifest.ts'
import type { TreeNode } from '../wire/message.ts'
import { equalBytes } from './bytes.ts'
import type { GrowingTree } from './tree/growing-tree.ts'
import { spanRoots } from './tree/proof-plan.ts'
import type { NodeRun } from './store.ts'
import { nodeAtOffset, nodesOfRun, putNode } from './tree/tree-nodes.ts'

const NO_BYTES = new Uint8Array(0)

/** Nodes of an append, as a commit wants them. */
export interface AppendedNodes {
  readonly nodes: readonly TreeNode[]
  readonly nodeRuns: readonly NodeRun[]
}

/**
 * Appends blocks to `tree`, hashing leaves and parents in few kernel calls.
 *
 * @throws SynclineError INVALID_OPERATION when the blocks contradict the prologue of the feed
 */
export function appendBlocks(
  tree: GrowingTree,
  blocks: readonly Uint8Array[],
  prologue: Prologue | null
): AppendedNodes {
  const start = tree.length
  const end = start + blocks.length
  const hashes = leafHashes(blocks)
  const leaf = (block: number): Omit<TreeNode, 'index'> => ({
    size: (blocks[block - start] as Uint8Array).byteLength,
    hash: hashes.subarray(32 * (block - start), 32 * (block - start + 1))
  })
  const runs: NodeRun[] = []
  const turn = prologue !== null && start < prologue.length ? prologue.length : start
  if (turn > end) throw contradiction('the first append must contain all of it')
  for (const index of [
    ...spanRoots(start, turn, FOLD_BLOCKS_MAX),
    ...spanRoots(turn, end, FOLD_BLOCKS_MAX)
  ]) {
    if (firstBlock(index) === turn) checkPrologue(tree, prologue)
    const run = foldSpan(index, leaf)
    const height = depth(index)
    const root = nodeAtOffset(run.bytes, NODE_BYTES * (2 ** height - 1), index)
    if (root === null) throw new SynclineError('BROKEN_INVARIANT', 'a fold without a root')
    runs.push(run)
    tree.append({ ...root, tied: true })
  }
  checkPrologue(tree, prologue)
  if (blocks.length > LOGGED_BLOCKS_MAX) return { nodes: tree.nodes, nodeRuns: runs }
  const below = runs.flatMap(nodesOfRun)
  const indexes = new Set(below.map((node) => node.index))
  return {
    nodes: [...below, ...tree.nodes.filter((node) => !indexes.has(node.index))],
    nodeRuns: []
  }
}

function foldSpan(index: number, leaf: (block: number) => Omit<TreeNode, 'index'>): NodeRun {
  const count = blockCount(index)
  const first = firstBlock(index)
  const nodes = new Uint8Array(NODE_BYTES * (2 * count - 1))
  for (let i = 0; i < count; i++) putNode(nodes, 2 * NODE_BYTES * i, leaf(first + i))
  if (count === 1) return { first: 2 * first, bytes: nodes }
  const lengths = new Uint32Array(count).fill(HELD_LENGTH)
  return { first: 2 * first, bytes: fold(NO_BYTES, new Uint32Array(count), lengths, nodes) }
}

function checkPrologue(tree: GrowingTree, prologue: Prologue | null): void {
  if (prologue === null || tree.length !== prologue.length) return
  if (!equalBytes(tree.hash(), prologue.hash)) throw contradiction('the blocks have another hash')
}

function contradiction(why: string): SynclineError {
  return new SynclineError('INVALID_OPERATION', `the prologue of the feed is fixed: ${why}`)
}
