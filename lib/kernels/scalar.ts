import type { KernelMemory, Kernels } from './kernels.ts'
import { scalarBitmap } from './scalar-bitmap.ts'
import { scalarFrame } from './scalar-frame.ts'

const BLOCK_BYTES = 128
const HELD = 0xffffffff

// Offsets in the work area; only the single-message part of it is used (see wasm/hash.ts).
const STATE = 192
const COUNT = 256
const BLOCK = 384

// Low and high halves of the eight words, alternating. RFC 7693, 2.6.
const IV = new Uint32Array([
  0xf3bcc908, 0x6a09e667, 0x84caa73b, 0xbb67ae85, 0xfe94f82b, 0x3c6ef372, 0x5f1d36f1, 0xa54ff53a,
  0xade682d1, 0x510e527f, 0x2b3e6c1f, 0x9b05688c, 0xfb41bd6b, 0x1f83d9ab, 0x137e2179, 0x5be0cd19
])

const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0]
].map((order) => new Uint8Array(order))

// Halves of the sixteen words of state and of the message block.
const v = new Uint32Array(32)
const m = new Uint32Array(32)

/** The kernels of `wasm/` in plain JavaScript, hashing one message at a time, for platforms without WebAssembly SIMD. */
export function scalarKernels(memory: KernelMemory): Kernels {
  let view = new DataView(memory.buffer)
  let bytes = new Uint8Array(memory.buffer)

  function refresh(): void {
    if (view.buffer === memory.buffer) return
    view = new DataView(memory.buffer)
    bytes = new Uint8Array(memory.buffer)
  }

  function begin(work: number, keyLength: number): void {
    refresh()
    for (let i = 0; i < 16; i++) view.setUint32(work + STATE + 4 * i, IV[i] as number, true)
    // The first word also takes the parameters: 32 bytes of hash, length of the key, no tree.
    const first = ((IV[0] as number) ^ 0x01010020 ^ (keyLength << 8)) >>> 0
    view.setUint32(work + STATE, first, true)
    view.setFloat64(work + COUNT, 0, true)
  }

  function compress(work: number, at: number, byteCount: number, final: boolean): void {
    const count = view.getFloat64(work + COUNT, true) + byteCount
    view.setFloat64(work + COUNT, count, true)
    for (let i = 0; i < 16; i++) v[i] = view.getUint32(work + STATE + 4 * i, true)
    v.set(IV, 16)
    v[24] = (v[24] as number) ^ count
    v[25] = (v[25] as number) ^ Math.floor(count / 2 ** 32)
    if (final) {
      v[28] = ~(v[28] as number)
      v[29] = ~(v[29] as number)
    }
    for (let i = 0; i < 32; i++) m[i] = view.getUint32(at + 4 * i, true)
    mixRounds()
    for (let i = 0; i < 16; i++) {
      const word = view.getUint32(work + STATE + 4 * i, true)
      view.setUint32(work + STATE + 4 * i, word ^ (v[i] as number) ^ (v[i + 16] as number), true)
    }
  }

  function absorb(work: number, at: number, count: number): void {
    refresh()
    for (let i = 0; i < count; i++) compress(work, at + BLOCK_BYTES * i, BLOCK_BYTES, false)
  }

  function finish(work: number, at: number, length: number, out: number): void {
    const count = length > BLOCK_BYTES ? Math.floor((length - 1) / BLOCK_BYTES) : 0
    absorb(work, at, count)
    const tail = length - count * BLOCK_BYTES
    const block = work + BLOCK
    // Zeros come last: the bytes may stand in the block already.
    bytes.copyWithin(block, at + count * BLOCK_BYTES, at + length)
    bytes.fill(0, block + tail, block + BLOCK_BYTES)
    compress(work, block, tail, true)
    bytes.copyWithin(out, work + STATE, work + STATE + 32)
  }

  function hashMessages(
    work: number,
    base: number,
    offsets: number,
    lengths: number,
    count: number,
    out: number,
    stride: number,
    leaf: number
  ): void {
    refresh()
    for (let i = 0; i < count; i++) {
      const length = view.getUint32(lengths + 4 * i, true)
      if (length === HELD) continue
      let at = base + view.getUint32(offsets + 4 * i, true)
      let rest = length
      begin(work, 0)
      if (leaf !== 0) {
        const block = work + BLOCK
        const taken = Math.min(length, BLOCK_BYTES - 9)
        bytes.fill(0, block, block + 9)
        view.setUint32(block + 1, length, true)
        bytes.copyWithin(block + 9, at, at + taken)
        at += taken
        rest -= taken
        if (rest === 0) {
          finish(work, block, 9 + taken, out + stride * i)
          continue
        }
        absorb(work, block, 1)
      }
      finish(work, at, rest, out + stride * i)
    }
  }

  function fold(
    work: number,
    base: number,
    offsets: number,
    lengths: number,
    count: number,
    nodes: number
  ): void {
    hashMessages(work, base, offsets, lengths, count, nodes + 8, 80, 1)
    for (let i = 0; i < count; i++) {
      const length = view.getUint32(lengths + 4 * i, true)
      if (length === HELD) continue
      view.setUint32(nodes + 80 * i, length, true)
      view.setUint32(nodes + 80 * i + 4, 0, true)
    }
    for (let reach = 1; reach < count; reach *= 2) {
      for (let index = 2 * reach - 1; index < 2 * count - 1; index += 4 * reach) {
        foldParent(work, nodes + 40 * index, 40 * reach)
      }
    }
  }

  function foldParent(work: number, node: number, reach: number): void {
    const left = node - reach
    const right = node + reach
    view.setBigUint64(node, view.getBigUint64(left, true) + view.getBigUint64(right, true), true)
    const block = work + BLOCK
    bytes[block] = 1
    bytes.copyWithin(block + 1, node, node + 8)
    bytes.copyWithin(block + 9, left + 8, left + 40)
    bytes.copyWithin(block + 41, right + 8, right + 40)
    begin(work, 0)
    finish(work, block, 73, node + 8)
  }

  return {
    begin,
    absorb,
    finish,
    hashMessages,
    fold,
    ...scalarBitmap(memory),
    ...scalarFrame(memory)
  }
}

