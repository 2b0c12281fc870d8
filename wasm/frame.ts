// Messages of runs as entries of a batch: uint length, uint type, payload. A uint is one byte up to 252, else 0xfd, 0xfe or
// 0xff and a number of 2, 4 or 8 bytes, little endian. Up to 16 bytes behind what is written may be overwritten, and up to
// 16 behind what is read are read.

const REQUEST: u32 = 1
const DATA: u32 = 3
/** Flags of either message: a block and nothing else. */
const HAS_BLOCK: u32 = 1
const HAS_PRIORITY: u32 = 32

const RUN_BYTES: usize = 24
/** The length of an entry and what tells its kind. */
const NUMBERS_BYTES: usize = 16

/** Writes `count` bare requests, a priority only if it is not 0; returns where they end. */
export function writeRequests(
  out: usize,
  count: u32,
  id: f64,
  fork: f64,
  index: f64,
  priority: f64
): usize {
  let nextId = id as u64
  let nextIndex = index as u64
  const itsFork = fork as u64
  const itsPriority = priority as u64
  const flags = itsPriority == 0 ? HAS_BLOCK : HAS_BLOCK | HAS_PRIORITY
  for (let i: u32 = 0; i < count; i++) {
    let at = out + 1
    store<u8>(at, REQUEST)
    store<u8>(at, flags, 1)
    at = putUint(at + 2, nextId++)
    at = putUint(at, itsFork)
    at = putUint(at, nextIndex++)
    store<u8>(at++, 0)
    if (itsPriority != 0) at = putUint(at, itsPriority)
    store<u8>(out, at - out - 1)
    out = at
  }
  return out
}

/** Writes `count` bare values: value i is the `lengths[i]` bytes at `bytes + offsets[i]`. Returns where they end. */
export function writeValues(
  out: usize,
  bytes: usize,
  offsets: usize,
  lengths: usize,
  count: u32,
  id: f64,
  fork: f64,
  index: f64
): usize {
  let nextId = id as u64
  let nextIndex = index as u64
  const itsFork = fork as u64
  for (let i: usize = 0; i < count; i++) {
    const value = bytes + load<u32>(offsets + (i << 2))
    const length = load<u32>(lengths + (i << 2))
    out = putHead(out, nextId++, itsFork, nextIndex++, length)
    copy(out, value, length)
    out += length
    store<u8>(out++, 0)
  }
  return out
}

/** Writes what stands before the bytes of a bare value, behind which a zero follows; returns where it ends. */
export function writeHead(out: usize, id: f64, fork: f64, index: f64, length: u32): usize {
  return putHead(out, id as u64, fork as u64, index as u64, length)
}

/**
 * Takes entries of `[bytes, end)` as long as they are bare requests and values, and at most `entriesMax` of them. Those that
 * follow each other are one run, of six u32: type, count, id, fork, index, priority. Entry i, if a value, has the
 * `lengths[i]` bytes from `offsets[i]` on, counted from where `bytes` has number `base`.
 *
 * `state` is four u32: runs, entries and bytes that were taken, all 0 before the first call, and then 1 if the entry behind
 * them does not end before `end`. Once more bytes are there, another call with a later `end` goes on.
 */
