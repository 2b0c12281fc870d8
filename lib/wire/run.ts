/**
 * Runs: bare requests or bare values of consecutive blocks under consecutive ids, as one record.
 *
 * On the wire a run is as many messages as it has blocks; here they cost no object each. A bare request asks for a block
 * with no node (`nodes` 0), a bare value carries none. What these functions write are entries of a Protomux batch: `uint
 * length, uint type, payload`. Numbers are compact-encoding's `uint`. Source: hypercore 11 `lib/messages.js`.
 *
 * @module
 */
import { BLOCK_BYTES_MAX } from '../limits.ts'
import type { Data, Message, Request } from './message.ts'

/** Requests for the bare blocks `index`, `index + 1`, ... under the ids `id`, `id + 1`, ... */
export interface RequestRun {
  readonly type: 'requests'
  readonly id: number
  readonly fork: number
  readonly index: number
  readonly count: number
  /** As of {@link Request}, the same for all. */
  readonly priority: number
}

/** Blocks that lie somewhere in one buffer: block i is the `lengths[i]` bytes from `offsets[i]` on. */
export interface PackedBlocks {
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
  readonly lengths: Uint32Array
}

/** Block `i` of packed ones: a view. */
export function packedBlock({ bytes, offsets, lengths }: PackedBlocks, i: number): Uint8Array {
  const offset = offsets[i] as number
  return bytes.subarray(offset, offset + (lengths[i] as number))
}

/** Blocks one after the other in a buffer of their own; a single one stays where it is. */
export function packBlocks(blocks: readonly Uint8Array[]): PackedBlocks {
  const offsets = new Uint32Array(blocks.length)
  const lengths = new Uint32Array(blocks.length)
  let byteLength = 0
  for (const [i, block] of blocks.entries()) {
    offsets[i] = byteLength
    lengths[i] = block.byteLength
    byteLength += block.byteLength
  }
  const [only] = blocks
  if (blocks.length === 1 && only !== undefined) return { bytes: only, offsets, lengths }
  const bytes = new Uint8Array(byteLength)
  for (const [i, block] of blocks.entries()) bytes.set(block, offsets[i])
  return { bytes, offsets, lengths }
}

/** The bare blocks `index`, `index + 1`, ... as answers to the requests `id`, `id + 1`, ... */
export interface ValueRun extends PackedBlocks {
  readonly type: 'values'
  readonly id: number
  readonly fork: number
  readonly index: number
  readonly count: number
}

/** Takes what {@link readRuns} finds. */
export interface RunSink {
  requests(run: RequestRun): void
  /** `bytes` is the frame itself. */
  values(run: ValueRun): void
}

const REQUEST = 1
const DATA = 3
/** Flags of either message: a block and nothing else. */
const HAS_BLOCK = 1
const HAS_PRIORITY = 32

/** The run of one bare request, or null if it asks for more than the bytes of a block. */
export function runOfRequest(request: Request): RequestRun | null {
  const { block, hash, seek, upgrade, manifest, id, fork, priority } = request
  if (block === null || block.nodes !== 0) return null
  if (hash !== null || seek !== null || upgrade !== null || manifest) return null
  return { type: 'requests', id, fork, index: block.index, count: 1, priority }
}

/** The run of one bare value, whose bytes stay where they are; null if the answer brings more or something else. */
export function runOfData(data: Data): ValueRun | null {
  const { block, hash, seek, upgrade, manifest, request, fork } = data
  if (block === null || block.nodes.length > 0) return null
  if (hash !== null || seek !== null || upgrade !== null || manifest !== null) return null
  return {
    type: 'values',
    id: request,
    fork,
    index: block.index,
    count: 1,
    bytes: block.value,
    offsets: new Uint32Array(1),
    lengths: Uint32Array.of(block.value.byteLength)
  }
}

/** Request `i` of a run as a message of its own. */
export function requestOfRun({ id, fork, index, priority }: RequestRun, i: number): Request {
  return {
    type: 'request',
    id: id + i,
    fork,
    block: { index: index + i, nodes: 0 },
    hash: null,
    seek: null,
    upgrade: null,
    manifest: false,
    priority
  }
}

