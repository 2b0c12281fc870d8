import { once } from 'node:events'
import path from 'node:path'
import { SynclineError, isSynclineError } from '../errors.ts'
import { readConfig } from '../drive/folder/drive-folder.ts'
import { scan, type ScanCounts, type Skipped } from '../drive/folder/scan.ts'
import { checkOutside } from '../drive/folder/stores.ts'
import { importFolder, type ImportReport } from '../drive/import.ts'
import { ProgressNotes } from '../drive/progress.ts'
import { SharedFolder } from '../drive/shared-folder.ts'
import type { FeedSession } from '../synchronizer/feed-session.ts'
import { formatKey } from '../synchronizer/key.ts'
import type { Synchronizer } from '../synchronizer/synchronizer.ts'
import type { Command, Context } from './common/command.ts'
import {
  ENCRYPTION_KEY,
  GITIGNORE,
  isLive,
  LIVE,
  MAX_DELETE,
  ONCE,
  UNTIL_PEER,
  UNTIL_PEERS
} from './common/drive-flags.ts'
import {
  EXIT_DONE,
  EXIT_FAILED,
  EXIT_REFUSED,
  failureOf,
  sentenceOf,
  UsageError
} from './common/exit.ts'
import { toggle } from './common/flag.ts'
import { DRY_RUN, NETWORK, SWARM, TIMEOUT } from './common/flags.ts'
import { showWork, type WorkedOn } from './common/folder-work.ts'
import { openRegistry, readingFolder } from './common/folders.ts'
import { tellNames } from './common/names.ts'
import { checkNetwork, goOnline, openSynchronizer } from './common/network.ts'
import { announced, tellCloneCommand } from './common/other-side.ts'
import { isMissed, skippedText } from './common/skipped.ts'
import { contentsText, count, quote } from './common/text.ts'

const COPY = toggle(
  'copy',
  'Store the contents a second time, so that versions are kept; stays so for a folder.'
)

const command: Command = {
  name: 'share',
  summary: 'Share folders as drives, and follow what happens in them.',
  args: [{ name: 'DIR', optional: true, repeatable: true }],
  flags: [
    ONCE,
    LIVE,
    COPY,
    GITIGNORE,
    ENCRYPTION_KEY,
    UNTIL_PEERS,
    UNTIL_PEER,
    MAX_DELETE,
    DRY_RUN,
    ...NETWORK
  ],
  details:
    'Without DIR: all folders that were shared before. A folder keeps its key; files are served from where they\n' +
    'are. What .synclineignore files name, in the way of git, is left out. It goes on until Ctrl-C; with --once\n' +
    'it takes in what there is, and with --until-peers serves it to so many.\n' +
    'Examples:\n' +
    '  syncline share photos\n' +
    '  syncline share photos --once --until-peers 1 --listen 0.0.0.0:7000',
  async run(context) {
    const { get } = context
    const live = isLive(context, true)
    const until = get(UNTIL_PEERS) > 0 || get(UNTIL_PEER).length > 0
    if (live || until) checkNetwork(context)
    if (get(DRY_RUN)) return dryRun(context)
    const sync = await openSynchronizer(context)
    const shares: Share[] = []
    try {
      const exit = await openShares(context, sync, shares)
      if (!live && !until) return exit
      const addresses = await goOnline(context, sync)
      if (get(SWARM)) await announced(context, sync)
      const served = shares.map(({ folder }) => folder.folder)
      await tellCloneCommand(context, served, addresses)
      await serve(context, sync, shares, live, until)
      return exit
    } finally {
      for (const { folder } of shares) await folder.close()
      await sync.close()
    }
  }
}

/** A share that is open. */
interface Share {
  readonly folder: SharedFolder
  readonly notes: ProgressNotes
  /** The blobs, once they are open. */
  blobs: FeedSession | null
  /** What was told to be left out and held back: it is not told again as long as it is so. */
  standing: string
}

