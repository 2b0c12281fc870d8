/**
 * Messages of runs as entries of a Protomux batch: what `lib/wire/run.ts` does, many messages in one call.
 *
 * A run stands for bare requests or bare values of consecutive blocks under consecutive ids. On the wire each is an entry of
 * its own: `uint length, uint type, payload`, with the numbers of compact-encoding. Bytes are copied into the memory of the
 * kernels and out of it again, so this is faster for many small values only: see {@link writePays} and {@link readPays}.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { arenaBytes, arenaWords, putWords, reset, run as kernels, take } from './arena.ts'
import { simd } from './kernels.ts'

/** Bare requests, or the answers to them, in a row. Integers from 0 to 2^53 - 1. */
export interface FrameRun {
  /** Of the first; each has the next one. */
  readonly id: number
  readonly fork: number
  /** Block of the first; each has the next one. */
  readonly index: number
  readonly count: number
}

/** Requests, all of one priority; 0 is not written. */
export interface FrameRequests extends FrameRun {
  readonly priority: number
}

/** Values: value i is the `lengths[i]` bytes of `bytes` from `offsets[i]` on. */
export interface FrameValues extends FrameRun {
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  readonly lengths: Uint32Array
}

/** Takes what {@link readRuns} finds. */
export interface FrameSink {
  requests(run: FrameRequests & { readonly type: 'requests' }): void
  /** `bytes` is the frame itself; the tables are the taker's. */
  values(run: FrameValues & { readonly type: 'values' }): void
}

// Measured with runs of 1 to 512 messages of 16 to 2,048 bytes.
/** Messages from which on writing pays, and bytes of their values up to which it does. */
const WRITE_MESSAGES_MIN = 8
const WRITE_BYTES_MAX = 1024
/** The same of reading. Here the values need no copy in plain JavaScript. */
const READ_MESSAGES_MIN = 16
const READ_BYTES_MAX = 256

const REQUEST = 1
const DATA = 3
/** Bytes of an entry without its value, at most. */
const ENTRY_BYTES_MAX = 48
/** Bytes around a run of bytes that a kernel may read and write beside it. */
const MARGIN_BYTES = 16
/** Messages that one kernel call writes. */
const BATCH_MESSAGES = 1024
/** Bytes of values in one kernel call, so that they are still in the processor's cache. */
const BATCH_BYTES: number = 64 * 1024
/** Bytes between two values that are copied in with them. */
const GAP_BYTES_MAX = 64
/** Bytes of a frame that are in memory at a time: a batch of answers is smaller. */
const WINDOW_BYTES: number = 256 * 1024
/** Bytes that are copied in at first, before it is known whether there is a run at all. */
const FIRST_BYTES = 4096
/** Entries that are found in one window. */
const ENTRIES_MAX = 8192
/** Words of a run that a kernel found. */
const RUN_WORDS = 6

/** Whether to write `count` messages that hold `byteLength` bytes of values is faster here than in plain JavaScript. */
export function writePays(count: number, byteLength: number): boolean {
  return simd && count >= WRITE_MESSAGES_MIN && byteLength <= WRITE_BYTES_MAX * count
}

/** As {@link writePays}, to read the bytes `[start, end)` of a frame, if all its entries are like the first two. */
export function readPays(frame: Uint8Array, start: number, end: number): boolean {
  const length = lengthAt(frame, start)
  const isSmall = length > 0 && length <= READ_BYTES_MAX
  if (!simd || !isSmall || end - start < READ_MESSAGES_MIN * length) return false
  // One call costs as much as some twenty entries: a frame of all kinds in turn shall not cost one for each.
  const type = start + headBytes(frame, start)
  const next = type + length
  if (frame[type] !== REQUEST && frame[type] !== DATA) return false
  return frame[next + headBytes(frame, next)] === frame[type] && lengthAt(frame, next) > 0
}

/** Length of an entry, or -1 if it is a long one. */
function lengthAt(frame: Uint8Array, start: number): number {
  const first = frame[start] as number
  if (first < 0xfd) return first
  return first === 0xfd ? (frame[start + 1] as number) + 256 * (frame[start + 2] as number) : -1
}

