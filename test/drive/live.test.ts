/** Shares and clones that live: edits on both sides, several at once, sources that come and go. */
import fs from 'node:fs'
import path from 'node:path'
import test from 'brittle'
import type { ClonedFolder } from '../../lib/drive/cloned-folder.ts'
import { Drive } from '../../lib/drive/drive.ts'
import { DriveFolder } from '../../lib/drive/folder/drive-folder.ts'
import type { SharedFolder } from '../../lib/drive/shared-folder.ts'
import { random } from './hyperbee.ts'
import {
  age,
  bring,
  bytesOf,
  cloneFrom,
  join,
  openClone,
  openNode,
  openPair,
  openShare,
  treeOf,
  until,
  UPDATE_MS,
  writeTree,
  type Node
} from './folders.ts'

/** What two trees differ in. */
function differences(a: Record<string, string>, b: Record<string, string>): string[] {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((n) => a[n] !== b[n])
  return names.map((name) => `${name}: ${a[name]} | ${b[name]}`)
}

/** Contents of all files below a folder, the state included, with how often they are there. */
function contents(dir: string): Set<string> {
  const found = new Set<string>()
  for (const entry of fs.readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (entry.isFile())
      found.add(fs.readFileSync(path.join(entry.parentPath, entry.name), 'latin1'))
  }
  return found
}

test('live: local edits without a remote change stay as they are', async (t) => {
  const pair = await openPair(t, { a: 'a', b: 'b', c: 'c', 'd/e': 'e', 'd/f': 'f' })
  const { dir, root } = pair
  writeTree(dir, { a: 'mine', new: 'new', 'd/new': 'new' })
  fs.rmSync(`${dir}/b`)
  fs.chmodSync(`${dir}/c`, 0o600)
  fs.renameSync(`${dir}/d/e`, `${dir}/d/moved`)
  const before = treeOf(dir)
  writeTree(root, { other: 'other' })
  const report = await bring(pair)
  t.alike(report.conflicts, [])
  t.alike(report.skipped, [])
  const { '/other': other, ...rest } = treeOf(dir)
  t.ok(other)
  t.alike(rest, before)
})

test('live: local edits with a remote change get a name of their own', async (t) => {
  const pair = await openPair(t, {
    'same.txt': 'old',
    'edited.txt': 'old',
    'gone.txt': 'old',
    'deleted here': 'old',
    'deleted there': 'old',
    'deleted both': 'old',
    large: bytesOf(300_000, 1),
    touched: 'old',
    equal: 'old'
  })
  const { dir, root } = pair
  const mine = bytesOf(300_100, 2)
  writeTree(dir, {
    'edited.txt': 'mine',
    'deleted there': 'mine too',
    large: mine,
    equal: 'new for both',
    'new there': 'mine as well',
    'folder there': 'a file of mine'
  })
  fs.rmSync(`${dir}/deleted here`)
  fs.rmSync(`${dir}/deleted both`)
  fs.utimesSync(`${dir}/touched`, 5, 5)
  writeTree(root, {
    'edited.txt': 'theirs',
    'deleted here': 'theirs',
    large: bytesOf(300_000, 3),
    touched: 'theirs',
    equal: 'new for both',
    'new there': 'theirs',
    'folder there/inside': 'theirs'
  })
  for (const name of ['deleted there', 'deleted both', 'gone.txt']) fs.rmSync(`${root}/${name}`)
  const report = await bring(pair)
  t.alike(report.skipped, [])
  t.alike(report.conflicts.map(({ name }) => name).sort(), [
    '/deleted there',
    '/edited.txt',
    '/folder there',
    '/large',
    '/new there'
  ])
  const kept = Object.fromEntries(
    report.conflicts.map(({ name, path: at }) => [name, fs.readFileSync(`${dir}/${at}`)])
  )
  t.is(String(kept['/edited.txt']), 'mine')
  t.is(String(kept['/deleted there']), 'mine too')
  t.is(String(kept['/new there']), 'mine as well')
  t.is(String(kept['/folder there']), 'a file of mine')
  t.ok(kept['/large']?.equals(mine))
  t.ok(report.conflicts.some(({ path: at }) => /^edited\.conflict-\d{8}-\d{6}\.txt$/.test(at)))
  const tree = treeOf(dir)
  for (const { path: at } of report.conflicts) delete tree[`/${at}`]
  t.alike(tree, treeOf(root))
  // They are the user's, and stay through more updates.
  writeTree(root, { 'edited.txt': 'theirs again' })
  const next = await bring(pair)
  t.alike(next.conflicts, [])
  t.is(contents(dir).has('mine'), true)
})

