/**
 * Bits in 32-bit words: bit k of word j is bit 32 j + k. Ranges are half-open. A run is two numbers, its first bit and how
 * many bits it has; runs stand in a Uint32Array one after another.
 *
 * Words are copied in for each call, which costs about as much as looking at them once: single questions about few words
 * are answered faster by a loop.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { arenaWords, putWords, reset, run, take } from './arena.ts'

/** Words of one bitmap: its positions fit 31 bits. */
export const BITMAP_WORDS_MAX: number = 2 ** 26 - 1

/** Words of one kernel call, so that all it reads and writes is still in the processor's cache. */
const BATCH_WORDS = 2048
/** Words that are put together at a time, each time looking at all runs. */
const FILL_WORDS: number = 2 ** 20
/** Runs of one kernel call. */
const BATCH_RUNS = 4096

/**
 * Bits of `wanted` that are neither in `have` nor in `inFlight`: as many words, the caller's.
 *
 * @throws SynclineError BAD_ARGUMENT when they have not the same length
 */
export function andNot(wanted: Uint32Array, have: Uint32Array, inFlight: Uint32Array): Uint32Array {
  const count = wanted.length
  if (have.length !== count || inFlight.length !== count) {
    const counts = `${count}, ${have.length} and ${inFlight.length}`
    throw new SynclineError('BAD_ARGUMENT', `bitmaps of ${counts} words`)
  }
  const result = new Uint32Array(count)
  for (let from = 0; from < count; from += BATCH_WORDS) {
    const to = Math.min(count, from + BATCH_WORDS)
    reset()
    const at = take(4 * (to - from))
    const haveAt = take(4 * (to - from))
    const inFlightAt = take(4 * (to - from))
    putWords(at, part(wanted, from, to))
    putWords(haveAt, part(have, from, to))
    putWords(inFlightAt, part(inFlight, from, to))
    run.andNot(at, haveAt, inFlightAt, to - from, at)
    result.set(part(arenaWords(), at / 4, at / 4 + to - from), from)
  }
  return result
}

/**
 * Number of set bits in `[start, end)`.
 *
 * @throws SynclineError BAD_ARGUMENT when `words` have no such range
 */
export function countSet(words: Uint32Array, start: number, end: number): number {
  checkRange(words, start, end)
  let total = 0
  for (let at = start; at < end;) {
    const base = at - (at % 32)
    const next = Math.min(end, base + 32 * BATCH_WORDS)
    total += run.countBits(load(words, base, next), at - base, next - base)
    at = next
  }
  return total
}

/**
 * First set bit in `[start, end)`, or -1.
 *
 * @throws SynclineError BAD_ARGUMENT when `words` have no such range
 */
export function firstSet(words: Uint32Array, start: number, end: number): number {
  return find(words, start, end, 0)
}

/** As {@link firstSet}, of the unset bits. */
export function firstUnset(words: Uint32Array, start: number, end: number): number {
  return find(words, start, end, -1)
}

/**
 * The maximal runs of set bits within `[start, end)`, ascending: the caller's. With {@link fromRuns}, a run-length encoding.
 *
 * @throws SynclineError BAD_ARGUMENT when `words` have no such range
 */
export function setRuns(words: Uint32Array, start: number, end: number): Uint32Array {
  return list(words, start, end, 0)
}

/** As {@link setRuns}, of the unset bits. */
export function unsetRuns(words: Uint32Array, start: number, end: number): Uint32Array {
  return list(words, start, end, -1)
}

/**
 * `count` words in which the bits of `runs` are set, the caller's. Runs may come in any order and overlap.
 *
 * @throws SynclineError BAD_ARGUMENT when `runs` are no pairs or one of them lies beyond the words
 */
export function fromRuns(runs: Uint32Array, count: number): Uint32Array {
  if (!Number.isSafeInteger(count) || count < 0 || count > BITMAP_WORDS_MAX) {
    throw new SynclineError('BAD_ARGUMENT', `a bitmap of ${count} words`)
  }
  if (runs.length % 2 !== 0) {
    throw new SynclineError('BAD_ARGUMENT', `runs of ${runs.length} numbers`)
  }
  const result = new Uint32Array(count)
  // At least once, so that runs beyond a bitmap without words are found.
  for (let from = 0; from === 0 || from < count; from += FILL_WORDS) {
    fill(runs, result.subarray(from, from + FILL_WORDS), from, 32 * count)
  }
  return result
}

