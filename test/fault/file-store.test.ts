import test from 'brittle'
import { isSynclineError } from '../../lib/errors.ts'
import { FilePool } from '../../lib/feed/file/file-pool.ts'
import { FileStore } from '../../lib/feed/file/file-store.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { createKeyPair } from '../../lib/feed/signature.ts'
import type { Identity } from '../../lib/feed/store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { type Fault, FaultFiles, seeded } from '../fixtures/fault-files.ts'

/** One step of a history: one commit, or a flush. `durable` ones must survive whatever happens later. */
interface Act {
  readonly durable: boolean
  run(feed: StoredFeed): Promise<unknown>
}

const FOLDER = '/feed'
const keyPair = createKeyPair(new Uint8Array(32).fill(1))
const identity = newIdentity({ keyPair })

const append = (start: number, end: number, durability: 'fsync' | 'os' = 'fsync'): Act => ({
  durable: durability === 'fsync',
  run: (feed) => feed.append(blocks(start, end), { durability })
})
const keep = (name: string, value: string | null): Act => ({
  durable: false,
  run: (feed) => feed.setUserData(name, value === null ? null : Buffer.from(value))
})
const flush: Act = { durable: true, run: (feed) => feed.flush() }

/** Everything that a writer does; the long batch is folded by its length. */
const WRITER: readonly Act[] = [
  append(0, 3),
  append(3, 40, 'os'),
  keep('a', 'one'),
  append(40, 41),
  { durable: true, run: (feed) => feed.clear(5, 9) },
  flush,
  append(41, 1100, 'os'),
  { durable: true, run: (feed) => feed.truncate(37) },
  append(37, 43),
  keep('a', null),
  keep('large', 'x'.repeat(5000)),
  append(43, 60),
  { durable: true, run: (feed) => feed.truncate(0) },
  append(0, 9, 'os'),
  append(9, 11)
]

test('a writer that is killed at any point finds the feed before or after the last commit', async (t) => {
  await killEverywhere(t, identity, WRITER)
})

test('a copy that is killed at any point finds the feed before or after the last commit', async (t) => {
  await killEverywhere(t, identityFromKey(identity.key), await copying())
})

test('a writer without room at any point keeps the feed as it was, and goes on', async (t) => {
  const total = await stepsOf(identity, WRITER)
  for (let step = 1; step <= total; step++) {
    const files = new FaultFiles()
    const feed = await make(files, identity)
    files.failAt(step + files.steps, 'full')
    for (const [i, act] of WRITER.entries()) {
      const before = await stateOf(feed)
      try {
        await act.run(feed)
      } catch (error) {
        if (!isSynclineError(error, 'DISK_FULL', 'STORAGE_FAILED')) throw error
        const name = `step ${step}, act ${i}`
        // A truncation and a clear count before their bytes are freed.
        const now = await stateOf(feed)
        const isFreed = now.have !== before.have && now.length <= before.length
        if (!isFreed) same(t, now, before, `${name}: unchanged`)
        await feed.close().catch(() => {})
        const again = await reopen(files.afterKill())
        same(t, await stateOf(again), now, `${name}: as before when opened again`)
        await again.append([Buffer.from('more')])
        const { bad, head } = await again.audit()
        if (bad.length > 0 || !head) t.fail(`${name}: damaged`)
        await again.close()
        break
      }
    }
    await feed.close().catch(() => {})
  }
  t.pass(`${total} points`)
})