/** Bytes of that length. */
function headBytes(frame: Uint8Array, start: number): number {
  return (frame[start] as number) < 0xfd ? 1 : 3
}

/**
 * Writes the requests `[from, to)` of a run into `target` from `start` on; returns where they end.
 *
 * @throws SynclineError BAD_ARGUMENT when a number is none that can be written, or `target` has no room; what was written of
 * it by then is undefined
 */
export function writeRequests(
  run: FrameRequests,
  from: number,
  to: number,
  target: Uint8Array,
  start: number
): number {
  checkRun(run, from, to)
  checkNumber(run.priority)
  let end = start
  for (let i = from; i < to; i += BATCH_MESSAGES) {
    const count = Math.min(BATCH_MESSAGES, to - i)
    reset()
    const out = take(ENTRY_BYTES_MAX * count + MARGIN_BYTES)
    const { id, fork, index, priority } = run
    const stop = kernels.writeRequests(out, count, id + i, fork, index + i, priority)
    end = copyTo(target, end, out, stop)
  }
  return end
}

/** As {@link writeRequests}, of values; they are copied. A value that lies outside `bytes` is a BAD_ARGUMENT too. */
export function writeValues(
  run: FrameValues,
  from: number,
  to: number,
  target: Uint8Array,
  start: number
): number {
  const { offsets, lengths } = run
  checkRun(run, from, to)
  checkRange(from, to, Math.min(offsets.length, lengths.length), 'values')
  let end = start
  for (let i = from; i < to;) {
    if ((lengths[i] as number) > BATCH_BYTES) {
      end = writeLarge(run, i, target, end)
      i++
    } else {
      const next = batchEnd(offsets, lengths, i, to)
      end = writeBatch(run, i, next, target, end)
      i = next
    }
  }
  return end
}

/** Where the batch ends that begins with value `from`: its values follow each other closely. */
function batchEnd(offsets: Uint32Array, lengths: Uint32Array, from: number, to: number): number {
  const start = offsets[from] as number
  let end = start
  let i = from
  while (i < to && i - from < BATCH_MESSAGES) {
    const offset = offsets[i] as number
    const next = offset + (lengths[i] as number)
    if (offset < end || offset - end > GAP_BYTES_MAX) break
    if (i > from && next - start > BATCH_BYTES) break
    end = next
    i++
  }
  return i
}

function writeBatch(
  run: FrameValues,
  from: number,
  to: number,
  target: Uint8Array,
  start: number
): number {
  const { bytes, offsets, lengths, fork } = run
  const count = to - from
  const first = offsets[from] as number
  const last = (offsets[to - 1] as number) + (lengths[to - 1] as number)
  checkRange(first, last, bytes.byteLength, 'value bytes')
  reset()
  const offsetsAt = take(4 * count)
  const lengthsAt = take(4 * count)
  const at = take(last - first + MARGIN_BYTES)
  const out = take(last - first + ENTRY_BYTES_MAX * count + MARGIN_BYTES)
  putWords(offsetsAt, offsets.subarray(from, to))
  putWords(lengthsAt, lengths.subarray(from, to))
  arenaBytes().set(bytes.subarray(first, last), at)
  // Offsets count from the start of `bytes`, which would lie before what was copied.
  const origin = at - first
  const id = run.id + from
  const index = run.index + from
  const stop = kernels.writeValues(out, origin, offsetsAt, lengthsAt, count, id, fork, index)
  return copyTo(target, start, out, stop)
}

/** Writes a value that is not worth a detour. */
function writeLarge(run: FrameValues, i: number, target: Uint8Array, start: number): number {
  const offset = run.offsets[i] as number
  const length = run.lengths[i] as number
  checkRange(offset, offset + length, run.bytes.byteLength, 'value bytes')
  reset()
  const out = take(ENTRY_BYTES_MAX)
  const stop = kernels.writeHead(out, run.id + i, run.fork, run.index + i, length)
  const at = copyTo(target, start, out, stop)
  checkRange(at, at + length + 1, target.byteLength, 'bytes')
  target.set(run.bytes.subarray(offset, offset + length), at)
  target[at + length] = 0
  return at + length + 1
}

