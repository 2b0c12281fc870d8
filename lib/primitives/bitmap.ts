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

/**
 * A bitmap that can be changed. Memory: 4 KiB for each page that is neither empty nor full.
 */
export class Bitmap implements ReadonlyBitmap {
  /** Page number -> words; true stands for a full page. */
  readonly #pages: Map<number, Uint32Array | true> = new Map()
  #pageCount = 0
  #partial = 0

  /** Pages that take 4 KiB each: those neither empty nor full. */
  get pages(): number {
    return this.#partial
  }

  get(index: number): boolean {
    const page = this.#pages.get(Math.floor(index / PAGE_BITS))
    if (page === undefined) return false
    if (page === true) return true
    const bit = index % PAGE_BITS
    return ((page[bit >>> 5] as number) & (1 << (bit & 31))) !== 0
  }

  /** Sets or clears one bit; returns whether it changed. */
  set(index: number, value: boolean): boolean {
    if (this.get(index) === value) return false
    this.setRange(index, index + 1, value)
    return true
  }

  /** Sets or clears the bits of `[start, end)`. */
  setRange(start: number, end: number, value: boolean): void {
    if (start >= end) return
    if (value) this.#pageCount = Math.max(this.#pageCount, Math.ceil(end / PAGE_BITS))
    const lastPage = value
      ? Math.ceil(end / PAGE_BITS)
      : Math.min(this.#pageCount, Math.ceil(end / PAGE_BITS))
    for (let number = Math.floor(start / PAGE_BITS); number < lastPage; number++) {
      const from = Math.max(start - number * PAGE_BITS, 0)
      const to = Math.min(end - number * PAGE_BITS, PAGE_BITS)
      if (from === 0 && to === PAGE_BITS) {
        this.#put(number, value)
        continue
      }
      let page = this.#pages.get(number)
      if (page === true) {
        if (value) continue
        page = this.#part(number, 0xffffffff)
      } else if (page === undefined) {
        if (!value) continue
        page = this.#part(number, 0)
      }
      fill(page, from, to, value)
      if (page.every((word) => word === (value ? 0xffffffff : 0))) {
        this.#put(number, value)
      }
    }
  }

  /** Makes a page full or empty. */
  #put(number: number, full: boolean): void {
    const page = this.#pages.get(number)
    if (page !== undefined && page !== true) this.#partial--
    if (full) this.#pages.set(number, true)
    else this.#pages.delete(number)
  }

