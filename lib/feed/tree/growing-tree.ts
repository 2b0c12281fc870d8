/**
 * The right edge of a Merkle tree: appends subtrees and folds them into parents.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { blockCount, firstBlock, parent, sibling } from '../../primitives/flat-tree.ts'
import type { TreeNode } from '../../wire/message.ts'
import { parentHash, treeHash } from '../../kernels/fold.ts'

/**
 * A node on its way to be trusted.
 *
 * A parent hash covers only the sum of its children's sizes, so two children that both came from a
 * peer could have bytes moved from one to the other. `tied` tells whether the size is as sure as the
 * hash: true for what was computed here (leaves of bytes, parents) or was trusted before, for signed
 * roots, and for the sibling of such a node.
 */
export interface FoldNode extends TreeNode {
  tied: boolean
}

/** A node on its way, from one that stays as it is. Its fields one by one: a spread costs twenty times as much here. */
export function foldNode({ index, size, hash }: TreeNode, tied: boolean): FoldNode {
  return { index, size, hash, tied }
}

/** Computes the parent of two siblings, in either order, and ties them to each other. */
export function foldParent(a: FoldNode, b: FoldNode): FoldNode {
  if (a.tied || b.tied) {
    a.tied = true
    b.tied = true
  }
  const [left, right] = a.index < b.index ? [a, b] : [b, a]
  const size = left.size + right.size
  if (!Number.isSafeInteger(size)) {
    throw new SynclineError('INVALID_PROOF', `size of node ${parent(a.index)} is too large`)
  }
  return { index: parent(a.index), size, hash: parentHash(left, right), tied: true }
}

/** A tree of `length` blocks that grows at its end. */
export class GrowingTree {
  readonly fork: number
  readonly roots: FoldNode[]
  /** Every node that was appended or folded since the start. */
  readonly nodes: FoldNode[] = []
  length: number
  byteLength: number
  /** The last hash, and the length that it belongs to. */
  #hash: Uint8Array | null = null
  #hashed = 0

  /** Starts from the trusted roots of a tree; they are not changed. */
  constructor(fork: number, roots: readonly TreeNode[]) {
    this.fork = fork
    this.roots = roots.map((root) => foldNode(root, true))
    this.length = roots.reduce((sum, root) => sum + blockCount(root.index), 0)
    this.byteLength = roots.reduce((sum, root) => sum + root.size, 0)
  }

  /** Appends a subtree that begins where the tree ends, and folds it with its left siblings. */
  append(node: FoldNode): void {
    if (firstBlock(node.index) !== this.length) {
      throw new SynclineError(
        'INVALID_PROOF',
        `node ${node.index} does not follow ${this.length}`,
        {
          node: node.index
        }
      )
    }
    this.length += blockCount(node.index)
    this.byteLength += node.size
    this.nodes.push(node)
    let top = node
    let left = this.roots.at(-1)
    while (left !== undefined && sibling(top.index) === left.index) {
      top = foldParent(left, top)
      this.nodes.push(top)
      this.roots.pop()
      left = this.roots.at(-1)
    }
    this.roots.push(top)
  }

  /** The hash over all roots, which is what is signed. It is not the caller's. */
  hash(): Uint8Array {
    if (this.#hash === null || this.#hashed !== this.length) {
      this.#hash = treeHash(this.roots)
      this.#hashed = this.length
    }
    return this.#hash
  }

  /** A tree that grows on from here by itself. */
  branch(): GrowingTree {
    return new GrowingTree(this.fork, this.roots)
  }
}
