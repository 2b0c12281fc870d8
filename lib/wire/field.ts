/**
 * Codecs of the fields that messages are made of, and the bounds that every decoder keeps.
 *
 * Decoding takes bytes of a stranger: a count is held against its bound before anything is allocated
 * for it, a byte field is a view of the received frame, and whatever cannot be read is BAD_MESSAGE.
 *
 * @module
 */
import c from 'compact-encoding'
import { SynclineError } from '../errors.ts'
import { FEED_LENGTH_MAX, PROOF_NODES_MAX } from '../limits.ts'
import type { TreeNode } from './message.ts'

/** Where a codec reads or writes: `[start, end)` of `buffer`. The shape that compact-encoding uses. */
export interface CodecState {
  start: number
  end: number
  /** Null only while sizes are added up (preencode). */
  buffer: Uint8Array | null
}

/** A compact-encoding codec: `preencode` adds the size to `end`, the others move `start`. */
export interface Codec<T> {
  preencode(state: CodecState, value: T): void
  encode(state: CodecState, value: T): void
  decode(state: CodecState): T
}

/** Largest flat tree index of a feed. */
const TREE_INDEX_MAX: number = 2 * FEED_LENGTH_MAX

/** Makes `codec` throw nothing but BAD_MESSAGE when it decodes; `name` goes into the message. */
export function strict<T>(name: string, codec: Codec<T>): Codec<T> {
  return {
    ...codec,
    decode(state) {
      try {
        return codec.decode(state)
      } catch (error) {
        if (error instanceof SynclineError) throw error
        const reason = error instanceof Error ? error.message : String(error)
        throw new SynclineError('BAD_MESSAGE', `${name}: ${reason}`, {}, error)
      }
    }
  }
}

/**
 * Encodes one value into bytes of its own.
 *
 * @throws SynclineError BAD_ARGUMENT when a field of `value` cannot be written, for example a hash
 * that has not 32 bytes.
 */
export function encodeValue<T>(codec: Codec<T>, value: T): Uint8Array {
  try {
    return c.encode(codec, value)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new SynclineError('BAD_ARGUMENT', `value cannot be encoded: ${reason}`, {}, error)
  }
}

/** Decodes one value from the start of `bytes`; what follows it is ignored. */
export function decodeValue<T>(codec: Codec<T>, bytes: Uint8Array): T {
  return codec.decode({ start: 0, end: bytes.byteLength, buffer: bytes })
}

/** Throws BAD_MESSAGE. */
export function reject(reason: string): never {
  throw new SynclineError('BAD_MESSAGE', reason)
}

/** Reads an unsigned integer of at most `max`; `what` names it in the error. */
export function decodeUint(state: CodecState, max: number, what: string): number {
  const value = c.uint.decode(state)
  if (value > max) reject(`${what} is ${value}, at most ${max} is allowed`)
  return value
}

/** Reads a block index or length. */
export function decodeLength(state: CodecState): number {
  return decodeUint(state, FEED_LENGTH_MAX, 'block index')
}

/** Reads a flat tree index. */
export function decodeTreeIndex(state: CodecState): number {
  return decodeUint(state, TREE_INDEX_MAX, 'tree index')
}

/** Reads a start and a length; the end is a possible length of a feed too. */
export function decodeSpan(state: CodecState): { start: number; length: number } {
  const start = decodeLength(state)
  const length = decodeUint(state, FEED_LENGTH_MAX - start, 'length of a range')
  return { start, length }
}

/** Reads a length and that many bytes, at most `max`: a view. */
export function decodeBytes(state: CodecState, max: number, what: string): Uint8Array {
  const start = state.start
  decodeUint(state, max, what)
  state.start = start
  return c.buffer.decode(state)
}

/** Reads flags that may be missing because the sender's version does not know them. */
export function decodeOptionalFlags(state: CodecState): number {
  return state.start < state.end ? c.uint.decode(state) : 0
}

/** Reads a count of at most `max` and that many items. */
export function decodeList<T>(
  state: CodecState,
  item: Codec<T>,
  max: number,
  what: string
): readonly T[] {
  const count = decodeUint(state, max, what)
  const items: T[] = []
  for (let i = 0; i < count; i++) items.push(item.decode(state))
  return items
}

/** Adds the size of a list. */
export function preencodeList<T>(state: CodecState, item: Codec<T>, items: readonly T[]): void {
  c.uint.preencode(state, items.length)
  for (const value of items) item.preencode(state, value)
}

/** Writes a count and the items. */
export function encodeList<T>(state: CodecState, item: Codec<T>, items: readonly T[]): void {
  c.uint.encode(state, items.length)
  for (const value of items) item.encode(state, value)
}

/** A Merkle tree node: index, size, hash. */
export const treeNode: Codec<TreeNode> = {
  preencode(state, node) {
    c.uint.preencode(state, node.index)
    c.uint.preencode(state, node.size)
    c.fixed32.preencode(state, node.hash)
  },
  encode(state, node) {
    c.uint.encode(state, node.index)
    c.uint.encode(state, node.size)
    c.fixed32.encode(state, node.hash)
  },
  decode(state) {
    return {
      index: decodeTreeIndex(state),
      size: c.uint.decode(state),
      hash: c.fixed32.decode(state)
    }
  }
}

/** One list of nodes of a proof. */
export const treeNodes: Codec<readonly TreeNode[]> = {
  preencode(state, nodes) {
    preencodeList(state, treeNode, nodes)
  },
  encode(state, nodes) {
    encodeList(state, treeNode, nodes)
  },
  decode(state) {
    return decodeList(state, treeNode, PROOF_NODES_MAX, 'count of nodes')
  }
}
