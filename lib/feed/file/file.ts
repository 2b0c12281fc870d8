/**
 * Files as feeds need them: positioned reads, gathered writes, and a say in when bytes reach the disk.
 *
 * {@link FileLayer} is what tests replace to crash, tear and lose writes; {@link diskFiles} is the real one.
 *
 * @module
 */
import fs from 'node:fs'
import { mkdir, open as openHandle, readFile, rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import RandomAccessFile from 'random-access-file'
import { systemCode } from './file-error.ts'
import { lockFeed, type Release } from './feed-lock.ts'
import { loadFileLocks } from './native-file.ts'

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

/** Files of the disk, through random-access-file. */
export const diskFiles: FileLayer = {
  async open(path, access) {
    try {
      return await openDisk(path, access)
    } catch (error) {
      if (access === 'read' || systemCode(error) !== 'ENOENT') throw error
    }
    // Random-access-file would make the file with a mode that others may read.
    const flags = fs.constants.O_RDWR | fs.constants.O_CREAT
    await (await openHandle(path, flags, SECRET_FILE_MODE)).close()
    return openDisk(path, access)
  },
  async makeFolder(path) {
    return (await mkdir(path, { recursive: true, mode: FOLDER_MODE })) ?? null
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
  bootId() {
    boot ??= readFile('/proc/sys/kernel/random/boot_id', 'utf8').then(
      (text) => text.trim(),
      () => ''
    )
    return boot
  },
  lock: lockFeed
}

let boot: Promise<string> | undefined

async function openDisk(path: string, access: 'read' | 'write'): Promise<OpenFile> {
  const file = new RandomAccessFile(path, { writable: access === 'write' })
  await done((callback) => file.open(callback))
  return new DiskFile(file)
}

const readAt = promisify(fs.read)
const writeAt = promisify(fs.writev)
const dataSync = promisify(fs.fdatasync)

class DiskFile implements OpenFile {
  readonly #file: RandomAccessFile

  constructor(file: RandomAccessFile) {
    this.#file = file
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    let total = 0
    while (total < target.byteLength) {
      const rest = target.byteLength - total
      const { bytesRead } = await readAt(this.#file.fd, target, total, rest, position + total)
      if (bytesRead === 0) break
      total += bytesRead
    }
    return total
  }

  async write(parts: readonly Uint8Array[], position: number): Promise<void> {
    let rest = parts.filter((part) => part.byteLength > 0)
    let at = position
    while (rest.length > 0) {
      const { bytesWritten } = await writeAt(this.#file.fd, rest, at)
      at += bytesWritten
      rest = skip(rest, bytesWritten)
    }
  }

  truncate(size: number): Promise<void> {
    return done((callback) => this.#file.truncate(size, callback))
  }

  size(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#file.stat((error, stat) => {
        if (stat === undefined) reject(error ?? new Error('no status'))
        else resolve(stat.size)
      })
    })
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
  const rest: Uint8Array[] = []
  for (const part of parts) {
    if (left >= part.byteLength) left -= part.byteLength
    else {
      rest.push(left === 0 ? part : part.subarray(left))
      left = 0
    }
  }
  return rest
}

function done(run: (callback: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    run((error) => {
      if (error) reject(error)
      else resolve()
    })
  })
}
