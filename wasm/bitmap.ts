// Bits in 32-bit words, little endian: bit k of word j is bit 32 j + k. Words are 8-aligned, and up to 4 bytes behind the
// last of them may be read. `start` and `end` are bits, `flip` is 0 to look for set bits and all ones to look for unset ones.

const ALL: u32 = 0xffffffff

/** Writes `count` words of bits that are in `wanted` and in neither of the others; `out` may be one of the three. */
export function andNot(wanted: usize, have: usize, inFlight: usize, count: u32, out: usize): void {
  const end = wanted + ((count as usize) << 2)
  for (const wide = end - 12; wanted < wide; wanted += 16) {
    const taken = v128.or(v128.load(have), v128.load(inFlight))
    v128.store(out, v128.andnot(v128.load(wanted), taken))
    have += 16
    inFlight += 16
    out += 16
  }
  for (; wanted < end; wanted += 4) {
    store<u32>(out, load<u32>(wanted) & ~(load<u32>(have) | load<u32>(inFlight)))
    have += 4
    inFlight += 4
    out += 4
  }
}

/** Number of set bits. */
export function countBits(words: usize, start: u32, end: u32): u32 {
  if (start >= end) return 0
  let at = words + ((start >> 5) << 2)
  const last = words + (((end - 1) >> 5) << 2)
  const head = ALL << (start & 31)
  const tail = ALL >> (31 - ((end - 1) & 31))
  if (at == last) return popcnt(load<u32>(at) & head & tail)
  let total = popcnt(load<u32>(at) & head) + popcnt(load<u32>(last) & tail)
  at += 4
  let sums = i32x4.splat(0)
  for (; at + 16 <= last; at += 16) {
    const bytes = i8x16.popcnt(v128.load(at))
    sums = i32x4.add(sums, i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(bytes)))
  }
  for (; at < last; at += 4) total += popcnt(load<u32>(at))
  total += i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1)
  return total + i32x4.extract_lane(sums, 2) + i32x4.extract_lane(sums, 3)
}

/** The first bit of its kind, or `end`. */
export function findBit(words: usize, start: u32, end: u32, flip: u32): u32 {
  if (start >= end) return end
  let at = words + ((start >> 5) << 2)
  const stop = words + (((end + 31) >> 5) << 2)
  let rest = (load<u32>(at) ^ flip) & (ALL << (start & 31))
  if (rest == 0) {
    at += 4
    const none = i32x4.splat(flip)
    while (at + 16 <= stop && !v128.any_true(v128.xor(v128.load(at), none))) at += 16
    for (; at < stop; at += 4) {
      rest = load<u32>(at) ^ flip
      if (rest != 0) break
    }
    if (rest == 0) return end
  }
  return min(end, (((at - words) as u32) << 3) + ctz(rest))
}

/**
 * Writes the maximal runs of bits of one kind as pairs of u32, first bit and count, where `base` is the number of the
 * first bit of `words`. Returns how many; there is room for half as many as there are bits, and 16 bytes.
 */
export function listRuns(
  words: usize,
  start: u32,
  end: u32,
  flip: u32,
  base: u32,
  out: usize
): u32 {
  if (start >= end) return 0
  const wide = ((flip as u64) << 32) | flip
  // First every place where the kind of bit changes, then the second of each two becomes a distance.
  let edge = out
  let carry: u64 = 0
  let bit = start & ~63
  let mask: u64 = ~0 << (start & 63)
  while (bit < end) {
    const at = words + (bit >> 3)
    if (end - bit < 64) mask &= ~0 >> (64 - (end - bit))
    else if (mask == ~0) {
      const same = i64x2.splat(wide ^ (0 - carry))
      if (end - bit >= 128 && !v128.any_true(v128.xor(v128.load(at), same))) {
        bit += 128
        continue
      }
    }
    const run = (load<u64>(at) ^ wide) & mask
    let edges = run ^ ((run << 1) | carry)
    carry = run >> 63
    while (edges != 0) {
      store<u32>(edge, base + bit + (ctz(edges) as u32))
      edge += 4
      edges &= edges - 1
    }
    mask = ~0
    bit += 64
  }
  // The last run goes up to the end if that is where a word ends.
  if (carry != 0) {
    store<u32>(edge, base + end)
    edge += 4
  }
  const count = ((edge - out) >> 3) as u32
  for (let pair = out; pair < edge; pair += 16) {
    const edges = v128.load(pair)
    v128.store(pair, i32x4.sub(edges, i64x2.shl(edges, 32)))
  }
  return count
}

/**
 * Sets the bits of `count` runs, pairs as of {@link listRuns}, as far as they lie in `[base, base + bits)`, which is what
 * `words` holds. Returns how many runs end at `limit` or before and so were taken; the first that does not ends the call.
 */
export function fillRuns(
  words: usize,
  base: u32,
  bits: u32,
  pairs: usize,
  count: u32,
  limit: u32
): u32 {
  for (let i: u32 = 0; i < count; i++) {
    const first = load<u32>(pairs)
    const length = load<u32>(pairs, 4)
    if (first > limit || length > limit - first) return i
    pairs += 8
    const start = max(first, base) - base
    const end = min(first + length, base + bits) - base
    if (first + length > base && start < end) fillBits(words, start, end)
  }
  return count
}

function fillBits(words: usize, start: u32, end: u32): void {
  let at = words + ((start >> 5) << 2)
  const last = words + (((end - 1) >> 5) << 2)
  const head = ALL << (start & 31)
  const tail = ALL >> (31 - ((end - 1) & 31))
  if (at == last) {
    store<u32>(at, load<u32>(at) | (head & tail))
    return
  }
  store<u32>(at, load<u32>(at) | head)
  for (at += 4; at + 16 <= last; at += 16) v128.store(at, i64x2.splat(~0))
  for (; at < last; at += 4) store<u32>(at, ALL)
  store<u32>(last, load<u32>(last) | tail)
}
