import test, { type Assertions } from 'brittle'
import { isSynclineError, type SynclineError } from '../../lib/errors.ts'
import { FeedFolder } from '../../lib/feed/file/feed-folder.ts'
import { FilePool } from '../../lib/feed/file/file-pool.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { SMALL_FEED_BYTES } from '../../lib/limits.ts'
import { copyBlocks } from '../fixtures/copy-feed.ts'
import { errorOf } from '../fixtures/error-of.ts'
import { FaultFiles, seeded } from '../fixtures/fault-files.ts'

const NAMES = ['a', 'b', 'large'] as const
type Name = (typeof NAMES)[number]

/**
 * What copies go through, in order: blocks of the source at that time, those that are held then, and whether all copies are
 * flushed. `large` moves out of the journal.
 */
const ACTS: readonly (readonly [name: Name, length: number, end: number, flush: boolean])[] = [
  ['a', 5, 1, false],
  ['b', 1, 1, false],
  ['a', 5, 5, true],
  ['large', 3, 3, false],
  ['b', 4, 4, false],
  ['large', 6, 5, true],
  ['a', 9, 9, false],
  ['large', 6, 6, false],
  ['b', 12, 12, true]
]

/** A history with its sources: as they are at the end, and as they were at each act. */
interface History {
  readonly root: string
  readonly sources: ReadonlyMap<Name, StoredFeed>
  readonly moments: readonly StoredFeed[]
}

test('copies of which the process is killed at any point are as before or as after the last commit', async (t) => {
  const history = await historyIn(await t.tmp())
  const total = await stepsOf(history)
  t.ok(total > 20, `${total} steps`)
  for (let step = 1; step <= total; step++) {
    for (const fault of ['before', 'torn'] as const) {
      const files = new FaultFiles()
      files.failAt(step, fault)
      const { done } = await run(history, files)
      const after = files.afterKill()
      await check(t, history, after, done, `${fault} step ${step}`)
      t.is((await run(history, after)).error, null)
      await check(t, history, after, ACTS.length, `${fault} step ${step}, gone on`)
    }
  }
})

test(
  'copies of which the machine lost its power keep what was synced, and hold nothing that is wrong',
  { timeout: 120_000 },
  async (t) => {
    const history = await historyIn(await t.tmp())
    const total = await stepsOf(history)
    for (let seed = 1; seed <= 200; seed++) {
      const random = seeded(seed)
      const files = new FaultFiles()
      files.failAt(1 + Math.floor(random() * total), random() < 0.5 ? 'before' : 'torn')
      const { done } = await run(history, files)
      const durable = ACTS.slice(0, done).findLastIndex(([, , , flush]) => flush) + 1
      const after = files.afterPowerLoss(random)
      await check(t, history, after, durable, `seed ${seed}`)
      t.is((await run(history, after)).error, null)
      await check(t, history, after, ACTS.length, `seed ${seed}, gone on`)
    }
  }
)

test('copies without room at any point are as before, and go on', async (t) => {
  const history = await historyIn(await t.tmp())
  const total = await stepsOf(history)
  for (let step = 1; step <= total; step++) {
    const files = new FaultFiles()
    files.failAt(step, 'full')
    const { done, error } = await run(history, files)
    if (error !== null && !['DISK_FULL', 'STORAGE_FAILED'].includes(error.code)) {
      t.is(error.code, 'DISK_FULL', `step ${step}`)
    }
    await check(t, history, files, done, `step ${step}`)
    t.is((await run(history, files)).error, null)
    await check(t, history, files, ACTS.length, `step ${step}, gone on`)
  }
})

test('a copy that is written while another one is synced is on the disk after its own flush', async (t) => {
  const root = await t.tmp()
  const files = new FaultFiles()
  const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: files }) })
  const sources = await Promise.all([sourceOf(3), sourceOf(5)])
  const [source, other] = sources
  const copy = await folder.addFeed(source.key)
  const second = await folder.addFeed(other.key)
  await copyBlocks(source, copy)
  files.meanwhile = () => copyBlocks(other, second)
  await copy.flush()
  t.is(second.contiguousLength, 5, 'it was written meanwhile')
  await second.flush()
  const after = files.afterPowerLoss(() => 0)
  const again = await FeedFolder.open(root, { pool: new FilePool({ layer: after }) })
  for (const source of sources) {
    const found = await again.openFeed(source.key)
    t.is(found.contiguousLength, source.length)
    await found.close()
  }
})

