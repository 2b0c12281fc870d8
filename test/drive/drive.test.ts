/** The drive as its user holds it, over feeds of ours alone. */
import test, { type Assertions } from 'brittle'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { Drive, type BadEntry, type CreateDriveOptions } from '../../lib/drive/drive.ts'
import { keyOfName } from '../../lib/drive/drive-name.ts'
import { DriveIndex } from '../../lib/drive/index/drive-index.ts'
import { memory, Synchronizer, type SynchronizerOptions } from '../../lib/index.ts'
import { listOf, random } from './hyperbee.ts'

function openSync(t: Assertions, options: Partial<SynchronizerOptions> = {}): Synchronizer {
  const sync = new Synchronizer({ storage: memory(), ...options })
  t.teardown(() => sync.close())
  return sync
}

async function openDrive(t: Assertions, options: CreateDriveOptions = {}): Promise<Drive> {
  return Drive.create(openSync(t), 'drive', options)
}

async function keysOf(entries: AsyncIterable<{ readonly key: string }>): Promise<string[]> {
  return (await listOf(entries)).map(({ key }) => key)
}

function bytesOf(length: number, seed: number = 1): Buffer {
  const next = random(seed)
  const words = new Uint32Array(Math.ceil(length / 4))
  for (let i = 0; i < words.length; i++) words[i] = next(2 ** 32)
  return Buffer.from(words.buffer, 0, length)
}

test('drive: files, links, entries', async (t) => {
  const drive = await openDrive(t)
  await drive.ready()
  t.ok(drive.writable)
  t.is(drive.version, 1)
  t.is(drive.contentKey?.byteLength, 32)
  const large = bytesOf(200_000)
  await drive.put('/a.txt', 'hello')
  await drive.put('dir\\b.bin', large, { executable: true, metadata: { mtime: 1 } })
  await drive.put('/empty', new Uint8Array(0))
  await drive.symlink('/link', 'a.txt')
  await drive.symlink('/circle', '/circle')
  t.is(drive.version, 6)
  t.alike(await drive.entry('/a.txt'), {
    seq: 1,
    key: '/a.txt',
    value: {
      executable: false,
      linkname: null,
      blob: { blockOffset: 0, blockLength: 1, byteOffset: 0, byteLength: 5 },
      metadata: null
    }
  })
  const entry = await drive.entry('dir/b.bin')
  t.alike(entry?.value, {
    executable: true,
    linkname: null,
    blob: { blockOffset: 1, blockLength: 4, byteOffset: 5, byteLength: 200_000 },
    metadata: { mtime: 1 }
  })
  t.alike((await drive.entry('/empty'))?.value.blob, {
    blockOffset: 5,
    blockLength: 0,
    byteOffset: 200_005,
    byteLength: 0
  })
  t.is((await drive.get('/a.txt'))?.toString(), 'hello')
  t.alike(await drive.get('/dir/b.bin'), large)
  t.alike(await drive.get('/empty'), Buffer.alloc(0))
  t.is(await drive.get('/nothing'), null)
  t.is(await drive.get('/link'), null)
  t.is((await drive.get('/link', { follow: true }))?.toString(), 'hello')
  await t.exception(drive.get('/circle', { follow: true }), /INVALID_OPERATION/)
  await t.exception(drive.put('/', 'x'), /BAD_ARGUMENT/)
  await t.exception(drive.put('/../x', 'x'), /BAD_ARGUMENT/)
  t.ok(await drive.exists('/link'))
  t.ok(await drive.has('/dir'))
  t.absent(await drive.has('/nothing'))
  await drive.clear('/a.txt')
  t.absent(await drive.has('/a.txt'))
  t.ok(await drive.exists('/a.txt'))
  await t.exception(drive.get('/a.txt', { wait: false }), /BLOCK_NOT_AVAILABLE/)
  await t.exception(drive.get('/a.txt', { timeout: 5 }), /TIMEOUT/)
  await drive.close()
  await t.exception(drive.entry('/a.txt'), /SESSION_CLOSED/)
})

