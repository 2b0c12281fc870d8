import fs from 'node:fs'
import { systemCode, storageError } from '../../feed/file/file-error.ts'
import { SEGMENT_BYTES_MAX } from '../../limits.ts'
import type { NameRules } from './file-names.ts'

/** Characters that file systems other than Linux's own refuse. */
const DOUBTFUL: string = `${String.fromCharCode(...Array.from({ length: 31 }, (_, i) => i + 1), 127)}"*:<>?|`
/** eCryptfs takes 143 bytes. */
const SEGMENT_BYTES = [SEGMENT_BYTES_MAX, 143, 100]

/**
 * Finds out what a file system does with names, by making files and taking them away again.
 *
 * @param folder - one of ours, as `.syncline`; what is mounted below the shared folder may have other rules.
 * @throws SynclineError DISK_FULL, STORAGE_FAILED.
 */
export function probeNames(folder: string): NameRules {
  const place = `${folder}/probe`
  try {
    fs.rmSync(place, { recursive: true, force: true })
    fs.mkdirSync(place, { mode: 0o700 })
    const isWindows = process.platform === 'win32'
    return {
      caseFolds: isSame(place, 'case', 'CASE'),
      formFolds: isSame(place, '\u00e9', 'e\u0301'),
      trims: !isTaken(place, 'end.') || !isTaken(place, 'end '),
      devices: isWindows,
      // A `:` makes a hidden stream of the file before it there, and succeeds.
      refused: isWindows ? DOUBTFUL : refusedIn(place),
      segmentBytesMax:
        SEGMENT_BYTES.find((byteLength) => isTaken(place, 'n'.repeat(byteLength))) ??
        (SEGMENT_BYTES.at(-1) as number)
    }
  } catch (error) {
    throw storageError(error, place)
  } finally {
    fs.rmSync(place, { recursive: true, force: true })
  }
}

function refusedIn(place: string): string {
  const all = `n${DOUBTFUL}n`
  if (isTaken(place, all)) return ''
  return Array.from(DOUBTFUL)
    .filter((character) => !isTaken(place, `n${character}n`))
    .join('')
}

/** True if a file made as `name` is found as `other`. */
function isSame(place: string, name: string, other: string): boolean {
  fs.writeFileSync(`${place}/${name}`, '', { flag: 'wx' })
  try {
    return fs.existsSync(`${place}/${other}`)
  } finally {
    fs.unlinkSync(`${place}/${name}`)
  }
}

/** True if a file can be made as `name` and is listed so. */
function isTaken(place: string, name: string): boolean {
  try {
    fs.writeFileSync(`${place}/${name}`, '', { flag: 'wx' })
  } catch (error) {
    if (['ENOSPC', 'EDQUOT', 'EIO', 'EROFS'].includes(systemCode(error))) throw error
    return false
  }
  const isListed = fs.readdirSync(place).includes(name)
  fs.unlinkSync(`${place}/${name}`)
  return isListed
}