/** Opens what is to be shared and takes in what there is. Returns the exit code that this alone would have. */
async function openShares(context: Context, sync: Synchronizer, shares: Share[]): Promise<number> {
  let exit = EXIT_DONE
  let failure: unknown = null
  for (const dir of await foldersOf(context)) {
    context.signal.throwIfAborted()
    try {
      exit = Math.max(exit, await openShare(context, sync, dir, shares))
    } catch (error) {
      // One of many does not keep the others from being shared.
      if (context.args.length > 0 || !isSynclineError(error)) throw error
      context.log.error(`${dir} is left out: ${sentenceOf(error)}`)
      failure ??= error
      exit = Math.max(exit, failureOf(error).exit)
    }
  }
  if (shares.length === 0) throw failure
  return exit
}

async function foldersOf(context: Context): Promise<string[]> {
  if (context.args.length > 0) return [...new Set(context.args.map((dir) => path.resolve(dir)))]
  const drives = await openRegistry(context).list()
  const folders = drives.filter(({ kind }) => kind === 'share').map(({ folder }) => folder)
  // One that lost its state and was shared anew has an earlier key as well.
  if (folders.length > 0) return [...new Set(folders)]
  throw new UsageError('no folder is shared yet', 'name one: syncline share DIR')
}

async function openShare(
  context: Context,
  sync: Synchronizer,
  dir: string,
  shares: Share[]
): Promise<number> {
  const { get, signal } = context
  const encryptionKey = get(ENCRYPTION_KEY)
  const folder = await SharedFolder.open(sync, openRegistry(context), dir, {
    again: context.args.length === 0,
    ...(get(COPY) ? { copy: true } : {}),
    ...(get(GITIGNORE) ? { gitignore: true } : {}),
    ...(encryptionKey === null ? {} : { encryptionKey })
  })
  const share: Share = { folder, notes: new ProgressNotes(), blobs: null, standing: '' }
  shares.push(share)
  const importing = folder.import({ maxDelete: get(MAX_DELETE), progress: share.notes, signal })
  const report = await showWork(context, sync, [workOf(share, () => false)], importing, {
    timeoutMs: 0
  })
  await tellImport(context, share, report, 'shared')
  return exitOf(report)
}

/** Serves until Ctrl-C, or until the peers that are waited for have all. */
async function serve(
  context: Context,
  sync: Synchronizer,
  shares: readonly Share[],
  live: boolean,
  until: boolean
): Promise<void> {
  const { get } = context
  const reached = new AbortController()
  const works: Promise<unknown>[] = [once(reached.signal, 'abort')]
  const tellings: (() => Promise<void>)[] = []
  for (const share of shares) {
    const { folder } = share
    followEvents(context, share, tellings)
    if (!live) continue
    const following = folder.follow({ maxDelete: get(MAX_DELETE), progress: share.notes })
    works.push(following.then(() => new Promise(() => {})))
  }
  const isHeld = (share: Share): boolean => isHeldByAll(context, sync, share)
  const worked = shares.map((share) => workOf(share, () => until && !isHeld(share)))
  await showWork(context, sync, worked, Promise.race(works), {
    timeoutMs: live ? 0 : get(TIMEOUT) * 1000,
    late: (label) => `the peers that were waited for did not have all of ${label} in time`,
    async ontick() {
      for (const tell of tellings.splice(0)) await tell()
      if (until && shares.every(isHeld)) reached.abort()
    }
  })
  for (const { folder } of shares) {
    const { key, folder: at } = folder
    await context.out.result(
      { event: 'synced', key: formatKey(key), folder: at.root, version: at.index.version },
      `${at.root}: the peers have all of version ${at.index.version}`
    )
  }
}