test('a flush counts whoever was killed before it came to that', async (t) => {
  const source = await sourceOf(5)
  const root = await t.tmp()
  let step = 1
  for (let stopped = true; stopped; step++) {
    const first = new FaultFiles()
    first.failAt(step, 'before')
    await flushed(root, first, source, step % 2 === 0 ? 3 : 5).catch(() => {})
    stopped = first.stopped
    const next = first.afterKill()
    await flushed(root, next, source, 5)
    const after = next.afterPowerLoss(() => 0)
    const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: after }) })
    const copy = (await folder.has(source.key)) ? await folder.openFeed(source.key) : null
    t.is(copy?.contiguousLength, 5, `step ${step}`)
    await copy?.close()
  }
  t.ok(step > 4)
})

test('a block whose sync failed is there or not, and the next ones follow what is there', async (t) => {
  const root = await t.tmp()
  const files = new FaultFiles()
  const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: files }) })
  const identity = newIdentity()
  if (identity.keyPair === null) throw new Error('a new identity has a key pair')
  const { key, keyPair } = identity
  const source = await StoredFeed.open(memoryStore(identity))
  await source.append([Buffer.from('a'), Buffer.from('b')])
  const copy = await folder.addFeed(key)
  await copyBlocks(source, copy)
  await copy.close()
  // Whoever keeps the secret key elsewhere appends to what is a copy for the folder.
  const feed = await StoredFeed.open(await folder.openByKey(key), { keyPair })
  await feed.append([Buffer.from('c')])
  files.failAt(files.steps + 2, 'full')
  t.is((await errorOf(feed.append([Buffer.from('lost?')])))?.code, 'DISK_FULL')
  await feed.close().catch(() => {})
  const again = await StoredFeed.open(await folder.openByKey(key), { keyPair })
  t.ok(again.length === 3 || again.length === 4, `${again.length} blocks`)
  await again.append([Buffer.from('another')])
  await again.append([Buffer.from('and one more')])
  const { length } = again
  const blocks = await again.readRun(0, length)
  await again.close()
  const last = await (
    await FeedFolder.open(root, { pool: new FilePool({ layer: files }) })
  ).openFeed(key)
  t.alike(await last.audit(), { blocks: length, bad: [], head: true })
  t.alike(await last.readRun(0, length), blocks)
  await last.close()
})

test('copies of which a sync failed are on the disk before the next process says so', async (t) => {
  const root = await t.tmp()
  const [first, second] = await Promise.all([sourceOf(5), sourceOf(7)])
  for (const closes of [true, false]) {
    for (const writes of [true, false]) {
      const files = new FaultFiles()
      const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: files }) })
      const copy = await folder.addFeed(first.key)
      await copyBlocks(first, copy)
      files.failsSync = (path) => path === `${folder.root}/journal/log`
      t.is((await errorOf(copy.flush()))?.code, 'STORAGE_FAILED')
      files.failsSync = null
      if (closes) await copy.close().catch(() => {})
      const left = files.afterKill()
      const next = await FeedFolder.open(root, { pool: new FilePool({ layer: left }) })
      const written = writes ? await next.addFeed(second.key) : null
      if (written !== null) await copyBlocks(second, written)
      const again = await next.openFeed(first.key)
      await again.flush()
      const last = left.afterPowerLoss(() => 0)
      const found = await FeedFolder.open(root, { pool: new FilePool({ layer: last }) })
      for (const source of writes ? [first, second] : [first]) {
        const name = `${closes ? 'closed' : 'killed'}, ${source.length} blocks`
        if (!(await found.has(source.key))) {
          t.fail(name)
          continue
        }
        const feed = await found.openFeed(source.key)
        t.is(feed.contiguousLength, source.length, name)
        await feed.close()
      }
      await again.close()
      await written?.close()
    }
  }
})

test('copies of which a sync failed are written anew once', async (t) => {
  const root = await t.tmp()
  const files = new FaultFiles()
  const source = await sourceOf(5)
  const pool = new FilePool({ layer: files })
  const copy = await (await FeedFolder.open(root, { pool })).addFeed(source.key)
  await copyBlocks(source, copy)
  files.failsSync = (path) => path.endsWith('/journal/log')
  t.is((await errorOf(copy.flush()))?.code, 'STORAGE_FAILED')
  await copy.close().catch(() => {})
  files.failsSync = (path) => path.endsWith('/journal/draft')
  const blocked = await FeedFolder.open(root, { pool })
  t.is((await errorOf(blocked.addFeed((await sourceOf(1)).key)))?.code, 'STORAGE_FAILED')
  const reader = await blocked.openFeed(source.key)
  t.alike(await reader.audit(), { blocks: 5, bad: [], head: true }, 'what is here can be read')
  t.is((await errorOf(reader.flush()))?.code, 'STORAGE_FAILED')
  await reader.close()
  files.failsSync = null
  let steps = 0
  for (let time = 0; time < 3; time++) {
    const before = files.steps
    const other = await sourceOf(1)
    const feed = await (await FeedFolder.open(root, { pool })).addFeed(other.key)
    await copyBlocks(other, feed)
    await feed.close()
    if (time === 1) steps = files.steps - before
    if (time === 2) t.is(files.steps - before, steps)
  }
  t.absent(await files.exists(`${root}/journal/unsynced`))
})

