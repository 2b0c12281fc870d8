import { stat } from 'node:fs/promises'
import path from 'node:path'
import { isSynclineError, SynclineError } from '../errors.ts'
import { MODES, type Mode } from '../engine/input.ts'
import { FeedFolder } from '../feed/file/feed-folder.ts'
import type { FeedSession, Progress } from '../synchronizer/feed-session.ts'
import { formatKey } from '../synchronizer/key.ts'
import type { AddOptions, Synchronizer } from '../synchronizer/synchronizer.ts'
import type { Command, Context } from './common/command.ts'
import { diagnose } from './common/diagnosis.ts'
import { EXIT_DONE, sentenceOf, UsageError } from './common/exit.ts'
import { findDrive, type FoundDrive } from './common/drive-argument.ts'
import { ENCRYPTION_KEY, UNTIL_PEERS } from './common/drive-flags.ts'
import { blockRange, choice, list, toggle, type BlockRange, type Flag } from './common/flag.ts'
import { DRY_RUN, NETWORK, SWARM, TIMEOUT } from './common/flags.ts'
import { openRegistry } from './common/folders.ts'
import { Lookups } from './common/lookups.ts'
import { checkNetwork, goOnline, openSynchronizer } from './common/network.ts'
import { announced, otherSide } from './common/other-side.ts'
import { SyncedDrives } from './common/synced-drives.ts'
import { labelOf, openWhileWritten, readReference, storageFolder } from './common/storage.ts'
import { count, formatBytes } from './common/text.ts'
import { followFailure, watch, watched, type Watched } from './common/watch.ts'

const MODE: Flag<Mode> = choice(
  'mode',
  MODES,
  'pull: get what there is, then end; follow: get for ever; serve: give for ever; both (default).',
  'both'
)
const RANGE: Flag<readonly BlockRange[]> = list(
  'range',
  'A:B',
  'Get only blocks from A up to B.',
  blockRange('range')
)
const FEED_ONLY = toggle('feed-only', 'Take a KEY as a feed: of a drive, leave its blobs out.')

/** Stored feeds that are opened at a time. */
const OPEN_BATCH = 32
/** Keys that are printed into the command for the other side. */
const PRINTED_KEYS_MAX = 20
/** Milliseconds between two looks whether other processes appended, and feeds of one look. */
const LOOK_MS = 1000
const LOOK_FEEDS = 256
/** Milliseconds that the clock of files may lag behind. */
const STAMP_SLACK_MS = 50

const command: Command = {
  name: 'sync',
  summary: 'Synchronize feeds and drives with peers: those named, or all that are stored.',
  args: [{ name: 'KEY', optional: true, repeatable: true }],
  flags: [MODE, RANGE, FEED_ONLY, ENCRYPTION_KEY, UNTIL_PEERS, DRY_RUN, ...NETWORK],
  details:
    'A KEY is hex, z-base-32, hyper://KEY, pear://KEY, or the name of a stored feed,\n' +
    'or a drive: a folder that is shared or cloned, its name, or the name of a mirror. Of a KEY that\n' +
    'proves to be a drive its blobs are synchronized as well, without any folder.\n' +
    'With --mode pull it exits with 0 when all is here, and with 4 if nobody had it in time. Feeds that you\n' +
    'write are waited for if they are named, or have no blocks yet.\n' +
    'Examples:\n' +
    '  syncline sync logs --listen 0.0.0.0:7000\n' +
    '  syncline sync KEY --mode pull --peer 192.168.1.2:7000',
  async run(context) {
    const { get, out } = context
    checkNetwork(context)
    if (get(DRY_RUN)) return dryRun(context)
    const sync = await openSynchronizer(context)
    const feeds: Watched[] = []
    const drives = new SyncedDrives(context, sync, feeds)
    try {
      const openedAt = Date.now()
      await openFeeds(context, sync, feeds, drives)
      if (feeds.length === 0 && get(MODE) !== 'serve') {
        throw new UsageError('no feed is stored here', 'name one: syncline sync KEY')
      }
      const addresses = await goOnline(context, sync)
      if (get(SWARM) && get(MODE) !== 'pull') await announced(context, sync)
      const named = feeds.filter(({ session }) => !drives.isBlobs(session))
      await tellOtherSide(context, named, addresses)
      const oneShot = get(MODE) === 'pull' || get(UNTIL_PEERS) > 0
      const outside = new OutsideAppends(context, sync, feeds, openedAt)
      const ours = new Set(feeds.filter((feed) => isOurs(context, feed)))
      const needsNothing = (feed: Watched): boolean =>
        feed.session.mode === 'serve' || ours.has(feed)
      const lookups = new Lookups(context, sync, get(MODE) !== 'pull')
      const finished = await watch(context, sync, feeds, {
        isDone: (feed, progress) =>
          !drives.isUnclear(feed.session) &&
          isDone(context, feed.session, progress, needsNothing(feed)),
        ondone: async (feed) => {
          const { session } = feed
          const { length, byteLength } = session
          // Nobody waited for it.
          if (get(UNTIL_PEERS) === 0 && needsNothing(feed)) return
          const key = formatKey(session.key)
          await out.result(
            { event: 'synced', key, length, byteLength },
            `synced ${key}: ${count(length, 'block')}, ${formatBytes(byteLength)}`
          )
        },
        ontick: async () => {
          lookups.repeat(() => {
            const open = feeds.filter(({ done, error }) => !done && error === null)
            return open.map(({ session }) => session)
          })
          await outside.look()
        },
        live: !oneShot,
        timeoutMs: get(TIMEOUT) * 1000
      })
      for (const { label, error } of feeds) {
        if (error !== null) context.log.info(`${label} stopped: ${sentenceOf(error)}`)
      }
      const failed = feeds.find(({ error }) => error !== null)?.error
      if (failed) throw failed
      if (!finished && !context.signal.aborted) throw nobodyHad(sync, feeds)
      return EXIT_DONE
    } finally {
      await drives.close()
      await sync.close()
    }
  }
}

