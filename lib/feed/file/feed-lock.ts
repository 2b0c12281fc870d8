/**
 * One writer for each feed.
 *
 * With locks of the system, a feed of a folder of feeds is one byte range of the folder's `primary-key`, and so is
 * its journal: a single descriptor for all, and Corestore 6, which locks that whole file, and we keep each other
 * out. A feed in a folder of its own is a range of its `oplog`, which hypercore 10 locks as a whole. The
 * ranges lie far behind the content, where no lock can hinder a read. Such locks end with the process.
 *
 * Where the system cannot lock parts of a file, or fs-native-extensions is missing, a file `lock` with
 * the process id stands for the lock; one whose process is gone is taken over.
 *
 * @module
 */
import { constants } from 'node:fs'
import { type FileHandle, link, open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { type ErrorDetails, isSynclineError, SynclineError } from '../../errors.ts'
import { LOCK_LEFT_MS } from '../../limits.ts'
import { storageError, systemCode } from './file-error.ts'
import { type FileLocks, loadFileLocks } from './native-file.ts'

/** Lets a lock go. Idempotent. */
export type Release = () => Promise<void>

/** Where ranges begin: behind any content. */
const RANGES_OFFSET: number = 2 ** 40
/** Hexadecimal digits of a discovery key that make its range: 48 bits. */
const RANGE_DIGITS = 12
/** Folder of the journal in a folder of feeds, and its range: the one before those of feeds. */
export const JOURNAL_NAME = 'journal'
const JOURNAL_RANGE = -1

/** Feeds that this process writes; a descriptor does not exclude itself. */
const held: Set<string> = new Set()
const shared: Map<string, { readonly handle: Promise<FileHandle>; users: number }> = new Map()

/**
 * Takes the lock of the feed in `folder`.
 *
 * @throws SynclineError FEED_LOCKED with the pid that `owner` finds; STORAGE_FAILED.
 */
export async function lockFeed(
  folder: string,
  owner: () => Promise<number | null>
): Promise<Release> {
  const id = path.resolve(folder)
  if (held.has(id)) throw lockedError(id, process.pid)
  held.add(id)
  try {
    const release = await lockFile(id, owner)
    let released = false
    return async () => {
      if (released) return
      released = true
      await release().finally(() => held.delete(id))
    }
  } catch (error) {
    held.delete(id)
    throw error
  }
}

async function lockFile(folder: string, owner: () => Promise<number | null>): Promise<Release> {
  const locks = await loadFileLocks()
  const range = await rangeOf(folder)
  if (locks === null || (!locks.ranges && range !== null)) return lockByPid(folder)
  const { file, number } = range ?? { file: await logOf(folder), number: 0 }
  const offset = locks.ranges ? RANGES_OFFSET + number : 0
  const release = await lockRange(locks, file, offset, locks.ranges ? 1 : 0)
  if (release === null) throw lockedError(folder, await owner())
  return release
}

/** The log of a feed in a folder of its own, by either of its names. */
async function logOf(folder: string): Promise<string> {
  const log = path.join(folder, 'log')
  return stat(log).then(
    () => log,
    () => path.join(folder, 'oplog')
  )
}

/**
 * The file of a folder of feeds in which `folder` has its range, and the number of that: of a feed in
 * `cores/aa/bb/<discovery key>`, or of the journal. Null for any other folder.
 */
async function rangeOf(
  folder: string
): Promise<{ readonly file: string; readonly number: number } | null> {
  const [name = '', b, a, cores] = folder.split(path.sep).toReversed()
  const isFeed =
    cores === 'cores' &&
    /^[0-9a-f]{64}$/.test(name) &&
    a === name.slice(0, 2) &&
    b === name.slice(2, 4)
  if (!isFeed && name !== JOURNAL_NAME) return null
  const number = isFeed ? Number.parseInt(name.slice(0, RANGE_DIGITS), 16) : JOURNAL_RANGE
  const file = path.join(path.resolve(folder, isFeed ? '../../../..' : '..'), 'primary-key')
  if (shared.has(file)) return { file, number }
  try {
    await stat(file)
    return { file, number }
  } catch {
    return null
  }
}

/** Locks a range of a file; all ranges of a file share one descriptor. Null if another process has it. */
async function lockRange(
  locks: FileLocks,
  file: string,
  offset: number,
  length: number
): Promise<Release | null> {
  let entry = shared.get(file)
  if (entry === undefined) {
    entry = { handle: open(file, constants.O_RDWR), users: 0 }
    shared.set(file, entry)
  }
  const { handle } = entry
  entry.users++
  const leave = async (): Promise<void> => {
    if (--entry.users > 0) return
    shared.delete(file)
    await (await handle).close()
  }
  try {
    const { fd } = await handle
    if (locks.tryLock(fd, offset, length, false)) {
      return async () => {
        locks.unlock(fd, offset, length)
        await leave()
      }
    }
  } catch (error) {
    await leave().catch(() => {})
    throw storageError(error, file)
  }
  await leave()
  return null
}

/** As {@link lockFeed}, with a file that names the process instead of a lock of the system. */
export async function lockByPid(folder: string): Promise<Release> {
  const file = path.join(folder, 'lock')
  const draft = `${file}.${process.pid}`
  const text = `${process.pid} ${await startOf(process.pid)}\n`
  try {
    await writeFile(draft, text, { mode: 0o600 })
    for (let tries = 0; tries < 10; tries++) {
      if (await putNew(file, draft, text)) return () => rm(file, { force: true })
      const found = await readFile(file, 'utf8').catch(() => null)
      if (found === null) continue
      const [pid = '', start = ''] = found.trim().split(' ')
      if (await lives(Number(pid), start)) throw lockedError(folder, Number(pid))
      // Not written yet, where it could not be put there whole.
      if (found === '' && !(await isLeft(file))) break
      await removeStale(file, found, draft)
    }
  } catch (error) {
    if (isSynclineError(error)) throw error
    throw storageError(error, file)
  } finally {
    await rm(draft, { force: true }).catch(() => {})
  }
  throw lockedError(folder, null)
}

/** Puts a file where none is, with its content at once; false if there is one. */
async function putNew(file: string, draft: string, text: string): Promise<boolean> {
  try {
    await link(draft, file).catch((error: unknown) => {
      if (systemCode(error) === 'EEXIST') throw error
      // A file system without links.
      return writeFile(file, text, { flag: 'wx', mode: 0o600 })
    })
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
}

/** Removes the lock file of a process that is gone. One process at a time: another may have taken the lock over since. */
async function removeStale(file: string, text: string, draft: string): Promise<void> {
  const guard = `${file}.stale`
  if (!(await putNew(guard, draft, text))) {
    if (await isLeft(guard)) await rm(guard, { force: true })
    return
  }
  try {
    if ((await readFile(file, 'utf8').catch(() => null)) === text) await rm(file, { force: true })
  } finally {
    await rm(guard, { force: true })
  }
}

/** True if a file is so old that whoever made it is not busy with it any more, or if it is gone. */
async function isLeft(file: string): Promise<boolean> {
  const status = await stat(file).catch(() => null)
  return status === null || Date.now() - status.mtimeMs > LOCK_LEFT_MS
}

async function lives(pid: number, start: string): Promise<boolean> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  // Ours would be in `held`; a process that ended had our number.
  if (pid === process.pid) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (systemCode(error) === 'ESRCH') return false
  }
  const now = await startOf(pid)
  return now === '' || start === '' || now === start
}

/** When a process began, as far as the system tells: process ids are used again. */
async function startOf(pid: number): Promise<string> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The name, field 2, may hold anything but ends with the last parenthesis; the start is field 22.
  return status.slice(status.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}

/** Says who writes what is at `path`; `pid` is null if that is not known. */
export function lockedError(
  path: string,
  pid: number | null,
  what: string = 'the feed'
): SynclineError {
  const who = pid === null ? 'another process' : `process ${pid}`
  return new SynclineError('FEED_LOCKED', `${who} writes ${what} in ${path}`, owned(path, pid))
}

/** Says that the feed in `folder` is no longer what was read of it; `pid` is who may have written it, or null. */
export function changedError(folder: string, pid: number | null = null): SynclineError {
  const reason = 'another process has written the feed since it was opened here: open it again'
  return new SynclineError('FEED_LOCKED', reason, owned(folder, pid))
}

function owned(path: string, pid: number | null): ErrorDetails {
  return pid === null ? { path } : { path, pid }
}
