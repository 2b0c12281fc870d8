/**
 * Kills this process right before its n-th change of the file system, n being `KILL_STEP`. Imported before all else.
 *
 * A write counts twice: once before it, once with half of it done. Syncs do not count, as what was written survives
 * the end of a process anyway. A change that is waited for by a promise or a callback is as one of a slow disk: it
 * never happens, `held` is said, and all that does not wait for it goes on until the process is killed from outside.
 * Without `KILL_STEP` nothing is killed.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

type Call = (this: unknown, ...args: unknown[]) => unknown

const { openSync, closeSync, writeSync, constants } = fs
const killStep = Number(process.env['KILL_STEP'] ?? Infinity)
let steps = 0
let isHeld = false

/** What does half of a call, for those that write. */
type Half = (self: unknown, args: unknown[]) => void

const bare: Half = () => {}
const HALVES: Record<string, Half> = {
  write: (_, [fd, bytes, at, length, position]) => writeHalf(fd, bytes, at, length, position),
  writev: (_, [fd, parts, position]) => writeHalf(fd, joined(parts), 0, undefined, position),
  writeFile: (_, [file, content, options]) => writeHalfFile(file, content, options, 'w'),
  appendFile: (_, [file, content, options]) => writeHalfFile(file, content, options, 'a')
}
const HANDLE_HALVES: Record<string, Half> = {
  write: (self, [bytes, at, length, position]) =>
    writeHalf((self as { fd: number }).fd, bytes, at, length, position),
  writev: (self, [parts, position]) =>
    writeHalf((self as { fd: number }).fd, joined(parts), 0, undefined, position),
  writeFile: (self, [content]) => writeHalf((self as { fd: number }).fd, content, 0, undefined, 0),
  appendFile: (self, [content]) =>
    writeHalf((self as { fd: number }).fd, content, 0, undefined, null)
}
/** Calls that change something, and write nothing. */
const BARE = [
  'chmod',
  'copyFile',
  'cp',
  'fchmod',
  'ftruncate',
  'futimes',
  'link',
  'lutimes',
  'mkdir',
  'open',
  'rename',
  'rm',
  'rmdir',
  'symlink',
  'truncate',
  'unlink',
  'utimes'
]

function writeHalf(
  fd: unknown,
  content: unknown,
  at: unknown,
  length: unknown,
  position: unknown
): void {
  const bytes = typeof content === 'string' ? Buffer.from(content) : (content as Uint8Array)
  const start = typeof at === 'number' ? at : 0
  const whole = typeof length === 'number' ? length : bytes.byteLength - start
  writeSync(fd as number, bytes, start, whole >> 1, position as number | null)
}

function writeHalfFile(file: unknown, content: unknown, options: unknown, flag: string): void {
  const { mode = 0o666, flag: own = flag } = (options ?? {}) as { mode?: number; flag?: string }
  const fd = openSync(String(file), own, mode)
  writeHalf(fd, content, 0, undefined, null)
  closeSync(fd)
}

function joined(parts: unknown): Buffer {
  return Buffer.concat(parts as Uint8Array[])
}

/** Counts a call. Null before the time has come, else what is still done of it. */
function due(name: string, halves: Record<string, Half>, args: unknown[]): Half | null {
  if (name === 'open' && !makesFile(args[0], args[1])) return null
  const half = halves[name]
  const before = steps
  steps += half === undefined ? 1 : 2
  if (steps < killStep) return null
  return half !== undefined && killStep === before + 2 ? half : bare
}

/** True if an opening makes a file, or empties it. */
function makesFile(file: unknown, flags: unknown): boolean {
  if (typeof flags === 'string') {
    return flags.startsWith('w') || (flags.startsWith('a') && !fs.existsSync(String(file)))
  }
  if (typeof flags !== 'number') return false
  if ((flags & constants.O_TRUNC) !== 0) return true
  return (flags & constants.O_CREAT) !== 0 && !fs.existsSync(String(file))
}

function die(): never {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('a killed process goes on')
}

/** @returns what is never settled. */
function hold(): Promise<never> {
  isHeld = true
  writeSync(1, 'held\n')
  // Whoever is to kill it may be gone.
  process.stdin.on('end', die).resume().ref()
  return new Promise(() => {})
}

function patch(
  calls: Record<string, unknown>,
  name: string,
  { halves = HALVES, key = name }: { halves?: Record<string, Half>; key?: string } = {}
): void {
  const call = calls[key] as Call | undefined
  if (call === undefined) return
  const isSync = key.endsWith('Sync')
  const wrapped: Call = function (...args) {
    const half = due(name, halves, args)
    if (half === null || isHeld) return call.apply(this, args)
    half(this, args)
    return isSync ? die() : hold()
  }
  // Among them is how it is made to give a promise.
  Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(call))
  calls[key] = wrapped
}

const handle = await fs.promises.open(process.execPath)
const handles = Object.getPrototypeOf(handle) as Record<string, unknown>
await handle.close()
for (const name of [...Object.keys(HALVES), ...BARE]) {
  patch(fs, name)
  patch(fs, name, { key: `${name}Sync` })
  patch(fs.promises, name)
}
for (const name of [...Object.keys(HANDLE_HALVES), 'chmod', 'truncate', 'utimes']) {
  patch(handles, name, { halves: HANDLE_HALVES })
}
syncBuiltinESMExports()

/** Changes that this process made so far; a write counts twice. */
export function stepsSoFar(): number {
  return steps
}
