/**
 * Watches a tree by one watch, for systems whose watches see all below a folder.
 *
 * @module
 */
import { sep } from 'node:path'
import { rulingOf, type IgnoreScope } from '../ignore/rules.ts'
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
import { isInStore } from './stores.ts'

/** Watches the whole tree; what is ignored is left out when it is told. */
export function watchTree(target: WatchTarget): TreeWatch {
  const { root, stores, watchPath, touch, giveUp } = target
  let watch: PathWatch | null = null
  let identity: string | null = null

  return { start, follow, stop }

  function stop(): void {
    watch?.close()
    watch = null
  }

  async function start(): Promise<void> {
    stop()
    identity = rootIdentity(target)
    if (identity === null) return
    try {
      watch = watchPath(root || '/', { recursive: true }, (event, path) => {
        const name = path === null ? null : `/${path.replaceAll(sep, '/')}`
        if (name === null || !isOwn(name)) touch(name, event === 'rename')
      })
      watch.on('error', (error) => fail(error))
    } catch (error) {
      fail(error)
    }
  }

  function isOwn(name: string): boolean {
    return name.split('/').includes(STATE_FOLDER) || isInStore(name, stores)
  }

  function fail(error: unknown): void {
    const code = requiredCode(error)
    // A root that went away comes back, or not, with the next rescan.
    if (EXHAUSTED.has(code) || rootIdentity(target) !== null) giveUp(code)
    else touch(null, true)
  }

  async function follow(touched: ReadonlyMap<string, boolean>): Promise<Set<string> | null> {
    if (rootIdentity(target) !== identity) return null
    const scopes = new Map<string, IgnoreScope | null>()
    const names = new Set<string>()
    for (const name of touched.keys()) {
      if (isRuleFile(target, name)) return null
      if (!isIgnored(name, scopes)) names.add(name)
    }
    return names
  }

  function isIgnored(name: string, scopes: Map<string, IgnoreScope | null>): boolean {
    try {
      const rule = rulingOf(name, isFolder(target, name) ?? false, (folder) =>
        scopeOf(folder, scopes)
      )
      return rule !== null && !rule.negated
    } catch (error) {
      // Rules that cannot be read are for the scan to tell.
      requiredCode(error)
      return false
    }
  }

  function scopeOf(folder: string, scopes: Map<string, IgnoreScope | null>): IgnoreScope | null {
    const known = scopes.get(folder)
    if (known !== undefined) return known
    const above = folder === '' ? null : scopeOf(folder.slice(0, folder.lastIndexOf('/')), scopes)
    const scope = rulesIn(target, folder, above, () => true)
    scopes.set(folder, scope)
    return scope
  }
}