test('live: an edited file is the user’s however often the drive touches it', async (t) => {
  const pair = await openPair(t, { file: 'old' }, { keep: '0' })
  const { dir, root } = pair
  fs.writeFileSync(`${dir}/file`, 'mine')
  for (const seconds of [1000, 2000, 3000]) {
    fs.utimesSync(`${root}/file`, seconds, seconds)
    await bring(pair)
  }
  t.not(fs.statSync(`${dir}/file`).mtimeMs, 3_000_000, 'its time is its own')
  fs.writeFileSync(`${root}/file`, 'theirs')
  const report = await bring(pair)
  t.alike(
    report.conflicts.map(({ name }) => name),
    ['/file']
  )
  t.ok(contents(dir).has('mine'))
})

test('live: an empty folder comes and goes where its pattern takes all in it', async (t) => {
  const pair = await openPair(t, { 'd/a': 'a', b: 'b' }, { only: ['/d/'] })
  const { dir, root } = pair
  fs.rmSync(`${root}/d/a`)
  await bring(pair)
  t.alike(treeOf(dir), { '/d/': 'empty' })
  fs.rmdirSync(`${root}/d`)
  await bring(pair)
  t.alike(treeOf(dir), {})
})

test('live: files in places of folders, and folders in places of files', async (t) => {
  const pair = await openPair(t, {
    'file to folder': 'x',
    'folder to file/a': 'a',
    'folder to file/b/c': 'c',
    'kept/a': 'a',
    'link to folder': 'x'
  })
  const { dir, root } = pair
  // The user's own things stand in what becomes a file.
  writeTree(dir, { 'kept/mine': 'mine', 'folder to file/b/mine': 'mine below' })
  fs.rmSync(`${root}/file to folder`)
  fs.rmSync(`${root}/folder to file`, { recursive: true })
  fs.rmSync(`${root}/kept`, { recursive: true })
  fs.rmSync(`${root}/link to folder`)
  writeTree(root, {
    'file to folder/inside': 'inside',
    'folder to file': 'file',
    kept: 'file',
    'link to folder/a': 'a'
  })
  const report = await bring(pair)
  t.comment(JSON.stringify(report.conflicts), JSON.stringify(report.skipped))
  t.ok(contents(dir).has('mine'), "what is the user's is not lost")
  t.ok(contents(dir).has('mine below'))
  const tree = treeOf(dir, { times: false })
  t.is(tree['/file to folder/inside'], '644 6 "inside"')
  t.is(tree['/link to folder/a'], '644 1 "a"')
  t.is(tree['/folder to file'], '644 4 "file"')
  t.is(tree['/kept'], '644 4 "file"')
  const again = await bring(pair)
  t.is(again.added + again.changed + again.removed + again.conflicts.length, 0)
})

test('live: a file takes the place of the folder that it was in, with no trash between', async (t) => {
  const files = { 'd/a': 'content', 'd/sub/b': 'b', e: 'e', same: 'content' }
  const pair = await openPair(t, files, { keep: '0' })
  const { dir, root } = pair
  fs.rmSync(`${root}/same`)
  fs.renameSync(`${root}/d/a`, `${root}/moved`)
  fs.rmSync(`${root}/d`, { recursive: true })
  fs.renameSync(`${root}/moved`, `${root}/d`)
  const report = await bring(pair)
  t.alike(report.skipped, [])
  t.alike(treeOf(dir), treeOf(root))
  t.alike(fs.readdirSync(`${dir}/.syncline/incoming`), [])
})

