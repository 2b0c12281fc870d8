/**
 * Proves blocks whose bytes are at their place already, by their leaves.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { FOLD_BLOCKS_MAX, NODE_BYTES } from '../kernels/fold.ts'
import { LOGGED_BLOCKS_MAX } from '../limits.ts'
import { depth, endBlock, firstBlock, sibling } from '../primitives/flat-tree.ts'
import type { TreeNode } from '../wire/message.ts'
import { equalBytes } from './bytes.ts'
import type { AdoptedBlocks } from './feed.ts'
import { foldLeaves } from './leaf-fold.ts'
import type { NodeRun } from './store.ts'
import { type FoldNode, foldParent } from './tree/growing-tree.ts'
import { spanRoots } from './tree/proof-plan.ts'
import { nodeAtOffset, nodesOfRun } from './tree/tree-nodes.ts'
import type { TreeView } from './tree/tree-view.ts'

/** Blocks that are what the tree says, ready to be stored. */
export interface Adoption {
  readonly start: number
  readonly end: number
  /** Nodes that have to be stored before the runs, which hang from them. */
  readonly nodes: readonly TreeNode[]
  readonly nodeRuns: readonly NodeRun[]
}

/**
 * Folds leaves up to stored nodes and compares. `stale` if a node on the way is neither stored nor given.
 *
 * @throws SynclineError BAD_ARGUMENT when there are no leaves, too many, half ones, or no such start
 */
export async function verifyLeaves(
  tree: TreeView,
  { start, leaves, path = [] }: AdoptedBlocks
): Promise<Adoption | 'stale' | 'wrong'> {
  const count = leaves.byteLength / NODE_BYTES
  const isCount = Number.isInteger(count) && count >= 1 && count <= FOLD_BLOCKS_MAX
  if (!isCount || !Number.isSafeInteger(start) || start < 0) {
    throw new SynclineError('BAD_ARGUMENT', `${count} leaves to adopt from block ${start} on`)
  }
  const end = start + count
  if (end > tree.length) return 'stale'
  const nodeRuns: NodeRun[] = []
  const folded = new Map<number, FoldNode>()
  for (const index of spanRoots(start, end)) {
    const first = firstBlock(index)
    const from = NODE_BYTES * (first - start)
    const bytes = foldLeaves(leaves.subarray(from, NODE_BYTES * (endBlock(index) - start)))
    const root = nodeAtOffset(bytes, NODE_BYTES * (index - 2 * first), index)
    if (root === null) return 'wrong'
    folded.set(index, { ...root, tied: true })
    nodeRuns.push({ first: 2 * first, bytes })
  }
  const nodes = await climb(tree, folded, new Map(path.map((node) => [node.index, node])))
  if (typeof nodes === 'string') return nodes
  if (count > LOGGED_BLOCKS_MAX) return { start, end, nodes, nodeRuns }
  return { start, end, nodes: [...nodeRuns.flatMap(nodesOfRun), ...nodes], nodeRuns: [] }
}

/**
 * Folds nodes with each other and with those given, from the lowest on, up to stored ones that they are compared with.
 * Returns those on the way, which hang from a stored one now.
 */
async function climb(
  tree: TreeView,
  folded: Map<number, FoldNode>,
  given: ReadonlyMap<number, TreeNode>
): Promise<FoldNode[] | 'stale' | 'wrong'> {
  const nodes: FoldNode[] = []
  for (let node = lowest(folded); node !== undefined; node = lowest(folded)) {
    folded.delete(node.index)
    const stored = await tree.nodes.get(node.index)
    if (stored !== null) {
      if (stored.size !== node.size || !equalBytes(stored.hash, node.hash)) return 'wrong'
      continue
    }
    const beside = folded.get(sibling(node.index)) ?? siblingOf(node, given)
    if (beside === null) return 'stale'
    if (beside.size < 0 || !Number.isSafeInteger(node.size + beside.size)) return 'wrong'
    folded.delete(beside.index)
    nodes.push(node, beside)
    const above = foldParent(node, beside)
    if (endBlock(above.index) > tree.length) return 'stale'
    folded.set(above.index, above)
  }
  return nodes
}

function lowest(nodes: ReadonlyMap<number, FoldNode>): FoldNode | undefined {
  let best: FoldNode | undefined
  for (const node of nodes.values()) {
    if (best === undefined || depth(node.index) < depth(best.index)) best = node
  }
  return best
}

/** The sibling that was given. Whoever proved it may have moved bytes between the two, and ours is known now. */
function siblingOf(node: FoldNode, given: ReadonlyMap<number, TreeNode>): FoldNode | null {
  const beside = given.get(sibling(node.index))
  if (beside === undefined) return null
  const claimed = given.get(node.index)?.size ?? node.size
  return { ...beside, size: beside.size + claimed - node.size, tied: false }
}
