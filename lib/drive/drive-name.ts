/**
 * Names of files in a drive, and the keys of the index under which they stand.
 *
 * A name is absolute and separated by `/`. Files and links stand in the part `files` of the index, empty
 * folders in the part `dirs`, which other readers of the format pass over. There is no folding of case or
 * Unicode: two names are the same if their bytes are.
 *
 * @module
 */
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'

/** Why a name of a foreign drive is not taken. */
export type NameFault =
  | 'not-utf8' // Its bytes are no UTF-8.
  | 'no-slash' // It does not begin with a slash.
  | 'empty-segment' // It is the root, ends with a slash, or has two in a row.
  | 'dot' // A segment is `.`.
  | 'dot-dot' // A segment is `..`.
  | 'backslash' // Others would take it for a slash.
  | 'nul' // No file system takes it.
  | 'drive-letter' // The first segment is `C:` or alike.

/** A key of the index, read as a name. */
export interface ReadName {
  /** For people only, with replaced characters, if `fault` is set. */
  readonly name: string
  /** Null if the name can be listed and written. */
  readonly fault: NameFault | null
}

/** A range of keys; see `KeyRange` of the index. */
export interface NameRange {
  readonly gt: Uint8Array
  readonly lt: Uint8Array
}

/** Parts of the index. */
export type Part = 'files' | 'dirs'

const PREFIXES: Record<Part, Uint8Array> = {
  files: b4a.from('files\0'),
  dirs: b4a.from('dirs\0')
}
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The key of a name that is normal already.
 *
 * @throws SynclineError BAD_ARGUMENT when it is no Unicode text.
 */
export function keyOfName(name: string, part: Part = 'files'): Uint8Array {
  if (/\p{Surrogate}/u.test(name)) {
    throw new SynclineError('BAD_ARGUMENT', `"${name}" is no Unicode text`)
  }
  return b4a.from(`${part}\0${name}`)
}

/** The part of the index that a key stands in; null if it is none of a drive. */
export function partOfKey(key: Uint8Array): Part | null {
  if (startsWith(key, PREFIXES.files)) return 'files'
  return startsWith(key, PREFIXES.dirs) ? 'dirs' : null
}

/** Reads the name in a key of a part. Pure: whether the target's file system takes it is another question. */
export function readName(key: Uint8Array, part: Part = 'files'): ReadName {
  const bytes = key.subarray(PREFIXES[part].byteLength)
  try {
    const name = UTF8.decode(bytes)
    return { name, fault: faultOf(name) }
  } catch {
    return { name: b4a.toString(bytes, 'utf-8'), fault: 'not-utf8' }
  }
}

/** Names of parts that begin with a letter, digit or `-` and hold no character that any rule is about. */
const PLAIN = /^(?:\/[\w-][\w. -]*)+$/

/** True for names that no rule is about, as most are: one look tells it. */
export function isPlainName(name: string): boolean {
  return PLAIN.test(name)
}

/** Why a name is not taken, or null. */
export function faultOf(name: string): NameFault | null {
  if (isPlainName(name)) return null
  if (!name.startsWith('/')) return 'no-slash'
  if (name.includes('\\')) return 'backslash'
  if (name.includes('\0')) return 'nul'
  const segments = name.slice(1).split('/')
  if (segments.includes('')) return 'empty-segment'
  if (segments.includes('..')) return 'dot-dot'
  if (segments.includes('.')) return 'dot'
  return /^[a-z]:$/i.test(segments[0] as string) ? 'drive-letter' : null
}

/** All keys of a part. */
export function rangeOfPart(part: Part = 'files'): NameRange {
  return { gt: PREFIXES[part], lt: b4a.from(`${part}\u0001`) }
}

/** Keys of all that lies in a folder, at any depth; the folder is a normal name or `/`. */
export function rangeOfFolder(folder: string, part: Part = 'files'): NameRange {
  const prefix = folder === '/' ? '' : folder
  // '0' follows '/'.
  return { gt: keyOfName(`${prefix}/`, part), lt: keyOfName(`${prefix}0`, part) }
}

/**
 * Makes a name that a user gave normal, by Hyperdrive's rules: `/` and `\` separate, empty segments and `.`
 * fall away, `..` goes up, drive letters and `scheme://host` fall away.
 *
 * @throws SynclineError BAD_ARGUMENT when it leads above the root or is no Unicode text.
 */
export function normalFolder(name: string): string {
  const segments: string[] = []
  for (const segment of withoutOrigin(name.split(/[/\\]/))) {
    if (segment === '' || segment === '.') continue
    if (segment !== '..') segments.push(segment)
    else if (segments.pop() === undefined) {
      throw new SynclineError('BAD_ARGUMENT', `"${name}" leads out of the drive`)
    }
  }
  return `/${segments.join('/')}`
}

/**
 * As {@link normalFolder}, for a file.
 *
 * @throws SynclineError BAD_ARGUMENT also for the root.
 */
export function normalName(name: string): string {
  const normal = normalFolder(name)
  if (normal === '/') throw new SynclineError('BAD_ARGUMENT', `"${name}" names no file`)
  return normal
}

/** Where a link leads that stands at `name`; a name of the drive. @throws SynclineError BAD_ARGUMENT. */
export function resolveLink(name: string, linkname: string): string {
  const absolute = /^[/\\]/.test(linkname) || hasOrigin(linkname.split(/[/\\]/))
  return normalName(absolute ? linkname : `${name}/../${linkname}`)
}

function hasOrigin(segments: readonly string[]): boolean {
  return segments.length > 1 && (segments[0] as string).endsWith(':')
}

function withoutOrigin(segments: string[]): string[] {
  const [first] = segments as [string, ...string[]]
  if (!hasOrigin(segments)) return segments
  return segments.slice(first.length === 2 || first === 'file:' ? 1 : 3)
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return (
    bytes.byteLength >= prefix.byteLength &&
    b4a.equals(bytes.subarray(0, prefix.byteLength), prefix)
  )
}

/** Orders names as the index orders their keys: by their UTF-8 bytes. */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return rank(x) - rank(y)
  }
  return a.length - b.length
}

/** Characters beyond 16 bits come last in UTF-8, and in the middle as halves of UTF-16. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit
  return unit < 0xe000 ? unit + 0x10000 : unit
}
