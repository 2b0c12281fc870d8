/** Files that are being written while a share is followed. */
import { appendFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import test, { type Assertions } from 'brittle'
import { GrowingFiles } from '../../lib/drive/growing-files.ts'
import type { ImportReport } from '../../lib/drive/import.ts'
import { ProgressNotes, type DriveProgress } from '../../lib/drive/progress.ts'
import type { SharedFolder } from '../../lib/drive/shared-folder.ts'
import { GROWING_MS_MAX, SETTLE_MS, SETTLE_MS_MAX } from '../../lib/limits.ts'
import { age, openNode, openShare, until, writeTree } from './folders.ts'

/** A share with one old file, imported. */
async function openOld(t: Assertions): Promise<{ root: string; share: SharedFolder }> {
  const root = await t.tmp()
  writeTree(root, { old: 'old' })
  age(root)
  const share = await openShare(t, await openNode(t), root)
  await share.import()
  return { root, share }
}

/** Counts the imports that are told of it. */
class Counter extends ProgressNotes {
  imports = 0

  override set(change: Partial<DriveProgress>): void {
    if (change.phase === 'done') this.imports++
    super.set(change)
  }
}

test('growing: a file is taken in when it has settled, or has no end', async (t) => {
  const { root, share } = await openOld(t)
  let now = 1000
  const growing = new GrowingFiles(() => now)
  const look = (): Promise<ImportReport> => share.import({ growing })
  // By its time a file is new for as long as the test goes on.
  const ahead = Date.now() / 1000 + 3600
  const write = (): void => {
    appendFileSync(`${root}/log`, 'a line\n')
    utimesSync(`${root}/log`, ahead, ahead)
  }
  write()
  writeFileSync(`${root}/done`, 'done')
  utimesSync(`${root}/done`, ahead, ahead)
  t.alike((await look()).unsettled, ['/done', '/log'])
  t.is(growing.waitMs, SETTLE_MS)
  t.alike((await look()).unsettled, ['/done', '/log'], 'however soon it is looked at again')
  now += SETTLE_MS
  write()
  const settled = await look()
  t.alike([settled.added, settled.unsettled, settled.restless], [1, ['/log'], []])
  t.alike([growing.has('/done'), growing.has('/log'), growing.size], [false, true, 1])
  utimesSync(`${root}/done`, 1000, 1000)
  now += GROWING_MS_MAX - SETTLE_MS - 1
  write()
  t.alike((await look()).unsettled, ['/log'])
  t.is(growing.waitMs, SETTLE_MS_MAX, 'the longer it grows, the less often it is looked at')
  now++
  write()
  const taken = await look()
  t.alike([taken.added, taken.unsettled, taken.restless], [1, [], ['/log']])
  t.is(share.folder.catalog.get('/log')?.entry.blob?.byteLength, 4 * 'a line\n'.length)
  t.is(growing.waitMs, Infinity)
  write()
  t.alike((await look()).unsettled, ['/log'], 'it begins anew')
  t.is(growing.waitMs, SETTLE_MS)
})

test('growing: one that does not hold still is read less and less often', (t) => {
  let now = 0
  const growing = new GrowingFiles(() => now)
  t.is(growing.look('/a', 'first', true), 'growing')
  const read: number[] = []
  for (; now <= 8 * GROWING_MS_MAX; now += GROWING_MS_MAX / 2) {
    if (growing.look('/a', String(now), true) !== 'restless') continue
    read.push(now / GROWING_MS_MAX)
    growing.failed('/a', String(now))
  }
  t.alike(read, [1, 2, 4, 8])
  growing.keep([])
  t.is(growing.waitMs, Infinity)
})

test('growing: a share that is followed takes in a file without an end, and tells it once', async (t) => {
  const { root, share } = await openOld(t)
  // Half a minute goes by in the time until the second look.
  const growing = new GrowingFiles(() => 100 * performance.now())
  const restless: (readonly string[])[] = []
  let taken = 0
  share.on('restless', (names) => restless.push(names))
  share.on('imported', ({ added, changed }) => (taken += added + changed))
  const following = share.follow({ growing })
  const writing = setInterval(() => appendFileSync(`${root}/log`, 'a line\n'), 5)
  try {
    await until(() => taken >= 2, 'it came, and came again')
  } finally {
    clearInterval(writing)
  }
  t.alike(restless, [['/log']])
  await share.close()
  await following
})

test('growing: however many blocks are lost at once, a share looks twice', async (t) => {
  const { root, share } = await openOld(t)
  const progress = new Counter()
  const tookMs: number[] = []
  const came = new Promise<void>((resolve) => {
    share.on('imported', () => {
      tookMs.push(Date.now() - statSync(`${root}/half`).mtimeMs)
      resolve()
    })
  })
  const following = share.follow({ progress, watchPath: () => ({ on: () => {}, close: () => {} }) })
  await until(() => progress.imports === 1, 'the first look')
  writeFileSync(`${root}/half`, 'half of it')
  for (let i = 0; i < 1000; i++) share.folder.onbad?.(0, 1)
  await came
  t.ok((tookMs[0] as number) >= SETTLE_MS, `taken in after ${tookMs[0]} ms`)
  t.ok(progress.imports <= 3, `${progress.imports} imports`)
  for (let i = 0; i < 1000; i++) share.folder.onbad?.(0, 1)
  await until(() => progress.imports >= 4, 'they are a reason to look')
  await setTimeout(100)
  t.ok(progress.imports <= 5, `${progress.imports} imports`)
  await share.close()
  await following
})