function mixRounds(): void {
  for (let round = 0; round < 12; round++) {
    const order = SIGMA[round % 10] as Uint8Array
    mix(0, 8, 16, 24, order[0] as number, order[1] as number)
    mix(2, 10, 18, 26, order[2] as number, order[3] as number)
    mix(4, 12, 20, 28, order[4] as number, order[5] as number)
    mix(6, 14, 22, 30, order[6] as number, order[7] as number)
    mix(0, 10, 20, 30, order[8] as number, order[9] as number)
    mix(2, 12, 22, 24, order[10] as number, order[11] as number)
    mix(4, 14, 16, 26, order[12] as number, order[13] as number)
    mix(6, 8, 18, 28, order[14] as number, order[15] as number)
  }
}

/** One mixing of the state words that begin at `a`, `b`, `c`, `d` with message words `x` and `y`. RFC 7693, 3.1. */
function mix(a: number, b: number, c: number, d: number, x: number, y: number): void {
  add(a, v, b)
  add(a, m, 2 * x)
  xorRotate(d, a, 32)
  add(c, v, d)
  xorRotate(b, c, 24)
  add(a, v, b)
  add(a, m, 2 * y)
  xorRotate(d, a, 16)
  add(c, v, d)
  xorRotate(b, c, 63)
}

function add(to: number, words: Uint32Array, from: number): void {
  const low = (v[to] as number) + (words[from] as number)
  v[to] = low
  v[to + 1] = (v[to + 1] as number) + (words[from + 1] as number) + (low > 0xffffffff ? 1 : 0)
}

/** Xors word `from` into word `to` and rotates the result right by `count` bits. */
function xorRotate(to: number, from: number, count: number): void {
  let low = (v[to] as number) ^ (v[from] as number)
  let high = (v[to + 1] as number) ^ (v[from + 1] as number)
  if (count >= 32) {
    const swap = low
    low = high
    high = swap
  }
  const shift = count % 32
  if (shift === 0) {
    v[to] = low
    v[to + 1] = high
    return
  }
  v[to] = (low >>> shift) | (high << (32 - shift))
  v[to + 1] = (high >>> shift) | (low << (32 - shift))
}
