/**
 * Blobs against the feed that holds them.
 *
 * @module
 */
import type { StoredFeed } from '../feed/stored-feed.ts'
import { FOLD_BLOCKS_MAX, NODE_BYTES } from '../kernels/fold.ts'
import { BLOCK_BYTES_MAX, FEED_LENGTH_MAX } from '../limits.ts'
import { sameRange, type BlobRange } from './entry.ts'
import type { Blobs, DriveFolder } from './folder/drive-folder.ts'
import { holdsLeaves } from './folder/file-reader.ts'

/** True if two blobs are the same bytes of the feed, or both none. */
export function sameBlob(a: BlobRange | null, b: BlobRange | null): boolean {
  if (a === null || b === null) return false
  return (a.byteLength === 0 && b.byteLength === 0) || sameRange(a, b)
}

/** True if all blocks of a blob are here. */
export function isHeld(
  { feed }: Pick<Blobs, 'feed'>,
  { blockOffset, blockLength }: BlobRange
): boolean {
  return feed.have.hasAll(blockOffset, blockOffset + blockLength)
}

/** True if no blocks could hold so many bytes. */
export function isImpossible({ blockOffset, blockLength, byteLength }: BlobRange): boolean {
  return byteLength > blockLength * BLOCK_BYTES_MAX || blockOffset + blockLength > FEED_LENGTH_MAX
}

/** True if the bytes of a held blob are just those of its blocks. */
export async function isFitting(folder: DriveFolder, blob: BlobRange): Promise<boolean> {
  const [start, end] = blocksOf(blob)
  const from = await folder.offsetOf(start)
  return from === blob.byteOffset && (await folder.offsetOf(end)) === from + blob.byteLength
}

/** As {@link isFitting}, of many held blobs in the order of their blocks: those that are. */
export async function fittingOf(
  folder: DriveFolder,
  blobs: readonly BlobRange[]
): Promise<Set<BlobRange>> {
  const fitting = new Set<BlobRange>()
  for (let i = 0; i < blobs.length;) {
    const [start] = blocksOf(blobs[i] as BlobRange)
    // Of blobs that follow each other all offsets are found at once.
    let end = start
    let next = i
    while (next < blobs.length && (blobs[next] as BlobRange).blockOffset === end) {
      end = blocksOf(blobs[next++] as BlobRange)[1]
    }
    const offsets = await folder.offsetsOf(start, end)
    for (; i < next; i++) {
      const blob = blobs[i] as BlobRange
      const [first, last] = blocksOf(blob)
      const from = offsets[first - start] as number
      const byteLength = (offsets[last - start] as number) - from
      if (from === blob.byteOffset && byteLength === blob.byteLength) fitting.add(blob)
    }
  }
  return fitting
}

/** True if a file holds just the blocks of a blob, of which the leaves are known. */
export async function hasBytes(
  folder: DriveFolder,
  file: string,
  blob: BlobRange
): Promise<boolean> {
  const leaves = await folder.leaves(blob)
  return leaves !== null && holdsLeaves(file, leaves).catch(() => false)
}

/** The blocks of a blob. */
export function blocksOf({ blockOffset, blockLength }: BlobRange): [start: number, end: number] {
  return [blockOffset, blockOffset + blockLength]
}

/** Tells a blob apart from every other, also from one that overlaps it. */
export function keyOf({ blockOffset, blockLength, byteOffset, byteLength }: BlobRange): string {
  return `${blockOffset} ${blockLength} ${byteOffset} ${byteLength}`
}

/** Holds blocks from `start` on whose bytes are where the feed finds them, if the tree says so. False if it does not. */
export async function adoptAll(
  feed: StoredFeed,
  start: number,
  leaves: Uint8Array
): Promise<boolean> {
  const bytes = NODE_BYTES * FOLD_BLOCKS_MAX
  for (let at = 0; at < leaves.byteLength; at += bytes) {
    const part = { start: start + at / NODE_BYTES, leaves: leaves.subarray(at, at + bytes) }
    if ((await feed.adopt(part)) !== 'adopted') return false
  }
  return true
}

/** Says of contents that no file holds any more that they are gone: their blocks are not here from then on. */
export async function letGo(folder: DriveFolder, blobs: readonly BlobRange[]): Promise<void> {
  if (blobs.length === 0) return
  const { feed } = await folder.blobs()
  for (const blob of blobs) await folder.places.drop(blob)
  await feed.release(blobs.map(blocksOf))
}
