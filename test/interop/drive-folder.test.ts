/** Folders of ours and real hyperdrives: what one side fills, the other has as a folder. */
import fs from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import test, { type Assertions } from 'brittle'
import {
  age,
  bytesOf,
  openClone,
  openNode,
  openShare,
  treeOf,
  until,
  UPDATE_MS,
  writeTree
} from '../drive/folders.ts'
import {
  connectStore,
  dialStore,
  HYPERDRIVE,
  LOCALDRIVE,
  mirror,
  openHyperdrive,
  openLocaldrive,
  openStore,
  type Corestore,
  type Hyperdrive
} from './drive-helpers.ts'

function makeTree(root: string): void {
  const files: Record<string, string | Uint8Array> = {
    'a.txt': 'hello',
    empty: '',
    'dir/large': bytesOf(700_001, 1),
    'dir/deep/er/run': '#!/bin/sh\n',
    'new\nline': 'newline',
    'caf\u00e9': 'NFC',
    'cafe\u0301': 'NFD'
  }
  for (let i = 0; i < 60; i++) files[`many/file ${i}`] = bytesOf(1500 * i, i)
  writeTree(root, files)
  fs.chmodSync(`${root}/dir/deep/er/run`, 0o755)
  fs.symlinkSync('dir/large', `${root}/link`)
}

/** A hyperdrive of a store, cloned into a folder. */
async function cloneOf(
  t: Assertions,
  store: Corestore,
  drive: Hyperdrive,
  choices: object = {}
): Promise<{
  dir: string
  skipped: Record<string, string>
  update: () => Promise<Record<string, string>>
}> {
  const node = await openNode(t)
  const dir = path.join(await t.tmp(), 'clone')
  const clone = await openClone(t, node, drive.key, dir, choices)
  await dialStore(t, node.sync, store)
  const update = async (): Promise<Record<string, string>> => {
    await until(() => clone.index.length === drive.core.length, 'the index came')
    const report = await clone.update({ signal: AbortSignal.timeout(UPDATE_MS) })
    return Object.fromEntries(report.skipped.map(({ name, reason }) => [name, reason]))
  }
  return { dir, skipped: await update(), update }
}

test(`a shared folder is a drive for ${HYPERDRIVE}, and a folder again by ${LOCALDRIVE}`, async (t) => {
  const root = fs.realpathSync(await t.tmp())
  makeTree(root)
  fs.mkdirSync(`${root}/void`)
  age(root)
  const node = await openNode(t)
  const share = await openShare(t, node, root)
  await share.import()
  const store = await openStore(t)
  const theirs = await openHyperdrive(t, store, share.key)
  await connectStore(t, store, node.sync)
  await theirs.update({ wait: true })
  const copy = await t.tmp()
  const steps = await mirror(theirs, openLocaldrive(copy))
  t.is(steps.length, 68)
  const { '/void/': none, ...expected } = treeOf(root, { times: false })
  t.is(none, 'empty', 'which they do not know')
  t.alike(treeOf(copy, { times: false }), expected)
  const entry = await theirs.entry('/a.txt')
  const { mode, mtime } = (entry?.value.metadata ?? {}) as { mode?: number; mtime?: number }
  t.is(mode, 0o644)
  t.is(Math.round(mtime ?? 0), Math.round(fs.statSync(`${root}/a.txt`).mtimeMs))
  // A change, and a rename that brings no blocks.
  const { version } = theirs
  fs.writeFileSync(`${root}/a.txt`, 'changed')
  fs.renameSync(`${root}/dir/large`, `${root}/dir/moved`)
  age(root)
  await share.import()
  await until(() => theirs.core.length > version, 'the change came')
  t.ok((await theirs.get('/dir/moved'))?.equals(bytesOf(700_001, 1)))
  t.is((await theirs.get('/a.txt'))?.toString(), 'changed')
  t.is(await theirs.entry('/dir/large'), null)
})