test('what was acknowledged survives a loss of power at any point', async (t) => {
  for (const [name, who, acts] of [
    ['writer', identity, WRITER],
    ['copy', identityFromKey(identity.key), await copying()]
  ] as const) {
    const total = await stepsOf(who, acts)
    for (let step = 1; step <= total; step++) {
      const files = new FaultFiles()
      const feed = await make(files, who)
      files.failAt(step + files.steps, 'torn')
      const states = await runUntilStop(feed, acts)
      const acked = acts.slice(0, states.length - 1).findLastIndex(({ durable }) => durable)
      for (let seed = 0; seed < 3; seed++) {
        const random = seeded(step * 3 + seed)
        const place = `${name}, step ${step}, seed ${seed}`
        const again = await reopen(files.afterPowerLoss(random)).catch((error: unknown) => {
          // The making of a copy is not synced; without it there is nothing to lose.
          if (!isSynclineError(error, 'FEED_NOT_FOUND') || acked >= 0 || name === 'writer')
            throw error
          return null
        })
        if (again === null) continue
        const { bad, head } = await again.audit()
        if (bad.length > 0 || !head) t.fail(`${place}: ${bad.length} bad blocks are believed`)
        // Later commits may have come through, in part only if their blocks did not.
        const now = await stateOf(again)
        const known = states
          .slice(acked + 1)
          .some((state) => state.fork === now.fork && state.length === now.length)
        const next = acts[states.length - 1]
        if (!known && next !== undefined) {
          const probe = new FaultFiles()
          const whole = await make(probe, who)
          for (const act of acts.slice(0, states.length)) await act.run(whole)
          const { fork, length } = await stateOf(whole)
          await whole.close()
          if (fork !== now.fork || length !== now.length) {
            t.fail(`${place}: fork ${now.fork} length ${now.length} was never there`)
          }
        }
        await again.close()
      }
    }
  }
  t.pass('all points')
})

test('after a kill nothing is hashed again, after a loss of power what was not synced is', async (t) => {
  const files = new FaultFiles()
  const feed = await make(files, identity)
  await feed.append(blocks(0, 10))
  await feed.flush()
  await feed.append(blocks(10, 20), { durability: 'os' })
  const killed = FileStore.open(FOLDER, { pool: new FilePool({ layer: files.afterKill() }) })
  t.alike((await killed.open()).doubtful, [])
  await killed.close()
  const whole = files.afterPowerLoss(() => 0.9)
  const lost = FileStore.open(FOLDER, { pool: new FilePool({ layer: whole }) })
  t.alike((await lost.open()).doubtful, [[10, 20]])
  await lost.close()
  const kept = await reopen(whole)
  t.is(kept.have.count(0, 20), 20, 'and is believed if it holds')
  await kept.close()
  const again = FileStore.open(FOLDER, {
    pool: new FilePool({ layer: whole.afterPowerLoss(() => 0.9) })
  })
  t.alike((await again.open()).doubtful.length, 1, 'as long as nothing was synced since')
  await again.close()
  await feed.close()
})

test('a head that a process signed and did not sync before it was killed is synced before it is given away', async (t) => {
  const files = new FaultFiles()
  const feed = await make(files, identity)
  await feed.append(blocks(0, 10))
  await feed.append(blocks(10, 20), { durability: 'os' })
  const killed = files.afterKill()
  const again = await reopen(killed)
  const { length } = again
  t.is((await again.proof({ upgrade: { start: 0, length } })).upgrade?.length, 20)
  const last = await reopen(killed.afterPowerLoss(() => 0))
  t.is(last.length, 20)
  await last.close()
  await again.close()
  await feed.close()
})

test('what a killed process wrote is on the disk before its successor says so', async (t) => {
  const firsts: readonly Act[] = [
    keep('a', 'one'),
    append(20, 21),
    { durable: true, run: (feed) => feed.clear(0, 1) },
    { durable: true, run: (feed) => feed.truncate(19) }
  ]
  for (const [i, first] of firsts.entries()) {
    const files = new FaultFiles()
    const feed = await make(files, identity)
    await feed.append(blocks(0, 10))
    await feed.flush()
    await feed.append(blocks(10, 20), { durability: 'os' })
    const killed = files.afterKill()
    const again = await reopen(killed)
    await first.run(again)
    if (!first.durable) await again.flush()
    const expected = await stateOf(again)
    const last = await reopen(killed.afterPowerLoss(() => 0))
    same(t, await stateOf(last), expected, `write ${i}: all is there`)
    t.alike((await last.audit()).bad, [], `write ${i}: and holds`)
    for (const open of [last, again, feed]) await open.close()
  }
})

