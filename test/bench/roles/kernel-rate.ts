import { blocksOf } from './block.ts'

/** Messages of one call. */
const MESSAGES = 4096
const CALL_BYTES: number = 4 * 1024 * 1024

/** A rate, and what was computed, for comparison. */
export interface Rate {
  /** Messages, or folds, per second. */
  readonly rate: number
  readonly digest: string
}

/** How many messages of a length `hash` does in a second; it gives 32 bytes for each. */
export function hashRate(
  job: { readonly bytes: number; readonly ms: number },
  hash: (messages: Uint8Array[]) => Uint8Array
): Rate {
  const count = Math.max(1, Math.min(MESSAGES, Math.floor(CALL_BYTES / job.bytes)))
  const group = { seed: 1, feeds: 1, blocks: count, bytes: job.bytes }
  const messages = blocksOf(group, 0, 0, count)
  return checkedRate(count, job.ms, () => hash(messages))
}

/** How many chunks `fold` folds in a second; it gives the root. */
export function foldRate(
  job: { readonly bytes: number; readonly blocks: number; readonly ms: number },
  fold: (chunk: Uint8Array) => Uint8Array
): Rate {
  const group = { seed: 2, feeds: 1, blocks: job.blocks, bytes: job.bytes }
  const chunk = Buffer.concat(blocksOf(group, 0, 0, job.blocks))
  return checkedRate(1, job.ms, () => fold(chunk))
}

/** How often per second `run` does `each` pieces of work, after it has warmed up. */
export function rateOf(each: number, ms: number, run: () => unknown): number {
  const time = (forMs: number): number => {
    const began = performance.now()
    let calls = 0
    while (performance.now() - began < forMs) {
      run()
      calls++
    }
    return (calls * each * 1000) / (performance.now() - began)
  }
  time(ms / 2)
  return time(ms)
}

function checkedRate(each: number, ms: number, run: () => Uint8Array): Rate {
  const digest = Buffer.from(run()).toString('hex', 0, 4096)
  return { rate: rateOf(each, ms, run), digest }
}
