import type { Stats } from 'node:fs'
import { storageError, systemCode } from '../../feed/file/file-error.ts'
import { FOLDER_TRUST_MS } from '../../limits.ts'
import type { SystemCalls } from './system-calls.ts'

/** What stands in a place where something else should. */
export interface Obstacle {
  /** Below the root. */
  readonly path: string
  readonly by: Kind
}

/** Kinds of what a folder holds; `nothing` where something was expected, `special` for devices and the like. */
export type Kind = 'file' | 'link' | 'folder' | 'special' | 'nothing'

/** The kind of what `lstat` looked at. */
export function kindOf(stats: Pick<Stats, 'isFile' | 'isDirectory' | 'isSymbolicLink'>): Kind {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'folder'
  return stats.isSymbolicLink() ? 'link' : 'special'
}

/**
 * Folders below a root that are folders for certain, and no links to elsewhere.
 *
 * Each is looked at once and then trusted for FOLDER_TRUST_MS: a user who puts a link in a folder's place is noticed
 * after that; someone who races us on purpose is not guarded against, as Node has no calls relative to an open folder.
 */
export class RealFolders {
  readonly #root: string
  readonly #calls: SystemCalls
  readonly #known = new Set<string>()
  #since = 0

  /** @param root - an existing folder; it is never made here. */
  constructor(root: string, calls: SystemCalls) {
    this.#root = root
    this.#calls = calls
  }

  /**
   * Makes sure that a folder and all above it are real ones.
   *
   * @param path - below the root; empty is the root.
   * @param made - takes the paths of the folders that were made; without it none is.
   * @returns what stands in the way, or null.
   * @throws SynclineError DISK_FULL, STORAGE_FAILED.
   */
  ensure(path: string, made: string[] | null): Obstacle | null {
    if (path === '') return null
    const now = performance.now()
    if (now - this.#since > FOLDER_TRUST_MS) {
      this.#known.clear()
      this.#since = now
    }
    if (this.#known.has(path)) return null
    for (let end = 0; end < path.length;) {
      const slash = path.indexOf('/', end + 1)
      end = slash === -1 ? path.length : slash
      const folder = path.slice(0, end)
      if (this.#known.has(folder)) continue
      const obstacle = this.#look(folder, made)
      if (obstacle !== null) return obstacle
      this.#known.add(folder)
    }
    return null
  }

  /** Nothing is taken for known any more: something was put in a folder's place, or a folder is gone. */
  forget(): void {
    this.#known.clear()
  }

  #look(folder: string, made: string[] | null): Obstacle | null {
    const full = `${this.#root}/${folder}`
    try {
      let stats = this.#calls.lstatSync(full, { throwIfNoEntry: false })
      if (stats === undefined) {
        if (made === null) return { path: folder, by: 'nothing' }
        if (this.#make(full)) {
          made.push(folder)
          return null
        }
        stats = this.#calls.lstatSync(full)
      }
      const by = kindOf(stats)
      return by === 'folder' ? null : { path: folder, by }
    } catch (error) {
      throw storageError(error, full)
    }
  }

  #make(full: string): boolean {
    try {
      this.#calls.mkdirSync(full)
      return true
    } catch (error) {
      if (systemCode(error) === 'EEXIST') return false
      throw error
    }
  }
}
