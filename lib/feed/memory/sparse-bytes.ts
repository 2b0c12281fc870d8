/**
 * A byte array with holes, in memory.
 *
 * @module
 */

/** Bytes of one page; the last one written may be smaller while it grows. */
const PAGE_BYTES: number = 64 * 1024

/** Bytes at any offset; what was never written reads as zeros and takes no memory, page by page. */
export class SparseBytes {
  readonly #pages: Map<number, Uint8Array> = new Map()

  /** A fresh copy of `[offset, offset + byteLength)`. */
  read(offset: number, byteLength: number): Uint8Array {
    const bytes = new Uint8Array(byteLength)
    for (const [number, from, at, length] of pieces(offset, byteLength)) {
      const page = this.#pages.get(number)
      if (page !== undefined) bytes.set(page.subarray(from, from + length), at)
    }
    return bytes
  }

  /** Copies `bytes` in. */
  write(offset: number, bytes: Uint8Array): void {
    for (const [number, from, at, length] of pieces(offset, bytes.byteLength)) {
      this.#grow(number, from + length).set(bytes.subarray(at, at + length), from)
    }
  }

  /** Makes `[offset, offset + byteLength)` a hole again. */
  free(offset: number, byteLength: number): void {
    for (const [number, from, , length] of pieces(offset, byteLength)) {
      if (length === PAGE_BYTES) this.#pages.delete(number)
      else this.#pages.get(number)?.fill(0, from, from + length)
    }
  }

  /** Makes everything from `offset` on a hole. */
  truncate(offset: number): void {
    const last = Math.floor(offset / PAGE_BYTES)
    for (const number of [...this.#pages.keys()]) if (number > last) this.#pages.delete(number)
    this.#pages.get(last)?.fill(0, offset - last * PAGE_BYTES)
  }

  #grow(number: number, byteLength: number): Uint8Array {
    const page = this.#pages.get(number)
    if (page !== undefined && page.byteLength >= byteLength) return page
    const doubled = Math.max(byteLength, 2 * (page?.byteLength ?? 0), 256)
    const grown = new Uint8Array(Math.min(doubled, PAGE_BYTES))
    if (page !== undefined) grown.set(page)
    this.#pages.set(number, grown)
    return grown
  }
}

/** Page number, offset in the page, offset in the range, length: for each page that a range touches. */
function* pieces(
  offset: number,
  byteLength: number
): Iterable<readonly [number: number, from: number, at: number, length: number]> {
  for (let at = 0; at < byteLength;) {
    const number = Math.floor((offset + at) / PAGE_BYTES)
    const from = offset + at - number * PAGE_BYTES
    const length = Math.min(PAGE_BYTES - from, byteLength - at)
    yield [number, from, at, length]
    at += length
  }
}
