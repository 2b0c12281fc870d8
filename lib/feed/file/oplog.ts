/**
 * The bytes of hypercore 10's `oplog`: two header slots and the entries after them.
 *
 * ```text
 *      0  header slot 0        record = u32le crc32 | u32le (bytes << 2 | partial << 1 | bit) | payload
 *   4096  header slot 1        The checksum covers the second word and the payload.
 *   8192  entries
 * ```
 * Each header carries a bit. Equal bits make slot 0 the current one, different bits slot 1; a new header
 * is written to the other slot with the bit that turns this around. Entries count while their bit is the
 * sum of both (modulo 2), so a new header makes all old entries void in the same instant. Entries with
 * the partial flag count only together with the next one.
 *
 * Source: hypercore 10.38.2 `lib/oplog.js`, `lib/messages.js`.
 *
 * @module
 */
import { crc32 } from 'node:zlib'
import { SynclineError } from '../../errors.ts'
import { FEED_LENGTH_MAX } from '../../limits.ts'
import { type CodecState, decodeBytes, decodeUint, treeNode } from '../../wire/field.ts'
import { encodeManifest, manifestCodec } from '../../wire/manifest-codec.ts'
import type { Manifest } from '../../wire/manifest.ts'
import type { TreeNode } from '../../wire/message.ts'
import { ByteWriter } from './byte-writer.ts'
import { copyManifest } from '../manifest.ts'
import { DEFAULT_NAMESPACE } from '../namespace.ts'
import type { Head } from '../store.ts'

/** Bytes of one header slot. */
export const SLOT_BYTES = 4096
/** Where the entries begin. */
export const ENTRIES_OFFSET: number = 2 * SLOT_BYTES
const FRAME_BYTES = 8

/** A fork that happened here: from which to which, and the blocks they share. Only a hint. */
export interface ReorgHint {
  readonly from: number
  readonly to: number
  readonly ancestors: number
}

/** All that a header says. */
export interface LogHeader {
  readonly key: Uint8Array
  readonly manifest: Manifest | null
  /** The secret key is empty if only the public one is known. */
  readonly keyPair: { readonly publicKey: Uint8Array; readonly secretKey: Uint8Array } | null
  readonly userData: ReadonlyMap<string, Uint8Array>
  readonly head: Head
  readonly reorgs: readonly ReorgHint[]
  readonly contiguousLength: number
}

/** Where in the file `header` the header is, because it does not fit its slot. */
export interface ExternalHeader {
  readonly start: number
  readonly length: number
}

/** One entry; every part may be missing. */
export interface LogEntry {
  readonly userData: { readonly key: string; readonly value: Uint8Array | null } | null
  readonly nodes: readonly TreeNode[]
  readonly upgrade: {
    readonly fork: number
    readonly ancestors: number
    readonly length: number
    readonly signature: Uint8Array
  } | null
  readonly bits: { readonly drop: boolean; readonly start: number; readonly end: number } | null
}

/** What the bytes of a log hold. */
export interface LogImage {
  /** Bits of the two slots. */
  readonly bits: readonly [number, number]
  /** Tells this header from the ones before and after it. */
  readonly id: number
  /** As {@link markOf}. */
  readonly mark: Uint8Array
  readonly header: LogHeader | ExternalHeader
  /** The entries that count; `end` is the byte after each, counted from the first. */
  readonly entries: readonly { readonly entry: LogEntry; readonly end: number }[]
  /** Bytes of the entries that count. */
  readonly byteLength: number
}

/** Reads the bytes of a whole log file; null if it holds no valid header. */
export function decodeLog(file: Uint8Array): LogImage | null {
  const first = decodeRecord(file, 0, SLOT_BYTES, decodeHeader)
  const second = decodeRecord(file, SLOT_BYTES, ENTRIES_OFFSET, decodeHeader)
  const bits = slotBits(first?.bit, second?.bit)
  const current = slotOf(bits) === 0 ? first : second
  if (bits === null || current === null) return null

  const mark = markOf(file)
  const id = logId(current.crc, bits)
  return { bits, id, mark, header: current.value, ...decodeEntries(file, ENTRIES_OFFSET, bits) }
}

