/** Drives of ours read by real hyperdrives, and theirs by us. */
import test, { type Assertions } from 'brittle'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { Drive, type OpenDriveOptions } from '../../lib/drive/drive.ts'
import { keyOfName } from '../../lib/drive/drive-name.ts'
import { DriveIndex } from '../../lib/drive/index/drive-index.ts'
import type { Synchronizer } from '../../lib/index.ts'
import { faultsOf, openSync, until } from './helpers.ts'
import {
  connectStore,
  dialStore,
  HYPERDRIVE,
  openHyperdrive,
  openStore,
  type Hyperdrive
} from './drive-helpers.ts'

const LARGE = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * i) % 251))

/** What both kinds of drive have. */
interface AnyDrive {
  readonly version: number
  put(name: string, bytes: Uint8Array, options?: object): Promise<void>
  del(name: string): Promise<void>
  symlink(name: string, linkname: string): Promise<void>
  createWriteStream(name: string, options?: object): NodeJS.WritableStream
}

/** Fills a drive of either kind; returns a version in the middle. */
async function fill(drive: AnyDrive): Promise<number> {
  await drive.put('/a.txt', Buffer.from('hello'))
  await drive.put('/dir/exec', LARGE, { executable: true, metadata: { mtime: 1.5, mode: 0o755 } })
  await drive.put('/empty', Buffer.alloc(0))
  await drive.symlink('/link', 'dir/exec')
  await drive.put('/dir/ä ö\n', Buffer.from('name'))
  const { version } = drive
  await drive.del('/empty')
  await drive.put('/a.txt', Buffer.from('changed'))
  for (let i = 0; i < 60; i++) await drive.put(`/many/${i}`, Buffer.from(`${i}`))
  for (let i = 0; i < 60; i += 3) await drive.del(`/many/${i}`)
  await pipeline(
    Readable.from([LARGE.subarray(0, 1000), LARGE.subarray(1000)]),
    drive.createWriteStream('/stream')
  )
  return version
}

/** Reads what {@link fill} wrote in every way that both kinds know. */
async function check(t: Assertions, drive: Drive | Hyperdrive, version: number): Promise<void> {
  const many = Array.from({ length: 60 }, (_, i) => i).filter((i) => i % 3 !== 0)
  const names = [
    '/a.txt',
    '/dir/exec',
    '/dir/ä ö\n',
    '/link',
    ...many.map((i) => `/many/${i}`),
    '/stream'
  ]
  t.alike((await keysOf(drive.list('/'))).sort(), names.sort(), 'list')
  t.alike((await namesOf(drive.readdir('/'))).sort(), ['a.txt', 'dir', 'link', 'many', 'stream'])
  t.is((await drive.get('/a.txt'))?.toString(), 'changed')
  t.ok((await drive.get('/dir/exec'))?.equals(LARGE))
  t.ok((await drive.get('/stream'))?.equals(LARGE))
  const range = { start: 66_000, end: 133_000 }
  t.ok(
    (await buffer(drive.createReadStream('/dir/exec', range))).equals(
      LARGE.subarray(66_000, 133_001)
    )
  )
  t.alike((await drive.entry('/dir/exec'))?.value.metadata, { mtime: 1.5, mode: 0o755 })
  t.is((await drive.entry('/dir/exec'))?.value.executable, true)
  t.is((await drive.entry('/link'))?.value.linkname, 'dir/exec')
  if (drive instanceof Drive) {
    // Hyperdrive takes the link itself for the folder of what it leads to.
    t.is((await drive.entry('/link', { follow: true }))?.key, '/dir/exec')
  }
  t.is(await drive.entry('/empty'), null)
  t.is(await drive.entry('/many/3'), null)
  t.is((await drive.get('/many/31'))?.toString(), '31')
  const old = drive.checkout(version)
  t.is((await old.get('/a.txt'))?.toString(), 'hello')
  t.alike(await old.get('/empty'), Buffer.alloc(0))
  t.is(await old.entry('/many/31'), null)
  await old.close()
  const differences: string[] = []
  for await (const { left, right } of drive.diff(version)) {
    differences.push(`${left?.key ?? '-'} ${right?.key ?? '-'}`)
  }
  t.is(differences.length, many.length + 3)
  t.ok(differences.includes('- /empty') && differences.includes('/a.txt /a.txt'))
}

function emptyFolder(name: string): { readonly key: Uint8Array; readonly value: Uint8Array } {
  return { key: keyOfName(name, 'dirs'), value: Buffer.from('{"metadata":{"mode":493}}') }
}

async function keysOf(entries: AsyncIterable<{ readonly key: string }>): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of entries) keys.push(key)
  return keys
}

async function namesOf(entries: AsyncIterable<string>): Promise<string[]> {
  const names: string[] = []
  for await (const name of entries) names.push(name)
  return names
}

/** Our view of a drive that a store has. */
async function openFrom(
  t: Assertions,
  store: Parameters<typeof dialStore>[2],
  key: Uint8Array,
  options: OpenDriveOptions = {}
): Promise<{ readonly drive: Drive; readonly sync: Synchronizer }> {
  const sync = openSync(t)
  const drive = await Drive.open(sync, key, options)
  await dialStore(t, sync, store)
  await until(() => drive.core.length > 0)
  return { drive, sync }
}

