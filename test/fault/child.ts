/**
 * Scripts of this folder as processes of their own, compiled or not.
 *
 * @module
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Assertions } from 'brittle'

/** A process and what it said. */
export class Child {
  readonly process: ChildProcess
  /** Lines of its standard output. */
  readonly lines: string[] = []
  readonly #ended: Promise<unknown>
  #wake: () => void = () => {}

  private constructor(process: ChildProcess) {
    this.process = process
    this.#ended = once(process, 'close').then(() => this.#wake())
    if (process.stdout === null) return
    createInterface({ input: process.stdout }).on('line', (line) => {
      this.lines.push(line)
      this.#wake()
    })
  }

  /**
   * @param name - of the script, without its ending.
   * @param options.files - descriptors that it may have open.
   * @param options.env - variables beside those of this process.
   */
  static start(
    t: Assertions,
    name: string,
    args: readonly string[],
    options: { readonly files?: number; readonly env?: Record<string, string> } = {}
  ): Child {
    // From dist this is JavaScript already; else the flags that run TypeScript are handed down.
    const script = fileURLToPath(
      new URL(`${name}${path.extname(import.meta.url)}`, import.meta.url)
    )
    const command = [process.execPath, ...process.execArgv, script, ...args]
    const stdio = ['pipe', 'pipe', 'inherit'] as const
    const { files } = options
    const settings = { stdio: [...stdio], env: { ...process.env, ...options.env } }
    const child =
      files === undefined
        ? spawn(process.execPath, command.slice(1), settings)
        : spawn('/bin/sh', ['-c', `ulimit -n ${files}; exec "$@"`, 'sh', ...command], settings)
    t.teardown(() => child.kill('SIGKILL'))
    return new Child(child)
  }

  /** The first line that begins so, that was or will be said; throws if the process ends before. */
  async said(beginning: string): Promise<string> {
    let over = false
    void this.#ended.then(() => {
      over = true
    })
    for (;;) {
      const line = this.lines.find((one) => one.startsWith(beginning))
      if (line !== undefined) return line
      if (over) throw new Error(`the process ended before it said ${beginning}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      // The end may have come with the last lines.
      await Promise.resolve()
    }
  }

  /** Says one line to it. */
  tell(line: string): void {
    this.process.stdin?.write(`${line}\n`)
  }

  /** Ends it at once; resolves when it is gone and all that it said was read. */
  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.#ended
  }

  /** Resolves with its exit code. */
  async end(): Promise<number | null> {
    await this.#ended
    return this.process.exitCode
  }
}
