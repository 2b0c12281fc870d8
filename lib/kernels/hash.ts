import { SynclineError } from '../errors.ts'
import {
  arenaBytes,
  copyOut,
  MESSAGE_BYTES_MAX,
  putUint64,
  putWords,
  reset,
  run,
  take,
  WORK
} from './arena.ts'

export { simd } from './kernels.ts'

/** Bytes of a hash. */
export const HASH_BYTES = 32

const BLOCK_BYTES = 128
const KEY_BYTES_MAX = 64
/** Bytes of a message that are in memory at a time when it is hashed alone: a multiple of the block. */
const PIECE_BYTES: number = 256 * 1024
/** Messages of one kernel call. */
const BATCH_COUNT_MAX = 4096
/** Bytes after which a batch takes no more messages, so that what was just copied in is still in the processor's cache. */
const BATCH_BYTES: number = 512 * 1024

const offsets = new Uint32Array(BATCH_COUNT_MAX)
const lengths = new Uint32Array(BATCH_COUNT_MAX)
/** The key of a keyed hash, filled up with zeros. */
const keyBlock = new Uint8Array(BLOCK_BYTES)

/**
 * BLAKE2b-256 of the concatenation of `parts`: 32 bytes, the caller's.
 *
 * @see RFC 7693
 */
export function hash(parts: Uint8Array | readonly Uint8Array[]): Uint8Array {
  return hashParts(0, parts instanceof Uint8Array ? [parts] : parts)
}

/**
 * BLAKE2b-256 of `message` keyed with `key`, 1 to 64 bytes: 32 bytes, the caller's.
 *
 * @throws SynclineError BAD_ARGUMENT when the key has another length
 */
export function keyedHash(key: Uint8Array, message: Uint8Array): Uint8Array {
  if (key.byteLength < 1 || key.byteLength > KEY_BYTES_MAX) {
    throw new SynclineError('BAD_ARGUMENT', `a hash key of ${key.byteLength} bytes`)
  }
  keyBlock.fill(0, key.byteLength)
  keyBlock.set(key)
  return hashParts(key.byteLength, [keyBlock, message])
}

/**
 * BLAKE2b-256 of each message: 32 x n bytes in their order.
 *
 * @param hashes - where they go; the caller's. Who hashes again and again saves the making of new memory.
 */
export function hashMany(messages: readonly Uint8Array[], hashes?: Uint8Array): Uint8Array {
  return hashBatches(messages, false, hashes)
}

/** What {@link hashMany} does; with `leaf`, each message is hashed as a leaf of the tree. */
export function hashBatches(
  messages: readonly Uint8Array[],
  leaf: boolean,
  hashes: Uint8Array = new Uint8Array(HASH_BYTES * messages.length)
): Uint8Array {
  for (let start = 0; start < messages.length;) {
    const first = messages[start] as Uint8Array
    if (first.byteLength > MESSAGE_BYTES_MAX) {
      const parts = leaf ? [leafPrefix(first.byteLength), first] : [first]
      hashes.set(hashParts(0, parts), HASH_BYTES * start)
      start++
    } else {
      start = hashBatch(messages, start, leaf, hashes)
    }
  }
  return hashes
}

/** Hashes a batch that begins at message `start` in one kernel call; returns where the next one begins. */
function hashBatch(
  messages: readonly Uint8Array[],
  start: number,
  leaf: boolean,
  hashes: Uint8Array
): number {
  let byteLength = 0
  let count = 0
  while (count < BATCH_COUNT_MAX && byteLength < BATCH_BYTES && start + count < messages.length) {
    const { byteLength: length } = messages[start + count] as Uint8Array
    if (byteLength + length > MESSAGE_BYTES_MAX) break
    offsets[count] = byteLength
    lengths[count] = length
    byteLength += length
    count++
  }
  reset()
  const offsetsAt = take(4 * count)
  const lengthsAt = take(4 * count)
  const out = take(HASH_BYTES * count)
  const at = take(byteLength)
  const memory = arenaBytes()
  for (let i = 0; i < count; i++) {
    memory.set(messages[start + i] as Uint8Array, at + (offsets[i] as number))
  }
  putWords(offsetsAt, offsets.subarray(0, count))
  putWords(lengthsAt, lengths.subarray(0, count))
  run.hashMessages(WORK, at, offsetsAt, lengthsAt, count, out, HASH_BYTES, leaf ? 1 : 0)
  hashes.set(memory.subarray(out, out + HASH_BYTES * count), HASH_BYTES * start)
  return start + count
}

/** One message in pieces. With `keyLength` > 0 its first 128 bytes are the padded key. */
function hashParts(keyLength: number, parts: readonly Uint8Array[]): Uint8Array {
  let byteLength = 0
  for (const part of parts) byteLength += part.byteLength
  reset()
  const out = take(HASH_BYTES)
  const piece = take(Math.min(byteLength, PIECE_BYTES))
  const memory = arenaBytes()
  run.begin(WORK, keyLength)
  let filled = 0
  for (const part of parts) {
    let taken = 0
    while (taken < part.byteLength) {
      // The kernel must be left with at least a byte for the end, so a full piece goes only when more follows.
      if (filled === PIECE_BYTES) {
        run.absorb(WORK, piece, PIECE_BYTES / BLOCK_BYTES)
        filled = 0
      }
      const next = Math.min(part.byteLength - taken, PIECE_BYTES - filled)
      memory.set(
        next === part.byteLength ? part : part.subarray(taken, taken + next),
        piece + filled
      )
      taken += next
      filled += next
    }
  }
  run.finish(WORK, piece, filled, out)
  return copyOut(out, HASH_BYTES)
}

function leafPrefix(byteLength: number): Uint8Array {
  reset()
  const at = take(9)
  arenaBytes()[at] = 0
  putUint64(at + 1, byteLength)
  return copyOut(at, 9)
}
