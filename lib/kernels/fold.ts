import { SynclineError } from '../errors.ts'
import {
  arenaBytes,
  arenaWords,
  copyOut,
  MESSAGE_BYTES_MAX,
  putUint64,
  putWords,
  reset,
  run,
  take,
  WORK
} from './arena.ts'
import { HASH_BYTES, hashBatches } from './hash.ts'
import { HELD } from './kernels.ts'

/** Bytes of a node: u64le of size, then the hash. Hypercore 10's tree file has the same layout. */
export const NODE_BYTES = 40
/** Length that marks a block of {@link fold} whose node is given. */
export const HELD_LENGTH: number = HELD
/** Blocks of one {@link fold}. */
export const FOLD_BLOCKS_MAX = 65_536

const NO_BYTES = new Uint8Array(0)

/** Size in bytes and hash of a tree node. */
export interface SizedHash {
  readonly size: number
  readonly hash: Uint8Array
}

/** Hash of a block as a leaf of the tree: 32 bytes, the caller's. */
export function leafHash(block: Uint8Array): Uint8Array {
  return hashBatches([block], true)
}

/** {@link leafHash} of each block: 32 x n bytes in their order, the caller's. */
export function leafHashes(blocks: readonly Uint8Array[]): Uint8Array {
  return hashBatches(blocks, true)
}

/** Hash of the parent of two nodes, `left` being the one of lower index: 32 bytes, the caller's. */
export function parentHash(left: SizedHash, right: SizedHash): Uint8Array {
  reset()
  const out = take(HASH_BYTES)
  const at = take(73)
  const memory = arenaBytes()
  memory[at] = 1
  putUint64(at + 1, left.size + right.size)
  putHash(left.hash, at + 9)
  putHash(right.hash, at + 41)
  run.begin(WORK, 0)
  run.finish(WORK, at, 73, out)
  return copyOut(out, HASH_BYTES)
}

/** Hash of a whole tree by its roots from left to right: 32 bytes, the caller's. This is what a feed signs. */
export function treeHash(roots: readonly (SizedHash & { readonly index: number })[]): Uint8Array {
  reset()
  const out = take(HASH_BYTES)
  const byteLength = 1 + 48 * roots.length
  const start = take(byteLength)
  arenaBytes()[start] = 2
  let at = start + 1
  for (const root of roots) {
    putHash(root.hash, at)
    putUint64(at + 32, root.index)
    putUint64(at + 40, root.size)
    at += 48
  }
  run.begin(WORK, 0)
  run.finish(WORK, start, byteLength, out)
  return copyOut(out, HASH_BYTES)
}

/**
 * All nodes of a perfect subtree over n = `lengths.length` blocks, a power of two up to {@link FOLD_BLOCKS_MAX}.
 *
 * Block i is the `lengths[i]` bytes of `bytes` from `offsets[i]` on, so blocks may lie there in any order. A block of
 * length {@link HELD_LENGTH} has its node in `held` instead: (2 n - 1) x 40 bytes, of which only the nodes at 80 i of such
 * blocks are read.
 *
 * @returns (2 n - 1) x 40 bytes, the caller's: the node of local flat index j at 40 j, so the root at 40 (n - 1)
 * @throws SynclineError BAD_ARGUMENT when the arguments do not fit each other
 */
export function fold(
  bytes: Uint8Array,
  offsets: Uint32Array,
  lengths: Uint32Array,
  held: Uint8Array | null
): Uint8Array {
  const count = lengths.length
  checkBlocks(bytes, offsets, lengths, held)
  if (bytes.byteLength > MESSAGE_BYTES_MAX) {
    const blocks = Array.from(lengths, (length, i) => {
      const offset = offsets[i] as number
      return length === HELD ? null : bytes.subarray(offset, offset + length)
    })
    return foldApart(blocks, held)
  }
  reset()
  const offsetsAt = take(4 * count)
  const lengthsAt = take(4 * count)
  const nodeBytes = NODE_BYTES * (2 * count - 1)
  const nodes = take(nodeBytes)
  const at = take(bytes.byteLength)
  const memory = arenaBytes()
  if (held !== null) memory.set(held, nodes)
  memory.set(bytes, at)
  putWords(offsetsAt, offsets)
  putWords(lengthsAt, lengths)
  run.fold(WORK, at, offsetsAt, lengthsAt, count, nodes)
  return copyOut(nodes, nodeBytes)
}

