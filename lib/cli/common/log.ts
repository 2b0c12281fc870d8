import type { Writable } from 'node:stream'
import { visible, visibleLines } from './text.ts'

/** Settings of a {@link Log}. */
export interface LogOptions {
  readonly quiet: boolean
  readonly verbose: boolean
  readonly progress: boolean
}

/** Logs and progress on stderr. */
export class Log {
  readonly verbose: boolean
  /** True if progress is to be shown. */
  readonly progress: boolean
  readonly #quiet: boolean
  readonly #stream: Writable
  /** Lines on the terminal that are redrawn. */
  #drawn = 0

  constructor(stream: Writable, options: LogOptions) {
    this.#stream = stream
    this.#quiet = options.quiet
    this.verbose = options.verbose
    this.progress = options.progress && !options.quiet
    // Nobody reads it any more: that is no reason to stop.
    stream.on('error', () => {})
  }

  /** True if lines can be redrawn. */
  get isTerminal(): boolean {
    return (this.#stream as { isTTY?: boolean }).isTTY === true
  }

  /** Size of the terminal. */
  get size(): { readonly columns: number; readonly rows: number } {
    const { columns, rows } = this.#stream as { columns?: number; rows?: number }
    // A terminal that does not know its size says 0.
    return { columns: columns || 80, rows: rows || 24 }
  }

  /** Says something unless `-q` was given. */
  info(text: string): void {
    if (!this.#quiet) this.#print(text)
  }

  /** Says something only with `-v`. */
  detail(text: string): void {
    if (this.verbose && !this.#quiet) this.#print(text)
  }

  /** Says what went wrong, whatever was given. */
  error(text: string): void {
    this.#print(text)
  }

  /** Replaces the lines drawn before; they stay the last ones. */
  draw(lines: readonly string[]): void {
    this.#erase()
    const { columns } = this.size
    for (const line of lines) this.#stream.write(`${visible(line).slice(0, columns - 1)}\n`)
    this.#drawn = lines.length
  }

  /** Takes the lines drawn last away, so that something else can be printed. */
  clear(): void {
    this.#erase()
  }

  /** Leaves the lines drawn last where they are. */
  settle(): void {
    this.#drawn = 0
  }

  #print(text: string): void {
    this.#erase()
    this.#stream.write(`${visibleLines(text)}\n`)
  }

  #erase(): void {
    if (this.#drawn > 0) this.#stream.write(`\u001b[${this.#drawn}A\u001b[J`)
    this.#drawn = 0
  }
}
