/**
 * Answers to requests, read from a feed in runs.
 *
 * @module
 */
import { isSynclineError } from '../errors.ts'
import type { Failure } from '../engine/input.ts'
import type { Feed } from '../feed/feed.ts'
import {
  ANSWER_FRAME_BYTES_MAX,
  BLOCK_BYTES_MAX,
  FRAME_BYTES_MAX,
  OUTBOX_BYTES_MAX
} from '../limits.ts'
import type { Data, Proof, Request } from '../wire/message.ts'
import { messageCount, type PackedBlocks, type RequestRun, sliceRequests } from '../wire/run.ts'
import { byteLengthOf, type Outgoing } from './frame.ts'
import { BufferPool } from '../primitives/buffer-pool.ts'

/** What became of requests. */
export interface Answered {
  /** Blocks that were given, from `start` on: one length in bytes for each. */
  readonly given: readonly { readonly start: number; readonly byteLengths: Uint32Array }[]
  /** What was not looked at, since enough was sent for one turn. */
  readonly rest: readonly (Request | RequestRun)[]
  readonly failure: Failure | null
}

/** What blocks are read into until they stand in frames. */
const pool = new BufferPool()

/** Rough bytes of the nodes of a proof. */
const PROOF_BYTES = 512
/** Bytes of a message that still fits a frame alone, behind the number of its channel. */
const MESSAGE_BYTES_MAX: number = FRAME_BYTES_MAX - 9
/** Bytes of a value that fits such a message. */
const VALUE_BYTES_MAX: number = MESSAGE_BYTES_MAX - 64
const NO_REASON = 0
const NOT_AVAILABLE = 1

/**
 * Answers requests of one feed in their order.
 *
 * @param send - takes messages that belong into few frames.
 * @param stale - tells whether the feed, fork or channel moved on meanwhile: then what is left is refused.
 * @param most - bytes of answers after which the rest is left.
 */
export async function answer(
  feed: Feed,
  requests: readonly (Request | RequestRun)[],
  send: (messages: readonly Outgoing[]) => void,
  stale: () => boolean,
  most: number = OUTBOX_BYTES_MAX
): Promise<Answered> {
  const answers = new Answers(send, most)
  let failure: Failure | null = null
  for (const [place, request] of requests.entries()) {
    let left: Request | RequestRun | null = request
    while (left !== null && !answers.full) {
      const read: PackedBlocks | Proof | Failure =
        left.type === 'requests' ? await readSome(feed, left) : await prove(feed, left)
      if (stale()) {
        answers.refuse(left, NO_REASON)
        for (const other of requests.slice(place + 1)) answers.refuse(other, NO_REASON)
        answers.flush()
        return { given: answers.given, rest: [], failure }
      }
      if ('code' in read) {
        // What was cleared meanwhile is the fault of nobody; others of the run are still owed.
        const absent = read.code === 'BLOCK_NOT_AVAILABLE' || read.code === 'INVALID_OPERATION'
        if (!absent) failure = read
        const lost = absent ? 1 : messageCount(left)
        const isUnprovable = absent && !isDropped(feed, left)
        answers.refuse(headOf(left, lost), isUnprovable ? NOT_AVAILABLE : NO_REASON)
        left = restOf(left, lost)
      } else if ('lengths' in read) {
        left = restOf(left, answers.values(left as RequestRun, read))
      } else {
        answers.proof(left, read)
        left = null
      }
    }
    if (left !== null) {
      answers.flush()
      return { given: answers.given, rest: [left, ...requests.slice(place + 1)], failure }
    }
  }
  answers.flush()
  return { given: answers.given, rest: [], failure }
}

/** Answers on their way into frames. */
class Answers {
  readonly given: { start: number; byteLengths: Uint32Array }[] = []
  readonly #send: (messages: readonly Outgoing[]) => void
  #frame: Outgoing[] = []
  /** Bytes that lie in buffers of the pool. */
  readonly #lent: Uint8Array[] = []
  #frameBytes = 0
  #sentBytes = 0
  readonly #most: number

  constructor(send: (messages: readonly Outgoing[]) => void, most: number) {
    this.#send = send
    this.#most = most
  }

  /** True once enough was sent for one turn: what is read waits in memory until the stream takes it. */
  get full(): boolean {
    return this.#sentBytes + this.#frameBytes > this.#most
  }