test('drive: listings', async (t) => {
  const drive = await openDrive(t)
  const names = ['/a', '/a-b', '/a/x', '/a/y/z', '/a0', '/b/c', '/b.txt', '/ä', '/d d/e', '/d']
  for (const name of names) await drive.put(name, name)
  const sorted = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  t.alike(await keysOf(drive.list()), sorted)
  t.alike(await keysOf(drive), sorted)
  t.alike(await keysOf(drive.list('a')), ['/a/x', '/a/y/z'])
  t.alike(await keysOf(drive.list('/a/', { ignore: '/a/y' })), ['/a/x'])
  t.alike(await keysOf(drive.list({ ignore: (key) => key !== '/d' })), ['/d'])
  t.alike(await keysOf(drive.list('/nothing')), [])
  t.alike(await listOf(drive.readdir()), ['a', 'a-b', 'a0', 'b.txt', 'b', 'd', 'd d', 'ä'])
  t.alike(await listOf(drive.readdir('/a')), ['x', 'y'])
  t.alike(await keysOf(drive.list('/', { recursive: false })), [
    '/a',
    '/a-b',
    '/a0',
    '/b.txt',
    '/b/c',
    '/d',
    '/d d/e',
    '/ä'
  ])
  t.alike(await keysOf(drive.entries({ gte: '/a0', lt: '/d' })), ['/a0', '/b.txt', '/b/c'])
  t.alike(await keysOf(drive.entries({ reverse: true, limit: 2 })), ['/ä', '/d d/e'])
})

test('drive: versions, differences, history', async (t) => {
  const drive = await openDrive(t)
  await drive.put('/a', 'one')
  await drive.put('/dir/b', 'two')
  const { version } = drive
  await drive.put('/a', 'changed')
  await drive.del('/dir/b')
  await drive.del('/nothing')
  t.is(drive.version, version + 2, 'what is not there is not deleted')
  const old = drive.checkout(version)
  t.is(old.version, version)
  t.is((await old.get('/a'))?.toString(), 'one')
  t.alike(await keysOf(old.list()), ['/a', '/dir/b'])
  t.alike(await keysOf(drive.list()), ['/a'])
  await t.exception(old.put('/x', 'x'), /INVALID_OPERATION/)
  t.alike(await keysOf(drive.checkout(0).list()), [])
  const differences = (await listOf(drive.diff(version))).map(({ left, right }) => [
    left?.key ?? null,
    right?.key ?? null
  ])
  t.alike(differences, [
    ['/a', '/a'],
    [null, '/dir/b']
  ])
  t.alike(
    (await listOf(drive.diff(version, '/dir'))).map(({ right }) => right?.key),
    ['/dir/b']
  )
  t.alike(
    (await listOf(drive.history())).map(({ type, seq, key }) => `${seq} ${type} ${key}`),
    ['1 put /a', '2 put /dir/b', '3 put /a', '4 del /dir/b']
  )
  t.is((await listOf(drive.history({ start: 3, end: 4 }))).length, 1)
})

test('drive: a batch is written together', async (t) => {
  const drive = await openDrive(t)
  await drive.put('/old', 'old')
  const batch = drive.batch()
  await batch.put('/a', 'a')
  await batch.put('/b', 'b')
  await batch.del('/old')
  await batch.symlink('/l', 'a')
  await batch.del('/b')
  t.is(drive.version, 2)
  t.is((await batch.get('/a'))?.toString(), 'a')
  t.is(await batch.entry('/old'), null)
  t.is(await batch.entry('/b'), null)
  await pipeline(Readable.from([Buffer.from('stream')]), batch.createWriteStream('/s'))
  t.is(await drive.entry('/s'), null)
  await batch.flush()
  t.alike(await keysOf(drive.list()), ['/a', '/l', '/s'])
  t.is((await drive.get('/s'))?.toString(), 'stream')
})

test('drive: streams', async (t) => {
  const drive = await openDrive(t)
  const content = bytesOf(5_000_000, 7)
  const pieces: Buffer[] = []
  const next = random(3)
  for (let start = 0; start < content.length;) {
    const end = Math.min(content.length, start + 1 + next(200_000))
    pieces.push(content.subarray(start, end))
    start = end
  }
  await pipeline(
    Readable.from(pieces),
    drive.createWriteStream('/file', { executable: true, metadata: { mode: 0o700 } })
  )
  const entry = await drive.entry('/file')
  t.is(entry?.value.blob?.blockLength, Math.ceil(content.length / 65536), 'blocks of 64 KiB')
  t.ok(entry?.value.executable)
  t.alike(entry?.value.metadata, { mode: 0o700 })
  t.ok((await buffer(drive.createReadStream('/file'))).equals(content))
  t.ok((await buffer(drive.createReadStream(entry as NonNullable<typeof entry>))).equals(content))
  for (let i = 0; i < 40; i++) {
    const start = next(content.length + 1000)
    const length = next(300_000)
    const range = { start, length }
    const read = await buffer(drive.createReadStream('/file', range))
    t.ok(read.equals(content.subarray(start, start + length)), JSON.stringify(range))
  }
  t.alike(await drive.get('/file', { start: 65_536, end: 65_536 }), content.subarray(65536, 65537))
  await t.exception(drive.get('/file', { start: -1 }), /BAD_ARGUMENT/)
  await t.exception(buffer(drive.createReadStream('/nothing')), /FILE_NOT_FOUND/)
  await pipeline(Readable.from([]), drive.createWriteStream('/empty'))
  t.alike(await buffer(drive.createReadStream('/empty')), Buffer.alloc(0))
})

