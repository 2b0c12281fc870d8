import test, { type Assertions } from 'brittle'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, isSynclineError } from '../../lib/errors.ts'
import { diskFiles } from '../../lib/feed/file/file.ts'
import { FeedFiles } from '../../lib/feed/file/feed-files.ts'
import { FeedLog } from '../../lib/feed/file/feed-log.ts'
import { FilePool } from '../../lib/feed/file/file-pool.ts'
import { FileStore } from '../../lib/feed/file/file-store.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import type { Identity } from '../../lib/feed/store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { makeReadOnly, mountSmall } from '../fixtures/file-system.ts'
import { errorOf } from '../fixtures/error-of.ts'

test('files and folders of a feed are for their owner only', async (t) => {
  const folder = path.join(await t.tmp(), 'a', 'feed')
  const feed = await make(t, folder)
  await feed.append(blocks(20))
  await feed.close()
  t.is((await stat(folder)).mode & 0o777, 0o700)
  t.is((await stat(path.dirname(folder))).mode & 0o777, 0o700)
  for (const name of await readdir(folder)) {
    t.is((await stat(path.join(folder, name))).mode & 0o777, 0o600, name)
  }
})

test('a feed is as it was when it is opened again', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  const feed = await make(t, folder)
  await feed.append(blocks(2000))
  await feed.clear(100, 200)
  await feed.truncate(1500, 7)
  await feed.append(blocks(3))
  await feed.setUserData('name', Buffer.from('value'))
  await feed.setUserData('gone', Buffer.from('value'))
  await feed.setUserData('gone', null)
  const { key, length, byteLength, contiguousLength, fork } = feed
  t.alike([length, contiguousLength, fork], [1503, 100, 7])
  await feed.close()
  for (const writes of [false, true]) {
    const again = await open(t, folder)
    t.alike(
      [again.key, again.length, again.byteLength, again.contiguousLength, again.fork],
      [key, length, byteLength, contiguousLength, fork]
    )
    t.alike(
      [...again.have.runs(0, 3000)],
      [
        [0, 100],
        [200, 1503]
      ]
    )
    t.is(Buffer.from((await again.getUserData('name')) ?? []).toString(), 'value')
    t.is(await again.getUserData('gone'), null)
    t.alike(await again.audit(), { blocks: 1403, bad: [], head: true })
    if (writes) await again.append(blocks(1))
    await again.close()
  }
})

test('what a killed process wrote without sync is there, and its lock is gone', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  await (await make(t, folder)).close()
  const other = await hold(t, folder)
  const feed = await open(t, folder)
  t.is(feed.length, 1, 'reading needs no lock')
  const error = await errorOf(feed.append(blocks(1)))
  t.is(error?.code, 'FEED_LOCKED')
  t.is(error?.details.pid, other.pid)
  t.is(error?.details.path, folder)
  await t.exception(FileStore.open(folder, { lock: true }).open(), /FEED_LOCKED/)
  other.kill('SIGKILL')
  await once(other, 'exit')
  await feed.append(blocks(1))
  t.is(feed.length, 2)
})

test('a second writer in the same process is refused too', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  const feed = await make(t, folder)
  await feed.append(blocks(1))
  const second = await open(t, folder)
  const error = await errorOf(second.append(blocks(1)))
  t.alike([error?.code, error?.details.pid], ['FEED_LOCKED', process.pid])
  await feed.append(blocks(1))
  await feed.close()
  const late = await errorOf(second.append(blocks(1)))
  t.is(late?.code, 'FEED_LOCKED', 'the feed has grown since it was opened')
  await second.close()
  const third = await open(t, folder)
  await third.append(blocks(1))
  t.is(third.length, 3)
})

test('who writes a copy that was never synced is named', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  await make(t, folder, identityFromKey(newIdentity().key))
  t.alike(await readdir(folder), ['oplog'])
  let owner: number | null = null
  const pool = new FilePool({
    layer: {
      ...diskFiles,
      lock: async (_folder, who) => {
        owner = await who()
        return async () => {}
      }
    }
  })
  const other = FileStore.open(folder, { lock: true, pool })
  await other.open()
  await other.close()
  t.is(owner, process.pid)
})