test('a head whose sync failed is not given away, though the next sync would not say so', async (t) => {
  for (const failing of ['oplog', 'data', '']) {
    const files = new FaultFiles()
    const feed = await make(files, identity)
    await feed.append(blocks(0, 10))
    await feed.append(blocks(10, 20), { durability: 'os' })
    const killed = files.afterKill()
    const again = await reopen(killed)
    killed.failsSync = (path) => path === (failing === '' ? FOLDER : `${FOLDER}/${failing}`)
    const upgrade = { start: 0, length: again.length }
    for (let i = 0; i < 2; i++) {
      const error = await again.proof({ upgrade }).catch((error: unknown) => error)
      t.ok(isSynclineError(error, 'STORAGE_FAILED'), `${failing || 'the folder'}, time ${i}`)
      killed.failsSync = null
    }
    t.ok(await again.read(19), 'and what is here can be read')
    await again.close().catch(() => {})
    await feed.close()
  }
})

test('a store whose folder could not be synced is not written before it is opened again', async (t) => {
  const files = new FaultFiles()
  const feed = await make(files, identityFromKey(identity.key))
  files.failsSync = (path) => path === FOLDER
  await keep('a', 'one').run(feed)
  t.ok(isSynclineError(await feed.flush().catch((error: unknown) => error), 'STORAGE_FAILED'))
  files.failsSync = null
  t.ok(isSynclineError(await feed.flush().catch((error: unknown) => error), 'STORAGE_FAILED'))
  await feed.close().catch(() => {})
})

/** Files whose sync fails, one at a time, while all that is new is made durable. */
const SYNCED = ['data', 'tree', 'oplog', 'bitfield', 'syncline']

test('what a sync failed to write is on the disk before the next process says so', async (t) => {
  for (const failing of SYNCED) {
    for (const closes of [true, false]) {
      const files = new FaultFiles()
      await failedSync(t, files, failing, closes)
      const left = files.afterKill()
      const again = await reopen(left)
      t.is(again.have.count(0, 2000), 1100)
      await again.append(blocks(1100, 1101))
      const last = await reopen(left.afterPowerLoss(() => 0))
      t.is(last.have.count(0, 2000), 1101, `${failing}, ${closes ? 'closed' : 'killed'}`)
      await readAll(last, 0, 1101)
      await last.close()
      await again.flush()
      const flushed = await reopen(left.afterPowerLoss(() => 0))
      t.alike(await flushed.audit(), { blocks: 1101, bad: [], head: true })
      await flushed.close()
      await again.close()
    }
  }
})

test('what a sync failed to write and is gone from memory is not believed in the same boot', async (t) => {
  const files = new FaultFiles()
  await failedSync(t, files, 'data', true)
  const again = await reopen(files.afterEviction())
  t.alike([again.length, again.have.count(0, 2000)], [1100, 10])
  t.alike(await again.audit(), { blocks: 10, bad: [], head: true })
  await again.close()
})

test('who only reads a feed whose sync failed hashes it, and cannot make it durable', async (t) => {
  const files = new FaultFiles()
  await failedSync(t, files, 'data', true)
  const left = files.afterEviction()
  const pool = new FilePool({ layer: left })
  const reader = await StoredFeed.open(FileStore.open(FOLDER, { pool, readOnly: true }))
  t.is(reader.have.count(0, 2000), 10)
  t.ok(isSynclineError(await reader.flush().catch((error: unknown) => error), 'STORAGE_FAILED'))
  await reader.close()
  const again = await reopen(left)
  t.is(again.have.count(0, 2000), 10, 'and the next one knows of it')
  await again.close()
})

