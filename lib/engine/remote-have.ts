import { Bitmap } from '../primitives/bitmap.ts'
import { REMOTE_HAVE_BLOCKS_MAX } from '../limits.ts'

/**
 * The blocks that a remote says it has: a prefix as a number, the rest as a sparse bitmap.
 *
 * What a remote says is not trusted, so it is clipped to REMOTE_HAVE_BLOCKS_MAX: a lie of any size costs
 * bounded memory. What changes it returns how many whole pages of the bitmap it went through: a few bytes may ask for many.
 */
export class RemoteHave {
  /** Blocks `[0, prefix)` are there. */
  #prefix = 0
  /** Bits at or beyond the prefix; below it they mean nothing. */
  #bitmap: Bitmap | null = null

  get prefix(): number {
    return this.#prefix
  }

  /** Pages that take memory. */
  get pages(): number {
    return this.#bitmap === null ? 0 : this.#bitmap.pages
  }

  get(index: number): boolean {
    return index < this.#prefix || (this.#bitmap !== null && this.#bitmap.get(index))
  }

  set(start: number, end: number): number {
    const to = Math.min(end, REMOTE_HAVE_BLOCKS_MAX)
    if (start >= to) return 0
    let pages = 0
    if (start <= this.#prefix) {
      this.#prefix = Math.max(this.#prefix, to)
    } else {
      this.#bitmap ??= new Bitmap()
      pages = this.#bitmap.setRange(start, to, true)
    }
    this.#grow()
    return pages
  }

  drop(start: number, end: number): number {
    const to = Math.min(end, REMOTE_HAVE_BLOCKS_MAX)
    const pages = this.#materialize(start, to)
    return this.#bitmap === null ? pages : pages + this.#bitmap.setRange(start, to, false)
  }

  /** Takes the words as the truth for their span. */
  setWords(start: number, words: Uint32Array): number {
    const count = Math.min(words.length, Math.floor((REMOTE_HAVE_BLOCKS_MAX - start) / 32))
    if (count <= 0) return 0
    const end = start + 32 * count
    const known = words.subarray(0, count)
    // Otherwise the bitmaps of a long feed would each move what follows them out of the prefix and back.
    if (end <= this.#prefix && known.every((word) => ~word === 0)) return 0
    const pages = this.#materialize(start, end)
    this.#bitmap ??= new Bitmap()
    this.#bitmap.setWords(start, known)
    this.#grow()
    return pages
  }

  /** End of the blocks that are there from `start`, which is one, to `end` at most. */
  runEnd(start: number, end: number): number {
    if (end <= this.#prefix || this.#bitmap === null)
      return Math.min(end, Math.max(start, this.#prefix))
    return Math.min(end, this.#bitmap.firstUnset(Math.max(start, this.#prefix)))
  }

  firstSet(start: number, end: number): number {
    if (start >= end) return -1
    if (start < this.#prefix) return start
    return this.#bitmap === null ? -1 : this.#bitmap.firstSet(start, end)
  }

  hasAll(start: number, end: number): boolean {
    const from = Math.max(start, this.#prefix)
    return from >= end || (this.#bitmap !== null && this.#bitmap.hasAll(from, end))
  }

  count(start: number, end: number): number {
    const from = Math.max(start, this.#prefix)
    const below = Math.max(0, Math.min(end, this.#prefix) - start)
    return below + (this.#bitmap === null || from >= end ? 0 : this.#bitmap.count(from, end))
  }

  /** Makes the prefix end before `[start, end)` begins, by moving what lies behind into the bitmap. */
  #materialize(start: number, end: number): number {
    if (start >= this.#prefix) return 0
    let pages = 0
    if (end < this.#prefix) {
      this.#bitmap ??= new Bitmap()
      pages += this.#bitmap.setRange(end, this.#prefix, true)
    }
    // Bits below the old prefix may be leftovers from before it grew.
    if (this.#bitmap !== null) {
      pages += this.#bitmap.setRange(start, Math.min(end, this.#prefix), false)
    }
    this.#prefix = start
    return pages
  }

  #grow(): void {
    if (this.#bitmap !== null && this.#bitmap.get(this.#prefix)) {
      this.#prefix = Math.min(this.#bitmap.firstUnset(this.#prefix), REMOTE_HAVE_BLOCKS_MAX)
    }
  }
}
