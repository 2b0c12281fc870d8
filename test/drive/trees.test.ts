/** Folders of all kinds that are shared and cloned: what comes out is what went in. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { createServer } from 'node:net'
import test, { type Assertions } from 'brittle'
import { keyOfName } from '../../lib/drive/drive-name.ts'
import {
  age,
  asUser,
  bytesOf,
  cloneFrom,
  openNode,
  openShare,
  treeOf,
  until,
  UPDATE_MS,
  writeTree
} from './folders.ts'

async function tmpOf(t: Assertions): Promise<string> {
  return fs.realpathSync(await t.tmp())
}

test('trees: all kinds of names, files and links', async (t) => {
  const root = await tmpOf(t)
  const deep = Array.from({ length: 60 }, (_, i) => `level ${i}`).join('/')
  writeTree(root, {
    [`${deep}/bottom`]: 'deep',
    empty: '',
    'with space': 'space',
    ' leading and trailing ': 'spaces',
    'new\nline': 'newline',
    'tab\tand\r': 'control',
    'quote\'"`$(x)': 'quotes',
    '-rf': 'dash',
    '*?[a]': 'glob',
    'caf\u00e9': 'NFC',
    'cafe\u0301': 'NFD',
    '\u{1f600}/\ud55c\uad6d\uc5b4': 'beyond',
    '\uffee after': 'order',
    '.hidden': 'hidden',
    '.git/config': 'not special',
    a: 'a',
    'a-b': 'a-b',
    'a b/c': 'c',
    'a.b/c': 'c',
    A: 'upper',
    'folder/x': 'x',
    'folder-/x': 'x',
    folder0: 'x',
    'C:': 'colon inside',
    'name.conflict-20200101-000000.txt': 'looks like one of ours',
    'name~1a2b3c4d.txt': 'looks renamed',
    'sub/.syncline/inner': 'state of another',
    ['n'.repeat(255)]: 'long',
    'blocks/one': bytesOf(65_536, 1),
    'blocks/two': bytesOf(65_537, 2),
    'blocks/large': bytesOf(3_000_001, 3),
    'blocks/limit': bytesOf(1_048_576, 4)
  })
  fs.rmSync(`${root}/sub/.syncline`, { recursive: true })
  fs.mkdirSync(`${root}/empty folder/inside`, { recursive: true })
  fs.mkdirSync(`${root}/links`)
  fs.symlinkSync('../a', `${root}/links/relative`)
  fs.symlinkSync('../folder', `${root}/links/folder`)
  fs.symlinkSync('nowhere', `${root}/links/dangling`)
  fs.symlinkSync('loop', `${root}/links/loop`)
  fs.symlinkSync('ping', `${root}/links/pong`)
  fs.symlinkSync('pong', `${root}/links/ping`)
  fs.symlinkSync('/etc/hostname', `${root}/links/absolute`)
  fs.symlinkSync('../../outside', `${root}/links/escaping`)
  fs.symlinkSync('new\nline', `${root}/links/new\nline`)
  fs.linkSync(`${root}/blocks/large`, `${root}/blocks/second name`)
  fs.linkSync(`${root}/empty`, `${root}/empty too`)
  execFileSync('mkfifo', [`${root}/fifo`])
  const socket = createServer()
  t.teardown(() => socket.close())
  await new Promise<void>((resolve) => socket.listen(`${root}/socket`, resolve))
  const sparse = fs.openSync(`${root}/sparse`, 'w')
  fs.writeSync(sparse, 'begin', 0)
  fs.writeSync(sparse, 'end', 4_000_000)
  fs.closeSync(sparse)
  fs.writeFileSync(`${root}/back\\slash`, 'not shared')
  fs.chmodSync(`${root}/a`, 0o755)
  fs.chmodSync(`${root}/A`, 0o400)
  fs.chmodSync(`${root}/.hidden`, 0o600)
  fs.chmodSync(`${root}/empty folder/inside`, 0o700)
  age(root)
  const bad = Buffer.concat([Buffer.from(`${root}/bad`), Buffer.from([0xff])])
  fs.writeFileSync(bad, 'not shared')
  fs.utimesSync(`${root}/a`, 0, 1_234_567.891)
  fs.utimesSync(`${root}/a-b`, 0, -86_400.5)
  fs.utimesSync(`${root}/a b/c`, 0, 4_102_444_800)

  const source = await openNode(t)
  const share = await openShare(t, source, root)
  const report = await share.import()
  const { counts, skipped } = report
  t.is(counts.special, 2)
  t.is(counts.name, 3)
  t.alike(
    skipped.map(({ name, reason }) => `${reason} ${name}`).sort(),
    ['name /C:', 'name /back\\slash', 'name /bad\ufffd', 'special /fifo', 'special /socket'].sort()
  )
  t.is(report.reused, 4, 'of hard links, and of equal files, one is stored')
  fs.rmSync(bad)
  const before = treeOf(root)
  const { dir, report: cloned } = await cloneFrom(t, source, share.key)
  const skippedLinks = ['/links/absolute', '/links/escaping']
  t.alike(cloned.skipped.map(({ name }) => name).sort(), skippedLinks)
  const expected: Record<string, string> = {}
  for (const [name, text] of Object.entries(before)) {
    const isLeft = text === 'special' || name === '/back\\slash' || name === '/C:'
    if (!isLeft && !skippedLinks.includes(name)) expected[name] = text
  }
  t.alike(treeOf(dir), expected)
  t.is(fs.statSync(`${dir}/empty folder/inside`).mode & 0o777, 0o700)
  t.is((await share.import()).changes, 0, 'the second import finds nothing')
  // What leaves the folder is made where it is wanted.
  const all = await cloneFrom(t, source, share.key, { allLinks: true })
  t.alike(all.report.skipped, [])
  t.is(fs.readlinkSync(`${all.dir}/links/escaping`), '../../outside')
})

test('trees: 10,000 files in one folder, and their changes', { timeout: 90_000 }, async (t) => {
  const root = await tmpOf(t)
  for (let i = 0; i < 10_000; i++) fs.writeFileSync(`${root}/${i}`, `content ${i}`)
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  t.is((await share.import()).changes, 10_000)
  const { dir, clone, report } = await cloneFrom(t, source, share.key)
  t.is(report.added, 10_000)
  t.alike(treeOf(dir), treeOf(root))
  for (let i = 0; i < 10_000; i += 10) fs.writeFileSync(`${root}/${i}`, `changed ${i}`)
  for (let i = 1; i < 10_000; i += 10) fs.rmSync(`${root}/${i}`)
  for (let i = 2; i < 10_000; i += 10) fs.renameSync(`${root}/${i}`, `${root}/moved ${i}`)
  age(root)
  const again = await share.import()
  t.alike(again.heldBack, [], '2,000 of 10,000 are no mistake')
  await until(() => clone.index.length === share.folder.index.version, 'the index came')
  const update = await clone.update()
  t.alike(update.skipped, [])
  t.alike(update.conflicts, [])
  t.alike(treeOf(dir), treeOf(root))
  t.is(update.reused, 1000, 'what was moved is not fetched')
})

test(
  'trees: files that change, shrink and vanish while they are imported',
  { timeout: 60_000 },
  async (t) => {
    const root = await tmpOf(t)
    for (let i = 0; i < 20; i++) fs.writeFileSync(`${root}/large-${i}`, bytesOf(2_000_000, i))
    for (let i = 0; i < 300; i++) fs.writeFileSync(`${root}/small-${i}`, bytesOf(500, i))
    const source = await openNode(t)
    const share = await openShare(t, source, root)
    let step = 0
    const unrest = setInterval(() => {
      step++
      const at = step % 20
      fs.appendFileSync(`${root}/large-${at}`, `more ${step}`)
      if (step % 3 === 0) fs.truncateSync(`${root}/large-${(at + 7) % 20}`, 1_000_000 + step)
      fs.writeFileSync(`${root}/small-${step % 300}`, `now ${step}`)
      fs.rmSync(`${root}/small-${(step * 7) % 300}`, { force: true })
      if (step % 5 === 0) {
        fs.rmSync(`${root}/small-${(step * 11) % 300}`, { force: true })
        fs.mkdirSync(`${root}/small-${(step * 11) % 300}`)
        fs.rmdirSync(`${root}/small-${(step * 11) % 300}`)
      }
    }, 1)
    try {
      for (let i = 0; i < 3; i++) await share.import({ maxDelete: 1000 })
    } finally {
      clearInterval(unrest)
    }
    t.ok(step > 10, `${step} changes`)
    age(root)
    await share.import({ maxDelete: 1000 })
    const { dir, report } = await cloneFrom(t, source, share.key)
    t.alike(report.skipped, [])
    t.alike(treeOf(dir), treeOf(root))
  }
)

test('trees: a rewrite that keeps size, inode and times is noticed', async (t) => {
  const root = await tmpOf(t)
  writeTree(root, { small: 'one', large: bytesOf(2_000_000, 1) })
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  // Its stamps count only once they are two seconds old.
  await new Promise((resolve) => setTimeout(resolve, 2100))
  t.is((await share.import()).changes, 0)
  const { dir, clone } = await cloneFrom(t, source, share.key)
  for (const name of ['small', 'large']) {
    const before = fs.statSync(`${root}/${name}`)
    const fd = fs.openSync(`${root}/${name}`, 'r+')
    fs.writeSync(fd, 'two', 0)
    fs.closeSync(fd)
    fs.utimesSync(`${root}/${name}`, before.atimeMs / 1000, before.mtimeMs / 1000)
    const { ino, size, mtimeMs } = fs.statSync(`${root}/${name}`)
    // A double holds a time in seconds to the microsecond, about.
    const same = Math.abs(mtimeMs - before.mtimeMs) < 0.01
    t.alike([ino, size, same], [before.ino, before.size, true])
  }
  t.is((await share.import()).changes, 2)
  await until(() => clone.index.length === share.folder.index.version, 'the index came')
  await clone.update()
  t.alike(treeOf(dir), treeOf(root))
})

test('trees: what may not be read is told, and what is known of it stays', async (t) => {
  const root = await tmpOf(t)
  writeTree(root, {
    open: 'open',
    closed: 'closed',
    'large closed': bytesOf(2_000_000, 1),
    'folder/inside': 'inside'
  })
  age(root)
  const store = await tmpOf(t)
  const source = await openNode(t, store)
  if (process.getuid?.() === 0) {
    for (const file of ['', '/open', '/closed', '/large closed', '/folder', '/folder/inside']) {
      fs.chownSync(root + file, 65_534, 65_534)
    }
    fs.chownSync(store, 65_534, 65_534)
  }
  const close = (): void => {
    fs.chmodSync(`${root}/closed`, 0)
    fs.chmodSync(`${root}/large closed`, 0)
    fs.chmodSync(`${root}/folder`, 0)
  }
  const ran = await asUser(async () => {
    close()
    const share = await openShare(t, source, root)
    const first = await share.import()
    t.alike(first.skipped.map(({ name, reason }) => `${name} ${reason}`).sort(), [
      '/closed unreadable',
      '/folder unreadable',
      '/large closed unreadable'
    ])
    t.is(first.changes, 1)
    fs.chmodSync(`${root}/closed`, 0o644)
    fs.chmodSync(`${root}/large closed`, 0o644)
    fs.chmodSync(`${root}/folder`, 0o755)
    t.is((await share.import()).changes, 3)
    close()
    const third = await share.import()
    t.is(third.changes, 0, 'nothing is deleted that cannot be seen')
    t.is(third.skipped.length, 3)
    fs.chmodSync(`${root}/folder`, 0o755)
    await share.close()
  })
  if (!ran) t.comment('this system has no users')
})

test('trees: a folder that loses all, or vanishes, keeps its drive as it was', async (t) => {
  const root = await tmpOf(t)
  for (let i = 0; i < 30; i++) fs.writeFileSync(`${root}/${i}`, `${i}`)
  age(root)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const { version } = share.folder.index
  fs.mkdirSync(`${root}/../away-${process.pid}`)
  const away = fs.realpathSync(`${root}/../away-${process.pid}`)
  t.teardown(() => fs.rmSync(away, { recursive: true, force: true }))
  for (let i = 0; i < 12; i++) fs.renameSync(`${root}/${i}`, `${away}/${i}`)
  const some = await share.import()
  t.is(some.heldBack.length, 12)
  for (let i = 12; i < 30; i++) fs.renameSync(`${root}/${i}`, `${away}/${i}`)
  await t.exception(share.import(), /REFUSED/)
  t.is(share.folder.index.version, version)
  for (let i = 0; i < 30; i++) fs.renameSync(`${away}/${i}`, `${root}/${i}`)
  t.is((await share.import()).changes, 0)
  fs.renameSync(root, `${away}/root`)
  await t.exception(share.import(), /FOLDER_MISSING/)
  fs.mkdirSync(root)
  await t.exception(share.import(), /REFUSED|FOLDER_MISSING/)
  fs.rmdirSync(root)
  fs.renameSync(`${away}/root`, root)
  t.is(share.folder.index.version, version)
})

test('trees: empty folders that hold something now are no deletions, on neither side', async (t) => {
  const root = await tmpOf(t)
  const names = Array.from({ length: 12 }, (_, i) => String(i + 1).padStart(2, '0'))
  for (const name of names) fs.mkdirSync(`${root}/${name}`)
  const source = await openNode(t)
  const share = await openShare(t, source, root)
  await share.import()
  const { dir, clone } = await cloneFrom(t, source, share.key, { keep: '0' })
  t.is(Object.keys(treeOf(dir)).length, 12)
  for (const name of names) writeTree(root, { [`${name}/file`]: name })
  age(root)
  const report = await share.import()
  t.alike([report.heldBack, report.added, report.removed], [[], 12, 12])
  const { index } = share.folder
  t.is(await index.get(keyOfName('/01', 'dirs')), null)
  t.ok(await index.get(keyOfName('/01/file')))
  await until(() => clone.index.length === index.version, 'the index came')
  const update = await clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
  t.alike(update.heldBack, [])
  t.alike(treeOf(dir), treeOf(root))
})

test('trees: the only folder of a share may hold another one, or go', async (t) => {
  const root = await tmpOf(t)
  fs.mkdirSync(`${root}/a`)
  const share = await openShare(t, await openNode(t), root)
  await share.import()
  fs.mkdirSync(`${root}/a/b`)
  await share.import()
  t.alike(
    Array.from(share.folder.catalog.rows(), ([name]) => name),
    ['/a/b']
  )
  fs.rmSync(`${root}/a`, { recursive: true })
  await share.import()
  t.is(share.folder.catalog.size, 0)
})

test('trees: a folder that cannot be written to keeps out its own files, and no others', async (t) => {
  const ran = await asUser(async () => {
    const source = await openNode(t)
    const root = await tmpOf(t)
    writeTree(root, { a: 'a', 'sub/old': 'old' })
    const share = await openShare(t, source, root)
    await share.import()
    const { dir, clone } = await cloneFrom(t, source, share.key)
    fs.chmodSync(`${dir}/sub`, 0o555)
    try {
      writeTree(root, { 'sub/new': 'new', z: 'z' })
      age(root)
      await share.import()
      await until(() => clone.index.length >= share.folder.index.version, 'the new version')
      const { skipped } = await clone.update({ signal: AbortSignal.timeout(10_000) })
      t.alike(
        skipped.map(({ name }) => name),
        ['/sub/new']
      )
      t.is(fs.readFileSync(`${dir}/z`, 'utf8'), 'z')
    } finally {
      fs.chmodSync(`${dir}/sub`, 0o755)
    }
    const { added } = await clone.update({ signal: AbortSignal.timeout(10_000) })
    t.is(added, 1)
    t.is(fs.readFileSync(`${dir}/sub/new`, 'utf8'), 'new')
  })
  if (!ran) t.comment('there is no other user here')
})
