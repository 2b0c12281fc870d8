/** Files of a clone that move, give way, or cannot be reached. */
import fs from 'node:fs'
import c from 'compact-encoding'
import test from 'brittle'
import type { CloneReport } from '../../lib/drive/clone.ts'
import type { ClonedFolder } from '../../lib/drive/cloned-folder.ts'
import type { BlobRange } from '../../lib/drive/entry.ts'
import { EXACT_NAMES, FileNames } from '../../lib/drive/folder/file-names.ts'
import { verifyFolder } from '../../lib/drive/verify.ts'
import { DRIVE_BLOCK_BYTES, FOLDER_TRUST_MS } from '../../lib/limits.ts'
import {
  age,
  asUser,
  bring,
  bytesOf,
  cloneFrom,
  openClone,
  openPair,
  RawDrive,
  treeOf,
  until,
  UPDATE_MS,
  writeTree
} from './folders.ts'

/** Folders that were no links are looked at again. */
function pastTrust(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2 * FOLDER_TRUST_MS))
}

/** Brings a clone to what a drive is. */
async function follow(raw: RawDrive, clone: ClonedFolder): Promise<CloneReport> {
  await until(() => clone.index.length === raw.drive.version, 'the index came')
  return clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
}

/** What a look at all files finds bad. */
async function badIn({ folder }: ClonedFolder): Promise<string[]> {
  const { bad } = await verifyFolder(folder)
  return bad.map(({ name, verdict }) => `${name} ${verdict}`)
}

/** Stores the map of a file that has the blocks of others. */
async function storeMap(raw: RawDrive, ...blobs: BlobRange[]): Promise<BlobRange> {
  const numbers: number[] = []
  for (const { blockOffset, blockLength, byteLength } of blobs) {
    for (let i = 0; i < blockLength; i++) {
      numbers.push(blockOffset + i, Math.min(DRIVE_BLOCK_BYTES, byteLength - DRIVE_BLOCK_BYTES * i))
    }
  }
  const map = [0, numbers.length / 2, ...numbers].map((number) => c.encode(c.uint, number))
  return { ...(await raw.store(Buffer.concat(map))), blockMap: true }
}

/** What files and links of a folder hold, by their paths below it. */
function contentsOf(dir: string): Record<string, string> {
  const contents: Record<string, string> = {}
  const look = (below: string): void => {
    for (const entry of fs.readdirSync(`${dir}/${below}`, { withFileTypes: true })) {
      const at = `${below}${entry.name}`
      if (entry.isDirectory() && entry.name !== '.syncline') look(`${at}/`)
      else if (entry.isFile()) contents[at] = fs.readFileSync(`${dir}/${at}`, 'utf8')
      else if (entry.isSymbolicLink()) contents[at] = `-> ${fs.readlinkSync(`${dir}/${at}`)}`
    }
  }
  look('')
  return contents
}

test('placing: a file moves into a folder that takes its name', async (t) => {
  await asUser(async () => {
    for (const keep of ['30d', '0']) {
      const pair = await openPair(t, { x: 'c', y: 'other' }, { keep })
      const { dir, root } = pair
      fs.renameSync(`${root}/x`, `${root}/t`)
      fs.mkdirSync(`${root}/x`)
      fs.renameSync(`${root}/t`, `${root}/x/x`)
      const { skipped, conflicts } = await bring(pair)
      t.alike([skipped, conflicts], [[], []])
      t.alike(treeOf(dir), treeOf(root))
      t.is(fs.statSync(`${dir}/x`).mode & 0o700, 0o700)
      fs.writeFileSync(`${root}/x/x`, 'changed')
      fs.writeFileSync(`${root}/x/new`, 'new')
      age(root)
      t.alike((await bring(pair)).skipped, [])
      t.alike(treeOf(dir), treeOf(root))
    }
  })
})

test('placing: a folder that the user moved away and linked to loses nothing', async (t) => {
  const files = { 'd/f': 'inside', 'd/g': 'other', 'd/same': 'twice', 'e/h': 'h' }
  const pair = await openPair(t, files)
  const { dir, root } = pair
  const away = `${dir}/../away`
  fs.renameSync(`${dir}/d`, away)
  fs.symlinkSync(away, `${dir}/d`)
  const before = treeOf(away)
  fs.renameSync(`${root}/d/f`, `${root}/e/f`)
  fs.rmSync(`${root}/d/g`)
  await pastTrust()
  const { skipped, conflicts } = await bring(pair)
  t.alike([skipped, conflicts], [[], []])
  t.is(fs.readFileSync(`${dir}/e/f`, 'utf8'), 'inside')
  t.alike(treeOf(away), before, 'what lies elsewhere is the user’s')
  t.ok(fs.lstatSync(`${dir}/d`).isSymbolicLink())
})

