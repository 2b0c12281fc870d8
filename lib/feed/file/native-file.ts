/**
 * What the system can do to files beyond Node: lock them. (Freeing disk is done by random-access-file
 * with the same package.)
 *
 * fs-native-extensions is an optional dependency: without it locks are pid files and `free` does nothing.
 *
 * @module
 */

/** File locks of the system; they go away with their descriptor, so with the process too. */
export interface FileLocks {
  /** True if one file can be locked in parts (not on macOS, where a lock is for the whole file). */
  readonly ranges: boolean
  tryLock(fd: number, offset: number, length: number, shared: boolean): boolean
  unlock(fd: number, offset: number, length: number): void
}

let loading: Promise<FileLocks | null> | undefined

/** The file locks of this system, or null if the optional package is missing. Loaded once. */
export function loadFileLocks(): Promise<FileLocks | null> {
  loading ??= load()
  return loading
}

async function load(): Promise<FileLocks | null> {
  try {
    const native = await import('fs-native-extensions')
    return {
      ranges: process.platform !== 'darwin',
      tryLock: (fd, offset, length, shared) => native.tryLock(fd, offset, length, { shared }),
      unlock: (fd, offset, length) => native.unlock(fd, offset, length)
    }
  } catch {
    return null
  }
}