/**
 * True for a feed that is written here, so that nobody waits for it. The key of one without blocks may have been imported:
 * what was written elsewhere is still to come, and of one that is named it may be.
 */
function isOurs({ args, get }: Context, { session }: Watched): boolean {
  const { writable, length, contiguousLength } = session
  if (!writable || get(MODE) !== 'pull') return writable
  return args.length === 0 && length > 0 && contiguousLength === length
}

function isDone(
  { get }: Context,
  session: FeedSession,
  progress: Progress,
  isNeedless: boolean
): boolean {
  const peers = get(UNTIL_PEERS)
  const pulled = isNeedless || progress.synced
  if (peers === 0) return pulled
  if (get(MODE) === 'pull' && !pulled) return false
  return session.length > 0 && progress.peers.filter(({ hasAll }) => hasAll).length >= peers
}

function addOptions({ get }: Context): AddOptions {
  const ranges = get(RANGE)
  return { mode: get(MODE), ...(ranges.length === 0 ? {} : { ranges }) }
}

async function openFeeds(
  context: Context,
  sync: Synchronizer,
  feeds: Watched[],
  drives: SyncedDrives
): Promise<void> {
  const options = addOptions(context)
  const isWhole = context.get(RANGE).length === 0 && !context.get(FEED_ONLY)
  if (context.args.length > 0) {
    for (const text of context.args) {
      const session = await openNamed(context, sync, text, drives)
      if (session === null || feeds.some((feed) => feed.session === session)) continue
      const reference = readReference(text)
      const label = 'key' in reference ? labelOf(reference.key, null) : reference.name
      const feed = watched(session, label)
      feeds.push(feed)
      if (isWhole) drives.notice(feed, options)
    }
    return
  }
  for (const { kind, key } of await openRegistry(context).list()) {
    if (kind === 'mirror') await drives.addHere(await findDrive(context, formatKey(key)), options)
  }
  let batch: Promise<void>[] = []
  for await (const { key, name } of sync.list()) {
    if (context.signal.aborted) break
    const label = labelOf(key, name)
    batch.push(
      sync.open(key, options).then(
        (session) => void feeds.push(watched(session, label)),
        (error: Error) => context.log.error(`${label} is left out: ${sentenceOf(error)}`)
      )
    )
    if (batch.length < OPEN_BATCH) continue
    await Promise.all(batch)
    batch = []
  }
  await Promise.all(batch)
}

/** The feed that a KEY means; null for a drive that is here, which is added to `drives`. */
async function openNamed(
  context: Context,
  sync: Synchronizer,
  text: string,
  drives: SyncedDrives
): Promise<FeedSession | null> {
  const options = addOptions(context)
  const reference = readReference(text)
  if (!('key' in reference)) {
    try {
      return await sync.open(reference.name, options)
    } catch (error) {
      if (!isSynclineError(error, 'FEED_NOT_FOUND', 'BAD_ARGUMENT')) throw error
    }
  }
  const drive = await findFeed(context, text)
  if (drive.here !== null) {
    await drives.addHere(drive, options)
    return null
  }
  const session = sync.add(drive.key, options)
  await session.ready()
  return session
}

/** As {@link findDrive}: a stored feed is found, too. */
async function findFeed(context: Context, text: string): Promise<FoundDrive> {
  try {
    return await findDrive(context, text)
  } catch (error) {
    if (!isSynclineError(error, 'FEED_NOT_FOUND')) throw error
    const reason = `${text} is neither a feed nor a drive: no name, folder or key of one`
    throw new SynclineError('FEED_NOT_FOUND', reason)
  }
}

