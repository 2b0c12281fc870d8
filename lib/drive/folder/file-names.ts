/**
 * What names of a drive are called below the root of a folder, and back.
 *
 * Most names stand for themselves. Some are never written ({@link refusalOf}); others cannot stand on the file
 * system as they are, or would be taken for another name, and get a new one that stays: `name~1a2b3c4d.ext`.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { PATH_LENGTH_MAX, SEGMENT_BYTES_MAX } from '../../limits.ts'
import { isPlainName } from '../drive-name.ts'
import { STATE_FOLDER } from './state-folder.ts'

/** What a file system does with names; see name-probe.ts. */
export interface NameRules {
  /** `A` and `a` are one name. */
  readonly caseFolds: boolean
  /** Composed and decomposed characters are one name. */
  readonly formFolds: boolean
  /** Dots and spaces at the end of a name are dropped. */
  readonly trims: boolean
  /** Some names are devices (`CON`), and long names have a short second one (`LONGNA~1`). */
  readonly devices: boolean
  /** Characters that no name may hold. */
  readonly refused: string
  /** Bytes of one part of a path. */
  readonly segmentBytesMax: number
}

/** A file system that takes names as they are, as Linux's own do. */
export const EXACT_NAMES: NameRules = {
  caseFolds: false,
  formFolds: false,
  trims: false,
  devices: false,
  refused: '',
  segmentBytesMax: SEGMENT_BYTES_MAX
}

/** A name whose path is not the name itself. */
export interface Renamed {
  /** The drive's name of a file, or of a folder with `/` at the end. */
  readonly name: string
  /** Below the root. */
  readonly path: string
}

/** Code points that HFS+ skips when it compares names. */
const IGNORABLE = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g
const DEVICE =
  /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3]) *(?:[.]|$)/i
const SHORT_STATE = /^sy[^.]{0,4}~[0-9]/i
const HASHED = /~[0-9a-f]{8}/
const HASH_DIGITS = [8, 16, 32, 64]
/** UTF-8 has at most three bytes for each unit of a text. */
const UNIT_BYTES_MAX = 3

/** True if different names may be one. */
export function isFolding({ caseFolds, formFolds }: NameRules): boolean {
  return caseFolds || formFolds
}

/** Why nothing is ever written under a name of a drive, or null. */
export function refusalOf(name: string, rules: NameRules): string | null {
  if (name.length <= PATH_LENGTH_MAX && isPlainName(name)) return null
  if (!name.startsWith('/')) return 'the name does not begin with /'
  if (name.includes('\0')) return 'the name holds a NUL'
  if (name.includes('\\')) return 'the name holds a backslash'
  if (name.length > PATH_LENGTH_MAX) return 'the name is too long'
  if (/\p{Cs}/u.test(name)) return 'the name is no Unicode text'
  if (/\/(?:\.\.?)?(?:\/|$)/.test(name)) return 'a part of the name is empty, . or ..'
  // At any depth: a folder that holds one is taken for a clone of its own by who works in it.
  if (name.split('/').some((segment) => fold(segment, rules) === STATE_FOLDER)) {
    return `a part of the name is that of the folder ${STATE_FOLDER}`
  }
  return null
}

/**
 * The paths of a drive's names: one to one, and stable. Where nothing folds, only what is renamed is kept in memory.
 *
 * Of several names that are one to the file system the first that comes holds it; a file gives way to a folder.
 */
export class FileNames {
  readonly rules: NameRules
  readonly #folds: boolean
  readonly #unusual: RegExp
  /** New last parts, by key: the drive's name, a folder's with `/` at the end. */
  readonly #renamed = new Map<string, string>()
  /** Keys by folded path: of all names where the file system folds, else of those that a new name might meet. */
  readonly #taken = new Map<string, string>()
  /** Files that the last name added begins with, and that may prove to be folders too. */
  #open: string[] = []
  #folder = ''
  #folderPath = ''
  /** Paths of names that go. */
  readonly #leaving = new Map<string, string>()
  /** Those names, by folded path. */
  readonly #leavingAt = new Map<string, string>()

