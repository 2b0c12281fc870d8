/** What is here already does not come again. */
import test, { type Assertions } from 'brittle'
import fs from 'node:fs'
import path from 'node:path'
import type { ClonedFolder } from '../../lib/drive/cloned-folder.ts'
import { isHeld } from '../../lib/drive/blob-check.ts'
import type { SharedFolder } from '../../lib/drive/shared-folder.ts'
import { folderStatus } from '../../lib/drive/status.ts'
import { IMPORT_ENTRIES_MAX } from '../../lib/limits.ts'
import {
  age,
  bytesOf,
  cloneFrom,
  join,
  openClone,
  openNode,
  openShare,
  treeOf,
  UPDATE_MS
} from './folders.ts'

const BLOCK = 65_536

/** Counts the bytes of blobs that a clone receives from now on. */
async function countBlobs(clone: ClonedFolder): Promise<() => number> {
  const blobs = await clone.blobs()
  let count = 0
  blobs?.on('download', (_index, byteLength) => (count += byteLength))
  return () => count
}

async function follow(t: Assertions, share: SharedFolder, clone: ClonedFolder): Promise<void> {
  age(share.folder.root)
  await share.import({ maxDelete: 100 })
  const version = share.folder.index.version
  while (clone.index.length < version) await new Promise((resolve) => setTimeout(resolve, 10))
  const report = await clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
  t.is(report.version, version)
  t.alike(treeOf(clone.folder.root), treeOf(share.folder.root))
}

test('reuse: of a changed file only the blocks come that differ', async (t) => {
  const root = await t.tmp()
  const content = bytesOf(40 * BLOCK + 100, 1)
  fs.writeFileSync(`${root}/file`, content)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const { clone } = await cloneFrom(t, source, share.key)
  const received = await countBlobs(clone)

  content.writeUInt8(content.readUInt8(17 * BLOCK) ^ 1, 17 * BLOCK)
  fs.writeFileSync(`${root}/file`, content)
  await follow(t, share, clone)
  t.is(received(), BLOCK, 'one block changed')

  fs.writeFileSync(`${root}/file`, Buffer.concat([content, Buffer.alloc(BLOCK)]))
  await follow(t, share, clone)
  t.ok(received() <= 3 * BLOCK, 'what was appended, and the block before it')

  fs.writeFileSync(`${root}/file`, content.subarray(0, 9 * BLOCK))
  await follow(t, share, clone)
  t.ok(received() <= 3 * BLOCK, 'a shorter file brings nothing')

  fs.writeFileSync(`${root}/file`, bytesOf(9 * BLOCK, 2))
  await follow(t, share, clone)
  t.ok(received() >= 9 * BLOCK, 'a new one brings all')
})

test('reuse: what was moved or copied comes from here', async (t) => {
  const root = await t.tmp()
  fs.mkdirSync(`${root}/one`)
  for (let i = 0; i < 5; i++) fs.writeFileSync(`${root}/one/${i}`, bytesOf(20_000, i))
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const { clone } = await cloneFrom(t, source, share.key)
  const blocks = (await share.folder.blobs()).feed.length
  const received = await countBlobs(clone)

  fs.renameSync(`${root}/one`, `${root}/two`)
  await follow(t, share, clone)
  fs.cpSync(`${root}/two`, `${root}/three`, { recursive: true })
  await follow(t, share, clone)
  // The file that a blob was first found in goes: the others still have it.
  fs.rmSync(`${root}/two/0`)
  await follow(t, share, clone)
  t.is(received(), 0, 'no transfer')
  t.is((await share.folder.blobs()).feed.length, blocks, 'and no new blocks')

  const { dir } = await cloneFrom(t, source, share.key)
  t.alike(treeOf(dir), treeOf(root), 'all of it can still be given')
})

test('reuse: files that took each other’s names are seeded, with no trash between', async (t) => {
  const root = await t.tmp()
  for (const name of ['a', 'b']) fs.writeFileSync(`${root}/${name}`, name)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const { clone } = await cloneFrom(t, source, share.key, { keep: '0' })
  fs.renameSync(`${root}/a`, `${root}/c`)
  fs.renameSync(`${root}/b`, `${root}/a`)
  fs.renameSync(`${root}/c`, `${root}/b`)
  await follow(t, share, clone)
  const { feed } = await clone.folder.blobs()
  for (const name of ['/a', '/b']) {
    const blob = clone.folder.catalog.get(name)?.entry.blob ?? null
    t.ok(blob !== null && isHeld({ feed }, blob), `${name} is held`)
  }
})

