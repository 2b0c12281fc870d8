import { SynclineError } from '../../errors.ts'
import type { StoredFeed } from '../../feed/stored-feed.ts'
import type { Command, Context } from '../common/command.ts'
import { diagnose } from '../common/diagnosis.ts'
import { EXIT_DONE, UsageError } from '../common/exit.ts'
import { option, toggle, wholeNumber, type Flag } from '../common/flag.ts'
import { NETWORK, TIMEOUT } from '../common/flags.ts'
import { checkNetwork, goOnline, openSynchronizer } from '../common/network.ts'
import {
  labelOf,
  openFolder,
  openStored,
  openWhileWritten,
  readReference
} from '../common/storage.ts'
import { explainWaits, sleep, watch, watched } from '../common/watch.ts'

const START: Flag<number> = option('start', 'N', 'First block. Default 0.', 0, wholeNumber('start'))
const END: Flag<number> = option(
  'end',
  'N',
  'Block after the last. Default: the length of the feed.',
  Infinity,
  wholeNumber('end')
)
const LIVE = toggle('live', 'Go on with blocks as they are appended.')

/** Bytes that are written together, unless a single block is larger. */
const RUN_BYTES: number = 1024 * 1024
const RUN_BLOCKS = 4096
/** Milliseconds between two looks for blocks that another process appended. */
const LOOK_MS = 200

const command: Command = {
  name: 'feed cat',
  summary: 'Print blocks, one after the other, as they are. Missing ones come from peers.',
  args: [{ name: 'FEED' }],
  flags: [START, END, LIVE, ...NETWORK],
  details:
    'What is stored is printed without any network.\n' +
    'Example:\n  syncline feed cat logs --start 100 --end 200',
  async run(context) {
    const { get } = context
    const text = context.args[0] ?? ''
    const start = get(START)
    if (get(END) < start) throw new UsageError('--end lies before --start')
    const stored = await storedFeed(context, text)
    let next = start
    let follows = true
    if (stored !== null) {
      try {
        next = await printStored(context, stored, start)
      } finally {
        await stored.close()
      }
      // Of a feed that only its key is known of, and nobody told its length yet, nothing is here.
      const isUnknown = stored.length === 0 && !stored.writable
      const here = Math.min(get(END), stored.length)
      if (!isUnknown && next >= (get(LIVE) ? get(END) : here)) return EXIT_DONE
      follows = !stored.writable || next < here
    }
    const { key } = stored ?? (readReference(text) as { key: Uint8Array })
    if (follows) await printFetched(context, key, next)
    else await printAppended(context, text, next)
    return EXIT_DONE
  }
}

/** The feed if it is stored; null if it is not, but its key is known. */
async function storedFeed(context: Context, text: string): Promise<StoredFeed | null> {
  try {
    return await openStored(await openFolder(context), text)
  } catch (error) {
    const missing = error instanceof SynclineError && error.code === 'FEED_NOT_FOUND'
    if (missing && 'key' in readReference(text)) return null
    throw error
  }
}

/** Prints blocks from `start` to the end or to the first that is not held, and returns its index. */
async function printStored(context: Context, feed: StoredFeed, start: number): Promise<number> {
  const end = Math.min(context.get(END), feed.length)
  let index = start
  let average = Math.max(1, feed.byteLength / Math.max(1, feed.length))
  while (index < end && feed.have.get(index)) {
    context.signal.throwIfAborted()
    const runEnd = Math.min(
      end,
      index + Math.max(1, Math.min(RUN_BLOCKS, Math.floor(RUN_BYTES / average)))
    )
    const missing = feed.have.firstUnset(index)
    const blocks = await feed.readRun(index, Math.min(runEnd, missing))
    const bytes = Buffer.concat(blocks)
    // Sizes differ along a feed: the next run goes by the larger of the whole and the last.
    average = Math.max(1, feed.byteLength / feed.length, bytes.byteLength / blocks.length)
    await context.out.write(bytes)
    index += blocks.length
  }
  return index
}

/** Goes on with what another process appends to a stored feed. */
async function printAppended(context: Context, text: string, start: number): Promise<void> {
  const folder = await openFolder(context)
  let next = start
  while (next < context.get(END) && !context.signal.aborted) {
    await sleep(LOOK_MS, context.signal)
    const feed = await openWhileWritten(() => openStored(folder, text))
    try {
      next = await printStored(context, feed, next)
    } finally {
      await feed.close()
    }
  }
}

/** Goes on with blocks that peers have. They are stored as they come. */
async function printFetched(context: Context, key: Uint8Array, start: number): Promise<void> {
  const { get, signal, out } = context
  checkNetwork(context)
  const sync = await openSynchronizer(context)
  let stopExplaining: (() => void) | null = null
  try {
    const session = sync.add(key, { mode: 'follow', ranges: [] })
    await session.ready()
    await goOnline(context, sync)
    stopExplaining = explainWaits(context, sync, session)
    const live = get(LIVE)
    const timeoutMs = live ? 0 : get(TIMEOUT) * 1000
    const wait = { timeoutMs, signal }
    let end = get(END)
    if (!live && end === Infinity) {
      // Its length is not known yet: somebody has to tell.
      const feed = watched(session, labelOf(key, null))
      const known = await watch(context, sync, [feed], {
        isDone: (_, { knownLength }) => session.length > 0 && session.length >= knownLength,
        live: false,
        timeoutMs
      })
      if (feed.error !== null) throw feed.error
      if (!known && !signal.aborted) {
        throw new SynclineError('TIMEOUT', `no peer had it in time: ${diagnose(sync, session)}`)
      }
      end = session.length
    }
    for await (const block of session.read({ start, end, live, ...wait })) {
      await out.write(block as Uint8Array)
    }
  } finally {
    stopExplaining?.()
    await sync.close()
  }
}

export default command
