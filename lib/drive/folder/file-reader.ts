/**
 * Reads files of a folder and hashes them as the blocks that they are in a drive.
 *
 * @module
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { leafHashes, NODE_BYTES } from '../../kernels/fold.ts'
import { hash } from '../../kernels/hash.ts'
import { DRIVE_BLOCK_BYTES } from '../../limits.ts'
import { sameStamp, type Stamp, stampOf } from './stamp.ts'

/** Bytes that are read, hashed and handed on together: sixteen blocks. */
const PIECE_BYTES: number = 16 * DRIVE_BLOCK_BYTES

// A link or a pipe may stand there by now, and a pipe would wait for a writer.
const READ_FLAGS: number =
  constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

/** A file as it was read. */
export interface HashedFile {
  readonly byteLength: number
  /** 40 bytes for each block: u64le size, hash. */
  readonly leaves: Uint8Array
  /** Of the file, the same before and after it was read. */
  readonly stamp: Stamp
}

/** Cuts bytes into the blocks of a file: all but the last have DRIVE_BLOCK_BYTES. */
export function blocksOf(bytes: Uint8Array): Uint8Array[] {
  const blocks: Uint8Array[] = []
  for (let at = 0; at < bytes.byteLength; at += DRIVE_BLOCK_BYTES) {
    blocks.push(bytes.subarray(at, at + DRIVE_BLOCK_BYTES))
  }
  return blocks
}

/** The leaves of blocks, 40 bytes each. */
export function leavesOf(blocks: readonly Uint8Array[]): Uint8Array {
  const leaves = new Uint8Array(NODE_BYTES * blocks.length)
  if (blocks.length === 0) return leaves
  const hashes = leafHashes(blocks)
  const view = new DataView(leaves.buffer)
  blocks.forEach(({ byteLength }, i) => {
    view.setUint32(NODE_BYTES * i, byteLength, true)
    leaves.set(hashes.subarray(32 * i, 32 * i + 32), NODE_BYTES * i + 8)
  })
  return leaves
}

/** 48 bits by which files of equal content are found; never 0 for a file with content. */
export function digestOf(leaves: Uint8Array): number {
  if (leaves.byteLength === 0) return 0
  const bytes = hash(leaves)
  let digest = 0
  for (let i = 0; i < 6; i++) digest = 256 * digest + (bytes[i] as number)
  return digest === 0 ? 1 : digest
}

/**
 * Reads a small file into `target`, whole.
 *
 * @param size - as it was last seen.
 * @returns its stamp, or null if it is not the size that it was, or changed while it was read.
 * @throws the system's errors.
 */
export function readWhole(path: string, size: number, target: Uint8Array): Stamp | null {
  const fd = openSync(path, READ_FLAGS)
  try {
    const before = stampOf(fstatSync(fd, { bigint: true }))
    let count = 0
    while (count < size) {
      const read = readSync(fd, target, count, size - count, count)
      if (read === 0) return null
      count += read
    }
    const stats = fstatSync(fd, { bigint: true })
    return stats.size === BigInt(size) && sameStamp(before, stampOf(stats)) ? before : null
  } finally {
    closeSync(fd)
  }
}

/**
 * Reads and hashes a file of any size, in pieces.
 *
 * @param onpiece - given each piece, which is valid until the promise that it returns settles.
 * @returns null if the file changed while it was read.
 * @throws the system's errors; the signal's reason.
 */
export async function hashFile(
  path: string,
  onpiece: (piece: Uint8Array) => Promise<void> | void,
  signal?: AbortSignal
): Promise<HashedFile | null> {
  const handle = await open(path, READ_FLAGS)
  try {
    const before = stampOf(await handle.stat({ bigint: true }))
    const buffers = [Buffer.allocUnsafe(PIECE_BYTES), Buffer.allocUnsafe(PIECE_BYTES)]
    const leaves: Uint8Array[] = []
    let byteLength = 0
    // The next piece is being read while this one is hashed.
    let reading = fill(handle, buffers[0] as Buffer, 0)
    for (let i = 1; ; i++) {
      const piece = await reading
      // Not while a piece is being read: nobody would hear that the file was closed meanwhile.
      signal?.throwIfAborted()
      const isLast = piece.byteLength < PIECE_BYTES
      byteLength += piece.byteLength
      if (!isLast) reading = fill(handle, buffers[i % 2] as Buffer, byteLength)
      try {
        leaves.push(leavesOf(blocksOf(piece)))
        if (piece.byteLength > 0) await onpiece(piece)
      } catch (error) {
        await reading.catch(() => {})
        throw error
      }
      if (isLast) break
    }
    const stats = await handle.stat({ bigint: true })
    if (stats.size !== BigInt(byteLength) || !sameStamp(before, stampOf(stats))) return null
    return { byteLength, leaves: Buffer.concat(leaves), stamp: before }
  } finally {
    await handle.close()
  }
}

/**
 * True if a file holds just the blocks of these leaves, of whatever sizes, and did not change while it was read.
 *
 * @throws the system's errors; the signal's reason.
 */
export async function holdsLeaves(
  path: string,
  leaves: Uint8Array,
  options: { readonly signal?: AbortSignal; readonly onbytes?: (count: number) => void } = {}
): Promise<boolean> {
  const sizes = sizesOf(leaves)
  const handle = await open(path, READ_FLAGS)
  try {
    const before = await handle.stat({ bigint: true })
    const byteLength = sizes.reduce((sum, size) => sum + size, 0)
    if (!before.isFile() || before.size !== BigInt(byteLength)) return false
    let position = 0
    for (let first = 0; first < sizes.length;) {
      let count = 0
      let pieceBytes = 0
      while (first + count < sizes.length) {
        const size = sizes[first + count] as number
        if (count > 0 && pieceBytes + size > PIECE_BYTES) break
        pieceBytes += size
        count++
      }
      options.signal?.throwIfAborted()
      const piece = await fill(handle, Buffer.allocUnsafe(pieceBytes), position)
      options.onbytes?.(piece.byteLength)
      if (piece.byteLength < pieceBytes) return false
      const blocks: Uint8Array[] = []
      let at = 0
      for (const size of sizes.slice(first, first + count)) {
        blocks.push(piece.subarray(at, at + size))
        at += size
      }
      const expected = leaves.subarray(NODE_BYTES * first, NODE_BYTES * (first + count))
      if (Buffer.compare(leavesOf(blocks), expected) !== 0) return false
      position += pieceBytes
      first += count
    }
    return sameStamp(stampOf(before), stampOf(await handle.stat({ bigint: true })))
  } finally {
    await handle.close()
  }
}

/** Bytes of each block, by the leaves. */
export function sizesOf(leaves: Uint8Array): number[] {
  const view = new DataView(leaves.buffer, leaves.byteOffset, leaves.byteLength)
  return Array.from({ length: leaves.byteLength / NODE_BYTES }, (_, i) =>
    Number(view.getBigUint64(NODE_BYTES * i, true))
  )
}

/** Reads until the buffer is full or the file ends. */
async function fill(
  handle: Awaited<ReturnType<typeof open>>,
  buffer: Buffer,
  position: number
): Promise<Uint8Array> {
  let count = 0
  while (count < buffer.byteLength) {
    const rest = buffer.byteLength - count
    const { bytesRead } = await handle.read(buffer, count, rest, position + count)
    if (bytesRead === 0) break
    count += bytesRead
  }
  return buffer.subarray(0, count)
}
