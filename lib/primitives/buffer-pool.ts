import { SPARE_BUFFER_BYTES_MAX } from '../limits.ts'

/** Bytes of the smallest buffers that are worth keeping. */
const SMALL_BYTES = 4096

/**
 * Buffers that are used again and again: those of chunks and frames are so large and so many that making and collecting
 * them would cost more than filling them. What a buffer holds when it is taken is what its last user left.
 */
export class BufferPool {
  /** Buffers by the power of two that they hold. */
  readonly #spare: Map<number, Uint8Array[]> = new Map()
  /** What was taken and not given back. */
  readonly #taken: WeakSet<ArrayBufferLike> = new WeakSet()
  #bytes = 0

  /** A buffer of `byteLength` bytes, for the taker alone until it is given back. */
  take(byteLength: number): Uint8Array {
    if (byteLength < SMALL_BYTES) return new Uint8Array(byteLength)
    const capacity = capacityOf(byteLength)
    const spare = this.#spare.get(capacity)?.pop()
    if (spare !== undefined) this.#bytes -= capacity
    const buffer = spare ?? new Uint8Array(capacity)
    this.#taken.add(buffer.buffer)
    return buffer.subarray(0, byteLength)
  }

  /**
   * Takes back a buffer that {@link BufferPool.take} gave, by any view of it. Nobody may use it any more. What it did not
   * give, or has back already, is left alone.
   */
  give(view: Uint8Array): void {
    const { buffer } = view
    if (!this.#taken.delete(buffer)) return
    const capacity = buffer.byteLength
    if (this.#bytes + capacity > SPARE_BUFFER_BYTES_MAX) return
    let spare = this.#spare.get(capacity)
    if (spare === undefined) this.#spare.set(capacity, (spare = []))
    spare.push(new Uint8Array(buffer))
    this.#bytes += capacity
  }
}

function capacityOf(byteLength: number): number {
  return 2 ** Math.ceil(Math.log2(byteLength))
}
