/**
 * Mirrors: a folder that is copied into a drive of the user's store, and a drive that a folder is made equal to.
 *
 * @module
 */
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import { createKeyPair } from '../feed/signature.ts'
import type { Synchronizer } from '../synchronizer/synchronizer.ts'
import { newDriveIdentities } from './blobs-key.ts'
import type { CloneReport } from './clone.ts'
import type { ClonedFolder } from './cloned-folder.ts'
import { readMetadata } from './entry.ts'
import type { CatalogRow, Catalog, Known } from './folder/catalog.ts'
import {
  DEFAULTS,
  DriveFolder,
  filePath,
  readBegun,
  readConfig,
  type FolderConfig
} from './folder/drive-folder.ts'
import { hashFile } from './folder/file-reader.ts'
import { look } from './folder/look.ts'
import { scan, type ScannedEntry } from './folder/scan.ts'
import { sameStamp, type Stamp } from './folder/stamp.ts'
import { checkOutside } from './folder/stores.ts'
import { importFolder, type Change, type ImportOptions, type ImportReport } from './import.ts'
import { listDrive, type ListedEntry } from './listing.ts'
import { holdsBack, plan, type Comparison } from './plan.ts'
import { checkSecret, type RegisteredDrive, type Registry } from './registry.ts'
import { STATE_FOLDER } from './folder/state-folder.ts'

/** Options of {@link openMirror}. */
export interface MirrorChoices {
  /** True honours `.gitignore` files. Default: as it was, else false. */
  readonly gitignore?: boolean
  /** 32 bytes; encrypts a new drive. */
  readonly encryptionKey?: Uint8Array
  /** True opens it only to look what would be done. */
  readonly readOnly?: boolean
}

/**
 * Opens a mirror, to copy a folder into it.
 *
 * @param mirror - the drive of the store, or the name of a new one.
 * @throws SynclineError as {@link DriveFolder.open}; NOT_WRITABLE if its secret key is not here; REFUSED for a folder in
 * the store, and for another encryption key than the drive has.
 */
export async function openMirror(
  sync: Synchronizer,
  registry: Registry,
  mirror: RegisteredDrive | string,
  source: string,
  { gitignore, encryptionKey, readOnly = false }: MirrorChoices = {}
): Promise<DriveFolder> {
  const root = path.resolve(source)
  const { stores } = registry
  checkOutside(root, stores)
  const isNew = typeof mirror === 'string'
  const drive = isNew ? newMirror(mirror, root, encryptionKey ?? null) : mirror
  const { key, keyPair } = drive
  if (keyPair === null) {
    throw new SynclineError('NOT_WRITABLE', 'the secret key of the drive is not in this store')
  }
  checkSecret(drive, encryptionKey)
  const state = registry.statePath(key)
  const options = { keyPair, encryptionKey: drive.encryptionKey, state, stores, readOnly }
  if (readOnly) return DriveFolder.open(sync, root, options)
  const isMade = !isNew && !(await isBegun(root, state))
  const config: FolderConfig = {
    ...DEFAULTS,
    key: b4a.toString(key, 'hex'),
    kind: 'mirror',
    copy: true,
    gitignore: gitignore ?? false
  }
  if (!isMade) await DriveFolder.begin(root, config, { state })
  // A key that others may have learnt must not be lost.
  await registry.put({ ...drive, folder: root })
  if (isMade) {
    const folder = await DriveFolder.open(sync, root, options)
    if (gitignore !== undefined) await folder.configure({ gitignore })
    return folder
  }
  try {
    return await DriveFolder.create(sync, root, config, options)
  } catch (error) {
    if (isNew) await registry.delete(key)
    throw error
  }
}

/** True if a mirror is registered, and was stopped before it was one. */
async function isBegun(root: string, state: string): Promise<boolean> {
  return (await readConfig(root, state)) === null && (await readBegun(root, state)) !== null
}

function newMirror(
  name: string,
  folder: string,
  encryptionKey: Uint8Array | null
): RegisteredDrive {
  const keyPair = createKeyPair()
  const { key } = newDriveIdentities(keyPair).index
  return { key, kind: 'mirror', folder, name, keyPair, encryptionKey }
}

