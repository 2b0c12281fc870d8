/**
 * Cuts a stream of bytes into blocks.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { BLOCK_BYTES_MAX } from '../../limits.ts'

/** Takes bytes as they come and gives the blocks that are complete. */
export interface Cutter {
  /** Blocks that end within these bytes. They are views: use them before the input is reused. */
  push(bytes: Uint8Array): Uint8Array[]
  /** What is left at the end of the input, or null. */
  end(): Uint8Array | null
}

const NEWLINE = 10

/** A line is a block, its newline kept. */
export function lines(): Cutter {
  let rest: Uint8Array[] = []
  let restBytes = 0
  return {
    push(bytes) {
      const blocks: Uint8Array[] = []
      let start = 0
      while (start < bytes.byteLength) {
        const end = bytes.indexOf(NEWLINE, start)
        if (end === -1) break
        const piece = bytes.subarray(start, end + 1)
        blocks.push(rest.length === 0 ? piece : Buffer.concat([...rest, piece]))
        rest = []
        restBytes = 0
        start = end + 1
      }
      if (start < bytes.byteLength) {
        rest.push(bytes.subarray(start))
        restBytes += bytes.byteLength - start
      }
      if (restBytes > BLOCK_BYTES_MAX) {
        throw new SynclineError(
          'BAD_ARGUMENT',
          `a line is longer than ${BLOCK_BYTES_MAX} bytes: --chunk cuts what is not text`
        )
      }
      return blocks
    },
    end() {
      const last = rest.length === 0 ? null : Buffer.concat(rest)
      rest = []
      restBytes = 0
      return last
    }
  }
}

/** Blocks of `byteLength` bytes; the last one may be shorter. */
export function chunks(byteLength: number): Cutter {
  let block: Uint8Array | null = null
  let filled = 0
  return {
    push(bytes) {
      const blocks: Uint8Array[] = []
      let start = 0
      while (start < bytes.byteLength) {
        block ??= Buffer.allocUnsafe(byteLength)
        const part = bytes.subarray(start, start + byteLength - filled)
        block.set(part, filled)
        filled += part.byteLength
        start += part.byteLength
        if (filled < byteLength) continue
        blocks.push(block)
        block = null
        filled = 0
      }
      return blocks
    },
    end() {
      const last = block === null ? null : block.subarray(0, filled)
      block = null
      filled = 0
      return last
    }
  }
}
