/**
 * Walks a folder and tells what it holds, in the order of the drive's index.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { constants, type BigIntStats, type Dirent } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { SynclineError } from '../../errors.ts'
import { SCAN_BATCH_ENTRIES, SCAN_TURN_MS } from '../../limits.ts'
import { decidingRule, type IgnoreRule, type IgnoreScope } from '../ignore/rules.ts'
import { rulesIn, type IgnoreSource } from './ignore-file.ts'
import { isGone, requiredCode, systemReader, type FolderReader } from './reader.ts'
import { stampOf, type Stamp } from './stamp.ts'
import { STATE_FOLDER } from './state-folder.ts'
import { storesBelow } from './stores.ts'

/** A file, a link, or a folder in which there is nothing to share. */
export interface ScannedEntry {
  /** Name in the drive, such as `/a/b.txt`. */
  readonly name: string
  readonly kind: 'file' | 'link' | 'folder'
  /** Bytes of a file; 0 for others. */
  readonly size: number
  /** Permission bits, `& 0o777`. */
  readonly mode: number
  /** Milliseconds since 1970, with a fraction. */
  readonly mtimeMs: number
  /** Tells whether the file changed since. */
  readonly stamp: Stamp
  /** Where a link leads; null for others. */
  readonly linkname: string | null
}

/** Something that is there and is not shared. */
export interface Skipped {
  /** Name in the drive; where it is not UTF-8, with U+FFFD. */
  readonly name: string
  /**
   * `special`: a FIFO, socket or device. `name`: it, or where a link leads, is not UTF-8 or has a `\`, or it is `/C:` or
   * alike. `unreadable`: the system or an ignore file that cannot be read forbids to look; what was known of it before
   * still counts. `ignored`: by a rule. `state`: syncline's own. `store`: a store of the user's.
   */
  readonly reason: 'special' | 'name' | 'unreadable' | 'ignored' | 'state' | 'store'
  /** Whether it is a folder, of which nothing else is told. */
  readonly folder: boolean
  /** The system's code, or `TOO_MANY` for ignore rules; only for what is unreadable. */
  readonly code?: string
  /** The rule that ignores it. */
  readonly rule?: IgnoreRule
}

/** How much a scan has met so far. What is in a folder that was skipped is not counted. */
export interface ScanCounts {
  files: number
  links: number
  /** Folders in which there is nothing to share. */
  emptyFolders: number
  /** Bytes of all files. */
  bytes: number
  special: number
  name: number
  unreadable: number
  ignored: number
  state: number
  store: number
  /** Entries that each rule ignores. */
  readonly ignoredBy: Map<IgnoreRule, number>
}

export interface ScanOptions {
  /**
   * Name in the drive, such as `/a/b`, of the only file or folder to scan. A folder above it is yielded if it is empty.
   * Default: everything.
   */
  readonly under?: string
  /** Whether `.gitignore` files and `.git/info/exclude` hold too. Default false. */
  readonly gitignore?: boolean
  /** Folders of users' stores, wherever they are: what of them is below the root is skipped. Default: none. */
  readonly stores?: readonly string[]
  /** Called for each entry that is skipped. */
  readonly onSkipped?: (skipped: Skipped) => void
  /** Default: the file system. */
  readonly reader?: FolderReader
}

/**
 * Entries in the order of their names' UTF-8 bytes, files and empty folders mixed, some at a time. Can be iterated once.
 */
export interface Scan extends AsyncIterable<readonly ScannedEntry[]> {
  /** Grows while the scan is iterated. */
  readonly counts: ScanCounts
}

/**
 * Scans the folder at `root`. Links are not followed, and names that vanish meanwhile are left out.
 *
 * @param root path of the folder; may be a link to it.
 * @returns the scan; iterating it throws SynclineError FOLDER_MISSING if `root` is no folder or is not the same folder
 * any more at the end (nothing may be concluded from what is missing then), STORAGE_FAILED if it cannot be read.
 * @remarks Holds no more than the names of the folders on the way to the current entry.
 */
export function scan(root: string, options: ScanOptions = {}): Scan {
  const counts = newCounts()
  const batches = inBatches(root, options, counts)
  return { counts, [Symbol.asyncIterator]: () => batches }
}

async function* inBatches(
  root: string,
  options: ScanOptions,
  counts: ScanCounts
): AsyncGenerator<readonly ScannedEntry[]> {
  let batch: ScannedEntry[] = []
  let until = performance.now() + SCAN_TURN_MS
  for (const entry of walk(root, options, counts)) {
    if (entry !== null) batch.push(entry)
    if (batch.length < SCAN_BATCH_ENTRIES && performance.now() < until) continue
    if (batch.length > 0) yield batch
    batch = []
    await turn()
    until = performance.now() + SCAN_TURN_MS
  }
  if (batch.length > 0) yield batch
}

const SLASH = 0x2f
const REPLACEMENT = '\ufffd'
/** Names that others of the format read as the place of a disk. */
const DRIVE_LETTER = /^\/[a-z]:$/i
/** Where UTF-16 has another order than UTF-8. */
const SURROGATE = /[\ud800-\udfff]/
const COUNT_OF = { file: 'files', link: 'links', folder: 'emptyFolders' } as const