test('drive: writers at a time do not mix, and one that is given up leaves no entry', async (t) => {
  const drive = await openDrive(t)
  const contents = Array.from({ length: 5 }, (_, i) => bytesOf(6_000_000, i + 1))
  await Promise.all([
    ...contents.map((content, i) =>
      pipeline(Readable.from([content]), drive.createWriteStream(`/${i}`))
    ),
    ...contents.map((content, i) => drive.put(`/put ${i}`, content.subarray(0, 100_000)))
  ])
  for (const [i, content] of contents.entries()) {
    t.ok((await drive.get(`/${i}`))?.equals(content))
    t.ok((await drive.get(`/put ${i}`))?.equals(content.subarray(0, 100_000)))
  }
  const failing = async function* (): AsyncGenerator<Buffer> {
    yield contents[0] as Buffer
    throw new Error('given up')
  }
  await t.exception(pipeline(failing(), drive.createWriteStream('/half')), /given up/)
  t.absent(await drive.exists('/half'))
  await drive.put('/after', 'x')
  t.is((await drive.get('/after'))?.toString(), 'x')
})

test('drive: kept in a folder and opened again', async (t) => {
  const folder = await t.tmp()
  const first = new Synchronizer({ storage: folder })
  const drive = await Drive.create(first, 'drive')
  await drive.put('/a', 'one')
  const { key, contentKey } = drive
  await first.close()
  const sync = openSync(t, { storage: folder })
  const again = await Drive.open(sync, 'drive')
  t.alike(again.key, key)
  t.alike(again.contentKey, contentKey)
  t.ok(again.writable)
  t.is((await again.get('/a'))?.toString(), 'one')
  await again.put('/b', 'two')
  t.alike(await keysOf(again.list()), ['/a', '/b'])
  await t.exception(Drive.create(sync, 'drive'), /FEED_EXISTS/)
  await sync.create('feed')
  await t.exception(Drive.create(sync, 'feed'), /FEED_EXISTS/)
  await t.exception(sync.open('feed/blobs'), /FEED_NOT_FOUND/)
  await t.exception(Drive.open(sync, 'nothing'), /FEED_NOT_FOUND/)
})

test('drive: a stream that is destroyed while it waits closes, and asks for nothing any more', async (t) => {
  const [source, reader] = [openSync(t), openSync(t)]
  const drive = await Drive.create(source, 'drive')
  await drive.put('/a', 'aaa')
  await drive.put('/b', 'bbb')
  const [address = ''] = await source.listen(0, '127.0.0.1')
  await reader.connect('127.0.0.1', Number(address.split(':')[1]))
  const index = reader.add(drive.key, { ranges: [] })
  const copy = new Drive(index, (key) => reader.add(key, { ranges: [] }))
  await index.update({ wait: true, timeoutMs: 10_000 })
  await index.setDirection('upload')
  const inEntry = copy.createReadStream('/a')
  await destroyed(inEntry)

  await index.setDirection('both')
  const entry = await copy.entry('/a')
  const blobs = await copy.getBlobs()
  await blobs.core.update({ wait: true, timeoutMs: 10_000 })
  await blobs.core.setDirection('upload')
  const blob = entry?.value.blob as NonNullable<NonNullable<typeof entry>['value']['blob']>
  await destroyed(copy.createReadStream('/a'))
  await destroyed(blobs.createReadStream(blob))
  await destroyed(copy.createReadStream('/a'), new Error('enough'))
  const stop = new AbortController()
  const stopped = buffer(copy.createReadStream('/a', { signal: stop.signal }))
  stop.abort(new Error('the signal'))
  await t.exception(stopped, /the signal/)
  await blobs.core.setDirection('both')
  t.alike(await copy.get('/b'), Buffer.from('bbb'))
  t.absent(blobs.core.holds(blob.blockOffset))
  t.alike(await buffer(copy.createReadStream('/a')), Buffer.from('aaa'))
})

