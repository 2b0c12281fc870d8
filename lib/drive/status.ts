/**
 * What became of a shared or cloned folder since its drive was last brought in line with it, or it with its drive.
 *
 * @module
 */
import path from 'node:path'
import { compareContent } from './content.ts'
import { compareNames } from './drive-name.ts'
import type { BlobRange } from './entry.ts'
import type { Known } from './folder/catalog.ts'
import { filePath, type DriveFolder } from './folder/drive-folder.ts'
import { isConflict } from './folder/target.ts'
import { scan, type ScanCounts, type ScannedEntry, type Skipped } from './folder/scan.ts'
import { sameStamp } from './folder/stamp.ts'
import { listTrash } from './folder/trash.ts'
import { sameMetadata } from './import.ts'
import { listDrive } from './listing.ts'
import { plan, type Comparison } from './plan.ts'
import { ProgressNotes } from './progress.ts'
import { Selection } from './selection.ts'

/** Something that the folder has, and its drive has not, or has otherwise. */
export interface LocalChange {
  readonly type: 'add' | 'change' | 'touch' | 'remove'
  /** The drive's name; of what is added, where it stands. */
  readonly name: string
  /** Of the local file; of what is removed, what it had. */
  readonly byteLength: number
}

/** See the module comment. */
export interface FolderStatus {
  /** The version that the folder was last brought in line with; 0 for none. */
  readonly version: number
  /** The newest that is known here. */
  readonly newest: number
  /** What the folder has of the drive. */
  readonly files: number
  readonly links: number
  readonly emptyFolders: number
  readonly bytes: number
  /** Of a share, what an import would do; of a clone, what the user did: only contents count there. */
  readonly changes: readonly LocalChange[]
  /** Of a clone: files of the user's that were in the way, and have names of their own now. */
  readonly conflicts: readonly string[]
  /** Of a clone: what the version that it goes to has, and it has not. Null if the index is not all here. */
  readonly missing: { readonly entries: number; readonly bytes: number } | null
  readonly trash: { readonly entries: number; readonly bytes: number }
  /** What is in the folder, and what is left out of it. */
  readonly counts: ScanCounts
  /** What cannot be shared, ignored names left out. */
  readonly skipped: readonly Skipped[]
}

/** Options of {@link folderStatus}. */
export interface StatusOptions {
  /** Told of each name that a rule ignores. */
  readonly onignored?: (skipped: Skipped) => void
  readonly progress?: ProgressNotes
  readonly signal?: AbortSignal
}

/** A row of the catalog, by where it stands. */
interface Row {
  readonly name: string
  readonly drive: string
  readonly known: Known
}

/**
 * Compares a folder with its drive, as far as that is here. Files whose stamp is known are not read. Changes nothing if
 * the folder is open to be read only.
 *
 * @throws SynclineError FOLDER_MISSING, FEED_DAMAGED, STORAGE_FAILED; the signal's reason.
 */
export async function folderStatus(
  folder: DriveFolder,
  options: StatusOptions = {}
): Promise<FolderStatus> {
  const { catalog, config, root, index } = folder
  const { signal, onignored, progress = new ProgressNotes() } = options
  const isShare = config.kind === 'share'
  if (isShare) await folder.reconcile()
  const skipped: Skipped[] = []
  const scanning = scan(root, {
    gitignore: config.gitignore,
    stores: folder.stores,
    onSkipped: (item) => {
      if (item.reason === 'ignored') onignored?.(item)
      else if (item.reason !== 'state') skipped.push(item)
    }
  })
  const changes: LocalChange[] = []
  const conflicts: string[] = []
  const rows = localRows(folder)
  progress.set({ phase: 'scan', filesTotal: rows.length })
  for await (const batch of plan(scanning, rows, compareByStamp)) {
    for (const step of batch) {
      signal?.throwIfAborted()
      if (step.type === 'add') {
        const { name, size } = step.source
        if (!isShare && isConflict(name)) conflicts.push(name)
        else changes.push({ type: 'add', name, byteLength: size })
        continue
      }
      const change = await compareRow(folder, step.source, step.target, signal)
      if (change !== null && (isShare || change.type !== 'touch')) changes.push(change)
    }
    progress.set({ files: scanning.counts.files })
  }
  const trash = listTrash(folder.statePath('trash'))
  return {
    version: isShare ? index.version : catalog.version,
    newest: index.version,
    ...held(rows),
    changes: isShare ? withoutUnreadable(changes, skipped) : changes,
    conflicts,
    missing: isShare ? { entries: 0, bytes: 0 } : await missingHere(folder),
    trash: { entries: trash.length, bytes: trash.reduce((sum, { size }) => sum + size, 0) },
    counts: scanning.counts,
    skipped
  }
}

