/**
 * Messages of one channel as Protomux frames, written without Protomux's own copies.
 *
 * One message: `uint channel, uint type, payload`. Several: `0, 0, uint channel`, then for each `uint length, uint type,
 * payload`. Source: protomux 3.12 `index.js`.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { ANSWER_FRAME_BYTES_MAX, FRAME_BYTES_MAX, SINGLE_FRAME_BYTES } from '../limits.ts'
import * as kernel from '../kernels/frame.ts'
import { messageCodecs, type CodecState } from '../wire/codec.ts'
import { MESSAGE_TYPES, type Message } from '../wire/message.ts'
import {
  dataOfRun,
  messageCount,
  type RequestRun,
  requestBytes,
  requestOfRun,
  uintBytes,
  valueBytes,
  type ValueRun,
  writeRequest,
  writeRequests,
  writeUint,
  writeValue,
  writeValues
} from '../wire/run.ts'

/** What can be sent: single messages, and runs of them. */
export type Outgoing = Message | RequestRun | ValueRun

/** The messages `[from, to)` of a run, or a single one. */
interface Piece {
  readonly item: Outgoing
  readonly from: number
  readonly to: number
}

const TYPE_NUMBERS: ReadonlyMap<Message['type'], number> = new Map(
  MESSAGE_TYPES.map((type, number) => [type, number])
)

/** Number of the type of a message on the wire. */
export function typeNumber(message: Message): number {
  return TYPE_NUMBERS.get(message.type) as number
}

/**
 * Packs messages into frames of at most ANSWER_FRAME_BYTES_MAX; one of SINGLE_FRAME_BYTES or more goes alone.
 *
 * @param alloc - room for one frame, which is written by `write` before the next one is asked for.
 * @returns the bytes of all frames.
 * @throws SynclineError BAD_ARGUMENT when a message exceeds FRAME_BYTES_MAX; nothing of its frame is written.
 */
export function writeFrames(
  channel: number,
  messages: readonly Outgoing[],
  alloc: (byteLength: number) => Uint8Array,
  write: (frame: Uint8Array) => void
): number {
  const headBytes = 2 + uintBytes(channel)
  let pieces: Piece[] = []
  let count = 0
  let byteLength = headBytes
  /** Bytes of the message that was added last. */
  let last = 0
  let written = 0
  const flush = (): void => {
    if (count === 0) return
    const size = count === 1 ? uintBytes(channel) + last : byteLength
    if (size > FRAME_BYTES_MAX) {
      throw new SynclineError('BAD_ARGUMENT', `a message of ${size} bytes fits no frame`)
    }
    const frame = alloc(size)
    if (count === 1) writeSingle(frame, channel, pieces[0] as Piece)
    else writeBatch(frame, channel, pieces)
    write(frame)
    written += size
    pieces = []
    count = 0
    byteLength = headBytes
  }
  for (const item of messages) {
    const total = messageCount(item)
    let from = 0
    for (let i = 0; i < total; i++) {
      const size = sizeOf(item, i)
      const next = byteLength + uintBytes(size) + size
      const large = size >= SINGLE_FRAME_BYTES || last >= SINGLE_FRAME_BYTES
      if (count > 0 && (large || next > ANSWER_FRAME_BYTES_MAX)) {
        if (i > from) pieces.push({ item, from, to: i })
        flush()
        from = i
      }
      count++
      byteLength += uintBytes(size) + size
      last = size
    }
    if (total > from) pieces.push({ item, from, to: total })
  }
  flush()
  return written
}

/** The messages that a run stands for; any other message alone. */
export function singlesOf(item: Outgoing): Message[] {
  if (item.type !== 'values' && item.type !== 'requests') return [item]
  const run = item
  return Array.from({ length: run.count }, (_, i) =>
    run.type === 'values' ? dataOfRun(run, i) : requestOfRun(run, i)
  )
}

/** Bytes of messages without what a frame adds. */
export function byteLengthOf(messages: readonly Message[]): number {
  let byteLength = 0
  for (const message of messages) byteLength += sizeOf(message, 0)
  return byteLength
}

/** Bytes of the type number, which is always one byte, and the payload. */
function sizeOf(item: Outgoing, i: number): number {
  if (item.type === 'values') return valueBytes(item, i)
  if (item.type === 'requests') return requestBytes(item, i)
  const state: CodecState = { start: 0, end: 1, buffer: null }
  messageCodecs[typeNumber(item)]?.preencode(state, item)
  return state.end
}

function writeSingle(frame: Uint8Array, channel: number, { item, from }: Piece): void {
  const at = writeUint(frame, 0, channel)
  if (item.type === 'values') writeValue(item, from, frame, at)
  else if (item.type === 'requests') writeRequest(item, from, frame, at)
  else writeMessage(item, frame, at)
}

function writeBatch(frame: Uint8Array, channel: number, pieces: readonly Piece[]): void {
  frame[0] = 0
  frame[1] = 0
  let at = writeUint(frame, 2, channel)
  for (const { item, from, to } of pieces) {
    if (item.type === 'values') {
      const write = kernel.writePays(to - from, frame.byteLength) ? kernel.writeValues : writeValues
      at = write(item, from, to, frame, at)
    } else if (item.type === 'requests') {
      const write = kernel.writePays(to - from, 0) ? kernel.writeRequests : writeRequests
      at = write(item, from, to, frame, at)
    } else at = writeMessage(item, frame, writeUint(frame, at, sizeOf(item, 0)))
  }
}

function writeMessage(message: Message, frame: Uint8Array, at: number): number {
  const type = typeNumber(message)
  frame[at] = type
  const state: CodecState = { start: at + 1, end: frame.byteLength, buffer: frame }
  messageCodecs[type]?.encode(state, message)
  return state.start
}