  /** Gives a page that was full or empty words of its own. */
  #part(number: number, word: number): Uint32Array {
    const page = new Uint32Array(PAGE_WORDS)
    if (word !== 0) page.fill(word)
    this.#pages.set(number, page)
    this.#partial++
    return page
  }

  /** Replaces the bits from `start` (a multiple of 32) on by whole words. */
  setWords(start: number, words: Uint32Array): void {
    for (let i = 0; i < words.length; i++) {
      const word = words[i] as number
      const at = start + 32 * i
      if (word === 0 || word === 0xffffffff) {
        this.setRange(at, at + 32, word !== 0)
        continue
      }
      const number = Math.floor(at / PAGE_BITS)
      let page = this.#pages.get(number)
      if (page === undefined || page === true) {
        page = this.#part(number, page === true ? 0xffffffff : 0)
        this.#pageCount = Math.max(this.#pageCount, number + 1)
      }
      page[(at % PAGE_BITS) >>> 5] = word
    }
  }

  firstSet(start: number, end: number = Number.MAX_SAFE_INTEGER): number {
    const last = Math.min(end, this.#pageCount * PAGE_BITS)
    let index = start
    while (index < last) {
      const number = Math.floor(index / PAGE_BITS)
      const page = this.#pages.get(number)
      if (page === true) return index
      if (page === undefined) {
        index = (number + 1) * PAGE_BITS
        continue
      }
      const found = scan(page, index % PAGE_BITS, 0)
      if (found < PAGE_BITS) {
        const at = number * PAGE_BITS + found
        return at < last ? at : -1
      }
      index = (number + 1) * PAGE_BITS
    }
    return -1
  }

  firstUnset(start: number): number {
    let index = start
    while (true) {
      const number = Math.floor(index / PAGE_BITS)
      const page = this.#pages.get(number)
      if (page === undefined) return index
      if (page !== true) {
        const found = scan(page, index % PAGE_BITS, 0xffffffff)
        if (found < PAGE_BITS) return number * PAGE_BITS + found
      }
      index = (number + 1) * PAGE_BITS
    }
  }

  count(start: number, end: number): number {
    let total = 0
    const last = Math.min(end, this.#pageCount * PAGE_BITS)
    for (let number = Math.floor(start / PAGE_BITS); number * PAGE_BITS < last; number++) {
      const page = this.#pages.get(number)
      if (page === undefined) continue
      const from = Math.max(start - number * PAGE_BITS, 0)
      const to = Math.min(last - number * PAGE_BITS, PAGE_BITS)
      if (page === true) {
        total += to - from
        continue
      }
      for (let bit = from; bit < to;) {
        const word = page[bit >>> 5] as number
        const next = Math.min((bit | 31) + 1, to)
        total += popcount((word >>> (bit & 31)) & lowBits(next - bit))
        bit = next
      }
    }
    return total
  }

  hasAll(start: number, end: number): boolean {
    return start >= end || this.firstUnset(start) >= end
  }

  hasAny(start: number, end: number): boolean {
    return this.firstSet(start, end) !== -1
  }

  *runs(start: number, end: number): Iterable<readonly [number, number]> {
    let from = this.firstSet(start, end)
    while (from !== -1) {
      const to = Math.min(this.firstUnset(from), end)
      yield [from, to]
      from = this.firstSet(to, end)
    }
  }

  words(start: number, count: number): Uint32Array {
    const words = new Uint32Array(count)
    for (let i = 0; i < count;) {
      const at = start + 32 * i
      const page = this.#pages.get(Math.floor(at / PAGE_BITS))
      const first = (at % PAGE_BITS) >>> 5
      const length = Math.min(PAGE_WORDS - first, count - i)
      if (page === true) words.fill(0xffffffff, i, i + length)
      else if (page !== undefined) words.set(page.subarray(first, first + length), i)
      i += length
    }
    return words
  }

  /** An independent copy. */
  clone(): Bitmap {
    const copy = new Bitmap()
    for (const [number, page] of this.#pages)
      copy.#pages.set(number, page === true ? true : page.slice())
    copy.#pageCount = this.#pageCount
    copy.#partial = this.#partial
    return copy
  }
}

/** The low `count` bits, 1 to 32, as a mask. */
function lowBits(count: number): number {
  return count === 32 ? 0xffffffff : (1 << count) - 1
}

function fill(page: Uint32Array, from: number, to: number, value: boolean): void {
  for (let bit = from; bit < to;) {
    const next = Math.min((bit | 31) + 1, to)
    const mask = lowBits(next - bit) << (bit & 31)
    const word = page[bit >>> 5] as number
    page[bit >>> 5] = value ? word | mask : word & ~mask
    bit = next
  }
}

/** First bit >= `bit` that differs from the bits of the word `same` (all clear or all set), or PAGE_BITS. */
function scan(page: Uint32Array, bit: number, same: number): number {
  let index = bit >>> 5
  let rest = (((page[index] as number) ^ same) >>> 0) & (-1 << (bit & 31))
  while (rest === 0) {
    if (++index === PAGE_WORDS) return PAGE_BITS
    rest = (page[index] as number) ^ same
  }
  return index * 32 + (31 - Math.clz32(rest & -rest))
}

function popcount(word: number): number {
  let n = word - ((word >>> 1) & 0x55555555)
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333)
  return (((n + (n >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24
}
