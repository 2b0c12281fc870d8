/**
 * A folder that a drive is applied to. Whoever changes a user's folder does it here.
 *
 * Guarded: nothing is written outside the root, whatever a drive's names and links say. Each folder on the way is
 * looked at and must be a real one; a name that would leave the root is refused, as is a link that would. A file comes
 * into place whole, by one rename. What a user puts there between two looks is noticed when it is no race on purpose.
 *
 * What cannot be done as it stands is told by a verdict, for the caller to decide; what the system refuses is thrown,
 * for one entry at a time. Methods that only take time when bytes are copied or synced do their work on the spot, and
 * give others a turn every FOLDER_TURN_MS.
 *
 * @module
 */
import fs, { type BigIntStats } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { promisify } from 'node:util'
import { SynclineError } from '../../errors.ts'
import { storageError, systemCode } from '../../feed/file/file-error.ts'
import { diskFiles } from '../../feed/file/file.ts'
import { FOLDER_TURN_MS } from '../../limits.ts'
import { copyWith } from './copy.ts'
import {
  asFarAsHeld,
  type FileAttributes,
  fileMode,
  folderMode,
  setAttributes,
  systemTime
} from './file-attributes.ts'
import { type FileNames, refusalOf, withMark } from './file-names.ts'
import { badLink, leavingText, leavingWay } from './links.ts'
import { look } from './look.ts'
import { discard, makeFile, NEW_FILE, NO_FOLLOW, TO_SYNC, writeAll } from './new-file.ts'
import { NewFolders } from './new-folders.ts'
import { type Kind, kindOf, type Obstacle, RealFolders } from './real-folders.ts'
import { type SystemCalls, systemCalls } from './system-calls.ts'
import type { Replaced, Trash, TrashEntry, TrashInfo } from './trash.ts'
import { STATE_FOLDER } from './state-folder.ts'

/** What tells a file apart from the one that stood there when it was last looked at. */
export type Stamp = Pick<BigIntStats, 'size' | 'mtimeNs' | 'ctimeNs' | 'ino' | 'dev'>

/** The name or the link is never made; the reason is for the user. */
export interface Refused {
  readonly verdict: 'refused'
  readonly reason: string
}

/** Something stands in the way, and nothing was changed. */
export interface Blocked extends Obstacle {
  readonly verdict: 'blocked'
}

/** It stands there now. */
export interface Placed {
  readonly verdict: 'done'
  /** Below the root. */
  readonly path: string
  /** As it is now. */
  readonly stats: BigIntStats
  /** Where what stood there went, and what it is there; null if nothing was kept. */
  readonly trashed: Trashed | null
}

/** It is gone. */
export interface Removed {
  readonly verdict: 'done'
  /** Below the root. */
  readonly path: string
  readonly trashed: Trashed | null
  /** Folders that were left empty and are gone too, by the drive's names. */
  readonly folders: readonly string[]
}

/** Nothing stands there. */
export interface Absent {
  readonly verdict: 'absent'
}

/** Something that went into the trash. */
export interface Trashed {
  readonly entry: TrashEntry
  readonly stats: BigIntStats
}

/** How something is put into place. */
export interface PutOptions {
  /** It is on the disk, with its folder, when the promise resolves. */
  readonly fsync?: boolean
  /** What must stand there: nothing (null), or this. Left out, a file or link that stands there gives way unseen. */
  readonly expected?: Stamp | null
  /** What stands there goes into the trash as this; left out, it is gone. */
  readonly old?: TrashInfo
}

/** How something is removed. */
export interface RemoveOptions {
  readonly fsync?: boolean
  /** What must stand there. Left out, any file or link goes. */
  readonly expected?: Stamp
  /** It goes into the trash as this; left out, it is gone. */
  readonly old?: TrashInfo
  /** Whether a folder, by the drive's name, goes too if this left it empty. By default none does. */
  readonly mayRemove?: (folder: string) => boolean
}

/** Options of a {@link Target}. */
export interface TargetOptions {
  readonly names: FileNames
  /** Null if nothing is kept. */
  readonly trash?: Trash | null
  /** `inside` (default) makes no link that leaves the root, `all` makes each as it is. */
  readonly links?: 'inside' | 'all'
  readonly calls?: SystemCalls
}

