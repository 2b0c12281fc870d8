/**
 * The bits of a live Hypercore, as the rest of syncline reads bits.
 *
 * @module
 */
import { WANT_BITS_MAX } from '../../limits.ts'
import { PAGE_BITS, type ReadonlyBitmap } from '../../primitives/bitmap.ts'
import type { HypercoreBits } from './hypercore-like.ts'

/** A live view: what the core holds at the moment of the call. */
export class HypercoreBitmap implements ReadonlyBitmap {
  readonly #core: { readonly bitfield: HypercoreBits }

  constructor(core: { readonly bitfield: HypercoreBits }) {
    this.#core = core
  }

  get(index: number): boolean {
    return this.#core.bitfield.get(index)
  }

  firstSet(start: number, end: number = Number.MAX_SAFE_INTEGER): number {
    const index = this.#core.bitfield.firstSet(start)
    return index < end ? index : -1
  }

  firstUnset(start: number): number {
    const index = this.#core.bitfield.firstUnset(start)
    // Beyond its last segment hypercore answers with that segment's end.
    return Math.max(index, start)
  }

  count(start: number, end: number): number {
    return start < end ? this.#core.bitfield.countSet(start, end - start) : 0
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
    const end = start + 32 * count
    for (let at = start; at < end;) {
      // One segment at a time: `want` loses what lies behind a segment that it enters in the middle.
      const stop = Math.min(end, (Math.floor(at / WANT_BITS_MAX) + 1) * WANT_BITS_MAX)
      for (const part of this.#core.bitfield.want(at, stop - at)) {
        words.set(part.bitfield, (part.start - start) / 32)
      }
      at = stop
    }
    return words
  }
}

/** The pages of `bits` that `ranges` touch, as hypercore stores them, with the bits of the ranges cleared. */
export function clearedPages(
  bits: ReadonlyBitmap,
  ranges: readonly (readonly [start: number, end: number])[]
): Map<number, Uint8Array> {
  const pages: Map<number, Uint8Array> = new Map()
  for (const [start, end] of ranges) {
    const last = Math.ceil(end / PAGE_BITS)
    for (let number = Math.floor(start / PAGE_BITS); number < last; number++) {
      const base = number * PAGE_BITS
      const page = pages.get(number) ?? asPage(bits.words(base, PAGE_BITS / 32))
      const stop = Math.min(end - base, PAGE_BITS)
      for (let bit = Math.max(start - base, 0); bit < stop; bit++) {
        const byte = bit >>> 3
        page[byte] = (page[byte] ?? 0) & ~(1 << (bit & 7))
      }
      pages.set(number, page)
    }
  }
  return pages
}

function asPage(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
}
