/**
 * Answers to requests, read from a feed in runs.
 *
 * @module
 */
import { isSynclineError } from '../errors.ts'
import { ANSWER_FRAME_BYTES_MAX } from '../limits.ts'
import type { Failure } from '../engine/input.ts'
import { isBare } from '../engine/serve.ts'
import type { Feed } from '../feed/feed.ts'
import type { Message, Request } from '../wire/message.ts'

/** What was answered. */
export interface Answered {
  readonly indexes: number[]
  readonly byteLengths: number[]
  readonly failure: Failure | null
}

const NO_REASON = 0
const NOT_AVAILABLE = 1

/**
 * Answers requests of one feed, calling `send` with messages that belong into one frame.
 *
 * @param stale - tells whether the feed, fork or channel moved on meanwhile: then what is left is refused.
 */
export async function answer(
  feed: Feed,
  requests: readonly Request[],
  send: (messages: readonly Message[]) => void,
  stale: () => boolean
): Promise<Answered> {
  const answered: Answered = { indexes: [], byteLengths: [], failure: null }
  const first = requests[0]
  if (first === undefined) return answered
  if (requests.length === 1 && !isBare(first)) return prove(feed, first, send, stale, answered)
  return readRuns(feed, requests, send, stale, answered)
}

async function prove(
  feed: Feed,
  request: Request,
  send: (messages: readonly Message[]) => void,
  stale: () => boolean,
  answered: Answered
): Promise<Answered> {
  try {
    const { block, hash, seek, upgrade, manifest } = request
    const proof = await feed.proof({ block, hash, seek, upgrade, manifest })
    if (stale()) {
      send([refusal(request)])
      return answered
    }
    send([{ type: 'data', request: request.id, ...proof }])
    if (proof.block !== null) {
      answered.indexes.push(proof.block.index)
      answered.byteLengths.push(proof.block.value.byteLength)
    }
    return answered
  } catch (error) {
    const failure = localFailure(error)
    const reason = failure === null && !stale() ? NOT_AVAILABLE : NO_REASON
    send([{ type: 'no-data', request: request.id, reason }])
    return { ...answered, failure }
  }
}

async function readRuns(
  feed: Feed,
  requests: readonly Request[],
  send: (messages: readonly Message[]) => void,
  stale: () => boolean,
  answered: Answered
): Promise<Answered> {
  let frame: Message[] = []
  let frameBytes = 0
  let failure: Failure | null = null
  for (let at = 0; at < requests.length;) {
    const run = runFrom(requests, at)
    const start = (requests[at] as Request).block?.index ?? 0
    at += run.length
    const read = await readRun(feed, start, run.length)
    if (stale()) {
      send([...frame, ...run.map(refusal), ...requests.slice(at).map(refusal)])
      return answered
    }
    if (read.failure !== null) failure = read.failure
    for (let i = 0; i < run.length; i++) {
      const request = run[i] as Request
      const value = read.values[i] ?? null
      if (value === null) {
        const reason = read.failure === null ? NOT_AVAILABLE : NO_REASON
        frame.push({ type: 'no-data', request: request.id, reason })
        continue
      }
      if (frameBytes > 0 && frameBytes + value.byteLength > ANSWER_FRAME_BYTES_MAX) {
        send(frame)
        frame = []
        frameBytes = 0
      }
      frame.push({
        type: 'data',
        request: request.id,
        fork: request.fork,
        block: { index: start + i, value, nodes: [] },
        hash: null,
        seek: null,
        upgrade: null,
        manifest: null
      })
      frameBytes += value.byteLength
      answered.indexes.push(start + i)
      answered.byteLengths.push(value.byteLength)
    }
  }
  if (frame.length > 0) send(frame)
  return { ...answered, failure }
}

/** Says that there will be no answer, and holds it against nobody. */
function refusal(request: Request): Message {
  return { type: 'no-data', request: request.id, reason: NO_REASON }
}

/** The requests from `at` on that ask for consecutive blocks. */
function runFrom(requests: readonly Request[], at: number): readonly Request[] {
  const start = requests[at]?.block?.index ?? 0
  let end = at + 1
  while (end < requests.length && requests[end]?.block?.index === start + (end - at)) end++
  return requests.slice(at, end)
}

async function readRun(
  feed: Feed,
  start: number,
  count: number
): Promise<{ values: (Uint8Array | null)[]; failure: Failure | null }> {
  try {
    return { values: await feed.readRun(start, start + count), failure: null }
  } catch (error) {
    if (!isSynclineError(error, 'BLOCK_NOT_AVAILABLE')) {
      return { values: [], failure: toFailure(error, 'local') }
    }
  }
  // Some of the run were cleared meanwhile: the others are still owed.
  const values: (Uint8Array | null)[] = []
  for (let i = 0; i < count; i++) {
    try {
      values.push(await feed.read(start + i))
    } catch (error) {
      return { values, failure: toFailure(error, 'local') }
    }
  }
  return { values, failure: null }
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
