import type { ReadonlyBitmap } from '../primitives/bitmap.ts'
import { blockCount, firstBlock } from '../primitives/flat-tree.ts'

/** State of one block of a chunk. */
export const MISSING = 0
/** Stored in the feed. */
export const HELD = 1
/** Asked of a peer. */
export const IN_FLIGHT = 2
/** Its value is kept by the shell until the chunk folds. */
export const RECEIVED = 3

/**
 * - `planning`: the stored nodes above it are being looked up.
 * - `rooting`: its root is not trusted yet; one block is asked with a proof.
 * - `filling`: the root is trusted; bare values are asked for.
 * - `folding`: all is here; the shell compares it with the root.
 * - `blame`: it did not fold; every block is asked with a proof, to find out who lied.
 */
export type ChunkPhase = 'planning' | 'rooting' | 'filling' | 'folding' | 'blame'

/** An aligned subtree that is downloaded as one: the unit of trust and of blame. */
export class Chunk {
  readonly id: number
  phase: ChunkPhase = 'planning'
  /** Flat index of its root. */
  root: number
  start: number
  end: number
  /** Bytes: authenticated once the root is trusted, an estimate before. */
  size: number
  /** While planning: the block whose path is being looked up. */
  entry = -1
  /** While rooting: the peer that was asked for the proof which makes the root trusted, or -1. */
  prover = -1
  /** True if somebody waits for a block of it. */
  urgent: boolean
  /** One state per block. */
  blocks: Uint8Array
  /** The peer that gave each received block, else -1. */
  from: Int32Array
  /** Length in bytes of each received block. */
  byteLengths: Uint32Array
  /** Blocks in state MISSING. */
  missing = 0
  /** Blocks in state IN_FLIGHT. */
  inFlight = 0
  receivedBytes = 0
  /** No block before this offset is MISSING. */
  cursor = 0

  constructor(id: number, root: number, size: number, urgent: boolean) {
    this.id = id
    this.root = root
    this.start = firstBlock(root)
    this.end = this.start + blockCount(root)
    this.size = size
    this.urgent = urgent
    this.blocks = new Uint8Array(this.end - this.start).fill(MISSING)
    this.from = new Int32Array(this.end - this.start).fill(-1)
    this.byteLengths = new Uint32Array(this.end - this.start)
    this.missing = this.end - this.start
  }

  covers(index: number): boolean {
    return this.start <= index && index < this.end
  }

  state(index: number): number {
    return this.blocks[index - this.start] as number
  }

  mark(index: number, state: number): void {
    const at = index - this.start
    const old = this.blocks[at] as number
    if (old === state) return
    if (old === MISSING) this.missing--
    else if (old === IN_FLIGHT) this.inFlight--
    else if (old === RECEIVED) this.receivedBytes -= this.byteLengths[at] as number
    if (state === MISSING) {
      this.missing++
      this.cursor = Math.min(this.cursor, at)
    } else if (state === IN_FLIGHT) this.inFlight++
    this.blocks[at] = state
  }

  /** As {@link Chunk.mark}, for the blocks `[start, end)`. */
  markRun(start: number, end: number, state: number): void {
    for (let index = start; index < end; index++) this.mark(index, state)
  }

  /** First missing block from `index` on, or -1. */
  nextMissing(index: number): number {
    if (this.missing === 0) return -1
    const { blocks } = this
    while (this.cursor < blocks.length && blocks[this.cursor] !== MISSING) this.cursor++
    for (let at = Math.max(this.cursor, index - this.start); at < blocks.length; at++) {
      if (blocks[at] === MISSING) return this.start + at
    }
    return -1
  }

  /** End of the missing blocks from `index` on, which is one. */
  missingEnd(index: number): number {
    let at = index - this.start
    while (at < this.blocks.length && this.blocks[at] === MISSING) at++
    return this.start + at
  }

  /** True if the value of a block is still of use. */
  takes(index: number): boolean {
    if (!this.covers(index)) return false
    const state = this.state(index)
    return state === IN_FLIGHT || state === MISSING
  }

  receive(index: number, peer: number, byteLength: number): void {
    const at = index - this.start
    this.mark(index, RECEIVED)
    this.from[at] = peer
    this.byteLengths[at] = byteLength
    this.receivedBytes += byteLength
  }

  /** True if all blocks of `[start, end)` are in flight. */
  awaits(start: number, end: number): boolean {
    if (start < this.start || end > this.end) return false
    for (let at = start; at < end; at++) if (this.state(at) !== IN_FLIGHT) return false
    return true
  }

  /** As {@link Chunk.receive}, for blocks that are all in flight: block `start + i` has `lengths[i]` bytes. */
  receiveRun(start: number, peer: number, lengths: Uint32Array): void {
    const first = start - this.start
    const end = first + lengths.length
    this.blocks.fill(RECEIVED, first, end)
    this.from.fill(peer, first, end)
    this.byteLengths.set(lengths, first)
    this.inFlight -= lengths.length
    for (const byteLength of lengths) this.receivedBytes += byteLength
  }

  /** True if no block is missing or in flight. */
  get complete(): boolean {
    return this.missing === 0 && this.inFlight === 0
  }

  /** Narrows the chunk to a subtree of it whose root became trusted. */
  narrow(root: number, size: number): void {
    const start = firstBlock(root)
    const end = start + blockCount(root)
    const from = start - this.start
    const to = end - this.start
    this.blocks = this.blocks.slice(from, to)
    this.from = this.from.slice(from, to)
    this.byteLengths = this.byteLengths.slice(from, to)
    this.root = root
    this.start = start
    this.end = end
    this.size = size
    this.cursor = 0
    this.missing = count(this.blocks, MISSING)
    this.inFlight = count(this.blocks, IN_FLIGHT)
  }

  /** Forgets what was received and asked, after blocks that were held are no longer. */
  restart(have: ReadonlyBitmap): void {
    for (let i = 0; i < this.blocks.length; i++) {
      if (this.blocks[i] === HELD && !have.get(this.start + i)) this.mark(this.start + i, MISSING)
    }
  }

  /** The peers that gave what was received, each once. */
  contributors(): number[] {
    const peers = new Set<number>()
    for (const peer of this.from) if (peer !== -1) peers.add(peer)
    return [...peers]
  }
}

function count(blocks: Uint8Array, state: number): number {
  let total = 0
  for (const block of blocks) if (block === state) total++
  return total
}
