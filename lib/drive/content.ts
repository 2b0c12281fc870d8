/**
 * Whether a local file, link or folder is what a drive says of it.
 *
 * @module
 */
import { lstatSync, readlinkSync } from 'node:fs'
import { isSynclineError } from '../errors.ts'
import { storageError, systemCode } from '../feed/file/file-error.ts'
import { NODE_BYTES } from '../kernels/fold.ts'
import type { MappedBlock } from './block-map.ts'
import { DriveBlobs } from './drive-blobs.ts'
import type { BlobRange } from './entry.ts'
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
  if (blob === null) return 'unknown'
  const isMapped = blob.blockMap === true
  if (!isMapped && stats.size !== blob.byteLength) return 'edited'
  if (!isMapped && blob.byteLength === 0) return 'ok'
  const leaves = await (isMapped ? mappedLeaves(folder, blob) : storedLeaves(folder, blob))
  if (leaves === null) return 'unknown'
  return (await holdsLeaves(file, leaves, options)) ? 'ok' : 'edited'
}

/** The leaves of a blob; null if they are not all here. */
async function storedLeaves(folder: DriveFolder, blob: BlobRange): Promise<Uint8Array | null> {
  const leaves = await folder.leaves(blob)
  if (leaves === null) return null
  const byteLength = sizesOf(leaves).reduce((sum, size) => sum + size, 0)
  return byteLength === blob.byteLength ? leaves : null
}

/** The leaves of the blocks that a map lists; null if the map, or some of them, are not here. */
async function mappedLeaves(folder: DriveFolder, map: BlobRange): Promise<Uint8Array | null> {
  const { session } = await folder.blobs()
  const blocks = await mappedBlocks(new DriveBlobs(session), map)
  if (blocks === null) return null
  const leaves = new Uint8Array(NODE_BYTES * blocks.length)
  for (let first = 0; first < blocks.length;) {
    const blockOffset = (blocks[first] as MappedBlock).index
    let blockLength = 1
    while (blocks[first + blockLength]?.index === blockOffset + blockLength) blockLength++
    const run = await folder.leaves({ blockOffset, blockLength })
    if (run === null) return null
    leaves.set(run, NODE_BYTES * first)
    first += blockLength
  }
  const isWhole = sizesOf(leaves).every((size, i) => size === blocks[i]?.byteLength)
  return isWhole ? leaves : null
}

async function mappedBlocks(
  blobs: DriveBlobs,
  map: BlobRange
): Promise<readonly MappedBlock[] | null> {
  try {
    return (await blobs.getBlockMap(map, { wait: false }))?.blocks ?? null
  } catch (error) {
    if (UNREADABLE.some((code) => isSynclineError(error, code))) return null
    throw error
  }
}

/** Codes of a map that is not here, or is none; who only reads cannot drop one that is bad. */
const UNREADABLE = ['BLOCK_NOT_AVAILABLE', 'BAD_MESSAGE', 'TOO_MANY', 'INVALID_OPERATION'] as const