test('a head whose sync failed in a process that did not write is not taken for synced by the next one', async (t) => {
  const files = new FaultFiles()
  const feed = await make(files, identity)
  await feed.append(blocks(0, 10))
  await feed.append(blocks(10, 20), { durability: 'os' })
  const killed = files.afterKill()
  const reader = await reopen(killed)
  killed.failsSync = (path) => path === `${FOLDER}/oplog`
  const upgrade = { start: 0, length: 20 }
  t.ok(isSynclineError(await reader.proof({ upgrade }).catch((error: unknown) => error)))
  killed.failsSync = null
  await reader.close()
  const again = await reopen(killed)
  t.is((await again.proof({ upgrade })).upgrade?.length, 20)
  const last = await reopen(killed.afterPowerLoss(() => 0))
  t.is(last.length, 20)
  t.alike((await last.audit()).bad, [])
  await last.close()
  await again.close()
  await feed.close()
})

test('a feed whose first sync failed can be made anew', async (t) => {
  const files = new FaultFiles()
  files.failsSync = (path) => path === `${FOLDER}/oplog`
  t.ok(isSynclineError(await make(files, identity).catch((error: unknown) => error)))
  files.failsSync = null
  const feed = await make(files, identity)
  await feed.append(blocks(0, 3))
  const last = await reopen(files.afterPowerLoss(() => 0))
  t.is(last.length, 3)
  await last.close()
  await feed.close()
})

test('a copy whose first sync failed, and that is lost with the power, can be made anew', async (t) => {
  const files = new FaultFiles()
  const copy = await make(files, identityFromKey(identity.key))
  files.failsSync = (path) => path === `${FOLDER}/oplog`
  t.ok(isSynclineError(await copy.flush().catch((error: unknown) => error), 'STORAGE_FAILED'))
  await copy.close()
  const left = files.afterLossOf((path) => !path.endsWith('/syncline'))
  const store = FileStore.open(FOLDER, { pool: new FilePool({ layer: left }) })
  t.absent(await store.exists())
  await store.close()
  const again = await make(left, identityFromKey(identity.key))
  t.is(again.length, 0)
  await again.flush()
  await again.close()
  const last = await reopen(left.afterPowerLoss(() => 0))
  await last.close()
})

/** Writes 1,100 blocks, of which 10 are synced and a sync of the rest fails; ends as a process that is closed or killed. */
async function failedSync(
  t: { ok(value: unknown): void },
  files: FaultFiles,
  failing: string,
  closes: boolean
): Promise<void> {
  const feed = await make(files, identity)
  await feed.append(blocks(0, 10))
  await feed.flush()
  await feed.append(blocks(10, 20), { durability: 'os' })
  await feed.append(blocks(20, 1100), { durability: 'os' })
  files.failsSync = (path) => path === `${FOLDER}/${failing}`
  const error = await feed.flush().catch((error: unknown) => error)
  t.ok(isSynclineError(error, 'STORAGE_FAILED'))
  files.failsSync = null
  if (closes) await feed.close()
}

test('a copy is trusted after a kill, and hashed again after a loss of power, before it was ever synced', async (t) => {
  const files = new FaultFiles()
  const copy = await make(files, identityFromKey(identity.key))
  for (const act of (await copying()).slice(0, 4)) await act.run(copy)
  const killed = FileStore.open(FOLDER, { pool: new FilePool({ layer: files.afterKill() }) })
  t.alike((await killed.open()).doubtful, [])
  await killed.close()
  const whole = files.afterPowerLoss(() => 0.9)
  const lost = FileStore.open(FOLDER, { pool: new FilePool({ layer: whole }) })
  t.alike((await lost.open()).doubtful, [
    [0, 64],
    [66, 67],
    [68, 70]
  ])
  await lost.close()
  const again = await reopen(whole)
  t.is(again.have.count(0, 70), 67, 'and is believed if it holds')
  await again.close()
  await copy.close()
})

