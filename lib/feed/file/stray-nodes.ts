/**
 * Nodes in the file `tree` that no commit vouches for: dense ones reach it before their entry reaches the log, and a write
 * may end within a node.
 *
 * @module
 */
import { NODE_BYTES, parentHash } from '../../kernels/fold.ts'
import type { ReadonlyBitmap } from '../../primitives/bitmap.ts'
import { depth, endBlock, firstBlock, leftChild, rightChild } from '../../primitives/flat-tree.ts'
import type { TreeNode } from '../../wire/message.ts'
import { equalBytes } from '../bytes.ts'
import type { Store } from '../store.ts'
import { TreeNodes } from '../tree/tree-nodes.ts'
import type { FeedFiles } from './feed-files.ts'
import { crossing, treeBytes } from './unfolded.ts'

/** Flat indexes from `start` up to `end`. */
export type NodeRange = readonly [start: number, end: number]

/** Nodes read in one piece. */
const PIECE_NODES = 4096

/** Where {@link findStrays} looks. */
export interface SweptTree {
  readonly store: Store
  readonly length: number
  readonly roots: readonly TreeNode[]
  /** Held blocks whose nodes are known to be right: not looked at below a node that has only such. */
  readonly sound: ReadonlyBitmap
  /** No node is stored at this flat index or behind. */
  readonly end: number
}

/**
 * Goes down from the roots. Two nodes count if they hash to their parent and that counts; where they do not, all that is
 * stored below the parent is stray, unless blocks below it are held, which an audit has to judge.
 */
export async function findStrays(tree: SweptTree): Promise<NodeRange[]> {
  const { store, length, roots, sound, end } = tree
  const nodes = new TreeNodes(store, length)
  const strays: NodeRange[] = []
  const trusted = [...roots]
  for (let node = trusted.pop(); node !== undefined; node = trusted.pop()) {
    const { index } = node
    const height = depth(index)
    const first = firstBlock(index, height)
    const last = endBlock(index)
    if (height === 0 || 2 * first >= end || sound.hasAll(first, last)) continue
    const left = await nodes.get(leftChild(index, height))
    const right = await nodes.get(rightChild(index, height))
    if (left !== null && right !== null && isParent(node, left, right)) {
      trusted.push(right, left)
    } else if (!sound.hasAny(first, last)) {
      for (const range of [
        [2 * first, Math.min(index, end)],
        [index + 1, Math.min(2 * last - 1, end)]
      ] as const) {
        if (await isStored(store, range)) strays.push(range)
      }
    }
  }
  nodes.clear()
  return strays
}

/** Makes stray nodes blank. */
export async function eraseStrays(
  { tree }: FeedFiles,
  strays: readonly NodeRange[]
): Promise<void> {
  for (const [start, end] of strays) {
    for (let at = start; at < end; at += PIECE_NODES) {
      const byteLength = NODE_BYTES * (Math.min(at + PIECE_NODES, end) - at)
      const bytes = await tree.read(NODE_BYTES * at, byteLength)
      // Holes stay holes.
      if (bytes !== null && !isBlank(bytes)) await tree.write([bytes.fill(0)], NODE_BYTES * at)
    }
  }
}

/**
 * Removes nodes that a feed of `length` blocks has not, and half a node at the end: they would come to life when the feed
 * and the file grow over them.
 */
export async function cutStrays({ tree }: FeedFiles, length: number): Promise<void> {
  const size = (await tree.size()) ?? 0
  const kept = Math.min(size - (size % NODE_BYTES), treeBytes(length))
  if (size > kept) await tree.truncate(kept)
  const blank = new Uint8Array(NODE_BYTES)
  for (const index of crossing(length)) {
    const bytes = await tree.read(NODE_BYTES * index, NODE_BYTES)
    if (bytes !== null && !isBlank(bytes)) await tree.write([blank], NODE_BYTES * index)
  }
}

function isParent({ size, hash }: TreeNode, left: TreeNode, right: TreeNode): boolean {
  return left.size + right.size === size && equalBytes(parentHash(left, right), hash)
}

async function isStored(store: Store, [start, end]: NodeRange): Promise<boolean> {
  for (let at = start; at < end; at += PIECE_NODES) {
    if (!isBlank(await store.getNodeRun(at, Math.min(PIECE_NODES, end - at)))) return true
  }
  return false
}

const ZEROS: Uint8Array = new Uint8Array(NODE_BYTES * PIECE_NODES)

function isBlank(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, ZEROS.subarray(0, bytes.byteLength)) === 0
}
