/**
 * Sparse bitmaps over block indexes.
 *
 * @module
 */

/** What can be asked of a bitmap. Ranges are half-open; an index without a bit reads as unset. */
export interface ReadonlyBitmap {
  get(index: number): boolean
  /** First set index >= `start` and < `end` (default: no end), or -1. */
  firstSet(start: number, end?: number): number
  /** First unset index >= `start`; never fails: beyond the last page everything is unset. */
  firstUnset(start: number): number
  /** Number of set bits in `[start, end)`. */
  count(start: number, end: number): number
  /** True if every bit of `[start, end)` is set. */
  hasAll(start: number, end: number): boolean
  /** True if some bit of `[start, end)` is set. */
  hasAny(start: number, end: number): boolean
  /** Maximal runs of set bits within `[start, end)`, ascending. */
  runs(start: number, end: number): Iterable<readonly [start: number, end: number]>
  /** 32-bit words that cover bits `[start, start + 32 * count)`; `start` a multiple of 32. Bit k of word j is `start + 32 j + k`. */
  words(start: number, count: number): Uint32Array
}

/** Bits of one page: 4,096 bytes, hypercore's bitfield page. */
export const PAGE_BITS = 32_768
const PAGE_WORDS: number = PAGE_BITS / 32
/** All bits of a word. */
const ALL = -1

/** Words of a new page: those of a small feed. */
const FIRST_WORDS = 8

/** A page that is neither empty nor full. */
interface Page {
  /** The bits after the last word are unset. */
  words: Uint32Array
  /** Number of set bits, or UNCOUNTED: most pages that are read from a disk never need it. */
  count: number
}

const UNCOUNTED = -1

/**
 * A bitmap that can be changed. Memory: up to 4 KiB for each page that is neither empty nor full.
 */
export class Bitmap implements ReadonlyBitmap {
  /** By page number; true stands for a full page. */
  readonly #pages: Map<number, Page | true> = new Map()
  #pageCount = 0
  #partial = 0

  /** Pages that take up to 4 KiB each: those neither empty nor full. */
  get pages(): number {
    return this.#partial
  }

  get(index: number): boolean {
    const page = this.#pages.get(Math.floor(index / PAGE_BITS))
    if (page === undefined) return false
    if (page === true) return true
    const bit = index % PAGE_BITS
    const { words } = page
    return bit >>> 5 < words.length && ((words[bit >>> 5] as number) & (1 << (bit & 31))) !== 0
  }

  /** Sets or clears one bit; returns whether it changed. */
  set(index: number, value: boolean): boolean {
    if (this.get(index) === value) return false
    this.setRange(index, index + 1, value)
    return true
  }

  /** Sets or clears the bits of `[start, end)`. Returns how many whole pages were gone through for that. */
  setRange(start: number, end: number, value: boolean): number {
    if (start >= end) return 0
    let whole = 0
    const pageCount = Math.ceil(end / PAGE_BITS)
    if (value) this.#pageCount = Math.max(this.#pageCount, pageCount)
    const lastPage = Math.min(this.#pageCount, pageCount)
    for (let number = Math.floor(start / PAGE_BITS); number < lastPage; number++) {
      const from = Math.max(start - number * PAGE_BITS, 0)
      const to = Math.min(end - number * PAGE_BITS, PAGE_BITS)
      if (from === 0 && to === PAGE_BITS) {
        this.#put(number, value)
        whole++
      } else this.#fill(number, from, to, value)
    }
    return whole
  }

  /** Sets or clears some bits of a page. */
  #fill(number: number, from: number, to: number, value: boolean): void {
    const page = this.#pages.get(number)
    if (value ? page === true : page === undefined) return
    const part = page === undefined || page === true ? this.#part(number) : page
    if (value) reserve(part, to)
    const end = Math.min(to, 32 * part.words.length)
    if (from >= end) return
    part.count = countOf(part) - countBits(part.words, from, end)
    fillBits(part.words, from, end, value)
    if (value) part.count += to - from
    if (part.count === (value ? PAGE_BITS : 0)) this.#put(number, value)
  }

