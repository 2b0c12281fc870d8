/**
 * One pattern of an ignore file, as git's wildmatch reads it: over bytes, with `*`, `?`, `[...]`, `**` and `\`.
 *
 * Texts and patterns are byte strings: each character stands for one byte.
 *
 * @module
 */

/** A pattern that is ready to be compared. */
export interface Glob {
  /** The first and the last byte of every text that matches, -1 if they may be any: most names differ there already. */
  readonly first: number
  readonly last: number
  /** Bytes that stand at the beginning of every text that matches. */
  readonly prefix: string
  /** What must follow the prefix: a byte, one of the steps below, or `CLASS` and the index of a class. */
  readonly steps: readonly number[]
  /** Sets of bytes, 256 bits each. */
  readonly classes: readonly string[]
}

/** Any byte but the slash. */
const ONE = 256
/** Any bytes but the slash. */
const STAR = 257
/** Any bytes. */
const ANY = 258
/** Nothing, or any bytes and a slash. */
const FOLDERS = 259
const CLASS = 260

const SLASH = 0x2f

/** Prepares `pattern`; null if no text can match it. */
export function compileGlob(pattern: string): Glob | null {
  const special = pattern.search(/[*?[\\]/)
  const prefix = special < 0 ? pattern : pattern.slice(0, special)
  const steps: number[] = []
  const classes: string[] = []
  // Git compares the prefix apart, so a `**` right behind it counts as one at the beginning.
  const rest = pattern.slice(prefix.length)
  let at = 0
  while (at < rest.length) {
    const char = rest[at]
    if (char === '*') {
      const first = at
      while (rest[at] === '*') at++
      const whole =
        at - first > 1 &&
        (first === 0 || rest[first - 1] === '/') &&
        (at === rest.length || rest[at] === '/' || rest.startsWith('\\/', at))
      if (whole && rest[at] === '/') {
        steps.push(FOLDERS)
        at++
      } else steps.push(whole ? ANY : STAR)
    } else if (char === '[') {
      const found = readClass(rest, at)
      if (found === null) return null
      steps.push(CLASS + classes.length)
      classes.push(found.set)
      at = found.end
    } else if (char === '?') {
      steps.push(ONE)
      at++
    } else {
      if (char === '\\') at++
      if (at === rest.length) return null
      steps.push(rest.charCodeAt(at))
      at++
    }
  }
  const first = prefix === '' ? -1 : prefix.charCodeAt(0)
  const end = steps.at(-1) ?? prefix.charCodeAt(prefix.length - 1)
  return { first, last: end < ONE ? end : -1, prefix, steps, classes }
}

/**
 * Tells whether all of `text` matches.
 *
 * @remarks Only the last `*` and the last `**` are ever tried again: a `*` ends before the next slash and a `**` takes
 * anything, so what an earlier one could still reach, the last one reaches too. Time is bounded by a polynomial.
 */
export function matchesGlob(glob: Glob, text: string): boolean {
  const { first, last, prefix, steps, classes } = glob
  if (first >= 0 && text.charCodeAt(0) !== first) return false
  if (last >= 0 && text.charCodeAt(text.length - 1) !== last) return false
  if (!text.startsWith(prefix)) return false
  if (steps.length === 0) return text.length === prefix.length
  let step = 0
  let at = prefix.length
  let starStep = -1
  let starAt = 0
  let wideStep = -1
  let wideAt = 0
  for (;;) {
    const wanted = steps[step]
    if (wanted === STAR) {
      starStep = ++step
      starAt = at
    } else if (wanted === ANY || wanted === FOLDERS) {
      wideStep = ++step
      wideAt = at
      starStep = -1
    } else if (wanted === undefined && at === text.length) {
      return true
    } else if (wanted !== undefined && at < text.length && takes(wanted, text.charCodeAt(at))) {
      step++
      at++
    } else if (starStep >= 0 && starAt < text.length && text.charCodeAt(starAt) !== SLASH) {
      step = starStep
      at = ++starAt
    } else if (wideStep >= 0) {
      const slash = steps[wideStep - 1] === FOLDERS ? text.indexOf('/', wideAt) : wideAt
      if (slash < 0 || slash === text.length) return false
      wideAt = slash + 1
      step = wideStep
      at = wideAt
      starStep = -1
    } else return false
  }

  function takes(wanted: number, byte: number): boolean {
    if (wanted < ONE) return wanted === byte
    if (byte === SLASH) return false
    return wanted === ONE || inSet(classes[wanted - CLASS] as string, byte)
  }
}

const POSIX: Readonly<Record<string, (byte: number) => boolean>> = {
  alnum: (byte) => isAlpha(byte) || isDigit(byte),
  alpha: isAlpha,
  blank: (byte) => byte === 0x20 || byte === 0x09,
  cntrl: (byte) => byte < 0x20 || byte === 0x7f,
  digit: isDigit,
  graph: (byte) => byte > 0x20 && byte < 0x7f,
  lower: isLower,
  print: (byte) => byte >= 0x20 && byte < 0x7f,
  punct: (byte) => byte > 0x20 && byte < 0x7f && !isAlpha(byte) && !isDigit(byte),
  space: (byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d),
  upper: isUpper,
  xdigit: (byte) => isDigit(byte) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66)
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39
}

function isLower(byte: number): boolean {
  return byte >= 0x61 && byte <= 0x7a
}

function isUpper(byte: number): boolean {
  return byte >= 0x41 && byte <= 0x5a
}

function isAlpha(byte: number): boolean {
  return isLower(byte) || isUpper(byte)
}

/** Reads the class that opens at `start`; null if it is not closed, or names a set that does not exist. */
function readClass(text: string, start: number): { set: string; end: number } | null {
  const bits = new Uint8Array(32)
  let at = start + 1
  const negated = text[at] === '!' || text[at] === '^'
  if (negated) at++
  /** The byte before, which a `-` makes the beginning of a range; 0 if it cannot be one. */
  let previous = 0
  // A `]` in the first place stands for itself.
  for (let first = true; first || text[at] !== ']'; first = false) {
    const char = text[at]
    if (char === undefined) return null
    const next = text[at + 1]
    let byte: number
    if (char === '-' && previous !== 0 && next !== undefined && next !== ']') {
      at += next === '\\' ? 2 : 1
      if (at >= text.length) return null
      for (let code = previous; code <= text.charCodeAt(at); code++) addTo(bits, code)
      byte = 0
    } else if (char === '[' && next === ':') {
      const close = text.indexOf(']', at + 2)
      if (close < 0) return null
      if (close - at > 2 && text[close - 1] === ':') {
        const name = text.slice(at + 2, close - 1)
        const holds = Object.hasOwn(POSIX, name) ? POSIX[name] : undefined
        if (holds === undefined) return null
        for (let code = 0; code < 256; code++) if (holds(code)) addTo(bits, code)
        at = close
        byte = 0
      } else {
        byte = text.charCodeAt(at)
        addTo(bits, byte)
      }
    } else {
      if (char === '\\') at++
      if (at >= text.length) return null
      byte = text.charCodeAt(at)
      addTo(bits, byte)
    }
    previous = byte
    at++
  }
  if (negated)
    for (let index = 0; index < bits.length; index++) bits[index] = ~(bits[index] as number)
  return { set: String.fromCharCode(...bits), end: at + 1 }
}

function addTo(bits: Uint8Array, byte: number): void {
  bits[byte >> 3] = (bits[byte >> 3] as number) | (1 << (byte & 7))
}

function inSet(set: string, byte: number): boolean {
  return ((set.charCodeAt(byte >> 3) >> (byte & 7)) & 1) === 1
}
