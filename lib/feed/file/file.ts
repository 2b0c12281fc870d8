/**
 * Files as feeds need them: positioned reads, gathered writes, and a say in when bytes reach the disk.
 *
 * {@link FileLayer} is what tests replace to crash, tear and lose writes; {@link diskFiles} is the real one.
 *
 * @module
 */
import fs from 'node:fs'
import { access, mkdir, open as openHandle, readFile, rename, rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import RandomAccessFile from 'random-access-file'
import { storageError, systemCode } from './file-error.ts'
import { lockFeed, type Release } from './feed-lock.ts'
import { loadFileLocks } from './native-file.ts'
import { Pace, SMALL_BYTES } from './pace.ts'

/** An open file. Calls may overlap unless they touch the same bytes. Errors are the system's own. */
export interface OpenFile {
  /** Fills `target` from `position` on as far as the file goes; resolves to the bytes read. */
  read(target: Uint8Array, position: number): Promise<number>
  /** Writes the parts one after the other from `position` on, completely. */
  write(parts: readonly Uint8Array[], position: number): Promise<void>
  /** Cuts or extends (with zeros) the file. */
  truncate(size: number): Promise<void>
  size(): Promise<number>
  /** Resolves when what was written is on the disk. */
  sync(): Promise<void>
  /** Frees the disk under a range, which then reads as zeros; false if the system cannot. */
  punch(offset: number, length: number): Promise<boolean>
  close(): Promise<void>
}

/** Opens files and folders. Errors are the system's own. */
export interface FileLayer {
  /** For `write` a missing file is made, with mode 0600. */
  open(path: string, access: 'read' | 'write'): Promise<OpenFile>
  /** Makes a folder with mode 0700, and its parents; resolves to the topmost one made, or null. */
  makeFolder(path: string): Promise<string | null>
  /** Resolves when the entries of a folder are on the disk. */
  syncFolder(path: string): Promise<void>
  /** Removes a file if it exists. */
  remove(path: string): Promise<void>
  /** Puts a file in the place of another. */
  rename(path: string, to: string): Promise<void>
  /** True if there is a file or folder. */
  exists(path: string): Promise<boolean>
  /** Names this boot of the machine; empty if the system does not tell. */
  bootId(): Promise<string>
  /**
   * Makes this process the only writer of the feed in `folder`, until the returned function is called or
   * the process ends.
   *
   * @param owner - finds the process id of another writer for the error.
   * @throws SynclineError FEED_LOCKED, STORAGE_FAILED.
   */
  lock(folder: string, owner: () => Promise<number | null>): Promise<Release>
}

const SECRET_FILE_MODE = 0o600
const FOLDER_MODE = 0o700

/** Files that this process may have open, where the system tells (Linux), else Infinity. */
export function openFilesLimit(): number {
  try {
    const limits = fs.readFileSync('/proc/self/limits', 'utf8')
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity)
  } catch {
    return Infinity
  }
}

/**
 * All of a file of some hundred bytes, or null if there is none.
 *
 * @throws SynclineError STORAGE_FAILED
 */
export async function readSmallFile(path: string): Promise<Buffer | null> {
  try {
    return await pace.run(
      0,
      () => fs.readFileSync(path),
      () => readFile(path)
    )
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null
    throw storageError(error, path)
  }
}

/** Files of the disk, through random-access-file; see pace.ts for where each operation runs. */
export const diskFiles: FileLayer = {
  async open(path, mode) {
    const file = new DescriptorFile(path, mode)
    await done((callback) => file.open(callback))
    return new DiskFile(file)
  },
  async makeFolder(path) {
    const options = { recursive: true, mode: FOLDER_MODE } as const
    const made = await pace.run(
      0,
      () => fs.mkdirSync(path, options),
      () => mkdir(path, options)
    )
    return made ?? null
  },
  async syncFolder(path) {
    // Windows cannot open folders; its file systems log their own changes.
    if (process.platform === 'win32') return
    const folder = await openHandle(path, 'r')
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  },
  async remove(path) {
    await rm(path, { force: true })
  },
  rename,
  exists(path) {
    return pace.run(
      0,
      () => fs.existsSync(path),
      () =>
        access(path).then(
          () => true,
          () => false
        )
    )
  },
  async bootId() {
    boot ??= readBootId()
    return boot
  },
  lock: lockFeed
}

let boot: string | undefined

/** Nothing on a disk: it is read on the spot. */
function readBootId(): string {
  try {
    return fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  } catch {
    return ''
  }
}

/** One for all: feeds are on one disk as a rule, and a wrong guess costs little. */
const pace = new Pace()

const openAt = promisify(fs.open)
const closeAt = promisify(fs.close)
const readAt = promisify(fs.read)
const writeAllAt = promisify(fs.writev)
const truncateAt = promisify(fs.ftruncate)
const statusOf = promisify(fs.fstat)
const dataSync = promisify(fs.fdatasync)

