/**
 * New folders, which come into place whole with the files that came for them: they are made in a folder of ours and
 * renamed once, where each file by itself would take a look at its name and a rename.
 *
 * @module
 */
import type { BigIntStats } from 'node:fs'
import type { FileAttributes } from './file-attributes.ts'
import { makeFile } from './new-file.ts'
import type { RealFolders } from './real-folders.ts'
import type { SystemCalls } from './system-calls.ts'

/** A file in a new folder. */
export interface NewFile {
  /** Below the root. */
  readonly path: string
  /** As it is now. */
  readonly stats: BigIntStats
}

/** A folder that is made beside its place. */
interface Draft {
  /** Its place, below the root. */
  readonly path: string
  /** Where it is made: absolute. */
  readonly full: string
  readonly files: NewFile[]
  /** False if half a file is left in it. */
  isSound: boolean
}

/** See the module comment. For one batch of files. */
export class NewFolders {
  readonly #root: string
  readonly #folders: RealFolders
  readonly #calls: SystemCalls
  readonly #newPath: () => string
  /** By their paths below the root, folders in which files of the batch belong; null for one that needs no draft. */
  readonly #drafts = new Map<string, Draft | null>()

  /**
   * @param root - absolute.
   * @param newPath - gives a path for a folder of ours, on the root's file system, that a sweep takes away.
   */
  constructor(root: string, folders: RealFolders, calls: SystemCalls, newPath: () => string) {
    this.#root = root
    this.#folders = folders
    this.#calls = calls
    this.#newPath = newPath
  }

  /**
   * Makes a file that shall stand at `path` below the root, if its folder is not there. False if it is, or if the
   * system refuses.
   */
  add(path: string, bytes: Uint8Array, attributes: FileAttributes): boolean {
    const draft = this.#draftOf(path.slice(0, Math.max(0, path.lastIndexOf('/'))))
    if (draft === null) return false
    const file = draft.full + path.slice(draft.path.length)
    let stats: BigIntStats | null = null
    try {
      stats = makeFile(this.#calls, file, bytes, attributes)
    } catch {
      draft.isSound = false
    }
    if (stats === null) return false
    draft.files.push({ path, stats })
    return true
  }

  /** Puts the folders into place. Returns the files that are there now; others are gone. */
  settle(): NewFile[] {
    const placed: NewFile[] = []
    for (const draft of new Set(this.#drafts.values())) {
      if (draft === null) continue
      if (this.#place(draft)) placed.push(...draft.files)
      else this.#remove(draft.full)
    }
    this.#drafts.clear()
    return placed
  }

  #place({ path, full, files, isSound }: Draft): boolean {
    if (files.length === 0 || !isSound) return false
    try {
      const obstacle = this.#folders.ensure(path, null)
      // A rename would replace an empty folder that came to be there.
      if (obstacle?.by !== 'nothing' || obstacle.path !== path) return false
      this.#calls.renameSync(full, `${this.#root}/${path}`)
      return true
    } catch {
      return false
    }
  }

  #remove(full: string): void {
    try {
      this.#calls.rmSync(full, { recursive: true, force: true })
    } catch {
      // The next sweep takes it.
    }
  }

  /** The draft that holds a folder, with that folder made in it; null if there is none to be. */
  #draftOf(folder: string): Draft | null {
    const known = this.#drafts.get(folder)
    if (known !== undefined) return known
    let draft: Draft | null = null
    try {
      draft = this.#makeIn(folder)
    } catch {
      // Whoever makes the files one by one is told why.
    }
    this.#drafts.set(folder, draft)
    return draft
  }

  #makeIn(folder: string): Draft | null {
    const obstacle = this.#folders.ensure(folder, null)
    if (obstacle?.by !== 'nothing') return null
    // The topmost folder that is not there: the others come with it.
    const { path } = obstacle
    let draft = this.#drafts.get(path)
    if (draft === null) return null
    if (draft === undefined) {
      draft = { path, full: this.#newPath(), files: [], isSound: true }
      this.#calls.mkdirSync(draft.full)
      this.#drafts.set(path, draft)
    }
    for (let end = path.length; end < folder.length;) {
      const slash = folder.indexOf('/', end + 1)
      end = slash === -1 ? folder.length : slash
      const below = folder.slice(0, end)
      if (this.#drafts.has(below)) continue
      this.#calls.mkdirSync(draft.full + folder.slice(path.length, end))
      this.#drafts.set(below, draft)
    }
    return draft
  }
}
