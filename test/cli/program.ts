/**
 * Runs the real program as a process of its own: the built one from `dist`, else the sources through tsx.
 *
 * @module
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const isBuilt = import.meta.url.endsWith('.js')

/** Path of the program. */
export const PROGRAM: string = fileURLToPath(
  new URL(`../../bin/syncline.${isBuilt ? 'js' : 'ts'}`, import.meta.url)
)
/** Arguments of node before those of the program. */
export const NODE_ARGS: readonly string[] = isBuilt
  ? [PROGRAM]
  : ['--import', import.meta.resolve('tsx'), PROGRAM]

const running = new Set<ChildProcess>()
// A test that fails hard leaves none behind.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')))

/** How a process ended. */
export interface Ended {
  readonly exit: number | null
  readonly signal: string | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** A process of the program. */
export interface Running {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  /** Resolves when stdout or stderr holds what fits; rejects when it ends before. */
  until(pattern: RegExp): Promise<RegExpMatchArray>
  stdout(): string
  stderr(): string
}

/** Options of {@link start}. */
export interface StartOptions {
  readonly env?: Record<string, string>
  readonly input?: Uint8Array | string
  /** True leaves stdin open. */
  readonly keepStdin?: boolean
}

/** Starts the program. Nothing of the caller's own settings reaches it. */
export function start(args: readonly string[], options: StartOptions = {}): Running {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SYNCLINE_'))
  const child = spawn(process.execPath, [...NODE_ARGS, ...args], {
    env: { ...Object.fromEntries(inherited), NODE_OPTIONS: '', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe']
  })
  running.add(child)
  child.on('exit', () => running.delete(child))
  const out: Buffer[] = []
  let stderr = ''
  let watchers: (() => void)[] = []
  const changed = (): void => watchers.forEach((watcher) => watcher())
  child.stdout.on('data', (data: Buffer) => {
    out.push(data)
    changed()
  })
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString()
    changed()
  })
  // It may end without reading all of it.
  child.stdin.on('error', () => {})
  if (options.keepStdin !== true) child.stdin.end(options.input ?? '')
  else if (options.input !== undefined) child.stdin.write(options.input)
  const stdout = (): string => Buffer.concat(out).toString()
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (exit, signal) => {
      resolve({ exit, signal, stdout: Buffer.concat(out), stderr })
      changed()
    })
  })
  const until = (pattern: RegExp): Promise<RegExpMatchArray> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = `${stdout()}\n${stderr}`.match(pattern)
        if (found === null && child.exitCode === null && child.signalCode === null) return
        watchers = watchers.filter((watcher) => watcher !== look)
        if (found !== null) resolve(found)
        else reject(new Error(`it ended without ${pattern}:\n${stdout()}\n${stderr}`))
      }
      watchers.push(look)
      look()
    })
  return { child, ended, until, stdout, stderr: () => stderr }
}

/** Runs the program to its end. */
export function run(args: readonly string[], options: StartOptions = {}): Promise<Ended> {
  return start(args, options).ended
}
