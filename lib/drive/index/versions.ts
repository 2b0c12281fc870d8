import { INDEX_CHANGES_MAX } from '../../limits.ts'
import type { BlockCache } from './block-cache.ts'

/** Blocks that are asked for together. */
const STEP_BLOCKS = 64

/**
 * Which blocks of `[start, end)` end a version, one bit of the array each: the others stand within changes that were
 * made together, of which only the last block holds the root.
 *
 * The first node of any other block is no root, so a later block of the same changes, or another node of the block itself,
 * says that it lies below.
 */
export async function versionEnds(
  blocks: BlockCache,
  start: number,
  end: number
): Promise<Uint8Array> {
  const ends = new Uint8Array(Math.max(0, end - start))
  for (let seq = start; seq < end; seq++) {
    if (seq % STEP_BLOCKS === 0) fetchSome(blocks, seq, end)
    const block = blocks.peek(seq) ?? (await blocks.load(seq))
    const nodes = block.all()
    if (nodes.length > 0) ends[seq - start] = 1
    for (const { children } of nodes) {
      for (let i = 0; i < children.length; i += 2) {
        const child = children[i] as number
        if (children[i + 1] === 0 && child >= start) ends[child - start] = 0
      }
    }
  }
  return ends
}

/** True if a version is whole: it was the newest at some time. One that is the newest now is. */
export async function isWholeVersion(blocks: BlockCache, version: number): Promise<boolean> {
  const { length } = blocks.source
  if (version < 2 || version === length) return version <= length
  const end = Math.min(length, version + INDEX_CHANGES_MAX)
  const ends = await versionEnds(blocks, version - 1, end)
  return ends[0] === 1
}

function fetchSome(blocks: BlockCache, start: number, end: number): void {
  for (let seq = start; seq < Math.min(start + STEP_BLOCKS, end); seq++) {
    // Errors show when it is come to.
    if (blocks.isFar(seq)) blocks.load(seq).catch(() => {})
  }
}
