import { readFile } from 'node:fs/promises'
import { storageError, systemCode } from './file-error.ts'

/** The text of a small file, or null if there is none. @throws SynclineError STORAGE_FAILED. */
export async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null
    throw storageError(error, path)
  }
}
