// BLAKE2b-256. RFC 7693; parameter block: digest length 32, key length, fan-out 1, depth 1.
//
// Work area (WORK_BYTES in lib/kernels/arena.ts), 16-aligned:
//     0  hash words of both lanes: word i of lane k at 16 i + 8 k
//   128  bytes taken, one u64 for each lane
//   144  final masks, one u64 for each lane
//   192  hash words of a single message, 64 bytes
//   256  bytes taken of that message, u64
//   320  lane 0, then 512 lane 1:
//          0  pointer to the rest of the message, u32
//          4  bytes of that rest, u32
//          8  bytes of prefix that are still to come, u32
//         12  where its hash goes, u32
//         64  a block put together from prefix, bytes and zeros, 128 bytes

import { compressOne, compressPair } from './rounds'

const BLOCK_BYTES: u32 = 128
export const COUNTS: usize = 128
export const FINALS: usize = 144
export const SINGLE: usize = 192
const SINGLE_COUNT: usize = 256
const LANES: usize = 320
const LANE_BYTES: usize = 192
const LANE_BLOCK: usize = 64

/** Length that marks a message as none: it is skipped and its place in the output stays as it is. */
export const HELD: u32 = 0xffffffff

const LEAF_PREFIX_BYTES: u32 = 9

/** First word of the hash: the IV and the parameter block. */
const FIRST: u64 = 0x6a09e667f3bcc908 ^ 0x01010020
/** The others: the IV alone. */
const IV1: u64 = 0xbb67ae8584caa73b
const IV2: u64 = 0x3c6ef372fe94f82b
const IV3: u64 = 0xa54ff53a5f1d36f1
const IV4: u64 = 0x510e527fade682d1
const IV5: u64 = 0x9b05688c2b3e6c1f
const IV6: u64 = 0x1f83d9abfb41bd6b
const IV7: u64 = 0x5be0cd19137e2179

/** Starts a single message, whose first block is the padded key if `keyLength` is not 0. */
export function begin(work: usize, keyLength: u32): void {
  putStart(work + SINGLE, 8, FIRST ^ ((keyLength as u64) << 8))
  store<u64>(work + SINGLE_COUNT, 0)
}

/** Takes `count` whole blocks, after which at least one more byte must follow. */
export function absorb(work: usize, bytes: usize, count: u32): void {
  let taken = load<u64>(work + SINGLE_COUNT)
  for (let i: u32 = 0; i < count; i++) {
    taken += BLOCK_BYTES
    compressOne(work + SINGLE, bytes, taken, 0)
    bytes += BLOCK_BYTES
  }
  store<u64>(work + SINGLE_COUNT, taken)
}

/** Takes the last `length` bytes (0 only for the empty message) and writes 32 bytes to `out`. */
export function finish(work: usize, bytes: usize, length: u32, out: usize): void {
  if (length > BLOCK_BYTES) {
    const count = (length - 1) / BLOCK_BYTES
    absorb(work, bytes, count)
    bytes += count * BLOCK_BYTES
    length -= count * BLOCK_BYTES
  }
  const block = work + LANES + LANE_BLOCK
  fill(block, bytes, length, BLOCK_BYTES)
  compressOne(work + SINGLE, block, load<u64>(work + SINGLE_COUNT) + length, ~0)
  v128.store(out, v128.load(work, SINGLE))
  v128.store(out, v128.load(work, SINGLE + 16), 16)
}

/**
 * Hashes `count` messages: message i is the `lengths[i]` bytes at `bytes + offsets[i]` (tables of u32), after the prefix
 * of a leaf if `leaf`; its hash goes to `out + i * stride`. A length of HELD skips a message. Both lanes draw from one
 * queue, so they stay busy whatever the lengths; two short messages in a row need no queue.
 */