  /** Answers requests of a run, of which the first blocks are given; returns how many were looked at. */
  values(request: RequestRun, { bytes, offsets, lengths }: PackedBlocks): number {
    const { id, fork, index } = request
    let byteLength = 0
    for (const length of lengths) byteLength += length
    this.#lent.push(bytes)
    let count = lengths.length
    if (byteLength > BLOCK_BYTES_MAX) {
      const large = lengths.findIndex((length) => length > VALUE_BYTES_MAX)
      if (large === 0) {
        this.refuse(headOf(request, 1), NO_REASON)
        return 1
      }
      if (large > 0) count = large
    }
    const given = count === lengths.length ? lengths : lengths.subarray(0, count)
    this.given.push({ start: index, byteLengths: given })
    this.#push(
      { type: 'values', id, fork, index, count, bytes, offsets, lengths: given },
      byteLength
    )
    return count
  }

  /** Answers with a proof, unless that fits no frame. */
  proof(request: Request | RequestRun, proof: Proof): void {
    const { id } = request
    const { fork, block, hash, seek, upgrade, manifest } = proof
    const byteLength = block?.value.byteLength ?? 0
    const data: Data = { type: 'data', request: id, fork, block, hash, seek, upgrade, manifest }
    // Anything else is far below: it need not be measured.
    const mayBeLarge = manifest !== null || byteLength > BLOCK_BYTES_MAX
    if (mayBeLarge && byteLengthOf([data]) > MESSAGE_BYTES_MAX) {
      this.refuse(request, NO_REASON)
      return
    }
    if (block !== null) {
      this.given.push({ start: block.index, byteLengths: Uint32Array.of(byteLength) })
    }
    this.#push(data, byteLength + PROOF_BYTES)
  }

  refuse(request: Request | RequestRun, reason: number): void {
    for (let i = 0; i < messageCount(request); i++) {
      this.#push({ type: 'no-data', request: request.id + i, reason }, 0)
    }
  }

  flush(): void {
    if (this.#frame.length > 0) this.#send(this.#frame)
    // Whoever sends has written them into frames of its own by now.
    for (const bytes of this.#lent.splice(0)) pool.give(bytes)
    this.#sentBytes += this.#frameBytes
    this.#frame = []
    this.#frameBytes = 0
  }

  #push(message: Outgoing, byteLength: number): void {
    this.#frame.push(message)
    this.#frameBytes += byteLength
    if (this.#frameBytes >= ANSWER_FRAME_BYTES_MAX) this.flush()
  }
}

/**
 * True if the (first) block that is asked for is not held any more. The remote hears of that by a drop, and a hypercore
 * would count a reason against us for ever.
 */
function isDropped({ have }: Feed, request: Request | RequestRun): boolean {
  if (request.type === 'requests') return !have.get(request.index)
  return request.block !== null && !have.get(request.block.index)
}

/** The first `count` requests of a run; a single one as it is. */
function headOf(request: Request | RequestRun, count: number): Request | RequestRun {
  return request.type === 'requests' ? sliceRequests(request, 0, count) : request
}

/** What follows the first `count` requests, or null. */
function restOf(request: Request | RequestRun, count: number): Request | RequestRun | null {
  if (request.type !== 'requests' || count >= request.count) return null
  return sliceRequests(request, count, request.count)
}

async function readSome(feed: Feed, { index, count }: RequestRun): Promise<PackedBlocks | Failure> {
  try {
    return await feed.readPacked(index, index + count, pool)
  } catch (error) {
    return toFailure(error, 'local')
  }
}

async function prove(feed: Feed, request: Request): Promise<Proof | Failure> {
  const { block, hash, seek, upgrade, manifest } = request
  try {
    return await feed.proof({ block, hash, seek, upgrade, manifest })
  } catch (error) {
    return toFailure(error, 'local')
  }
}

/** Codes that tell that a peer sent something wrong. */
const PEER_FAULTS = [
  'BAD_MESSAGE',
  'INVALID_CHECKSUM',
  'INVALID_MANIFEST',
  'INVALID_PROOF',
  'INVALID_SIGNATURE'
] as const

/** Puts an error into the words of the engine. */
export function toFailure(error: unknown, fault?: 'peer' | 'local'): Failure {
  if (isSynclineError(error)) {
    const wrong = isSynclineError(error, ...PEER_FAULTS)
    // The code comes back when an error is made of it again.
    const message = error.message.slice(`${error.code}: `.length)
    return { code: error.code, message, fault: fault ?? (wrong ? 'peer' : 'local') }
  }
  const message = error instanceof Error ? error.message : String(error)
  return { code: 'STORAGE_FAILED', message, fault: 'local' }
}