test('placing: what was edited behind a link ends no update, and no repair', async (t) => {
  const pair = await openPair(t, { 'd/f': 'f', 'd/g': 'g', h: 'h' })
  const { dir, root, clone } = pair
  const away = `${dir}/../away`
  fs.renameSync(`${dir}/d`, away)
  fs.symlinkSync(away, `${dir}/d`)
  fs.writeFileSync(`${away}/f`, 'mine')
  fs.writeFileSync(`${away}/g`, 'mine too')
  fs.rmSync(`${root}/d/f`)
  fs.writeFileSync(`${root}/h`, 'changed')
  await pastTrust()
  const { skipped, conflicts, removed } = await bring(pair)
  t.alike([skipped, conflicts, removed], [[], [], 1])
  t.is(fs.readFileSync(`${dir}/h`, 'utf8'), 'changed')
  t.is(await clone.clone.discard('/d/g'), null, 'nothing of the folder stands there')
  t.is((await bring(pair)).conflicts[0]?.name, '/d', 'the link gives way when a file comes again')
  t.alike(treeOf(dir)['/d/g'], treeOf(root)['/d/g'])
  t.is(fs.readFileSync(`${away}/f`, 'utf8'), 'mine')
  t.is(fs.readFileSync(`${away}/g`, 'utf8'), 'mine too')
})

test('placing: a folder that may not be entered keeps out its own files, and no others', async (t) => {
  const ran = await asUser(async () => {
    const files = {
      'd/changed': 'old',
      'd/large': bytesOf(3_000_000, 1),
      'd/moves': 'moves',
      'd/lost': 'lost',
      z: 'z'
    }
    const pair = await openPair(t, files)
    const { dir, root, clone } = pair
    const { feed } = await clone.folder.blobs()
    const lost = clone.folder.catalog.get('/d/lost')?.entry.blob
    if (lost == null) return t.fail('it came')
    await feed.release([[lost.blockOffset, lost.blockOffset + lost.blockLength]])
    fs.renameSync(`${root}/d/moves`, `${root}/moves`)
    writeTree(root, {
      'd/changed': 'new',
      'd/copy': 'z',
      'd/large': bytesOf(3_000_000, 2),
      z: 'new'
    })
    fs.chmodSync(`${dir}/d`, 0)
    try {
      await pastTrust()
      const { skipped, conflicts } = await bring(pair)
      const names = skipped.map(({ name, reason }) => `${name} ${reason}`).sort()
      t.alike(
        names,
        ['changed', 'copy', 'large', 'lost', 'moves'].map((at) => `/d/${at} EACCES`)
      )
      t.alike(conflicts, [])
      t.is(fs.readFileSync(`${dir}/z`, 'utf8'), 'new')
      t.is(fs.readFileSync(`${dir}/moves`, 'utf8'), 'moves')
    } finally {
      fs.chmodSync(`${dir}/d`, 0o755)
    }
    const { skipped, conflicts } = await bring(pair)
    t.alike([skipped, conflicts], [[], []])
    t.alike(treeOf(dir), treeOf(root))
  })
  if (!ran) t.comment('there is no other user here')
})

test('placing: a file that is here gives way to a folder of its name, and stays ours', async (t) => {
  const raw = await RawDrive.open(t)
  const blob = await raw.store('file')
  const other = await raw.store('other')
  await raw.putEntries({ '/a': { blob }, '/l': { linkname: 'a' }, '/c': { blob: other } })
  const { dir, clone } = await cloneFrom(t, raw.node, raw.key)
  const { feed } = await clone.folder.blobs()
  const below = await raw.store('below')
  await raw.putEntries({
    '/a/b': { blob: below },
    '/c': { blob: below },
    '/c/d': { blob },
    '/l/b': { blob: below }
  })
  const first = await follow(raw, clone)
  t.alike([first.conflicts, first.skipped, first.removed], [[], [], 0])
  const paths = Object.fromEntries(first.renamed.map(({ name, path }) => [name, path]))
  t.alike(Object.keys(paths).sort(), ['/a', '/c', '/l'])
  t.alike(contentsOf(dir), {
    'a/b': 'below',
    'c/d': 'file',
    'l/b': 'below',
    [paths['/a'] as string]: 'file',
    [paths['/c'] as string]: 'below',
    [paths['/l'] as string]: '-> a'
  })
  t.ok(feed.have.hasAll(blob.blockOffset, blob.blockOffset + blob.blockLength))
  t.alike((await feed.audit()).bad, [])
  const again = await follow(raw, clone)
  t.is(again.added + again.changed + again.removed + again.conflicts.length, 0)
  await raw.putEntries({ '/a': { blob: below } })
  t.alike((await follow(raw, clone)).conflicts, [])
  t.is(contentsOf(dir)[paths['/a'] as string], 'below')
})