/** Reads the entries in bytes of a log, the first at `start`, where the headers have these bits. */
export function decodeEntries(
  bytes: Uint8Array,
  start: number,
  bits: readonly [number, number]
): Pick<LogImage, 'entries' | 'byteLength'> {
  const bit = entryBit(bits)
  const entries: { entry: LogEntry; end: number; partial: boolean }[] = []
  let position = start
  while (true) {
    const record = decodeRecord(bytes, position, bytes.byteLength, decodeEntry)
    if (record === null || record.bit !== bit) break
    position = record.end
    entries.push({ entry: record.value, end: position - start, partial: record.partial })
  }
  while (entries.at(-1)?.partial === true) entries.pop()
  return { entries, byteLength: entries.at(-1)?.end ?? 0 }
}

/** Bytes of a log that hold what {@link markOf} takes. */
export const MARKED_BYTES: number = SLOT_BYTES + FRAME_BYTES

/** The frames of both headers, which change with each header that is written. */
export function markOf(bytes: Uint8Array): Uint8Array {
  const mark = new Uint8Array(2 * FRAME_BYTES)
  mark.set(bytes.subarray(0, FRAME_BYTES))
  mark.set(bytes.subarray(SLOT_BYTES, MARKED_BYTES), FRAME_BYTES)
  return mark
}

/** A header and the slot it goes to, to follow the one that is current under `bits`. */
export function encodeNextHeader(
  bits: readonly [number, number] | null,
  payload: Uint8Array
): { bytes: Uint8Array; position: number; bits: readonly [number, number]; id: number } {
  // Without any header: what hypercore starts from.
  const [a, b] = bits ?? [1, 0]
  const slot = a === b ? 1 : 0
  const bit = ((slot === 0 ? a : b) + 1) & 1
  const next: readonly [number, number] = slot === 0 ? [bit, bits === null ? bit : b] : [a, bit]
  const bytes = encodeRecord(payload, bit, false)
  const id = logId(new DataView(bytes.buffer).getUint32(0, true), next)
  return { bytes, position: slot * SLOT_BYTES, bits: next, id }
}

/** Encodes entries as one batch that counts as a whole or not at all. */
export function encodeEntries(
  bits: readonly [number, number],
  entries: readonly LogEntry[]
): Uint8Array[] {
  return entries.map((entry, i) =>
    encodeRecord(encodeEntry(entry), entryBit(bits), i < entries.length - 1)
  )
}

/** Where the next external header goes, so that it does not overwrite the one that counts (hypercore 10's rule). */
export function externalPlace(last: ExternalHeader | null, length: number): ExternalHeader {
  const { start, length: lastLength } = last ?? { start: 0, length: 0 }
  if (length <= start) return { start: 0, length }
  return { start: Math.ceil((start + lastLength) / SLOT_BYTES) * SLOT_BYTES, length }
}

/** True if a header of these bytes fits a slot. */
export function fitsSlot(payload: Uint8Array): boolean {
  return payload.byteLength + FRAME_BYTES <= SLOT_BYTES
}

function entryBit(bits: readonly [number, number]): number {
  return (bits[0] + bits[1]) & 1
}

function slotOf(bits: readonly [number, number] | null): 0 | 1 {
  return bits === null || bits[0] === bits[1] ? 0 : 1
}

/** The bits that count when one slot or both can be read. */
function slotBits(
  first: number | undefined,
  second: number | undefined
): readonly [number, number] | null {
  if (first === undefined && second === undefined) return null
  if (second === undefined) return [first ?? 0, first ?? 0]
  return [first ?? (second + 1) & 1, second]
}

/** The checksum alone repeats when a header is written again with the same content. */
function logId(crc: number, bits: readonly [number, number]): number {
  return (crc ^ (bits[0] | (bits[1] << 1))) >>> 0
}

interface LogRecord<T> {
  readonly value: T
  readonly crc: number
  readonly bit: number
  readonly partial: boolean
  readonly end: number
}

function decodeRecord<T>(
  file: Uint8Array,
  position: number,
  limit: number,
  decode: (state: CodecState) => T
): LogRecord<T> | null {
  if (Math.min(limit, file.byteLength) - position < FRAME_BYTES) return null
  const view = new DataView(file.buffer, file.byteOffset + position, FRAME_BYTES)
  const crc = view.getUint32(0, true)
  const word = view.getUint32(4, true)
  const start = position + FRAME_BYTES
  const end = start + (word >>> 2)
  if (end > file.byteLength || end > limit) return null
  if (crc32(file.subarray(position + 4, end)) !== crc) return null
  try {
    const value = decode({ start, end, buffer: file })
    return { value, crc, bit: word & 1, partial: (word & 2) !== 0, end }
  } catch {
    // As hypercore does: what cannot be read is not there.
    return null
  }
}

