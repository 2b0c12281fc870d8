import { isFolder } from '../drive/folder/look.ts'
import path from 'node:path'
import b4a from 'b4a'
import { ClonedFolder } from '../drive/cloned-folder.ts'
import type { Catalog } from '../drive/folder/catalog.ts'
import { DriveFolder, readConfig } from '../drive/folder/drive-folder.ts'
import {
  mirrorDrive,
  mirrorFolder,
  openMirror,
  planMirrorDrive,
  planNewMirror,
  type PlannedChange
} from '../drive/mirror.ts'
import { ProgressNotes } from '../drive/progress.ts'
import type { RegisteredDrive } from '../drive/registry.ts'
import { isSynclineError, SynclineError } from '../errors.ts'
import { formatKey, parseKey } from '../synchronizer/key.ts'
import { memory } from '../synchronizer/storage.ts'
import { Synchronizer } from '../synchronizer/synchronizer.ts'
import { duplexPair } from '../transport/memory.ts'
import type { Command, Context } from './common/command.ts'
import {
  AT,
  findDrive,
  openFoundDrive,
  openDriveHere,
  type FoundDrive,
  type OpenDrive
} from './common/drive-argument.ts'
import {
  ENCRYPTION_KEY,
  GITIGNORE,
  LINKS,
  MAX_DELETE,
  NOTHING,
  TRASH
} from './common/drive-flags.ts'
import { EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, UsageError } from './common/exit.ts'
import { DRY_RUN, NETWORK, TIMEOUT } from './common/flags.ts'
import { showWork } from './common/folder-work.ts'
import { openRegistry } from './common/folders.ts'
import { tellNames } from './common/names.ts'
import { checkNetwork, goOnline, openSynchronizer } from './common/network.ts'
import { isMissed, skippedText } from './common/skipped.ts'
import { checkNewName } from './common/storage.ts'
import { count, formatBytes, visible } from './common/text.ts'

const SIGNS = { add: '+', change: '~', touch: 't', check: '?', remove: '-' } as const

const command: Command = {
  name: 'mirror',
  summary: 'Copy a folder into a drive of your store, or make a folder equal to a drive.',
  args: [{ name: 'SRC' }, { name: 'DST' }],
  flags: [DRY_RUN, MAX_DELETE, AT, GITIGNORE, TRASH, LINKS, ENCRYPTION_KEY, ...NETWORK],
  details:
    'Folder to drive: DST is a name, new or not, or the key of such a drive. Its blocks are kept in\n' +
    'the store, and so are its versions. Drive to folder: SRC is a key or a name, and what the drive\n' +
    'has not is deleted from DST, into its trash. Both are done once.\n' +
    'A source that is missing or empty is refused, and more than ten deletes that are more than a\n' +
    'quarter of all are held back: --max-delete N goes on.\n' +
    'Examples:\n' +
    '  syncline mirror ./photos backup\n' +
    '  syncline mirror backup ./photos-of-may --at 17 -n',
  async run(context) {
    const [source = '', target = ''] = context.args
    if (parseKey(source) === null && (await isFolder(source))) {
      return copyIn(context, source, await mirrorOf(context, source, target))
    }
    let drive: FoundDrive
    try {
      drive = await findDrive(context, source)
    } catch (error) {
      if (!isSynclineError(error, 'FEED_NOT_FOUND')) throw error
      const reason = `${source} is neither a folder nor a drive: nothing is done`
      throw new SynclineError('FOLDER_MISSING', reason, { path: source })
    }
    if (drive.here?.state === undefined && drive.here?.root === path.resolve(target)) {
      if (drive.here.config.kind === 'share') {
        throw new UsageError('SRC is the drive of DST', 'syncline share --once takes DST in')
      }
      // What it was made equal to last: the source is with others.
      drive = { ...drive, here: null }
    }
    return context.get(DRY_RUN) ? planOut(context, drive, target) : copyOut(context, drive, target)
  }
}

