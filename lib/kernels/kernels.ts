import { SynclineError } from '../errors.ts'
import { MODULE_BASE64 } from './module.ts'
import { scalarKernels } from './scalar.ts'

/** Memory that the kernels work in: a WebAssembly.Memory, or the same thing in plain JavaScript. */
export interface KernelMemory {
  /** Changes with each growth; the old one is detached then. */
  readonly buffer: ArrayBuffer
  /** Adds pages of 64 KiB. */
  grow(pages: number): unknown
}

/**
 * The exported functions of `wasm/`, whose comments say more. All arguments are addresses in bytes, lengths or counts; a
 * result of 32 bits may come as its negative complement.
 */
export interface Kernels extends BitmapKernels, FrameKernels {
  /** Starts a single message, whose first block is the padded key if `keyLength` > 0. */
  begin(work: number, keyLength: number): void
  /** Takes whole blocks of 128 bytes, after which at least one more byte must follow. */
  absorb(work: number, bytes: number, count: number): void
  /** Takes the last bytes and writes the hash. */
  finish(work: number, bytes: number, length: number, out: number): void
  /** Hashes many messages; `leaf` is 1 to hash them as leaves. */
  hashMessages(
    work: number,
    bytes: number,
    offsets: number,
    lengths: number,
    count: number,
    out: number,
    stride: number,
    leaf: number
  ): void
  /** Fills the nodes above a run of leaves. */
  fold(
    work: number,
    bytes: number,
    offsets: number,
    lengths: number,
    count: number,
    nodes: number
  ): void
}

/** Of {@link Kernels}, those that work on bits. `flip` is 0 for set bits, -1 for unset ones. */
export interface BitmapKernels {
  /** Writes what is wanted, not there, and not in flight. */
  andNot(wanted: number, have: number, inFlight: number, count: number, out: number): void
  /** Number of set bits. */
  countBits(words: number, start: number, end: number): number
  /** The first bit of its kind, or `end`. */
  findBit(words: number, start: number, end: number, flip: number): number
  /** Writes the runs of one kind as pairs (first bit + `base`, count); returns how many. */
  listRuns(
    words: number,
    start: number,
    end: number,
    flip: number,
    base: number,
    out: number
  ): number
  /** Sets the bits of runs that lie in `[base, base + bits)`; returns how many runs end within `limit`. */
  fillRuns(
    words: number,
    base: number,
    bits: number,
    pairs: number,
    count: number,
    limit: number
  ): number
}

/** Of {@link Kernels}, those that work on frames. */
export interface FrameKernels {
  /** Writes bare requests as entries of a batch; returns where they end. */
  writeRequests(
    out: number,
    count: number,
    id: number,
    fork: number,
    index: number,
    priority: number
  ): number
  /** Writes bare values as entries of a batch; returns where they end. */
  writeValues(
    out: number,
    bytes: number,
    offsets: number,
    lengths: number,
    count: number,
    id: number,
    fork: number,
    index: number
  ): number
  /** Writes what stands before the bytes of a bare value; returns where it ends. */
  writeHead(out: number, id: number, fork: number, index: number, length: number): number
  /** Takes entries of a batch as runs, and goes on where the call before ended. */
  readRuns(
    bytes: number,
    end: number,
    base: number,
    runs: number,
    offsets: number,
    lengths: number,
    entriesMax: number,
    state: number
  ): void
}

/** Bytes of one page of memory. */
export const PAGE_BYTES = 65_536
/** Length that marks a message whose hash is there already. */
export const HELD = 0xffffffff

const wasm = decodeBase64(MODULE_BASE64)

/**
 * Whether the SIMD module runs here. False means the same results some ten times slower; callers that can reach the user
 * should say so once. It becomes false where there is no room for its memory.
 */
export let simd: boolean = typeof WebAssembly !== 'undefined' && WebAssembly.validate(wasm)

/** Makes a set of kernels over a memory of their own: the module if the platform takes it, otherwise the scalar twin. */
export function createKernels(pages: number): { kernels: Kernels; memory: KernelMemory } {
  const memory = simd ? createMemory(pages) : null
  if (memory === null) return createScalarKernels(pages)
  const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm), { env: { memory } })
  if (typeof instance.exports['fold'] !== 'function') {
    throw new SynclineError('BROKEN_INVARIANT', 'the kernel module has no fold')
  }
  return { kernels: instance.exports as unknown as Kernels, memory }
}

/** Null where the address space is limited: to check no bounds, V8 reserves 10 GB of it for any memory. */
function createMemory(pages: number): WebAssembly.Memory | null {
  try {
    return new WebAssembly.Memory({ initial: pages })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    simd = false
    return null
  }
}

/** Like {@link createKernels}, always without WebAssembly. */
export function createScalarKernels(pages: number): { kernels: Kernels; memory: KernelMemory } {
  const memory = {
    buffer: new ArrayBuffer(pages * PAGE_BYTES),
    grow(pages: number): void {
      const grown = new ArrayBuffer(memory.buffer.byteLength + pages * PAGE_BYTES)
      new Uint8Array(grown).set(new Uint8Array(memory.buffer))
      memory.buffer = grown
    }
  }
  return { kernels: scalarKernels(memory), memory }
}

function decodeBase64(text: string): Uint8Array {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  const values = new Uint8Array(128).fill(255)
  for (let i = 0; i < 64; i++) values[alphabet.charCodeAt(i)] = i
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4))
  let length = 0
  let bits = 0
  let bitCount = 0
  for (let i = 0; i < text.length; i++) {
    const value = values[text.charCodeAt(i)] as number
    if (value === 255) continue
    bits = ((bits << 6) | value) & 0xffff
    bitCount += 6
    if (bitCount < 8) continue
    bitCount -= 8
    bytes[length++] = bits >>> bitCount
  }
  return bytes.subarray(0, length)
}
