/**
 * Proofs for all blocks of a chunk out of its folded nodes.
 *
 * @module
 */
import * as flat from '../../primitives/flat-tree.ts'
import type { TreeNode } from '../../wire/message.ts'
import { readUint64 } from '../bytes.ts'
import { type ChunkBlocks, HELD } from '../feed.ts'
import { asBuffer } from './proof.ts'
import type { RawProof } from './hypercore-like.ts'

const NODE_BYTES = 40

/**
 * Yields the proofs of a chunk in waves: those of one wave may be applied at once, after the wave before.
 *
 * Each climbs only as far as the first node that an earlier wave brought as a sibling: the first
 * block to the root of the chunk, block `o` of the chunk by as many parents as `o` has trailing zero
 * bits, after the block with `o`'s lowest set bit cleared. So no parent is hashed or stored twice.
 * A held block that others climb past brings its nodes by a hash proof instead.
 *
 * `folded` holds the 40-byte nodes below and with the root, in flat order.
 */
export function* chunkProofs(chunk: ChunkBlocks, folded: Uint8Array): Iterable<RawProof[]> {
  const count = chunk.lengths.length
  const waves: RawProof[][] = []
  for (let offset = 0; offset < count; offset++) {
    const climb = trailingZeros(offset, count)
    const held = chunk.lengths[offset] === HELD
    if (held && climb === 0) continue
    const proof = held
      ? hashProof(chunk, folded, offset, climb)
      : blockProof(chunk, folded, offset, climb)
    const wave = bitCount(offset)
    while (waves.length <= wave) waves.push([])
    waves[wave]?.push(proof)
  }
  yield* waves
}

function blockProof(
  chunk: ChunkBlocks,
  folded: Uint8Array,
  offset: number,
  climb: number
): RawProof {
  const from = chunk.offsets[offset] ?? 0
  const value = chunk.bytes.subarray(from, from + (chunk.lengths[offset] ?? 0))
  const index = flat.firstBlock(chunk.root) + offset
  const nodes = siblings(chunk, folded, offset, climb)
  return { ...empty(chunk.fork), block: { index, value: asBuffer(value), nodes } }
}

function hashProof(
  chunk: ChunkBlocks,
  folded: Uint8Array,
  offset: number,
  climb: number
): RawProof {
  const leaf = node(chunk, folded, 2 * offset)
  const nodes = [leaf, ...siblings(chunk, folded, offset, climb)]
  return { ...empty(chunk.fork), hash: { index: leaf.index, nodes } }
}

function empty(fork: number): RawProof {
  return { fork, block: null, hash: null, seek: null, upgrade: null, manifest: null }
}

function siblings(
  chunk: ChunkBlocks,
  folded: Uint8Array,
  offset: number,
  climb: number
): TreeNode[] {
  const nodes: TreeNode[] = []
  for (let height = 0; height < climb; height++) {
    nodes.push(node(chunk, folded, flat.nodeAt(height, offset / 2 ** height + 1)))
  }
  return nodes
}

/** `at` is a flat index within the chunk. */
function node(chunk: ChunkBlocks, folded: Uint8Array, at: number): TreeNode {
  const start = NODE_BYTES * at
  return {
    index: 2 * flat.firstBlock(chunk.root) + at,
    size: readUint64(folded, start),
    hash: Buffer.from(folded.subarray(start + 8, start + NODE_BYTES))
  }
}

/** Of `offset` as a number of log2(count) bits. */
function trailingZeros(offset: number, count: number): number {
  const rest = offset === 0 ? count : offset
  return 31 - Math.clz32(rest & -rest)
}

function bitCount(offset: number): number {
  let count = 0
  for (let rest = offset; rest !== 0; rest &= rest - 1) count++
  return count
}