/** Prints where we are reached, and what to type on the other side. */
async function tellOtherSide(
  context: Context,
  feeds: readonly Watched[],
  addresses: readonly string[]
): Promise<void> {
  const { get, out } = context
  const mode = get(MODE)
  if (addresses.length === 0 && (mode === 'pull' || !get(SWARM))) return
  const keys = feeds.slice(0, PRINTED_KEYS_MAX).map(({ session }) => formatKey(session.key))
  const words = ['sync', ...keys]
  if (mode === 'serve') words.push('--mode', 'pull')
  if (mode === 'pull' || mode === 'follow') words.push('--mode', 'serve')
  const other = otherSide(context, words, addresses)
  const left = feeds.length - keys.length
  const lines = [
    ...addresses.map((item) => `listening on ${item}`),
    `for the other side${left > 0 ? ` (and ${count(left, 'key')} more)` : ''}:`,
    `  ${other}`
  ]
  await out.result({ event: 'listening', addresses, command: other }, lines.join('\n'))
}

function nobodyHad(sync: Synchronizer, feeds: readonly Watched[]): SynclineError {
  const missing = feeds.filter(({ done, error }) => !done && error === null)
  const [first] = missing
  const more = missing.length > 1 ? ` and ${count(missing.length - 1, 'more feed')}` : ''
  const why = first === undefined ? '' : `: ${diagnose(sync, first.session)}`
  return new SynclineError('TIMEOUT', `no peer had ${first?.label ?? 'it'}${more} in time${why}`)
}

async function dryRun(context: Context): Promise<number> {
  const mode = context.get(MODE)
  const folder = await FeedFolder.open(storageFolder(context), { readOnly: true })
  const tell = (key: Uint8Array): Promise<void> => {
    const id = formatKey(key)
    return context.out.result({ dryRun: true, key: id, mode }, `would sync ${id} (${mode})`)
  }
  for (const text of context.args) {
    await tell((await findFeed(context, text)).key)
  }
  if (context.args.length === 0) for await (const { key } of folder.list()) await tell(key)
  return EXIT_DONE
}

/** Notices that another process appended to a feed of ours, as `feed append` does, and opens it again. */
class OutsideAppends {
  readonly #context: Context
  readonly #sync: Synchronizer
  readonly #feeds: readonly Watched[]
  readonly #stamps = new Map<Watched, string>()
  #folder: FeedFolder | null = null
  #lookedAt = -Infinity
  readonly #openedAt: number
  #next = 0

  /** @param openedAt - time of day before the first feed was opened, milliseconds. */
  constructor(context: Context, sync: Synchronizer, feeds: readonly Watched[], openedAt: number) {
    this.#context = context
    this.#sync = sync
    this.#feeds = feeds.filter(({ session }) => session.writable)
    this.#openedAt = openedAt
  }

  async look(): Promise<void> {
    const now = performance.now()
    if (now - this.#lookedAt < LOOK_MS || this.#feeds.length === 0) return
    this.#lookedAt = now
    this.#folder ??= await FeedFolder.open(storageFolder(this.#context), { readOnly: true })
    const looks = Math.min(LOOK_FEEDS, this.#feeds.length)
    for (let i = 0; i < looks; i++) {
      const feed = this.#feeds[this.#next++ % this.#feeds.length]
      if (feed === undefined || feed.error !== null || this.#context.signal.aborted) continue
      const { stamp, isNew } = await this.#stampOf(feed, this.#folder)
      const before = this.#stamps.get(feed)
      this.#stamps.set(feed, stamp)
      const changed = before === undefined ? isNew : before !== stamp
      if (changed) await this.#reopen(feed)
    }
  }

  async #stampOf(
    { session }: Watched,
    folder: FeedFolder
  ): Promise<{ readonly stamp: string; readonly isNew: boolean }> {
    const log = path.join(folder.folderOf(session.key), 'oplog')
    return stat(log).then(
      ({ size, mtimeMs }) => ({
        stamp: `${size} ${mtimeMs}`,
        isNew: mtimeMs >= this.#openedAt - STAMP_SLACK_MS
      }),
      () => ({ stamp: '', isNew: false })
    )
  }

  async #reopen(feed: Watched): Promise<void> {
    const { session } = feed
    await session.close()
    const options = addOptions(this.#context)
    feed.session = await openWhileWritten(() => this.#sync.open(session.key, options))
    followFailure(feed)
    this.#context.log.detail(
      `${feed.label} was appended to: ${count(feed.session.length, 'block')}`
    )
  }
}

export default command
