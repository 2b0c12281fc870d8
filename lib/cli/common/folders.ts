/**
 * Shared and cloned folders, as they are named on the command line.
 *
 * @module
 */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { isSynclineError, SynclineError } from '../../errors.ts'
import {
  DriveFolder,
  findFolder,
  readConfig,
  type FolderConfig
} from '../../drive/folder/drive-folder.ts'
import { Registry } from '../../drive/registry.ts'
import { memory } from '../../synchronizer/storage.ts'
import { Synchronizer } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import { ENCRYPTION_KEY } from './drive-flags.ts'
import { UsageError } from './exit.ts'
import { keyOf, openFolder, openWhileWritten, readReference, storageFolder } from './storage.ts'

/** The drives of the user. */
export function openRegistry(context: Context): Registry {
  return new Registry(storageFolder(context))
}

/** A folder and what it is. */
export interface NamedFolder {
  /** Absolute. */
  readonly root: string
  readonly config: FolderConfig
}

/** The shared or cloned folder that a DIR lies in. @throws SynclineError FEED_NOT_FOUND, FEED_DAMAGED. */
export async function folderAt(text: string): Promise<NamedFolder> {
  const root = await findFolder(text)
  const config = root === null ? null : await readConfig(root)
  if (root !== null && config !== null) return { root, config }
  const resolved = path.resolve(text)
  const reason = `${resolved} is neither shared nor cloned`
  throw new SynclineError('FEED_NOT_FOUND', reason, { path: resolved })
}

/**
 * What a DRIVE is: a folder, by its path, its last name or its key; else a drive of the store, by key or name.
 *
 * @throws SynclineError FEED_NOT_FOUND; UsageError for a name that several folders have.
 */
export async function findDrive(
  context: Context,
  text: string
): Promise<NamedFolder | { readonly key: Uint8Array }> {
  const registry = openRegistry(context)
  const reference = readReference(text)
  if ('key' in reference) {
    const drive = await registry.get(reference.key)
    const config = drive === null ? null : await readConfig(drive.folder)
    const isIts = config?.key === b4a.toString(reference.key, 'hex')
    return drive !== null && config !== null && isIts ? { root: drive.folder, config } : reference
  }
  if (await isThere(text)) return folderAt(text)
  const named = (await registry.list()).filter(({ folder }) => path.basename(folder) === text)
  const [drive, ...others] = named
  if (others.length > 0) {
    const folders = named.map(({ folder }) => folder).join(', ')
    throw new UsageError(`several folders are called ${text}: ${folders}`, 'give the path of one')
  }
  if (drive !== undefined) return folderAt(drive.folder)
  try {
    return { key: await keyOf(await openFolder(context), text) }
  } catch (error) {
    if (!isSynclineError(error, 'FEED_NOT_FOUND')) throw error
    throw new SynclineError('FEED_NOT_FOUND', `there is no folder or drive ${text}`)
  }
}

/** Opens a folder to be read, without lock and network, while others may write it. */
export async function readingFolder<T>(
  context: Context,
  { root, config }: NamedFolder,
  read: (folder: DriveFolder) => Promise<T>
): Promise<T> {
  const drive = await openRegistry(context).get(b4a.from(config.key, 'hex'))
  const encryptionKey = context.get(ENCRYPTION_KEY) ?? drive?.encryptionKey ?? null
  const sync = new Synchronizer({ storage: memory() })
  try {
    const options = { readOnly: true, mode: 'serve', encryptionKey } as const
    const folder = await openWhileWritten(() => DriveFolder.open(sync, root, options))
    try {
      return await read(folder)
    } finally {
      await folder.close()
    }
  } finally {
    await sync.close()
  }
}

async function isThere(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false
  )
}
