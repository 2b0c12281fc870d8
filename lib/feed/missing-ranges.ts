import { unsetRuns } from '../kernels/bitmap.ts'
import type { ReadonlyBitmap } from '../primitives/bitmap.ts'

/** Words that are looked at together. */
const BATCH_WORDS = 2048

/**
 * The maximal ranges of `[start, end)` that a bitmap lacks, ascending. What lies between is found a batch at a time, and
 * long runs of either kind are passed over: the time is that of the pages which are neither empty nor full.
 */
export function missingRanges(
  have: ReadonlyBitmap,
  start: number,
  end: number
): [start: number, end: number][] {
  const ranges: [number, number][] = []
  for (let at = have.firstUnset(start); at < end;) {
    const base = at - (at % 32)
    const stop = Math.min(end, base + 32 * BATCH_WORDS)
    const words = have.words(base, Math.ceil((stop - base) / 32))
    const runs = unsetRuns(words, at - base, stop - base)
    for (let i = 0; i < runs.length; i += 2) {
      const from = base + (runs[i] as number)
      ranges.push([from, from + (runs[i + 1] as number)])
    }
    const last = ranges.at(-1) as [number, number]
    if (last[1] === stop) {
      const set = have.firstSet(stop, end)
      last[1] = set === -1 ? end : set
    }
    at = have.firstUnset(Math.max(stop, last[1]))
  }
  return ranges
}