/** What happens while a folder is followed is told between two looks, in order. */
function followEvents(context: Context, share: Share, tellings: (() => Promise<void>)[]): void {
  const { folder } = share
  const { log } = context
  const label = folder.folder.root
  let failed = ''
  folder.on('imported', (report) => {
    failed = ''
    tellings.push(() => tellImport(context, share, report, 'imported'))
  })
  folder.on('failed', (error) => {
    if (error.message !== failed) log.error(`${label}: ${sentenceOf(error)}`)
    failed = error.message
  })
  folder.on('restless', (names) => {
    const title = `${label}: written without a pause, and taken in now and then as they are`
    tellNames(log, title, names)
  })
  folder.on('unwatched', (code) => {
    log.info(
      `${label}: the system grants no more watches (${code}): it is looked through now and then`
    )
  })
}

/** Numbers of the peers that have all of a feed. */
function holders(session: FeedSession): number[] {
  return session.progress().peers.flatMap(({ hasAll, peer }) => (hasAll ? [peer] : []))
}

/** True if the peers that are waited for have all that we have of a drive. */
function isHeldByAll({ get }: Context, sync: Synchronizer, share: Share): boolean {
  const { folder, blobs } = share
  const { indexSession } = folder.folder
  const having = new Set(holders(indexSession))
  const both =
    blobs === null || blobs.length === 0 ? having : holders(blobs).filter((id) => having.has(id))
  const ids = new Set(both)
  if (ids.size < get(UNTIL_PEERS)) return false
  const keys = sync.peers
    .filter(({ id }) => ids.has(id))
    .map(({ remotePublicKey }) => remotePublicKey)
  return get(UNTIL_PEER).every((wanted) =>
    keys.some((key) => key !== null && Buffer.compare(key, wanted) === 0)
  )
}

function workOf(share: Share, waits: () => boolean): WorkedOn {
  const { folder, notes } = share
  return {
    label: path.basename(folder.folder.root),
    rest: 'serving',
    progress: () => notes.now,
    waits,
    sessions: () => {
      const { indexSession } = folder.folder
      if (share.blobs === null) openBlobs(share)
      return share.blobs === null ? [indexSession] : [indexSession, share.blobs]
    }
  }
}

function openBlobs(share: Share): void {
  share.folder.folder.blobs().then(
    ({ session }) => (share.blobs = session),
    // Of an empty drive there are none yet.
    () => {}
  )
}

/** Says what an import found and did. */
async function tellImport(
  context: Context,
  share: Share,
  report: ImportReport,
  event: 'shared' | 'imported'
): Promise<void> {
  const { log, out } = context
  const { folder } = share
  const { root, index, config, inPlace } = folder.folder
  const { changes, counts, heldBack, lost, unsettled, skipped } = report
  const standing = JSON.stringify([heldBack, skipped])
  const isTold = standing === share.standing
  share.standing = standing
  if (isTold && changes + lost.length === 0) return
  log.clear()
  const version = index.version
  const key = formatKey(folder.key)
  const record = {
    event,
    key,
    folder: root,
    version,
    ...contentsOf(counts),
    ...changesOf(report),
    reused: report.reused,
    ignored: ignoredOf(counts),
    skipped,
    heldBack,
    lost,
    unsettled
  }
  const news = changesText(report)
  const lines =
    event === 'imported'
      ? [`${root}: version ${version}: ${news}`]
      : [
          `${root}: version ${version}, ${contentsText(counts)}: ${news}`,
          ...ignoredLines(counts),
          `key ${key}${config.copy ? ' (with copies: versions are kept)' : ''}`
        ]
  await out.result(record, lines.join('\n'))
  if (!isTold) tellSkipped(context, skipped)
  // Who follows the folder waits for them.
  if (event === 'shared') {
    const settling = `${count(unsettled.length, 'file')} changed while being read: not taken in yet`
    tellNames(log, settling, unsettled)
  }
  if (lost.length > 0 && inPlace) {
    tellNames(log, 'old contents that cannot be served any more (--copy keeps versions)', lost)
  }
  if (heldBack.length > 0 && !isTold) {
    tellNames(
      log,
      `${count(heldBack.length, 'deletion')} held back: that many may be a mistake`,
      heldBack
    )
    log.error(`syncline share ${quote(root)} --max-delete ${heldBack.length} goes on`)
  }
}

