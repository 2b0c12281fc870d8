/**
 * Users' stores below a folder that is scanned or watched: of no drive, as they hold secret keys, and change as they are
 * read.
 *
 * @module
 */
import { realpathSync } from 'node:fs'
import path from 'node:path'
import { SynclineError } from '../../errors.ts'

/**
 * Where stores lie below a folder.
 *
 * @param stores - paths of their folders, which need not exist; by links or not.
 * @returns their names in the drive, such as `/a/b`; of those that lie elsewhere there are none.
 */
export function storesBelow(root: string, stores: readonly string[]): readonly string[] {
  if (stores.length === 0) return []
  const above = realPath(root)
  return stores
    .map((store) => path.relative(above, realPath(store)))
    .filter((below) => below !== '' && !leaves(below))
    .map((below) => `/${below.split(path.sep).join('/')}`)
}

/** True for the name of a store, or of something in it. */
export function isInStore(name: string, stores: readonly string[]): boolean {
  return stores.some((store) => name === store || name.startsWith(`${store}/`))
}

/**
 * Checks that a folder is not a store, nor lies in one: what is there is syncline's.
 *
 * @param root - need not exist.
 * @throws SynclineError REFUSED.
 */
export function checkOutside(root: string, stores: readonly string[]): void {
  const real = realPath(root)
  const around = stores.find((store) => !leaves(path.relative(realPath(store), real)))
  if (around === undefined) return
  const reason = `${root} is in the store ${around}: its keys and feeds are of no drive`
  throw new SynclineError('REFUSED', reason, { path: root })
}

/** True if a relative path leads out of where it begins. */
function leaves(relative: string): boolean {
  return relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative)
}

/** A path without links, as far as there is something. */
function realPath(file: string): string {
  const absolute = path.resolve(file)
  try {
    return realpathSync.native(absolute)
  } catch {
    const above = path.dirname(absolute)
    return above === absolute ? above : path.join(realPath(above), path.basename(absolute))
  }
}
