/** Imports and clones that are killed at any moment, and disks that are full: what is there is right, and all goes on. */
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type Assertions } from 'brittle'
import { Child } from '../fault/child.ts'
import { mountSmall } from '../fixtures/file-system.ts'
import { RACY_MS } from '../../lib/limits.ts'
import { random } from './hyperbee.ts'
import {
  age,
  bytesOf,
  cloneFrom,
  join,
  openClone,
  openNode,
  openShare,
  treeOf,
  UPDATE_MS,
  writeTree
} from './folders.ts'

const KILLS = 6

/** What two trees differ in. */
function differences(a: Record<string, string>, b: Record<string, string>): string[] {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((n) => a[n] !== b[n])
  return names.map((name) => `${name}: ${a[name]} | ${b[name]}`)
}

/** A script of this folder as a process of its own. */
function start(t: Assertions, ...args: string[]): Child {
  return Child.start(t, '../drive/child-folder', args)
}

function seedOf(t: Assertions): number {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  t.comment(`SEED=${seed}`)
  return seed
}

/** Files of all sizes; what belongs to one round differs from that of the others. */
function fill(root: string, round: number): void {
  const files: Record<string, Uint8Array> = {}
  for (let i = 0; i < 300; i++) files[`small/${i}`] = bytesOf(200 + i, i + 1000 * round)
  for (let i = 0; i < 20; i++) files[`middle/${i}`] = bytesOf(150_000 + i, i + 1000 * round)
  files['large'] = bytesOf(6_000_000, round)
  writeTree(root, files)
}

test('faults: an import that is killed goes on where it was', { timeout: 120_000 }, async (t) => {
  const next = random(seedOf(t))
  const root = fs.realpathSync(await t.tmp())
  const store = await t.tmp()
  let key: string | undefined
  for (let round = 0; round < 2; round++) {
    fill(root, round)
    if (round === 1) {
      fs.renameSync(`${root}/small`, `${root}/moved`)
      fs.rmSync(`${root}/middle/3`)
      fs.rmSync(`${root}/middle/4`)
      fs.mkdirSync(`${root}/middle/4`)
    }
    age(root, 60_000 - 5000 * round)
    for (let kills = 0; kills < KILLS / 2; kills++) {
      const child = start(t, 'share', store, root)
      await child.said('open')
      await sleep(next(250))
      await child.kill()
    }
    const last = start(t, 'share', store, root)
    t.is(await last.end(), 0)
    t.ok(last.lines.includes('done'))
    const node = await openNode(t, store)
    const share = await openShare(t, node, root)
    const now = share.key.toString()
    t.is(now, key ?? now, 'the key stays')
    key = now
    t.is((await share.import()).changes, 0, 'all was taken in')
    const { dir, report } = await cloneFrom(t, node, share.key)
    t.alike(report.skipped, [])
    t.alike(treeOf(dir), treeOf(root))
    const blobs = await share.folder.blobs()
    t.is((await blobs.feed.audit()).bad.length, 0)
    await share.close()
    await node.sync.close()
  }
})

test(
  'faults: a clone that is killed has no torn file, and fetches nothing twice',
  { timeout: 120_000 },
  async (t) => {
    const next = random(seedOf(t))
    const root = fs.realpathSync(await t.tmp())
    const source = await openNode(t)
    const share = await openShare(t, source, root)
    const store = await t.tmp()
    const dir = path.join(await t.tmp(), 'clone')
    const log = path.join(await t.tmp(), 'log')
    const key = Buffer.from(share.key).toString('hex')
    const versions: Record<string, string>[] = [{}]
    for (let round = 0; round < 2; round++) {
      fill(root, round)
      if (round === 1) {
        fs.renameSync(`${root}/small`, `${root}/moved`)
        fs.rmSync(`${root}/middle/3`)
        fs.rmSync(`${root}/large`)
        fs.mkdirSync(`${root}/large`)
        fs.writeFileSync(`${root}/large/inside`, 'inside')
      }
      age(root, 60_000 - 5000 * round)
      await share.import({ maxDelete: 10_000 })
      versions.push(treeOf(root))
      fs.writeFileSync(log, '')
      source.sync.setLimits({ upload: 1_500_000, download: 0 })
      let isDone = false
      for (let kills = 0; !isDone; kills++) {
        if (kills === KILLS / 2) source.sync.setLimits({ upload: 0, download: 0 })
        fs.appendFileSync(log, 'life\n')
        const child = start(t, 'clone', store, dir, key, String(source.port), log)
        await child.said('open')
        if (kills < KILLS / 2) {
          await sleep(300 + next(500))
          await child.kill()
        } else t.is(await child.end(), 0)
        isDone = child.lines.includes('done')
        // Each file is that of one version, as a whole.
        if (!fs.existsSync(dir)) continue
        for (const [name, text] of Object.entries(treeOf(dir))) {
          const known = versions.some((version) => version[name] === text)
          const isOpen = text === 'empty'
          if (!known && !isOpen) t.fail(`${name} is ${text}`)
        }
      }
      t.alike(differences(treeOf(root), treeOf(dir)), [])
      const stored = new Set<number>()
      let before = new Set<number>()
      const again: number[] = []
      for (const line of fs.readFileSync(log, 'utf8').split('\n').slice(0, -1)) {
        const [what, from = '', to = ''] = line.split(' ')
        if (what === 'life') before = new Set(stored)
        if (what === 'd' && before.has(Number(from))) again.push(Number(from))
        for (let block = Number(from); what === 'h' && block < Number(to); block++)
          stored.add(block)
      }
      t.alike(again, [], `of ${stored.size} blocks none came in a later life again`)
      t.alike(
        fs.readdirSync(`${dir}/.syncline/incoming`).filter((name) => !name.startsWith('write-')),
        []
      )
    }
  }
)

