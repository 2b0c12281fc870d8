/**
 * Hypercore's errors as syncline's.
 *
 * @module
 */
import { type ErrorCode, type ErrorDetails, SynclineError } from '../../errors.ts'

/** Whose fault an error is when hypercore's own code does not tell. */
export type Blame = 'proof' | 'caller' | 'storage'

/** Codes that mean the same in every call. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  BLOCK_NOT_AVAILABLE: 'BLOCK_NOT_AVAILABLE',
  INVALID_CHECKSUM: 'INVALID_CHECKSUM',
  INVALID_PROOF: 'INVALID_PROOF',
  INVALID_SIGNATURE: 'INVALID_SIGNATURE',
  SESSION_CLOSED: 'SESSION_CLOSED',
  SESSION_NOT_WRITABLE: 'NOT_WRITABLE'
}
/** Codes of calls that cannot be done as they were asked. */
const REFUSALS: readonly string[] = ['BAD_ARGUMENT', 'ERR_ASSERTION', 'INVALID_OPERATION']

/** Translates whatever a call into hypercore threw. */
export function hypercoreError(
  error: unknown,
  blame: Blame,
  details: ErrorDetails = {}
): SynclineError {
  if (error instanceof SynclineError) return error
  const thrown = error instanceof Error ? error : new Error(String(error))
  // Hypercore begins its messages with the code, as we do.
  const message = thrown.message.replace(/^[A-Z_]+: /, '')
  return new SynclineError(errorCode(thrown, blame), message, details, error)
}

function errorCode(error: Error & { code?: unknown }, blame: Blame): ErrorCode {
  const name = typeof error.code === 'string' ? error.code : ''
  const code = CODES[name]
  if (code !== undefined) return code
  if (blame === 'proof' && REFUSALS.includes(name)) return 'INVALID_PROOF'
  if (name === 'BAD_ARGUMENT') return 'BAD_ARGUMENT'
  if (REFUSALS.includes(name)) return 'INVALID_OPERATION'
  if (name === 'ENOSPC' || /no space left/i.test(error.message)) return 'DISK_FULL'
  return error instanceof TypeError ? 'BROKEN_INVARIANT' : 'STORAGE_FAILED'
}