test('a copy that was lost with the power is made again over what is left', async (t) => {
  const acts = await copying()
  let lost = 0
  for (let seed = 0; seed < 40; seed++) {
    const files = new FaultFiles()
    const copy = await make(files, identityFromKey(identity.key))
    for (const act of acts.slice(0, 4)) await act.run(copy)
    const left = files.afterPowerLoss(seeded(seed))
    const pool = new FilePool({ layer: left })
    const found = FileStore.open(FOLDER, { pool })
    const isThere = await found.exists()
    await found.close()
    if (isThere) continue
    lost++
    const again = await make(left, identityFromKey(identity.key))
    t.alike([again.length, again.have.firstSet(0), again.manifest], [0, -1, null])
    for (const act of acts.slice(0, 4)) await act.run(again)
    const { bad, head } = await again.audit()
    t.ok(head && bad.length === 0)
    await again.close()
    const last = await reopen(left)
    t.is(last.have.count(0, 70), copy.have.count(0, 70))
    await last.close()
  }
  t.ok(lost > 5, `${lost} of 40 were lost`)
})

test('doubt outlives a fold that does not sync the bytes', async (t) => {
  const files = new FaultFiles()
  const feed = await make(files, identity)
  await feed.append(blocks(0, 4))
  await feed.append(blocks(4, 1100), { durability: 'os' })
  await feed.append(blocks(1100, 1102), { durability: 'os' })
  const lost = FileStore.open(FOLDER, {
    pool: new FilePool({ layer: files.afterPowerLoss(() => 0.9) })
  })
  const { doubtful, bitmap } = await lost.open()
  t.is(bitmap.count(0, 2000), 1102)
  t.ok(doubtful.some(([start, end]) => start <= 4 && end >= 1100))
  await lost.close()
  await feed.close()
})

test('what is written after an interrupted truncation stays, wherever the truncation was interrupted', async (t) => {
  const acts: readonly Act[] = [append(0, 200), { durable: true, run: (feed) => feed.truncate(37) }]
  await goOnAfterKills(t, identity, acts, async (feed) => {
    if (feed.length > 37) return
    await feed.append(blocks(37, 100))
    await readAll(feed, 0, 100)
  })
})

test('what a copy takes after an interrupted reorganisation stays, wherever that was interrupted', async (t) => {
  const short = await source([200])
  const forked = await source([200, 64])
  await forked.append(blocks(64, 200, 'new'))
  const acts = [head(short, 0), chunk(127, 0, 128), reorg(forked)]
  await goOnAfterKills(t, identityFromKey(identity.key), acts, async (copy) => {
    if (copy.fork !== forked.fork) return
    // With the root of the blocks that were given up.
    await block(forked, 64).run(copy)
    await chunk(191, 64, 64, 'new').run(copy)
    await readAll(copy, 0, 64)
    await readAll(copy, 64, 128, 'new')
  })
})

/**
 * Kills the last of the acts at each of its steps; the next process does `goOn`, and the one after it must find what that
 * left.
 */
async function goOnAfterKills(
  t: { fail(message: string): void; pass(message: string): void },
  who: Identity,
  acts: readonly Act[],
  goOn: (feed: StoredFeed) => Promise<void>
): Promise<void> {
  const first = await stepsOf(who, acts.slice(0, -1))
  const total = await stepsOf(who, acts)
  for (let step = first + 1; step <= total; step++) {
    const files = new FaultFiles()
    const feed = await make(files, who)
    files.failAt(step + files.steps, 'before')
    await runUntilStop(feed, acts)
    const left = files.afterKill()
    const again = await reopen(left)
    await goOn(again)
    const expected = await stateOf(again)
    await again.close()
    const last = await reopen(left)
    same(t, await stateOf(last), expected, `step ${step}: as it was left`)
    const { bad, head } = await last.audit()
    if (bad.length > 0 || !head) t.fail(`step ${step}: ${bad.length} blocks are damaged`)
    await last.close()
  }
  t.pass(`${total - first} points`)
}

async function readAll(feed: StoredFeed, start: number, end: number, text?: string): Promise<void> {
  const found = Buffer.concat(await feed.readRun(start, end))
  if (!found.equals(Buffer.concat(blocks(start, end, text)))) throw new Error('other blocks')
}

