// The slow, obvious twin of the frame kernel: one message at a time, numbers by compact-encoding.
import c from 'compact-encoding'

/** A bare request, or a bare value with where it lies. */
export type ReferenceEntry =
  | {
      readonly type: 'request'
      readonly id: number
      readonly fork: number
      readonly index: number
      readonly priority: number
    }
  | {
      readonly type: 'value'
      readonly id: number
      readonly fork: number
      readonly index: number
      readonly offset: number
      readonly length: number
    }

interface Numbers {
  readonly id: number
  readonly fork: number
  readonly index: number
}

export function referenceRequest({ id, fork, index }: Numbers, priority: number): Uint8Array {
  const flags = priority === 0 ? 1 : 33
  const end = priority === 0 ? [] : [uint(priority)]
  return entry([uint(1), uint(flags), uint(id), uint(fork), uint(index), uint(0), ...end])
}

export function referenceValue({ id, fork, index }: Numbers, value: Uint8Array): Uint8Array {
  const head = [uint(3), uint(1), uint(id), uint(fork), uint(index), uint(value.byteLength)]
  return entry([...head, value, uint(0)])
}

/** The entries of `[start, end)` up to the first that is no bare request or value, and where that begins. */
export function referenceRead(
  frame: Uint8Array,
  start: number,
  end: number
): { readonly entries: ReferenceEntry[]; readonly at: number } {
  const entries: ReferenceEntry[] = []
  let at = start
  while (at < end) {
    const read = readEntry(frame, at, end)
    if (read === null) break
    entries.push(read.entry)
    at = read.end
  }
  return { entries, at }
}

function readEntry(
  frame: Uint8Array,
  start: number,
  end: number
): { entry: ReferenceEntry; end: number } | null {
  const state = { start, end, buffer: frame.subarray(0, end) }
  // What does not fit 32 bits is not for runs.
  const number = (): number => {
    const value = state.buffer[state.start] === 0xff ? NaN : c.uint.decode(state)
    if (Number.isNaN(value)) throw new Error('a large number')
    return value
  }
  try {
    const byteLength = number()
    const last = state.start + byteLength
    if (last > end) return null
    // Other ways to write these two are for the reader of single messages.
    const [type, flags] = [state.buffer[state.start++], state.buffer[state.start++]]
    const [id, fork, index] = [number(), number(), number()]
    if (type === 1 && (flags === 1 || flags === 33)) {
      const nodes = number()
      const priority = flags === 33 ? number() : 0
      if (nodes !== 0 || state.start !== last) return null
      return { entry: { type: 'request', id, fork, index, priority }, end: last }
    }
    if (type !== 3 || flags !== 1) return null
    const length = number()
    const offset = state.start
    state.start += length
    if (state.start >= last || number() !== 0 || state.start !== last) return null
    return { entry: { type: 'value', id, fork, index, offset, length }, end: last }
  } catch {
    return null
  }
}

function entry(parts: readonly Uint8Array[]): Uint8Array {
  const message = Buffer.concat(parts)
  return Buffer.concat([uint(message.byteLength), message])
}

function uint(value: number): Uint8Array {
  return c.encode(c.uint, value)
}
