/**
 * Turns blocks into the nodes that append them to a tree.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { FOLD_BLOCKS_MAX, foldBlocks, NODE_BYTES } from '../kernels/fold.ts'
import { LOGGED_BLOCKS_MAX } from '../limits.ts'
import { endBlock, firstBlock, parent } from '../primitives/flat-tree.ts'
import type { Prologue } from '../wire/manifest.ts'
import type { TreeNode } from '../wire/message.ts'
import { equalBytes } from './bytes.ts'
import { foldLeaves } from './leaf-fold.ts'
import type { GrowingTree } from './tree/growing-tree.ts'
import { spanRoots } from './tree/proof-plan.ts'
import type { NodeRun } from './store.ts'
import { nodeAtOffset, nodesOfRun, putNode } from './tree/tree-nodes.ts'

/** Bytes folded in one call, about: what was just copied to the kernel is then still in the processor's cache. */
const FOLD_BYTES: number = 512 * 1024
/** Leaves folded in one call: 4,096 with their parents are 320 KiB. */
const LEAVES_FOLDED_MAX = 4096

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
  return grow(tree, blocks.length, foldedAtOnce(blocks), prologue, (start, end, target) =>
    foldBlocks(blocks.slice(start, end), target)
  )
}

/**
 * As {@link appendBlocks} for blocks of which only the leaves are here, 40 bytes each.
 *
 * @throws SynclineError INVALID_OPERATION when the leaves contradict the prologue of the feed
 */
export function appendLeaves(
  tree: GrowingTree,
  leaves: Uint8Array,
  prologue: Prologue | null
): AppendedNodes {
  const count = leaves.byteLength / NODE_BYTES
  return grow(tree, count, LEAVES_FOLDED_MAX, prologue, (start, end, target) =>
    target.set(foldLeaves(leaves.subarray(NODE_BYTES * start, NODE_BYTES * end)))
  )
}

/** Appends `count` blocks, of which `fold` makes the nodes of a subtree over blocks `[start, end)` of them. */
function grow(
  tree: GrowingTree,
  count: number,
  foldMax: number,
  prologue: Prologue | null,
  foldTo: (start: number, end: number, target: Uint8Array) => void
): AppendedNodes {
  const start = tree.length
  const end = start + count
  const turn = prologue !== null && start < prologue.length ? prologue.length : start
  if (turn > end) throw contradiction('the first append must contain all of it')
  // Of the nodes from the first leaf to the last one, those that are not complete yet stay blank.
  const run = { first: 2 * start, bytes: new Uint8Array(NODE_BYTES * (2 * count - 1)) }
  for (const index of [...spanRoots(start, turn, foldMax), ...spanRoots(turn, end, foldMax)]) {
    const first = firstBlock(index)
    if (first === turn) checkPrologue(tree, prologue)
    const nodes = run.bytes.subarray(NODE_BYTES * (2 * first - run.first))
    foldTo(first - start, endBlock(index) - start, nodes)
    const root = nodeAtOffset(nodes, NODE_BYTES * (index - 2 * first), index)
    if (root === null) throw new SynclineError('BROKEN_INVARIANT', 'a fold without a root')
    tree.append({ ...root, tied: true })
  }
  checkPrologue(tree, prologue)
  for (const node of tree.nodes) {
    if (node.index >= run.first) putNode(run.bytes, NODE_BYTES * (node.index - run.first), node)
  }
  if (count > LOGGED_BLOCKS_MAX) {
    // Should the run be lost with the power, the roots and all that older blocks hang from are still there.
    const nodes = tree.nodes.filter(
      (node) =>
        node.index < run.first || parent(node.index) < run.first || tree.roots.includes(node)
    )
    return { nodes, nodeRuns: [run] }
  }
  const left = tree.nodes.filter(({ index }) => index < run.first)
  return { nodes: [...nodesOfRun(run), ...left], nodeRuns: [] }
}

/** The most blocks of one fold, a power of two. */
function foldedAtOnce(blocks: readonly Uint8Array[]): number {
  const byteLength = blocks.reduce((sum, block) => sum + block.byteLength, 0)
  let count = 1
  while (count < FOLD_BLOCKS_MAX && 2 * count * byteLength <= FOLD_BYTES * blocks.length) count *= 2
  return count
}

function checkPrologue(tree: GrowingTree, prologue: Prologue | null): void {
  if (prologue === null || tree.length !== prologue.length) return
  if (!equalBytes(tree.hash(), prologue.hash)) throw contradiction('the blocks have another hash')
}

function contradiction(why: string): SynclineError {
  return new SynclineError('INVALID_OPERATION', `the prologue of the feed is fixed: ${why}`)
}