async function sourceOf(count: number): Promise<StoredFeed> {
  const source = await StoredFeed.open(memoryStore(newIdentity()))
  await source.append(Array.from({ length: count }, (_, i) => Buffer.alloc(50, `block ${i} `)))
  return source
}

/** Copies the first blocks of a feed, and makes that durable; ends as a process that is killed then. */
async function flushed(
  root: string,
  files: FaultFiles,
  source: StoredFeed,
  end: number
): Promise<void> {
  const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: files }) })
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy, 0, end)
  await copy.flush()
}

async function historyIn(root: string): Promise<History> {
  const sources = new Map<Name, StoredFeed>()
  for (const name of NAMES) {
    sources.set(name, await StoredFeed.open(memoryStore(newIdentity())))
  }
  const moments: StoredFeed[] = []
  for (const [name, length] of ACTS) {
    const source = sources.get(name) as StoredFeed
    const bytes = name === 'large' ? SMALL_FEED_BYTES / 4 : 50
    while (source.length < length) {
      await source.append([Buffer.alloc(bytes, `block ${source.length} `)])
    }
    const copy = await StoredFeed.open(memoryStore(identityFromKey(source.key)))
    await copyBlocks(source, copy)
    moments.push(copy)
  }
  return { root, sources, moments }
}

async function stepsOf(history: History): Promise<number> {
  // What is loaded with the first run lets other turns pass.
  await run(history, new FaultFiles())
  const files = new FaultFiles()
  const { error } = await run(history, files)
  if (error !== null) throw error
  return files.steps
}

/** Goes through the acts, from wherever the copies are, as far as the files allow. */
async function run(
  { root, sources, moments }: History,
  files: FaultFiles
): Promise<{ done: number; error: SynclineError | null }> {
  const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: files }) })
  const copies = new Map<Name, StoredFeed>()
  let done = 0
  let failed: SynclineError | null = null
  try {
    for (const name of NAMES) {
      copies.set(name, await folder.addFeed((sources.get(name) as StoredFeed).key))
    }
    for (const [i, [name, , end, flush]] of ACTS.entries()) {
      const copy = copies.get(name) as StoredFeed
      const source = moments[i] as StoredFeed
      if (copy.length <= source.length) await copyBlocks(source, copy, 0, end)
      if (flush) for (const each of copies.values()) await each.flush()
      done++
    }
  } catch (error) {
    if (!isSynclineError(error)) throw error
    failed = error
  }
  for (const copy of copies.values()) await copy.close().catch(() => {})
  return { done, error: failed }
}

/** What is held is right, and it is at least what the first `done` acts gave. */
async function check(
  t: Assertions,
  { root, sources }: History,
  files: FaultFiles,
  done: number,
  name: string
): Promise<void> {
  const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: files }) })
  const faults: string[] = []
  for (const of of NAMES) {
    const source = sources.get(of) as StoredFeed
    const least = ACTS.slice(0, done).findLast(([feed]) => feed === of)?.[2] ?? 0
    if (!(await folder.has(source.key))) {
      if (least > 0) faults.push(`${of} is gone`)
      continue
    }
    const copy = await folder.openFeed(source.key)
    if (copy.contiguousLength < least) faults.push(`${of}: ${copy.contiguousLength} of ${least}`)
    const { bad, head } = await copy.audit()
    if (bad.length > 0 || !head) faults.push(`${of}: bad ${bad.join(' ')}, head ${head}`)
    for (const [start, end] of copy.have.runs(0, copy.length)) {
      const ours = Buffer.concat(await copy.readRun(start, end))
      if (!ours.equals(Buffer.concat(await source.readRun(start, end)))) {
        faults.push(`${of}: other bytes in ${start}..${end}`)
      }
    }
    await copy.close()
  }
  if (faults.length > 0) t.fail(`${name}: ${faults.join('; ')}`)
  else t.pass(name)
}