  /**
   * @param known - names that have their path already and go on to exist, in the order of a listing; on a file
   * system that does not fold, those of {@link FileNames.renamed} are enough.
   * @param leaving - names that stand there and go: their paths are free for others.
   */
  constructor(rules: NameRules, known: Iterable<Renamed> = [], leaving: Iterable<Renamed> = []) {
    this.rules = rules
    this.#folds = isFolding(rules)
    const refused = rules.refused.replaceAll(/[\\\]^-]/g, String.raw`\$&`)
    const parts = [HASHED.source]
    if (refused !== '') parts.push(`[${refused}]`)
    if (rules.trims) parts.push('[. ](?:/|$)')
    if (rules.devices) parts.push('/(?:con|prn|aux|nul|com|lpt)', '/sy')
    this.#unusual = new RegExp(parts.join('|'), 'i')
    for (const { name, path } of known) this.#keep(name, path)
    for (const { name, path } of leaving) {
      this.#leaving.set(name, path)
      this.#leavingAt.set(fold(path, rules), name)
    }
  }

  /**
   * Takes a name of the drive; all names, in the order of a listing, before the first path is used.
   *
   * @param isFolder - it is an empty folder; those above a file need not be told.
   * @returns why nothing is written under it, or null.
   */
  add(name: string, isFolder = false): string | null {
    const refusal = refusalOf(name, this.rules)
    if (refusal !== null) return refusal
    let top = this.#open.at(-1)
    while (top !== undefined && !name.startsWith(top)) {
      this.#open.pop()
      top = this.#open.at(-1)
    }
    for (const file of this.#open) {
      if (name[file.length] === '/' && !this.#renamed.has(file)) this.#giveWay(file)
    }
    if (isFolder) {
      this.#folderPathOf(name)
      return null
    }
    if (name !== top) this.#open.push(name)
    this.#pathOf(name)
    return null
  }

  /** The path of a name below the root, parts joined by `/`; null if nothing is written under it. */
  pathOf(name: string): string | null {
    return refusalOf(name, this.rules) === null ? this.#pathOf(name) : null
  }

  /** As {@link FileNames.pathOf}, for a folder. */
  pathOfFolder(name: string): string | null {
    return refusalOf(name, this.rules) === null ? this.#folderPathOf(name) : null
  }

  /** The name that goes of what stands at a path below the root, or null. */
  leavingAt(path: string): string | null {
    return this.#leavingAt.size === 0 ? null : (this.#leavingAt.get(fold(path, this.rules)) ?? null)
  }

  /** True if a path is that of another name that goes on to exist or comes. */
  isTaken(path: string, name: string): boolean {
    const holder = this.#taken.get(fold(path, this.rules))
    return holder !== undefined && holder !== name && holder !== `${name}/`
  }

  /** True if a path leads through another one, as the file system takes them. */
  isBelow(path: string, other: string): boolean {
    return fold(path, this.rules).startsWith(`${fold(other, this.rules)}/`)
  }

  /** The name of what stands, or is to stand, at a path below the root. */
  nameOf(path: string): string {
    if (this.#taken.size === 0) return `/${path}`
    let name = ''
    for (let start = 0; start < path.length;) {
      const slash = path.indexOf('/', start)
      const end = slash === -1 ? path.length : slash
      const key = this.#taken.get(fold(path.slice(0, end), this.rules))
      name = key === undefined ? `${name}/${path.slice(start, end)}` : key.replace(/\/$/, '')
      start = end + 1
    }
    return name
  }

  /** Files and folders whose path is not their name. */
  renamed(): Renamed[] {
    return Array.from(this.#renamed.keys(), (name) => {
      const path = name.endsWith('/') ? this.#folderPathOf(name.slice(0, -1)) : this.#pathOf(name)
      return { name, path }
    })
  }

  #pathOf(name: string): string {
    const leaving = this.#leaving.get(name)
    if (leaving !== undefined) return leaving
    if (
      !this.#folds &&
      this.#renamed.size === 0 &&
      name.length * UNIT_BYTES_MAX <= this.rules.segmentBytesMax &&
      !this.#unusual.test(name)
    ) {
      return name.slice(1)
    }
    const cut = name.lastIndexOf('/')
    return this.#child(this.#folderPathOf(name.slice(0, cut)), name, name.slice(cut + 1))
  }

  #folderPathOf(folder: string): string {
    if (folder === '') return ''
    if (folder === this.#folder) return this.#folderPath
    const cut = folder.lastIndexOf('/')
    const parent = this.#folderPathOf(folder.slice(0, cut))
    const path = this.#child(parent, `${folder}/`, folder.slice(cut + 1))
    this.#folder = folder
    this.#folderPath = path
    return path
  }

  #child(parent: string, key: string, segment: string): string {
    const renamed = this.#renamed.get(key)
    if (renamed !== undefined) return join(parent, renamed)
    const path = join(parent, segment)
    if (this.#canStand(segment)) {
      if (!this.#folds && !HASHED.test(segment)) return path
      const folded = fold(path, this.rules)
      const holder = this.#taken.get(folded)
      if (holder === undefined) this.#taken.set(folded, key)
      if (holder === undefined || holder === key) return path
    }
    return this.#rename(parent, key, segment)
  }

  /** False if the file system would not take the name, or change it. */
  #canStand(segment: string): boolean {
    const { refused, trims, devices, segmentBytesMax } = this.rules
    for (const character of refused) if (segment.includes(character)) return false
    if (trims && /[. ]$/.test(segment)) return false
    if (devices && (DEVICE.test(segment) || SHORT_STATE.test(segment))) return false
    return (
      segment.length * UNIT_BYTES_MAX <= segmentBytesMax ||
      Buffer.byteLength(segment) <= segmentBytesMax
    )
  }

  #rename(parent: string, key: string, segment: string): string {
    const hash = createHash('sha256').update(key).digest('hex')
    const clean = this.#clean(segment)
    const candidates = HASH_DIGITS.map((digits) =>
      withMark(clean, `~${hash.slice(0, digits)}`, this.rules)
    )
    // The longest hash is taken by no other name.
    const renamed = candidates.find((candidate) => {
      const holder = this.#taken.get(fold(join(parent, candidate), this.rules))
      return holder === undefined || holder === key
    }) as string
    const path = join(parent, renamed)
    this.#renamed.set(key, renamed)
    this.#taken.set(fold(path, this.rules), key)
    return path
  }

  #clean(segment: string): string {
    let text = segment
    for (const character of this.rules.refused) text = text.replaceAll(character, '_')
    return this.rules.trims ? text.replace(/[. ]+$/, '') : text
  }

  #giveWay(file: string): void {
    const cut = file.lastIndexOf('/')
    const parent = this.#folderPathOf(file.slice(0, cut))
    const folded = fold(join(parent, file.slice(cut + 1)), this.rules)
    if (this.#taken.get(folded) === file) this.#taken.delete(folded)
    this.#rename(parent, file, file.slice(cut + 1))
  }

  #keep(name: string, path: string): void {
    const names = name.replace(/\/$/, '').slice(1).split('/')
    const paths = path.split('/')
    if (refusalOf(name.replace(/\/$/, ''), this.rules) !== null) return
    if (names.length !== paths.length || refusalOf(`/${path}`, this.rules) !== null) return
    let key = ''
    let at = ''
    for (const [i, segment] of names.entries()) {
      const isFile = i === names.length - 1 && !name.endsWith('/')
      key += isFile ? `/${segment}` : `/${segment}/`
      at = join(at, paths[i] as string)
      const isRenamed = paths[i] !== segment
      if (isRenamed) this.#renamed.set(key, paths[i] as string)
      if (isRenamed || this.#folds || HASHED.test(segment))
        this.#taken.set(fold(at, this.rules), key)
      if (!isFile) key = key.slice(0, -1)
    }
  }
}

