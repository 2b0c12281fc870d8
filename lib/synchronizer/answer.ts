/**
 * Answers to requests, read from a feed in runs.
 *
 * @module
 */
import { isSynclineError } from '../errors.ts'
import type { Failure } from '../engine/input.ts'
import type { Feed } from '../feed/feed.ts'
import { ANSWER_FRAME_BYTES_MAX, OUTBOX_BYTES_MAX } from '../limits.ts'
import type { NoData, Request } from '../wire/message.ts'
import { type PackedBlocks, type RequestRun, sliceRequests } from '../wire/run.ts'
import type { Outgoing } from './frame.ts'

/** What became of requests. */
export interface Answered {
  /** Blocks that were given, from `start` on: one length in bytes for each. */
  readonly given: readonly { readonly start: number; readonly byteLengths: Uint32Array }[]
  /** What was not looked at, since enough was sent for one turn. */
  readonly rest: readonly RequestRun[]
  readonly failure: Failure | null
}

const NO_REASON = 0
const NOT_AVAILABLE = 1

/** Takes messages that belong into one frame. */
type Send = (messages: readonly Outgoing[]) => void

/**
 * Answers a request for a proof.
 *
 * @param stale - tells whether the feed, fork or channel moved on meanwhile: then it is refused.
 */
export async function prove(
  feed: Feed,
  request: Request,
  send: Send,
  stale: () => boolean
): Promise<Answered> {
  try {
    const { block, hash, seek, upgrade, manifest } = request
    const proof = await feed.proof({ block, hash, seek, upgrade, manifest })
    if (stale()) {
      send(refusals(request.id, 1, NO_REASON))
      return { given: [], rest: [], failure: null }
    }
    send([{ type: 'data', request: request.id, ...proof }])
    const given = proof.block && {
      start: proof.block.index,
      byteLengths: Uint32Array.of(proof.block.value.byteLength)
    }
    return { given: given === null ? [] : [given], rest: [], failure: null }
  } catch (error) {
    const failure = localFailure(error)
    const reason = failure === null && !stale() ? NOT_AVAILABLE : NO_REASON
    send(refusals(request.id, 1, reason))
    return { given: [], rest: [], failure }
  }
}

/** Answers requests for bare values, in their order, as {@link prove} does. */
export async function answerRuns(
  feed: Feed,
  runs: readonly RequestRun[],
  send: Send,
  stale: () => boolean
): Promise<Answered> {
  const given: { start: number; byteLengths: Uint32Array }[] = []
  let failure: Failure | null = null
  let frame: Outgoing[] = []
  let frameBytes = 0
  let sentBytes = 0
  const flush = (): void => {
    if (frame.length > 0) send(frame)
    sentBytes += frameBytes
    frame = []
    frameBytes = 0
  }
  for (const [place, run] of runs.entries()) {
    for (let at = 0; at < run.count;) {
      // What is read waits in memory until the stream takes it.
      if (sentBytes > OUTBOX_BYTES_MAX) {
        flush()
        return {
          given,
          rest: [sliceRequests(run, at, run.count), ...runs.slice(place + 1)],
          failure
        }
      }
      const read = await readSome(feed, run.index + at, run.index + run.count)
      if (stale()) {
        frame.push(...refusals(run.id + at, run.count - at, NO_REASON))
        for (const { id, count } of runs.slice(place + 1))
          frame.push(...refusals(id, count, NO_REASON))
        flush()
        return { given, rest: [], failure }
      }
      if ('code' in read) {
        // Cleared meanwhile, if it is no fault of ours; others of the run are still owed.
        const cleared = read.code === 'BLOCK_NOT_AVAILABLE'
        if (!cleared) failure = read
        const lost = cleared ? 1 : run.count - at
        frame.push(...refusals(run.id + at, lost, cleared ? NOT_AVAILABLE : NO_REASON))
        at += lost
        continue
      }
      const { lengths } = read
      const start = run.index + at
      const count = lengths.length
      frame.push({ type: 'values', id: run.id + at, fork: run.fork, index: start, count, ...read })
      given.push({ start, byteLengths: lengths })
      for (const length of lengths) frameBytes += length
      at += count
      if (frameBytes >= ANSWER_FRAME_BYTES_MAX) flush()
    }
  }
  flush()
  return { given, rest: [], failure }
}

async function readSome(feed: Feed, start: number, end: number): Promise<PackedBlocks | Failure> {
  try {
    return await feed.readPacked(start, end)
  } catch (error) {
    return toFailure(error, 'local')
  }
}

function refusals(id: number, count: number, reason: number): NoData[] {
  return Array.from({ length: count }, (_, i) => ({ type: 'no-data', request: id + i, reason }))
}

/** What is to be told of a proof that could not be built; null where the request itself is to blame. */
function localFailure(error: unknown): Failure | null {
  if (isSynclineError(error, 'BLOCK_NOT_AVAILABLE', 'INVALID_OPERATION')) return null
  return toFailure(error, 'local')
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