test('reuse: what moved to a name far away is still given', { timeout: 90_000 }, async (t) => {
  const root = await t.tmp()
  fs.writeFileSync(`${root}/a`, 'moved')
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  fs.renameSync(`${root}/a`, `${root}/z`)
  fs.writeFileSync(`${root}/a`, 'new')
  // So many changes between the two are not written together.
  fs.mkdirSync(`${root}/m`)
  for (let i = 0; i < IMPORT_ENTRIES_MAX; i++) fs.writeFileSync(`${root}/m/${i}`, '')
  const report = await share.import()
  t.is(report.reused, 1)
  t.alike(report.lost, [])
  const { feed } = await share.folder.blobs()
  const blob = share.folder.catalog.get('/z')?.entry.blob ?? null
  t.ok(blob !== null && isHeld({ feed }, blob))
})

test('reuse: a repair brings what differs, and a stop before it is seen', async (t) => {
  const root = await t.tmp()
  const large = bytesOf(30 * BLOCK, 3)
  fs.writeFileSync(`${root}/large`, large)
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const { dir, clone } = await cloneFrom(t, source, share.key)
  large.writeUInt8(large.readUInt8(3 * BLOCK) ^ 1, 3 * BLOCK)
  fs.writeFileSync(`${dir}/large`, large)

  const received = await countBlobs(clone)
  const moved = await clone.clone.discard('/large')
  t.ok(fs.readFileSync(path.join(dir, moved ?? '')).equals(large), 'it is in the trash')
  t.alike((await folderStatus(clone.folder)).missing, { entries: 1, bytes: 30 * BLOCK })
  await clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
  t.is(received(), BLOCK)
  t.alike(treeOf(dir), treeOf(root))
})

test('reuse: a clone onto a copy brings what differs', async (t) => {
  const root = await t.tmp()
  const large = bytesOf(30 * BLOCK, 3)
  fs.writeFileSync(`${root}/large`, large)
  for (let i = 0; i < 20; i++) fs.writeFileSync(`${root}/file-${i}`, bytesOf(30_000, 100 + i))
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()

  const dir = path.join(await t.tmp(), 'copy')
  fs.cpSync(root, dir, { recursive: true, filter: (from) => !from.endsWith('.syncline') })
  large.writeUInt8(large.readUInt8(3 * BLOCK) ^ 1, 3 * BLOCK)
  fs.writeFileSync(`${dir}/large`, large)
  fs.writeFileSync(`${dir}/mine`, 'mine')
  const node = await openNode(t)
  await t.exception(openClone(t, node, share.key, dir), /REFUSED/)
  const clone = await openClone(t, node, share.key, dir, { force: true })
  await join(node, source)
  await clone.index.synced({ timeoutMs: UPDATE_MS })
  const received = await countBlobs(clone)
  const report = await clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
  t.is(received(), BLOCK)
  t.is(report.adopted, 29 + 20)
  t.is(fs.readFileSync(`${dir}/mine`, 'utf8'), 'mine', 'files of the user stay')
  const [conflict] = report.conflicts
  t.is(conflict?.name, '/large', 'and what he had under a name of the drive')
  t.ok(fs.readFileSync(`${dir}/${conflict?.path ?? ''}`).equals(large))
  fs.rmSync(`${dir}/mine`)
  fs.rmSync(`${dir}/${conflict?.path ?? ''}`)
  t.alike(treeOf(dir), treeOf(root))
})