/** Value `i` of a run as an answer of its own: a view. */
export function dataOfRun(run: ValueRun, i: number): Data {
  return {
    type: 'data',
    request: run.id + i,
    fork: run.fork,
    block: { index: run.index + i, value: packedBlock(run, i), nodes: [] },
    hash: null,
    seek: null,
    upgrade: null,
    manifest: null
  }
}

/** Bytes of message `i` of a run without the length before it. */
export function requestBytes(run: RequestRun, i: number): number {
  const { id, fork, index, priority } = run
  const numbers = uintBytes(id + i) + uintBytes(fork) + uintBytes(index + i)
  return 3 + numbers + (priority === 0 ? 0 : uintBytes(priority))
}

/** As {@link requestBytes}. */
export function valueBytes(run: ValueRun, i: number): number {
  const { id, fork, index } = run
  const length = run.lengths[i] as number
  return 3 + uintBytes(id + i) + uintBytes(fork) + uintBytes(index + i) + uintBytes(length) + length
}

/** Bytes of a number on the wire. */
export function uintBytes(value: number): number {
  if (value <= 0xfc) return 1
  if (value <= 0xffff) return 3
  return value <= 0xffffffff ? 5 : 9
}

/** Writes a number at `at`; returns where it ends. */
export function writeUint(target: Uint8Array, at: number, value: number): number {
  if (value <= 0xfc) {
    target[at] = value
    return at + 1
  }
  if (value <= 0xffff) {
    target[at] = 0xfd
    target[at + 1] = value
    target[at + 2] = value >>> 8
    return at + 3
  }
  const low = value >>> 0
  target[at] = value <= 0xffffffff ? 0xfe : 0xff
  target[at + 1] = low
  target[at + 2] = low >>> 8
  target[at + 3] = low >>> 16
  target[at + 4] = low >>> 24
  if (value <= 0xffffffff) return at + 5
  const high = Math.floor(value / 2 ** 32)
  target[at + 5] = high
  target[at + 6] = high >>> 8
  target[at + 7] = high >>> 16
  target[at + 8] = high >>> 24
  return at + 9
}

/** Writes the messages `[from, to)` of a run, each after its length; returns where they end. */
export function writeRequests(
  run: RequestRun,
  from: number,
  to: number,
  target: Uint8Array,
  start: number
): number {
  let at = start
  for (let i = from; i < to; i++) {
    // Its length takes one byte always: the message has 40 at most.
    const end = writeRequest(run, i, target, at + 1)
    target[at] = end - at - 1
    at = end
  }
  return at
}

/** Writes one message of a run without the length before it; returns where it ends. */
export function writeRequest(
  run: RequestRun,
  i: number,
  target: Uint8Array,
  start: number
): number {
  const { fork, priority } = run
  target[start] = REQUEST
  target[start + 1] = priority === 0 ? HAS_BLOCK : HAS_BLOCK | HAS_PRIORITY
  let at = writeUint(target, start + 2, run.id + i)
  at = writeUint(target, at, fork)
  at = writeUint(target, at, run.index + i)
  target[at++] = 0
  return priority === 0 ? at : writeUint(target, at, priority)
}

/** As {@link writeRequests}; values are copied. */
export function writeValues(
  run: ValueRun,
  from: number,
  to: number,
  target: Uint8Array,
  start: number
): number {
  let at = start
  for (let i = from; i < to; i++) {
    at = writeUint(target, at, valueBytes(run, i))
    at = writeValue(run, i, target, at)
  }
  return at
}

/** Writes one message of a run without the length before it; returns where it ends. */
export function writeValue(run: ValueRun, i: number, target: Uint8Array, start: number): number {
  const { fork, bytes } = run
  const offset = run.offsets[i] as number
  const length = run.lengths[i] as number
  target[start] = DATA
  target[start + 1] = HAS_BLOCK
  let at = writeUint(target, start + 2, run.id + i)
  at = writeUint(target, at, fork)
  at = writeUint(target, at, run.index + i)
  at = writeUint(target, at, length)
  target.set(bytes.subarray(offset, offset + length), at)
  at += length
  target[at++] = 0
  return at
}

/** Messages that an item stands for: as many as a run has blocks, else one. */
export function messageCount(item: RequestRun | ValueRun | Message): number {
  return item.type === 'requests' || item.type === 'values' ? item.count : 1
}

