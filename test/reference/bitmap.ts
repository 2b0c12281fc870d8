// The slow, obvious twin of the bitmap kernel: bits as an array of booleans.

export type ReferenceRun = readonly [start: number, length: number]

export function referenceBits(words: Uint32Array): boolean[] {
  return [...words].flatMap((word) =>
    Array.from({ length: 32 }, (_, k) => ((word >>> k) & 1) === 1)
  )
}

export function referenceWords(bits: readonly boolean[]): Uint32Array {
  const words = new Uint32Array(bits.length / 32)
  bits.forEach((bit, i) => {
    if (bit) words[i >>> 5]! |= 1 << (i & 31)
  })
  return words
}

export function referenceAndNot(
  wanted: readonly boolean[],
  have: readonly boolean[],
  inFlight: readonly boolean[]
): boolean[] {
  return wanted.map((bit, i) => bit && !have[i] && !inFlight[i])
}

export function referenceFirst(
  bits: readonly boolean[],
  start: number,
  end: number,
  value: boolean
): number {
  const at = bits.slice(start, end).indexOf(value)
  return at === -1 ? -1 : start + at
}

export function referenceCount(bits: readonly boolean[], start: number, end: number): number {
  return bits.slice(start, end).filter((bit) => bit).length
}

export function referenceRuns(
  bits: readonly boolean[],
  start: number,
  end: number,
  value: boolean
): ReferenceRun[] {
  const runs: [number, number][] = []
  for (let i = start; i < end; i++) {
    if (bits[i] !== value) continue
    if (i > start && bits[i - 1] === value) runs.at(-1)![1]++
    else runs.push([i, 1])
  }
  return runs
}

export function referenceFromRuns(runs: readonly ReferenceRun[], bitCount: number): boolean[] {
  return Array.from({ length: bitCount }, (_, i) =>
    runs.some(([start, length]) => start <= i && i < start + length)
  )
}