test('what was not hashed yet stays doubtful, whatever is written meanwhile', async (t) => {
  const files = new FaultFiles()
  const copy = await make(files, identityFromKey(identity.key))
  for (const act of (await copying()).slice(0, 4)) await act.run(copy)
  const lost = files.afterPowerLoss(() => 0.9)
  await copy.close()
  const store = FileStore.open(FOLDER, { pool: new FilePool({ layer: lost }) })
  const { doubtful, contiguousLength } = await store.open()
  t.ok(doubtful.length > 0)
  await store.commit({ userData: [], contiguousLength, durability: 'fsync' })
  await store.putKeyPair(keyPair)
  await store.flush()
  await store.close()
  const again = FileStore.open(FOLDER, { pool: new FilePool({ layer: lost }) })
  t.alike((await again.open()).doubtful, doubtful)
  await again.close()
})

test('what could not be read when it was to be hashed stays doubtful', async (t) => {
  const files = new FaultFiles()
  const copy = await make(files, identityFromKey(identity.key))
  await head(await source([200]), 0).run(copy)
  await chunk(47, 16, 16).run(copy)
  await chunk(191, 64, 64).run(copy)
  const lost = files.afterPowerLoss(() => 0.9)
  await copy.close()
  const data = await lost.open(`${FOLDER}/data`, 'write')
  for (const block of [16, 64]) await data.write([Buffer.from('lost')], bytesBefore(block))

  lost.failsRead = (path, position) => path === `${FOLDER}/data` && position >= bytesBefore(64)
  t.ok(isSynclineError(await reopen(lost).catch((error: unknown) => error), 'STORAGE_FAILED'))
  lost.failsRead = null
  const again = await reopen(lost)
  t.alike((await again.audit()).bad, [])
  t.is(again.have.count(0, 200), 79)
  await again.close()
  const last = await reopen(lost.afterPowerLoss(() => 0.9))
  t.is(last.have.count(0, 200), 79)
  await last.close()
})

test('nodes that outlive the log with the power are not believed', async (t) => {
  const long = await source([300])
  for (const isClean of [false, true]) {
    const files = new FaultFiles()
    const first = await make(files, identityFromKey(identity.key))
    await head(long, 0).run(first)
    if (isClean) await first.close()
    else await first.flush()
    const copy = isClean ? await reopen(files) : first
    await block(long, 130).run(copy)
    // Its root was proven with that block.
    await chunk(447, 192, 64).run(copy)
    const lost = files.afterLossOf((path) => !path.endsWith('/tree'))
    await copy.close()
    const again = await reopen(lost)
    t.is(again.have.count(0, 300), 1)
    t.alike(
      (await again.trustedPath(200)).map(({ index }) => index),
      [383, 255],
      'a path has no gap'
    )
    await complete(t, again, long, lost)
  }
})

test('half a node that a write left behind is none, in this process and the next', async (t) => {
  const long = await source([300])
  const acts = [head(long, 0), block(long, 130), block(long, 290), chunk(447, 192, 64)]
  const first = await stepsOf(identityFromKey(identity.key), acts.slice(0, -1))
  for (const fault of ['torn', 'full'] as const) {
    for (const step of [1, 2]) {
      const files = new FaultFiles()
      const copy = await make(files, identityFromKey(identity.key))
      files.tornAt = 0.8
      files.failAt(files.steps + first + step, fault)
      for (const [i, act] of acts.entries()) {
        const error = await Promise.resolve(act.run(copy)).catch((error: unknown) => error)
        t.is(isSynclineError(error), i === 3)
      }
      const left = fault === 'torn' ? files.afterKill() : files
      const again = fault === 'torn' ? await reopen(left) : copy
      // The file grows over it.
      await chunk(543, 256, 32).run(again)
      await complete(t, again, long, left)
      if (fault === 'torn') await copy.close().catch(() => {})
    }
  }
})