test('reading makes no file and works where nothing can be written', async (t) => {
  const mount = await mountSmall(t, 4 << 20)
  if (mount === null) {
    t.comment('skipped: mounting is not permitted here')
    return
  }
  const folder = path.join(mount, 'feed')
  const feed = await make(t, folder)
  await feed.append(blocks(10))
  await feed.close()
  await rm(path.join(folder, 'syncline'))
  makeReadOnly(mount)
  const before = await readdir(folder)
  const again = await open(t, folder)
  t.is((await again.readRun(0, 10)).length, 10)
  t.is((await again.proof({ upgrade: { start: 0, length: 10 } })).upgrade?.length, 10)
  const error = await errorOf(again.append(blocks(1)))
  t.is(error?.code, 'STORAGE_FAILED')
  t.ok(error?.details.path?.startsWith(folder))
  await again.close()
  t.alike(await readdir(folder), before)
})

test('a full disk fails the append and nothing else', async (t) => {
  const mount = await mountSmall(t, 1 << 20)
  if (mount === null) {
    t.comment('skipped: mounting is not permitted here')
    return
  }
  const folder = path.join(mount, 'feed')
  const feed = await make(t, folder)
  await feed.append(blocks(10))
  let error: unknown = null
  while (error === null) error = await errorOf(feed.append([new Uint8Array(60_000)]))
  t.ok(isSynclineError(error, 'DISK_FULL'))
  const { length } = feed
  t.is((await feed.audit()).blocks, length)
  await feed.close().catch(() => {})
  const again = await open(t, folder)
  t.is(again.length, length)
  t.alike(await again.audit(), { blocks: length, bad: [], head: true })
})

test('damaged and missing files are named', async (t) => {
  const root = await t.tmp()
  const folder = path.join(root, 'feed')
  const feed = await make(t, folder)
  await feed.append(blocks(50))
  await feed.close()
  const { oplog, tree, data } = {
    oplog: path.join(folder, 'oplog'),
    tree: path.join(folder, 'tree'),
    data: path.join(folder, 'data')
  }
  const keep = new Map(
    await Promise.all(
      [oplog, tree, data].map(async (file) => [file, await readFile(file)] as const)
    )
  )
  const restore = async (): Promise<void> => {
    for (const [file, bytes] of keep) await writeFile(file, bytes)
  }

  await truncate(data, 10)
  const short = await open(t, folder)
  const error = await errorOf(short.read(49))
  t.alike([error?.code, error?.details.path], ['FEED_DAMAGED', data])
  await short.close()
  await rm(data)
  const without = await open(t, folder)
  t.is((await errorOf(without.read(0)))?.code, 'FEED_DAMAGED')
  await without.close()
  await restore()

  await truncate(tree, 40)
  await refuses(t, folder, 'FEED_DAMAGED', tree)
  await restore()

  const log = keep.get(oplog) as Buffer
  const broken = Buffer.from(log)
  broken[100] = 255 ^ (broken[100] as number)
  broken[4196] = 255 ^ (broken[4196] as number)
  await writeFile(oplog, broken)
  await refuses(t, folder, 'FEED_DAMAGED', oplog)
  for (const size of [log.byteLength, 100]) {
    await writeFile(oplog, Buffer.alloc(size))
    await refuses(t, folder, 'FEED_DAMAGED', oplog)
  }
  await rm(path.join(folder, 'syncline'))
  await refuses(t, folder, 'FEED_DAMAGED', oplog)
  await writeFile(oplog, Buffer.concat([log, Buffer.from('half an entry')]))
  const torn = await open(t, folder)
  t.is(torn.length, 50)
  await torn.append(blocks(1))
  await torn.close()
  t.is((await open(t, folder)).length, 51)

  await refuses(t, path.join(root, 'none'), 'FEED_NOT_FOUND', path.join(root, 'none'))
  t.absent((await readdir(root)).includes('none'))
})

test('a reader finds a whole feed at any moment while another writes', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  const feed = await make(t, folder)
  let done = false
  const writing = (async () => {
    for (let i = 0; i < 60; i++) {
      await feed.append(blocks(20), { durability: 'os' })
      if (i % 4 === 0) await feed.flush()
      if (i % 10 === 5) await feed.truncate(feed.length - 15)
      if (i % 7 === 0) await feed.clear(feed.length - 10, feed.length - 5)
    }
    done = true
  })()
  let looks = 0
  while (!done) {
    const { length } = feed
    const store = FileStore.open(folder, { readOnly: true })
    const { head, bitmap, contiguousLength } = await store.open()
    t.ok(head.length >= length - 15 && bitmap.firstSet(head.length) === -1)
    t.ok(contiguousLength <= head.length)
    await store.close()
    looks++
  }
  await writing
  t.ok(looks > 0)
})

