import { mkdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { systemCode } from './file-error.ts'

/**
 * Makes a folder and those above it that are not there. Node's own recursive `mkdir` never ends where the system says of a
 * name in an existing folder that the folder is missing, as `/proc` does.
 *
 * @param mode - of all that are made, before the umask; the system's by default.
 * @returns the topmost that was made, or null if it was there.
 * @throws Error of the system.
 */
export async function makeFolder(folder: string, mode?: number): Promise<string | null> {
  const options = { recursive: false, ...(mode === undefined ? {} : { mode }) }
  try {
    await mkdir(folder, options)
    return folder
  } catch (error) {
    const above = path.dirname(folder)
    if (systemCode(error) !== 'ENOENT' || above === folder) return refuseOther(folder, error)
    const made = await makeFolder(above, mode)
    // Another process may have made it meanwhile.
    await mkdir(folder, options).catch((again: unknown) => refuseOther(folder, again))
    return made ?? folder
  }
}

/** Throws unless the folder is there, for whatever reason it could not be made. */
async function refuseOther(folder: string, error: unknown): Promise<null> {
  const stats = await stat(folder).catch(() => null)
  if (stats?.isDirectory() !== true) throw error
  return null
}