/** The mirror that DST means, or the name of a new one. */
async function mirrorOf(
  context: Context,
  source: string,
  target: string
): Promise<RegisteredDrive | string> {
  const registry = openRegistry(context)
  const key = parseKey(target)
  if (key === null && (/^[.~]|[/\\]/.test(target) || (await isFolder(target)))) {
    const way = `syncline share ${source}, and clone its key to ${target}`
    throw new UsageError('one of SRC and DST is a drive; both are folders', way)
  }
  const [drive = null] = key === null ? await registry.named(target) : [await registry.get(key)]
  if (drive?.kind === 'mirror') return drive
  if (drive !== null) {
    const what = `${target} is the ${drive.kind === 'share' ? 'shared' : 'cloned'} folder`
    throw new UsageError(`${what} ${drive.folder}`, 'a mirror is a drive of its own: give a name')
  }
  if (key !== null) {
    throw new SynclineError('NOT_WRITABLE', `${target} is no drive of this store`)
  }
  checkNewName(target)
  return target
}

/** Folder to drive. */
async function copyIn(
  context: Context,
  source: string,
  mirror: RegisteredDrive | string
): Promise<number> {
  const { get, out, log, signal } = context
  const maxDelete = get(MAX_DELETE)
  if (get(AT) !== null) throw new UsageError('--at is for a drive, and SRC is a folder')
  const gitignore = get(GITIGNORE)
  const dryRun = get(DRY_RUN)
  if (dryRun && typeof mirror === 'string') {
    const planned = planNewMirror(openRegistry(context), source, { gitignore })
    for await (const change of planned) await tell(context, change)
    return EXIT_DONE
  }
  const sync = new Synchronizer({ storage: memory() })
  try {
    const encryptionKey = get(ENCRYPTION_KEY)
    const folder = await openMirror(sync, openRegistry(context), mirror, source, {
      readOnly: dryRun,
      ...(gitignore ? { gitignore } : {}),
      ...(encryptionKey === null ? {} : { encryptionKey })
    })
    const progress = new ProgressNotes()
    const changes: PlannedChange[] = []
    const onchange = dryRun ? (change: PlannedChange) => void changes.push(change) : () => {}
    const work = mirrorFolder(folder, { maxDelete, dryRun, onchange, progress, signal })
    const label = typeof mirror === 'string' ? mirror : (mirror.name ?? formatKey(mirror.key))
    const shown = { label, rest: 'up to date', progress: () => progress.now, sessions: () => [] }
    const report = await showWork(context, sync, [shown], work, { timeoutMs: 0 })
    for (const change of changes) await tell(context, change)
    tellNames(log, `${report.skipped.length} left out`, report.skipped.map(skippedText))
    for (const name of report.unsettled) log.info(`${name} is being written: run it again`)
    tellHeld(context, report.heldBack)
    await folder.close()
    if (!dryRun) {
      const key = formatKey(folder.key)
      const { version } = folder.index
      const { added, changed, touched, removed } = report
      await out.result(
        { event: 'mirrored', key, version, added, changed, touched, removed },
        `${label} ${key}: version ${version}, ${added} added, ${changed + touched} changed, ${removed} removed`
      )
    }
    if (report.heldBack.length > 0) return EXIT_REFUSED
    const isWhole = !report.skipped.some(isMissed) && report.unsettled.length === 0
    return isWhole ? EXIT_DONE : EXIT_FAILED
  } finally {
    await sync.close()
  }
}

/** What drive to folder would do. */
async function planOut(context: Context, found: FoundDrive, target: string): Promise<number> {
  const drive = await openFoundDrive(context, found)
  try {
    const catalog = await catalogOf(target, drive.key)
    const planned = planMirrorDrive(openRegistry(context), drive.list(), target, catalog)
    for await (const change of planned) {
      context.signal.throwIfAborted()
      await tell(context, change)
    }
  } finally {
    await drive.close()
  }
  return EXIT_DONE
}

/** What is known of a folder that was made equal to this drive before. */
async function catalogOf(target: string, key: Uint8Array): Promise<Catalog | null> {
  const config = await readConfig(path.resolve(target))
  if (config === null || config.key !== b4a.toString(key, 'hex')) return null
  const sync = new Synchronizer({ storage: memory() })
  try {
    const folder = await DriveFolder.open(sync, target, { readOnly: true })
    return folder.catalog
  } finally {
    await sync.close()
  }
}

