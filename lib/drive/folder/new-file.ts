import { constants } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { type FileAttributes, fileMode, setAttributes, systemTime } from './file-attributes.ts'
import type { SystemCalls } from './system-calls.ts'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_WRONLY } = constants
/** Windows knows no such flag, and has it as undefined. */
export const NO_FOLLOW: number = O_NOFOLLOW ?? 0
/** Windows syncs only what it may write; elsewhere a mode without that must not be in the way of a second try. */
export const TO_SYNC: number = process.platform === 'win32' ? O_RDWR : O_RDONLY
/** Flags that open a file which was not there. */
export const NEW_FILE: number = O_CREAT | O_EXCL | O_WRONLY | NO_FOLLOW

/**
 * Makes a file of ours on the spot, unsynced; what is made of it by half is taken away again.
 *
 * @param done - called when all is written, with the file still open: a rename counts for the state that is told.
 * @returns its state; null if the system refused anything.
 * @throws the system's error if half a file could not be taken away.
 */
export function makeFile(
  calls: SystemCalls,
  file: string,
  bytes: Uint8Array,
  attributes: FileAttributes,
  done: () => void = () => {}
): BigIntStats | null {
  let fd: number
  try {
    fd = calls.openSync(file, NEW_FILE, fileMode(attributes))
  } catch {
    return null
  }
  try {
    writeAll(calls, fd, bytes)
    setAttributes(fd, null, systemTime(attributes.mtimeMs), calls)
    done()
    return calls.fstatSync(fd, { bigint: true })
  } catch {
    calls.unlinkSync(file)
    return null
  } finally {
    calls.closeSync(fd)
  }
}

/** Writes all of `bytes`, in as many parts as the system takes. @throws the system's errors. */
export function writeAll(calls: SystemCalls, fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.byteLength;) at += calls.writeSync(fd, bytes, at)
}

/** Takes a file of ours away, or leaves it to the next sweep. */
export function discard(calls: SystemCalls, file: string): void {
  try {
    calls.unlinkSync(file)
  } catch {
    // The next sweep takes it.
  }
}