/**
 * Brings a mirror to what its folder holds now.
 *
 * @throws SynclineError as {@link importFolder}, REFUSED also for an empty folder unless `maxDelete` is given.
 */
export async function mirrorFolder(
  mirror: DriveFolder,
  options: ImportOptions = {}
): Promise<ImportReport> {
  await checkSource(mirror.root, options.maxDelete ?? null)
  return importFolder(mirror, options)
}

/**
 * What copying a folder into a new mirror would do.
 *
 * @throws SynclineError FOLDER_MISSING, REFUSED as {@link openMirror} and {@link mirrorFolder}.
 */
export async function* planNewMirror(
  { stores }: Pick<Registry, 'stores'>,
  source: string,
  { gitignore = false }: MirrorChoices = {}
): AsyncGenerator<Change, void, void> {
  checkOutside(source, stores)
  await checkSource(source, null)
  for await (const batch of scan(source, { gitignore, stores })) {
    for (const { name, size } of batch) yield { type: 'add', name, byteLength: size }
  }
}

async function checkSource(root: string, maxDelete: number | null): Promise<void> {
  const names = await readdir(root).catch((error: unknown) => {
    throw new SynclineError('FOLDER_MISSING', `${root} is no folder`, { path: root }, error)
  })
  if (maxDelete !== null || names.some((name) => name !== STATE_FOLDER)) return
  const reason = `${root} is empty: is a disk missing? --max-delete N goes on`
  throw new SynclineError('REFUSED', reason, { path: root })
}

/** Options of {@link mirrorDrive}. */
export interface MirrorDriveOptions {
  /** Deletes of files that the drive has not; null holds back more than ten that are more than a quarter. */
  readonly maxDelete?: number | null
  readonly signal?: AbortSignal
}

/** What a folder was made equal to a drive with. */
export interface MirrorReport extends CloneReport {
  /** Names that the drive has not, and that are gone. */
  readonly deleted: readonly string[]
}

/**
 * Makes a folder equal to the version of its drive that it stays at, or the newest one: what the user changed here is
 * brought back, and what the drive has not is deleted, into the trash if there is one. What ignore rules of the folder
 * leave out stays. What cannot be taken away is among what is skipped.
 *
 * @throws SynclineError as {@link ClonedFolder.update}; REFUSED for a drive that holds nothing unless `maxDelete` is given.
 */
export async function mirrorDrive(
  cloned: ClonedFolder,
  { maxDelete = null, signal }: MirrorDriveOptions = {}
): Promise<MirrorReport> {
  const { clone, folder } = cloned
  const { root, catalog, config } = folder
  if (config.only.length > 0) {
    const reason = `${root} is a clone of a part of its drive: it cannot be made equal to all of it`
    throw new SynclineError('REFUSED', reason, { path: root })
  }
  await checkHolds(cloned, maxDelete, signal)
  const before = catalog.size
  const { extras, edited } = await findChanges(folder)
  const undone = new Map<string, string>()
  for (const { name, stamp } of edited) {
    signal?.throwIfAborted()
    if (!(await clone.delete(name, stamp))) undone.set(name, KEPT_EDIT)
  }
  const report = await cloned.update(signal === undefined ? {} : { signal })
  const moved = new Map(
    report.conflicts.map((conflict) => [
      conflict.name,
      `/${conflict.path.split(path.sep).join('/')}`
    ])
  )
  const left = extras.flatMap((extra) => {
    if (catalog.get(extra.name) !== undefined) return []
    // A folder that stood in the way of a file has another name now.
    for (const folder of foldersAbove(extra.name)) {
      const to = moved.get(folder)
      if (to !== undefined) return [{ ...extra, name: to + extra.name.slice(folder.length) }]
    }
    return [extra]
  })
  const held = holdsBack(left.length, before + left.length, maxDelete)
  const deleted: string[] = []
  const conflicts: { readonly name: string; readonly path: string }[] = []
  if (!held) {
    for (const { name, kind, stamp } of left) {
      signal?.throwIfAborted()
      if (kind === 'folder') {
        await clone.deleteFolder(name)
        if (await isEmptyFolder(root, name)) undone.set(name, KEPT_EXTRA)
      } else if (await clone.delete(name, stamp)) deleted.push(name)
      else undone.set(name, KEPT_EXTRA)
    }
  }
  // What stood in the way of the drive's own was told apart from it, and is no more of the drive than the rest.
  for (const conflict of report.conflicts) {
    const name = moved.get(conflict.name) as string
    if (!held) await clone.deleteFolder(name)
    if (!held && (await clone.delete(name, null))) deleted.push(conflict.name)
    else conflicts.push(conflict)
  }
  await catalog.save()
  const heldBack = held ? [...report.heldBack, ...left.map(({ name }) => name)] : report.heldBack
  // What was moved aside is seen to above, and what the update skipped is told.
  for (const { name } of [...report.skipped, ...report.conflicts]) undone.delete(name)
  const skipped = [...report.skipped, ...Array.from(undone, ([name, reason]) => ({ name, reason }))]
  return { ...report, conflicts, heldBack, deleted, skipped }
}

