/**
 * The blocks of an index: Hyperbee's header, and its nodes.
 *
 * Block 0 is the header. Each further block is one change: the key, the value (none for a deletion), and the
 * nodes of the tree that this change was the last to touch. Other blocks name a node by the block's index and
 * its level in it, and a key by the index of the block that holds it.
 *
 * @see hyperbee 2.27.3 `lib/schema.proto`
 *
 * @module
 */
import b4a from 'b4a'
import { SynclineError } from '../../errors.ts'
import { INDEX_NODES_BYTES_MAX, INDEX_NODES_MAX } from '../../limits.ts'
import { readVarint, varintBytes, writeVarint, type Cursor } from './varint.ts'

/** One block after the header. Keys and values are views of the block. */
export interface ChangeBlock {
  readonly key: Uint8Array
  /** Null for a deletion. */
  readonly value: Uint8Array | null
  /** Encoded nodes; see {@link decodeNodes}. */
  readonly nodes: Uint8Array
}

/** A node of the tree. */
export interface Node {
  /** Blocks of its keys, in the order of the keys. */
  readonly keys: readonly number[]
  /** Pairs of block and level, one pair more than keys; empty for a leaf. */
  readonly children: readonly number[]
}

/** Most keys of a node; one more splits it. Hyperbee's T is 5. */
export const NODE_KEYS_MAX = 8
/** Least keys of a node that is not the root. */
export const NODE_KEYS_MIN = 4

const PROTOCOL = b4a.from('hyperbee')
/** Tags of length-delimited fields 1 to 3. */
const FIRST = 0x0a
const SECOND = 0x12
const THIRD = 0x1a
/** Bytes of keys in a header's `contentFeed`. */
const KEY_BYTES = 32

/** The header of an index. `contentFeed` is the key of the blobs feed; only compat drives name it. */
export function encodeHeader(contentFeed: Uint8Array | null = null): Uint8Array {
  const metadata =
    contentFeed === null
      ? new Uint8Array(0)
      : b4a.concat([Uint8Array.of(FIRST, KEY_BYTES), contentFeed])
  return b4a.concat([
    Uint8Array.of(FIRST, PROTOCOL.byteLength),
    PROTOCOL,
    Uint8Array.of(SECOND, metadata.byteLength),
    metadata
  ])
}

/** Reads block 0; null if it is no header of a Hyperbee. The key, if there is one, is a view. */
export function decodeHeader(
  bytes: Uint8Array
): { readonly contentFeed: Uint8Array | null } | null {
  try {
    let protocol: Uint8Array | null = null
    let contentFeed: Uint8Array | null = null
    for (const [tag, field] of fieldsOf(bytes)) {
      if (tag === FIRST) protocol = field
      if (tag !== SECOND) continue
      for (const [inner, value] of fieldsOf(field)) if (inner === FIRST) contentFeed = value
    }
    if (protocol === null || !b4a.equals(protocol, PROTOCOL)) return null
    // As hyperdrive reads it: longer ones are cut, shorter ones name no feed.
    const named = contentFeed !== null && contentFeed.byteLength >= KEY_BYTES
    return { contentFeed: named ? (contentFeed as Uint8Array).subarray(0, KEY_BYTES) : null }
  } catch (error) {
    if (error instanceof SynclineError) return null
    throw error
  }
}

/**
 * Reads a block after the header.
 *
 * @throws SynclineError BAD_MESSAGE when it is none.
 */
export function decodeChange(bytes: Uint8Array): ChangeBlock {
  let key: Uint8Array | null = null
  let value: Uint8Array | null = null
  let nodes: Uint8Array | null = null
  const cursor = { bytes, offset: 0 }
  while (cursor.offset < bytes.byteLength) {
    const tag = readVarint(cursor)
    if (tag !== FIRST && tag !== SECOND && tag !== THIRD) {
      skipField(cursor, tag)
      continue
    }
    const end = readEnd(cursor)
    const field = bytes.subarray(cursor.offset, end)
    cursor.offset = end
    if (tag === FIRST) nodes = field
    else if (tag === SECOND) key = field
    else value = field
  }
  if (key === null || nodes === null) throw broken('a change names no key or no nodes')
  return { key, value, nodes }
}

/**
 * Reads the nodes of block `index`. They point only backwards, or into the block itself.
 *
 * @throws SynclineError BAD_MESSAGE, TOO_MANY.
 */
export function decodeNodes(bytes: Uint8Array, index: number): Node[] {
  if (bytes.byteLength > INDEX_NODES_BYTES_MAX) throw tooMany(index)
  const nodes: Node[] = []
  const cursor = { bytes, offset: 0 }
  while (cursor.offset < bytes.byteLength) {
    const tag = readVarint(cursor)
    if (tag === FIRST) nodes.push(readNode(cursor, index))
    else skipField(cursor, tag)
    if (nodes.length > INDEX_NODES_MAX) throw tooMany(index)
  }
  return nodes
}

/** Bytes of {@link writeChange}. */
export function changeBytes(
  nodes: readonly Node[],
  key: Uint8Array,
  value: Uint8Array | null
): number {
  const valueBytes = value === null ? 0 : delimitedBytes(value.byteLength)
  return delimitedBytes(nodesBytes(nodes)) + delimitedBytes(key.byteLength) + valueBytes
}

