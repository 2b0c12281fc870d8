/**
 * The memory of the kernels and how one call lays it out.
 *
 * | from | bytes | what |
 * |---|---|---|
 * | 0 | 4,096 | static data of the module (it starts at 1,024; today there is none) |
 * | 4,096 | 1,024 | work area of the kernels (wasm/hash.ts) |
 * | 5,120 | what the call takes | tables, messages and results, in the order of its `take`s, each 16-aligned |
 *
 * Each call begins with `reset` and owns everything from 5,120 on until it returns; nothing outlives a call. Memory starts
 * at 1 MiB, at least doubles when it grows, and never shrinks. Callers take at most {@link MESSAGE_BYTES_MAX} for
 * messages plus tables in proportion to their counts, so it stays below 32 MiB whatever is hashed.
 *
 * @module
 */
import { createKernels, type Kernels, PAGE_BYTES } from './kernels.ts'

/** Address of the kernels' work area. */
export const WORK = 4096
/** Bytes of messages in memory at a time; more are streamed or go in several calls. */
export const MESSAGE_BYTES_MAX: number = 8 * 1024 * 1024

const ARENA_START = 5120
const PAGES_START = 16

const { kernels, memory } = createKernels(PAGES_START)
let end = ARENA_START
let bytes = new Uint8Array(memory.buffer)
let words = new Uint32Array(memory.buffer)
let view = new DataView(memory.buffer)

export const run: Kernels = kernels

/** Gives everything taken back. */
export function reset(): void {
  end = ARENA_START
}

/** The address of `byteLength` bytes, 16-aligned, content undefined. May grow the memory and so detach {@link arenaBytes}. */
export function take(byteLength: number): number {
  const at = end
  end = (at + byteLength + 15) & ~15
  if (end > bytes.byteLength) {
    const missing = Math.max(end - bytes.byteLength, bytes.byteLength)
    memory.grow(Math.ceil(missing / PAGE_BYTES))
    bytes = new Uint8Array(memory.buffer)
    words = new Uint32Array(memory.buffer)
    view = new DataView(memory.buffer)
  }
  return at
}

/** All memory as bytes; not to be kept across {@link take}. */
export function arenaBytes(): Uint8Array {
  return bytes
}

/** All memory as u32le words, as {@link arenaBytes}. */
export function arenaWords(): Uint32Array {
  return words
}

/** A copy of `byteLength` bytes at `at`, owned by the caller. */
export function copyOut(at: number, byteLength: number): Uint8Array {
  return bytes.slice(at, at + byteLength)
}

/** Writes `value` (an integer below 2^53) as u64le. */
export function putUint64(at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true)
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true)
}

/** Writes u32le words at `at`, a multiple of 4. */
export function putWords(at: number, source: Uint32Array): void {
  words.set(source, at / 4)
}