test('live: a file takes the place of a folder, and what it was copied from changes', async (t) => {
  const pair = await openPair(t, { 'd/a': 'a', 'd/sub/b': 'b', e: 'content' }, { keep: '0' })
  const { dir, root } = pair
  fs.rmSync(`${root}/d`, { recursive: true })
  fs.renameSync(`${root}/e`, `${root}/d`)
  fs.writeFileSync(`${root}/e`, 'new')
  const report = await bring(pair)
  t.alike(report.skipped, [])
  t.alike(treeOf(dir), treeOf(root))
  t.alike(fs.readdirSync(`${dir}/.syncline/incoming`), [])
})

test('live: an edited file and a copy of what it was', async (t) => {
  const text = bytesOf(100_000, 5)
  const pair = await openPair(t, { a: text })
  const { dir, root } = pair
  fs.writeFileSync(`${dir}/a`, 'mine')
  fs.copyFileSync(`${root}/a`, `${root}/b`)
  const report = await bring(pair)
  t.alike(report.conflicts, [])
  t.is(fs.readFileSync(`${dir}/a`, 'utf8'), 'mine')
  t.ok(fs.readFileSync(`${dir}/b`).equals(text), 'it is fetched again')
  // A drive over the folder's feeds reads what the file was, too.
  const { clone } = pair
  const drive = new Drive(clone.index, (await clone.blobs()) as never)
  t.ok((await drive.get('/a', { timeoutMs: 5000 }))?.equals(text))
  t.is(fs.readFileSync(`${dir}/a`, 'utf8'), 'mine')
})

test('live: what an edited file was is read through the clone, from peers', async (t) => {
  const text = bytesOf(200_000, 6)
  const { dir, clone } = await openPair(t, { a: text })
  fs.writeFileSync(`${dir}/a`, 'mine')
  const drive = new Drive(clone.index, (await clone.blobs()) as never)
  for (let i = 0; i < 2; i++) {
    t.ok((await drive.get('/a', { timeoutMs: 5000 }))?.equals(text), `read ${i}`)
  }
  t.is(fs.readFileSync(`${dir}/a`, 'utf8'), 'mine')
})

test('live: a clone seeds while the first source is gone', { timeout: 60_000 }, async (t) => {
  const files: Record<string, Uint8Array> = { large: bytesOf(3_000_000, 1) }
  for (let i = 0; i < 200; i++) files[`small/${i}`] = bytesOf(700, i)
  const pair = await openPair(t, files)
  const expected = treeOf(pair.root)
  await pair.share.close()
  await pair.source.sync.close()
  for (const name of fs.readdirSync(pair.root)) {
    fs.rmSync(path.join(pair.root, name), { recursive: true })
  }
  const second = await cloneFrom(t, pair.node, pair.share.key)
  t.alike(treeOf(second.dir), expected)
  t.alike(second.report.skipped, [])
  // What the middle one deletes is told to be gone, and comes from the other.
  fs.rmSync(`${pair.dir}/large`)
  const third = await openNode(t)
  await join(third, pair.node)
  await join(third, second.node)
  const dir = path.join(await t.tmp(), 'third')
  const clone = await openClone(t, third, pair.share.key, dir)
  await clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
  t.alike(treeOf(dir), expected)
})