for (const encryptionKey of [null, Buffer.alloc(32, 7)]) {
  const options = encryptionKey === null ? {} : { encryptionKey }
  const kind = encryptionKey === null ? '' : ', encrypted'

  test(`${HYPERDRIVE} reads our drive, TCP${kind}`, async (t) => {
    const sync = openSync(t)
    const drive = await Drive.create(sync, 'drive', options)
    const version = await fill(drive)
    await check(t, drive, version)
    const store = await openStore(t)
    const theirs = await openHyperdrive(t, store, drive.key, options)
    await connectStore(t, store, sync)
    await theirs.update({ wait: true })
    await theirs.getBlobs()
    t.alike(Buffer.from(theirs.contentKey), Buffer.from(drive.contentKey ?? []))
    await check(t, theirs, version)
  })

  test(`${HYPERDRIVE} is read by us, TCP${kind}`, async (t) => {
    const store = await openStore(t)
    const theirs = await openHyperdrive(t, store, null, options)
    const version = await fill(theirs)
    const { drive, sync } = await openFrom(t, store, theirs.key, options)
    const faults = faultsOf(sync)
    await check(t, drive, version)
    t.alike(Buffer.from(drive.contentKey ?? []), Buffer.from(theirs.contentKey))
    t.alike(faults, [])
  })
}

test(`${HYPERDRIVE} encrypted, read without the key`, async (t) => {
  const store = await openStore(t)
  const theirs = await openHyperdrive(t, store, null, { encryptionKey: Buffer.alloc(32, 7) })
  await fill(theirs)
  for (const options of [{}, { encryptionKey: Buffer.alloc(32, 8) }]) {
    const { drive } = await openFrom(t, store, theirs.key, options)
    await t.exception(drive.entry('/a.txt'), /ENCRYPTED/)
    await t.exception(keysOf(drive.list()), /ENCRYPTED/)
    await t.exception(drive.getBlobs(), /ENCRYPTED/)
    await t.exception(drive.get('/a.txt', { timeoutMs: 5000 }), /ENCRYPTED/)
  }
})

test(`${HYPERDRIVE} on live hypercores that we write, too`, async (t) => {
  const store = await openStore(t)
  const theirs = await openHyperdrive(t, store)
  const version = await fill(theirs)
  const sync = openSync(t)
  const drive = new Drive(sync.add(theirs.core), sync.add(theirs.blobs.core))
  await drive.ready()
  await check(t, drive, version)
  await drive.put('/ours', LARGE, { executable: true })
  await drive.del('/many/1')
  const batch = drive.batch()
  for (let i = 0; i < 200; i++) await batch.put(`/batch/${(i * 37) % 101}`, Buffer.from(`${i}`))
  await batch.flush()
  t.ok((await theirs.get('/ours'))?.equals(LARGE))
  t.is(await theirs.entry('/many/1'), null)
  t.is((await keysOf(theirs.list('/batch'))).length, 101)
  await theirs.put('/batch/0', Buffer.from('theirs'))
  await theirs.del('/batch/1')
  t.is((await drive.get('/batch/0'))?.toString(), 'theirs')
  t.is((await keysOf(drive.list('/batch'))).length, 100)
  t.alike(await keysOf(drive.list()), await keysOf(theirs.list()))
})

test(`${HYPERDRIVE} with the blobs named in block 0 (compat)`, async (t) => {
  const store = await openStore(t)
  const theirs = await openHyperdrive(t, store, null, { compat: true })
  const version = await fill(theirs)
  const { drive } = await openFrom(t, store, theirs.key)
  await check(t, drive, version)
  t.alike(Buffer.from(drive.contentKey ?? []), Buffer.from(theirs.contentKey))
})

test(`${HYPERDRIVE} with block maps`, async (t) => {
  const store = await openStore(t)
  const theirs = await openHyperdrive(t, store)
  const pieces = ['xx', 'xx', 'yy', 'z'.repeat(100_000), 'xx', 'w'].map((text) => Buffer.from(text))
  for (let round = 0; round < 2; round++) {
    await pipeline(
      Readable.from([...pieces, Buffer.from(`round ${round}`)]),
      theirs.createWriteStream('/mapped', { dedup: true })
    )
  }
  const whole = Buffer.concat([...pieces, Buffer.from('round 1')])
  const { drive } = await openFrom(t, store, theirs.key)
  const entry = await drive.entry('/mapped')
  t.is(entry?.value.blob?.blockMap, true)
  t.is(entry && (await drive.getByteLength(entry)), whole.length)
  t.absent(await drive.has('/mapped'))
  t.ok((await drive.get('/mapped'))?.equals(whole))
  t.ok(await drive.has('/mapped'))
  for (const [start, end] of [
    [0, 0],
    [1, 2],
    [3, 5],
    [5, 99_999],
    [50_000, 100_010],
    [100_005, 200_000]
  ] as const) {
    const read = await buffer(drive.createReadStream('/mapped', { start, end }))
    t.ok(read.equals(whole.subarray(start, end + 1)), `${start} to ${end}`)
  }
  const { drive: other } = await openFrom(t, store, theirs.key)
  await other.getBlobs()
  await other.download('/').done()
  t.ok(await other.has('/mapped'))
})

test(`${HYPERDRIVE} passes over our empty folders`, async (t) => {
  const sync = openSync(t)
  const drive = await Drive.create(sync, 'drive')
  const { version } = drive
  await drive.core.append(
    await new DriveIndex(drive.core).encode(['/void', '/full', '/zz/deep'].map(emptyFolder))
  )
  await drive.put('/full/file', Buffer.from('x'))
  const store = await openStore(t)
  const theirs = await openHyperdrive(t, store, drive.key)
  await connectStore(t, store, sync)
  await theirs.update({ wait: true })
  t.alike(await keysOf(theirs.list('/')), ['/full/file'])
  t.alike(await keysOf(theirs.entries()), ['/full/file'])
  t.alike(await namesOf(theirs.readdir('/')), ['full'])
  const left: (string | undefined)[] = []
  for await (const difference of theirs.diff(version)) left.push(difference.left?.key)
  t.alike(left, ['/full/file'])
  t.alike(await keysOf(drive.list()), ['/full/file'])
})
