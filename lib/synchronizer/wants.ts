import { RangeSet } from '../primitives/range-set.ts'

type Range = readonly [start: number, end: number]

/**
 * Who wants which blocks of a feed: its user for good, readers and downloads for a while. What several want stays wanted
 * until the last of them lets it go.
 */
export class Wants {
  readonly #lasting = new RangeSet()
  /** One for each reader or download, however alike. */
  readonly #passing = new Set<Range>()

  constructor(lasting: readonly Range[]) {
    for (const [start, end] of lasting) this.#lasting.add(start, end)
  }

  /** Wants `[start, end)` for good. */
  add(start: number, end: number): void {
    this.#lasting.add(start, end)
  }

  /** Takes {@link Wants.add} back. Returns what nobody wants any more. */
  remove(start: number, end: number): readonly Range[] {
    this.#lasting.remove(start, end)
    return this.#unwanted(start, end)
  }

  /** Wants a range until this very range is let go. */
  hold(range: Range): void {
    this.#passing.add(range)
  }

  /** Lets a range go that was held. Returns what nobody wants any more. */
  release(range: Range): readonly Range[] {
    return this.#passing.delete(range) ? this.#unwanted(...range) : []
  }

  #unwanted(start: number, end: number): readonly Range[] {
    const rest = new RangeSet()
    rest.add(start, end)
    for (const [from, to] of this.#lasting.ranges) rest.remove(from, to)
    for (const [from, to] of this.#passing) rest.remove(from, to)
    return rest.ranges
  }
}
