import fs from 'node:fs'
import { promisify } from 'node:util'
import { storageError } from '../../feed/file/file-error.ts'
import { type SystemCalls, systemCalls } from './system-calls.ts'

/**
 * Copies a file, sharing its blocks where the file system can. A part of a copy is taken away again.
 *
 * @param to - must not exist.
 * @throws SynclineError DISK_FULL, STORAGE_FAILED.
 */
export async function reflinkOrCopy(from: string, to: string): Promise<void> {
  try {
    await copyWith(systemCalls, from, to)
  } catch (error) {
    throw storageError(error, to)
  }
}

/** As {@link reflinkOrCopy}, with the system's own errors. */
export function copyWith(
  { copyFile }: Pick<SystemCalls, 'copyFile'>,
  from: string,
  to: string
): Promise<void> {
  const { COPYFILE_EXCL, COPYFILE_FICLONE } = fs.constants
  // libuv takes away what it began, and leaves alone what was there.
  return promisify(copyFile)(from, to, COPYFILE_EXCL | COPYFILE_FICLONE)
}
