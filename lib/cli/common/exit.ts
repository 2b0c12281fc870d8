/**
 * Exit codes, and what an error means to somebody who typed a command.
 *
 * @module
 */
import { SynclineError, type ErrorCode } from '../../errors.ts'

export const EXIT_DONE = 0
export const EXIT_FAILED = 1
export const EXIT_USAGE = 2
export const EXIT_NOT_FOUND = 3
export const EXIT_NO_PEER = 4
export const EXIT_BAD_DATA = 5
export const EXIT_REFUSED = 6
export const EXIT_INTERRUPTED = 130

/** A command line that cannot be carried out; `hint` says what to type instead. */
export class UsageError extends Error {
  readonly hint: string | null

  constructor(message: string, hint: string | null = null) {
    super(message)
    this.name = 'UsageError'
    this.hint = hint
  }
}

/** The reader of our output went away, as `head` does: the command ends quietly. */
export class OutputClosed extends Error {}

const EXIT_OF_CODE: Partial<Record<ErrorCode, number>> = {
  BAD_ARGUMENT: EXIT_USAGE,
  BAD_KEY: EXIT_USAGE,
  FEED_NOT_FOUND: EXIT_NOT_FOUND,
  FILE_NOT_FOUND: EXIT_NOT_FOUND,
  BLOCK_NOT_AVAILABLE: EXIT_NOT_FOUND,
  TIMEOUT: EXIT_NO_PEER,
  PEER_TIMEOUT: EXIT_NO_PEER,
  CONFLICT: EXIT_BAD_DATA,
  FEED_DAMAGED: EXIT_BAD_DATA,
  FEED_FROZEN: EXIT_BAD_DATA,
  INVALID_CHECKSUM: EXIT_BAD_DATA,
  INVALID_MANIFEST: EXIT_BAD_DATA,
  INVALID_PROOF: EXIT_BAD_DATA,
  INVALID_SIGNATURE: EXIT_BAD_DATA,
  FEED_LOCKED: EXIT_REFUSED,
  FOLDER_MISSING: EXIT_REFUSED,
  REFUSED: EXIT_REFUSED,
  STORE_IS_V11: EXIT_REFUSED
}

/** What is told about an error: a sentence, a code, a hint, and the exit code. */
export interface Failure {
  readonly sentence: string
  readonly code: string
  readonly hint: string | null
  readonly exit: number
}

/** Reads any thrown value as a {@link Failure}. */
export function failureOf(error: unknown): Failure {
  if (error instanceof UsageError) {
    return { sentence: error.message, code: 'BAD_ARGUMENT', hint: error.hint, exit: EXIT_USAGE }
  }
  if (error instanceof SynclineError) {
    const exit = EXIT_OF_CODE[error.code] ?? EXIT_FAILED
    return { sentence: sentenceOf(error), code: error.code, hint: null, exit }
  }
  const { message, code } = error as { message?: unknown; code?: unknown }
  return {
    sentence: String(message ?? error),
    code: typeof code === 'string' ? code : 'FAILED',
    hint: null,
    exit: code === 'ENOENT' ? EXIT_NOT_FOUND : EXIT_FAILED
  }
}

/** The message of an error without the code in front; with its cause where that says more. */
export function sentenceOf(error: Error): string {
  const code = (error as { code?: unknown }).code
  const { message, cause } = error
  const prefix = `${String(code)}: `
  const bare = message.startsWith(prefix) ? message.slice(prefix.length) : message
  if (!(cause instanceof Error) || bare.includes(cause.message)) return bare
  return `${bare}: ${cause.message}`
}