/** Writes a block at `offset`; returns the offset after it. */
export function writeChange(
  bytes: Uint8Array,
  offset: number,
  nodes: readonly Node[],
  key: Uint8Array,
  value: Uint8Array | null
): number {
  bytes[offset++] = FIRST
  offset = writeVarint(bytes, offset, nodesBytes(nodes))
  for (const node of nodes) {
    bytes[offset++] = FIRST
    offset = writeVarint(bytes, offset, nodeBytes(node))
    offset = writePacked(bytes, offset, FIRST, node.keys)
    offset = writePacked(bytes, offset, SECOND, node.children)
  }
  offset = writeField(bytes, offset, SECOND, key)
  return value === null ? offset : writeField(bytes, offset, THIRD, value)
}

function nodesBytes(nodes: readonly Node[]): number {
  let count = 0
  for (const node of nodes) count += delimitedBytes(nodeBytes(node))
  return count
}

function nodeBytes({ keys, children }: Node): number {
  return packedFieldBytes(keys) + packedFieldBytes(children)
}

function packedFieldBytes(numbers: readonly number[]): number {
  return numbers.length === 0 ? 0 : delimitedBytes(packedBytes(numbers))
}

function packedBytes(numbers: readonly number[]): number {
  let count = 0
  for (const number of numbers) count += varintBytes(number)
  return count
}

/** Bytes of a field of `byteLength` bytes with its tag and length. */
function delimitedBytes(byteLength: number): number {
  return 1 + varintBytes(byteLength) + byteLength
}

function writePacked(
  bytes: Uint8Array,
  offset: number,
  tag: number,
  numbers: readonly number[]
): number {
  if (numbers.length === 0) return offset
  bytes[offset++] = tag
  offset = writeVarint(bytes, offset, packedBytes(numbers))
  for (const number of numbers) offset = writeVarint(bytes, offset, number)
  return offset
}

function writeField(bytes: Uint8Array, offset: number, tag: number, field: Uint8Array): number {
  bytes[offset++] = tag
  offset = writeVarint(bytes, offset, field.byteLength)
  bytes.set(field, offset)
  return offset + field.byteLength
}

function readNode(cursor: Cursor, index: number): Node {
  const node = { keys: [] as number[], children: [] as number[] }
  const end = readEnd(cursor)
  while (cursor.offset < end) {
    const tag = readVarint(cursor)
    if (tag === FIRST) readPacked(cursor, node.keys)
    else if (tag === SECOND) readPacked(cursor, node.children)
    else skipField(cursor, tag)
  }
  if (cursor.offset !== end) throw broken('a node ends early', index)
  const { keys, children } = node
  if (keys.length > NODE_KEYS_MAX) throw broken('a node has too many keys', index)
  const leaf = children.length === 0
  if (!leaf && (keys.length === 0 || children.length !== 2 * (keys.length + 1))) {
    throw broken('keys and children of a node do not fit together', index)
  }
  for (const key of keys) if (key < 1 || key > index) throw broken('a key lies elsewhere', index)
  for (let i = 0; i < children.length; i += 2) {
    const child = children[i] as number
    if (child < 1 || child > index) throw broken('a child lies elsewhere', index)
  }
  return node
}

function readPacked(cursor: Cursor, numbers: number[]): void {
  const end = readEnd(cursor)
  while (cursor.offset < end) numbers.push(readVarint(cursor))
  if (cursor.offset !== end) throw broken('a list of numbers ends early')
}

/** Reads a length; returns the offset at which what it measures ends. */
function readEnd(cursor: Cursor): number {
  const byteLength = readVarint(cursor)
  const end = cursor.offset + byteLength
  if (end > cursor.bytes.byteLength) throw broken('a field is longer than what holds it')
  return end
}

/** The length-delimited fields of a message, as views, with their tags. */
function* fieldsOf(bytes: Uint8Array): Generator<readonly [tag: number, field: Uint8Array]> {
  const cursor = { bytes, offset: 0 }
  while (cursor.offset < bytes.byteLength) {
    const tag = readVarint(cursor)
    if ((tag & 7) === 2) {
      const end = readEnd(cursor)
      yield [tag, bytes.subarray(cursor.offset, end)]
      cursor.offset = end
    } else skipField(cursor, tag)
  }
}

/** Moves over a field that nobody knows. */
function skipField(cursor: Cursor, tag: number): void {
  const kind = tag & 7
  if (kind === 0) readVarint(cursor)
  else if (kind === 1) cursor.offset += 8
  else if (kind === 2) cursor.offset = readEnd(cursor)
  else if (kind === 5) cursor.offset += 4
  else throw broken(`fields of kind ${kind} are unknown`)
  if (cursor.offset > cursor.bytes.byteLength) throw broken('a field ends early')
}

function tooMany(index: number): SynclineError {
  return new SynclineError('TOO_MANY', `block ${index} holds too many nodes`, { index })
}

function broken(why: string, index?: number): SynclineError {
  const where = index === undefined ? '' : ` (block ${index})`
  return new SynclineError(
    'BAD_MESSAGE',
    `the index is broken: ${why}${where}`,
    index === undefined ? {} : { index }
  )
}