interface Walk extends IgnoreSource {
  readonly under: string
  /** Names of the stores below the root. */
  readonly stores: readonly string[]
  readonly counts: ScanCounts
  readonly onSkipped: ((skipped: Skipped) => void) | undefined
}

/** A folder that was read and is not yet walked to its end. */
interface Folder {
  /** Name in the drive, empty for the root. */
  readonly name: string
  readonly scope: IgnoreScope | null
  /** Whether it holds nothing that is shared. */
  readonly empty: boolean
  /** What is shared in it and to be scanned, in the order of the bytes. */
  readonly children: readonly Child[]
  next: number
  /** Folders whose names were reached, but not yet those of what they hold: `a` comes before `a-b`, `a/c` after it. */
  readonly waiting: Folder[]
}

type Child = Pick<Dirent, 'name'> & { readonly kind: ScannedEntry['kind'] }

/** Yields null where time went by without an entry. */
function* walk(
  root: string,
  options: ScanOptions,
  counts: ScanCounts
): Generator<ScannedEntry | null> {
  const { under = '/', gitignore = false, stores = [], onSkipped, reader = systemReader } = options
  const walk: Walk = {
    reader,
    root: root.replace(/\/+$/, ''),
    under: under === '/' ? '' : under,
    gitignore,
    stores: storesBelow(root, stores),
    counts,
    onSkipped
  }
  const identity = rootIdentity(walk)
  const open = [readRoot(walk)]
  for (let folder = open.at(-1); folder !== undefined; folder = open.at(-1)) {
    const child = folder.children[folder.next]
    const waiting = folder.waiting.at(-1)
    if (waiting !== undefined && !(child !== undefined && comesBefore(child, waiting))) {
      folder.waiting.pop()
      open.push(waiting)
    } else if (child === undefined) {
      open.pop()
    } else {
      folder.next++
      yield child.kind === 'folder' ? enter(walk, folder, child) : entryOf(walk, folder, child)
    }
  }
  if (rootIdentity(walk) !== identity) throw missing(walk)
}

/** Whether `child`, which follows the waiting folder, comes before what that folder holds. */
function comesBefore(child: Child, waiting: Folder): boolean {
  const last = waiting.name.slice(waiting.name.lastIndexOf('/') + 1)
  return child.name.startsWith(last) && child.name.charCodeAt(last.length) < SLASH
}

/** Reads a folder; its entry if there is nothing in it, else null and it waits for its turn. */
function enter(walk: Walk, above: Folder, child: Child): ScannedEntry | null {
  const name = `${above.name}/${child.name}`
  try {
    // A link that took the place of the folder meanwhile must not be followed.
    const stats = walk.reader.lstat(walk.root + name)
    if ((Number(stats.mode) & constants.S_IFMT) !== constants.S_IFDIR) return null
    const folder = readFolder(walk, name, above.scope)
    if (folder.empty) return counted(walk, name, 'folder', stats, null)
    above.waiting.push(folder)
  } catch (error) {
    unreadable(walk, name, true, error)
  }
  return null
}

function readRoot(walk: Walk): Folder {
  try {
    return readFolder(walk, '', null)
  } catch (error) {
    if (isGone(error)) throw missing(walk, error)
    if (error instanceof SynclineError) throw error
    throw unreadableRoot(walk, error)
  }
}

/** The root's device and inode. */
function rootIdentity(walk: Walk): string {
  try {
    const { dev, ino } = walk.reader.stat(walk.root || '/')
    return `${dev} ${ino}`
  } catch (error) {
    if (isGone(error)) throw missing(walk, error)
    throw unreadableRoot(walk, error)
  }
}

function missing(walk: Walk, cause?: unknown): SynclineError {
  const path = walk.root || '/'
  return new SynclineError('FOLDER_MISSING', `there is no folder ${path}`, { path }, cause)
}

function unreadableRoot(walk: Walk, cause: unknown): SynclineError {
  const path = walk.root || '/'
  const message = `the folder ${path} cannot be read (${requiredCode(cause)})`
  return new SynclineError('STORAGE_FAILED', message, { path }, cause)
}

function readFolder(walk: Walk, name: string, above: IgnoreScope | null): Folder {
  const path = walk.root + name || '/'
  const listed = walk.reader.list(path)
  const holds = (file: string): boolean => listed.some((entry) => entry.name === file)
  const scope = rulesIn(walk, name, above, holds)
  const replaced = listed.some((entry) => entry.name.includes(REPLACEMENT))
  const valid = replaced ? utf8Names(walk.reader.listBytes(path)) : null
  const only = walk.under.startsWith(`${name}/`) ? walk.under.slice(name.length + 1) : null
  const wanted = only?.split('/', 1)[0]
  const children: Child[] = []
  let empty = true
  for (const entry of listed) {
    const kind = kindOf(entry)
    const skipped = whySkipped(walk, `${name}/${entry.name}`, entry.name, kind, scope, valid)
    if (skipped === null) empty = false
    if (wanted !== undefined && entry.name !== wanted) continue
    if (skipped !== null) skip(walk, skipped)
    else if (kind !== 'special') children.push({ name: entry.name, kind })
  }
  return { name, scope, empty, children: inOrder(children), next: 0, waiting: [] }
}

