/**
 * Whether a local file, link or folder is what a drive says of it.
 *
 * @module
 */
import { lstatSync, readlinkSync } from 'node:fs'
import { storageError, systemCode } from '../feed/file/file-error.ts'
import type { Known } from './folder/catalog.ts'
import type { DriveFolder } from './folder/drive-folder.ts'
import { holdsLeaves, sizesOf } from './folder/file-reader.ts'

/** `unknown`: what it should hold was never here, so nothing can be said. */
export type ContentVerdict = 'ok' | 'edited' | 'missing' | 'unknown'

/** Options of {@link compareContent}. */
export interface CompareOptions {
  readonly signal?: AbortSignal
  /** Told of bytes as they are read. */
  readonly onbytes?: (count: number) => void
}

/**
 * Looks at what stands at a path; files are hashed, whatever their stamp says.
 *
 * @param file - absolute.
 * @throws SynclineError STORAGE_FAILED, and of the blobs' storage; the signal's reason.
 */
export async function compareContent(
  folder: DriveFolder,
  file: string,
  known: Pick<Known, 'kind' | 'entry'>,
  options: CompareOptions = {}
): Promise<ContentVerdict> {
  try {
    return await compare(folder, file, known, options)
  } catch (error) {
    if (options.signal?.aborted === true) throw error
    const code = systemCode(error)
    if (code === 'EACCES' || code === 'EPERM') return 'unknown'
    // It went, or a link came in its way, after it was looked at.
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return 'missing'
    throw storageError(error, file)
  }
}

async function compare(
  folder: DriveFolder,
  file: string,
  { kind, entry }: Pick<Known, 'kind' | 'entry'>,
  options: CompareOptions
): Promise<ContentVerdict> {
  const stats = lstatSync(file, { throwIfNoEntry: false })
  if (stats === undefined) return 'missing'
  if (kind === 'folder') return stats.isDirectory() ? 'ok' : 'edited'
  if (kind === 'link') {
    return stats.isSymbolicLink() && readlinkSync(file) === entry.linkname ? 'ok' : 'edited'
  }
  const { blob } = entry
  if (!stats.isFile()) return 'edited'
  if (blob === null || blob.blockMap === true) return 'unknown'
  if (stats.size !== blob.byteLength) return 'edited'
  if (blob.byteLength === 0) return 'ok'
  const leaves = await folder.leaves(blob)
  if (leaves === null || !areStored(leaves, blob.byteLength)) return 'unknown'
  return (await holdsLeaves(file, leaves, options)) ? 'ok' : 'edited'
}

/** True if the leaves are here. */
function areStored(leaves: Uint8Array, byteLength: number): boolean {
  return sizesOf(leaves).reduce((sum, size) => sum + size, 0) === byteLength
}
