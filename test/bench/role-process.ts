/**
 * The parent's side of a role: a process of its own that takes steps.
 *
 * @module
 */
import { spawn, type ChildProcess } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** A step that takes longer hangs. */
const STEP_TIMEOUT_MS = 300_000
/** The same for `prepare`, which may write ten million blocks. */
const PREPARE_TIMEOUT_MS = 1_800_000
/** Time to end after stdin did. */
const END_TIMEOUT_MS = 10_000

interface Answer {
  readonly result?: unknown
  readonly error?: string
}

/** See the module comment. */
export class RoleProcess {
  readonly #name: string
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  #answered: ((answer: Answer) => void) | null = null
  #ended = false

  /**
   * @param script - of the folder of this file, without its extension.
   * @param options - `profile`: file that a CPU profile goes to at the end; `tuned`: begins with `tuneProcess`.
   */
  constructor(
    script: string,
    { profile = null, tuned = false }: { profile?: string | null; tuned?: boolean } = {}
  ) {
    this.#name = script
    // From dist/ the compiled script, from the sources (under tsx) the source itself.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    const file = fileURLToPath(new URL(`./${script}.${extension}`, import.meta.url))
    const flags =
      profile === null
        ? []
        : [
            '--cpu-prof',
            `--cpu-prof-dir=${path.dirname(profile)}`,
            `--cpu-prof-name=${path.basename(profile)}`
          ]
    this.#child = spawn(
      process.execPath,
      [...process.execArgv, ...flags, file, ...(tuned ? ['--tuned'] : [])],
      {
        stdio: ['pipe', 'pipe', 'inherit']
      }
    )
    const { stdin, stdout } = this.#child
    if (stdin === null || stdout === null) throw new Error('a role has no pipes')
    stdin.on('error', () => {})
    createInterface({ input: stdout }).on('line', (line) =>
      this.#answer(JSON.parse(line) as Answer)
    )
    this.#exited = new Promise((resolve) => {
      this.#child.on('close', (code, signal) => {
        this.#ended = true
        this.#answer({ error: `${script} ended with ${signal ?? code}` })
        resolve()
      })
    })
  }

  /** Takes one step and resolves to its result; steps are taken one after the other. */
  async call<T>(step: string, args: object = {}): Promise<T> {
    if (this.#ended) throw new Error(`${this.#name} has ended`)
    if (this.#answered !== null) throw new Error(`${this.#name} is busy`)
    const timeoutMs = step === 'prepare' ? PREPARE_TIMEOUT_MS : STEP_TIMEOUT_MS
    const timer = setTimeout(() => {
      this.#answer({ error: `no answer in ${timeoutMs} ms` })
      this.#child.kill('SIGKILL')
    }, timeoutMs)
    const answer = await new Promise<Answer>((resolve) => {
      this.#answered = resolve
      this.#child.stdin?.write(`${JSON.stringify({ step, args })}\n`)
    })
    clearTimeout(timer)
    if (answer.error !== undefined) throw new Error(`${this.#name} ${step}: ${answer.error}`)
    return answer.result as T
  }

  /** Closes what the role has open and waits for its end. */
  async close(): Promise<void> {
    if (!this.#ended) await this.call('close')
    await this.kill()
  }

  /** Ends the process whatever it does. */
  async kill(): Promise<void> {
    if (this.#answered !== null) this.#child.kill('SIGKILL')
    this.#child.stdin?.end()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_TIMEOUT_MS)
    await this.#exited
    clearTimeout(timer)
  }

  #answer(answer: Answer): void {
    const answered = this.#answered
    this.#answered = null
    answered?.(answer)
  }
}
