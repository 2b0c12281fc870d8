import { UsageError } from './exit.ts'

/** One flag of the command line, also read from `SYNCLINE_<NAME>`. */
export interface Flag<T = unknown> {
  /** Without the dashes. */
  readonly name: string
  readonly short?: string
  readonly type: 'boolean' | 'string'
  /** True if `--no-NAME` exists too. */
  readonly negatable?: boolean
  /** True if it may be given several times; in the environment then separated by commas. */
  readonly repeatable?: boolean
  /** Stands for the value in help. */
  readonly value?: string
  /** Words that completion offers. */
  readonly choices?: readonly string[]
  readonly summary: string
  /** What it is when nobody gives it. */
  readonly fallback: T
  /**
   * Reads what was given, in order; only the last text unless repeatable. Booleans come as `true` or `false`.
   * @throws UsageError naming what would be right.
   */
  read(texts: readonly string[]): T
}

interface ToggleOptions {
  readonly short?: string
  /** True: on by default, and turned off by `--no-NAME`. */
  readonly on?: boolean
}

/** A flag without a value. */
export function toggle(name: string, summary: string, options: ToggleOptions = {}): Flag<boolean> {
  const { short, on = false } = options
  return {
    name,
    type: 'boolean',
    summary,
    fallback: on,
    ...(short === undefined ? {} : { short }),
    ...(on ? { negatable: true } : {}),
    read: (texts) => texts.at(-1) === 'true'
  }
}

/** A flag with a value. */
export function option<T>(
  name: string,
  value: string,
  summary: string,
  fallback: T,
  read: (text: string) => T
): Flag<T> {
  return {
    name,
    type: 'string',
    value,
    summary,
    fallback,
    read: (texts) => read(texts.at(-1) ?? '')
  }
}

/** A flag with a value that may be given several times. */
export function list<T>(
  name: string,
  value: string,
  summary: string,
  read: (text: string) => T
): Flag<readonly T[]> {
  return {
    name,
    type: 'string',
    repeatable: true,
    value,
    summary,
    fallback: [],
    read: (texts) => texts.map(read)
  }
}

/** A flag whose value is one of a few words. */
export function choice<T extends string>(
  name: string,
  choices: readonly T[],
  summary: string,
  fallback: T
): Flag<T> {
  const read = (text: string): T => {
    const found = choices.find((word) => word === text)
    if (found === undefined)
      throw new UsageError(`--${name} is one of ${choices.join(', ')}, not "${text}"`)
    return found
  }
  return { ...option(name, choices.join('|'), summary, fallback, read), choices }
}

/** Reads a whole number of at least `least`. */
export function wholeNumber(name: string, least = 0): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (/^\d+$/.test(text) && Number.isSafeInteger(number) && number >= least) return number
    throw new UsageError(`--${name} is a whole number of at least ${least}, not "${text}"`)
  }
}

const UNITS: Record<string, number> = { '': 1, K: 1e3, M: 1e6, G: 1e9 }

/** Reads bytes: a number with an optional suffix K, M or G (powers of 1000). */
export function byteCount(name: string, least = 0): (text: string) => number {
  return (text) => {
    const [, digits, suffix] = /^(\d+(?:\.\d+)?)([KMG]?)i?B?$/i.exec(text) ?? []
    const bytes = Math.floor(Number(digits) * (UNITS[suffix?.toUpperCase() ?? ''] ?? Number.NaN))
    if (Number.isSafeInteger(bytes) && bytes >= least) return bytes
    throw new UsageError(`--${name} is a number of bytes such as 500K or 2M, not "${text}"`)
  }
}

/** Reads seconds; parts of a second are fine. */
export function seconds(name: string): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (/^\d+(\.\d+)?$/.test(text) && !Number.isNaN(number)) return number
    throw new UsageError(`--${name} is a number of seconds, not "${text}"`)
  }
}

/** An address as it is given on the command line. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** Reads `HOST:PORT`, IPv6 hosts in brackets. */
export function address(name: string, leastPort = 1): (text: string) => Address {
  return (text) => {
    const colon = text.lastIndexOf(':')
    const host = text.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
    const digits = text.slice(colon + 1)
    const port = Number(digits)
    if (colon > 0 && /^\d{1,5}$/.test(digits) && port >= leastPort && port <= 65_535) {
      return { host, port }
    }
    throw new UsageError(`--${name} is HOST:PORT, not "${text}"`)
  }
}

/** Half-open range of blocks; the end may be Infinity. */
export type BlockRange = readonly [start: number, end: number]

/** Reads `A:B`, `A:` or `:B`. */
export function blockRange(name: string): (text: string) => BlockRange {
  return (text) => {
    const [, first, last] = /^(\d*):(\d*)$/.exec(text) ?? []
    if (first !== undefined && last !== undefined && text !== ':') {
      const start = Number(first)
      const end = last === '' ? Infinity : Number(last)
      if (start < end && Number.isSafeInteger(start)) return [start, end]
    }
    throw new UsageError(
      `--${name} is A:B with A below B, blocks from A up to B without B, not "${text}"`
    )
  }
}
