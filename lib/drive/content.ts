/**
 * Whether a local file, link or folder is what a drive says of it.
 *
 * @module
 */
import { lstatSync, readlinkSync } from 'node:fs'
import { isSynclineError } from '../errors.ts'
import { storageError, systemCode } from '../feed/file/file-error.ts'
import type { BlobRange } from './entry.ts'
import type { Known } from './folder/catalog.ts'
import type { DriveFolder } from './folder/drive-folder.ts'
import { hashFile, holdsLeaves, sizesOf } from './folder/file-reader.ts'

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
  return folder.encrypted
    ? compareBlocks(folder, file, blob, options)
    : compareLeaves(folder, file, blob, options)
}

/** By the hashes of the tree. */
async function compareLeaves(
  folder: DriveFolder,
  file: string,
  blob: BlobRange,
  { signal, onbytes }: CompareOptions
): Promise<ContentVerdict> {
  const { feed } = await folder.blobs()
  const end = blob.blockOffset + blob.blockLength
  const leaves = await feed.leaves(blob.blockOffset, end)
  if (!areStored(leaves, blob.byteLength)) return 'unknown'
  return (await holdsLeaves(file, leaves, {
    ...(signal && { signal }),
    ...(onbytes && { onbytes })
  }))
    ? 'ok'
    : 'edited'
}

/** True if the leaves are here. */
function areStored(leaves: Uint8Array, byteLength: number): boolean {
  return sizesOf(leaves).reduce((sum, size) => sum + size, 0) === byteLength
}

/** By the stored blocks: the tree of an encrypted drive says nothing of what they hold. */
async function compareBlocks(
  folder: DriveFolder,
  file: string,
  blob: BlobRange,
  { signal, onbytes }: CompareOptions
): Promise<ContentVerdict> {
  const { session } = await folder.blobs()
  const end = blob.blockOffset + blob.blockLength
  const stored = blocksFrom(session.getRun.bind(session), blob.blockOffset, end)
  let rest: Uint8Array = new Uint8Array()
  let verdict: ContentVerdict = 'ok'
  const hashed = await hashFile(
    file,
    async (piece) => {
      onbytes?.(piece.byteLength)
      for (let at = 0; at < piece.byteLength && verdict === 'ok';) {
        if (rest.byteLength === 0) {
          const next = await stored.next()
          if (next.done === true) {
            verdict = 'unknown'
            return
          }
          rest = next.value
        }
        const size = Math.min(rest.byteLength, piece.byteLength - at)
        const same = Buffer.compare(rest.subarray(0, size), piece.subarray(at, at + size)) === 0
        if (!same) verdict = 'edited'
        rest = rest.subarray(size)
        at += size
      }
    },
    signal
  )
  return hashed === null ? 'edited' : verdict
}

async function* blocksFrom(
  getRun: (start: number, end: number) => Promise<Uint8Array[] | null>,
  start: number,
  end: number
): AsyncGenerator<Uint8Array, void, void> {
  for (let block = start; block < end;) {
    const blocks = await getRun(block, end).catch((error: unknown) => {
      // Bytes that are bad cannot be dropped by who only reads.
      if (isSynclineError(error, 'INVALID_OPERATION')) return null
      throw error
    })
    if (blocks === null) return
    yield* blocks
    block += blocks.length
  }
}
