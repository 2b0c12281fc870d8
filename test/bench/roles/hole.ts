/** A feed of which every other stretch of this many blocks was cleared, the second, the fourth and so on. */
export const HOLE_BLOCKS = 1024

/** Where the holes of a feed of `blocks` blocks are. */
export function holesOf(blocks: number): [start: number, end: number][] {
  const holes: [number, number][] = []
  for (let start = HOLE_BLOCKS; start < blocks; start += 2 * HOLE_BLOCKS) {
    holes.push([start, Math.min(blocks, start + HOLE_BLOCKS)])
  }
  return holes
}

/** @throws Error if the ranges are not those that were cleared. */
export function checkHoles(blocks: number, ranges: readonly (readonly [number, number])[]): void {
  if (JSON.stringify(ranges) !== JSON.stringify(holesOf(blocks))) {
    throw new Error(`${ranges.length} missing ranges are not the ${holesOf(blocks).length} cleared`)
  }
}