export function hashMessages(
  work: usize,
  bytes: usize,
  offsets: usize,
  lengths: usize,
  count: u32,
  out: usize,
  stride: u32,
  leaf: bool
): void {
  const prefix = leaf ? LEAF_PREFIX_BYTES : 0
  const room = BLOCK_BYTES - prefix
  // Bit k: lane k has a message.
  let busy: u32 = 0
  for (let i: u32 = 0; i < count; i++) {
    const length = load<u32>(lengths + ((i as usize) << 2))
    if (length == HELD) continue
    const lane = busy & 1
    const offset = load<u32>(offsets + ((i as usize) << 2))
    if (busy == 0 && length <= room && i + 1 < count) {
      const next = (i as usize) + 1
      const nextLength = load<u32>(lengths + (next << 2))
      if (nextLength <= room) {
        const a = shortBlock(work, 0, bytes + offset, length, prefix)
        const b = shortBlock(work, 1, bytes + load<u32>(offsets + (next << 2)), nextLength, prefix)
        const taken = i64x2.splat((prefix + length) as i64)
        startPair(work)
        v128.store(work, i64x2.replace_lane(taken, 1, (prefix + nextLength) as i64), COUNTS)
        v128.store(work, i64x2.splat(~0), FINALS)
        compressPair(work, a, b)
        storeLane(work, 0, out + (i as usize) * stride)
        storeLane(work, 1, out + next * stride)
        i++
        continue
      }
    }
    start(work, lane, bytes + offset, length, prefix, out + (i as usize) * stride)
    busy |= 1 << lane
    if (busy == 3) busy = runPair(work)
  }
  if (busy != 0) runLast(work, busy >> 1)
}

/** Sets both lanes to the state before the first block; at once, since what was stored in halves is slow to load whole. */
export function startPair(work: usize): void {
  v128.store(work, i64x2.splat(FIRST))
  v128.store(work, i64x2.splat(IV1), 16)
  v128.store(work, i64x2.splat(IV2), 32)
  v128.store(work, i64x2.splat(IV3), 48)
  v128.store(work, i64x2.splat(IV4), 64)
  v128.store(work, i64x2.splat(IV5), 80)
  v128.store(work, i64x2.splat(IV6), 96)
  v128.store(work, i64x2.splat(IV7), 112)
}

/** The only block of a message that fits into one: where it lies, or put together in a lane. */
function shortBlock(work: usize, lane: u32, bytes: usize, length: u32, prefix: u32): usize {
  if (length == BLOCK_BYTES) return bytes
  const block = laneBlock(work, lane)
  if (prefix != 0) {
    store<u8>(block, 0)
    store<u64>(block, length, 1)
  }
  fill(block + prefix, bytes, length, BLOCK_BYTES - prefix)
  return block
}

/** Where a lane puts a block together. */
export function laneBlock(work: usize, lane: u32): usize {
  return work + LANES + (lane as usize) * LANE_BYTES + LANE_BLOCK
}

/** Copies the hash of a lane to `out`. */
export function storeLane(work: usize, lane: u32, out: usize): void {
  const words = work + ((lane as usize) << 3)
  store<u64>(out, load<u64>(words))
  store<u64>(out, load<u64>(words, 16), 8)
  store<u64>(out, load<u64>(words, 32), 16)
  store<u64>(out, load<u64>(words, 48), 24)
}

/** Gives a message to a lane. */
function start(work: usize, lane: u32, bytes: usize, length: u32, prefix: u32, out: usize): void {
  const words = work + ((lane as usize) << 3)
  putStart(words, 16, FIRST)
  store<u64>(words, 0, COUNTS)
  store<u64>(words, 0, FINALS)
  const record = work + LANES + (lane as usize) * LANE_BYTES
  store<u32>(record, bytes as u32)
  store<u32>(record, length, 4)
  store<u32>(record, prefix, 8)
  store<u32>(record, out as u32, 12)
}

/** Writes the words before the first block, `stride` bytes apart. */
function putStart(words: usize, stride: usize, first: u64): void {
  store<u64>(words, first)
  store<u64>(words + stride, IV1)
  store<u64>(words + 2 * stride, IV2)
  store<u64>(words + 3 * stride, IV3)
  store<u64>(words + 4 * stride, IV4)
  store<u64>(words + 5 * stride, IV5)
  store<u64>(words + 6 * stride, IV6)
  store<u64>(words + 7 * stride, IV7)
}

/** Runs both lanes until one or both have finished their message; returns which are still busy, one bit each. */
function runPair(work: usize): u32 {
  let busy: u32 = 0
  do {
    const a = takeBlock(work, 0)
    const b = takeBlock(work, 1)
    compressPair(work, a, b)
    runWhole(work)
    busy = (load<u64>(work, FINALS) == 0 ? 1 : 0) | (load<u64>(work, FINALS + 8) == 0 ? 2 : 0)
  } while (busy == 3)
  if ((busy & 1) == 0) storeLane(work, 0, load<u32>(work, LANES + 12))
  if ((busy & 2) == 0) storeLane(work, 1, load<u32>(work, LANES + LANE_BYTES + 12))
  return busy
}