/** Why something stays as it is. */
const KEPT_EDIT = 'what was changed here cannot be taken away, or just changed again'
const KEPT_EXTRA = 'it cannot be deleted, or just changed'

/** Waits for the index, and refuses a version that holds nothing. */
async function checkHolds(
  cloned: ClonedFolder,
  maxDelete: number | null,
  signal: AbortSignal | undefined
): Promise<void> {
  const { folder, index } = cloned
  const { at } = folder.config
  if (at === null || index.length < at) await index.synced(signal === undefined ? {} : { signal })
  if (maxDelete !== null) return
  for await (const _ of listDrive(folder.index, at ?? folder.index.version)) return
  const reason = 'the drive holds nothing in this version: --max-delete N goes on'
  throw new SynclineError('REFUSED', reason)
}

interface Seen {
  readonly name: string
  readonly kind: Known['kind']
  /** Null if it is gone. */
  readonly stamp: Stamp | null
}

/** What is in a clone and not of its drive, and what of its drive is not as it was brought here. */
async function findChanges(
  folder: DriveFolder
): Promise<{ readonly extras: readonly Seen[]; readonly edited: readonly Seen[] }> {
  const { root, catalog, stores } = folder
  const extras: Seen[] = []
  const edited: Seen[] = []
  const paths = new Set<string>()
  for (const [, known] of catalog.rows()) if (known.path !== undefined) paths.add(`/${known.path}`)
  for await (const batch of plan(scan(root, { stores }), catalog.listing(), compareStamps)) {
    for (const step of batch) {
      const { name } = step
      if (step.type === 'add') {
        const { kind, stamp } = step.source
        if (!paths.has(name)) extras.push({ name, kind, stamp })
      } else if (step.type === 'remove') {
        const { known } = step.target
        if (known.path !== undefined) continue
        // It may be here all the same: left out by an ignore rule, or a folder that is not empty any more.
        const { kind } = known
        if (!isHere(root, name, kind)) edited.push({ name, kind, stamp: null })
      } else if (step.source.kind !== 'folder' || step.target.known.kind !== 'folder') {
        const { kind, stamp } = step.source
        const { known } = step.target
        if (!(await isUnchanged(folder, name, step.source, known)))
          edited.push({ name, kind, stamp })
        else refresh(catalog, name, stamp, known)
      }
    }
  }
  return { extras, edited }
}

/** Names of the folders that a name is in, the topmost first. */
function* foldersAbove(name: string): IterableIterator<string> {
  for (let end = name.indexOf('/', 1); end !== -1; end = name.indexOf('/', end + 1)) {
    yield name.slice(0, end)
  }
}

/** True if something of this kind stands there: in a folder, not behind a link. */
function isHere(root: string, name: string, kind: Known['kind']): boolean {
  for (const folder of foldersAbove(name)) {
    if (look(path.join(root, filePath(folder)))?.isDirectory() !== true) return false
  }
  const stats = look(path.join(root, filePath(name)))
  return stats !== null && stats.isDirectory() === (kind === 'folder')
}