/** Why an entry of a folder is not shared, or null if it is. */
function whySkipped(
  { stores }: Walk,
  name: string,
  lastPart: string,
  kind: ScannedEntry['kind'] | 'special',
  scope: IgnoreScope | null,
  valid: Set<string> | null
): Skipped | null {
  const folder = kind === 'folder'
  if (lastPart === STATE_FOLDER) return { name, reason: 'state', folder }
  if (stores.includes(name)) return { name, reason: 'store', folder }
  // A name that is not UTF-8 may look like a valid one once its bytes are replaced; each valid one is there once.
  const damaged = valid !== null && lastPart.includes(REPLACEMENT) && !valid.delete(lastPart)
  if (damaged || lastPart.includes('\\') || DRIVE_LETTER.test(name))
    return { name, reason: 'name', folder }
  const rule = decidingRule(scope, name, folder)
  if (rule !== null && !rule.negated) return { name, reason: 'ignored', folder, rule }
  return kind === 'special' ? { name, reason: 'special', folder } : null
}

function utf8Names(names: readonly Buffer[]): Set<string> {
  return new Set(names.filter((name) => isUtf8(name)).map((name) => name.toString()))
}

function kindOf(entry: Dirent): ScannedEntry['kind'] | 'special' {
  if (entry.isFile()) return 'file'
  if (entry.isDirectory()) return 'folder'
  return entry.isSymbolicLink() ? 'link' : 'special'
}

/** The entry of a file or link; null if it cannot be read or is not there any more as what it was. */
function entryOf(walk: Walk, folder: Folder, { name: lastPart, kind }: Child): ScannedEntry | null {
  const { reader } = walk
  const name = `${folder.name}/${lastPart}`
  const path = walk.root + name
  try {
    const stats = reader.lstat(path)
    const bits = Number(stats.mode)
    const type = kind === 'link' ? constants.S_IFLNK : constants.S_IFREG
    if ((bits & constants.S_IFMT) !== type) return null
    if (kind === 'link') {
      const target = reader.readLink(path)
      if (isUtf8(target)) return counted(walk, name, kind, stats, target.toString())
      skip(walk, { name, reason: 'name', folder: false })
      return null
    }
    if (!isReadable(bits, stats.uid)) reader.checkReadable(path)
    return counted(walk, name, kind, stats, null)
  } catch (error) {
    unreadable(walk, name, false, error)
    return null
  }
}

function counted(
  { counts }: Walk,
  name: string,
  kind: ScannedEntry['kind'],
  stats: BigIntStats,
  linkname: string | null
): ScannedEntry {
  const size = kind === 'file' ? Number(stats.size) : 0
  counts[COUNT_OF[kind]]++
  counts.bytes += size
  const mode = Number(stats.mode) & 0o777
  const mtimeMs = Number(stats.mtimeNs) / 1e6
  return { name, kind, size, mode, mtimeMs, stamp: stampOf(stats), linkname }
}

/** Counts what cannot be looked at; what vanished is as if it had not been there. */
function unreadable(walk: Walk, name: string, folder: boolean, error: unknown): void {
  if (!isGone(error)) skip(walk, { name, reason: 'unreadable', folder, code: requiredCode(error) })
}

const OWN_UID = BigInt(process.getuid?.() ?? -1)

/** Whether the mode alone tells that we may read, so that the system need not be asked. */
function isReadable(mode: number, uid: bigint): boolean {
  return (mode & 0o444) === 0o444 || ((mode & 0o400) !== 0 && uid === OWN_UID)
}

function skip(walk: Walk, skipped: Skipped): void {
  const { counts, onSkipped } = walk
  counts[skipped.reason]++
  if (skipped.rule !== undefined) {
    counts.ignoredBy.set(skipped.rule, (counts.ignoredBy.get(skipped.rule) ?? 0) + 1)
  }
  onSkipped?.(skipped)
}

function newCounts(): ScanCounts {
  return {
    files: 0,
    links: 0,
    emptyFolders: 0,
    bytes: 0,
    special: 0,
    name: 0,
    unreadable: 0,
    ignored: 0,
    state: 0,
    store: 0,
    ignoredBy: new Map()
  }
}

/** Sorts by UTF-8 bytes. Most systems list names in that order already. */
function inOrder(children: Child[]): Child[] {
  const surrogates = children.some(({ name }) => SURROGATE.test(name))
  return children.sort(surrogates ? byBytes : byUnits)
}

function byUnits(one: Child, other: Child): number {
  return one.name < other.name ? -1 : 1
}

function byBytes(one: Child, other: Child): number {
  return Buffer.compare(Buffer.from(one.name), Buffer.from(other.name))
}
