/** mirror-drive between our drives, localdrives and hyperdrives. */
import test, { type Assertions } from 'brittle'
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  readlink,
  stat,
  symlink,
  writeFile
} from 'node:fs/promises'
import path from 'node:path'
import { Drive } from '../../lib/drive/drive.ts'
import { connectSyncs, openSync, until } from './helpers.ts'
import {
  HYPERDRIVE,
  LOCALDRIVE,
  mirror,
  openHyperdrive,
  openLocaldrive,
  openStore
} from './drive-helpers.ts'

const LARGE = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i) % 241))

async function makeTree(t: Assertions): Promise<string> {
  const root = await t.tmp()
  await mkdir(path.join(root, 'dir', 'deep'), { recursive: true })
  await writeFile(path.join(root, 'a.txt'), 'hello')
  await writeFile(path.join(root, 'empty'), '')
  await writeFile(path.join(root, 'dir', 'large'), LARGE)
  await writeFile(path.join(root, 'dir', 'deep', 'run'), '#!/bin/sh\n')
  await chmod(path.join(root, 'dir', 'deep', 'run'), 0o755)
  await symlink('dir/large', path.join(root, 'link'))
  for (let i = 0; i < 50; i++) await writeFile(path.join(root, `file ${i}`), `content ${i}`)
  return root
}

async function sameTree(t: Assertions, root: string, other: string): Promise<void> {
  const names = (await readdir(root, { recursive: true })).sort()
  t.alike((await readdir(other, { recursive: true })).sort(), names)
  for (const name of names) {
    const [from, to] = [path.join(root, name), path.join(other, name)]
    if (name === 'link') t.is(await readlink(to), await readlink(from))
    else if ((await stat(from)).isFile()) {
      if (!(await readFile(from)).equals(await readFile(to))) t.fail(name)
      if (((await stat(from)).mode & 0o100) !== ((await stat(to)).mode & 0o100))
        t.fail(`mode of ${name}`)
    }
  }
}

for (const batch of [false, true]) {
  test(`mirror: ${LOCALDRIVE} to our drive and back${batch ? ', in a batch' : ''}`, async (t) => {
    const root = await makeTree(t)
    const local = openLocaldrive(root, new Map([['/a.txt', { mtime: 5 }]]))
    const drive = await Drive.create(openSync(t), 'drive')
    const steps = await mirror(local, drive, { batch })
    t.is(steps.length, 55)
    t.alike((await drive.entry('/a.txt'))?.value.metadata, { mtime: 5 })
    t.ok((await drive.entry('/dir/deep/run'))?.value.executable)
    t.alike(await mirror(local, drive, { batch }), [], 'nothing is left to do')

    const target = await t.tmp()
    const other = openLocaldrive(target)
    t.is((await mirror(drive, other)).length, 55)
    await sameTree(t, root, target)
    t.alike(await mirror(drive, other), [])

    await drive.put('/a.txt', 'changed', { metadata: { mtime: 6 } })
    await drive.put('/dir/deep/run', '#!/bin/sh\n')
    await drive.del('/empty')
    await drive.put('/new/file', 'new')
    t.alike(await mirror(drive, other), [
      'add /new/file',
      'change /a.txt',
      'change /dir/deep/run',
      'remove /empty'
    ])
    t.is(await readFile(path.join(target, 'a.txt'), 'utf8'), 'changed')
    t.alike(await mirror(drive, other), [])
    await writeFile(path.join(root, 'dir', 'large'), 'short')
    await mirror(local, drive, { batch })
    t.is((await drive.get('/dir/large'))?.toString(), 'short')
    t.absent(await drive.exists('/new/file'))
  })
}

test(`mirror: ${HYPERDRIVE} to our drive and back, with progress`, async (t) => {
  const theirs = await openHyperdrive(t, await openStore(t))
  await mirror(openLocaldrive(await makeTree(t)), theirs)
  const drive = await Drive.create(openSync(t), 'drive')
  t.is((await mirror(theirs, drive, { progress: true })).length, 55)
  t.alike(await mirror(theirs, drive), [])
  const back = await openHyperdrive(t, await openStore(t))
  t.is((await mirror(drive, back, { progress: true })).length, 55)
  t.alike(await mirror(drive, back), [])
  t.ok((await back.get('/dir/large'))?.equals(LARGE))
  t.is((await back.entry('/link'))?.value.linkname, 'dir/large')
})

test(`mirror: ${HYPERDRIVE} with block maps to our drive`, async (t) => {
  const theirs = await openHyperdrive(t, await openStore(t))
  const local = openLocaldrive(await makeTree(t))
  await mirror(local, theirs, { dedup: true })
  const drive = await Drive.create(openSync(t), 'drive')
  await mirror(theirs, drive)
  t.ok((await drive.get('/dir/large'))?.equals(LARGE))
  t.absent((await drive.entry('/dir/large'))?.value.blob?.blockMap, 'maps are not written')
  t.alike(await mirror(theirs, drive), [])
  t.alike(await mirror(local, drive), [])
})

test(`mirror: our drive from afar to ${LOCALDRIVE}`, async (t) => {
  const root = await makeTree(t)
  const source = openSync(t)
  const drive = await Drive.create(source, 'drive')
  await mirror(openLocaldrive(root), drive)
  const sync = openSync(t)
  const copy = await Drive.open(sync, drive.key)
  await connectSyncs(sync, source)
  await until(() => copy.version === drive.version)
  const target = await t.tmp()
  t.is((await mirror(copy, openLocaldrive(target))).length, 55)
  await sameTree(t, root, target)
  await t.exception(mirror(openLocaldrive(root), copy), /Destination must be writable/)
})
