/** The middle of some numbers, or the mean of the two in the middle; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length >> 1
  const upper = sorted[half] ?? NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2
}

/** The median of each metric over runs that measured the same ones. */
export function medians(samples: readonly Sample[]): Sample {
  const metrics = Object.keys(samples[0] ?? {})
  return Object.fromEntries(
    metrics.map((metric) => [metric, median(samples.map((sample) => sample[metric] ?? NaN))])
  )
}

/** What one run of a contestant measured, by metric. */
export type Sample = Readonly<Record<string, number>>
