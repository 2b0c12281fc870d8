/**
 * Verifies a chunk and turns it into what is to be written.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { fold, NODE_BYTES } from '../kernels/fold.ts'
import { LOGGED_BLOCKS_MAX } from '../limits.ts'
import { blockCount, endBlock, firstBlock } from '../primitives/flat-tree.ts'
import type { ReadonlyBitmap } from '../primitives/bitmap.ts'
import type { TreeNode } from '../wire/message.ts'
import { equalBytes, readUint64 } from './bytes.ts'
import { type ChunkBlocks, HELD } from './feed.ts'
import type { ByteRun, Commit, NodeRun } from './store.ts'
import { nodesOfRun, putNode } from './tree/tree-nodes.ts'
import { byteOffset, type TreeView } from './tree/tree-view.ts'

/** A chunk that matches its root, ready to be stored. */
export interface VerifiedChunk {
  readonly data: readonly ByteRun[]
  readonly nodes: readonly TreeNode[]
  readonly nodeRuns: readonly NodeRun[]
  readonly bits: NonNullable<Commit['bits']>
}

/**
 * Folds a chunk and compares it with the stored root. `stale` if the root, or the leaf of a block that is
 * said to be held, is not stored (any more).
 *
 * @throws SynclineError BAD_ARGUMENT when the arrays do not fit the root
 */
export async function verifyChunk(
  tree: TreeView,
  have: ReadonlyBitmap,
  chunk: ChunkBlocks
): Promise<VerifiedChunk | 'stale' | 'wrong'> {
  const count = chunk.lengths.length
  if (blockCount(chunk.root) !== count || chunk.offsets.length !== count) {
    throw new SynclineError('BAD_ARGUMENT', `${count} blocks for chunk ${chunk.root}`)
  }
  const root = endBlock(chunk.root) <= tree.length ? await tree.nodes.get(chunk.root) : null
  if (root === null) return 'stale'
  const first = firstBlock(chunk.root)
  const held = await heldNodes(tree, first, chunk.lengths)
  if (held === 'stale') return 'stale'
  const nodes = fold(chunk.bytes, chunk.offsets, chunk.lengths, held)
  const top = NODE_BYTES * (count - 1)
  const matches =
    readUint64(nodes, top) === root.size &&
    equalBytes(nodes.subarray(top + 8, top + NODE_BYTES), root.hash)
  if (!matches) return 'wrong'
  const run = { first: 2 * first, bytes: nodes }
  const isSmall = count <= LOGGED_BLOCKS_MAX
  return {
    data: byteRuns(chunk, nodes, await byteOffset(tree, first)),
    nodes: isSmall ? freshNodes(run, chunk) : [],
    nodeRuns: isSmall ? [] : [run],
    bits: bitRuns(chunk.lengths, first, have)
  }
}

/** What is to be written for several chunks, neighbours together. */
export function joinChunks(chunks: readonly VerifiedChunk[]): VerifiedChunk {
  const [only] = chunks
  if (only !== undefined && chunks.length === 1) return only
  const data: { offset: number; parts: Uint8Array[]; end: number }[] = []
  for (const { offset, parts } of chunks.flatMap((chunk) => chunk.data)) {
    const end = parts.reduce((sum, part) => sum + part.byteLength, offset)
    const last = data.at(-1)
    if (last?.end === offset) {
      last.parts.push(...parts)
      last.end = end
    } else data.push({ offset, parts: [...parts], end })
  }
  const bits: { start: number; end: number; drop: boolean }[] = []
  for (const { start, end, drop } of chunks.flatMap((chunk) => chunk.bits)) {
    const last = bits.at(-1)
    if (last?.end === start) last.end = end
    else bits.push({ start, end, drop })
  }
  return {
    data,
    nodes: chunks.flatMap(({ nodes }) => nodes),
    nodeRuns: chunks.flatMap(({ nodeRuns }) => nodeRuns),
    bits
  }
}

/** The stored leaves of the blocks that are held, in the layout of the fold. */
async function heldNodes(
  tree: TreeView,
  first: number,
  lengths: Uint32Array
): Promise<Uint8Array | null | 'stale'> {
  let nodes: Uint8Array | null = null
  for (let i = 0; i < lengths.length; i++) {
    if (lengths[i] !== HELD) continue
    const leaf = await tree.nodes.get(2 * (first + i))
    if (leaf === null) return 'stale'
    nodes ??= new Uint8Array(NODE_BYTES * (2 * lengths.length - 1))
    putNode(nodes, 2 * NODE_BYTES * i, leaf)
  }
  return nodes
}

/** The nodes of a chunk that are not stored yet: all but its root and the leaves of blocks that are held. */
function freshNodes(run: NodeRun, { root, lengths }: ChunkBlocks): TreeNode[] {
  return nodesOfRun(run).filter(
    ({ index }) => index !== root && (index % 2 === 1 || lengths[(index - run.first) / 2] !== HELD)
  )
}

/** Runs between held blocks; neighbours in the feed that are neighbours in memory become one part. */
function byteRuns(
  { bytes, offsets, lengths }: ChunkBlocks,
  nodes: Uint8Array,
  start: number
): ByteRun[] {
  const runs: ByteRun[] = []
  let offset = start
  for (let i = 0; i < lengths.length;) {
    if (lengths[i] === HELD) {
      offset += readUint64(nodes, 2 * NODE_BYTES * i)
      i++
      continue
    }
    const parts: Uint8Array[] = []
    runs.push({ offset, parts })
    while (i < lengths.length && lengths[i] !== HELD) {
      const at = offsets[i] as number
      let end = at
      for (; i < lengths.length && lengths[i] !== HELD && offsets[i] === end; i++) {
        end += lengths[i] as number
      }
      parts.push(bytes.subarray(at, end))
      offset += end - at
    }
  }
  return runs
}

/** The whole chunk in one run, unless a block that was held is not held any longer. */
function bitRuns(lengths: Uint32Array, first: number, have: ReadonlyBitmap): VerifiedChunk['bits'] {
  const bits: { start: number; end: number; drop: boolean }[] = []
  for (let i = 0; i < lengths.length; i++) {
    const block = first + i
    if (lengths[i] === HELD && !have.get(block)) continue
    const last = bits.at(-1)
    if (last?.end === block) last.end = block + 1
    else bits.push({ start: block, end: block + 1, drop: false })
  }
  return bits
}
