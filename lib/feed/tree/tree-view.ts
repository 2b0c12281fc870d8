/**
 * Positions in a tree: byte offsets, seeks, missing and trusted nodes.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import {
  covers,
  depth,
  endBlock,
  leftChild,
  parent,
  rightChild
} from '../../primitives/flat-tree.ts'
import type { TreeNode } from '../../wire/message.ts'
import type { TrustedNode } from '../feed.ts'

/** A tree at one moment. */
export interface TreeView {
  readonly length: number
  readonly byteLength: number
  readonly roots: readonly TreeNode[]
  readonly nodes: NodeSource
}

/** Where nodes come from. */
export interface NodeSource {
  get(index: number): Promise<TreeNode | null>
  /** The node if it is in memory, so that long paths cost no promises; undefined if `get` must tell. */
  peek?(index: number): TreeNode | undefined
  /** Bytes below the node if it is in memory. */
  sizeOf?(index: number): number | undefined
}

/**
 * Bytes of all blocks before `block`, which may be the length.
 *
 * @throws SynclineError BLOCK_NOT_AVAILABLE when a node on the way is not stored.
 */
export async function byteOffset(tree: TreeView, block: number): Promise<number> {
  if (block === tree.length) return tree.byteLength
  let offset = 0
  for (const root of tree.roots) {
    if (!covers(root.index, block)) {
      offset += root.size
      continue
    }
    let index = root.index
    for (let height = depth(index); height > 0; height--) {
      const left = leftChild(index, height)
      if (covers(left, block)) {
        index = left
      } else {
        offset += sizeInMemory(tree, left) ?? (await requireNode(tree, left)).size
        index = rightChild(index, height)
      }
    }
    return offset
  }
  throw new SynclineError('BROKEN_INVARIANT', `block ${block} is beyond ${tree.length}`)
}

function sizeInMemory({ nodes }: TreeView, index: number): number | undefined {
  return nodes.sizeOf === undefined ? nodes.peek?.(index)?.size : nodes.sizeOf(index)
}

/** The stored node at `index`. @throws SynclineError BLOCK_NOT_AVAILABLE when there is none. */
export async function requireNode(tree: TreeView, index: number): Promise<TreeNode> {
  const node = await tree.nodes.get(index)
  if (node !== null) return node
  throw noNode(index)
}

/** Says that a node is not stored. */
export function noNode(index: number): SynclineError {
  return new SynclineError('BLOCK_NOT_AVAILABLE', `tree node ${index} is not stored`, {
    node: index
  })
}

/** The stored node, or the place below it, to which a byte position leads. */
export interface SeekTarget {
  /** Flat index: a leaf when the position was found, a parent when nodes below it are missing. */
  readonly index: number
  /** Bytes from the start of the node. */
  readonly offset: number
}

/**
 * Follows a byte position down the roots; null beyond the end. A position between two blocks is the
 * start of the later one, even if that is empty, as in hypercore.
 */
export async function seekTree(tree: TreeView, bytes: number): Promise<SeekTarget | null> {
  if (bytes === 0) return { index: 0, offset: 0 }
  let rest = bytes
  for (const root of tree.roots) {
    if (rest === root.size) return { index: 2 * endBlock(root.index), offset: 0 }
    if (rest < root.size) return seekBelow(tree, root.index, rest)
    rest -= root.size
  }
  return null
}

async function seekBelow(tree: TreeView, root: number, bytes: number): Promise<SeekTarget> {
  let index = root
  let rest = bytes
  for (let height = depth(index); height > 0; height--) {
    const left = await tree.nodes.get(leftChild(index, height))
    if (left === null) break
    if (rest === left.size) return { index: 2 * endBlock(left.index), offset: 0 }
    if (rest < left.size) {
      index = left.index
    } else {
      rest -= left.size
      index = rightChild(index, height)
    }
  }
  return { index, offset: rest }
}

/** Parents to climb from a node to the first stored one; 0 if it reaches beyond the length. */
export async function countMissing(tree: TreeView, index: number): Promise<number> {
  let count = 0
  for (let at = index; endBlock(at) <= tree.length; at = parent(at)) {
    if ((await tree.nodes.get(at)) !== null) break
    count++
  }
  return count
}

/** Stored nodes on the path from `block` up to its root, in ascending height. */
export async function storedPath(tree: TreeView, block: number): Promise<TrustedNode[]> {
  const path: TrustedNode[] = []
  for (let index = 2 * block; endBlock(index) <= tree.length; index = parent(index)) {
    const size = sizeInMemory(tree, index) ?? (await tree.nodes.get(index))?.size
    if (size !== undefined) path.push({ index, size })
  }
  return path
}