for (const options of [{}, { compat: true }, { encryptionKey: Buffer.alloc(32, 7) }]) {
  const name = Object.keys(options)[0] ?? 'as usual'
  test(`${HYPERDRIVE} (${name}) that was filled by ${LOCALDRIVE} becomes a folder`, async (t) => {
    const root = fs.realpathSync(await t.tmp())
    makeTree(root)
    const store = await openStore(t)
    const theirs = await openHyperdrive(t, store, null, options)
    await mirror(openLocaldrive(root), theirs)
    await theirs.put('/timed', Buffer.from('x'), { metadata: { mtime: 86_400_000.5, mode: 0o600 } })
    await theirs.put('/odd', Buffer.from('x'), { metadata: { mtime: 'then', size: 5 } })
    await theirs.symlink('/out', '/etc/passwd')
    const { encryptionKey } = options as { encryptionKey?: Buffer }
    const choices = encryptionKey === undefined ? {} : { encryptionKey }
    const { dir, skipped, update } = await cloneOf(t, store, theirs, choices)
    t.alike(Object.keys(skipped), ['/out'])
    t.is(fs.statSync(`${dir}/timed`).mtimeMs, 86_400_000.5)
    t.is(fs.statSync(`${dir}/timed`).mode & 0o777, 0o600)
    for (const extra of ['timed', 'odd']) fs.rmSync(`${dir}/${extra}`)
    t.alike(treeOf(dir, { times: false }), treeOf(root, { times: false }))
    // They change it, and it follows.
    fs.writeFileSync(`${root}/a.txt`, 'changed')
    fs.rmSync(`${root}/many`, { recursive: true })
    fs.renameSync(`${root}/dir/large`, `${root}/moved`)
    fs.rmSync(`${root}/link`)
    await mirror(openLocaldrive(root), theirs, {
      filter: (key: string) => !/timed|odd|out/.test(key)
    })
    await update()
    t.alike(treeOf(dir, { times: false }), treeOf(root, { times: false }))
  })
}

test(`${HYPERDRIVE} with blocks of any size becomes a folder, and a touched file no conflict`, async (t) => {
  const store = await openStore(t)
  const theirs = await openHyperdrive(t, store)
  const pieces = [10, 65_536, 1, 200_000, 7].map((size, i) => bytesOf(size, i))
  const whole = Buffer.concat(pieces)
  await pipeline(Readable.from(pieces), theirs.createWriteStream('/odd'))
  const { dir, skipped, update } = await cloneOf(t, store, theirs)
  t.alike(skipped, {})
  t.ok(fs.readFileSync(`${dir}/odd`).equals(whole))
  fs.utimesSync(`${dir}/odd`, 5, 5)
  await pipeline(Readable.from([...pieces, Buffer.from('more')]), theirs.createWriteStream('/odd'))
  await theirs.put('/other', Buffer.from('x'))
  t.alike(await update(), {})
  t.alike(fs.readdirSync(dir).sort(), ['.syncline', 'odd', 'other'])
  t.ok(fs.readFileSync(`${dir}/odd`).equals(Buffer.concat([whole, Buffer.from('more')])))
})

test(`${HYPERDRIVE} with block maps: what they list comes`, async (t) => {
  const store = await openStore(t)
  const theirs = await openHyperdrive(t, store)
  const pieces = ['xx', 'xx', 'yy', 'z'.repeat(100_000)].map((text) => Buffer.from(text))
  for (let round = 0; round < 2; round++) {
    await pipeline(
      Readable.from([...pieces, Buffer.from(`round ${round}`)]),
      theirs.createWriteStream('/mapped', { dedup: true })
    )
  }
  await theirs.put('/plain', Buffer.from('plain'))
  const { dir, skipped } = await cloneOf(t, store, theirs)
  t.is(fs.readFileSync(`${dir}/plain`, 'utf8'), 'plain')
  t.alike(skipped, {})
  const mapped = Buffer.concat([...pieces, Buffer.from('round 1')])
  t.ok(fs.readFileSync(`${dir}/mapped`).equals(mapped))
})
