import { fold, HELD_LENGTH, NODE_BYTES } from '../kernels/fold.ts'

const NO_BYTES = new Uint8Array(0)

/**
 * All nodes of a perfect subtree of which the leaves are known, in the layout of {@link fold}: (2 n - 1) x 40 bytes for
 * n x 40 bytes (u64le size, hash).
 *
 * @throws SynclineError BAD_ARGUMENT when their number is no power of two up to FOLD_BLOCKS_MAX
 */
export function foldLeaves(leaves: Uint8Array): Uint8Array {
  const count = leaves.byteLength / NODE_BYTES
  const nodes = new Uint8Array(NODE_BYTES * (2 * count - 1))
  for (let i = 0; i < count; i++) {
    nodes.set(leaves.subarray(NODE_BYTES * i, NODE_BYTES * (i + 1)), 2 * NODE_BYTES * i)
  }
  const held = new Uint32Array(count).fill(HELD_LENGTH)
  return fold(NO_BYTES, new Uint32Array(count), held, nodes)
}
