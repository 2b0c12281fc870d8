/**
 * Finds out where a remote that rewrote its feed parts from what we hold.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import {
  depth,
  firstBlock,
  leftChild,
  parent,
  rightChild,
  sibling
} from '../primitives/flat-tree.ts'
import type { BlockRequest, Proof, TreeNode } from '../wire/message.ts'
import { equalBytes } from './bytes.ts'
import type { Reorg } from './feed.ts'
import type { FoldNode } from './tree/growing-tree.ts'
import { checkProof, foldParts } from './tree/proof-fold.ts'
import { copyNode, type VerifiedTree } from './tree/proof-verifier.ts'
import type { TreeView } from './tree/tree-view.ts'

/** Takes the new tree over, keeping `ancestors` blocks; null if it became stale. */
export type CommitReorg = (
  tree: VerifiedTree,
  nodes: readonly TreeNode[],
  ancestors: number
) => Promise<number | null>

/** One walk down to the first difference between a verified new tree and the one we hold. */
export class StoredReorg implements Reorg {
  readonly fork: number
  readonly length: number
  readonly #ours: TreeView
  readonly #theirs: VerifiedTree
  readonly #commit: CommitReorg
  /** Nodes of the new tree; only the tied ones are kept in the end. */
  readonly #nodes: Map<number, FoldNode>
  /** The lowest node known to differ, or null when all that we hold is in the new tree. */
  #difference: FoldNode | null = null
  #next: BlockRequest | null = null

  private constructor(ours: TreeView, theirs: VerifiedTree, commit: CommitReorg) {
    this.fork = theirs.tree.fork
    this.length = theirs.tree.length
    this.#ours = ours
    this.#theirs = theirs
    this.#commit = commit
    this.#nodes = new Map(theirs.tree.nodes.map((node) => [node.index, node]))
  }

  /** Compares the roots and descends as far as the upgrade itself allows. */
  static async begin(
    ours: TreeView,
    theirs: VerifiedTree,
    commit: CommitReorg
  ): Promise<StoredReorg> {
    const reorg = new StoredReorg(ours, theirs, commit)
    for (const root of theirs.tree.roots) {
      const stored = await ours.nodes.get(root.index)
      if (stored !== null && equalBytes(stored.hash, root.hash)) continue
      reorg.#difference = root
      break
    }
    await reorg.#descend()
    return reorg
  }

  get next(): BlockRequest | null {
    return this.#next
  }

  async accept(proof: Proof): Promise<void> {
    const wanted = this.#next
    const difference = this.#difference
    if (wanted === null || difference === null) {
      throw new SynclineError('INVALID_OPERATION', 'nothing more is needed of this reorg')
    }
    checkProof(proof)
    if (proof.fork !== this.fork || proof.hash?.index !== wanted.index) {
      throw new SynclineError('INVALID_PROOF', `the proof is not for node ${wanted.index}`)
    }
    const { root, nodes } = foldParts(proof)
    if (root === null || root.index !== difference.index) {
      throw new SynclineError(
        'INVALID_PROOF',
        `the proof does not lead to node ${difference.index}`
      )
    }
    const sized = !difference.tied || root.size === difference.size
    if (!sized || !equalBytes(root.hash, difference.hash)) {
      throw new SynclineError('INVALID_CHECKSUM', `node ${root.index} has another hash`, {
        node: root.index
      })
    }
    for (const node of nodes) {
      if (node.tied || !this.#nodes.has(node.index)) {
        this.#nodes.set(node.index, { ...copyNode(node), tied: node.tied })
      }
    }
    // The same node, but with a size that is as sure as its hash.
    this.#difference = root
    this.#tieSibling(root)
    await this.#descend()
  }

  async commit(): Promise<number | null> {
    if (this.#next !== null) {
      throw new SynclineError('INVALID_OPERATION', 'the first difference is not found yet')
    }
    const start = this.#difference === null ? this.length : firstBlock(this.#difference.index)
    const nodes = [...this.#nodes.values()].filter((node) => node.tied).map(copyNode)
    return this.#commit(this.#theirs, nodes, Math.min(start, this.#ours.length))
  }

  /** What a parent of sure size holds beside a child of sure size is sure too. */
  #tieSibling({ index, size }: FoldNode): void {
    const above = this.#nodes.get(parent(index))
    const beside = this.#nodes.get(sibling(index))
    if (above === undefined || beside === undefined || !above.tied) return
    this.#nodes.set(beside.index, { ...beside, size: above.size - size, tied: true })
  }

  /** Goes down to the first child that differs, until a leaf, our end, or nodes that are to be asked for. */
  async #descend(): Promise<void> {
    this.#next = null
    while (this.#difference !== null) {
      const { index } = this.#difference
      const height = depth(index)
      if (height === 0 || firstBlock(index) >= this.#ours.length) return
      const left = this.#nodes.get(leftChild(index, height))
      const right = this.#nodes.get(rightChild(index, height))
      if (left === undefined || right === undefined) {
        this.#next = { index: 2 * firstBlock(index), nodes: height }
        return
      }
      const ours = await this.#ours.nodes.get(left.index)
      if (ours === null || !equalBytes(ours.hash, left.hash)) {
        this.#difference = left
        continue
      }
      // Two leaves of a peer's cannot vouch for each other's size, but one that is ours can.
      const size = this.#difference.size - ours.size
      this.#nodes.set(left.index, { ...ours, tied: true })
      this.#difference = { ...right, size, tied: true }
      this.#nodes.set(right.index, this.#difference)
    }
  }
}
