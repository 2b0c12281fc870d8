import { createHash } from 'node:crypto'
import type {
  readRuns,
  RequestRun,
  ValueRun,
  writeRequests,
  writeValues
} from '../../../lib/wire/run.ts'
import { blocksOf } from './block.ts'
import { rateOf } from './kernel-rate.ts'

/** What writes and reads runs. */
export interface FrameCodec {
  readonly writeRequests: typeof writeRequests
  readonly writeValues: typeof writeValues
  readonly readRuns: typeof readRuns
}

/** Messages per second, and what was written, for comparison. */
export interface FrameRates {
  readonly write: number
  readonly read: number
  readonly digest: string
}

/** A channel that has gone on for a while: numbers of one, three and five bytes. */
const NUMBERS = { id: 40_000, fork: 0, index: 70_000 }
/** Bytes of a message without its value, at most. */
const MESSAGE_BYTES_MAX = 40

/** Runs of `count` requests. */
export function requestRates(codec: FrameCodec, count: number, ms: number): FrameRates {
  const run: RequestRun = { type: 'requests', ...NUMBERS, count, priority: 0 }
  return ratesOf(codec, count, ms, MESSAGE_BYTES_MAX * count, (target) =>
    codec.writeRequests(run, 0, count, target, 0)
  )
}

/** Runs of `count` values of `bytes` each. */
export function valueRates(
  codec: FrameCodec,
  count: number,
  ms: number,
  bytes: number
): FrameRates {
  const blocks = blocksOf({ seed: 3, feeds: 1, blocks: count, bytes }, 0, 0, count)
  const run: ValueRun = {
    type: 'values',
    ...NUMBERS,
    count,
    bytes: Buffer.concat(blocks),
    offsets: Uint32Array.from({ length: count }, (_, i) => i * bytes),
    lengths: new Uint32Array(count).fill(bytes)
  }
  return ratesOf(codec, count, ms, (MESSAGE_BYTES_MAX + bytes) * count, (target) =>
    codec.writeValues(run, 0, count, target, 0)
  )
}

function ratesOf(
  codec: FrameCodec,
  count: number,
  ms: number,
  room: number,
  write: (target: Uint8Array) => number
): FrameRates {
  const target = new Uint8Array(room)
  const frame = new Uint8Array(target.subarray(0, write(target)))
  let messages = 0
  const sink = {
    requests: (run: RequestRun) => (messages = run.count),
    values: (run: ValueRun) => (messages = run.offsets.length)
  }
  if (codec.readRuns(frame, 0, frame.byteLength, sink) !== frame.byteLength || messages !== count) {
    throw new Error(`${messages} of ${count} messages were read`)
  }
  return {
    write: rateOf(count, ms, () => write(target)),
    read: rateOf(count, ms, () => codec.readRuns(frame, 0, frame.byteLength, sink)),
    digest: createHash('sha256').update(frame).digest('hex')
  }
}
