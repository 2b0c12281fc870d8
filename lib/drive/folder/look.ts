import { lstatSync, type BigIntStats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { storageError, systemCode } from '../../feed/file/file-error.ts'

/** What stands at a path; null if nothing does. @throws SynclineError STORAGE_FAILED. */
export function look(file: string): BigIntStats | null {
  try {
    return lstatSync(file, { bigint: true, throwIfNoEntry: false }) ?? null
  } catch (error) {
    // A file or a link stands in the place of a folder above it, or nothing of that name can be there.
    if (['ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(systemCode(error))) return null
    throw storageError(error, file)
  }
}

/** As {@link look}; null as well where the system does not let it be seen. */
export function lookIfAllowed(file: string): BigIntStats | null {
  try {
    return look(file)
  } catch {
    return null
  }
}

/** True if two paths lead to one folder, by whatever links. False where nothing stands. */
export async function isSameFolder(one: string, other: string): Promise<boolean> {
  if (one === other) return true
  const [first, second] = await Promise.all(
    [one, other].map((file) => stat(file, { bigint: true }).catch(() => null))
  )
  return first != null && first.ino === second?.ino && first.dev === second.dev
}

/** True if a folder, or a link to one, stands at a path. */
export async function isFolder(file: string): Promise<boolean> {
  return stat(file).then(
    (stats) => stats.isDirectory(),
    () => false
  )
}
