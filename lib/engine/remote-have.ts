import { Bitmap } from '../primitives/bitmap.ts'
import { REMOTE_HAVE_BLOCKS_MAX } from '../limits.ts'

/**
 * The blocks that a remote says it has: a prefix as a number, the rest as a sparse bitmap.
 *
 * What a remote says is not trusted, so it is clipped to REMOTE_HAVE_BLOCKS_MAX: a lie of any size costs
 * bounded memory.
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

  set(start: number, end: number): void {
    const to = Math.min(end, REMOTE_HAVE_BLOCKS_MAX)
    if (start >= to) return
    if (start <= this.#prefix) {
      this.#prefix = Math.max(this.#prefix, to)
    } else {
      this.#bitmap ??= new Bitmap()
      this.#bitmap.setRange(start, to, true)
    }
    this.#grow()
  }

  drop(start: number, end: number): void {
    const to = Math.min(end, REMOTE_HAVE_BLOCKS_MAX)
    this.#materialize(start, to)
    this.#bitmap?.setRange(start, to, false)
  }

  /** Takes the words as the truth for their span. */
  setWords(start: number, words: Uint32Array): void {
    const count = Math.min(words.length, Math.floor((REMOTE_HAVE_BLOCKS_MAX - start) / 32))
    if (count <= 0) return
    this.#materialize(start, start + 32 * count)
    this.#bitmap ??= new Bitmap()
    this.#bitmap.setWords(start, words.subarray(0, count))
    this.#grow()
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
  #materialize(start: number, end: number): void {
    if (start >= this.#prefix) return
    if (end < this.#prefix) {
      this.#bitmap ??= new Bitmap()
      this.#bitmap.setRange(end, this.#prefix, true)
    }
    // Bits below the old prefix may be leftovers from before it grew.
    this.#bitmap?.setRange(start, Math.min(end, this.#prefix), false)
    this.#prefix = start
  }

  #grow(): void {
    if (this.#bitmap !== null && this.#bitmap.get(this.#prefix)) {
      this.#prefix = Math.min(this.#bitmap.firstUnset(this.#prefix), REMOTE_HAVE_BLOCKS_MAX)
    }
  }
}
