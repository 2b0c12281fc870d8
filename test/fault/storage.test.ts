/** Storage that is not there, is damaged, full, read only, locked or another's: one clear error, and nothing is lost. */
import { open, readdir, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type Assertions } from 'brittle'
import {
  createKeyPair,
  isSynclineError,
  memory,
  Synchronizer,
  type ErrorCode,
  type SynclineError
} from '../../lib/index.ts'
import { FeedFolder } from '../../lib/feed/file/feed-folder.ts'
import { makeReadOnly, makeWritable, mountSmall } from '../fixtures/file-system.ts'
import { Child } from './child.ts'
import { differing, portOf, until } from './stage.ts'

const blocks = (count: number, byteLength = 100): Buffer[] =>
  Array.from({ length: count }, (_, i) => Buffer.alloc(byteLength, i))

test('what is not stored is named as such', async (t) => {
  const sync = openSync(t, await t.tmp())
  const { publicKey } = createKeyPair()
  await fails(t, sync.open('nothing'), 'FEED_NOT_FOUND')
  await fails(t, sync.open(publicKey), 'FEED_NOT_FOUND')
  await fails(t, sync.remove('nothing'), 'FEED_NOT_FOUND')
  await fails(t, sync.remove(publicKey), 'FEED_NOT_FOUND')
  await fails(t, async () => sync.add('no key'), 'BAD_KEY')
  await fails(t, async () => sync.add(publicKey.subarray(1)), 'BAD_KEY')
  await fails(t, sync.create(''), 'BAD_ARGUMENT')
  const feed = await sync.create('one')
  await fails(t, sync.create('one'), 'FEED_EXISTS')
  await fails(t, sync.remove('one'), 'REFUSED')
  await fails(t, sync.add(publicKey).append('x'), 'NOT_WRITABLE')
  await feed.append('x')
  t.is(feed.length, 1)
})

test('a folder of hypercore 11 is refused, and stays as it is', async (t) => {
  const folder = await t.tmp()
  const { default: Hypercore } = await import('hypercore')
  const core = new Hypercore(folder)
  await core.ready()
  await core.close()
  const before = await readdir(folder, { recursive: true })
  const sync = openSync(t, folder)
  await fails(t, sync.ready(), 'STORE_IS_V11')
  await fails(t, sync.create('one'), 'STORE_IS_V11')
  await fails(t, sync.open('one'), 'STORE_IS_V11')
  await fails(t, sync.add(core.key).ready(), 'STORE_IS_V11')
  await sync.close()
  t.alike(await readdir(folder, { recursive: true }), before)
})

test('a feed that another process writes is refused to writers and open to readers', async (t) => {
  const folder = await t.tmp()
  const first = openSync(t, folder)
  const { key } = await first.create('one')
  await first.close()
  const child = Child.start(t, 'child-hold', [folder, 'one'])
  const pid = Number((await child.said('holding')).split(' ')[1])
  const sync = openSync(t, folder)
  const feed = await sync.open('one')
  t.is(feed.length, 1)
  const error = await fails(t, feed.append('x'), 'FEED_LOCKED')
  t.is(error?.details.pid, pid)
  const other = await sync.create('two')
  await other.append('x')

  // It is served all the same.
  const reader = openSync(t, memory())
  await reader.connect('127.0.0.1', portOf(await sync.listen(0, '127.0.0.1')))
  const copy = reader.add(key, { mode: 'pull' })
  await copy.synced({ timeoutMs: 10_000 })
  t.is(String(await copy.get(0)), 'from another process')
  await child.kill()
  await feed.append('x')
  t.is(feed.length, 2, 'the lock went with the process')
})

