/**
 * What tells, without reading a file, that it is still the one that was read: size, times, inode and device.
 *
 * @module
 */
import type { BigIntStats } from 'node:fs'
import { RACY_MS } from '../../limits.ts'

/** A stamp: 40 characters of one byte each, so that it is small in memory and compared at once. */
export type Stamp = string

/** Bytes of an encoded stamp. */
export const STAMP_BYTES = 40

/** Size, mtime and ctime in nanoseconds, inode, device: in the byte order of the machine, where alone they mean something. */
const words = new BigInt64Array(STAMP_BYTES / 8)
const bytes = Buffer.from(words.buffer)

/** The stamp of a file of which `stats` were taken with `bigint: true`. */
export function stampOf(stats: BigIntStats): Stamp {
  words[0] = stats.size
  words[1] = stats.mtimeNs
  words[2] = stats.ctimeNs
  words[3] = stats.ino
  words[4] = stats.dev
  return bytes.toString('latin1')
}

/** Whether both are of the same file in the same state, as far as stamps can tell. */
export function sameStamp(one: Stamp, other: Stamp): boolean {
  return one === other
}

/**
 * Whether the file may still change without a change of its stamp: its times are less than two seconds old, or ahead.
 *
 * @param stamp stamp of the file.
 * @param nowMs time of day when the file began to be read.
 */
export function isRacy(stamp: Stamp, nowMs: number): boolean {
  bytes.write(stamp, 'latin1')
  const mtimeMs = Number(words[1]) / 1e6
  const ctimeMs = Number(words[2]) / 1e6
  return Math.max(mtimeMs, ctimeMs) > nowMs - RACY_MS
}

/** Reads the stamp at `offset`. */
export function decodeStamp(from: Uint8Array, offset = 0): Stamp {
  return Buffer.from(from.buffer, from.byteOffset + offset, STAMP_BYTES).toString('latin1')
}

/** What a stamp tells. */
export type StampFields = Pick<BigIntStats, 'size' | 'mtimeNs' | 'ctimeNs' | 'ino' | 'dev'>

/** The fields of a stamp. */
export function fieldsOf(stamp: Stamp): StampFields {
  bytes.write(stamp, 'latin1')
  const [size, mtimeNs, ctimeNs, ino, dev] = words as unknown as [
    bigint,
    bigint,
    bigint,
    bigint,
    bigint
  ]
  return { size, mtimeNs, ctimeNs, ino, dev }
}