function encodeRecord(payload: Uint8Array, bit: number, partial: boolean): Uint8Array {
  const bytes = new Uint8Array(FRAME_BYTES + payload.byteLength)
  const view = new DataView(bytes.buffer)
  bytes.set(payload, FRAME_BYTES)
  view.setUint32(4, payload.byteLength * 4 + (partial ? 2 : 0) + bit, true)
  view.setUint32(0, crc32(bytes.subarray(4)), true)
  return bytes
}

const VERSION = 1
const EXTERNAL = 1
const HAS_MANIFEST = 2
const HAS_KEY_PAIR = 4
/** Bounds what a damaged length can make us read: longer than any field of a log. */
const FIELD_BYTES_MAX: number = 2 ** 30
const NUMBER_MAX: number = Number.MAX_SAFE_INTEGER
const COUNT_MAX = 0x100000

/** Encodes a header, or where it is to be found. */
export function encodeHeader(header: LogHeader | ExternalHeader): Uint8Array {
  const writer = new ByteWriter()
  writer.uint(VERSION)
  if ('start' in header) {
    writer.uint(EXTERNAL)
    writer.uint(header.start)
    writer.uint(header.length)
    return writer.finish()
  }
  const { manifest, keyPair, head } = header
  writer.uint((manifest !== null ? HAS_MANIFEST : 0) | (keyPair !== null ? HAS_KEY_PAIR : 0))
  writer.raw(header.key)
  if (manifest !== null) writer.raw(encodeManifest(manifest))
  if (keyPair !== null) {
    writer.bytes(keyPair.publicKey)
    writer.bytes(keyPair.secretKey)
  }
  writer.uint(header.userData.size)
  for (const [key, value] of header.userData) {
    writer.string(key)
    writer.bytes(value)
  }
  writer.uint(head.fork)
  writer.uint(head.length)
  writer.bytes(head.rootHash)
  writer.bytes(head.signature)
  writer.uint(header.reorgs.length)
  for (const hint of header.reorgs) {
    writer.uint(hint.from)
    writer.uint(hint.to)
    writer.uint(hint.ancestors)
  }
  writer.uint(header.contiguousLength)
  return writer.finish()
}

/**
 * Reads a header; all bytes are copies.
 *
 * @throws SynclineError BAD_MESSAGE, RangeError when the bytes are none.
 */
export function decodeHeader(state: CodecState): LogHeader | ExternalHeader {
  const version = decodeUint(state, VERSION, 'version of a log header')
  if (version === 0) return decodeHeaderV0(state)
  const flags = readNumber(state)
  if ((flags & EXTERNAL) !== 0) return { start: readNumber(state), length: readNumber(state) }
  const key = readRaw(state, 32)
  const manifest = (flags & HAS_MANIFEST) !== 0 ? copyManifest(manifestCodec.decode(state)) : null
  const keyPair =
    (flags & HAS_KEY_PAIR) !== 0
      ? { publicKey: readBytes(state), secretKey: readBytes(state) }
      : null
  return { key, manifest, keyPair, ...decodeState(state) }
}

/** Version 0 (hypercore 10 before manifests): three names of algorithms first, the key pair last. */
function decodeHeaderV0(state: CodecState): LogHeader {
  for (let i = 0; i < 3; i++) readString(state)
  const userData = readUserData(state)
  const head = readHead(state)
  const publicKey = readBytes(state)
  const secretKey = readBytes(state)
  const hints = readHints(state)
  const manifest: Manifest = {
    version: 0,
    hash: 'blake2b',
    allowPatch: false,
    quorum: 1,
    signers: [{ signature: 'ed25519', namespace: DEFAULT_NAMESPACE, publicKey }],
    prologue: null,
    linked: null,
    userData: null
  }
  const keyPair = secretKey.byteLength === 0 ? null : { publicKey, secretKey }
  return { key: publicKey, manifest, keyPair, userData, head, ...hints }
}

function decodeState(
  state: CodecState
): Pick<LogHeader, 'userData' | 'head' | 'reorgs' | 'contiguousLength'> {
  return { userData: readUserData(state), head: readHead(state), ...readHints(state) }
}