export function readRuns(
  bytes: usize,
  end: usize,
  base: u32,
  runs: usize,
  offsets: usize,
  lengths: usize,
  entriesMax: u32,
  state: usize
): void {
  let run = runs + (load<u32>(state) as usize) * RUN_BYTES - RUN_BYTES
  let entries = load<u32>(state, 4)
  let at = bytes + load<u32>(state, 8)
  let type: u32 = 0
  let count: u32 = 0
  let id: u64 = 0
  let fork: u64 = 0
  let index: u64 = 0
  let priority: u64 = 0
  if (entries != 0) {
    type = load<u32>(run)
    count = load<u32>(run, 4)
    id = load<u32>(run, 8)
    fork = load<u32>(run, 12)
    index = load<u32>(run, 16)
    priority = load<u32>(run, 20)
  }
  while (at < end && entries < entriesMax) {
    const byteLength = getUint(at)
    let cursor = at + sizeOf(byteLength)
    // The shortest has six bytes.
    if ((byteLength as u32) < 6 || (cursor as u64) + (byteLength as u32) > end) break
    const next = cursor + (byteLength as u32)
    const message = load<u8>(cursor) as u32
    const flags = load<u8>(cursor, 1) as u32
    const prioritized = message == REQUEST && flags == (HAS_BLOCK | HAS_PRIORITY)
    if (flags != HAS_BLOCK && !prioritized) break
    cursor += 2
    const itsId = getUint(cursor)
    cursor += sizeOf(itsId)
    if (cursor >= next) break
    const itsFork = getUint(cursor)
    cursor += sizeOf(itsFork)
    if (cursor >= next) break
    const itsIndex = getUint(cursor)
    cursor += sizeOf(itsIndex)
    if (cursor >= next) break
    let itsPriority: u64 = 0
    let length: u32 = 0
    if (message == REQUEST) {
      if (load<u8>(cursor++) != 0) break
      if (prioritized) {
        itsPriority = getUint(cursor)
        cursor += sizeOf(itsPriority)
      }
      if (cursor != next) break
    } else if (message == DATA) {
      const valueBytes = getUint(cursor)
      cursor += sizeOf(valueBytes)
      length = valueBytes as u32
      if ((cursor as u64) + length + 1 != next || load<u8>(next - 1) != 0) break
    } else break
    const goesOn =
      type == message &&
      numberOf(itsId) == id + count &&
      numberOf(itsIndex) == index + count &&
      numberOf(itsFork) == fork &&
      numberOf(itsPriority) == priority
    if (!goesOn) {
      if (count != 0) store<u32>(run, count, 4)
      run += RUN_BYTES
      count = 0
      type = message
      id = numberOf(itsId)
      fork = numberOf(itsFork)
      index = numberOf(itsIndex)
      priority = numberOf(itsPriority)
      store<u32>(run, type)
      store<u32>(run, id as u32, 8)
      store<u32>(run, fork as u32, 12)
      store<u32>(run, index as u32, 16)
      store<u32>(run, priority as u32, 20)
    }
    store<u32>(offsets + ((entries as usize) << 2), base + ((next - 1 - length - bytes) as u32))
    store<u32>(lengths + ((entries as usize) << 2), length)
    entries++
    count++
    at = next
  }
  if (entries != 0) store<u32>(run, count, 4)
  store<u32>(state, ((run + RUN_BYTES - runs) / RUN_BYTES) as u32)
  store<u32>(state, entries, 4)
  store<u32>(state, (at - bytes) as u32, 8)
  store<u32>(state, at < end && isCut(at, end) ? 1 : 0, 12)
}

/** Whether an entry that begins at `at` may look different once more bytes follow. */
function isCut(at: usize, end: usize): bool {
  if (end - at < NUMBERS_BYTES) return true
  const byteLength = getUint(at)
  return (at as u64) + sizeOf(byteLength) + (byteLength as u32) > end
}

function putHead(out: usize, id: u64, fork: u64, index: u64, length: u32): usize {
  const numbers = uintBytes(id) + uintBytes(fork) + uintBytes(index) + uintBytes(length)
  out = putUint(out, ((3 + numbers) as u64) + length)
  store<u8>(out, DATA)
  store<u8>(out, HAS_BLOCK, 1)
  out = putUint(out + 2, id)
  out = putUint(out, fork)
  out = putUint(out, index)
  return putUint(out, length)
}

function uintBytes(value: u64): u32 {
  if (value <= 0xfc) return 1
  if (value <= 0xffff) return 3
  return value <= 0xffffffff ? 5 : 9
}

/** Writes a number; returns where it ends. */
function putUint(at: usize, value: u64): usize {
  if (value <= 0xfc) {
    store<u8>(at, value as u8)
    return at + 1
  }
  if (value <= 0xffff) {
    store<u32>(at, 0xfd | ((value as u32) << 8))
    return at + 3
  }
  store<u8>(at, value <= 0xffffffff ? 0xfe : 0xff)
  store<u64>(at, value, 1)
  return at + (value <= 0xffffffff ? 5 : 9)
}

/** A number below 2^32 in the low half, and how many bytes it takes in the high half. */
function getUint(at: usize): u64 {
  const word = load<u64>(at)
  const first = word & 0xff
  if (first <= 0xfc) return first | (1 << 32)
  if (first == 0xfd) return ((word >> 8) & 0xffff) | (3 << 32)
  if (first == 0xfe) return ((word >> 8) & 0xffffffff) | (5 << 32)
  // Farther than any message goes, so that nothing with a number this large fits.
  return 1 << 62
}

function numberOf(uint: u64): u64 {
  return uint & 0xffffffff
}

function sizeOf(uint: u64): usize {
  return (uint >> 32) as usize
}

/** Copies at least `length` bytes. */
function copy(to: usize, from: usize, length: u32): void {
  if (length > 256) {
    memory.copy(to, from, length)
    return
  }
  for (let i: usize = 0; i < length; i += 16) v128.store(to + i, v128.load(from + i))
}