/** Joins two runs of requests that follow each other, or gives null. */
export function joinRequests(a: RequestRun, b: RequestRun): RequestRun | null {
  if (a.id + a.count !== b.id || a.index + a.count !== b.index) return null
  if (a.fork !== b.fork || a.priority !== b.priority) return null
  return { ...a, count: a.count + b.count }
}

/** The blocks `[from, to)` of a run. */
export function sliceRequests(run: RequestRun, from: number, to: number): RequestRun {
  return { ...run, id: run.id + from, index: run.index + from, count: to - from }
}

/** Where the number that was read last ends; Infinity if it does not fit 32 bits. */
let cursor = 0

function readUint(frame: Uint8Array, at: number): number {
  const first = frame[at] as number
  if (first <= 0xfc) {
    cursor = at + 1
    return first
  }
  if (first === 0xfd) {
    cursor = at + 3
    return (frame[at + 1] as number) | ((frame[at + 2] as number) << 8)
  }
  if (first === 0xfe) {
    cursor = at + 5
    const low = (frame[at + 1] as number) | ((frame[at + 2] as number) << 8)
    return (low | ((frame[at + 3] as number) << 16) | ((frame[at + 4] as number) << 24)) >>> 0
  }
  cursor = Infinity
  return 0
}

/** Offsets and lengths of the values of the run that is being read; grows to what one frame holds. */
let offsets = new Uint32Array(4096)
let lengths = new Uint32Array(4096)

/**
 * Reads batch entries of one channel from `start` on, as long as they are bare requests and values, and hands them on as
 * runs. Whatever else comes, be it a message of another kind, a number beyond 32 bits or bytes that are no message, is
 * left to the reader of single messages.
 *
 * @returns where the first entry that was not taken begins, or `end`.
 */
export function readRuns(frame: Uint8Array, start: number, end: number, sink: RunSink): number {
  let type = 0
  let id = 0
  let fork = 0
  let index = 0
  let priority = 0
  let count = 0
  const flush = (): void => {
    if (count === 0) return
    if (type === REQUEST) sink.requests({ type: 'requests', id, fork, index, count, priority })
    else {
      sink.values({
        type: 'values',
        id,
        fork,
        index,
        count,
        bytes: frame,
        offsets: offsets.slice(0, count),
        lengths: lengths.slice(0, count)
      })
    }
    count = 0
  }
  let at = start
  while (at < end) {
    const byteLength = readUint(frame, at)
    const next = cursor + byteLength
    // The shortest has six bytes. A length of zero announces another channel.
    if (byteLength < 6 || next > end) break
    const message = frame[cursor] as number
    const flags = frame[cursor + 1] as number
    const prioritized = message === REQUEST && flags === (HAS_BLOCK | HAS_PRIORITY)
    if (flags !== HAS_BLOCK && !prioritized) break
    const itsId = readUint(frame, cursor + 2)
    const itsFork = readUint(frame, cursor)
    const itsIndex = readUint(frame, cursor)
    let itsPriority = 0
    let length = 0
    if (message === REQUEST) {
      if (frame[cursor] !== 0) break
      cursor++
      if (prioritized) itsPriority = readUint(frame, cursor)
    } else if (message === DATA) {
      length = readUint(frame, cursor)
      if (length > BLOCK_BYTES_MAX || frame[cursor + length] !== 0) break
      cursor += length + 1
    } else break
    if (cursor !== next) break
    const goesOn =
      count > 0 &&
      type === message &&
      itsId === id + count &&
      itsIndex === index + count &&
      itsFork === fork &&
      itsPriority === priority
    if (!goesOn) {
      flush()
      type = message
      id = itsId
      fork = itsFork
      index = itsIndex
      priority = itsPriority
    }
    if (count === offsets.length) {
      offsets = grown(offsets)
      lengths = grown(lengths)
    }
    offsets[count] = next - 1 - length
    lengths[count] = length
    count++
    at = next
  }
  flush()
  return at
}

function grown(words: Uint32Array): Uint32Array<ArrayBuffer> {
  const longer = new Uint32Array(2 * words.length)
  longer.set(words)
  return longer
}