test('a feed whose log is damaged is named, and the others work', async (t) => {
  const folder = await t.tmp()
  const sync = openSync(t, folder)
  const feed = await sync.create('damaged')
  const other = await sync.create('whole')
  await feed.append(blocks(10))
  await other.append(blocks(10))
  await sync.close()
  const oplog = path.join((await FeedFolder.open(folder)).folderOf(feed.key), 'oplog')
  // Both slots of the header.
  await flip(oplog, 20)
  await flip(oplog, 4096 + 20)
  const again = openSync(t, folder)
  const error = await fails(t, again.open(feed.key), 'FEED_DAMAGED')
  t.is(error?.details.path, oplog)
  await fails(t, again.add(feed.key).ready(), 'FEED_DAMAGED')
  const { length } = await again.open('whole')
  t.is(length, 10)
  // A remote that asks for it hears that it is not here.
  const reader = openSync(t, memory())
  await reader.connect('127.0.0.1', portOf(await again.listen(0, '127.0.0.1')))
  const copy = reader.add(other.key, { mode: 'pull' })
  reader.add(feed.key)
  await copy.synced({ timeoutMs: 10_000 })
  t.is(again.peers.length, 1)
})

test('damage to blocks and nodes is found by an audit, never taken by a reader, and repaired from a peer', async (t) => {
  const source = openSync(t, memory())
  const feed = await source.create('feed')
  // Too many for the journal, where damage is found by checksums.
  await feed.append(blocks(600))
  const port = portOf(await source.listen(0, '127.0.0.1'))
  const folder = await t.tmp()
  const first = openSync(t, folder)
  await first.connect('127.0.0.1', port)
  await first.add(feed.key, { mode: 'pull' }).synced({ timeoutMs: 10_000 })
  await first.close()
  const files = (await FeedFolder.open(folder)).folderOf(feed.key)
  await flip(path.join(files, 'data'), 100 * 77 + 5)
  // A node deep in the tree: the hash of block 150.
  await flip(path.join(files, 'tree'), 40 * 300 + 20)

  const sync = openSync(t, folder)
  const copy = sync.add(feed.key, { mode: 'both' })
  await copy.ready()
  const found = await copy.audit()
  t.ok(found.head)
  t.ok(found.bad.includes(77) && found.bad.includes(150), `bad: ${found.bad.join(' ')}`)
  t.ok(found.bad.length < 600, 'the rest is sound')

  // Somebody who asks for all of it takes nothing wrong, and says who gave it.
  const reader = openSync(t, memory())
  const faults: SynclineError[] = []
  reader.on('peer-fault', (_peer, error) => faults.push(error))
  const third = reader.add(feed.key, { mode: 'both' })
  await reader.connect('127.0.0.1', portOf(await sync.listen(0, '127.0.0.1')))
  await until(() => faults.length > 0)
  t.is(faults[0]?.code, 'INVALID_CHECKSUM')
  t.absent(third.contiguousLength === 600)
  t.alike((await third.audit()).bad, [])

  await (await copy.feed()).forget(found.bad)
  await sync.connect('127.0.0.1', port)
  await copy.synced({ timeoutMs: 10_000 })
  t.alike(await copy.audit(), { blocks: 600, bad: [], head: true })
  t.is(await differing(copy, feed), -1)
  await reader.connect('127.0.0.1', port)
  await third.synced({ timeoutMs: 10_000 })
  t.is(await differing(third, feed), -1)
})

test('a tree whose root is damaged is named when the feed is opened', async (t) => {
  const folder = await t.tmp()
  const sync = openSync(t, folder)
  const feed = await sync.create('feed')
  await feed.append(blocks(64))
  await sync.close()
  await flip(path.join((await FeedFolder.open(folder)).folderOf(feed.key), 'tree'), 40 * 63 + 20)
  await fails(t, openSync(t, folder).open('feed'), 'FEED_DAMAGED')
})

