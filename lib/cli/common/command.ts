import type { Readable } from 'node:stream'
import type { Flag } from './flag.ts'
import type { Log } from './log.ts'
import type { Output } from './output.ts'

/** A positional argument, for help and for counting. */
export interface Arg {
  /** Upper case, as shown in help. */
  readonly name: string
  readonly optional?: boolean
  /** The last one only: takes all that follow. */
  readonly repeatable?: boolean
}

/** What a command works with; nothing else of the process is touched. */
export interface Context {
  readonly args: readonly string[]
  /** The value of a flag. */
  readonly get: <T>(flag: Flag<T>) => T
  readonly stdin: Readable
  /** Results. */
  readonly out: Output
  /** Progress and logs. */
  readonly log: Log
  readonly env: Readonly<Record<string, string | undefined>>
  /** Aborted by the first Ctrl-C: close cleanly and keep what came. */
  readonly signal: AbortSignal
}

/** One command. */
export interface Command {
  /** The words typed. */
  readonly name: string
  readonly summary: string
  readonly args: readonly Arg[]
  /** Beside the common ones. */
  readonly flags: readonly Flag[]
  /** Further paragraphs and examples of its help. */
  readonly details?: string
  /** Does it, and resolves to the exit code. */
  run(context: Context): Promise<number>
}