test('what is fetched again after a node was found damaged holds', async (t) => {
  const long = await source([300])
  const files = new FaultFiles()
  const copy = await make(files, identityFromKey(identity.key))
  for (const act of [head(long, 0), block(long, 130), chunk(447, 192, 64)]) await act.run(copy)
  await copy.close()
  const tree = await files.open(`${FOLDER}/tree`, 'write')
  await tree.write([Buffer.from('lost')], 40 * 415 + 8)
  const again = await reopen(files)
  const { bad } = await again.audit()
  t.is(bad.length, 64)
  await again.forget(bad)
  t.alike((await again.audit()).bad, [])
  await complete(t, again, long, files)
})

/** Fetches what a copy lacks block by block, the last first, closes it, and looks at it when it is opened again. */
async function complete(
  t: { alike(a: unknown, b: unknown): void },
  copy: StoredFeed,
  from: StoredFeed,
  files: FaultFiles
): Promise<void> {
  for (let index = copy.length - 1; index >= 0; index--) {
    if (!copy.have.get(index)) await block(from, index).run(copy)
  }
  await readAll(copy, 0, from.length)
  await copy.close()
  const last = await reopen(files)
  t.alike(await last.audit(), { blocks: from.length, bad: [], head: true })
  await last.close()
}

async function killEverywhere(
  t: { fail(message: string): void; pass(message: string): void },
  who: Identity,
  acts: readonly Act[]
): Promise<void> {
  const total = await stepsOf(who, acts)
  const whole = await make(new FaultFiles(), who)
  const expected = [await stateOf(whole)]
  for (const act of acts) {
    await act.run(whole)
    expected.push(await stateOf(whole))
  }
  await whole.close()
  for (let step = 1; step <= total; step++) {
    for (const fault of ['before', 'torn'] as const satisfies readonly Fault[]) {
      const files = new FaultFiles()
      const feed = await make(files, who)
      files.failAt(step + files.steps, fault)
      const done = (await runUntilStop(feed, acts)).length - 1
      const again = await reopen(files.afterKill())
      const now = JSON.stringify(await stateOf(again))
      const options = [expected[done], expected[done + 1]].map((state) => JSON.stringify(state))
      if (!options.includes(now)) {
        t.fail(`${fault} step ${step}, after act ${done - 1}: ${now.slice(0, 200)}`)
      }
      const { bad, head } = await again.audit()
      if (bad.length > 0 || !head) t.fail(`${fault} step ${step}: damaged`)
      if (options.indexOf(now) === 0 && done < acts.length) {
        // What was interrupted can be done again, and all the rest.
        for (const act of acts.slice(done)) await act.run(again)
        const end = JSON.stringify(await stateOf(again))
        if (end !== JSON.stringify(expected.at(-1)))
          t.fail(`${fault} step ${step}: went on wrongly`)
      }
      await again.close()
    }
  }
  t.pass(`${2 * total} points`)
}

/** Runs until the files stop; the states after each act that was acknowledged, the first before all. */
async function runUntilStop(feed: StoredFeed, acts: readonly Act[]): Promise<FeedState[]> {
  const states = [await stateOf(feed)]
  try {
    for (const act of acts) {
      await act.run(feed)
      states.push(await stateOf(feed))
    }
  } catch (error) {
    if (!isSynclineError(error)) throw error
  }
  await feed.close().catch(() => {})
  return states
}

async function stepsOf(who: Identity, acts: readonly Act[]): Promise<number> {
  const files = new FaultFiles()
  const feed = await make(files, who)
  const first = files.steps
  for (const act of acts) await act.run(feed)
  const total = files.steps - first
  await feed.close()
  return total
}

async function make(files: FaultFiles, who: Identity): Promise<StoredFeed> {
  const pool = new FilePool({ layer: files, max: 8 })
  return StoredFeed.open(await FileStore.create(FOLDER, who, { pool }))
}

async function reopen(files: FaultFiles): Promise<StoredFeed> {
  return StoredFeed.open(FileStore.open(FOLDER, { pool: new FilePool({ layer: files, max: 8 }) }))
}

interface FeedState {
  readonly fork: number
  readonly length: number
  readonly byteLength: number
  readonly manifest: boolean
  readonly have: string
  readonly content: string
  readonly userData: readonly string[]
}

