/**
 * The bytes of a journal: records, one after the other.
 *
 * ```text
 *  0  u32le  mark: random, the same in each record of a file
 *  4  u32le  crc32 of what follows, to the end of the payload
 *  8  u32le  bytes of the payload
 * 12  u32le  kind
 * 16  payload, and zeros up to a multiple of 8
 * ```
 * A record counts if its checksum holds. Where one is damaged, the next is found by its mark: of the bytes of blocks, which
 * come from others, none are taken for a record, as whoever made them does not know the mark.
 *
 * @module
 */
import { crc32 } from 'node:zlib'
import { NODE_BYTES } from '../../kernels/fold.ts'
import { JOURNAL_RECORD_BYTES_MAX } from '../../limits.ts'
import type { BlockRange } from '../../primitives/ranges.ts'
import { type CodecState, decodeBytes, decodeUint } from '../../wire/field.ts'
import { decodeManifest, encodeManifest } from '../../wire/manifest-codec.ts'
import type { Manifest } from '../../wire/manifest.ts'
import type { Commit, Head, NodeRun } from '../store.ts'
import { putNode } from '../tree/tree-nodes.ts'
import { ByteWriter } from './byte-writer.ts'

/** What a record says. */
export const Kind = {
  /** The first one: version and a random name of the file. */
  begin: 1,
  /** A process became the writer; whoever wrote before no longer does. */
  session: 2,
  /** A feed, and the number that stands for it from then on. */
  feed: 3,
  /** A commit to a feed. */
  commit: 4,
  /** The process no longer writes the feed. */
  closed: 5,
  /** The feed is no longer here. */
  removed: 6
} as const

/** Where a record lies in its file, and what it is. */
export interface RecordPlace {
  readonly kind: number
  readonly mark: number
  /** First byte of the record, of its payload, and the byte after that. */
  readonly at: number
  readonly start: number
  readonly end: number
  /** First byte of the record that follows. */
  readonly next: number
}

/** Bytes of a feed that stand in a record. */
export interface DataPlace {
  /** In the feed. */
  readonly offset: number
  readonly byteLength: number
  /** In the record, from its first byte on. */
  readonly at: number
}

/** The content of a commit's record. Byte arrays are views of it. */
export interface CommitRecord {
  readonly head: Head | null
  readonly manifest: Manifest | null
  readonly bits: readonly BlockRange[]
  readonly nodeRuns: readonly NodeRun[]
  readonly data: readonly DataPlace[]
}

const VERSION = 1
const FRAME_BYTES = 16
const ALIGNMENT = 8
const NAME_BYTES = 16
const HAS_HEAD = 1
const HAS_MANIFEST = 2
const OPENS = 4
/** Bytes of the first record. */
export const BEGIN_BYTES: number = FRAME_BYTES + 8 + NAME_BYTES

/** Records that are to be written together, packed. */
export class RecordBatch {
  readonly #writer: ByteWriter = new ByteWriter()
  /** Of the file that the records are for. */
  mark = 0

  get byteLength(): number {
    return this.#writer.length
  }

  /** All records; valid until another one is added. */
  get bytes(): Uint8Array {
    return this.#writer.view()
  }

  clear(): void {
    this.#writer.cut(0)
  }

  begin(name: Uint8Array): void {
    const at = this.#open(Kind.begin)
    this.#writer.uint32(VERSION)
    this.#writer.uint32(0)
    this.#writer.raw(name)
    this.#close(at)
  }

  session(pid: number): void {
    const at = this.#open(Kind.session)
    this.#writer.uint32(pid)
    this.#close(at)
  }

  /** @param sequence - number of the last commit before those that follow; 0 for a new feed. */
  feed(number: number, sequence: number, key: Uint8Array, discoveryKey: Uint8Array): void {
    const at = this.#open(Kind.feed)
    this.#writer.uint32(number)
    this.#writer.uint32(sequence)
    this.#writer.raw(key)
    this.#writer.raw(discoveryKey)
    this.#close(at)
  }

  /** A record of a kind that only names a feed. */
  note(kind: number, number: number): void {
    const at = this.#open(kind)
    this.#writer.uint32(number)
    this.#close(at)
  }

  /** A commit; returns where its data stands in the record. */
  commit(number: number, sequence: number, opens: boolean, commit: Commit): DataPlace[] {
    const writer = this.#writer
    const { head, manifest, bits = [], nodes = [], nodeRuns = [], data = [] } = commit
    const at = this.#open(Kind.commit)
    writer.uint32(number)
    writer.uint32(sequence)
    const flags = (head ? HAS_HEAD : 0) | (manifest ? HAS_MANIFEST : 0) | (opens ? OPENS : 0)
    writer.uint(flags)
    if (head !== undefined) {
      writer.uint(head.fork)
      writer.uint(head.length)
      writer.bytes(head.rootHash)
      writer.bytes(head.signature)
    }
    if (manifest !== undefined) writer.bytes(encodeManifest(manifest))
    writer.uint(bits.length)
    for (const { start, end } of bits) {
      writer.uint(start)
      writer.uint(end - start)
    }
    writer.uint(nodes.length + nodeRuns.length)
    for (const node of nodes) {
      writer.uint(node.index)
      writer.uint(1)
      putNode(single, 0, node)
      writer.raw(single)
    }
    for (const { first, bytes } of nodeRuns) {
      writer.uint(first)
      writer.uint(bytes.byteLength / NODE_BYTES)
      writer.raw(bytes)
    }
    const places: DataPlace[] = []
    writer.uint(data.length)
    for (const { offset, parts } of data) {
      let byteLength = 0
      for (const part of parts) byteLength += part.byteLength
      writer.uint(offset)
      writer.uint(byteLength)
      places.push({ offset, byteLength, at: writer.length - at })
      for (const part of parts) writer.raw(part)
    }
    this.#close(at)
    return places
  }

