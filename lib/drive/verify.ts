/**
 * Hashes what a shared or cloned folder holds, and compares it with its drive.
 *
 * @module
 */
import path from 'node:path'
import { compareContent, type ContentVerdict } from './content.ts'
import { filePath, type DriveFolder } from './folder/drive-folder.ts'
import { ProgressNotes } from './progress.ts'

/** A name that is not as the drive says. */
export interface BadFile {
  readonly name: string
  readonly verdict: Exclude<ContentVerdict, 'ok'>
}

/** What {@link verifyFolder} found. */
export interface VerifyReport {
  /** Files, links and empty folders that were looked at. */
  readonly entries: number
  /** Bytes that were hashed. */
  readonly bytes: number
  readonly bad: readonly BadFile[]
}

/** Options of {@link verifyFolder}. */
export interface VerifyOptions {
  readonly progress?: ProgressNotes
  readonly signal?: AbortSignal
}

/**
 * Looks at every name that the folder has of its drive, whatever is remembered of it. What a clone has not fetched yet
 * does not count. Changes nothing if the folder is open to be read only.
 *
 * @throws SynclineError FEED_DAMAGED, STORAGE_FAILED; the signal's reason.
 */
export async function verifyFolder(
  folder: DriveFolder,
  options: VerifyOptions = {}
): Promise<VerifyReport> {
  const { signal, progress = new ProgressNotes() } = options
  if (folder.config.kind === 'share') await folder.reconcile()
  const rows = [...folder.catalog.rows()]
  let bytesTotal = 0
  for (const [, { entry }] of rows) bytesTotal += entry.blob?.byteLength ?? 0
  progress.set({ phase: 'scan', filesTotal: rows.length, bytesTotal })
  const bad: BadFile[] = []
  let bytes = 0
  for (const [name, known] of rows) {
    signal?.throwIfAborted()
    const file = path.join(
      folder.root,
      filePath(known.path === undefined ? name : `/${known.path}`)
    )
    const verdict = await compareContent(folder, file, known, {
      ...(signal === undefined ? {} : { signal }),
      onbytes: (count) => {
        bytes += count
        progress.add(0, count)
      }
    })
    if (verdict !== 'ok') bad.push({ name, verdict })
    progress.add(1, 0)
  }
  progress.set({ phase: 'done' })
  return { entries: rows.length, bytes, bad }
}
