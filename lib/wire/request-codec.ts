/**
 * The request message as bytes.
 *
 * @module
 */
import c from 'compact-encoding'
import { PROOF_NODES_MAX } from '../limits.ts'
import {
  type Codec,
  type CodecState,
  decodeLength,
  decodeSpan,
  decodeTreeIndex,
  decodeUint,
  strict
} from './field.ts'
import type { BlockRequest, Request } from './message.ts'

const HAS_BLOCK = 1
const HAS_HASH = 2
const HAS_SEEK = 4
const HAS_UPGRADE = 8
const WANTS_MANIFEST = 16
const HAS_PRIORITY = 32

/** Message 1. */
export const request: Codec<Request> = strict('request', {
  preencode(state, message) {
    state.end++ // Flags.
    c.uint.preencode(state, message.id)
    c.uint.preencode(state, message.fork)
    if (message.block !== null) preencodePair(state, message.block.index, message.block.nodes)
    if (message.hash !== null) preencodePair(state, message.hash.index, message.hash.nodes)
    if (message.seek !== null) preencodePair(state, message.seek.bytes, message.seek.padding)
    if (message.upgrade !== null) {
      preencodePair(state, message.upgrade.start, message.upgrade.length)
    }
    if (message.priority !== 0) c.uint.preencode(state, message.priority)
  },
  encode(state, message) {
    const flags =
      (message.block !== null ? HAS_BLOCK : 0) |
      (message.hash !== null ? HAS_HASH : 0) |
      (message.seek !== null ? HAS_SEEK : 0) |
      (message.upgrade !== null ? HAS_UPGRADE : 0) |
      (message.manifest ? WANTS_MANIFEST : 0) |
      (message.priority !== 0 ? HAS_PRIORITY : 0)
    c.uint.encode(state, flags)
    c.uint.encode(state, message.id)
    c.uint.encode(state, message.fork)
    if (message.block !== null) encodePair(state, message.block.index, message.block.nodes)
    if (message.hash !== null) encodePair(state, message.hash.index, message.hash.nodes)
    if (message.seek !== null) encodePair(state, message.seek.bytes, message.seek.padding)
    if (message.upgrade !== null) {
      encodePair(state, message.upgrade.start, message.upgrade.length)
    }
    if (message.priority !== 0) c.uint.encode(state, message.priority)
  },
  decode(state) {
    const flags = c.uint.decode(state)
    return {
      type: 'request',
      id: c.uint.decode(state),
      fork: c.uint.decode(state),
      block: (flags & HAS_BLOCK) !== 0 ? decodeTarget(state, decodeLength(state)) : null,
      hash: (flags & HAS_HASH) !== 0 ? decodeTarget(state, decodeTreeIndex(state)) : null,
      seek:
        (flags & HAS_SEEK) !== 0
          ? { bytes: c.uint.decode(state), padding: c.uint.decode(state) }
          : null,
      upgrade: (flags & HAS_UPGRADE) !== 0 ? decodeSpan(state) : null,
      manifest: (flags & WANTS_MANIFEST) !== 0,
      priority: (flags & HAS_PRIORITY) !== 0 ? c.uint.decode(state) : 0
    }
  }
})

function decodeTarget(state: CodecState, index: number): BlockRequest {
  return { index, nodes: decodeUint(state, PROOF_NODES_MAX, 'count of asked nodes') }
}

function preencodePair(state: CodecState, first: number, second: number): void {
  c.uint.preencode(state, first)
  c.uint.preencode(state, second)
}

function encodePair(state: CodecState, first: number, second: number): void {
  c.uint.encode(state, first)
  c.uint.encode(state, second)
}
