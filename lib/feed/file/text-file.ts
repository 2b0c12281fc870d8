import { readSmallFile } from './file.ts'

/** The text of a small file, or null if there is none. @throws SynclineError STORAGE_FAILED. */
export async function readText(path: string): Promise<string | null> {
  return (await readSmallFile(path))?.toString('utf8') ?? null
}