test('drive: a download is waited for as long as its user says', async (t) => {
  const [source, reader] = [openSync(t), openSync(t)]
  const drive = await Drive.create(source, 'drive')
  await drive.put('/a', 'aaa')
  const [address = ''] = await source.listen(0, '127.0.0.1')
  await reader.connect('127.0.0.1', Number(address.split(':')[1]))
  const index = reader.add(drive.key, { ranges: [] })
  const copy = new Drive(index, (key) => reader.add(key, { ranges: [] }))
  await index.update({ wait: true, timeoutMs: 10_000 })
  await index.setDirection('upload')
  const unlisted = copy.download('/')
  await t.exception(unlisted.done({ timeoutMs: 20 }), /TIMEOUT/)
  const waiting = unlisted.done()
  unlisted.destroy()
  await waiting
  await unlisted.done()

  await index.setDirection('both')
  const { core } = await copy.getBlobs()
  await core.setDirection('upload')
  const download = copy.download('/')
  await download.ready()
  const signal = AbortSignal.timeout(20)
  await t.exception(download.done({ signal }), /timeout/)
  await core.setDirection('both')
  await download.done({ timeoutMs: 10_000 })
  t.ok(await copy.has('/a'))
  await t.exception(copy.download('/../x').done(), /BAD_ARGUMENT/)
})

/** Destroys a stream that waits for what does not come, and resolves when it is closed. */
async function destroyed(stream: Readable, error?: Error): Promise<void> {
  const closed = new Promise((resolve) => stream.on('close', resolve))
  stream.on('error', () => {})
  stream.resume()
  await new Promise((resolve) => setTimeout(resolve, 20))
  stream.destroy(error)
  await closed
}

test('drive: encrypted, and without its key', async (t) => {
  const folder = await t.tmp()
  const encryptionKey = Buffer.alloc(32, 9)
  const first = new Synchronizer({ storage: folder })
  const drive = await Drive.create(first, 'drive', { encryptionKey })
  const large = bytesOf(300_000)
  await drive.put('/secret', large)
  await drive.put('/small', 'hidden')
  await first.close()
  const second = new Synchronizer({ storage: folder })
  const opened = await Drive.open(second, 'drive', { encryptionKey })
  t.alike(await opened.get('/secret'), large)
  t.alike(
    await opened.get('/secret', { start: 70_000, length: 10 }),
    large.subarray(70_000, 70_010)
  )
  t.is((await opened.get('/small'))?.toString(), 'hidden')
  await second.close()
  for (const options of [{}, { encryptionKey: Buffer.alloc(32, 1) }]) {
    const sync = openSync(t, { storage: folder })
    await t.exception(Drive.open(sync, 'drive', options), /ENCRYPTED/)
    await sync.close()
  }
})

test('drive: over TCP, sparsely, and downloaded', async (t) => {
  const source = openSync(t)
  const drive = await Drive.create(source, 'drive')
  const large = bytesOf(1_000_000)
  for (let i = 0; i < 300; i++) await drive.put(`/folder ${i % 7}/file ${i}`, `content ${i}`)
  await drive.put('/large', large)
  const [address] = await source.listen(0, '127.0.0.1')
  const sync = openSync(t)
  const copy = await Drive.open(sync, drive.key)
  t.is(copy.contentKey, null, 'not known before the first block')
  t.is(await copy.entry('/large'), null, 'nor is anything there before there is a peer')
  await sync.connect('127.0.0.1', Number(address?.split(':')[1]))
  await copy.getBlobs()
  t.alike(copy.contentKey, drive.contentKey)
  t.is((await copy.get('/folder 3/file 3'))?.toString(), 'content 3')
  t.alike(
    await copy.get('/large', { start: 500_000, length: 1000 }),
    large.subarray(500_000, 501_000)
  )
  t.absent(await copy.has('/large'), 'only what was read')
  t.is((await keysOf(copy.list('/folder 1'))).length, 43)
  const download = copy.download('/large')
  await download.done()
  t.ok(await copy.has('/large'))
  await copy.download('/folder 1').done()
  t.ok(await copy.has('/folder 1'))
  t.absent(await copy.has('/folder 2'))
  await drive.put('/later', 'x')
  await drive.put('/large', 'y')
  const { version } = copy
  while (copy.version < drive.version) await new Promise((resolve) => setTimeout(resolve, 5))
  await copy.downloadDiff(version).done()
  t.ok((await copy.has('/later')) && (await copy.has('/large')))
  t.is((await copy.get('/later', { wait: false }))?.toString(), 'x')
  await t.exception(copy.get('/folder 2/file 2', { wait: false }), /BLOCK_NOT_AVAILABLE/)
  await t.exception(copy.put('/x', 'x'), /NOT_WRITABLE/)
})

