/**
 * The folder of the feeds, and feeds as they are named on the command line.
 *
 * @module
 */
import { homedir } from 'node:os'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { SynclineError } from '../../errors.ts'
import { FeedFolder } from '../../feed/file/feed-folder.ts'
import type { StoredFeed } from '../../feed/stored-feed.ts'
import { formatKey, parseKey } from '../../synchronizer/key.ts'
import type { Context } from './command.ts'
import { UsageError } from './exit.ts'
import { STORAGE } from './flags.ts'

/** The folder that `--storage` names, else the user's own. */
export function storageFolder(context: Pick<Context, 'get' | 'env'>): string {
  const given = context.get(STORAGE)
  return given === '' ? usualFolder(context.env) : path.resolve(given)
}

/** The user's own folder. */
export function usualFolder(env: Context['env']): string {
  const home = env['HOME'] ?? homedir()
  if (env['XDG_DATA_HOME']) return path.join(env['XDG_DATA_HOME'], 'syncline')
  if (process.platform === 'darwin') {
    return path.join(home, 'Library', 'Application Support', 'syncline')
  }
  if (process.platform === 'win32') {
    return path.join(env['LOCALAPPDATA'] ?? path.join(homedir(), 'AppData', 'Local'), 'syncline')
  }
  return path.join(home, '.local', 'share', 'syncline')
}

/** Opens the folder, to read only unless `write`. */
export function openFolder(
  context: Pick<Context, 'get' | 'env'>,
  write = false
): Promise<FeedFolder> {
  return FeedFolder.open(storageFolder(context), { readOnly: !write })
}

/** What a FEED on the command line is: a key in any form, or a local name. */
export type FeedReference = { readonly key: Uint8Array } | { readonly name: string }

/** @throws UsageError for a link without a key. */
export function readReference(text: string): FeedReference {
  const key = parseKey(text)
  if (key !== null) return { key }
  if (/^[a-z]+:\/\//.test(text)) {
    throw new UsageError(`${text} holds no key`, 'a link is hyper://KEY or pear://KEY')
  }
  if (text === '') throw new UsageError('a feed is a key or a name, not an empty word')
  return { name: text }
}

/**
 * Opens a stored feed.
 *
 * @throws SynclineError FEED_NOT_FOUND, FEED_LOCKED with `lock`, and others of the storage.
 */
export function openStored(
  folder: FeedFolder,
  text: string,
  options: { readonly lock?: boolean } = {}
): Promise<StoredFeed> {
  const reference = readReference(text)
  return folder.openFeed('key' in reference ? reference.key : reference.name, options)
}

/** Tries of {@link openWhileWritten}, and milliseconds between them. */
const OPEN_TRIES = 5
const OPEN_WAIT_MS = 100

/**
 * Opens a feed that another process may be writing: what looks damaged in the midst of a write is in order a
 * moment later.
 */
export async function openWhileWritten<T>(open: () => Promise<T>): Promise<T> {
  for (let left = OPEN_TRIES - 1; ; left--) {
    try {
      return await open()
    } catch (error) {
      const passes = error instanceof SynclineError && error.code === 'FEED_DAMAGED'
      if (!passes || left === 0) throw error
      await setTimeout(OPEN_WAIT_MS)
    }
  }
}

/** The key of a feed: of one that is only named, it must be stored. @throws SynclineError FEED_NOT_FOUND. */
export async function keyOf(folder: FeedFolder, text: string): Promise<Uint8Array> {
  const reference = readReference(text)
  if ('key' in reference) return reference.key
  const feed = await folder.openFeed(reference.name)
  await feed.close()
  return feed.key
}

/** A name that can be told apart from keys. @throws UsageError. */
export function checkNewName(name: string): void {
  if ('key' in readReference(name)) throw new UsageError('a name must not look like a key')
  // It would be lost between the columns of listings and the words of completion.
  if (/\p{Cc}/u.test(name)) throw new UsageError('a name has no control characters')
}

/** The error for a feed that is neither stored nor given by its key. */
export function notFound(text: string): SynclineError {
  return new SynclineError('FEED_NOT_FOUND', `no feed ${text} is stored here`)
}

/** How a feed is called towards people. */
export function labelOf(key: Uint8Array, name: string | null): string {
  return name ?? `${formatKey(key).slice(0, 10)}…`
}