test('faults: a disk that is full', { timeout: 60_000 }, async (t) => {
  const mount = await mountSmall(t, 3_000_000)
  if (mount === null) return t.comment('no file system can be mounted here')
  const root = fs.realpathSync(await t.tmp())
  const files: Record<string, Uint8Array> = { large: bytesOf(1_200_000, 1) }
  for (let i = 0; i < 100; i++) files[`small/${i}`] = bytesOf(3000, i)
  writeTree(root, files)
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  fs.writeFileSync(`${mount}/ballast`, Buffer.alloc(2_000_000))
  const node = await openNode(t)
  const dir = `${mount}/clone`
  const clone = await openClone(t, node, share.key, dir)
  await join(node, source)
  const signal = AbortSignal.timeout(UPDATE_MS)
  await t.exception(clone.update({ signal }), /DISK_FULL/)
  await clone.close()
  const expected = treeOf(root)
  for (const [name, text] of Object.entries(treeOf(dir))) {
    if (expected[name] !== text && text !== 'empty') t.fail(`${name} is ${text}`)
  }
  fs.rmSync(`${mount}/ballast`)
  const again = await openClone(t, node, share.key, dir)
  const report = await again.update({ signal: AbortSignal.timeout(UPDATE_MS) })
  t.alike(report.skipped, [])
  t.alike(treeOf(dir), expected)
  await again.close()
})

test('faults: blobs that a loss of power took from a share are taken in again', async (t) => {
  const root = fs.realpathSync(await t.tmp())
  const older = path.join(await t.tmp(), 'older')
  const blobs = `${root}/.syncline/blobs`
  const store = await t.tmp()
  const imported = async (files: Record<string, Uint8Array>): Promise<void> => {
    writeTree(root, files)
    const node = await openNode(t, store)
    const share = await openShare(t, node, root)
    await share.import()
    await share.close()
    await node.sync.close()
  }
  await imported({ a: bytesOf(1000, 1), b: bytesOf(200_000, 2) })
  fs.cpSync(blobs, older, { recursive: true })
  await imported({ c: bytesOf(1000, 3), d: bytesOf(3_000_000, 4), e: bytesOf(5000, 5) })
  // Until their stamps count.
  await sleep(RACY_MS + 100)
  await imported({})
  // The index and the catalog had reached the disk.
  fs.rmSync(blobs, { recursive: true })
  fs.renameSync(older, blobs)
  await imported({ f: bytesOf(1000, 6) })
  const node = await openNode(t, store)
  const share = await openShare(t, node, root)
  await share.import()
  const { dir, report } = await cloneFrom(t, node, share.key)
  t.alike(report.skipped, [])
  t.alike(treeOf(dir), treeOf(root))
})

test('faults: an import that is stopped within a long file leaves no blocks of it in the store', async (t) => {
  const root = fs.realpathSync(await t.tmp())
  writeTree(root, { long: bytesOf(40_000_000, 1) })
  age(root)
  const node = await openNode(t)
  const share = await openShare(t, node, root, { copy: true })
  const { feed } = await share.folder.blobs()
  const stop = new AbortController()
  feed.onchange(() => stop.abort(new Error('stopped')))
  await t.exception(share.import({ signal: stop.signal }), /stopped/)
  t.ok(feed.length > 0, 'it had begun')
  t.is(feed.have.count(0, feed.length), 0)
  await share.import()
  const [known] = [...share.folder.catalog.rows()].map(([, { entry }]) => entry.blob)
  t.is(feed.have.count(0, feed.length), known?.blockLength)
})
