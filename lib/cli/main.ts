/**
 * The program: reads the command line, runs one command, and says how it went.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { COMMANDS } from './commands.ts'
import type { Context } from './common/command.ts'
import { EXIT_DONE, EXIT_USAGE, failureOf, OutputClosed } from './common/exit.ts'
import type { Flag } from './common/flag.ts'
import { HELP, JSON_LINES, PROGRESS, QUIET, VERBOSE, VERSION } from './common/flags.ts'
import { commandHelp, groupHelp } from './common/help-text.ts'
import { Log } from './common/log.ts'
import { Output } from './common/output.ts'
import { parse, type Parsed } from './common/parse.ts'

/** Exit codes of the signals that end a command in good order. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
/** Milliseconds that something may keep the process alive after its command is done. */
const LINGER_MS = 1000

/** What a run of the program works with. */
export interface Streams {
  readonly stdin: Readable
  readonly stdout: Writable
  readonly stderr: Writable
  readonly env: Readonly<Record<string, string | undefined>>
  /** Aborted with an exit code as its reason. */
  readonly signal: AbortSignal
}

/** Runs the program as this process. */
export async function main(): Promise<void> {
  const interrupted = new AbortController()
  for (const [signal, exit] of Object.entries(SIGNALS)) {
    process.on(signal, () => {
      // The second one does not wait.
      if (interrupted.signal.aborted) process.exit(exit)
      interrupted.abort(exit)
    })
  }
  const { stdin, stdout, stderr, env } = process
  const signal = interrupted.signal
  process.exitCode = await run(process.argv.slice(2), { stdin, stdout, stderr, env, signal })
  stdin.destroy()
  setTimeout(() => process.exit(), LINGER_MS).unref()
}

/** Runs one command line and resolves to its exit code. Throws nothing. */
export async function run(argv: readonly string[], streams: Streams): Promise<number> {
  const { stdin, stdout, stderr, env, signal } = streams
  let log = new Log(stderr, { quiet: false, verbose: argv.includes('-v'), progress: false })
  try {
    const parsed = parse(argv, env, COMMANDS)
    const get = <T>(flag: Flag<T>): T =>
      parsed.values.has(flag.name) ? (parsed.values.get(flag.name) as T) : flag.fallback
    log = new Log(stderr, { quiet: get(QUIET), verbose: get(VERBOSE), progress: get(PROGRESS) })
    const out = new Output(stdout, get(JSON_LINES))
    const { command, args } = parsed
    if (command === null || get(HELP)) return await printHelp(parsed, get, out, log)
    const context: Context = { args, get, stdin, out, log, env, signal }
    const exit = await command.run(context)
    return signal.aborted ? exitOf(signal) : exit
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT_DONE
    // What was under way when the signal came ended because of it.
    if (signal.aborted) return exitOf(signal)
    return report(error, log)
  }
}

async function printHelp(
  parsed: Parsed,
  get: <T>(flag: Flag<T>) => T,
  out: Output,
  log: Log
): Promise<number> {
  if (get(VERSION)) {
    await out.result({ version: version() }, version())
    return EXIT_DONE
  }
  const { command, words } = parsed
  const text = command === null ? groupHelp(COMMANDS, words) : commandHelp(command)
  if (get(HELP)) {
    await out.write(`${text}\n`)
    return EXIT_DONE
  }
  log.error(text)
  return EXIT_USAGE
}

function report(error: unknown, log: Log): number {
  const { sentence, code, hint, exit } = failureOf(error)
  log.error(`error: ${sentence}`)
  log.error(`code: ${code}`)
  if (hint !== null) log.error(`hint: ${hint}`)
  if (log.verbose && error instanceof Error) log.error(stackOf(error))
  return exit
}

function stackOf(error: Error): string {
  const { cause } = error
  const stack = error.stack ?? error.message
  return cause instanceof Error ? `${stack}\ncaused by: ${stackOf(cause)}` : stack
}

function exitOf(signal: AbortSignal): number {
  return typeof signal.reason === 'number' ? signal.reason : SIGNALS.SIGINT
}

/** The package's own version: from `lib/cli` as from `dist/lib/cli`. */
function version(): string {
  for (const up of ['../..', '../../..']) {
    try {
      const text = readFileSync(new URL(`${up}/package.json`, import.meta.url), 'utf8')
      const { name, version } = JSON.parse(text) as { name?: string; version?: string }
      if (name === 'syncline' && version !== undefined) return version
    } catch {
      // It lies one folder further up.
    }
  }
  return 'unknown'
}
