import b4a from 'b4a'
import { isSynclineError, SynclineError } from '../errors.ts'
import { blobsKey } from '../drive/blobs-key.ts'
import { ClonedFolder } from '../drive/cloned-folder.ts'
import { DriveIndex } from '../drive/index/drive-index.ts'
import { ProgressNotes } from '../drive/progress.ts'
import { verifyFolder, type BadFile, type VerifyReport } from '../drive/verify.ts'
import type { Feed } from '../feed/feed.ts'
import type { StoredFeed } from '../feed/stored-feed.ts'
import { formatKey } from '../synchronizer/key.ts'
import { applyOptions, tellRenamed, updateOnce } from './common/clone-run.ts'
import type { Command, Context } from './common/command.ts'
import { findDrive } from './common/drive-argument.ts'
import { ENCRYPTION_KEY } from './common/drive-flags.ts'
import { EXIT_BAD_DATA, EXIT_DONE, UsageError } from './common/exit.ts'
import { toggle } from './common/flag.ts'
import { DRY_RUN, NETWORK } from './common/flags.ts'
import { openRegistry, readingFolder, type NamedFolder } from './common/folders.ts'
import { checkNetwork, goOnline, openSynchronizer } from './common/network.ts'
import { openFolder } from './common/storage.ts'
import { count, formatBytes, quote, visible } from './common/text.ts'

const REPAIR = toggle('repair', 'Fetch what is bad again from peers; edited files go to the trash.')

const command: Command = {
  name: 'verify',
  summary: 'Hash every file of a folder, or all that is stored of a drive, and list what is bad.',
  args: [{ name: 'DRIVE' }],
  flags: [REPAIR, ENCRYPTION_KEY, DRY_RUN, ...NETWORK],
  details:
    'DRIVE is a shared or cloned folder, by its path, its last name or its key, or a drive of the store. Of a\n' +
    'share, what changed since it was last taken in is bad. Exits with 5 if something is bad and was not repaired.',
  async run(context) {
    const { args, get } = context
    const text = args[0] ?? ''
    const { key, here } = await findDrive(context, text)
    if (here?.config.kind === 'clone' && get(REPAIR)) checkNetwork(context)
    else if (get(REPAIR))
      throw new UsageError(`${text} is no clone: there is nothing to repair it from`)
    if (here === null) return verifyStored(context, key)
    if (here.config.kind === 'mirror') return verifyMirror(context, here)
    const report = await check(context, here)
    if (report.bad.length === 0) return EXIT_DONE
    if (get(REPAIR)) return repair(context, here, report.bad)
    if (here.config.kind === 'share') {
      context.log.error(`syncline share ${quote(here.root)} --once takes in what changed`)
    }
    return EXIT_BAD_DATA
  }
}

async function check(context: Context, named: NamedFolder): Promise<VerifyReport> {
  const { out, signal } = context
  const report = await readingFolder(context, named, (folder) =>
    verifyFolder(folder, { signal, progress: new ProgressNotes() })
  )
  for (const { name, verdict } of report.bad) {
    await out.result({ event: 'bad', name, verdict }, `${verdict} ${visible(name)}`)
  }
  const { entries, bytes, bad } = report
  await out.result(
    { event: 'verified', folder: named.root, entries, bytes, bad: bad.length },
    `${named.root}: ${count(entries, 'name')} checked, ${formatBytes(bytes)}: ${bad.length} bad`
  )
  return report
}

async function repair(
  context: Context,
  named: NamedFolder,
  bad: readonly BadFile[]
): Promise<number> {
  const { get, out, log } = context
  if (get(DRY_RUN)) {
    await out.result({ dryRun: true }, `would fetch ${count(bad.length, 'name')} again`)
    return EXIT_BAD_DATA
  }
  const sync = await openSynchronizer(context)
  try {
    const encryptionKey = get(ENCRYPTION_KEY)
    const choices = encryptionKey === null ? {} : { encryptionKey }
    const options = applyOptions(context)
    const registry = openRegistry(context)
    const cloned = await ClonedFolder.open(sync, registry, null, named.root, choices, options)
    try {
      tellRenamed(context, cloned)
      for (const { name } of bad) {
        const moved = await cloned.clone.discard(name)
        if (moved !== null) log.info(`${name} is now ${moved}`)
      }
      await goOnline(context, sync)
      // Only what is known already: whether there is a newer version is not the question.
      await updateOnce(context, sync, cloned, () => cloned.clone.update())
    } finally {
      await cloned.close()
    }
  } finally {
    await sync.close()
  }
  const { bad: left } = await check(context, named)
  return left.length === 0 ? EXIT_DONE : EXIT_BAD_DATA
}

/** Checks the two feeds of a drive that a folder was copied into. */
async function verifyMirror(context: Context, mirror: NamedFolder): Promise<number> {
  const bad = await readingFolder(context, mirror, async (folder) => {
    const index = await audit(context, folder.indexSession, 'index')
    const { session } = await folder.blobs()
    return index + (await audit(context, session, 'blobs'))
  })
  return bad === 0 ? EXIT_DONE : EXIT_BAD_DATA
}

/** Checks the two feeds of a drive that came without a folder. */
async function verifyStored(context: Context, key: Uint8Array): Promise<number> {
  const store = await openFolder(context)
  const index = await store.openFeed(key)
  let bad = 0
  try {
    bad += await audit(context, index, 'index')
    const blobs = await blobsOf(index)
    if (blobs === null) throw new SynclineError('UNSUPPORTED', `${formatKey(key)} is no drive`)
    const feed = await store.openFeed(blobs).catch((error: unknown) => {
      if (isSynclineError(error, 'FEED_NOT_FOUND')) return null
      throw error
    })
    try {
      if (feed !== null) bad += await audit(context, feed, 'blobs')
    } finally {
      await feed?.close()
    }
  } finally {
    await index.close()
  }
  return bad === 0 ? EXIT_DONE : EXIT_BAD_DATA
}

async function audit(
  { out, signal }: Context,
  feed: Pick<Feed, 'key' | 'audit'>,
  part: string
): Promise<number> {
  const { blocks, bad, head } = await feed.audit({ signal })
  for (const index of bad) {
    await out.result({ event: 'bad', part, index }, `bad block ${index} of the ${part}`)
  }
  await out.result(
    { event: 'verified', key: formatKey(feed.key), part, blocks, bad: bad.length, head },
    `${part}: ${count(blocks, 'block')} checked, ${bad.length} bad${head ? '' : ', and the signed head is wrong'}`
  )
  return bad.length + (head ? 0 : 1)
}

async function blobsOf(feed: StoredFeed): Promise<Uint8Array | null> {
  const source = {
    length: feed.length,
    get: async (block: number) => (await feed.read(block)) ?? b4a.alloc(0)
  }
  const header = await new DriveIndex(source).header().catch((error: unknown) => {
    // The keys are derived all the same.
    if (isSynclineError(error, 'ENCRYPTED')) return null
    throw error
  })
  return blobsKey(feed.key, feed.manifest, header?.contentFeed ?? null)
}

export default command