async function stateOf(feed: StoredFeed): Promise<FeedState> {
  const have = [...feed.have.runs(0, feed.length + 1000)]
  const parts: Uint8Array[] = []
  try {
    for (const [start, end] of have) parts.push(...(await feed.readRun(start, end)))
  } catch {
    // Files that have stopped cannot be read; nobody compares this state.
  }
  const values = ['a', 'large'].map(async (name) =>
    Buffer.from((await feed.getUserData(name)) ?? []).toString()
  )
  return {
    fork: feed.fork,
    length: feed.length,
    byteLength: feed.byteLength,
    manifest: feed.manifest !== null,
    have: JSON.stringify(have),
    content: Buffer.concat(parts).toString('latin1'),
    userData: await Promise.all(values)
  }
}

function same(t: { fail(message: string): void }, a: FeedState, b: FeedState, name: string): void {
  if (JSON.stringify(a) !== JSON.stringify(b)) t.fail(name)
}

function blocks(start: number, end: number, text = 'block'): Uint8Array[] {
  return Array.from({ length: end - start }, (_, i) => Buffer.from(`${text} ${start + i};`))
}

/** Where a block begins in `data`. */
function bytesBefore(block: number): number {
  return Buffer.concat(blocks(0, block)).byteLength
}

/** A feed that was appended or truncated to these lengths, one after the other. */
const source = async (lengths: readonly number[]): Promise<StoredFeed> => {
  const feed = await StoredFeed.open(memoryStore(newIdentity({ keyPair })))
  for (const [i, length] of lengths.entries()) {
    const start = i === 0 ? 0 : (lengths[i - 1] ?? 0)
    if (length < start) await feed.truncate(length)
    else await feed.append(blocks(start, length))
  }
  return feed
}

const head = (feed: StoredFeed, start: number): Act => ({
  durable: false,
  run: async (copy) => {
    const length = feed.length - start
    const block = start === 0 ? { index: 0, nodes: 0 } : null
    return copy.applyProof(
      await feed.proof({ block, upgrade: { start, length }, manifest: start === 0 })
    )
  }
})
const block = (feed: StoredFeed, index: number): Act => ({
  durable: false,
  run: async (copy) => {
    const nodes = await copy.missingNodes(2 * index)
    return copy.applyProof(await feed.proof({ block: { index, nodes } }))
  }
})
const chunk = (root: number, first: number, count: number, text?: string): Act => ({
  durable: false,
  run: async (copy) => {
    const parts = blocks(first, first + count, text)
    const lengths = Uint32Array.from(parts, ({ byteLength }) => byteLength)
    const offsets = new Uint32Array(count)
    for (let i = 1; i < count; i++) {
      offsets[i] = (offsets[i - 1] as number) + (lengths[i - 1] as number)
    }
    const bytes = Uint8Array.from(Buffer.concat(parts))
    const result = await copy.putChunk({ fork: copy.fork, root, bytes, offsets, lengths })
    if (result !== 'stored') throw new Error(`chunk is ${result}`)
    return result
  }
})

const reorg = (forked: StoredFeed): Act => ({
  durable: false,
  run: async (copy) => {
    const { length } = forked
    const proof = await forked.proof({ upgrade: { start: 0, length } })
    const reorg = await copy.reorg(proof)
    if (reorg === null) throw new Error('no reorganisation')
    while (reorg.next !== null) await reorg.accept(await forked.proof({ hash: reorg.next }))
    return reorg.commit()
  }
})

/** What a copy does: heads, single blocks, chunks, and a rewritten feed. */
async function copying(): Promise<Act[]> {
  const short = await source([70])
  const long = await source([70, 200])
  const forked = await source([70, 200, 90])
  await forked.append(blocks(90, 230, 'new'))
  return [
    head(short, 0),
    block(short, 66),
    chunk(137, 68, 2),
    chunk(63, 0, 64),
    head(long, 70),
    block(long, 130),
    flush,
    chunk(191, 64, 64),
    block(long, 199),
    reorg(forked),
    block(forked, 131),
    block(forked, 229)
  ]
}