const TEMP = /^write-\d+-\d+$/
const NOTE = /^note-\d+-\d+$/
/** Names of copies on file systems that are mounted below the root. */
const BESIDE = /(?:^|\/)\.syncline-\d+-\d+$/
/** Folders that were not put into place. */
const FOLDER = /^folder-\d+-\d+$/
const { O_DIRECTORY, O_RDONLY } = fs.constants
const IS_WINDOWS: boolean = process.platform === 'win32'

/** Numbers what is half-done in this process: several targets may have one root. */
let temps = 0

/** The folder at a root. One process at a time; calls may overlap unless they are for the same name. */
export class Target {
  /** Absolute, without links. */
  readonly root: string
  readonly #names: FileNames
  readonly #trash: Trash | null
  readonly #links: 'inside' | 'all'
  readonly #calls: SystemCalls
  readonly #folders: RealFolders
  readonly #umask: number
  readonly #incoming: string
  #turnAt = performance.now()

  /**
   * Makes the folder for incoming files if it is missing.
   *
   * @param root - an existing folder; the user may name it by a link.
   * @throws SynclineError REFUSED when our own folder there is something else; DISK_FULL, STORAGE_FAILED.
   */
  constructor(root: string, { names, trash, links, calls }: TargetOptions) {
    this.#names = names
    this.#trash = trash ?? null
    this.#links = links ?? 'inside'
    this.#calls = calls ?? systemCalls
    this.#umask = process.umask()
    try {
      this.root = fs.realpathSync(root)
    } catch (error) {
      throw storageError(error, root)
    }
    this.#folders = new RealFolders(this.root, this.#calls)
    this.#incoming = `${this.root}/${STATE_FOLDER}/incoming`
    for (const folder of [`${this.root}/${STATE_FOLDER}`, this.#incoming]) this.#makeOwn(folder)
  }

  /**
   * Takes away what an earlier process left half-done. Files that are being received are not ours and stay.
   *
   * @returns how many files and folders that were.
   * @throws SynclineError STORAGE_FAILED.
   */
  sweep(): number {
    let count = 0
    try {
      for (const file of this.#calls.readdirSync(this.#incoming)) {
        const path = `${this.#incoming}/${file}`
        if (FOLDER.test(file)) this.#calls.rmSync(path, { recursive: true })
        else {
          if (NOTE.test(file)) this.#sweepBeside(this.#calls.readFileSync(path, 'utf8'))
          else if (!TEMP.test(file)) continue
          this.#calls.unlinkSync(path)
        }
        count++
      }
    } catch (error) {
      throw storageError(error, this.#incoming)
    }
    return count
  }

  /**
   * Makes a small file of `bytes`. Unsynced, it needs no turn of the event loop.
   *
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  async write(
    name: string,
    bytes: Uint8Array,
    options: FileAttributes & PutOptions = {}
  ): Promise<Placed | Blocked | Refused> {
    if (this.#isDue()) await this.#turn()
    const made: string[] = []
    const place = this.#locate(name, made)
    if (typeof place !== 'string') return place
    const blocked = this.#check(place, options)
    if (blocked !== null) return blocked
    return this.#attempt(place, async () => {
      const temp = this.newTemp()
      const fd = this.#calls.openSync(temp, NEW_FILE, fileMode(options))
      try {
        writeAll(this.#calls, fd, bytes)
        setAttributes(fd, null, systemTime(options.mtimeMs), this.#calls)
        if (options.fsync === true) await this.#sync(fd)
        const settled = await this.#settle(temp, fd, place, options, made)
        if (settled.verdict !== 'done') discard(this.#calls, temp)
        return settled
      } catch (error) {
        discard(this.#calls, temp)
        throw error
      } finally {
        this.#calls.closeSync(fd)
      }
    })
  }

  /**
   * As {@link Target.write}, on the spot and unsynced, where nothing stands. Null if something does, or if the system
   * refuses: `write` tells what.
   */
  writeNew(name: string, bytes: Uint8Array, attributes: FileAttributes): Placed | null {
    try {
      const path = this.#locate(name, [])
      if (typeof path !== 'string') return null
      const full = `${this.root}/${path}`
      if (this.#look(full) !== null) return null
      const temp = this.newTemp()
      const rename = (): void => this.#calls.renameSync(temp, full)
      const stats = makeFile(this.#calls, temp, bytes, attributes, rename)
      return stats === null ? null : { verdict: 'done', path, stats, trashed: null }
    } catch {
      return null
    }
  }

  /**
   * Begins a batch of new files, made on the spot and unsynced, in folders that are not there yet: these come into place
   * when all are made.
   */
  newFolders(): NewFolders {
    const newPath = (): string => `${this.#incoming}/folder-${process.pid}-${++temps}`
    return new NewFolders(this.root, this.#folders, this.#calls, newPath)
  }

  /** Whoever does much on the spot gives others a turn when this is not null. */
  turn(): Promise<void> | null {
    return this.#isDue() ? this.#turn() : null
  }

  /**
   * Moves a finished file into place.
   *
   * @param incoming - absolute; on an error or another verdict than `done` it stays where it is.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  async place(
    incoming: string,
    name: string,
    options: FileAttributes & PutOptions = {}
  ): Promise<Placed | Blocked | Refused> {
    if (this.#isDue()) await this.#turn()
    const made: string[] = []
    const place = this.#locate(name, made)
    if (typeof place !== 'string') return place
    const blocked = this.#check(place, options)
    if (blocked !== null) return blocked
    return this.#attempt(place, async () => {
      const fd = this.#calls.openSync(incoming, TO_SYNC | NO_FOLLOW)
      try {
        if (!this.#calls.fstatSync(fd).isFile()) {
          const reason = `${incoming} is no file any more`
          throw new SynclineError('STORAGE_FAILED', reason, { path: incoming })
        }
        const mode = fileMode(options) & ~this.#umask
        setAttributes(fd, mode, systemTime(options.mtimeMs), this.#calls)
        const synced = options.fsync === true ? await this.#syncFor(place, fd, options) : options
        return await this.#settle(incoming, fd, place, synced, made)
      } finally {
        this.#calls.closeSync(fd)
      }
    })
  }

  /**
   * Makes a symbolic link. Where it leads is only looked at to tell whether that is below the root.
   *
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  async link(
    name: string,
    linkname: string,
    options: Pick<FileAttributes, 'mtimeMs'> & PutOptions = {}
  ): Promise<Placed | Blocked | Refused> {
    if (this.#isDue()) await this.#turn()
    const path = this.#names.pathOf(name)
    const reason = badLink(linkname) ?? (path === null ? null : this.#leaves(path, linkname))
    if (reason !== null) return { verdict: 'refused', reason }
    const made: string[] = []
    const place = this.#locate(name, made)
    if (typeof place !== 'string') return place
    const blocked = this.#check(place, options)
    if (blocked !== null) return blocked
    const way =
      this.#links === 'all' ? null : leavingWay(place, linkname, (at) => this.#readLink(at))
    if (way !== null) return { verdict: 'refused', reason: way }
    return this.#attempt(place, async () => {
      const temp = this.newTemp()
      try {
        this.#calls.symlinkSync(linkname, temp, this.#linkType(place, linkname))
        const time = systemTime(options.mtimeMs)
        if (time !== null) asFarAsHeld(() => this.#calls.lutimesSync(temp, time, time))
        const settled = await this.#settle(temp, null, place, options, made, linkname)
        if (settled.verdict !== 'done') discard(this.#calls, temp)
        return settled
      } catch (error) {
        discard(this.#calls, temp)
        throw error
      }
    })
  }

  /**
   * Makes a folder, or takes the one that is there, and gives it what the drive says of it.
   *
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  async folder(
    name: string,
    options: Pick<FileAttributes, 'mode' | 'mtimeMs'> & { readonly fsync?: boolean } = {}
  ): Promise<Placed | Blocked | Refused> {
    if (this.#isDue()) await this.#turn()
    const path = this.#names.pathOfFolder(name)
    if (path === null) return this.#refuse(name)
    const made: string[] = []
    const obstacle = this.#folders.ensure(path, made)
    if (obstacle !== null) return { verdict: 'blocked', ...obstacle }
    return this.#attempt(path, async () => {
      const full = `${this.root}/${path}`
      const mode = folderMode(options)
      const time = systemTime(options.mtimeMs)
      if (mode !== null || time !== null) this.#setFolder(full, mode, time)
      if (options.fsync === true) await this.#syncFolders(path, made)
      const stats = this.#calls.lstatSync(full, { bigint: true })
      return { verdict: 'done', path, stats, trashed: null }
    })
  }

  /**
   * Removes a file or link.
   *
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  async remove(
    name: string,
    options: RemoveOptions = {}
  ): Promise<Removed | Absent | Blocked | Refused> {
    if (this.#isDue()) await this.#turn()
    const path = this.#locate(name, null)
    if (typeof path !== 'string') return isAbsent(path) ? { verdict: 'absent' } : path
    return this.#attempt(path, async () => {
      const full = `${this.root}/${path}`
      const stats = this.#look(full)
      if (stats === null) return { verdict: 'absent' }
      const by = kindOf(stats)
      const { expected } = options
      const isOther = expected !== undefined && !isSame(stats, expected)
      if (isOther || (by !== 'file' && by !== 'link')) return { verdict: 'blocked', path, by }
      let trashed: Trashed | null = null
      if (options.old === undefined) this.#calls.unlinkSync(full)
      else {
        const entry = await this.#trashOf().put(full, options.old)
        if (entry === null) return this.#blockedAt(path)
        trashed = { entry, stats: this.#calls.lstatSync(entry.path, { bigint: true }) }
      }
      if (options.fsync === true) await diskFiles.syncFolder(folderOf(full))
      return { verdict: 'done', path, trashed, folders: this.#removeFolders(name, options) }
    })
  }

  /**
   * Removes a folder if it is empty; `blocked` by a folder tells that it is not.
   *
   * @param mayRemove - as in {@link RemoveOptions}, for the folders above it.
   * @throws SynclineError STORAGE_FAILED.
   */
  async removeFolder(
    name: string,
    { mayRemove }: Pick<RemoveOptions, 'mayRemove'> = {}
  ): Promise<Removed | Absent | Blocked | Refused> {
    if (this.#isDue()) await this.#turn()
    const path = this.#names.pathOfFolder(name)
    if (path === null) return this.#refuse(name)
    const obstacle = this.#folders.ensure(path, null)
    if (obstacle?.by === 'nothing') return { verdict: 'absent' }
    if (obstacle !== null) return { verdict: 'blocked', ...obstacle }
    return this.#attempt(path, async () => {
      if (!this.#removeEmpty(path)) return { verdict: 'blocked', path, by: 'folder' }
      const above = mayRemove === undefined ? [] : this.#removeFolders(name, { mayRemove })
      return { verdict: 'done', path, trashed: null, folders: [name, ...above] }
    })
  }

  /**
   * Moves a file or link to the path of a name, where nothing may stand.
   *
   * @param path - where it stands, below the root.
   * @param seen - as it was looked at there.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  async rename(path: string, seen: Stamp, name: string): Promise<Placed | Blocked | Refused> {
    if (this.#isDue()) await this.#turn()
    const made: string[] = []
    const place = this.#locate(name, made)
    if (typeof place !== 'string') return place
    const options = { expected: null }
    const blocked = this.#check(path, { expected: seen }) ?? this.#check(place, options)
    if (blocked !== null) return blocked
    const from = `${this.root}/${path}`
    return this.#attempt(place, () => this.#settle(from, null, place, options, made))
  }

  /**
   * Gives what stands in the way a name of its own, beside: `name.conflict-20261121-160501.ext`.
   *
   * @param path - below the root, as a verdict tells it.
   * @returns its new path below the root; it is as it was otherwise.
   * @throws SynclineError BAD_ARGUMENT when nothing of the user's can stand there; STORAGE_FAILED.
   */
  moveAside(path: string, nowMs: number): { readonly path: string; readonly stats: BigIntStats } {
    const refusal = refusalOf(`/${path}`, { ...this.#names.rules, caseFolds: true })
    if (refusal !== null || !this.#isReal(folderOf(path))) {
      throw new SynclineError('BAD_ARGUMENT', `${path} cannot be moved aside`, { path })
    }
    const from = `${this.root}/${path}`
    try {
      let count = 1
      let to = conflictPath(path, nowMs, count, this.#names.rules.segmentBytesMax)
      while (this.#look(`${this.root}/${to}`) !== null) {
        to = conflictPath(path, nowMs, ++count, this.#names.rules.segmentBytesMax)
      }
      this.#calls.renameSync(from, `${this.root}/${to}`)
      this.#folders.forget()
      return { path: to, stats: this.#calls.lstatSync(`${this.root}/${to}`, { bigint: true }) }
    } catch (error) {
      throw storageError(error, from)
    }
  }

  /**
   * What stands at a path below the root; null if nothing does, or if a folder above it is missing or none: what lies
   * behind a link is not the root's.
   *
   * @throws SynclineError STORAGE_FAILED.
   */
  look(path: string): BigIntStats | null {
    return this.#isReal(folderOf(path)) ? look(`${this.root}/${path}`) : null
  }

  #isReal(folder: string): boolean {
    return this.#folders.ensure(folder, null) === null
  }

  /** The path of a name below the root, all folders above it being there, or why there is none. */
  #locate(name: string, made: string[] | null): string | Blocked | Refused {
    const path = this.#names.pathOf(name)
    if (path === null) return this.#refuse(name)
    const obstacle = this.#folders.ensure(folderOf(path), made)
    return obstacle === null ? path : { verdict: 'blocked', ...obstacle }
  }

  #refuse(name: string): Refused {
    const reason = refusalOf(name, this.#names.rules) ?? 'the name cannot stand here'
    return { verdict: 'refused', reason }
  }

  /** What of the caller's expectations does not hold at a path. */
  #check(path: string, { expected, old }: PutOptions): Blocked | null {
    if (expected === undefined && old === undefined) return null
    let stats: BigIntStats | null
    try {
      stats = this.#look(`${this.root}/${path}`)
    } catch (error) {
      throw storageError(error, path)
    }
    const by = kindAt(stats)
    const isExpected =
      expected === undefined ||
      (expected === null ? stats === null : stats !== null && isSame(stats, expected))
    const isInWay = by === 'folder' || by === 'special'
    return isExpected && !isInWay ? null : { verdict: 'blocked', path, by }
  }

  #blockedAt(path: string): Blocked {
    return { verdict: 'blocked', path, by: kindAt(this.#look(`${this.root}/${path}`)) }
  }

  /** Puts a finished file or link into place; on an error or another verdict than `done` it stays where it is. */
  async #settle(
    from: string,
    fd: number | null,
    path: string,
    options: PutOptions,
    made: readonly string[],
    linkname: string | null = null
  ): Promise<Placed | Blocked> {
    const { old, fsync } = options
    const full = `${this.root}/${path}`
    // While it was synced somebody may have come.
    const changed = fsync === true ? this.#check(path, options) : null
    if (changed !== null) return changed
    let replaced: Replaced | null = null
    if (old !== undefined && this.#look(full) !== null) {
      replaced = await this.#trashOf().putReplaced(full, old)
      if (replaced === null) return this.#blockedAt(path)
    }
    let isCarried = false
    let obstacle: Obstacle | null
    try {
      const moved = this.#rename(from, path)
      isCarried = moved === 'elsewhere'
      obstacle =
        moved === 'elsewhere' ? await this.#carry(from, fd, path, linkname, options) : moved
    } catch (error) {
      if (replaced !== null) this.#trashOf().putBack(replaced, full)
      throw error
    }
    if (obstacle !== null) {
      if (replaced !== null) this.#trashOf().putBack(replaced, full)
      return { verdict: 'blocked', ...obstacle }
    }
    if (fsync === true) await this.#syncFolders(folderOf(path), made)
    const entry: TrashEntry | null = replaced?.entry ?? null
    const isSameFile = fd !== null && !isCarried
    const stats = isSameFile
      ? this.#calls.fstatSync(fd, { bigint: true })
      : this.#calls.lstatSync(full, { bigint: true })
    const trashed =
      entry === null ? null : { entry, stats: this.#calls.lstatSync(entry.path, { bigint: true }) }
    return { verdict: 'done', path, stats, trashed }
  }

  /** Renames over what stands there; returns what stands in the way instead, or that it is another file system. */
  #rename(from: string, path: string): Obstacle | 'elsewhere' | null {
    const to = `${this.root}/${path}`
    for (let tries = 0; ; tries++) {
      try {
        this.#calls.renameSync(from, to)
        return null
      } catch (error) {
        const code = systemCode(error)
        const isLost = code === 'ENOENT' || code === 'ENOTDIR'
        if (isLost && tries === 0) {
          // A folder was taken away since it was looked at.
          this.#folders.forget()
          const obstacle = this.#folders.ensure(folderOf(path), [])
          if (obstacle !== null) return obstacle
          continue
        }
        if (!isLost && this.#look(to)?.isDirectory() === true) return { path, by: 'folder' }
        if (code === 'EXDEV') return 'elsewhere'
        throw error
      }
    }
  }

  /**
   * As a rename, to another file system that is mounted below the root. A note tells where the copy stands.
   *
   * @returns what came into the way while it was copied, or null.
   */
  async #carry(
    from: string,
    fd: number | null,
    path: string,
    linkname: string | null,
    { expected, old, fsync }: PutOptions
  ): Promise<Blocked | null> {
    const calls = this.#calls
    // What stood there may be in the trash by now, or have a second name there, which is a change as well.
    const isGuarded = expected !== undefined || old !== undefined
    const seen = isGuarded ? { expected: this.#look(`${this.root}/${path}`) } : {}
    const id = `${process.pid}-${++temps}`
    const folder = folderOf(path)
    const draft = folder === '' ? `.syncline-${id}` : `${folder}/.syncline-${id}`
    const full = `${this.root}/${draft}`
    const note = `${this.#incoming}/note-${id}`
    const noteFd = calls.openSync(note, NEW_FILE, 0o600)
    try {
      writeAll(calls, noteFd, Buffer.from(draft))
    } finally {
      calls.closeSync(noteFd)
    }
    try {
      if (fd === null) {
        const type = this.#linkType(path, linkname as string)
        calls.symlinkSync(linkname as string, full, type)
        const time = systemTime(calls.lstatSync(from).mtimeMs)
        if (time !== null) asFarAsHeld(() => calls.lutimesSync(full, time, time))
      } else {
        await copyWith(calls, from, full)
        await this.#copyAttributes(fd, full, fsync === true)
      }
      const blocked = this.#check(path, seen)
      if (blocked !== null) {
        discard(calls, full)
        return blocked
      }
      calls.renameSync(full, `${this.root}/${path}`)
      discard(calls, from)
      return null
    } catch (error) {
      discard(this.#calls, full)
      throw error
    } finally {
      discard(this.#calls, note)
    }
  }

  async #copyAttributes(from: number, to: string, fsync: boolean): Promise<void> {
    const { mode, mtimeMs } = this.#calls.fstatSync(from)
    // Its mode came with the copy, and may not let it be written; times may be set by whoever owns it.
    const fd = this.#calls.openSync(to, O_RDONLY | NO_FOLLOW)
    try {
      setAttributes(fd, mode & 0o777, systemTime(mtimeMs), this.#calls)
      if (fsync) await this.#sync(fd)
    } finally {
      this.#calls.closeSync(fd)
    }
  }

  #setFolder(full: string, mode: number | null, time: number | string | null): void {
    // Windows opens no folders, and has no modes for them.
    if (IS_WINDOWS) return
    const fd = this.#calls.openSync(full, O_RDONLY | O_DIRECTORY | NO_FOLLOW)
    try {
      setAttributes(fd, mode === null ? null : mode & ~this.#umask, time, this.#calls)
    } finally {
      this.#calls.closeSync(fd)
    }
  }

  /** Removes the folders above a name that are empty and may go; returns them, the lowest first. */
  #removeFolders(name: string, { mayRemove }: RemoveOptions): string[] {
    const removed: string[] = []
    if (mayRemove === undefined) return removed
    for (let folder = folderOf(name); folder !== '' && mayRemove(folder);) {
      if (!this.#removeEmpty(this.#names.pathOfFolder(folder) as string)) break
      removed.push(folder)
      folder = folderOf(folder)
    }
    return removed
  }

  #removeEmpty(path: string): boolean {
    try {
      this.#calls.rmdirSync(`${this.root}/${path}`)
      this.#folders.forget()
      return true
    } catch {
      // Not empty as a rule; one that the system does not let go is as good as that.
      return false
    }
  }

  /** Why a link to `linkname` would leave the root, by what it says. */
  #leaves(path: string, linkname: string): string | null {
    return this.#links === 'all' ? null : leavingText(path, linkname, IS_WINDOWS)
  }

  #readLink(path: string): string | null {
    try {
      return this.#calls.readlinkSync(`${this.root}/${path}`)
    } catch {
      return null
    }
  }

  /** Windows wants to know what a link leads to. */
  #linkType(path: string, linkname: string): 'dir' | 'file' | null {
    if (!IS_WINDOWS) return null
    const leads = `${this.root}/${folderOf(path)}/${linkname}`
    const stats = fs.statSync(leads, { throwIfNoEntry: false })
    return stats?.isDirectory() === true ? 'dir' : 'file'
  }

  #look(full: string): BigIntStats | null {
    return this.#calls.lstatSync(full, { bigint: true, throwIfNoEntry: false }) ?? null
  }

  /** A path for a file of ours that is to be placed, on the root's file system; {@link Target.sweep} takes what is left there. */
  newTemp(): string {
    return `${this.#incoming}/write-${process.pid}-${++temps}`
  }

  /** Syncs a file that is to be placed. What may stand there then is told: it may be the file itself, with new attributes. */
  async #syncFor(path: string, fd: number, options: PutOptions): Promise<PutOptions> {
    const stats = this.#calls.fstatSync(fd, { bigint: true })
    const there = this.#look(`${this.root}/${path}`)
    const isItself = there?.ino === stats.ino && there.dev === stats.dev
    await this.#sync(fd)
    return isItself ? { ...options, expected: stats } : options
  }

  #sync(fd: number): Promise<void> {
    return promisify(this.#calls.fsync)(fd)
  }

  /** The folder of a new file, and those that came to be for it. */
  async #syncFolders(folder: string, made: readonly string[]): Promise<void> {
    const folders = new Set([folder, ...made.map(folderOf)])
    await Promise.all(Array.from(folders, (path) => diskFiles.syncFolder(`${this.root}/${path}`)))
  }

  #trashOf(): Trash {
    if (this.#trash !== null) return this.#trash
    throw new SynclineError('BAD_ARGUMENT', `${this.root} has no trash`, { path: this.root })
  }

  /** What the system refuses is told as an error of the entry. */
  async #attempt<T>(path: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run()
    } catch (error) {
      throw storageError(error, `${this.root}/${path}`)
    }
  }

  #sweepBeside(path: string): void {
    const isOurs = BESIDE.test(path) && refusalOf(`/${path}`, this.#names.rules) === null
    if (!isOurs || !this.#isReal(folderOf(path))) return
    if (this.#look(`${this.root}/${path}`) !== null) {
      this.#calls.unlinkSync(`${this.root}/${path}`)
    }
  }

  #makeOwn(folder: string): void {
    try {
      this.#calls.mkdirSync(folder, { mode: 0o700 })
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw storageError(error, folder)
    }
    if (this.#look(folder)?.isDirectory() === true) return
    throw new SynclineError('REFUSED', `${folder} is no folder`, { path: folder })
  }

  #isDue(): boolean {
    return performance.now() - this.#turnAt > FOLDER_TURN_MS
  }

  async #turn(): Promise<void> {
    // What one round of the event loop reads is dealt with in the next one.
    await setImmediate()
    await setImmediate()
    this.#turnAt = performance.now()
  }
}

/**
 * The path of a conflicting file beside its own: `name.conflict-DATE.ext`, with a number from the second on.
 *
 * @param nowMs - told in the local time of the machine.
 */
export function conflictPath(
  path: string,
  nowMs: number,
  count: number,
  segmentBytesMax: number
): string {
  const now = new Date(nowMs)
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`
  const mark = `.conflict-${day}-${time}${count > 1 ? `-${count}` : ''}`
  const cut = path.lastIndexOf('/') + 1
  return path.slice(0, cut) + withMark(path.slice(cut), mark, { segmentBytesMax })
}

/** True if a path looks like one that {@link conflictPath} gives. */
export function isConflict(path: string): boolean {
  return /[.]conflict-\d{8}-\d{6}(?:-\d+)?(?:[.][^/]*)?$/.test(path)
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}

function isSame(a: Stamp, b: Stamp): boolean {
  return (
    a.size === b.size &&
    a.mtimeNs === b.mtimeNs &&
    a.ctimeNs === b.ctimeNs &&
    a.ino === b.ino &&
    a.dev === b.dev
  )
}

function kindAt(stats: BigIntStats | null): Kind {
  return stats === null ? 'nothing' : kindOf(stats)
}

function isAbsent(verdict: Blocked | Refused): boolean {
  return verdict.verdict === 'blocked' && verdict.by === 'nothing'
}

/** The part of a path or name before its last `/`; empty for none. */
function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}