test('reuse: thousands of small files come to a folder where some stand in the way', async (t) => {
  const root = await t.tmp()
  for (let i = 0; i < 3000; i++) {
    if (i % 100 === 0) fs.mkdirSync(`${root}/${i / 100}`)
    fs.writeFileSync(`${root}/${Math.floor(i / 100)}/${i}`, `content ${i}`)
  }
  for (const name of ['kept', 'twin']) fs.writeFileSync(`${root}/${name}`, 'the same twice')
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()

  const dir = path.join(await t.tmp(), 'copy')
  for (const folder of ['0', '1', '2', '3']) fs.mkdirSync(`${dir}/${folder}`, { recursive: true })
  fs.writeFileSync(`${dir}/0/7`, 'mine')
  fs.symlinkSync('nowhere', `${dir}/1/100`)
  fs.mkdirSync(`${dir}/2/200`)
  fs.writeFileSync(`${dir}/2/200/below`, 'mine too')
  fs.writeFileSync(`${dir}/3/300`, 'content 300')
  fs.writeFileSync(`${dir}/4`, 'a file where a folder comes')
  const node = await openNode(t)
  const clone = await openClone(t, node, share.key, dir, { force: true })
  await join(node, source)
  const report = await clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
  t.alike(report.skipped, [])
  t.is(report.added, 3002)
  const conflicts = report.conflicts.map(({ name }) => name).toSorted()
  t.alike(conflicts, ['/0/7', '/1/100', '/2/200', '/4'])
  const moved = new Map(report.conflicts.map(({ name, path: at }) => [name, `${dir}/${at}`]))
  t.is(fs.readFileSync(moved.get('/0/7') as string, 'utf8'), 'mine')
  t.is(fs.readlinkSync(moved.get('/1/100') as string), 'nowhere')
  t.is(fs.readFileSync(`${moved.get('/2/200')}/below`, 'utf8'), 'mine too')
  t.is(fs.readFileSync(moved.get('/4') as string, 'utf8'), 'a file where a folder comes')
  for (const at of moved.values()) fs.rmSync(at, { recursive: true })
  t.alike(treeOf(dir), treeOf(root))
  t.alike(fs.readdirSync(`${dir}/.syncline/incoming`), [])
})

test('reuse: changed files become what thousands of new ones are', async (t) => {
  const root = await t.tmp()
  for (let i = 0; i < 300; i++) fs.writeFileSync(`${root}/z${i}`, `old ${i}`)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const { clone, report } = await cloneFrom(t, source, share.key)
  t.is(report.added, 300)
  for (let i = 0; i < 3000; i++) fs.writeFileSync(`${root}/a${i}`, `new ${i}`)
  for (let i = 0; i < 300; i++) fs.writeFileSync(`${root}/z${i}`, `new ${10 * i}`)
  const received = await countBlobs(clone)
  await follow(t, share, clone)
  t.is(received(), 3000 * 4 + 10 + 90 * 2 + 900 * 3 + 2000 * 4, 'what is equal comes once')
})

test('reuse: files, folders and links take each other’s places', async (t) => {
  const root = await t.tmp()
  const put = {
    file: (name: string) => fs.writeFileSync(name, 'content'),
    empty: (name: string) => fs.writeFileSync(name, ''),
    large: (name: string) => fs.writeFileSync(name, bytesOf(100_000, 7)),
    link: (name: string) => fs.symlinkSync('elsewhere', name),
    folder: (name: string) => fs.mkdirSync(name),
    full: (name: string) => {
      fs.mkdirSync(name)
      fs.writeFileSync(`${name}/below`, 'below')
    }
  }
  const kinds = Object.keys(put) as (keyof typeof put)[]
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  const pairs = kinds.flatMap((from) => kinds.map((to) => [from, to] as const))
  fs.writeFileSync(`${root}/stays`, 'stays')
  for (const [from, to] of pairs) put[from](`${root}/${from}-${to}`)
  age(root)
  await share.import()
  const { clone } = await cloneFrom(t, source, share.key)
  t.alike(treeOf(clone.folder.root), treeOf(root))
  for (const [from, to] of pairs) {
    fs.rmSync(`${root}/${from}-${to}`, { recursive: true })
    put[to](`${root}/${from}-${to}`)
  }
  await follow(t, share, clone)
})

test('reuse: blocks that were lost are held again, from the file or from peers', async (t) => {
  const root = await t.tmp()
  for (const name of ['same', 'edited', 'gone']) fs.writeFileSync(`${root}/${name}`, name)
  fs.writeFileSync(`${root}/large`, bytesOf(5 * BLOCK, 1))
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const { clone } = await cloneFrom(t, source, share.key)
  const dir = clone.folder.root
  const { feed } = await clone.folder.blobs()
  const received = await countBlobs(clone)
  fs.writeFileSync(`${dir}/edited`, 'mine')
  fs.rmSync(`${dir}/gone`)
  await feed.forget(Array.from({ length: feed.length }, (_, i) => i))
  const report = await clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
  t.alike(report.conflicts, [])
  t.is(received(), 0)
  t.is(fs.readFileSync(`${dir}/edited`, 'utf8'), 'mine', 'edits are left alone')
  t.absent(fs.existsSync(`${dir}/gone`), 'and so is what was deleted')
  for (const name of ['same', 'large']) {
    const blob = clone.folder.catalog.get(`/${name}`)?.entry.blob ?? null
    t.ok(blob !== null && isHeld({ feed }, blob), `${name} is held again`)
  }
})
