import type { FeedGroup } from '../feed-group.ts'

/**
 * Block `index` of feed `feed` of a group: pseudorandom, so that no store can compress it, and the same in every process.
 *
 * @returns bytes of the caller's.
 */
export function blockOf(group: FeedGroup, feed: number, index: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(group.bytes / 4))
  let x = mix(mix(mix(group.seed + 1) ^ feed) ^ index) | 1
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    words[i] = x
  }
  return new Uint8Array(words.buffer, 0, group.bytes)
}

/** Blocks `[start, end)` of a feed. */
export function blocksOf(group: FeedGroup, feed: number, start: number, end: number): Uint8Array[] {
  return Array.from({ length: end - start }, (_, i) => blockOf(group, feed, start + i))
}

/** Blocks of one append while a source is written: at most 1,000 and about 4 MiB. */
export function batchBlocks(group: FeedGroup): number {
  return Math.max(1, Math.min(1000, Math.floor((4 * 1024 * 1024) / group.bytes)))
}

/** @throws Error if a block is not what was written. */
export function checkBlock(
  group: FeedGroup,
  feed: number,
  index: number,
  block: Uint8Array | null
): void {
  if (block === null) throw new Error(`block ${index} of feed ${feed} is missing`)
  if (Buffer.compare(block, blockOf(group, feed, index)) !== 0) {
    throw new Error(`block ${index} of feed ${feed} is not what was sent`)
  }
}

/** Runs `work` for 0 to `count` - 1, some at a time. */
export async function each(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: Math.min(32, count) }, worker))
}

function mix(value: number): number {
  let x = Math.imul(value ^ (value >>> 16), 0x45d9f3b)
  x = Math.imul(x ^ (x >>> 16), 0x45d9f3b)
  return (x ^ (x >>> 16)) >>> 0
}