async function isEmptyFolder(root: string, name: string): Promise<boolean> {
  const names = await readdir(path.join(root, filePath(name))).catch(() => null)
  return names?.length === 0
}

/** True if a file whose stamp is another still holds what was brought here. */
async function isUnchanged(
  folder: DriveFolder,
  name: string,
  source: ScannedEntry,
  { kind, entry }: Known
): Promise<boolean> {
  const { blob } = entry
  if (kind !== 'file' || source.kind !== 'file' || blob === null) return false
  if (source.size !== blob.byteLength) return false
  const { feed } = await folder.blobs()
  const hashed = await hashFile(path.join(folder.root, ...name.split('/')), () => {}).catch(
    () => null
  )
  if (hashed === null) return false
  const leaves = await feed.leaves(blob.blockOffset, blob.blockOffset + blob.blockLength)
  return Buffer.compare(hashed.leaves, leaves) === 0
}

/** Only time or mode changed: they are set again by the next update, as if the drive had other ones now. */
function refresh(catalog: Catalog, name: string, stamp: Stamp, known: Known): void {
  catalog.set(name, { ...known, stamp, entry: { ...known.entry, metadata: null } })
}

function compareStamps(source: ScannedEntry, { known }: CatalogRow): Comparison {
  if (source.kind === 'folder' && known.kind === 'folder') return 'same'
  const same = known.stamp !== null && sameStamp(known.stamp, source.stamp)
  return source.kind === known.kind && same ? 'same' : 'unknown'
}

/** One step of making a folder equal to a drive; `check`: it may turn out to be equal. */
export interface PlannedChange {
  readonly type: 'add' | 'change' | 'touch' | 'check' | 'remove'
  readonly name: string
  readonly byteLength: number
}

/**
 * What making a folder equal to a drive would do. Files are compared by what is known of them; none is read.
 *
 * @param root - need not exist.
 * @param catalog - of the folder, if it is a clone of this drive.
 * @throws SynclineError REFUSED as {@link ClonedFolder.open}.
 */
export async function* planMirrorDrive(
  { stores }: Pick<Registry, 'stores'>,
  entries: AsyncIterable<ListedEntry>,
  root: string,
  catalog: Catalog | null
): AsyncGenerator<PlannedChange, void, void> {
  const present: ScannedEntry[] = []
  checkOutside(root, stores)
  if (await exists(root)) {
    for await (const batch of scan(root, { stores })) present.push(...batch)
  }
  const compare = (source: ListedEntry, target: ScannedEntry): Comparison =>
    compareListed(source, target, catalog?.get(source.name) ?? null)
  for await (const batch of plan(inBatches(entries), present, compare)) {
    for (const { type, name, source, target } of batch) {
      const byteLength = source?.entry.blob?.byteLength ?? target?.size ?? 0
      yield { type, name, byteLength }
    }
  }
}

function compareListed(
  { kind, entry }: ListedEntry,
  target: ScannedEntry,
  known: Known | null
): Comparison {
  if (kind !== target.kind) return 'content'
  if (kind === 'folder') return 'same'
  if (kind === 'link') return entry.linkname === target.linkname ? 'same' : 'content'
  const { blob, metadata } = entry
  if (blob?.byteLength !== target.size) return 'content'
  if (known?.stamp == null || !sameStamp(known.stamp, target.stamp)) return 'unknown'
  if (known.entry.blob?.byteOffset !== blob.byteOffset && target.size > 0) return 'content'
  const [now, then] = [readMetadata(metadata), readMetadata(known.entry.metadata)]
  return now.mode === then.mode && now.mtimeMs === then.mtimeMs ? 'same' : 'metadata'
}

async function* inBatches<T>(items: AsyncIterable<T>): AsyncGenerator<T[], void, void> {
  let batch: T[] = []
  for await (const item of items) {
    if (batch.push(item) < 1024) continue
    yield batch
    batch = []
  }
  yield batch
}

async function exists(root: string): Promise<boolean> {
  return readdir(root).then(
    () => true,
    () => false
  )
}