/** Opens and closes by the pace, and makes files that only their owner may read. */
class DescriptorFile extends RandomAccessFile {
  readonly #flags: number

  constructor(path: string, access: 'read' | 'write') {
    super(path, { writable: access === 'write' })
    const { O_CREAT, O_RDWR, O_RDONLY } = fs.constants
    this.#flags = access === 'write' ? O_RDWR | O_CREAT : O_RDONLY
  }

  override _open(request: { callback(error: Error | null): void }): void {
    const { filename } = this
    const opening = pace.run(
      0,
      () => fs.openSync(filename, this.#flags, SECRET_FILE_MODE),
      () => openAt(filename, this.#flags, SECRET_FILE_MODE)
    )
    opening.then(
      (fd) => {
        this.fd = fd
        request.callback(null)
      },
      (error: Error) => request.callback(error)
    )
  }

  override _close(request: { callback(error: Error | null): void }): void {
    const { fd } = this
    this.fd = 0
    const closing = pace.run(
      0,
      () => fs.closeSync(fd),
      () => closeAt(fd)
    )
    closing.then(
      () => request.callback(null),
      (error: Error) => request.callback(error)
    )
  }
}

/** Bytes of a part from which the system takes it where it lies: smaller ones are copied together sooner. */
const COARSE_BYTES: number = 16 * 1024
/** Holds what is written on the spot. */
const gathered: Uint8Array = new Uint8Array(SMALL_BYTES)

class DiskFile implements OpenFile {
  readonly #file: RandomAccessFile

  constructor(file: RandomAccessFile) {
    this.#file = file
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    const { fd } = this.#file
    const { byteLength } = target
    let total = 0
    while (total < byteLength) {
      const rest = byteLength - total
      const at = position + total
      const count = await pace.run(
        rest,
        () => fs.readSync(fd, target, total, rest, at),
        async () => (await readAt(fd, target, total, rest, at)).bytesRead
      )
      if (count === 0) break
      total += count
    }
    return total
  }

  async write(parts: readonly Uint8Array[], position: number): Promise<void> {
    let rest = parts.filter((part) => part.byteLength > 0)
    let at = position
    while (rest.length > 0) {
      const count = await this.#writeSome(rest, at)
      at += count
      rest = skip(rest, count)
    }
  }

  /**
   * Writes from the beginning of the parts; resolves to the bytes written. Pieces of SMALL_BYTES at most: for larger
   * ones Linux takes larger pages, which may be memory that was never touched and then costs ten times the copy.
   */
  #writeSome(parts: readonly Uint8Array[], position: number): Promise<number> {
    const { fd } = this.#file
    return pace.run(
      SMALL_BYTES,
      () => {
        const piece = firstPiece(parts)
        return fs.writeSync(fd, piece, 0, piece.byteLength, position)
      },
      async () => (await writeAllAt(fd, parts, position)).bytesWritten
    )
  }

  truncate(size: number): Promise<void> {
    const { fd } = this.#file
    return pace.run(
      0,
      () => fs.ftruncateSync(fd, size),
      () => truncateAt(fd, size)
    )
  }

  async size(): Promise<number> {
    const { fd } = this.#file
    const status = await pace.run(
      0,
      () => fs.fstatSync(fd),
      () => statusOf(fd)
    )
    return status.size
  }

  async sync(): Promise<void> {
    await dataSync(this.#file.fd)
  }

  async punch(offset: number, length: number): Promise<boolean> {
    if ((await loadFileLocks()) === null) return false
    await done((callback) => this.#file.del(offset, length, callback))
    return true
  }

  close(): Promise<void> {
    return done((callback) => this.#file.close(callback))
  }
}

/** The parts without their first `count` bytes. */
function skip(parts: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count
  let i = 0
  for (; i < parts.length; i++) {
    const { byteLength } = parts[i] as Uint8Array
    if (left < byteLength) break
    left -= byteLength
  }
  const rest = parts.slice(i)
  if (left > 0) rest[0] = (rest[0] as Uint8Array).subarray(left)
  return rest
}

/** The first SMALL_BYTES of the parts, or a little less; valid until the next call. */
function firstPiece(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts
  if (first !== undefined && (parts.length === 1 || first.byteLength >= COARSE_BYTES)) {
    return first.subarray(0, SMALL_BYTES)
  }
  let at = 0
  for (const part of parts) {
    const rest = SMALL_BYTES - at
    gathered.set(part.byteLength <= rest ? part : part.subarray(0, rest), at)
    at += Math.min(part.byteLength, rest)
    if (at === SMALL_BYTES) break
  }
  return gathered.subarray(0, at)
}

function done(run: (callback: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    run((error) => {
      if (error) reject(error)
      else resolve()
    })
  })
}
