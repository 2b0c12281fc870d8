import b4a from 'b4a'
import { SynclineError } from '../errors.ts'

/** A codec of block values: abstract-encoding (`decode(bytes)`), compact-encoding, or the name of one. */
export type ValueEncoding =
  | 'binary'
  | 'utf-8'
  | 'json'
  | { encode(value: unknown): Uint8Array; decode(bytes: Uint8Array): unknown }
  | {
      preencode(state: object, value: unknown): void
      encode(state: object, value: unknown): void
      decode(state: object): unknown
    }

/** Gives a block the form that the caller asked for. */
export function decodeValue(bytes: Uint8Array, encoding: ValueEncoding = 'binary'): unknown {
  // A Buffer, as hypercore's users expect it.
  if (encoding === 'binary') return b4a.toBuffer(bytes)
  if (encoding === 'utf-8') return b4a.toString(bytes, 'utf-8')
  if (encoding === 'json') return JSON.parse(b4a.toString(bytes, 'utf-8')) as unknown
  if (typeof encoding !== 'object') throw unknown(encoding)
  if ('preencode' in encoding) {
    return encoding.decode({ start: 0, end: bytes.byteLength, buffer: bytes })
  }
  return encoding.decode(bytes)
}

/** The bytes of a value. */
export function encodeValue(value: unknown, encoding: ValueEncoding = 'binary'): Uint8Array {
  if (encoding === 'json') return b4a.from(JSON.stringify(value))
  if (encoding === 'utf-8' || encoding === 'binary') {
    if (typeof value === 'string') return b4a.from(value)
    if (value instanceof Uint8Array) return value
    throw new SynclineError('BAD_ARGUMENT', 'a block is bytes or a string')
  }
  if (typeof encoding !== 'object') throw unknown(encoding)
  if (!('preencode' in encoding)) return encoding.encode(value)
  const state = { start: 0, end: 0, buffer: null as Uint8Array | null }
  encoding.preencode(state, value)
  state.buffer = b4a.allocUnsafe(state.end)
  encoding.encode(state, value)
  return state.buffer
}

function unknown(encoding: never): SynclineError {
  return new SynclineError('BAD_ARGUMENT', `unknown value encoding ${String(encoding)}`)
}
