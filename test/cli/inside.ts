import { Readable, Writable } from 'node:stream'
import type { Assertions } from 'brittle'
import { run } from '../../lib/cli/main.ts'

/** What a command printed and how it ended. */
export interface Result {
  readonly exit: number
  readonly stdout: Buffer
  readonly stderr: string
  /** Stdout as text without the last newline. */
  readonly text: string
}

/** Options of a {@link Command}. */
export interface CommandOptions {
  readonly input?: Uint8Array | string | Readable
  readonly env?: Record<string, string>
  readonly signal?: AbortSignal
  /** Takes what would be printed, in place of {@link Result.stdout}. */
  readonly stdout?: Writable
}

/** Runs a command line in this process. */
export async function inside(
  argv: readonly string[],
  options: CommandOptions = {}
): Promise<Result> {
  const { input = '', env = {}, signal = new AbortController().signal } = options
  const [out, err]: [Buffer[], Buffer[]] = [[], []]
  const { stdout: target = sink(out) } = options
  const stdin =
    input instanceof Readable
      ? input
      : Readable.from(input.length === 0 ? [] : [Buffer.from(input)])
  const streams = { stdin, stdout: target, stderr: sink(err), env, signal }
  const exit = await run(argv, streams)
  const stdout = Buffer.concat(out)
  const stderr = Buffer.concat(err).toString()
  return { exit, stdout, stderr, text: stdout.toString().replace(/\n$/, '') }
}

/** Runs command lines on a storage of their own that is deleted with the test. */
export async function storage(t: Assertions): Promise<{
  folder: string
  syncline: (...argv: (string | CommandOptions)[]) => Promise<Result>
}> {
  const folder = `${await t.tmp()}/store`
  const syncline = (...argv: (string | CommandOptions)[]): Promise<Result> => {
    const words = argv.filter((word) => typeof word === 'string')
    const options = argv.find((word) => typeof word !== 'string') ?? {}
    return inside([...words, '--storage', folder], options)
  }
  return { folder, syncline }
}

function sink(chunks: Buffer[]): Writable {
  return new Writable({
    write(chunk: Buffer, _, done) {
      chunks.push(Buffer.from(chunk))
      done()
    }
  })
}
