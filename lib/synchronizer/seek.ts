import type { Feed } from '../feed/feed.ts'
import {
  blockCount,
  firstBlock,
  fullRoots,
  leftChild,
  rightChild
} from '../primitives/flat-tree.ts'

/**
 * Finds the block that holds byte `bytes`, fetching blocks where the tree is unknown: the proof of each
 * brings the authenticated sizes of everything beside its path, so few are needed.
 *
 * Sizes from the wire's own seek proofs are not used: a parent vouches only for the sum of its children.
 *
 * @param padding - bytes before each block that do not count.
 * @param fetch - gets a block; resolves to false if that is not wanted.
 */
export async function seekRemote(
  feed: Feed,
  bytes: number,
  padding: number,
  fetch: (index: number) => Promise<boolean>
): Promise<[index: number, offset: number] | null> {
  const total = feed.byteLength - feed.length * padding
  if (bytes >= total) return bytes === total ? [feed.length, 0] : null
  let rest = bytes
  for (const root of fullRoots(feed.length)) {
    let node = root
    let size = await sizeOf(feed, node, padding)
    if (size === null) return null
    if (rest >= size) {
      rest -= size
      continue
    }
    while (node % 2 === 1) {
      const left = leftChild(node)
      size = await sizeOf(feed, left, padding)
      if (size === null) {
        if (!(await fetch(firstBlock(node)))) return null
        size = await sizeOf(feed, left, padding)
        if (size === null) return null
      }
      if (rest < size) node = left
      else {
        rest -= size
        node = rightChild(node)
      }
    }
    return [node / 2, rest]
  }
  return null
}

/** Bytes below a stored node, without padding; null if the node is not stored. */
async function sizeOf(feed: Feed, node: number, padding: number): Promise<number | null> {
  const block = firstBlock(node)
  const path = await feed.trustedPath(block)
  const found = path.find(({ index }) => index === node)
  if (found === undefined) return null
  return found.size - padding * blockCount(node)
}
