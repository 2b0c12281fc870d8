/**
 * Writes bytes of a file once more, as they are.
 *
 * After a sync that failed the system takes what it could not write for written: in memory it stands as it should, a later
 * sync succeeds, and the disk never gets it. What is written again is as new.
 *
 * @module
 */
import type { PooledFile } from './file-pool.ts'

const PIECE_BYTES: number = 1024 * 1024

/** Writes bytes `[start, end)`, as far as the file goes; it is not made if there is none. */
export async function rewrite(file: PooledFile, start: number, end: number): Promise<void> {
  for (let at = start; at < end; at += PIECE_BYTES) {
    const bytes = await file.read(at, Math.min(PIECE_BYTES, end - at))
    if (bytes === null || bytes.byteLength === 0) return
    await file.write([bytes], at)
  }
}
