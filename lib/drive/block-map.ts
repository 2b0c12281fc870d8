/**
 * Block maps: lists of the blocks of a file, as Hyperdrive 13.3 writes them where files share blocks. Only read.
 *
 * @see hyperblobs 2.12.1 `lib/block-map.js`
 *
 * @module
 */
import c from 'compact-encoding'
import { SynclineError } from '../errors.ts'
import { BLOCK_MAP_BLOCKS_MAX, BLOCK_MAP_ENTRIES_MAX, FEED_LENGTH_MAX } from '../limits.ts'
import type { BlobRange } from './entry.ts'

/** One block of a file. */
export interface MappedBlock {
  /** In the blobs feed. */
  readonly index: number
  readonly byteLength: number
}

/**
 * Checks that a map of this range can be one.
 *
 * @throws SynclineError TOO_MANY.
 */
export function checkMapRange({ blockLength }: BlobRange): void {
  if (blockLength <= BLOCK_MAP_BLOCKS_MAX) return
  throw new SynclineError('TOO_MANY', `a block map of ${blockLength} blocks is too large`)
}

/**
 * Reads the blocks of a map.
 *
 * @throws SynclineError BAD_MESSAGE when they are none, TOO_MANY when they list too many blocks.
 */
export function decodeBlockMap(blocks: readonly Uint8Array[]): MappedBlock[] {
  const mapped: MappedBlock[] = []
  for (const block of blocks) {
    const state = { start: 0, end: block.byteLength, buffer: block }
    try {
      const version = c.uint.decode(state)
      const count = c.uint.decode(state)
      if (version !== 0) throw bad(`version ${version} is unknown`)
      if (mapped.length + count > BLOCK_MAP_ENTRIES_MAX) {
        throw new SynclineError('TOO_MANY', 'a block map lists too many blocks')
      }
      for (let i = 0; i < count; i++) {
        const index = c.uint.decode(state)
        const byteLength = c.uint.decode(state)
        if (index >= FEED_LENGTH_MAX || !Number.isSafeInteger(byteLength)) {
          throw bad('its numbers are too large')
        }
        mapped.push({ index, byteLength })
      }
    } catch (error) {
      if (error instanceof SynclineError) throw error
      throw new SynclineError('BAD_MESSAGE', 'a block map cannot be read', {}, error)
    }
  }
  return mapped
}

function bad(why: string): SynclineError {
  return new SynclineError('BAD_MESSAGE', `a block map is not valid: ${why}`)
}
