/**
 * What errors of the file system mean.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'

/** The system's code of an error (`ENOENT`, ...), or an empty string. */
export function systemCode(error: unknown): string {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : ''
}

/** The error of ours that tells what `error` of the system means for the file at `path`. */
export function storageError(error: unknown, path: string): SynclineError {
  if (error instanceof SynclineError) return error
  const code = systemCode(error)
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new SynclineError('DISK_FULL', `no room left to write ${path}`, { path }, error)
  }
  const reason = error instanceof Error ? error.message : String(error)
  return new SynclineError('STORAGE_FAILED', `${path}: ${reason}`, { path }, error)
}