  #open(kind: number): number {
    const at = this.#writer.length
    this.#writer.uint32(this.mark)
    this.#writer.uint32(0)
    this.#writer.uint32(0)
    this.#writer.uint32(kind)
    return at
  }

  #close(at: number): void {
    const writer = this.#writer
    writer.setUint32(at + 8, writer.length - at - FRAME_BYTES)
    writer.setUint32(at + 4, crc32(writer.view(at + 8)))
    writer.pad(ALIGNMENT)
  }
}

const single = new Uint8Array(NODE_BYTES)

/**
 * The record that begins at byte `at`; null if none does, 'short' if its end may lie behind these bytes.
 *
 * @param known - mark of the file; null while no record of it was found.
 */
export function recordAt(
  bytes: Uint8Array,
  at: number,
  known: number | null
): RecordPlace | 'short' | null {
  if (at + FRAME_BYTES > bytes.byteLength) return 'short'
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const mark = view.getUint32(at, true)
  if (known !== null && mark !== known) return null
  const byteLength = view.getUint32(at + 8, true)
  if (byteLength > JOURNAL_RECORD_BYTES_MAX) return null
  const start = at + FRAME_BYTES
  const end = start + byteLength
  const next = end + ((ALIGNMENT - (end % ALIGNMENT)) % ALIGNMENT)
  if (next > bytes.byteLength) return 'short'
  if (crc32(bytes.subarray(at + 8, end)) !== view.getUint32(at + 4, true)) return null
  return { kind: view.getUint32(at + 12, true), mark, at, start, end, next }
}

/** Where to look for the next record after one that is damaged. */
export function afterDamage(at: number): number {
  return at + ALIGNMENT
}

/** True if the first record of a file says that a later version wrote it. */
export function isLater(bytes: Uint8Array): boolean {
  const place = recordAt(bytes, 0, null)
  if (place === null || place === 'short' || place.kind !== Kind.begin) return false
  return numberAt(bytes, place, 0) > VERSION
}

/** A number of four bytes: field `field` of a record, which begins with such. */
export function numberAt(bytes: Uint8Array, place: RecordPlace, field: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getUint32(place.start + 4 * field, true)
}

/** True for the first commit of whoever writes the feed. */
export function opensAt(bytes: Uint8Array, place: RecordPlace): boolean {
  return ((bytes[place.start + 8] ?? 0) & OPENS) !== 0
}

/** Key and discovery key of a feed's record: views. */
export function keysAt(
  bytes: Uint8Array,
  place: RecordPlace
): { readonly key: Uint8Array; readonly discoveryKey: Uint8Array } {
  const at = place.start + 8
  return { key: bytes.subarray(at, at + 32), discoveryKey: bytes.subarray(at + 32, at + 64) }
}

/** @throws SynclineError BAD_MESSAGE if the record was not written by {@link RecordBatch.commit}. */
export function decodeCommit(bytes: Uint8Array, place: RecordPlace): CommitRecord {
  const state: CodecState = { start: place.start + 8, end: place.end, buffer: bytes }
  const flags = decodeUint(state, HAS_HEAD | HAS_MANIFEST | OPENS, 'flags of a record')
  let head: Head | null = null
  if (flags & HAS_HEAD) {
    const fork = count(state)
    const length = count(state)
    head = { fork, length, rootHash: field(state), signature: field(state) }
  }
  const manifest = flags & HAS_MANIFEST ? decodeManifest(field(state)) : null
  const bits: BlockRange[] = []
  for (let left = count(state); left > 0; left--) {
    const start = count(state)
    bits.push([start, start + count(state)])
  }
  const nodeRuns: NodeRun[] = []
  for (let left = count(state); left > 0; left--) {
    const first = count(state)
    nodeRuns.push({ first, bytes: raw(state, NODE_BYTES * count(state)) })
  }
  const data: DataPlace[] = []
  for (let left = count(state); left > 0; left--) {
    const offset = count(state)
    const byteLength = count(state)
    data.push({ offset, byteLength, at: state.start - place.at })
    state.start += byteLength
  }
  return { head, manifest, bits, nodeRuns, data }
}

function count(state: CodecState): number {
  return decodeUint(state, Number.MAX_SAFE_INTEGER, 'number of a record')
}

function field(state: CodecState): Uint8Array {
  return decodeBytes(state, JOURNAL_RECORD_BYTES_MAX, 'field of a record')
}

function raw(state: CodecState, byteLength: number): Uint8Array {
  const bytes = (state.buffer as Uint8Array).subarray(state.start, state.start + byteLength)
  state.start += byteLength
  return bytes
}
