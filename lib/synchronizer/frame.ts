/**
 * Messages of one channel as Protomux frames, written without Protomux's own copies.
 *
 * One message: `uint channel, uint type, payload`. Several: `0, 0, uint channel`, then for each `uint length, uint type,
 * payload`. Source: protomux 3.12 `index.js`.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import { ANSWER_FRAME_BYTES_MAX, FRAME_BYTES_MAX } from '../limits.ts'
import { messageCodecs, type CodecState } from '../wire/codec.ts'
import { MESSAGE_TYPES, type Message } from '../wire/message.ts'

const TYPE_NUMBERS: ReadonlyMap<Message['type'], number> = new Map(
  MESSAGE_TYPES.map((type, number) => [type, number])
)

/** Number of the type of a message on the wire. */
export function typeNumber(message: Message): number {
  return TYPE_NUMBERS.get(message.type) as number
}

/**
 * Packs messages into frames of at most ANSWER_FRAME_BYTES_MAX; a message that is larger goes alone.
 *
 * @param alloc - room for one frame, which is written by `write` before the next one is asked for.
 * @returns the bytes of all frames.
 * @throws SynclineError BAD_ARGUMENT when a message exceeds FRAME_BYTES_MAX; nothing of its frame is written.
 */
export function writeFrames(
  channel: number,
  messages: readonly Message[],
  alloc: (byteLength: number) => Uint8Array,
  write: (frame: Uint8Array) => void
): number {
  const sizes = messages.map(sizeOf)
  let written = 0
  for (let start = 0; start < messages.length;) {
    let byteLength = 2 + uintSize(channel)
    let end = start
    while (end < messages.length) {
      const size = sizes[end] as number
      const next = byteLength + uintSize(size) + size
      if (end > start && next > ANSWER_FRAME_BYTES_MAX) break
      byteLength = next
      end++
    }
    const alone = end === start + 1
    if (alone) byteLength = uintSize(channel) + (sizes[start] as number)
    if (byteLength > FRAME_BYTES_MAX) {
      throw new SynclineError('BAD_ARGUMENT', `a message of ${byteLength} bytes fits no frame`)
    }
    const frame = alloc(byteLength)
    const state: CodecState = { start: 0, end: byteLength, buffer: frame }
    if (!alone) {
      frame[0] = 0
      frame[1] = 0
      state.start = 2
    }
    putUint(state, frame, channel)
    for (let i = start; i < end; i++) {
      if (!alone) putUint(state, frame, sizes[i] as number)
      putMessage(state, frame, messages[i] as Message)
    }
    write(frame)
    written += byteLength
    start = end
  }
  return written
}

/** Bytes of messages without what a frame adds. */
export function byteLengthOf(messages: readonly Message[]): number {
  let byteLength = 0
  for (const message of messages) byteLength += sizeOf(message)
  return byteLength
}

/** Bytes of the type number, which is always one byte, and the payload. */
function sizeOf(message: Message): number {
  const state: CodecState = { start: 0, end: 1, buffer: null }
  messageCodecs[typeNumber(message)]?.preencode(state, message)
  return state.end
}

function putMessage(state: CodecState, frame: Uint8Array, message: Message): void {
  const type = typeNumber(message)
  frame[state.start++] = type
  messageCodecs[type]?.encode(state, message)
}

function uintSize(value: number): number {
  if (value <= 0xfc) return 1
  if (value <= 0xffff) return 3
  return 5
}

function putUint(state: CodecState, frame: Uint8Array, value: number): void {
  const size = uintSize(value)
  if (size > 1) frame[state.start++] = size === 3 ? 0xfd : 0xfe
  for (let i = 0, rest = value; i < Math.max(1, size - 1); i++, rest >>>= 8) {
    frame[state.start++] = rest & 0xff
  }
}
