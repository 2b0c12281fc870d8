import type { BitmapKernels, KernelMemory } from './kernels.ts'

/** The bitmap kernels in plain JavaScript, 32 bits at a time. */
export function scalarBitmap(memory: KernelMemory): BitmapKernels {
  let words = new Uint32Array(memory.buffer)

  function refresh(): void {
    if (words.buffer !== memory.buffer) words = new Uint32Array(memory.buffer)
  }

  function andNot(
    wanted: number,
    have: number,
    inFlight: number,
    count: number,
    out: number
  ): void {
    refresh()
    for (let i = 0; i < count; i++) {
      const taken = (words[have / 4 + i] as number) | (words[inFlight / 4 + i] as number)
      words[out / 4 + i] = (words[wanted / 4 + i] as number) & ~taken
    }
  }

  function countBits(at: number, start: number, end: number): number {
    refresh()
    let total = 0
    for (let bit = start; bit < end;) {
      const next = Math.min((bit | 31) + 1, end)
      total += popcount((words[at / 4 + (bit >>> 5)] as number) & span(bit, next))
      bit = next
    }
    return total
  }

  function findBit(at: number, start: number, end: number, flip: number): number {
    refresh()
    for (let bit = start; bit < end; bit = (bit | 31) + 1) {
      const rest = ((words[at / 4 + (bit >>> 5)] as number) ^ flip) & (-1 << (bit & 31))
      if (rest !== 0) return Math.min(end, (bit & ~31) + 31 - Math.clz32(rest & -rest))
    }
    return end
  }

  function listRuns(
    at: number,
    start: number,
    end: number,
    flip: number,
    base: number,
    out: number
  ): number {
    let count = 0
    for (let from = findBit(at, start, end, flip); from < end;) {
      const to = findBit(at, from, end, ~flip)
      words[out / 4 + 2 * count] = base + from
      words[out / 4 + 2 * count + 1] = to - from
      count++
      from = findBit(at, to, end, flip)
    }
    return count
  }

  function fillRuns(
    at: number,
    base: number,
    bits: number,
    pairs: number,
    count: number,
    limit: number
  ): number {
    refresh()
    for (let i = 0; i < count; i++) {
      const first = words[pairs / 4 + 2 * i] as number
      const last = first + (words[pairs / 4 + 2 * i + 1] as number)
      if (last > limit) return i
      const end = Math.min(last, base + bits) - base
      for (let bit = Math.max(first, base) - base; bit < end;) {
        const next = Math.min((bit | 31) + 1, end)
        const index = at / 4 + (bit >>> 5)
        words[index] = (words[index] as number) | span(bit, next)
        bit = next
      }
    }
    return count
  }

  return { andNot, countBits, findBit, listRuns, fillRuns }
}

/** The bits of `[start, end)`, which lie in one word and are at least one, as a mask. */
function span(start: number, end: number): number {
  return (-1 << (start & 31)) & (-1 >>> (31 - ((end - 1) & 31)))
}

function popcount(word: number): number {
  let n = word - ((word >>> 1) & 0x55555555)
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333)
  return Math.imul((n + (n >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
