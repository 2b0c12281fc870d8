/**
 * Looks at what users hand over before anything is done with it. The types say the same, but not everybody has them, and a
 * number that is none would reach the engine and the wire.
 *
 * @module
 */
import { DIRECTIONS, MODES, type Direction, type Mode, type RateLimits } from '../engine/input.ts'
import { SynclineError } from '../errors.ts'

/** How a feed is to be synchronized; what is left out has a default. */
interface Adding {
  readonly mode?: Mode
  readonly ranges?: readonly (readonly [start: number, end: number])[]
  readonly priority?: number
  readonly direction?: Direction
  readonly encryptionKey?: Uint8Array | null
}

/** @throws SynclineError BAD_ARGUMENT. */
export function checkAdding(options: Adding): void {
  const { mode, ranges, priority, direction, encryptionKey = null } = options
  if (mode !== undefined) checkMode(mode)
  if (ranges !== undefined) checkRanges(ranges)
  if (priority !== undefined) checkPriority(priority)
  if (direction !== undefined) checkDirection(direction)
  if (encryptionKey !== null && !isKey(encryptionKey)) {
    throw new SynclineError('BAD_ARGUMENT', 'an encryption key has 32 bytes')
  }
}

/** @throws SynclineError BAD_ARGUMENT. */
export function checkStorage(storage: unknown): void {
  const isOne = typeof storage === 'string' ? storage !== '' : typeof storage === 'object'
  if (!isOne || storage === null) throw bad('storage is a folder or memory(), not', storage)
}

/** @throws SynclineError BAD_ARGUMENT. */
export function checkName(name: string): void {
  if (typeof name !== 'string' || name === '') throw bad('a name is a text, not', name)
}

/** @throws SynclineError BAD_ARGUMENT. */
export function checkMode(mode: Mode): void {
  if (!MODES.includes(mode)) throw bad(`a mode is one of ${MODES.join(', ')}, not`, mode)
}

/** @throws SynclineError BAD_ARGUMENT. */
export function checkDirection(direction: Direction): void {
  if (!DIRECTIONS.includes(direction)) {
    throw bad(`a direction is one of ${DIRECTIONS.join(', ')}, not`, direction)
  }
}

/** @throws SynclineError BAD_ARGUMENT. */
export function checkPriority(priority: number): void {
  if (!Number.isFinite(priority)) throw bad('a priority is a number, not', priority)
}

/** @throws SynclineError BAD_ARGUMENT. */
export function checkBlock(index: number): void {
  if (!isWhole(index)) throw bad('a block index is a whole number, not', index)
}

/** Looks at blocks `[start, end)`; an end may be Infinity. @throws SynclineError BAD_ARGUMENT. */
export function checkRange(start: number, end: number): void {
  if (!isWhole(start) || !(isWhole(end) || end === Infinity)) {
    throw bad('a range goes from a whole number to another one or Infinity, not', [start, end])
  }
}

/** Looks at a list of ranges, none of which ends before it starts. @throws SynclineError BAD_ARGUMENT. */
export function checkRanges(ranges: readonly (readonly [start: number, end: number])[]): void {
  if (!Array.isArray(ranges)) throw bad('ranges are a list of [start, end], not', ranges)
  for (const range of ranges as readonly (readonly [number, number])[]) {
    if (!Array.isArray(range)) throw bad('a range is [start, end], not', range)
    const [start, end] = range
    checkRange(start, end)
    if (start > end) throw bad('a range ends after it starts, not', [start, end])
  }
}

/** @throws SynclineError BAD_ARGUMENT. */
export function checkLimits({ upload, download }: RateLimits): void {
  for (const limit of [upload, download]) {
    if (!Number.isFinite(limit) || limit < 0) {
      throw bad('a limit is a number of bytes per second, 0 for none, not', limit)
    }
  }
}

function isKey(key: Uint8Array): boolean {
  return key instanceof Uint8Array && key.byteLength === 32
}

function isWhole(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function bad(expected: string, value: unknown): SynclineError {
  return new SynclineError('BAD_ARGUMENT', `${expected} ${JSON.stringify(value) ?? String(value)}`)
}
