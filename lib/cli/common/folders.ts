/**
 * Shared and cloned folders, as they are named on the command line.
 *
 * @module
 */
import path from 'node:path'
import b4a from 'b4a'
import { SynclineError } from '../../errors.ts'
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
import { openWhileWritten, storageFolder, usualFolder } from './storage.ts'

/** The drives of the user. His usual store is of no drive either where another one is named. */
export function openRegistry(context: Pick<Context, 'get' | 'env'>): Registry {
  return new Registry(storageFolder(context), [usualFolder(context.env)])
}

/** A folder and what it is. */
export interface NamedFolder {
  /** Absolute. */
  readonly root: string
  /** Where its state is; by default in the folder. */
  readonly state?: string
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

/** Opens a folder to be read, without lock and network, while others may write it. */
export async function readingFolder<T>(
  context: Context,
  { root, state, config }: NamedFolder,
  read: (folder: DriveFolder) => Promise<T>
): Promise<T> {
  const registry = openRegistry(context)
  const drive = await registry.get(b4a.from(config.key, 'hex'))
  const encryptionKey = context.get(ENCRYPTION_KEY) ?? drive?.encryptionKey ?? null
  const sync = new Synchronizer({ storage: memory() })
  try {
    const where = state === undefined ? {} : { state }
    const { stores } = registry
    const options = { ...where, readOnly: true, mode: 'serve', encryptionKey, stores } as const
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
