/**
 * How a folder is read. Nothing here follows a link.
 *
 * @module
 */
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  type BigIntStats,
  type Dirent
} from 'node:fs'
import { systemCode } from '../../feed/file/file-error.ts'

/** The calls that a scan makes; each throws the system's error. */
export interface FolderReader {
  /** Entries of a folder, in any order. */
  list(path: string): Dirent[]
  /** Names in a folder as bytes. */
  listBytes(path: string): Buffer[]
  /** What is at `path`. */
  lstat(path: string): BigIntStats
  /** What is at the end of `path`; asked for the root alone, which may be given as a link. */
  stat(path: string): BigIntStats
  /** Where a link leads. */
  readLink(path: string): Buffer
  /** Throws if this process may not read the file. */
  checkReadable(path: string): void
  /** Bytes of a regular file, or null if it has more than `bytesMax`. */
  read(path: string, bytesMax: number): Uint8Array | null
}

// Opening a FIFO must not wait for its writer.
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

/** The file system. */
export const systemReader: FolderReader = {
  list: (path) => readdirSync(path, { withFileTypes: true }),
  listBytes: (path) => readdirSync(path, { encoding: 'buffer' }),
  lstat: (path) => lstatSync(path, { bigint: true }),
  stat: (path) => statSync(path, { bigint: true }),
  readLink: (path) => readlinkSync(path, { encoding: 'buffer' }),
  checkReadable: (path) => accessSync(path, constants.R_OK),
  read(path, bytesMax) {
    const fd = openSync(path, OPEN_FLAGS)
    try {
      const stats = fstatSync(fd)
      if (!stats.isFile()) return new Uint8Array()
      return stats.size > bytesMax ? null : readFileSync(fd)
    } finally {
      closeSync(fd)
    }
  }
}

/** Whether `error` says that a path is not there any more. */
export function isGone(error: unknown): boolean {
  const code = requiredCode(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}

/** The system's code of an error; errors without one are bugs and are thrown. */
export function requiredCode(error: unknown): string {
  const code = systemCode(error)
  if (code === '') throw error
  return code
}