test('a feed is made only once', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  const identity = newIdentity()
  const feed = await make(t, folder, identity)
  await t.exception(FileStore.create(folder, identity), /FEED_EXISTS/)
  await feed.append(blocks(1))
  t.is(feed.length, 1)
})

test('a store for reading refuses to write, and a closed one everything', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  await (await make(t, folder)).close()
  const store = FileStore.open(folder, { readOnly: true })
  const feed = await StoredFeed.open(store)
  t.is((await errorOf(feed.append(blocks(1))))?.code, 'INVALID_OPERATION')
  await feed.close()
  t.is((await errorOf(store.getNode(0)))?.code, 'SESSION_CLOSED')
})

test('clearing gives the disk back', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  const store = await FileStore.create(folder, newIdentity())
  const feed = await StoredFeed.open(store)
  t.teardown(() => feed.close(), { order: -1 })
  if (!(await store.canFree())) {
    t.comment('skipped: fs-native-extensions is not here')
    return
  }
  await feed.append(Array.from({ length: 4 }, () => new Uint8Array(1 << 20).fill(1)))
  const before = (await stat(path.join(folder, 'data'))).blocks
  await feed.clear(1, 3)
  const after = (await stat(path.join(folder, 'data'))).blocks
  t.ok((before - after) * 512 >= (2 << 20) - 8192, 'two of four MiB')
  t.alike(await feed.audit(), { blocks: 2, bad: [], head: true })
})

test('a feed of hypercore 11 is refused with a hint', async (t) => {
  const { default: Hypercore } = await import('hypercore')
  const folder = await t.tmp()
  const core = new Hypercore(folder)
  await core.ready()
  await core.close()
  const error = await errorOf(FileStore.open(folder).open())
  t.is(error?.code, 'STORE_IS_V11')
  t.ok(error?.message.includes('hypercore 11'))
})

test('a copy of which only the key is known can be made writable later', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  const identity = newIdentity()
  await (await make(t, folder, identityFromKey(identity.key))).close()
  const store = FileStore.open(folder)
  await store.open()
  if (identity.keyPair !== null) await store.putKeyPair(identity.keyPair)
  const { keyPair: other } = newIdentity()
  if (other !== null) t.is((await errorOf(store.putKeyPair(other)))?.code, 'INVALID_OPERATION')
  await store.close()
  t.alike((await FileStore.open(folder).open()).identity.keyPair, identity.keyPair)
})

async function make(
  t: Assertions,
  folder: string,
  identity: Identity = newIdentity()
): Promise<StoredFeed> {
  const feed = await StoredFeed.open(await FileStore.create(folder, identity))
  t.teardown(() => feed.close(), { order: -2 })
  return feed
}

async function open(t: Assertions, folder: string): Promise<StoredFeed> {
  const feed = await StoredFeed.open(FileStore.open(folder, { pool: new FilePool({ max: 4 }) }))
  t.teardown(() => feed.close().catch(() => {}), { order: -2 })
  return feed
}

/** Another process that has the feed open and has appended one block. */
async function hold(t: Assertions, folder: string): Promise<ReturnType<typeof spawn>> {
  const script = fileURLToPath(
    new URL(`../fixtures/hold-feed${path.extname(import.meta.url)}`, import.meta.url)
  )
  const child = spawn(process.execPath, [...process.execArgv, script, folder], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child
}

async function refuses(
  t: Assertions,
  folder: string,
  code: ErrorCode,
  file: string
): Promise<void> {
  const error = await errorOf(StoredFeed.open(FileStore.open(folder)))
  t.alike([error?.code, error?.details.path], [code, file])
}

function blocks(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(`block ${i}`))
}

test('entries that a killed fold left behind do not count under the next header', async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  const oplog = path.join(folder, 'oplog')
  const feed = await make(t, folder)
  await feed.append(blocks(3))
  await feed.flush()
  for (let i = 0; i < 3; i++) await feed.append(blocks(2), { durability: 'os' })
  const before = await readFile(oplog)
  await feed.close()
  const after = await readFile(oplog)
  t.ok(before.byteLength > after.byteLength)
  // The header was written, and the entries that it voids were not cut off.
  await writeFile(oplog, Buffer.concat([after, before.subarray(after.byteLength)]))
  const pool = new FilePool({ layer: diskFiles })
  const files = new FeedFiles(pool, folder)
  const image = await files.read()
  t.is(image.log.byteLength, 0)
  const log = new FeedLog(files, image)
  await log.begin(log.next(image.header))
  const { log: now } = await files.read()
  t.is(now.byteLength, 0)
  await files.oplog.close()
})