/**
 * Reads entries of one channel from `start` on, as long as they are bare requests and values, and hands them on as runs.
 * Whatever else comes, be it a message of another kind, one of more than 256 KiB, a number beyond 32 bits or bytes that are
 * no message, is left to the reader of single messages. In a frame of more than 256 KiB or 8,192 messages, a run may come in
 * parts.
 *
 * @returns where the first entry that was not taken begins, or `end`
 * @throws SynclineError BAD_ARGUMENT when the frame has no bytes `[start, end)`
 */
export function readRuns(frame: Uint8Array, start: number, end: number, sink: FrameSink): number {
  checkRange(start, end, frame.byteLength, 'bytes')
  for (let at = start; at < end;) {
    const { runs, taken } = readWindow(frame, at, Math.min(end, at + WINDOW_BYTES))
    if (taken === 0) return at
    // Only now: whoever takes a run may call a kernel.
    for (const run of runs) {
      if (run.type === 'requests') sink.requests(run)
      else sink.values(run)
    }
    at += taken
  }
  return end
}

type Found =
  | (FrameRequests & { readonly type: 'requests' })
  | (FrameValues & { readonly type: 'values' })

/** Takes what it can of `[start, end)`; more of it is copied in only while it is of use. */
function readWindow(
  frame: Uint8Array,
  start: number,
  end: number
): { readonly runs: readonly Found[]; readonly taken: number } {
  reset()
  const state = take(16)
  const runsAt = take(4 * RUN_WORDS * ENTRIES_MAX)
  const offsetsAt = take(4 * ENTRIES_MAX)
  const lengthsAt = take(4 * ENTRIES_MAX)
  const at = take(end - start + MARGIN_BYTES)
  const words = arenaWords()
  words.fill(0, state / 4, state / 4 + 4)
  let copied = 0
  do {
    const next = Math.min(end - start, Math.max(FIRST_BYTES, 4 * copied))
    arenaBytes().set(frame.subarray(start + copied, start + next), at + copied)
    copied = next
    kernels.readRuns(at, at + copied, start, runsAt, offsetsAt, lengthsAt, ENTRIES_MAX, state)
  } while (words[state / 4 + 3] === 1 && copied < end - start)
  const runs: Found[] = []
  let entry = 0
  for (let i = 0; i < (words[state / 4] as number); i++) {
    const run = runsAt / 4 + RUN_WORDS * i
    const count = words[run + 1] as number
    const id = words[run + 2] as number
    const fork = words[run + 3] as number
    const index = words[run + 4] as number
    if (words[run] === REQUEST) {
      const priority = words[run + 5] as number
      runs.push({ type: 'requests', id, fork, index, count, priority })
    } else {
      // Both in one buffer: making one costs more than filling it.
      const tables = new Uint32Array(2 * count)
      const offset = offsetsAt / 4 + entry
      const length = lengthsAt / 4 + entry
      tables.set(words.subarray(offset, offset + count))
      tables.set(words.subarray(length, length + count), count)
      const offsets = tables.subarray(0, count)
      const lengths = tables.subarray(count)
      runs.push({ type: 'values', id, fork, index, count, bytes: frame, offsets, lengths })
    }
    entry += count
  }
  return { runs, taken: words[state / 4 + 2] as number }
}

/** Copies what a kernel wrote to `start`; returns where it ends there. */
function copyTo(target: Uint8Array, start: number, from: number, to: number): number {
  checkRange(start, start + to - from, target.byteLength, 'bytes')
  target.set(arenaBytes().subarray(from, to), start)
  return start + to - from
}

function checkRun({ id, fork, index, count }: FrameRun, from: number, to: number): void {
  checkRange(from, to, count, 'messages')
  checkNumber(id + to)
  checkNumber(index + to)
  for (const number of [id, fork, index]) checkNumber(number)
}

function checkNumber(number: number): void {
  if (!Number.isSafeInteger(number) || number < 0) {
    throw new SynclineError('BAD_ARGUMENT', `${number} cannot be written`)
  }
}

function checkRange(start: number, end: number, length: number, what: string): void {
  const isRange = Number.isSafeInteger(start) && Number.isSafeInteger(end) && start <= end
  if (!isRange || start < 0 || end > length) {
    throw new SynclineError('BAD_ARGUMENT', `${what} ${start} to ${end} of ${length}`)
  }
}
