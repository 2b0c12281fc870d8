/**
 * Small frames of many channels as one: each frame costs both ends a call of the cipher, a buffer and an event.
 *
 * In a batch the entries of the next channel follow a length of zero and its number. Source: protomux 3.12 `index.js`.
 *
 * @module
 */
import { JOINED_FRAME_BYTES_MAX } from '../limits.ts'
import { writeUint } from '../wire/run.ts'

/** Bytes that a frame grows by at most when it joins others. */
const GROWTH_BYTES = 8
/** Bytes before the first channel of a batch: the control channel's number, and the type of a batch. */
const HEAD_BYTES = 2

/** See the module comment. */
export class JoinedFrame {
  #bytes: Uint8Array = new Uint8Array(1024)
  #byteLength = 0

  /** Bytes so far; 0 if it is empty. */
  get byteLength(): number {
    return this.#byteLength
  }

  /** True if a frame of so many bytes can still join. */
  hasRoom(byteLength: number): boolean {
    return this.#byteLength + byteLength + GROWTH_BYTES <= JOINED_FRAME_BYTES_MAX
  }

  /** Appends a frame, a single message or a batch; its bytes are copied. There must be room for it. */
  add(frame: Uint8Array): void {
    this.#reserve(frame.byteLength + GROWTH_BYTES)
    const bytes = this.#bytes
    let at = this.#byteLength === 0 ? HEAD_BYTES : this.#byteLength
    if (this.#byteLength > 0) bytes[at++] = 0
    if (frame[0] === 0 && frame[1] === 0) {
      bytes.set(frame.subarray(HEAD_BYTES), at)
      this.#byteLength = at + frame.byteLength - HEAD_BYTES
      return
    }
    const channelBytes = uintLength(frame[0] as number)
    bytes.set(frame.subarray(0, channelBytes), at)
    at = writeUint(bytes, at + channelBytes, frame.byteLength - channelBytes)
    bytes.set(frame.subarray(channelBytes), at)
    this.#byteLength = at + frame.byteLength - channelBytes
  }

  /** Copies the whole into a frame of its length, and begins anew. */
  moveTo(frame: Uint8Array): void {
    frame.set(this.#bytes.subarray(0, this.#byteLength))
    this.#byteLength = 0
  }

  #reserve(more: number): void {
    const needed = HEAD_BYTES + this.#byteLength + more
    if (needed <= this.#bytes.byteLength) return
    const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.byteLength))
    grown.set(this.#bytes)
    this.#bytes = grown
  }
}

/** Where the entries of the channel end whose entries begin at `start` of a batch. */
export function sectionEnd(frame: Uint8Array, start: number, end: number): number {
  let at = start
  while (at < end) {
    const first = frame[at] as number
    if (first === 0) return at
    let length = first
    if (first === 0xfd) length = (frame[at + 1] as number) + 256 * (frame[at + 2] as number)
    // Longer ones are in no frame that was joined.
    else if (first > 0xfd) return end
    at += uintLength(first) + length
  }
  return end
}

/** Bytes of a compact unsigned integer that begins with `first`. */
function uintLength(first: number): number {
  if (first < 0xfd) return 1
  if (first === 0xfd) return 3
  return first === 0xfe ? 5 : 9
}
