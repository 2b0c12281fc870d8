/**
 * The file `syncline` beside the files of a feed: what of them is known to be on the disk.
 *
 * Two records of 4,096 bytes, written in turn, so that a torn write leaves the other. A record holds for
 * one header of the log only (`logId`): when hypercore 10 has written since, none fits.
 *
 * @module
 */
import { crc32 } from 'node:zlib'
import { type CodecState, decodeUint } from '../../wire/field.ts'
import { ByteWriter } from './byte-writer.ts'
import { systemCode } from './file-error.ts'
import type { PooledFile } from './file-pool.ts'
import { type BlockRange, joinRanges } from '../../primitives/ranges.ts'

/** One record. */
export interface SyncMarker {
  /** The header of the log that it holds for. */
  readonly logId: number
  /** Bytes of log entries that are on the disk, with all that they speak of. */
  readonly syncedBytes: number
  /** Blocks of earlier logs whose bytes may not be on the disk. */
  readonly doubtful: readonly BlockRange[]
  /** True if everything was on the disk and nothing was written after. */
  readonly clean: boolean
  /** True if a sync failed: in this boot, too, nothing is on the disk that is not known to be, until it is written again. */
  readonly failed: boolean
  /** Boot of the machine in which the record was written; empty if the system does not tell. */
  readonly boot: string
  /** Process that wrote the record and has not closed the feed since, or 0. */
  readonly pid: number
}

const RECORD_BYTES = 4096
const FRAME_BYTES = 8
const VERSION = 1
/** Ranges of one record: 18 bytes each at most. More are joined, which only makes more blocks doubtful. */
export const RANGES_MAX = 200

const CLEAN = 1
const FAILED = 2

/** The two records. */
export class SyncMarkerFile {
  readonly #file: PooledFile
  #sequence = 0
  #slot = 1

  constructor(file: PooledFile) {
    this.#file = file
  }

  /** The record that holds for a log (the later one of two), and the latest one whatever it holds for. */
  async read(
    logId: number
  ): Promise<{ readonly fitting: SyncMarker | null; readonly latest: SyncMarker | null }> {
    const bytes = (await this.#file.read(0, 2 * RECORD_BYTES)) ?? new Uint8Array(0)
    const found = records(bytes)
    const latest = found[0]
    const fitting = found.find(({ marker }) => marker.logId === logId)
    this.#sequence = latest?.sequence ?? 0
    this.#slot = (fitting ?? latest)?.slot ?? 1
    return { fitting: fitting?.marker ?? null, latest: latest?.marker ?? null }
  }

  /** Writes a record, not over the one that was last written or found fitting. */
  async write(marker: SyncMarker): Promise<void> {
    const slot = 1 - this.#slot
    await this.#file.write([encode(marker, this.#sequence + 1)], slot * RECORD_BYTES)
    this.#sequence++
    this.#slot = slot
  }

  /** The process that writes the feed, as far as the records tell. */
  async owner(): Promise<number | null> {
    const bytes = (await this.#file.read(0, 2 * RECORD_BYTES)) ?? new Uint8Array(0)
    const marker = records(bytes)[0]?.marker
    return marker === undefined ? null : processOf(marker)
  }

  /** True if it says no more than that the first sync of all failed. */
  async isFirstFailure(): Promise<boolean> {
    const found = records((await this.#file.read(0, 2 * RECORD_BYTES)) ?? new Uint8Array(0))
    return found.length > 0 && found.every(({ marker }) => marker.failed)
  }

  sync(): Promise<void> {
    return this.#file.sync()
  }
}

/** The process of a record, if there still is one with this number. */
export function processOf({ pid }: { readonly pid: number }): number | null {
  if (pid === 0) return null
  try {
    process.kill(pid, 0)
    return pid
  } catch (error) {
    // Of another user, then.
    return systemCode(error) === 'EPERM' ? pid : null
  }
}

/** The readable records, the latest first. */
function records(bytes: Uint8Array): { slot: number; marker: SyncMarker; sequence: number }[] {
  const found = [0, 1].flatMap((slot) => {
    const record = decode(bytes.subarray(slot * RECORD_BYTES, (slot + 1) * RECORD_BYTES))
    return record === null ? [] : [{ slot, ...record }]
  })
  return found.sort((a, b) => b.sequence - a.sequence)
}

function encode(marker: SyncMarker, sequence: number): Uint8Array {
  const writer = new ByteWriter()
  writer.uint(VERSION)
  writer.uint(sequence)
  writer.uint((marker.clean ? CLEAN : 0) | (marker.failed ? FAILED : 0))
  writer.uint(marker.logId)
  writer.uint(marker.syncedBytes)
  writer.string(marker.boot)
  writer.uint(marker.pid)
  const ranges = joinRanges(marker.doubtful, RANGES_MAX)
  writer.uint(ranges.length)
  for (const [start, end] of ranges) {
    writer.uint(start)
    writer.uint(end - start)
  }
  const payload = writer.finish()
  const bytes = new Uint8Array(RECORD_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(payload, FRAME_BYTES)
  view.setUint32(4, payload.byteLength, true)
  view.setUint32(0, crc32(bytes.subarray(4, FRAME_BYTES + payload.byteLength)), true)
  return bytes
}

function decode(record: Uint8Array): { marker: SyncMarker; sequence: number } | null {
  if (record.byteLength < FRAME_BYTES) return null
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength)
  const end = FRAME_BYTES + view.getUint32(4, true)
  if (end > record.byteLength) return null
  if (crc32(record.subarray(4, end)) !== view.getUint32(0, true)) return null
  const state: CodecState = { start: FRAME_BYTES, end, buffer: record }
  try {
    decodeUint(state, VERSION, 'version of a marker')
    const sequence = number(state)
    const flags = number(state)
    const logId = number(state)
    const syncedBytes = number(state)
    const bootLength = number(state)
    const boot = new TextDecoder().decode(record.subarray(state.start, state.start + bootLength))
    state.start += bootLength
    const pid = number(state)
    const doubtful: BlockRange[] = []
    for (let left = decodeUint(state, RANGES_MAX, 'count of ranges'); left > 0; left--) {
      const start = number(state)
      doubtful.push([start, start + number(state)])
    }
    const clean = flags === CLEAN
    const failed = (flags & FAILED) !== 0
    return { marker: { logId, syncedBytes, doubtful, clean, failed, boot, pid }, sequence }
  } catch {
    return null
  }
}

function number(state: CodecState): number {
  return decodeUint(state, Number.MAX_SAFE_INTEGER, 'number of a marker')
}