/** Drive to folder. */
async function copyOut(context: Context, drive: FoundDrive, target: string): Promise<number> {
  const { get, out, log, signal } = context
  const source = await openSource(context, drive)
  const sync = await openSynchronizer(context, memory())
  const progress = new ProgressNotes()
  try {
    const encryptionKey = get(ENCRYPTION_KEY)
    const choices = {
      at: get(AT),
      force: true,
      allLinks: get(LINKS) === 'all',
      ...(encryptionKey === null ? {} : { encryptionKey })
    }
    const maxDelete = get(MAX_DELETE)
    const registry = openRegistry(context)
    const cloned = await ClonedFolder.open(sync, registry, drive.key, target, choices, {
      progress,
      maxDelete,
      // Of this run alone: the next one keeps what it replaces, unless it is told otherwise, too.
      ...(get(TRASH) === false ? { keep: NOTHING } : {})
    })
    try {
      if (source !== null) await connect(source.sync, sync)
      if (source === null || (source.mayFetch(context) && (await source.lacks()))) {
        await goOnline(context, sync)
      }
      cloned.clone.on('renamed', (renamed) => {
        for (const { name, path: at } of renamed) log.info(`${name} is called ${at} here`)
      })
      const work = mirrorDrive(cloned, { maxDelete, signal })
      const blobs = (): ReturnType<ClonedFolder['blobs']> => cloned.blobs()
      let blobsSession: Awaited<ReturnType<typeof blobs>> = null
      const shown = {
        label: drive.label,
        rest: 'up to date',
        progress: () => progress.now,
        sessions: () => (blobsSession === null ? [cloned.index] : [cloned.index, blobsSession])
      }
      const report = await showWork(context, sync, [shown], work, {
        timeoutMs: get(TIMEOUT) * 1000,
        ontick: async () => {
          blobsSession ??= cloned.index.length > 0 ? await blobs() : null
        }
      })
      for (const { name, reason } of report.skipped) log.info(`${name} is left out: ${reason}`)
      for (const { name, path: at } of report.conflicts) log.info(`${name} is kept as ${at}`)
      tellHeld(context, report.heldBack)
      const { version, added, changed, removed, deleted } = report
      const gone = removed + deleted.length
      await out.result(
        { event: 'mirrored', key: formatKey(drive.key), version, added, changed, removed: gone },
        `${target}: version ${version}, ${added} added, ${changed} changed, ${gone} removed`
      )
      if (report.heldBack.length > 0) return EXIT_REFUSED
      const isWhole = report.skipped.length + report.conflicts.length === 0
      return isWhole ? EXIT_DONE : EXIT_FAILED
    } finally {
      await cloned.close()
    }
  } finally {
    await sync.close()
    await source?.close()
  }
}

/** The drive where it is here; null if it comes from peers. */
async function openSource(context: Context, drive: FoundDrive): Promise<OpenDrive | null> {
  // Says what is wrong with the version before anything is made.
  const source = await openDriveHere(context, drive)
  if (source === null) checkNetwork(context)
  return source
}

/** Connects two synchronizers of this process. */
async function connect(one: Synchronizer, other: Synchronizer): Promise<void> {
  const [left, right] = duplexPair()
  await Promise.all([
    one.attach(left, { isInitiator: true }),
    other.attach(right, { isInitiator: false })
  ])
}

async function tell({ out }: Context, { type, name, byteLength }: PlannedChange): Promise<void> {
  const line = `${SIGNS[type]} ${formatBytes(byteLength).padStart(8)}  ${visible(name)}`
  await out.result({ name, action: type, bytes: byteLength }, line)
}

function tellHeld({ log }: Context, names: readonly string[]): void {
  if (names.length === 0) return
  const way = `--max-delete ${names.length} goes on`
  log.info(`${count(names.length, 'delete')} held back, as so many look like a mistake: ${way}`)
}

export default command