/** What the catalog knows, in the order of where it stands. */
function localRows({ catalog }: DriveFolder): Row[] {
  const rows = Array.from(catalog.rows(), ([drive, known]) => {
    const name = known.path === undefined ? drive : `/${known.path}`
    return { name, drive, known }
  })
  const isRenamed = rows.some(({ name, drive }) => name !== drive)
  return isRenamed ? rows.sort((a, b) => compareNames(a.name, b.name)) : rows
}

function compareByStamp(source: ScannedEntry, { known }: Row): Comparison {
  if (source.kind !== known.kind) return 'content'
  if (known.kind !== 'file') return 'unknown'
  return known.stamp !== null && sameStamp(known.stamp, source.stamp) ? 'same' : 'unknown'
}

/** What is to be said of a name that the drive has; null if it is as it should be. */
async function compareRow(
  folder: DriveFolder,
  source: ScannedEntry | null,
  { name, drive, known }: Row,
  signal: AbortSignal | undefined
): Promise<LocalChange | null> {
  const isShare = folder.config.kind === 'share'
  const had = known.entry.blob?.byteLength ?? 0
  // What a scan does not see is out of a share; of a clone an ignored name may be there.
  if (source === null && isShare) return { type: 'remove', name: drive, byteLength: had }
  const file = path.join(folder.root, filePath(name))
  const options = signal === undefined ? {} : { signal }
  const verdict = await compareContent(folder, file, known, options)
  if (verdict === 'missing') return { type: 'remove', name: drive, byteLength: had }
  if (verdict !== 'ok') {
    return { type: 'change', name: drive, byteLength: source?.size ?? had }
  }
  if (source === null || known.kind === 'link' || sameMetadata(known.entry, source)) return null
  return { type: 'touch', name: drive, byteLength: source.size }
}

/** What cannot be looked at is not gone. */
function withoutUnreadable(
  changes: readonly LocalChange[],
  skipped: readonly Skipped[]
): LocalChange[] {
  const unreadable = skipped.filter(({ reason }) => reason === 'unreadable')
  return changes.filter(
    ({ type, name }) =>
      type !== 'remove' ||
      !unreadable.some((item) => name === item.name || name.startsWith(`${item.name}/`))
  )
}

function held(
  rows: readonly Row[]
): Pick<FolderStatus, 'files' | 'links' | 'emptyFolders' | 'bytes'> {
  const counts = { files: 0, links: 0, emptyFolders: 0, bytes: 0 }
  for (const { known } of rows) {
    if (known.kind === 'file') counts.files++
    else if (known.kind === 'link') counts.links++
    else counts.emptyFolders++
    counts.bytes += known.entry.blob?.byteLength ?? 0
  }
  return counts
}

async function missingHere(folder: DriveFolder): Promise<FolderStatus['missing']> {
  const { catalog, config, index, indexSession } = folder
  const version = Math.min(config.at ?? index.version, index.version)
  if (!(await indexSession.has(0, version))) return null
  const selection = new Selection(config.only)
  let entries = 0
  let bytes = 0
  if (version !== catalog.version || config.only.length > 0) {
    for await (const { name, kind, entry } of listDrive(index, version)) {
      const known = catalog.get(name)
      if (!selection.has(name, kind === 'folder')) continue
      const isHere =
        known?.kind === kind &&
        known.entry.linkname === entry.linkname &&
        sameBytes(known.entry.blob, entry.blob)
      if (isHere) continue
      entries++
      bytes += entry.blob?.byteLength ?? 0
    }
  }
  return { entries, bytes }
}

function sameBytes(one: BlobRange | null, other: BlobRange | null): boolean {
  if (one === null || other === null) return one === other
  if (one.byteLength !== other.byteLength) return false
  return one.byteLength === 0 || one.byteOffset === other.byteOffset
}