  /** Makes a page full or empty. */
  #put(number: number, full: boolean): void {
    const page = this.#pages.get(number)
    if (page !== undefined && page !== true) this.#partial--
    if (full) this.#pages.set(number, true)
    else this.#pages.delete(number)
  }

  /** Gives a page that is full or empty words of its own, for its bits before `end` at least. */
  #part(number: number, end: number = 0): Page {
    const isFull = this.#pages.has(number)
    const page = {
      words: isFull
        ? new Uint32Array(PAGE_WORDS).fill(ALL)
        : new Uint32Array(Math.max(FIRST_WORDS, Math.ceil(end / 32))),
      count: isFull ? PAGE_BITS : 0
    }
    this.#pages.set(number, page)
    this.#partial++
    return page
  }

  /** Replaces the bits from `start` (a multiple of 32) on by whole words. */
  setWords(start: number, words: Uint32Array): void {
    for (let i = 0; i < words.length;) {
      const at = start + 32 * i
      const first = (at % PAGE_BITS) / 32
      const length = Math.min(PAGE_WORDS - first, words.length - i)
      this.#copy(Math.floor(at / PAGE_BITS), first, words.subarray(i, i + length))
      i += length
    }
  }

  /** Replaces some words of a page, from word `first` on. */
  #copy(number: number, first: number, words: Uint32Array): void {
    const bits = 32 * words.length
    const from = 32 * first
    const [sample = 0] = words
    if ((sample === 0 || ~sample === 0) && words.every((word) => word === sample)) {
      const start = number * PAGE_BITS + from
      this.setRange(start, start + bits, sample !== 0)
      return
    }
    this.#pageCount = Math.max(this.#pageCount, number + 1)
    const page = this.#pages.get(number)
    if (page === undefined || page === true) {
      // Neither empty nor full with these words in it.
      const part = this.#part(number, from + bits)
      part.words.set(words, first)
      part.count = UNCOUNTED
      return
    }
    reserve(page, from + bits)
    const rest = countOf(page) - countBits(page.words, from, from + bits)
    page.words.set(words, first)
    page.count = rest + countBits(words, 0, bits)
  }

  firstSet(start: number, end: number = Number.MAX_SAFE_INTEGER): number {
    const last = Math.min(end, this.#pageCount * PAGE_BITS)
    const index = this.#first(start, last, true)
    return index < last ? index : -1
  }

  firstUnset(start: number): number {
    return this.#first(start, Number.MAX_SAFE_INTEGER, false)
  }

  /** The first bit of a kind in `[start, end)`, or `end`. */
  #first(start: number, end: number, value: boolean): number {
    for (let index = start; index < end;) {
      const number = Math.floor(index / PAGE_BITS)
      const page = this.#pages.get(number)
      const base = number * PAGE_BITS
      const stop = Math.min(end - base, PAGE_BITS)
      const bit = firstBit(page, index - base, stop, value)
      if (bit < stop) return base + bit
      index = base + stop
    }
    return end
  }

  count(start: number, end: number): number {
    let total = 0
    const last = Math.min(end, this.#pageCount * PAGE_BITS)
    for (let number = Math.floor(start / PAGE_BITS); number * PAGE_BITS < last; number++) {
      const page = this.#pages.get(number)
      if (page === undefined) continue
      const from = Math.max(start - number * PAGE_BITS, 0)
      const to = Math.min(last - number * PAGE_BITS, PAGE_BITS)
      if (page === true) total += to - from
      else if (to - from === PAGE_BITS) total += countOf(page)
      else {
        const end = Math.min(to, 32 * page.words.length)
        if (from < end) total += countBits(page.words, from, end)
      }
    }
    return total
  }

  hasAll(start: number, end: number): boolean {
    return start >= end || this.#first(start, end, false) === end
  }

  hasAny(start: number, end: number): boolean {
    return this.firstSet(start, end) !== -1
  }

  *runs(start: number, end: number): Iterable<readonly [number, number]> {
    const last = Math.min(end, this.#pageCount * PAGE_BITS)
    let from = -1
    for (let at = start; at < last;) {
      // Looked up for each run: the bitmap may change between two of them.
      const number = Math.floor(at / PAGE_BITS)
      const page = this.#pages.get(number)
      const base = number * PAGE_BITS
      const stop = Math.min(last - base, PAGE_BITS)
      let bit = at - base
      if (from === -1) {
        bit = firstBit(page, bit, stop, true)
        if (bit < stop) from = base + bit
      }
      if (from !== -1) {
        bit = firstBit(page, bit, stop, false)
        if (bit < stop) {
          yield [from, base + bit]
          from = -1
        }
      }
      at = base + bit
    }
    if (from !== -1) yield [from, last]
  }

  words(start: number, count: number): Uint32Array {
    const words = new Uint32Array(count)
    for (let i = 0; i < count;) {
      const at = start + 32 * i
      const page = this.#pages.get(Math.floor(at / PAGE_BITS))
      const first = (at % PAGE_BITS) >>> 5
      const length = Math.min(PAGE_WORDS - first, count - i)
      if (page === true) words.fill(ALL, i, i + length)
      else if (page !== undefined) words.set(page.words.subarray(first, first + length), i)
      i += length
    }
    return words
  }

  /** An independent copy. */
  clone(): Bitmap {
    const copy = new Bitmap()
    for (const [number, page] of this.#pages) {
      copy.#pages.set(number, page === true ? true : { ...page, words: page.words.slice() })
    }
    copy.#pageCount = this.#pageCount
    copy.#partial = this.#partial
    return copy
  }
}

/** Gives a page words for its bits before `end`. */
function reserve(page: Page, end: number): void {
  const { length } = page.words
  if (end <= 32 * length) return
  const words = new Uint32Array(Math.min(PAGE_WORDS, Math.max(2 * length, Math.ceil(end / 32))))
  words.set(page.words)
  page.words = words
}

function countOf(page: Page): number {
  if (page.count === UNCOUNTED) page.count = countBits(page.words, 0, 32 * page.words.length)
  return page.count
}

/** Sets or clears the bits of `[from, to)`, which is not empty. */
function fillBits(words: Uint32Array, from: number, to: number, value: boolean): void {
  const first = from >>> 5
  const last = (to - 1) >>> 5
  const head = -1 << (from & 31)
  const tail = -1 >>> (31 - ((to - 1) & 31))
  if (first === last) {
    fillWord(words, first, head & tail, value)
    return
  }
  fillWord(words, first, head, value)
  words.fill(value ? ALL : 0, first + 1, last)
  fillWord(words, last, tail, value)
}

function fillWord(words: Uint32Array, index: number, mask: number, value: boolean): void {
  const word = words[index] as number
  words[index] = value ? word | mask : word & ~mask
}

/** Number of set bits in `[from, to)`, which is not empty. */
function countBits(words: Uint32Array, from: number, to: number): number {
  const first = from >>> 5
  const last = (to - 1) >>> 5
  const head = -1 << (from & 31)
  const tail = -1 >>> (31 - ((to - 1) & 31))
  if (first === last) return popcount((words[first] as number) & head & tail)
  let total = popcount((words[first] as number) & head) + popcount((words[last] as number) & tail)
  for (let i = first + 1; i < last; i++) total += popcount(words[i] as number)
  return total
}

/** First bit of a kind in `[start, end)` of a page, or `end`. */
function firstBit(
  page: Page | true | undefined,
  start: number,
  end: number,
  value: boolean
): number {
  if (page === undefined || page === true) return (page === true) === value ? start : end
  const { words } = page
  const stored = 32 * words.length
  if (end > stored) {
    const bit = start < stored ? firstBit(page, start, stored, value) : stored
    return bit < stored || !value ? Math.max(start, bit) : end
  }
  const flip = value ? 0 : ALL
  let rest = ((words[start >>> 5] as number) ^ flip) & (-1 << (start & 31))
  let index = start >>> 5
  const last = (end - 1) >>> 5
  while (rest === 0) {
    if (index === last) return end
    rest = (words[++index] as number) ^ flip
  }
  return Math.min(end, 32 * index + 31 - Math.clz32(rest & -rest))
}

function popcount(word: number): number {
  let n = word - ((word >>> 1) & 0x55555555)
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333)
  return Math.imul((n + (n >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
