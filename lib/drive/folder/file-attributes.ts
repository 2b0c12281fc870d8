import { systemCode } from '../../feed/file/file-error.ts'
import type { SystemCalls } from './system-calls.ts'

/** What a drive says of a file beside its bytes. */
export interface FileAttributes {
  /** Permission bits of the metadata; others than 0777 do not count. Null or left out: by `executable`. */
  readonly mode?: number | null
  /** Whether its owner may run it; where `mode` says otherwise this holds. */
  readonly executable?: boolean
  /** Of its last change, ms since 1970, to the microsecond. Null or left out: now. */
  readonly mtimeMs?: number | null
}

/** The permission bits of a file, before the umask. */
export function fileMode({ mode, executable }: FileAttributes): number {
  if (!isMode(mode)) return executable === true ? 0o755 : 0o644
  const bits = mode & 0o777
  if (executable === undefined || executable === ((bits & 0o100) !== 0)) return bits
  // Who may read it may run it.
  return executable ? bits | 0o100 | ((bits & 0o044) >> 2) : bits & ~0o111
}

/** The permission bits of a folder, before the umask, or null if it has the system's. */
export function folderMode({ mode }: Pick<FileAttributes, 'mode'>): number | null {
  return isMode(mode) ? mode & 0o777 : null
}

function isMode(mode: number | null | undefined): mode is number {
  return typeof mode === 'number' && Number.isSafeInteger(mode) && mode >= 0
}

/** A time as the system's calls take it, or null if there is none to set. */
export function systemTime(mtimeMs: number | null | undefined): number | string | null {
  if (typeof mtimeMs !== 'number' || Math.abs(mtimeMs) > TIME_MS_MAX || Number.isNaN(mtimeMs)) {
    return null
  }
  const microseconds = Math.round(mtimeMs * 1000)
  let seconds = microseconds / 1e6
  // Node 20 and 22 cut off after the microsecond, and later ones after the nanosecond: a double that is a little too
  // small would be one less.
  const fraction = Math.abs(seconds % 1) * 1e6
  if (fraction < Math.abs(microseconds % 1e6)) seconds += seconds * NEXT_DOUBLE
  // Node takes a negative number for now, and a text for what it says.
  return seconds < 0 ? String(seconds) : seconds
}

/** The share of a double that leads to the next one, away from zero. */
const NEXT_DOUBLE: number = 0.6 * Number.EPSILON

/** What a date can hold: 271,821 BC to 275,760 AD. File systems hold less, and take the nearest that they can. */
const TIME_MS_MAX = 8.64e15

/** Sets permission bits and time of an open file or folder, as far as its file system holds them. */
export function setAttributes(
  fd: number,
  mode: number | null,
  time: number | string | null,
  calls: Pick<SystemCalls, 'fchmodSync' | 'futimesSync'>
): void {
  if (mode !== null) asFarAsHeld(() => calls.fchmodSync(fd, mode))
  if (time !== null) asFarAsHeld(() => calls.futimesSync(fd, time, time))
}

/** Of what a file system does not hold (FAT has no modes) nothing is said: the bytes are what counts. */
export function asFarAsHeld(set: () => void): void {
  try {
    set()
  } catch (error) {
    if (!NOT_HELD.includes(systemCode(error))) throw error
  }
}

const NOT_HELD = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL']