function readUserData(state: CodecState): Map<string, Uint8Array> {
  const userData = new Map<string, Uint8Array>()
  for (let left = readCount(state); left > 0; left--) {
    const key = readString(state)
    userData.set(key, readBytes(state))
  }
  return userData
}

function readHead(state: CodecState): Head {
  return {
    fork: readNumber(state),
    length: decodeUint(state, FEED_LENGTH_MAX, 'length of a feed'),
    rootHash: readBytes(state),
    signature: readBytes(state)
  }
}

function readHints(state: CodecState): Pick<LogHeader, 'reorgs' | 'contiguousLength'> {
  const reorgs: ReorgHint[] = []
  for (let left = readCount(state); left > 0; left--) {
    reorgs.push({ from: readNumber(state), to: readNumber(state), ancestors: readNumber(state) })
  }
  // Missing in logs of the first versions.
  return { reorgs, contiguousLength: state.start < state.end ? readNumber(state) : 0 }
}

const HAS_USER_DATA = 1
const HAS_NODES = 2
const HAS_UPGRADE = 4
const HAS_BITS = 8

function encodeEntry({ userData, nodes, upgrade, bits }: LogEntry): Uint8Array {
  const writer = new ByteWriter()
  writer.uint(
    (userData !== null ? HAS_USER_DATA : 0) |
      (nodes.length > 0 ? HAS_NODES : 0) |
      (upgrade !== null ? HAS_UPGRADE : 0) |
      (bits !== null ? HAS_BITS : 0)
  )
  if (userData !== null) {
    writer.string(userData.key)
    writer.bytes(userData.value ?? new Uint8Array(0))
  }
  if (nodes.length > 0) {
    writer.uint(nodes.length)
    for (const node of nodes) {
      writer.uint(node.index)
      writer.uint(node.size)
      writer.raw(node.hash)
    }
  }
  if (upgrade !== null) {
    writer.uint(upgrade.fork)
    writer.uint(upgrade.ancestors)
    writer.uint(upgrade.length)
    writer.bytes(upgrade.signature)
  }
  if (bits !== null) {
    writer.uint(bits.drop ? 1 : 0)
    writer.uint(bits.start)
    writer.uint(bits.end - bits.start)
  }
  return writer.finish()
}

function decodeEntry(state: CodecState): LogEntry {
  const flags = readNumber(state)
  return {
    userData: (flags & HAS_USER_DATA) !== 0 ? readUserDatum(state) : null,
    nodes: (flags & HAS_NODES) !== 0 ? readNodes(state) : [],
    upgrade:
      (flags & HAS_UPGRADE) !== 0
        ? {
            fork: readNumber(state),
            ancestors: readNumber(state),
            length: decodeUint(state, FEED_LENGTH_MAX, 'length of a feed'),
            signature: readBytes(state)
          }
        : null,
    bits: (flags & HAS_BITS) !== 0 ? readBits(state) : null
  }
}

function readUserDatum(state: CodecState): LogEntry['userData'] {
  const key = readString(state)
  const value = readBytes(state)
  return { key, value: value.byteLength === 0 ? null : value }
}

function readNodes(state: CodecState): TreeNode[] {
  const nodes: TreeNode[] = []
  for (let left = readCount(state); left > 0; left--) {
    const { index, size, hash } = treeNode.decode(state)
    nodes.push({ index, size, hash: hash.slice() })
  }
  return nodes
}

function readBits(state: CodecState): LogEntry['bits'] {
  const drop = (readNumber(state) & 1) !== 0
  const start = decodeUint(state, FEED_LENGTH_MAX, 'block index')
  return { drop, start, end: start + decodeUint(state, FEED_LENGTH_MAX, 'block count') }
}

function readNumber(state: CodecState): number {
  return decodeUint(state, NUMBER_MAX, 'number of a log')
}

function readCount(state: CodecState): number {
  return decodeUint(state, COUNT_MAX, 'count of a log')
}

function readBytes(state: CodecState): Uint8Array {
  return decodeBytes(state, FIELD_BYTES_MAX, 'field of a log').slice()
}

function readString(state: CodecState): string {
  return new TextDecoder().decode(readBytes(state))
}

function readRaw(state: CodecState, byteLength: number): Uint8Array {
  const { buffer, start, end } = state
  if (buffer === null || end - start < byteLength) {
    throw new SynclineError('BAD_MESSAGE', 'log record ends too early')
  }
  state.start += byteLength
  return buffer.slice(start, start + byteLength)
}
