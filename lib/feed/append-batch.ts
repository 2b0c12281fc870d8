/**
 * Turns blocks into the nodes that append them to a tree.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { fold, FOLD_BLOCKS_MAX, HELD_LENGTH, leafHashes, NODE_BYTES } from '../kernels/fold.ts'
import { LOGGED_BLOCKS_MAX } from '../limits.ts'
import { blockCount, firstBlock } from '../primitives/flat-tree.ts'
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
  const turn = prologue !== null && start < prologue.length ? prologue.length : start
  if (turn > end) throw contradiction('the first append must contain all of it')
  // Of the nodes from the first leaf to the last one, those that are not complete yet stay blank.
  const run = { first: 2 * start, bytes: leafNodes(blocks) }
  for (const index of [
    ...spanRoots(start, turn, FOLD_BLOCKS_MAX),
    ...spanRoots(turn, end, FOLD_BLOCKS_MAX)
  ]) {
    if (firstBlock(index) === turn) checkPrologue(tree, prologue)
    foldBelow(run, index)
    const root = nodeAtOffset(run.bytes, NODE_BYTES * (index - run.first), index)
    if (root === null) throw new SynclineError('BROKEN_INVARIANT', 'a fold without a root')
    tree.append({ ...root, tied: true })
  }
  checkPrologue(tree, prologue)
  for (const node of tree.nodes) {
    if (node.index >= run.first) putNode(run.bytes, NODE_BYTES * (node.index - run.first), node)
  }
  // Should the run be lost with the power, all nodes that older blocks hang from are still there.
  if (blocks.length > LOGGED_BLOCKS_MAX) return { nodes: tree.nodes, nodeRuns: [run] }
  const left = tree.nodes.filter(({ index }) => index < run.first)
  return { nodes: [...nodesOfRun(run), ...left], nodeRuns: [] }
}

/** The leaves of consecutive blocks as dense nodes, with room for the parents between them. */
function leafNodes(blocks: readonly Uint8Array[]): Uint8Array {
  const hashes = leafHashes(blocks)
  const nodes = new Uint8Array(NODE_BYTES * (2 * blocks.length - 1))
  const from = new Uint32Array(hashes.buffer, hashes.byteOffset)
  const to = new Uint32Array(nodes.buffer)
  const size = new DataView(nodes.buffer)
  for (let i = 0; i < blocks.length; i++) {
    size.setUint32(2 * NODE_BYTES * i, (blocks[i] as Uint8Array).byteLength, true)
    for (let word = 0; word < 8; word++) to[20 * i + 2 + word] = from[8 * i + word] as number
  }
  return nodes
}

/** Fills in the nodes between the leaves below the node `index`. */
function foldBelow({ first, bytes }: NodeRun, index: number): void {
  const count = blockCount(index)
  if (count === 1) return
  const from = NODE_BYTES * (2 * firstBlock(index) - first)
  const nodes = bytes.subarray(from, from + NODE_BYTES * (2 * count - 1))
  const lengths = new Uint32Array(count).fill(HELD_LENGTH)
  nodes.set(fold(NO_BYTES, new Uint32Array(count), lengths, nodes))
}

function checkPrologue(tree: GrowingTree, prologue: Prologue | null): void {
  if (prologue === null || tree.length !== prologue.length) return
  if (!equalBytes(tree.hash(), prologue.hash)) throw contradiction('the blocks have another hash')
}

function contradiction(why: string): SynclineError {
  return new SynclineError('INVALID_OPERATION', `the prologue of the feed is fixed: ${why}`)
}