/**
 * {@link fold} of blocks that lie anywhere, which writes the nodes to the first (2 n - 1) x 40 bytes of `target`.
 *
 * @throws SynclineError BAD_ARGUMENT when their number is no power of two up to {@link FOLD_BLOCKS_MAX}
 */
export function foldBlocks(blocks: readonly Uint8Array[], target: Uint8Array): void {
  const count = blocks.length
  checkCount(count)
  const byteLength = blocks.reduce((sum, block) => sum + block.byteLength, 0)
  if (byteLength > MESSAGE_BYTES_MAX) {
    target.set(foldApart(blocks, null))
    return
  }
  reset()
  const offsetsAt = take(4 * count)
  const lengthsAt = take(4 * count)
  const nodeBytes = NODE_BYTES * (2 * count - 1)
  const nodes = take(nodeBytes)
  const at = take(byteLength)
  const memory = arenaBytes()
  const words = arenaWords()
  let offset = 0
  for (let i = 0; i < count; i++) {
    const block = blocks[i] as Uint8Array
    memory.set(block, at + offset)
    words[offsetsAt / 4 + i] = offset
    words[lengthsAt / 4 + i] = block.byteLength
    offset += block.byteLength
  }
  run.fold(WORK, at, offsetsAt, lengthsAt, count, nodes)
  target.set(memory.subarray(nodes, nodes + nodeBytes))
}

/** Leaves in as many calls as memory allows, then the parents over them; null: the node is in `held`. */
function foldApart(blocks: readonly (Uint8Array | null)[], held: Uint8Array | null): Uint8Array {
  const count = blocks.length
  const nodes = new Uint8Array(NODE_BYTES * (2 * count - 1))
  if (held !== null) nodes.set(held)
  const view = new DataView(nodes.buffer)
  const hashes = leafHashes(blocks.filter((block) => block !== null))
  let taken = 0
  blocks.forEach((block, i) => {
    if (block === null) return
    const at = 2 * NODE_BYTES * i
    view.setUint32(at, block.byteLength, true)
    view.setUint32(at + 4, 0, true)
    nodes.set(hashes.subarray(taken, taken + HASH_BYTES), at + 8)
    taken += HASH_BYTES
  })
  return fold(NO_BYTES, new Uint32Array(count), new Uint32Array(count).fill(HELD), nodes)
}

function checkCount(count: number): void {
  if (count < 1 || count > FOLD_BLOCKS_MAX || (count & (count - 1)) !== 0) {
    throw new SynclineError('BAD_ARGUMENT', `a fold of ${count} blocks`)
  }
}

function checkBlocks(
  bytes: Uint8Array,
  offsets: Uint32Array,
  lengths: Uint32Array,
  held: Uint8Array | null
): void {
  const count = lengths.length
  checkCount(count)
  if (offsets.length !== count) {
    throw new SynclineError('BAD_ARGUMENT', `${offsets.length} offsets for ${count} blocks`)
  }
  if (held !== null && held.byteLength !== NODE_BYTES * (2 * count - 1)) {
    throw new SynclineError('BAD_ARGUMENT', `${held.byteLength} bytes of nodes for ${count} blocks`)
  }
  for (let i = 0; i < count; i++) {
    const length = lengths[i] as number
    if (length === HELD ? held === null : (offsets[i] as number) + length > bytes.byteLength) {
      throw new SynclineError('BAD_ARGUMENT', `block ${i} of a fold lies outside its bytes`)
    }
  }
}

function putHash(hash: Uint8Array, at: number): void {
  if (hash.byteLength !== HASH_BYTES) {
    throw new SynclineError('BAD_ARGUMENT', `a hash of ${hash.byteLength} bytes`)
  }
  arenaBytes().set(hash, at)
}
