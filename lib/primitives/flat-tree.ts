/**
 * Arithmetic of flat (in-order) binary trees: leaf i has index 2 i, parents have odd indexes.
 *
 * Indexes go beyond 2^32, so no bit operators are used on them.
 *
 * @module
 */

/** Height of a node: 0 for leaves. */
export function depth(index: number): number {
  let height = 0
  for (let rest = index; rest % 2 === 1; rest = (rest - 1) / 2) height++
  return height
}

/** The node at `offset` from the left among those of height `height`. */
export function nodeAt(height: number, offset: number): number {
  return offset * power(height + 1) + power(height) - 1
}

/** Position from the left among the nodes of the same height. */
export function offset(index: number, height: number = depth(index)): number {
  return (index - (power(height) - 1)) / power(height + 1)
}

export function parent(index: number, height: number = depth(index)): number {
  return nodeAt(height + 1, Math.floor(offset(index, height) / 2))
}

export function sibling(index: number, height: number = depth(index)): number {
  const at = offset(index, height)
  return nodeAt(height, at % 2 === 0 ? at + 1 : at - 1)
}

/** Left child; the caller makes sure that `index` is no leaf. */
export function leftChild(index: number, height: number = depth(index)): number {
  return index - power(height - 1)
}

/** Right child; the caller makes sure that `index` is no leaf. */
export function rightChild(index: number, height: number = depth(index)): number {
  return index + power(height - 1)
}

/** First block below a node. */
export function firstBlock(index: number, height: number = depth(index)): number {
  return offset(index, height) * power(height)
}

/** Number of blocks below a node. */
export function blockCount(index: number): number {
  return power(depth(index))
}

/** Block after the last one below a node. */
export function endBlock(index: number): number {
  const height = depth(index)
  return (offset(index, height) + 1) * power(height)
}

/** True if block `block` lies below node `index`. */
export function covers(index: number, block: number): boolean {
  return firstBlock(index) <= block && block < endBlock(index)
}

/** Indexes of the full roots of a feed of `length` blocks, left to right. */
export function fullRoots(length: number): number[] {
  const roots: number[] = []
  let start = 0
  for (let rest = length; rest > 0;) {
    const height = Math.floor(Math.log2(rest))
    // log2 of values near 2^53 may round up to the next power.
    const size = power(height) > rest ? power(height - 1) : power(height)
    roots.push(start * 2 + size - 1)
    start += size
    rest -= size
  }
  return roots
}

/** The full root above `block` in a feed of `length` blocks; -1 if the block lies beyond. */
export function rootOf(block: number, length: number): number {
  if (block >= length) return -1
  for (const root of fullRoots(length)) if (covers(root, block)) return root
  return -1
}

/** 2 ** `exponent`. The operator is a call of the C library each time; a shift holds for nearly all trees. */
function power(exponent: number): number {
  return exponent < 31 ? 1 << exponent : 2 ** exponent
}