test('placing: a file that gave way right before a stop is found where it went', async (t) => {
  const raw = await RawDrive.open(t)
  const blob = await raw.store('file')
  await raw.putEntries({ '/a': { blob } })
  const { dir, clone } = await cloneFrom(t, raw.node, raw.key)
  const names = new FileNames(EXACT_NAMES)
  for (const name of ['/a', '/a/b']) names.add(name)
  fs.renameSync(`${dir}/a`, `${dir}/${names.pathOf('/a') ?? ''}`)
  await raw.putEntries({ '/a/b': { blob: await raw.store('below') } })
  const { conflicts, added } = await follow(raw, clone)
  t.alike([conflicts, added], [[], 1])
  t.alike(contentsOf(dir), { 'a/b': 'below', [names.pathOf('/a') ?? '']: 'file' })
  t.alike((await (await clone.folder.blobs()).feed.audit()).bad, [])
})

test('placing: what the user made of a file that gives way is kept', async (t) => {
  const raw = await RawDrive.open(t)
  const blob = await raw.store('file')
  await raw.putEntries({ '/a': { blob } })
  const { dir, clone } = await cloneFrom(t, raw.node, raw.key)
  fs.writeFileSync(`${dir}/a`, 'mine')
  await raw.putEntries({ '/a/b': { blob } })
  const { conflicts } = await follow(raw, clone)
  t.is(conflicts.length, 1)
  t.is(contentsOf(dir)[conflicts[0]?.path ?? ''], 'mine')
  t.is(contentsOf(dir)['a/b'], 'file')
})

test('placing: files whose blocks are listed in maps are verified, and replaced with no harm to the maps', async (t) => {
  const raw = await RawDrive.open(t)
  const shared = await raw.store('shared')
  const own = await raw.store('own')
  const more = await raw.store(bytesOf(100_000, 1))
  const first = await storeMap(raw, shared, own)
  const second = await storeMap(raw, own, more, shared)
  await raw.putEntries({ '/a': { blob: first }, '/b': { blob: second }, '/c': { blob: first } })
  const { node, dir, clone } = await cloneFrom(t, raw.node, raw.key)
  t.is(fs.readFileSync(`${dir}/a`, 'utf8'), 'sharedown')
  const { feed } = await clone.folder.blobs()
  t.alike(await badIn(clone), [])
  fs.appendFileSync(`${dir}/b`, 'mine')
  t.alike(await badIn(clone), ['/b edited'])
  const third = await storeMap(raw, shared, shared)
  await raw.putEntries({ '/a': { blob: third }, '/b': { blob: third } })
  const { conflicts, skipped } = await follow(raw, clone)
  t.alike([conflicts.map(({ name }) => name), skipped], [['/b'], []])
  t.is(fs.readFileSync(`${dir}/a`, 'utf8'), 'sharedshared')
  t.alike(await badIn(clone), [])
  const maps = [first, second].map(({ blockOffset }) => feed.have.get(blockOffset))
  t.alike([(await feed.audit()).bad, maps], [[], [true, true]])
  const { blockMap: _, ...plain } = first
  await raw.putEntries({ '/d': { blob: plain } })
  await raw.drive.del('/c')
  t.alike((await follow(raw, clone)).skipped, [])
  t.is(fs.statSync(`${dir}/d`).size, first.byteLength, 'a map is a file of its own for who says so')
  t.alike((await feed.audit()).bad, [])
  await clone.close()
  const again = await openClone(t, node, raw.key, dir)
  t.alike((await (await again.folder.blobs()).feed.audit()).bad, [], 'nor does the trash hold them')
  t.ok(await again.clone.discard('/a'))
  t.alike((await (await again.folder.blobs()).feed.audit()).bad, [])
  t.is((await follow(raw, again)).added, 1)
  t.is(fs.readFileSync(`${dir}/a`, 'utf8'), 'sharedshared')
})
