/**
 * Brings a clone up to date, once or for as long as it runs: what `clone`, `pull` and `verify --repair` have in common.
 *
 * @module
 */
import path from 'node:path'
import { parseKeep } from '../../drive/folder/trash.ts'
import type { CloneReport } from '../../drive/clone.ts'
import type { CloneChoices, ClonedFolder } from '../../drive/cloned-folder.ts'
import type { FeedSession } from '../../synchronizer/feed-session.ts'
import { formatKey } from '../../synchronizer/key.ts'
import type { Synchronizer } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import {
  ENCRYPTION_KEY,
  KEEP,
  LINKS,
  MAX_DELETE,
  FSYNC,
  NOTHING,
  ONLY,
  STAY_AT,
  TRASH
} from './drive-flags.ts'
import { EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, UsageError } from './exit.ts'
import type { Flag } from './flag.ts'
import { TIMEOUT } from './flags.ts'
import { showWork, type WorkedOn } from './folder-work.ts'
import { Lookups } from './lookups.ts'
import { tellNames } from './names.ts'
import { contentsText, quote } from './text.ts'

/** Flags of what a clone is and how it is brought up to date. */
export const CLONE_FLAGS: readonly Flag[] = [
  ONLY,
  STAY_AT,
  KEEP,
  TRASH,
  LINKS,
  FSYNC,
  ENCRYPTION_KEY,
  MAX_DELETE
]

/** What the flags say of a clone. @throws UsageError for flags that exclude each other. */
export function choicesOf({ get }: Context): CloneChoices {
  const [at, keep, trash, links, encryptionKey] = [
    get(STAY_AT),
    get(KEEP),
    get(TRASH),
    get(LINKS),
    get(ENCRYPTION_KEY)
  ]
  if (trash === false && keep !== null && parseKeep(keep).days > 0) {
    throw new UsageError('--no-trash and --keep exclude each other')
  }
  const kept = trash === false ? NOTHING : keep
  return {
    only: get(ONLY),
    ...(at === undefined ? {} : { at }),
    ...(kept === null ? {} : { keep: kept }),
    ...(trash === true ? { trash } : {}),
    ...(links === null ? {} : { allLinks: links === 'all' }),
    ...(encryptionKey === null ? {} : { encryptionKey })
  }
}

/** What the flags say of how files are put in place. */
export function applyOptions({ get }: Context): { fsync: boolean; maxDelete: number | null } {
  return { fsync: get(FSYNC), maxDelete: get(MAX_DELETE) }
}

/** Tells of names before anything is written under them. */
export function tellRenamed({ log }: Context, { clone }: ClonedFolder): void {
  let told = ''
  clone.on('renamed', (renamed) => {
    const lines = renamed.map(({ name, path: at }) => `${name} as ${at}`)
    if (lines.join('\n') === told) return
    told = lines.join('\n')
    tellNames(log, 'names that cannot stand here as they are', lines)
  })
  clone.on('superseded', (version, newer) => {
    log.info(`version ${version} was replaced before all of it came: going on with ${newer}`)
  })
}

/** Brings a clone to its version, and says so. Resolves to the exit code. */
export async function updateOnce(
  context: Context,
  sync: Synchronizer,
  cloned: ClonedFolder,
  update: () => Promise<CloneReport>
): Promise<number> {
  const timeoutMs = context.get(TIMEOUT) * 1000
  const work = update()
  const report = await showWork(context, sync, [workOf(cloned)], work, {
    timeoutMs,
    ontick: lookupsFor(context, sync, cloned, false)
  })
  await tellUpdate(context, cloned, report)
  return exitOf(report)
}

/** Follows the drive until Ctrl-C, and says what came. */
export async function updateLive(
  context: Context,
  sync: Synchronizer,
  cloned: ClonedFolder
): Promise<number> {
  const reports: CloneReport[] = []
  let isFirst = true
  cloned.clone.on('updated', (report) => reports.push(report))
  const lookUp = lookupsFor(context, sync, cloned, true)
  await showWork(context, sync, [workOf(cloned)], cloned.follow(), {
    timeoutMs: 0,
    async ontick() {
      lookUp()
      for (const report of reports.splice(0)) {
        if (isFirst || isNews(report)) {
          context.log.clear()
          await tellUpdate(context, cloned, report)
        }
        isFirst = false
      }
    }
  })
  return EXIT_DONE
}

function workOf(cloned: ClonedFolder): WorkedOn {
  const { folder, clone, index } = cloned
  let blobs: FeedSession | null = null
  return {
    label: path.basename(folder.root),
    rest: 'up to date',
    progress: () => clone.progress.now,
    sessions: () => {
      if (blobs === null) void cloned.blobs().then((session) => (blobs = session))
      return blobs === null ? [index] : [index, blobs]
    }
  }
}

function lookupsFor(
  context: Context,
  sync: Synchronizer,
  cloned: ClonedFolder,
  server: boolean
): () => void {
  const lookups = new Lookups(context, sync, server)
  return () => lookups.repeat(() => (sync.peers.length === 0 ? [cloned.index] : []))
}

function isNews({ added, changed, removed, conflicts, skipped, heldBack }: CloneReport): boolean {
  return added + changed + removed + conflicts.length + skipped.length + heldBack.length > 0
}

async function tellUpdate(
  { out, log }: Context,
  { folder, key }: ClonedFolder,
  report: CloneReport
): Promise<void> {
  const { version, added, changed, removed, conflicts, skipped, heldBack } = report
  const contents = { files: 0, links: 0, emptyFolders: 0, bytes: 0 }
  for (const [, { kind, entry }] of folder.catalog.rows()) {
    if (kind === 'file') contents.files++
    else if (kind === 'link') contents.links++
    else contents.emptyFolders++
    contents.bytes += entry.blob?.byteLength ?? 0
  }
  const parts = Object.entries({ added, changed, removed }).filter(([, number]) => number > 0)
  const news = parts.map(([what, number]) => `${number} ${what}`).join(', ') || 'nothing new'
  const { root } = folder
  await out.result(
    { event: 'updated', key: formatKey(key), folder: root, ...contents, ...report },
    `${root}: version ${version}, ${contentsText(contents)}: ${news}`
  )
  tellNames(
    log,
    `${conflicts.length} of yours stood in the way and have names of their own now`,
    conflicts.map(({ name, path: at }) => `${name} as ${at}`)
  )
  tellNames(
    log,
    `${skipped.length} skipped`,
    skipped.map(({ name, reason }) => `${name}: ${reason}`)
  )
  tellNames(
    log,
    `${heldBack.length} deletions are held back, as no trash would keep them`,
    heldBack
  )
  if (heldBack.length > 0) {
    log.error(`syncline pull ${quote(root)} --max-delete ${heldBack.length} goes on`)
  }
}

function exitOf({ conflicts, skipped, heldBack }: CloneReport): number {
  if (heldBack.length > 0) return EXIT_REFUSED
  return conflicts.length + skipped.length > 0 ? EXIT_FAILED : EXIT_DONE
}