test('live: three clones follow a folder that is edited', { timeout: 120_000 }, async (t) => {
  const root = fs.realpathSync(await t.tmp())
  for (let i = 0; i < 40; i++) writeTree(root, { [`${i % 5}/${i}`]: bytesOf(100 * i, i) })
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const following: Promise<void>[] = [share.follow({ maxDelete: 1000 })]
  const clones: { dir: string; clone: ClonedFolder; node: Node }[] = []
  for (let i = 0; i < 3; i++) {
    const node = await openNode(t)
    const dir = path.join(await t.tmp(), `clone ${i}`)
    const clone = await openClone(t, node, share.key, dir)
    await join(node, source)
    const [first] = clones
    if (first !== undefined) await join(node, first.node)
    clones.push({ node, dir, clone })
    following.push(clone.follow())
  }
  const next = random(11)
  for (let step = 0; step < 150; step++) {
    const name = `${root}/${next(5)}/${next(40)}`
    const kind = next(6)
    if (kind === 0) fs.rmSync(name, { force: true, recursive: true })
    else if (kind === 1 && fs.existsSync(name)) fs.renameSync(name, `${name}-moved`)
    else if (kind === 2) {
      fs.rmSync(name, { force: true, recursive: true })
      writeTree(name, { inside: `step ${step}` })
    } else {
      fs.rmSync(name, { force: true, recursive: true })
      const content = bytesOf(next(5000) * (kind === 3 ? 50 : 1), step)
      writeTree(path.dirname(name), { [path.basename(name)]: content })
    }
    await new Promise((resolve) => setTimeout(resolve, next(30)))
  }
  await until(
    () => {
      const want = JSON.stringify(treeOf(root))
      return clones.every(({ dir }) => JSON.stringify(treeOf(dir)) === want)
    },
    'all are equal',
    60_000
  ).catch((error: unknown) => t.fail(String(error)))
  for (const { dir } of clones) t.alike(differences(treeOf(root), treeOf(dir)), [])
  await share.close()
  for (const { clone } of clones) await clone.close()
  await Promise.all(following)
})

test('live: a version that is replaced midway', { timeout: 60_000 }, async (t) => {
  const pair = await openPair(t, { first: 'first' })
  const { source, share, root, clone, dir } = pair
  const superseded: number[] = []
  clone.clone.on('superseded', (version) => superseded.push(version))
  const drops = bytesOf(6_000_000, 1)
  writeTree(root, { drops, stays: bytesOf(100_000, 2) })
  await share.import()
  await until(() => clone.index.length === share.folder.index.version, 'the index came')
  source.sync.setLimits({ upload: 1_000_000, download: 0 })
  const update = clone.update({ signal: AbortSignal.timeout(50_000) })
  await until(() => clone.clone.progress.now.bytes > 300_000, 'some of it came')
  fs.rmSync(`${root}/drops`)
  writeTree(root, { instead: 'instead' })
  age(root)
  await share.import()
  source.sync.setLimits({ upload: 0, download: 0 })
  const report = await update
  t.is(report.version, share.folder.index.version)
  t.ok(superseded.length > 0)
  t.alike(treeOf(dir), treeOf(root))
  t.alike(fs.readdirSync(`${dir}/.syncline/incoming`), [], 'what came in vain is cleared away')
})

test('live: two shares, clones and readers at once', { timeout: 60_000 }, async (t) => {
  const source = await openNode(t)
  const roots = [fs.realpathSync(await t.tmp()), fs.realpathSync(await t.tmp())]
  const shares: SharedFolder[] = []
  for (const [i, root] of roots.entries()) {
    for (let n = 0; n < 50; n++) writeTree(root, { [`${i}/${n}`]: bytesOf(2000 * n, 50 * i + n) })
    age(root)
    shares.push(await openShare(t, source, root))
  }
  await Promise.all(shares.map((share) => share.import()))
  const both = await openNode(t)
  await join(both, source)
  const dirs = await Promise.all(
    shares.map(async (share, i) => {
      const dir = path.join(await t.tmp(), `clone ${i}`)
      const clone = await openClone(t, both, share.key, dir)
      await clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
      return dir
    })
  )
  for (const [i, dir] of dirs.entries()) {
    t.alike(treeOf(dir), treeOf(roots[i] as string))
    const before = fs.readdirSync(`${dir}/.syncline/blobs`).sort()
    // Others read the clone and the share while both are open.
    for (const folder of [dir, roots[i] as string]) {
      const reader = await openNode(t)
      const opened = await DriveFolder.open(reader.sync, folder, { readOnly: true })
      const { session } = await opened.blobs()
      const drive = new Drive(opened.indexSession, session)
      const names: string[] = []
      for await (const { key } of drive.list('/')) names.push(key)
      t.is(names.length, 50)
      t.ok((await drive.get(`/${i}/49`))?.equals(bytesOf(2000 * 49, 50 * i + 49)))
      await opened.close()
    }
    t.alike(fs.readdirSync(`${dir}/.syncline/blobs`).sort(), before)
  }
  // A second writer of one share is told so.
  const other = await openNode(t)
  const found = await source.registry.find(roots[0] as string)
  if (found !== null) await other.registry.put(found)
  await t.exception(openShare(t, other, roots[0] as string), /FEED_LOCKED/)
})

