import type { FrameKernels, KernelMemory } from './kernels.ts'

const REQUEST = 1
const DATA = 3
const HAS_BLOCK = 1
const HAS_PRIORITY = 32
const RUN_BYTES = 24
const NUMBERS_BYTES = 16

/** The frame kernels in plain JavaScript. */
export function scalarFrame(memory: KernelMemory): FrameKernels {
  let bytes = new Uint8Array(memory.buffer)
  let view = new DataView(memory.buffer)
  /** Where the number that was read last ends; Infinity if it does not fit 32 bits. */
  let cursor = 0

  function refresh(): void {
    if (bytes.buffer === memory.buffer) return
    bytes = new Uint8Array(memory.buffer)
    view = new DataView(memory.buffer)
  }

  function putUint(at: number, value: number): number {
    if (value <= 0xfc) {
      bytes[at] = value
      return at + 1
    }
    if (value <= 0xffff) {
      bytes[at] = 0xfd
      view.setUint16(at + 1, value, true)
      return at + 3
    }
    bytes[at] = value <= 0xffffffff ? 0xfe : 0xff
    view.setUint32(at + 1, value % 2 ** 32, true)
    if (value <= 0xffffffff) return at + 5
    view.setUint32(at + 5, Math.floor(value / 2 ** 32), true)
    return at + 9
  }

  function getUint(at: number): number {
    const first = bytes[at] as number
    cursor = at + 1
    if (first <= 0xfc) return first
    cursor = at + 3
    if (first === 0xfd) return view.getUint16(at + 1, true)
    cursor = first === 0xfe ? at + 5 : Infinity
    return first === 0xfe ? view.getUint32(at + 1, true) : 0
  }

  function writeRequests(
    out: number,
    count: number,
    id: number,
    fork: number,
    index: number,
    priority: number
  ): number {
    refresh()
    let start = out
    for (let i = 0; i < count; i++) {
      bytes[start + 1] = REQUEST
      bytes[start + 2] = priority === 0 ? HAS_BLOCK : HAS_BLOCK | HAS_PRIORITY
      let at = putUint(start + 3, id + i)
      at = putUint(at, fork)
      at = putUint(at, index + i)
      bytes[at++] = 0
      if (priority !== 0) at = putUint(at, priority)
      bytes[start] = at - start - 1
      start = at
    }
    return start
  }

  function writeHead(out: number, id: number, fork: number, index: number, length: number): number {
    refresh()
    const numbers = uintBytes(id) + uintBytes(fork) + uintBytes(index) + uintBytes(length)
    let at = putUint(out, 3 + numbers + length)
    bytes[at] = DATA
    bytes[at + 1] = HAS_BLOCK
    at = putUint(at + 2, id)
    at = putUint(at, fork)
    at = putUint(at, index)
    return putUint(at, length)
  }

  function writeValues(
    out: number,
    base: number,
    offsets: number,
    lengths: number,
    count: number,
    id: number,
    fork: number,
    index: number
  ): number {
    refresh()
    let at = out
    for (let i = 0; i < count; i++) {
      const value = base + view.getUint32(offsets + 4 * i, true)
      const length = view.getUint32(lengths + 4 * i, true)
      at = writeHead(at, id + i, fork, index + i, length)
      bytes.copyWithin(at, value, value + length)
      at += length
      bytes[at++] = 0
    }
    return at
  }

  function readRuns(
    start: number,
    end: number,
    base: number,
    runs: number,
    offsets: number,
    lengths: number,
    entriesMax: number,
    state: number
  ): void {
    refresh()
    let runCount = view.getUint32(state, true)
    let entries = view.getUint32(state + 4, true)
    let at = start + view.getUint32(state + 8, true)
    while (at < end && entries < entriesMax) {
      const byteLength = getUint(at)
      const message = cursor
      const next = message + byteLength
      if (byteLength < 6 || next > end) break
      const type = bytes[message] as number
      const flags = bytes[message + 1] as number
      const prioritized = type === REQUEST && flags === (HAS_BLOCK | HAS_PRIORITY)
      if (flags !== HAS_BLOCK && !prioritized) break
      const id = getUint(message + 2)
      const fork = cursor < next ? getUint(cursor) : 0
      const index = cursor < next ? getUint(cursor) : 0
      if (cursor >= next) break
      let priority = 0
      let length = 0
      if (type === REQUEST) {
        if (bytes[cursor++] !== 0) break
        if (prioritized) priority = getUint(cursor)
        if (cursor !== next) break
      } else if (type === DATA) {
        length = getUint(cursor)
        if (cursor + length + 1 !== next || bytes[next - 1] !== 0) break
      } else break
      const fields = [type, 1, id, fork, index, priority]
      if (!extend(runs + RUN_BYTES * (runCount - 1), fields, runCount)) {
        fields.forEach((field, i) =>
          view.setUint32(runs + RUN_BYTES * runCount + 4 * i, field, true)
        )
        runCount++
      }
      view.setUint32(offsets + 4 * entries, base + (next - 1 - length - start), true)
      view.setUint32(lengths + 4 * entries, length, true)
      entries++
      at = next
    }
    view.setUint32(state, runCount, true)
    view.setUint32(state + 4, entries, true)
    view.setUint32(state + 8, at - start, true)
    view.setUint32(state + 12, at < end && isCut(at, end) ? 1 : 0, true)
  }

  /** Makes a run longer by one message, if that is the next one. */
  function extend(run: number, fields: readonly number[], runCount: number): boolean {
    if (runCount === 0) return false
    const count = view.getUint32(run + 4, true)
    // By field: type, count, id, fork, index, priority.
    const steps = [0, 0, count, 0, count, 0]
    const goesOn = fields.every(
      (field, i) => i === 1 || field === view.getUint32(run + 4 * i, true) + (steps[i] as number)
    )
    if (goesOn) view.setUint32(run + 4, count + 1, true)
    return goesOn
  }

  function isCut(at: number, end: number): boolean {
    if (end - at < NUMBERS_BYTES) return true
    const byteLength = getUint(at)
    return cursor + byteLength > end
  }

  return { writeRequests, writeValues, writeHead, readRuns }
}

function uintBytes(value: number): number {
  if (value <= 0xfc) return 1
  if (value <= 0xffff) return 3
  return value <= 0xffffffff ? 5 : 9
}
