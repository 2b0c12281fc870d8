/**
 * Hashes what a live Hypercore holds, again.
 *
 * @module
 */
import { leafHashes, parentHash } from '../../kernels/fold.ts'
import { CHUNK_BLOCKS_MAX } from '../../limits.ts'
import * as flat from '../../primitives/flat-tree.ts'
import type { ReadonlyBitmap } from '../../primitives/bitmap.ts'
import type { TreeNode } from '../../wire/message.ts'
import { equalBytes } from '../bytes.ts'

/** Blocks whose bytes are in memory at a time: at 64 KiB each 4 MiB. */
const BLOCKS_AT_ONCE = 64

/** What an audit reads. */
export interface AuditSource {
  readonly length: number
  /** Roots whose signature was verified. */
  readonly roots: readonly TreeNode[]
  readonly have: ReadonlyBitmap
  readNodes(indexes: readonly number[]): Promise<(TreeNode | null)[]>
  readBlocks(indexes: readonly number[]): Promise<(Uint8Array | null)[]>
}

/**
 * Yields for each held block, ascending, whether its bytes and all nodes between it and its root are in order.
 *
 * Memory: the nodes of {@link CHUNK_BLOCKS_MAX} blocks.
 */
export async function* auditBlocks(
  source: AuditSource
): AsyncIterable<readonly [index: number, good: boolean]> {
  for (const root of source.roots) {
    const stored = await source.readNodes([root.index])
    const top = stored[0] ?? null
    yield* auditBelow(source, top !== null && equalNodes(top, root) ? root : null, root.index)
  }
}

/** `node` is the node at `index`, or null if it is not trusted. */
async function* auditBelow(
  source: AuditSource,
  node: TreeNode | null,
  index: number
): AsyncIterable<readonly [number, boolean]> {
  const start = flat.firstBlock(index)
  const end = flat.endBlock(index)
  if (!source.have.hasAny(start, end)) return
  if (end - start <= CHUNK_BLOCKS_MAX) {
    yield* auditChunk(source, node, index)
    return
  }
  const children = [flat.leftChild(index), flat.rightChild(index)]
  const good = trustedChildren(node, await source.readNodes(children))
  for (const [i, child] of children.entries()) yield* auditBelow(source, good[i] ?? null, child)
}

async function* auditChunk(
  source: AuditSource,
  top: TreeNode | null,
  index: number
): AsyncIterable<readonly [number, boolean]> {
  const start = flat.firstBlock(index)
  const end = flat.endBlock(index)
  const leaves = await trustedLeaves(source, top, index)
  const held: number[] = []
  for (const [from, to] of source.have.runs(start, end)) {
    for (let block = from; block < to; block++) held.push(block)
  }
  for (let i = 0; i < held.length; i += BLOCKS_AT_ONCE) {
    const part = held.slice(i, i + BLOCKS_AT_ONCE)
    const blocks = await source.readBlocks(part)
    const hashes = leafHashes(blocks.map((block) => block ?? new Uint8Array()))
    for (const [j, block] of part.entries()) {
      const leaf = leaves.get(2 * block)
      const bytes = blocks[j] ?? null
      const good =
        leaf !== undefined &&
        bytes !== null &&
        leaf.size === bytes.byteLength &&
        equalBytes(leaf.hash, hashes.subarray(32 * j, 32 * j + 32))
      yield [block, good]
    }
  }
}

/** The stored leaves below a node that hash up to it. */
async function trustedLeaves(
  source: AuditSource,
  top: TreeNode | null,
  index: number
): Promise<Map<number, TreeNode>> {
  const leaves: Map<number, TreeNode> = new Map()
  if (top === null) return leaves
  const first = 2 * flat.firstBlock(index)
  const indexes = Array.from({ length: 2 * flat.blockCount(index) - 1 }, (_, i) => first + i)
  const nodes = await source.readNodes(indexes)
  const queue: TreeNode[] = [top]
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    if (node.index % 2 === 0) {
      leaves.set(node.index, node)
      continue
    }
    const left = nodes[flat.leftChild(node.index) - first] ?? null
    const right = nodes[flat.rightChild(node.index) - first] ?? null
    for (const child of trustedChildren(node, [left, right])) if (child) queue.push(child)
  }
  return leaves
}

function trustedChildren(
  node: TreeNode | null,
  children: readonly (TreeNode | null)[]
): readonly (TreeNode | null)[] {
  const [left, right] = children
  if (node === null || !left || !right) return []
  const parent = { index: node.index, size: left.size + right.size, hash: parentHash(left, right) }
  return equalNodes(parent, node) ? children : []
}

function equalNodes(a: TreeNode, b: TreeNode): boolean {
  return a.size === b.size && equalBytes(a.hash, b.hash)
}