test('live: files that are away for a while are served again when they are back', async (t) => {
  const files: Record<string, Uint8Array> = { 'd/large': bytesOf(2_500_000, 1) }
  for (let i = 0; i < 20; i++) files[`d/${i}`] = bytesOf(900, i)
  const root = fs.realpathSync(await t.tmp())
  writeTree(root, files)
  age(root)
  const store = await t.tmp()
  const first = await openNode(t, store)
  const share = await openShare(t, first, root)
  await share.import()
  await new Promise((resolve) => setTimeout(resolve, 2100))
  t.is((await share.import()).changes, 0)
  fs.renameSync(`${root}/d`, `${root}/../away-${process.pid}`)
  // Somebody asks meanwhile: nothing of it can be given.
  const blobs = await share.folder.blobs()
  for (let i = 0; i < blobs.feed.length; i++) t.absent(await blobs.feed.read(i))
  fs.renameSync(`${root}/../away-${process.pid}`, `${root}/d`)
  await share.close()
  await first.sync.close()
  const second = await openNode(t, store)
  const again = await openShare(t, second, root)
  const { length } = (await again.folder.blobs()).feed
  t.is((await again.import()).changes, 0)
  t.is((await again.folder.blobs()).feed.length, length, 'nothing is stored anew')
  const { dir } = await cloneFrom(t, second, share.key)
  t.alike(treeOf(dir), treeOf(root))
})

test('live: a share that is opened again and finds nothing new serves', async (t) => {
  const root = fs.realpathSync(await t.tmp())
  writeTree(root, { a: 'a', b: bytesOf(100_000, 1) })
  age(root)
  const store = await t.tmp()
  const first = await openNode(t, store)
  const share = await openShare(t, first, root)
  await share.import()
  await share.close()
  await first.sync.close()
  const second = await openNode(t, store)
  await (await openShare(t, second, root)).import()
  const { dir } = await cloneFrom(t, second, share.key)
  t.alike(treeOf(dir), treeOf(root))
})

test('live: deletes that the trash would not keep are held back', async (t) => {
  const files: Record<string, Buffer> = {}
  for (let i = 0; i < 14; i++) files[`f${i}`] = bytesOf(2 << 20, i + 1)
  const pair = await openPair(t, files)
  const { dir, root } = pair
  for (let i = 0; i < 12; i++) fs.rmSync(`${root}/f${i}`)
  const report = await bring(pair)
  t.is(report.removed, 0)
  t.is(report.heldBack.length, 12)
  t.is(fs.readdirSync(dir).length, 15)
  // As many as fit go.
  for (let i = 0; i < 5; i++) fs.writeFileSync(`${root}/f${i}`, files[`f${i}`] as Buffer)
  const again = await bring(pair)
  t.is(again.removed, 7)
  t.alike(again.heldBack, [])
  const trash = fs.readdirSync(`${dir}/.syncline/trash`).map((name) => name.split('+')[1])
  for (let i = 5; i < 12; i++) t.ok(trash.includes(`f${i}.old`), `f${i} is in the trash`)
})
