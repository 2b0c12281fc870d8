// Leaves and parents of one perfect subtree. A node is 40 bytes, u64 size and hash, and stands at 40 times its flat
// index within the subtree: leaf i at 2 i, the parents between them, the root of n leaves at n - 1.
//
//   index   0   1   2   3   4   5   6
//   leaf    0       1       2       3
//   parent      1       3       5            3 is the root

import { compressOne, compressPair } from './rounds'
import {
  begin,
  COUNTS,
  FINALS,
  hashMessages,
  HELD,
  laneBlock,
  SINGLE,
  startPair,
  storeLane
} from './hash'

const NODE_BYTES: usize = 40
/** Type, size and two hashes. */
const PARENT_BYTES: u64 = 73

/**
 * Fills `nodes` (2 `count` - 1 of them) above `count` leaves, a power of two. Leaf i is the `lengths[i]` bytes at
 * `bytes + offsets[i]`, or, where `lengths[i]` is HELD, the node that stands there already.
 */
export function fold(
  work: usize,
  bytes: usize,
  offsets: usize,
  lengths: usize,
  count: u32,
  nodes: usize
): void {
  hashMessages(work, bytes, offsets, lengths, count, nodes + 8, 80, true)
  for (let i: u32 = 0; i < count; i++) {
    const length = load<u32>(lengths + ((i as usize) << 2))
    if (length != HELD) store<u64>(nodes + (i as usize) * 80, length)
  }
  foldParents(work, count, nodes)
}

function foldParents(work: usize, count: u32, nodes: usize): void {
  const a = laneBlock(work, 0)
  const b = laneBlock(work, 1)
  // A parent fills 73 bytes of its only block; the rest stays zero for all of them.
  memory.fill(a + 64, 0, 64)
  memory.fill(b + 64, 0, 64)
  v128.store(work, i64x2.splat(PARENT_BYTES), COUNTS)
  v128.store(work, i64x2.splat(~0), FINALS)
  // Bytes from a parent to its children, and from a parent to the next one of its height.
  let reach: usize = NODE_BYTES
  for (let parents = count >> 1; parents > 0; parents >>= 1) {
    const stride = reach << 2
    let node = nodes + (reach << 1) - NODE_BYTES
    if (parents == 1) {
      begin(work, 0)
      putParent(a, node, reach)
      compressOne(work + SINGLE, a, PARENT_BYTES, ~0)
      v128.store(node, v128.load(work, SINGLE), 8)
      v128.store(node, v128.load(work, SINGLE + 16), 24)
      return
    }
    for (let i: u32 = 0; i < parents; i += 2) {
      const other = node + stride
      putParent(a, node, reach)
      putParent(b, other, reach)
      startPair(work)
      compressPair(work, a, b)
      storeLane(work, 0, node + 8)
      storeLane(work, 1, other + 8)
      node = other + stride
    }
    reach <<= 1
  }
}

/** Writes the size of a parent, and the message that hashes to it. */
function putParent(block: usize, node: usize, reach: usize): void {
  const left = node - reach
  const right = node + reach
  const size = load<u64>(left) + load<u64>(right)
  store<u64>(node, size)
  store<u8>(block, 1)
  store<u64>(block, size, 1)
  v128.store(block, v128.load(left, 8), 9)
  v128.store(block, v128.load(left, 24), 25)
  v128.store(block, v128.load(right, 8), 41)
  v128.store(block, v128.load(right, 24), 57)
}
