/**
 * Protobuf's varints, exact below 2^53.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'

/** A place in bytes that are read once from start to end. */
export interface Cursor {
  readonly bytes: Uint8Array
  offset: number
}

/** Bytes that {@link writeVarint} takes for an integer of 0 to 2^53 - 1. */
export function varintBytes(value: number): number {
  let count = 1
  while (value >= 0x80) {
    value = value < 0x80000000 ? value >>> 7 : Math.floor(value / 0x80)
    count++
  }
  return count
}

/** Writes an integer at `offset`; returns the offset after it. */
export function writeVarint(bytes: Uint8Array, offset: number, value: number): number {
  while (value >= 0x80) {
    bytes[offset++] = (value & 0x7f) | 0x80
    value = value < 0x80000000 ? value >>> 7 : Math.floor(value / 0x80)
  }
  bytes[offset++] = value
  return offset
}

/**
 * Reads an integer and moves on.
 *
 * @throws SynclineError BAD_MESSAGE when it ends early or is not below 2^53.
 */
export function readVarint(cursor: Cursor): number {
  const { bytes } = cursor
  let value = 0
  let factor = 1
  for (let count = 0; count < 8; count++) {
    const byte = bytes[cursor.offset++]
    if (byte === undefined) throw new SynclineError('BAD_MESSAGE', 'a varint ends early')
    value += (byte & 0x7f) * factor
    if (byte < 0x80) {
      if (!Number.isSafeInteger(value)) break
      return value
    }
    factor *= 0x80
  }
  throw new SynclineError('BAD_MESSAGE', 'a varint is not below 2^53')
}