/** Sets in `words`, of which the first has number `from`, the bits of `runs`, which may go up to `limit`. */
function fill(runs: Uint32Array, words: Uint32Array, from: number, limit: number): void {
  reset()
  const at = take(4 * words.length)
  const runsAt = take(8 * BATCH_RUNS)
  arenaWords().fill(0, at / 4, at / 4 + words.length)
  for (let start = 0; start < runs.length; start += 2 * BATCH_RUNS) {
    const end = Math.min(runs.length, start + 2 * BATCH_RUNS)
    const count = (end - start) / 2
    putWords(runsAt, part(runs, start, end))
    const taken = run.fillRuns(at, 32 * from, 32 * words.length, runsAt, count, limit)
    if (taken < count) {
      const [first, length] = runs.subarray(start + 2 * taken)
      throw new SynclineError('BAD_ARGUMENT', `a run of ${length} bits from ${first} on`)
    }
  }
  words.set(part(arenaWords(), at / 4, at / 4 + words.length))
}

/** First bit of a kind, or -1. */
function find(words: Uint32Array, start: number, end: number, flip: number): number {
  checkRange(words, start, end)
  for (let at = start; at < end;) {
    const base = at - (at % 32)
    const next = Math.min(end, base + 32 * BATCH_WORDS)
    const found = run.findBit(load(words, base, next), at - base, next - base, flip)
    if (found < next - base) return base + found
    at = next
  }
  return -1
}

/** Runs of a kind. */
function list(words: Uint32Array, start: number, end: number, flip: number): Uint32Array {
  checkRange(words, start, end)
  let runs = new Uint32Array(0)
  let length = 0
  for (let at = start; at < end;) {
    const base = at - (at % 32)
    const next = Math.min(end, base + 32 * BATCH_WORDS)
    const address = load(words, base, next)
    const out = take(4 * (next - base) + 16)
    const count = run.listRuns(address, at - base, next - base, flip, base, out)
    const found = part(arenaWords(), out / 4, out / 4 + 2 * count)
    // A run that goes on where the batch before ended is the same one.
    const goesOn = length > 0 && count > 0 && found[0] === at && endOf(runs, length) === at
    const fresh = goesOn ? found.subarray(2) : found
    if (goesOn) runs[length - 1] = (runs[length - 1] as number) + (found[1] as number)
    if (length + fresh.length > runs.length) runs = grown(runs, length, fresh.length)
    runs.set(fresh, length)
    length += fresh.length
    at = next
  }
  return runs.slice(0, length)
}

function endOf(runs: Uint32Array, length: number): number {
  return (runs[length - 2] as number) + (runs[length - 1] as number)
}

function grown(runs: Uint32Array, length: number, more: number): Uint32Array<ArrayBuffer> {
  const longer = new Uint32Array(Math.max(length + more, 2 * runs.length))
  longer.set(runs.subarray(0, length))
  return longer
}

/** Copies in the words of the bits `[start, end)`, `start` being the first of a word; gives their address. */
function load(words: Uint32Array, start: number, end: number): number {
  const from = start / 32
  const to = Math.ceil(end / 32)
  reset()
  const at = take(4 * (to - from))
  putWords(at, part(words, from, to))
  return at
}

/** A view of the words `[from, to)`. */
function part(words: Uint32Array, from: number, to: number): Uint32Array {
  return from === 0 && to === words.length ? words : words.subarray(from, to)
}

function checkRange(words: Uint32Array, start: number, end: number): void {
  const isRange = Number.isSafeInteger(start) && Number.isSafeInteger(end) && start <= end
  if (!isRange || start < 0 || end > 32 * words.length || words.length > BITMAP_WORDS_MAX) {
    const bits = `bits ${start} to ${end}`
    throw new SynclineError('BAD_ARGUMENT', `${bits} of ${words.length} words`)
  }
}