function tellSkipped({ log }: Context, skipped: readonly Skipped[]): void {
  tellNames(log, `${skipped.length} not shared`, skipped.map(skippedText))
}

function contentsOf({ files, links, emptyFolders, bytes }: ScanCounts): object {
  return { files, links, emptyFolders, bytes }
}

function ignoredOf({ ignoredBy }: ScanCounts): object[] {
  return Array.from(ignoredBy, ([{ file, line, pattern }, number]) => ({
    file,
    line,
    pattern,
    count: number
  }))
}

function ignoredLines({ ignored, ignoredBy }: ScanCounts): string[] {
  if (ignored === 0) return []
  const rules = [...ignoredBy].sort((a, b) => b[1] - a[1])
  return [
    `${ignored} ignored:`,
    ...rules.map(([{ file, line, pattern }, number]) => `  ${number} by ${file}:${line}:${pattern}`)
  ]
}

function changesOf({ added, changed, touched, removed }: ImportReport): Record<string, number> {
  return { added, changed, touched, removed }
}

function changesText(report: ImportReport): string {
  const parts = Object.entries(changesOf(report)).filter(([, number]) => number > 0)
  return parts.length === 0
    ? 'nothing new'
    : parts.map(([what, number]) => `${number} ${what}`).join(', ')
}

function exitOf({ heldBack, skipped, unsettled }: ImportReport): number {
  if (heldBack.length > 0) return EXIT_REFUSED
  return skipped.some(isMissed) || unsettled.length > 0 ? EXIT_FAILED : EXIT_DONE
}

async function dryRun(context: Context): Promise<number> {
  let exit = EXIT_DONE
  for (const root of await foldersOf(context)) exit = Math.max(exit, await foresee(context, root))
  return exit
}

async function foresee(context: Context, root: string): Promise<number> {
  const { get, out, log, signal } = context
  const { stores } = openRegistry(context)
  checkOutside(root, stores)
  const config = await readConfig(root)
  if (config?.kind === 'clone') {
    throw new SynclineError('REFUSED', `${root} is a clone: only its source can share it anew`)
  }
  if (config === null) {
    const skipped: Skipped[] = []
    const scanning = scan(root, {
      gitignore: get(GITIGNORE),
      stores,
      onSkipped: (item) => {
        if (item.reason !== 'ignored' && item.reason !== 'state') skipped.push(item)
      }
    })
    for await (const batch of scanning) if (batch.length > 0) signal.throwIfAborted()
    const { counts } = scanning
    const lines = [`would share ${root}: ${contentsText(counts)}`, ...ignoredLines(counts)]
    await out.result(
      { dryRun: true, folder: root, ...contentsOf(counts), ignored: ignoredOf(counts), skipped },
      lines.join('\n')
    )
    tellSkipped(context, skipped)
    return EXIT_DONE
  }
  const report = await readingFolder(context, { root, config }, (folder) =>
    importFolder(folder, { dryRun: true, maxDelete: get(MAX_DELETE), signal })
  )
  const { counts, heldBack, skipped } = report
  const record = { dryRun: true, folder: root, ...contentsOf(counts), ...changesOf(report) }
  await out.result(
    { ...record, ignored: ignoredOf(counts), skipped, heldBack },
    [
      `would share ${root}: ${contentsText(counts)}: ${changesText(report)}`,
      ...ignoredLines(counts)
    ].join('\n')
  )
  tellSkipped(context, skipped)
  if (heldBack.length > 0) log.error(`${count(heldBack.length, 'deletion')} would be held back`)
  return heldBack.length > 0 ? EXIT_REFUSED : EXIT_DONE
}

export default command
