/**
 * What a version of a drive holds: files, links and empty folders together, in the order of their names.
 *
 * @module
 */
import { isSynclineError } from '../errors.ts'
import {
  compareNames,
  rangeOfFolder,
  rangeOfPart,
  readName,
  type NameFault,
  type Part
} from './drive-name.ts'
import { decodeEntry, type Entry } from './entry.ts'
import type { DriveIndex, IndexEntry } from './index/drive-index.ts'

/** One entry of a drive. */
export interface ListedEntry {
  readonly name: string
  readonly kind: 'file' | 'link' | 'folder'
  /** Of a folder only `metadata` says something. */
  readonly entry: Entry
}

/** An entry that is left out. */
export interface BadEntry {
  /** For people: it may be no name at all. */
  readonly name: string
  readonly reason: NameFault | 'value'
}

/** What of a version is listed, and how. */
export interface ListOptions {
  /** Told of entries that no honest writer makes; they are left out. */
  readonly onbad?: (entry: BadEntry) => void
  /** The folder whose content is listed, a normal name. Default: all. */
  readonly under?: string
  /** Asks peers for blocks of the index before they are come to. Default: true. */
  readonly readAhead?: boolean
}

/**
 * Entries of a version. Of a file and an empty folder of one name the file counts.
 *
 * @throws SynclineError BAD_MESSAGE when the tree of the index is broken.
 */
export async function* listDrive(
  index: DriveIndex,
  version: number,
  options: ListOptions = {}
): AsyncGenerator<ListedEntry, void, void> {
  for await (const batch of listBatches(index, version, options))
    for (const item of batch) yield item
}

/** The same, as many together as are here. */
export async function* listBatches(
  index: DriveIndex,
  version: number,
  options: ListOptions = {}
): AsyncGenerator<readonly ListedEntry[], void, void> {
  const folders = listFolders(index, version, options)
  let folder = await folders.next()
  let last = ''
  for await (const files of listPart(index, version, 'files', options)) {
    const batch: ListedEntry[] = []
    for (const file of files) {
      while (folder.done !== true && compareNames(folder.value.name, file.name) < 0) {
        if (folder.value.name !== last) batch.push(folder.value)
        folder = await folders.next()
      }
      last = file.name
      batch.push(file)
    }
    yield batch
  }
  const rest: ListedEntry[] = []
  for (; folder.done !== true; folder = await folders.next()) {
    if (folder.value.name !== last) rest.push(folder.value)
  }
  yield rest
}

async function* listFolders(
  index: DriveIndex,
  version: number,
  options: ListOptions
): AsyncGenerator<ListedEntry, void, void> {
  for await (const batch of listPart(index, version, 'dirs', options)) yield* batch
}

async function* listPart(
  index: DriveIndex,
  version: number,
  part: Part,
  { onbad = () => {}, under = '/', readAhead = true }: ListOptions
): AsyncGenerator<readonly ListedEntry[], void, void> {
  // All of it, names without a slash included, unless a folder is asked for.
  const range = under === '/' ? rangeOfPart(part) : rangeOfFolder(under, part)
  for await (const items of index.batches({ ...range, readAhead }, version)) {
    const batch: ListedEntry[] = []
    for (const item of items) {
      const listed = readListed(item, part)
      if ('reason' in listed) onbad(listed)
      else batch.push(listed)
    }
    yield batch
  }
}

/** Reads what the index holds under a key of a part. */
export function readListed({ key, value }: IndexEntry, part: Part): ListedEntry | BadEntry {
  const { name, fault } = readName(key, part)
  if (fault !== null) return { name, reason: fault }
  try {
    const entry = decodeEntry(value)
    if (part === 'dirs') return { name, kind: 'folder', entry }
    if (entry.linkname !== null) return { name, kind: 'link', entry }
    return entry.blob === null ? { name, reason: 'value' } : { name, kind: 'file', entry }
  } catch (error) {
    if (isSynclineError(error, 'BAD_MESSAGE') || isSynclineError(error, 'TOO_MANY')) {
      return { name, reason: 'value' }
    }
    throw error
  }
}