test('drive: bad entries are left out of listings and told', async (t) => {
  const drive = await openDrive(t)
  await drive.put('/good', 'x')
  const index = new DriveIndex(drive.core)
  const value = Buffer.from('{"executable":false,"linkname":null,"blob":null,"metadata":null}')
  const bad: Record<string, Uint8Array> = {
    '/../evil': value,
    '/a\\b': value,
    'no slash': value,
    '/no json': Buffer.from('{'),
    '/negative': Buffer.from(
      '{"blob":{"blockOffset":-1,"byteOffset":0,"blockLength":1,"byteLength":1}}'
    )
  }
  await drive.core.append(
    await index.encode(
      Object.entries(bad).map(([name, bytes]) => ({ key: keyOfName(name), value: bytes }))
    )
  )
  await drive.core.append(
    await index.encode([
      { key: Buffer.from('dirs\0/empty'), value: Buffer.from('{"metadata":null}') },
      { key: Buffer.from('files\0/\xff', 'latin1'), value }
    ])
  )
  const told: BadEntry[] = []
  drive.on('bad-entry', (entry) => told.push(entry))
  t.alike(await keysOf(drive.list()), ['/good'])
  t.is(told.length, 5, 'one is below no folder')
  t.alike(await keysOf(drive), ['/good'])
  t.is(told.length, 11)
  t.alike(await listOf(drive.readdir()), ['good'])
  await t.exception(drive.entry('/no json'), /BAD_MESSAGE/)
  await t.exception(drive.get('/negative'), /BAD_MESSAGE/)
})

test('drive: entries whose blobs are not what they say', async (t) => {
  const drive = await openDrive(t)
  await drive.put('/a', 'hello')
  await drive.put('/b', bytesOf(150_000))
  const blob = { blockOffset: 0, blockLength: 1, byteOffset: 0, byteLength: 5 }
  await drive.putEntry('/longer', { blob: { ...blob, byteLength: 6 } })
  await drive.putEntry('/elsewhere', { blob: { ...blob, byteOffset: 100, byteLength: 5 } })
  await drive.putEntry('/beyond', { blob: { ...blob, blockOffset: 100 } })
  await drive.putEntry('/map', { blob: { ...blob, blockMap: true } })
  await drive.putEntry('/wide map', { blob: { ...blob, blockLength: 1000, blockMap: true } })
  await t.exception(drive.get('/longer'), /BAD_MESSAGE/)
  await t.exception(drive.get('/elsewhere', { start: 2 }), /BAD_MESSAGE/)
  await t.exception(drive.get('/beyond', { timeoutMs: 10 }), /TIMEOUT/)
  await t.exception(drive.get('/beyond', { wait: false }), /BLOCK_NOT_AVAILABLE/)
  await t.exception(drive.get('/map'), /BAD_MESSAGE/)
  await t.exception(drive.get('/wide map'), /TOO_MANY/)
})

test('drive: an update waits for a peer if it is told to', { timeout: 60_000 }, async (t) => {
  const source = openSync(t)
  const written = await Drive.create(source, 'drive')
  await written.put('/a.txt', 'hello')
  const sync = openSync(t)
  const drive = await Drive.open(sync, written.key)
  t.is(await drive.update(), false, 'nobody is asked')
  let isDone = false
  const updating = drive.update({ wait: true }).then((isNewer) => {
    isDone = true
    return isNewer
  })
  await new Promise((resolve) => setImmediate(resolve))
  t.absent(isDone)
  const [address] = await source.listen(0, '127.0.0.1')
  await sync.connect('127.0.0.1', Number(address?.split(':')[1]))
  t.ok(await updating)
  t.is((await drive.get('/a.txt'))?.toString(), 'hello')
})
