/**
 * The files `tree` and `bitfield` as a whole: brought up to date by a fold, read when a feed is opened.
 *
 * @module
 */
import { Bitmap } from '../../primitives/bitmap.ts'
import type { FeedFiles } from './feed-files.ts'
import { settle } from './settle.ts'
import { eraseStrays } from './stray-nodes.ts'
import { PAGE_BYTES, treeBytes, type Unfolded } from './unfolded.ts'

/** Writes what is newer than the files into them. */
export async function writeUnfolded(files: FeedFiles, unfolded: Unfolded): Promise<void> {
  const { tree, bitfield } = files
  const { cut } = unfolded
  if (cut !== null && ((await tree.size()) ?? 0) > treeBytes(cut)) {
    await tree.truncate(treeBytes(cut))
  }
  await eraseStrays(files, unfolded.strays)
  const writes = unfolded.treeWrites()
  await settle(writes.map(({ position, bytes }) => tree.write([bytes], position)))
  for (const number of unfolded.pages()) {
    const page = new Uint8Array(PAGE_BYTES)
    const stored = await bitfield.read(number * PAGE_BYTES, PAGE_BYTES)
    if (stored !== null) page.set(stored)
    unfolded.changePage(number, page)
    await bitfield.write([page], number * PAGE_BYTES)
  }
}

/** The bitmap that the bytes of `bitfield` hold. */
export function decodeBitfield(bytes: Uint8Array): Bitmap {
  const bitmap = new Bitmap()
  // Bits of millions of blocks are copied once, into their pages.
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  const words = Math.floor(bytes.byteLength / 4)
  bitmap.setWords(0, new Uint32Array(aligned.buffer, aligned.byteOffset, words))
  return bitmap
}
