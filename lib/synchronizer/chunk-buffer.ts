import { HELD } from '../feed/feed.ts'
import { leafHash } from '../kernels/fold.ts'
import type { ValueRun } from '../wire/run.ts'

/** Bytes up to which values are copied word by word: a view for each would take longer to make than to use. */
const SMALL_BYTES = 256

/**
 * The values of one open chunk, in one buffer in the order of their arrival.
 *
 * The buffer has the authenticated size of the chunk, so what a peer can make us hold is bounded by what
 * the chunk's root vouches for.
 */
export class ChunkBuffer {
  readonly start: number
  /** True while what it holds is being stored. */
  folding = false
  /** True once nobody asks for it any more. */
  dropped = false
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #offsets: Uint32Array
  readonly #lengths: Uint32Array
  readonly #from: Int32Array
  #used = 0

  /** @param bytes - room for all blocks of the chunk, whatever stands there. */
  constructor(start: number, count: number, bytes: Uint8Array) {
    this.start = start
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#offsets = new Uint32Array(count)
    this.#lengths = new Uint32Array(count).fill(HELD)
    this.#from = new Int32Array(count).fill(-1)
  }

  /** Copies the values `[from, to)` of a run in; what exceeds the chunk's size is left out, and the fold will fail. */
  hold(run: ValueRun, from: number, to: number, peer: number): void {
    const { bytes, offsets, lengths } = run
    const source = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const first = run.index - this.start
    for (let i = from; i < to; i++) {
      const length = lengths[i] as number
      if (this.#used + length > this.#bytes.byteLength) continue
      const offset = offsets[i] as number
      if (length > SMALL_BYTES) {
        this.#bytes.set(bytes.subarray(offset, offset + length), this.#used)
      } else copySmall(this.#view, this.#used, source, offset, length)
      this.#offsets[first + i] = this.#used
      this.#lengths[first + i] = length
      this.#from[first + i] = peer
      this.#used += length
    }
  }

  /** The room that it was given. */
  get bytes(): Uint8Array {
    return this.#bytes
  }

  /** The arrays as {@link ChunkBlocks} wants them; they stay ours. */
  get blocks(): { bytes: Uint8Array; offsets: Uint32Array; lengths: Uint32Array } {
    return { bytes: this.#bytes, offsets: this.#offsets, lengths: this.#lengths }
  }

  /** Who gave which block, and the leaf hash of what was given. */
  *leaves(): Iterable<{ index: number; peer: number; hash: Uint8Array }> {
    for (let i = 0; i < this.#lengths.length; i++) {
      const length = this.#lengths[i] as number
      if (length === HELD) continue
      const offset = this.#offsets[i] as number
      const hash = leafHash(this.#bytes.subarray(offset, offset + length))
      yield { index: this.start + i, peer: this.#from[i] as number, hash }
    }
  }
}

function copySmall(
  target: DataView,
  at: number,
  source: DataView,
  from: number,
  length: number
): void {
  let i = 0
  for (; i + 4 <= length; i += 4) target.setUint32(at + i, source.getUint32(from + i, true), true)
  for (; i < length; i++) target.setUint8(at + i, source.getUint8(from + i))
}
