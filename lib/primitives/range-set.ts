/** A set of half-open ranges, kept disjoint and ascending; ends may be Infinity. */
export class RangeSet {
  #ranges: [start: number, end: number][] = []

  add(start: number, end: number): void {
    if (start >= end) return
    const kept: [number, number][] = []
    let from = start
    let to = end
    for (const range of this.#ranges) {
      if (range[1] < from || range[0] > to) {
        kept.push(range)
        continue
      }
      from = Math.min(from, range[0])
      to = Math.max(to, range[1])
    }
    kept.push([from, to])
    this.#ranges = kept.sort((a, b) => a[0] - b[0])
  }

  remove(start: number, end: number): void {
    const kept: [number, number][] = []
    for (const [from, to] of this.#ranges) {
      if (from < start) kept.push([from, Math.min(to, start)])
      if (to > end) kept.push([Math.max(from, end), to])
    }
    this.#ranges = kept
  }

  has(index: number): boolean {
    return this.#ranges.some(([start, end]) => start <= index && index < end)
  }

  hasAll(start: number, end: number): boolean {
    return this.#ranges.some(([from, to]) => from <= start && end <= to)
  }

  overlaps(start: number, end: number): boolean {
    return this.#ranges.some(([from, to]) => from < end && start < to)
  }

  get ranges(): readonly (readonly [start: number, end: number])[] {
    return this.#ranges
  }
}
