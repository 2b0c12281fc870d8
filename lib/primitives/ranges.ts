/** Blocks from `start` up to `end`. */
export type BlockRange = readonly [start: number, end: number]

/** Ascending, disjoint ranges that cover `ranges`; at most `max`, by closing the smallest gaps. */
export function joinRanges(ranges: readonly BlockRange[], max: number = Infinity): BlockRange[] {
  const sorted = ranges.filter(([start, end]) => start < end).sort((a, b) => a[0] - b[0])
  const joined = join(sorted, 0)
  if (joined.length <= max) return joined
  const gaps = joined.slice(1).map(([start], i) => start - (joined[i] as BlockRange)[1])
  gaps.sort((a, b) => a - b)
  return join(joined, gaps[joined.length - max - 1] as number)
}

function join(sorted: readonly BlockRange[], gap: number): BlockRange[] {
  const joined: BlockRange[] = []
  for (const [start, end] of sorted) {
    const last = joined.at(-1)
    if (last !== undefined && start - last[1] <= gap) {
      joined[joined.length - 1] = [last[0], Math.max(last[1], end)]
    } else {
      joined.push([start, end])
    }
  }
  return joined
}
