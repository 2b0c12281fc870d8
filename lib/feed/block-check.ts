/**
 * Hashes held blocks again and follows their nodes up to the roots.
 *
 * @module
 */
import { isSynclineError } from '../errors.ts'
import { leafHashes, parentHash } from '../kernels/fold.ts'
import type { ReadonlyBitmap } from '../primitives/bitmap.ts'
import { endBlock, leftChild, parent, rightChild } from '../primitives/flat-tree.ts'
import type { TreeNode } from '../wire/message.ts'
import { equalBytes } from './bytes.ts'
import { byteOffset, type TreeView } from './tree/tree-view.ts'

/** Blocks looked at together: bounds the nodes that are remembered. */
const WINDOW_BLOCKS = 1024
/** Bytes of blocks read together, unless a single block is larger. */
const WINDOW_BYTES: number = 4 * 1024 * 1024

/** What is checked: a tree whose roots are trusted, the held blocks, and their bytes. */
export interface CheckedFeed {
  readonly tree: TreeView
  readonly have: ReadonlyBitmap
  getBytes(offset: number, byteLength: number): Promise<Uint8Array>
}

/** What {@link checkBlocks} found. */
export interface CheckResult {
  /** Held blocks that were looked at. */
  readonly blocks: number
  /** Those whose bytes or nodes are wrong or missing, ascending. */
  readonly bad: readonly number[]
}

/** Checks the held blocks of `[start, end)`, in bounded memory. */
export async function checkBlocks(
  feed: CheckedFeed,
  start: number,
  end: number,
  signal?: AbortSignal
): Promise<CheckResult> {
  const bad: number[] = []
  let blocks = 0
  for (const [from, to] of feed.have.runs(start, Math.min(end, feed.tree.length))) {
    for (let first = from; first < to; first += WINDOW_BLOCKS) {
      signal?.throwIfAborted()
      const last = Math.min(first + WINDOW_BLOCKS, to)
      blocks += last - first
      await checkWindow(feed, first, last, bad)
    }
  }
  return { blocks, bad }
}

/**
 * The highest parent on the path of `block` whose children do not hash to it, or null if the path is in
 * order.
 */
export async function brokenParent(tree: TreeView, block: number): Promise<number | null> {
  const path = new Paths(tree)
  let broken: number | null = null
  for (let index = parent(2 * block); endBlock(index) <= tree.length; index = parent(index)) {
    if (!(await path.holds(index))) broken = index
  }
  return broken
}

async function checkWindow(
  feed: CheckedFeed,
  start: number,
  end: number,
  bad: number[]
): Promise<void> {
  const paths = new Paths(feed.tree)
  let leaves: TreeNode[] = []
  let byteLength = 0
  const flush = async (): Promise<void> => {
    if (leaves.length > 0) bad.push(...(await checkBytes(feed, leaves)))
    leaves = []
    byteLength = 0
  }
  for (let block = start; block < end; block++) {
    const leaf = (await paths.reaches(2 * block)) ? await feed.tree.nodes.get(2 * block) : null
    if (leaf === null || byteLength + leaf.size > WINDOW_BYTES) await flush()
    if (leaf === null) {
      bad.push(block)
    } else {
      leaves.push(leaf)
      byteLength += leaf.size
    }
  }
  await flush()
}

/** Compares consecutive blocks with their leaves, whose sizes are known to be right. */
async function checkBytes(feed: CheckedFeed, leaves: readonly TreeNode[]): Promise<number[]> {
  const first = (leaves[0] as TreeNode).index / 2
  const byteLength = leaves.reduce((sum, leaf) => sum + leaf.size, 0)
  let bytes: Uint8Array
  try {
    bytes = await feed.getBytes(await byteOffset(feed.tree, first), byteLength)
  } catch (error) {
    if (!isSynclineError(error, 'FEED_DAMAGED')) throw error
    // Some of the bytes are not there: those blocks are bad, the others are not.
    if (leaves.length === 1) return [first]
    const half = leaves.length >>> 1
    const left = await checkBytes(feed, leaves.slice(0, half))
    return [...left, ...(await checkBytes(feed, leaves.slice(half)))]
  }
  const blocks: Uint8Array[] = []
  let at = 0
  for (const { size } of leaves) {
    blocks.push(bytes.subarray(at, at + size))
    at += size
  }
  const hashes = leafHashes(blocks)
  const bad: number[] = []
  leaves.forEach(({ hash }, i) => {
    if (!equalBytes(hashes.subarray(32 * i, 32 * i + 32), hash)) bad.push(first + i)
  })
  return bad
}

/** Remembers which parents hold, so that shared paths are hashed once. */
class Paths {
  readonly #tree: TreeView
  readonly #roots: ReadonlyMap<number, TreeNode>
  readonly #held: Map<number, boolean> = new Map()
  readonly #reached: Map<number, boolean> = new Map()

  constructor(tree: TreeView) {
    this.#tree = tree
    this.#roots = new Map(tree.roots.map((root) => [root.index, root]))
  }

  /** True if every parent from this node up to its root holds. */
  async reaches(index: number): Promise<boolean> {
    const root = this.#roots.get(index)
    if (root !== undefined) return same(await this.#tree.nodes.get(index), root)
    const above = parent(index)
    let reached = this.#reached.get(above)
    if (reached === undefined) {
      reached = (await this.reaches(above)) && (await this.holds(above))
      this.#reached.set(above, reached)
    }
    return reached
  }

  /** True if the children of this parent are stored and hash to it. */
  async holds(index: number): Promise<boolean> {
    let held = this.#held.get(index)
    if (held === undefined) {
      held = await this.#compare(index)
      this.#held.set(index, held)
    }
    return held
  }

  async #compare(index: number): Promise<boolean> {
    const left = await this.#tree.nodes.get(leftChild(index))
    const right = await this.#tree.nodes.get(rightChild(index))
    if (left === null || right === null) return false
    const node = this.#roots.get(index) ?? (await this.#tree.nodes.get(index))
    return same(node, { size: left.size + right.size, hash: parentHash(left, right) })
  }
}

function same(node: TreeNode | null, other: Omit<TreeNode, 'index'>): boolean {
  return node !== null && node.size === other.size && equalBytes(node.hash, other.hash)
}
