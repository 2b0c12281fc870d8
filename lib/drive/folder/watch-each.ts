/**
 * Watches a tree by one watch for each folder, for systems whose watches see one folder only.
 *
 * @module
 */
import type { Dirent } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { SCAN_TURN_MS, WATCHES_MAX } from '../../limits.ts'
import { decidingRule, type IgnoreScope } from '../ignore/rules.ts'
import { isRuleFile, rulesIn } from './ignore-file.ts'
import { requiredCode } from './reader.ts'
import {
  EXHAUSTED,
  isFolder,
  rootIdentity,
  type PathWatch,
  type TreeWatch,
  type WatchTarget
} from './watch-target.ts'
import { STATE_FOLDER } from './state-folder.ts'

interface WatchedFolder {
  /** Name in the drive, empty for the root. */
  readonly name: string
  readonly scope: IgnoreScope | null
  readonly watch: PathWatch
  /** By the last part of their names. */
  readonly folders: Map<string, WatchedFolder>
}

/** Watches each folder of the tree that is not ignored. */
export function watchEachFolder(target: WatchTarget): TreeWatch {
  return new FolderWatches(target)
}

class FolderWatches implements TreeWatch {
  readonly #target: WatchTarget
  #root: WatchedFolder | null = null
  /** Device and inode of the root; null while it is not there. */
  #identity: string | null = null
  #count = 0
  #stopped = false

  constructor(target: WatchTarget) {
    this.#target = target
  }

  async start(): Promise<void> {
    this.stop()
    this.#stopped = false
    this.#identity = rootIdentity(this.#target)
    if (this.#identity !== null) await this.#add([''])
  }

  stop(): void {
    this.#stopped = true
    if (this.#root !== null) this.#drop(this.#root)
    this.#root = null
  }

  async follow(touched: ReadonlyMap<string, boolean>): Promise<Set<string> | null> {
    if (rootIdentity(this.#target) !== this.#identity) return null
    const names = new Set<string>()
    const found: string[] = []
    let until = performance.now() + SCAN_TURN_MS
    for (const [name, renamed] of touched) {
      if (isRuleFile(this.#target, name)) return null
      const above = this.#folderAbove(name)
      // Where the folder above is not watched any more, it is itself among the names.
      if (above === null) continue
      const lastPart = name.slice(above.name.length + 1)
      const known = above.folders.get(lastPart)
      const folder = isFolder(this.#target, name)
      const rule = decidingRule(above.scope, name, folder ?? known !== undefined)
      if (rule !== null && !rule.negated) continue
      names.add(name)
      if (renamed && known !== undefined) {
        this.#drop(known)
        above.folders.delete(lastPart)
      }
      if (renamed && folder === true) found.push(name)
      if (performance.now() < until) continue
      await turn()
      until = performance.now() + SCAN_TURN_MS
    }
    await this.#add(found)
    return this.#stopped ? null : names
  }

  /** Watches folders and all below them, a few at a time. */
  async #add(found: string[]): Promise<void> {
    let until = performance.now() + SCAN_TURN_MS
    for (let next = found.pop(); next !== undefined && !this.#stopped; next = found.pop()) {
      found.push(...this.#watch(next))
      if (performance.now() < until) continue
      await turn()
      until = performance.now() + SCAN_TURN_MS
    }
  }

  /** Watches one folder, and returns the names of those in it that are to be watched too. */
  #watch(name: string): string[] {
    const { root, stores, reader, giveUp } = this.#target
    const above = name === '' ? null : this.#folderAbove(name)
    const lastPart = name.slice(name.lastIndexOf('/') + 1)
    // It was found twice, or the folder above it is not there any more.
    if (name !== '' && above?.folders.has(lastPart) !== false) return []
    if (this.#count >= WATCHES_MAX) {
      giveUp('TOO_MANY')
      return []
    }
    const watch = this.#open(name)
    if (watch === null) return []
    // What comes after the listing is told by the watch.
    let scope = above?.scope ?? null
    let listed: Dirent[] = []
    try {
      const entries = reader.list(root + name || '/')
      const holds = (file: string): boolean => entries.some((entry) => entry.name === file)
      scope = rulesIn(this.#target, name, scope, holds)
      listed = entries
    } catch (error) {
      // What cannot be read is not shared either; a rescan tells when that changes.
      requiredCode(error)
    }
    const folder: WatchedFolder = { name, scope, watch, folders: new Map() }
    if (above === null) this.#root = folder
    else above.folders.set(lastPart, folder)
    return listed
      .filter((entry) => entry.isDirectory() && entry.name !== STATE_FOLDER)
      .map((entry) => `${name}/${entry.name}`)
      .filter((child) => {
        if (stores.includes(child)) return false
        const rule = decidingRule(scope, child, true)
        return rule === null || rule.negated
      })
  }

  #open(name: string): PathWatch | null {
    const { root, stores, watchPath, touch, giveUp } = this.#target
    try {
      const watch = watchPath(root + name || '/', { recursive: false }, (event, child) => {
        if (child === STATE_FOLDER || stores.includes(`${name}/${child}`)) return
        if (child === null) touch(name || null, true)
        else touch(`${name}/${child}`, event === 'rename')
      })
      watch.on('error', (error) => {
        const code = requiredCode(error)
        if (EXHAUSTED.has(code)) giveUp(code)
        else touch(name || null, true)
      })
      this.#count++
      return watch
    } catch (error) {
      const code = requiredCode(error)
      if (EXHAUSTED.has(code)) giveUp(code)
      return null
    }
  }

  /** Ends the watches of a folder and of all below it. */
  #drop(folder: WatchedFolder): void {
    const dropped = [folder]
    for (let next = dropped.pop(); next !== undefined; next = dropped.pop()) {
      next.watch.close()
      this.#count--
      dropped.push(...next.folders.values())
    }
  }

  #folderAbove(name: string): WatchedFolder | null {
    let folder = this.#root
    for (const part of name.split('/').slice(1, -1)) folder = folder?.folders.get(part) ?? null
    return folder
  }
}