/** Runs both lanes as long as each of them has a whole block that is not its last. */
function runWhole(work: usize): void {
  const record = work + LANES
  const other = record + LANE_BYTES
  const count = min(wholeBlocks(record), wholeBlocks(other))
  if (count == 0) return
  let a = load<u32>(record) as usize
  let b = load<u32>(other) as usize
  let taken = v128.load(work, COUNTS)
  for (let i: u32 = 0; i < count; i++) {
    taken = i64x2.add(taken, i64x2.splat(BLOCK_BYTES))
    v128.store(work, taken, COUNTS)
    compressPair(work, a, b)
    a += BLOCK_BYTES
    b += BLOCK_BYTES
  }
  const bytes = count * BLOCK_BYTES
  store<u32>(record, a as u32)
  store<u32>(other, b as u32)
  store<u32>(record, load<u32>(record, 4) - bytes, 4)
  store<u32>(other, load<u32>(other, 4) - bytes, 4)
}

/** Blocks of a lane's message that are whole and not the last one. */
function wholeBlocks(record: usize): u32 {
  const length = load<u32>(record, 4)
  return length > BLOCK_BYTES ? (length - 1) / BLOCK_BYTES : 0
}

/** Finishes the message of one lane when the other has none. */
function runLast(work: usize, lane: u32): void {
  const words = work + ((lane as usize) << 3)
  const state = work + SINGLE
  for (let i: usize = 0; i < 8; i++) store<u64>(state + (i << 3), load<u64>(words + (i << 4)))
  do {
    const block = takeBlock(work, lane)
    compressOne(state, block, load<u64>(words, COUNTS), load<u64>(words, FINALS))
  } while (load<u64>(words, FINALS) == 0)
  const out = load<u32>(work + LANES + (lane as usize) * LANE_BYTES, 12) as usize
  v128.store(out, v128.load(state))
  v128.store(out, v128.load(state, 16), 16)
}

/** The next block of a lane, with its byte count and final mask set. A whole block is used where it lies. */
function takeBlock(work: usize, lane: u32): usize {
  const words = work + ((lane as usize) << 3)
  const record = work + LANES + (lane as usize) * LANE_BYTES
  const bytes = load<u32>(record) as usize
  const length = load<u32>(record, 4)
  const prefix = load<u32>(record, 8)
  if (prefix == 0 && length > BLOCK_BYTES) {
    store<u32>(record, (bytes as u32) + BLOCK_BYTES)
    store<u32>(record, length - BLOCK_BYTES, 4)
    store<u64>(words, load<u64>(words, COUNTS) + BLOCK_BYTES, COUNTS)
    return bytes
  }
  const block = record + LANE_BLOCK
  if (prefix != 0) {
    store<u8>(block, 0)
    store<u64>(block, length, 1)
    store<u32>(record, 0, 8)
  }
  const room = BLOCK_BYTES - prefix
  const taken = min(length, room)
  fill(block + prefix, bytes, taken, room)
  store<u32>(record, (bytes as u32) + taken)
  store<u32>(record, length - taken, 4)
  store<u64>(words, load<u64>(words, COUNTS) + prefix + taken, COUNTS)
  if (length == taken) store<u64>(words, ~0, FINALS)
  return block
}

/** Copies `length` bytes and writes zeros after them up to `room`. Short: memory.copy costs more than a hash here. */
function fill(to: usize, from: usize, length: u32, room: u32): void {
  const end = to + room
  let rest = length
  // A turn of a loop costs as much as four of its copies.
  for (; rest >= 64; rest -= 64) {
    v128.store(to, v128.load(from))
    v128.store(to, v128.load(from, 16), 16)
    v128.store(to, v128.load(from, 32), 32)
    v128.store(to, v128.load(from, 48), 48)
    to += 64
    from += 64
  }
  for (; rest >= 16; rest -= 16) {
    v128.store(to, v128.load(from))
    to += 16
    from += 16
  }
  if (rest & 8) {
    store<u64>(to, load<u64>(from))
    to += 8
    from += 8
  }
  if (rest & 4) {
    store<u32>(to, load<u32>(from))
    to += 4
    from += 4
  }
  if (rest & 2) {
    store<u16>(to, load<u16>(from))
    to += 2
    from += 2
  }
  if (rest & 1) {
    store<u8>(to, load<u8>(from))
    to++
  }
  for (; to + 64 <= end; to += 64) {
    v128.store(to, i64x2.splat(0))
    v128.store(to, i64x2.splat(0), 16)
    v128.store(to, i64x2.splat(0), 32)
    v128.store(to, i64x2.splat(0), 48)
  }
  for (; to + 16 <= end; to += 16) v128.store(to, i64x2.splat(0))
  for (; to < end; to++) store<u8>(to, 0)
}