/** A segment with a mark before its ending, shortened to what a part of a path may have. */
export function withMark(
  segment: string,
  mark: string,
  { segmentBytesMax }: Pick<NameRules, 'segmentBytesMax'>
): string {
  const dot = segment.lastIndexOf('.')
  const hasEnding = dot > 0 && segment.length - dot <= 16
  let stem = hasEnding ? segment.slice(0, dot) : segment
  const ending = hasEnding ? segment.slice(dot) : ''
  const rest = segmentBytesMax - Buffer.byteLength(mark) - Buffer.byteLength(ending)
  if (Buffer.byteLength(stem) > rest) {
    const characters = Array.from(stem.slice(0, rest))
    while (Buffer.byteLength(characters.join('')) > rest) characters.pop()
    stem = characters.join('')
  }
  return `${stem === '' ? '_' : stem}${mark}${ending}`
}

/**
 * One text for all names that the file system takes as the same. It may take fewer as the same: then one is
 * renamed without need, which does no harm.
 */
function fold(path: string, { caseFolds, formFolds, trims }: NameRules): string {
  let text = path
  if (formFolds) text = text.replaceAll(IGNORABLE, '').normalize('NFD')
  if (caseFolds) text = text.toUpperCase().toLowerCase()
  if (formFolds) text = text.normalize('NFC')
  return trims ? text.replaceAll(/[. ]+(?=\/|$)/g, '') : text
}

function join(parent: string, segment: string): string {
  return parent === '' ? segment : `${parent}/${segment}`
}
