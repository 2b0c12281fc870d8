/**
 * Bytes that are written field by field, in compact-encoding's encodings.
 *
 * @module
 */

const START_BYTES = 256

/** Grows as needed. */
export class ByteWriter {
  #bytes: Uint8Array = new Uint8Array(START_BYTES)
  #view: DataView = new DataView(this.#bytes.buffer)
  #length = 0

  /** Bytes that were written. */
  get length(): number {
    return this.#length
  }

  /** An unsigned integer below 2^53: one byte up to 252, else a marker and 2, 4 or 8 bytes. */
  uint(value: number): void {
    this.#reserve(9)
    const view = this.#view
    const at = this.#length
    if (value <= 0xfc) {
      view.setUint8(at, value)
      this.#length = at + 1
    } else if (value <= 0xffff) {
      view.setUint8(at, 0xfd)
      view.setUint16(at + 1, value, true)
      this.#length = at + 3
    } else if (value <= 0xffffffff) {
      view.setUint8(at, 0xfe)
      view.setUint32(at + 1, value, true)
      this.#length = at + 5
    } else {
      view.setUint8(at, 0xff)
      view.setUint32(at + 1, value % 2 ** 32, true)
      view.setUint32(at + 5, Math.floor(value / 2 ** 32), true)
      this.#length = at + 9
    }
  }

  /** Four bytes, little-endian. */
  uint32(value: number): void {
    this.#reserve(4)
    this.#view.setUint32(this.#length, value, true)
    this.#length += 4
  }

  /** Four bytes at a place that was written before. */
  setUint32(at: number, value: number): void {
    this.#view.setUint32(at, value, true)
  }

  /** Bytes without their length. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.byteLength)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.byteLength
  }

  /** Bytes after their length. */
  bytes(bytes: Uint8Array): void {
    this.uint(bytes.byteLength)
    this.raw(bytes)
  }

  string(text: string): void {
    this.bytes(new TextEncoder().encode(text))
  }

  /** Zeros up to a multiple of `bytes`. */
  pad(bytes: number): void {
    const count = (bytes - (this.#length % bytes)) % bytes
    this.#reserve(count)
    this.#bytes.fill(0, this.#length, this.#length + count)
    this.#length += count
  }

  /** What was written from `start` on; valid until more is written. */
  view(start = 0): Uint8Array {
    return this.#bytes.subarray(start, this.#length)
  }

  /** What was written, the caller's. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }

  /** Forgets what was written from `length` on; its room stays. */
  cut(length: number): void {
    this.#length = length
  }

  #reserve(count: number): void {
    const needed = this.#length + count
    if (needed <= this.#bytes.byteLength) return
    const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.byteLength))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }
}