test('a copy on a full disk stops with one error, keeps what it has, and goes on when there is room', async (t) => {
  const mount = await mountSmall(t, 1 << 20)
  if (mount === null) return t.comment('skipped: mounting is not permitted here')
  const source = openSync(t, memory())
  const feed = await source.create('feed')
  await feed.append(blocks(100, 10_000))
  const ballast = path.join(mount, 'ballast')
  await writeFile(ballast, Buffer.alloc(500_000))
  const sync = openSync(t, path.join(mount, 'feeds'))
  const errors: SynclineError[] = []
  sync.on('feed-error', (_feed, error) => errors.push(error))
  const peers: unknown[] = []
  sync.on('peer-disconnect', (peer) => peers.push(peer))
  await sync.connect('127.0.0.1', portOf(await source.listen(0, '127.0.0.1')))
  const copy = sync.add(feed.key, { mode: 'pull' })
  await fails(t, copy.synced({ timeoutMs: 10_000 }), 'DISK_FULL')
  await sleep(300)
  t.alike(
    errors.map(({ code }) => code),
    ['DISK_FULL'],
    'it is said once'
  )
  t.alike(peers, [], 'no peer is blamed')
  const { bad, blocks: held } = await copy.audit()
  t.alike(bad, [])
  await fails(t, copy.synced(), 'DISK_FULL')
  await fails(t, copy.get(99), 'DISK_FULL')

  await rm(ballast)
  const again = sync.add(feed.key, { mode: 'pull' })
  await again.ready()
  t.is((await again.audit()).blocks, held, 'nothing was lost')
  await again.synced({ timeoutMs: 10_000 })
  t.is(await differing(again, feed), -1)
  t.alike(await again.audit(), { blocks: 100, bad: [], head: true })
})

test('an append on a full disk fails alone, and the next one with room succeeds', async (t) => {
  const mount = await mountSmall(t, 1 << 20)
  if (mount === null) return t.comment('skipped: mounting is not permitted here')
  const ballast = path.join(mount, 'ballast')
  const sync = openSync(t, path.join(mount, 'feeds'))
  const feed = await sync.create('feed')
  await feed.append(blocks(20, 10_000))
  const { size } = await stat(
    path.join((await FeedFolder.open(path.join(mount, 'feeds'))).folderOf(feed.key), 'data')
  )
  t.is(size, 200_000)
  await writeFile(ballast, Buffer.alloc(600_000))
  await fails(t, feed.append(blocks(100, 10_000)), 'DISK_FULL')
  t.is(feed.length, 20)
  t.alike(await feed.audit(), { blocks: 20, bad: [], head: true })
  await rm(ballast)
  await feed.append(blocks(20, 10_000))
  t.is(feed.length, 40)
  await sync.close()
  const again = await openSync(t, path.join(mount, 'feeds')).open('feed')
  t.alike(await again.audit(), { blocks: 40, bad: [], head: true })
})

test('a disk that cannot be written is read and served from, and says so to writers', async (t) => {
  const mount = await mountSmall(t, 4 << 20)
  if (mount === null) return t.comment('skipped: mounting is not permitted here')
  const first = openSync(t, mount)
  const made = await first.create('feed')
  await made.append(blocks(50))
  await first.close()
  makeReadOnly(mount)
  const sync = openSync(t, mount)
  const feed = await sync.open('feed')
  await fails(t, feed.append('x'), 'STORAGE_FAILED')
  await fails(t, sync.create('other'), 'STORAGE_FAILED')
  const reader = openSync(t, memory())
  await reader.connect('127.0.0.1', portOf(await sync.listen(0, '127.0.0.1')))
  const copy = reader.add(feed.key, { mode: 'pull' })
  await copy.synced({ timeoutMs: 10_000 })
  t.is(await differing(copy, feed), -1)
  makeWritable(mount)
  await feed.append('x')
  t.is(feed.length, 51)
})

function openSync(t: Assertions, storage: string | ReturnType<typeof memory>): Synchronizer {
  const sync = new Synchronizer({ storage })
  t.teardown(() => sync.close().catch(() => {}), { order: -2 })
  return sync
}

/** The error of `run`, which has to have this code. */
async function fails(
  t: Assertions,
  run: Promise<unknown> | (() => Promise<unknown>),
  code: ErrorCode
): Promise<SynclineError | null> {
  try {
    await (typeof run === 'function' ? run() : run)
    t.fail(`${code} was expected`)
    return null
  } catch (error) {
    if (!isSynclineError(error)) throw error
    t.is(error.code, code, error.message)
    return error
  }
}

/** Changes one byte of a file. */
async function flip(file: string, position: number): Promise<void> {
  const handle = await open(file, 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, position)
  byte[0] = (byte[0] as number) ^ 0xff
  await handle.write(byte, 0, 1, position)
  await handle.close()
}
