import test from 'brittle'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { type FeedEntry, FeedFolder, type FeedKeys } from '../../lib/feed/file/feed-folder.ts'
import { keyPairOfName } from '../../lib/feed/file/feed-name.ts'
import { diskFiles, type FileLayer } from '../../lib/feed/file/file.ts'
import { FilePool } from '../../lib/feed/file/file-pool.ts'
import { newIdentity } from '../../lib/feed/identity.ts'
import { createManifest } from '../../lib/feed/manifest.ts'
import { createKeyPair } from '../../lib/feed/signature.ts'
import { errorOf } from '../fixtures/error-of.ts'

test('a folder that is only looked at stays as it is', async (t) => {
  const root = path.join(await t.tmp(), 'store')
  const folder = await FeedFolder.open(root)
  t.alike(await all(folder.list()), [])
  t.is((await errorOf(folder.openByName('logs')))?.code, 'FEED_NOT_FOUND')
  t.is((await errorOf(folder.openByKey(new Uint8Array(32))))?.code, 'FEED_NOT_FOUND')
  await folder.remove(new Uint8Array(32))
  t.is(await stat(root).catch(() => null), null)
})

test('what is durable is so with all folders above it that are new', async (t) => {
  const base = await t.tmp()
  const root = path.join(base, 'new', 'store')
  const synced = new Set<string>()
  const layer: FileLayer = {
    ...diskFiles,
    syncFolder: (folder) => {
      synced.add(folder)
      return diskFiles.syncFolder(folder)
    }
  }
  const pool = new FilePool({ layer })
  const folder = await FeedFolder.open(root, { pool, journal: false })
  const feed = await folder.createFeed('logs')
  await feed.append([Buffer.from('hello')])
  t.alike([...synced].sort(), foldersAbove(base, folder.folderOf(feed.key)))
  await feed.close()

  // Of a process that was killed before it synced anything.
  const { key } = newIdentity()
  const killed = await folder.addFeed(key)
  synced.clear()
  const next = await FeedFolder.open(root, { pool, journal: false })
  const copy = await next.openFeed(key)
  await copy.flush()
  t.alike([...synced].sort(), foldersAbove(root, folder.folderOf(key)))
  await copy.close()
  await killed.close()
})

/** A folder and all above it, up to `base`. */
function foldersAbove(base: string, folder: string): string[] {
  return folder === base ? [base] : [...foldersAbove(base, path.dirname(folder)), folder]
}

test('feeds are found by key and by name', async (t) => {
  const root = path.join(await t.tmp(), 'store')
  const folder = await FeedFolder.open(root)
  const logs = await folder.createFeed('logs')
  await logs.append([Buffer.from('hello')])
  t.ok(logs.writable && logs.compat)
  const modern = await folder.createFeed('modern', { compat: false })
  const many = await folder.createFeed('many', {
    manifest: createManifest({
      quorum: 1,
      signers: [keyPairOfName(await primaryKey(root), 'many'), createKeyPair()].map(
        ({ publicKey }) => ({ publicKey })
      )
    })
  })
  const remote = await folder.addFeed(newIdentity().key, { name: 'remote' })
  const unnamed = await folder.addFeed(newIdentity().key)
  for (const feed of [logs, modern, many, remote, unnamed]) await feed.close()

  const again = await FeedFolder.open(root)
  const found = new Map((await all(again.list())).map((entry) => [hex(entry.key), entry]))
  t.is(found.size, 5)
  for (const [feed, name, writable] of [
    [logs, 'logs', true],
    [modern, 'modern', true],
    [many, 'many', true],
    [remote, 'remote', false],
    [unnamed, null, false]
  ] as const) {
    const entry = found.get(hex(feed.key))
    t.alike([entry?.name, entry?.writable], [name, writable])
    t.alike(entry?.discoveryKey, feed.discoveryKey)
    if (name === null) continue
    const opened = await again.openFeed(name)
    t.alike(opened.key, feed.key)
    await opened.close()
  }
  const hello = await again.openFeed(logs.key)
  t.is(Buffer.from((await hello.read(0)) ?? []).toString(), 'hello')
  await hello.close()
  t.is((await errorOf(again.create('logs')))?.code, 'FEED_EXISTS')
  t.is((await errorOf(again.create('remote')))?.code, 'FEED_EXISTS')
  t.is((await errorOf(again.create('many')))?.code, 'FEED_EXISTS')
  t.is((await errorOf(again.add(newIdentity().key, { name: 'logs' })))?.code, 'FEED_EXISTS')
  t.is((await errorOf(again.create('')))?.code, 'BAD_ARGUMENT')
  const same = await again.add(remote.key, { name: 'remote' })
  t.alike((await same.open()).identity.key, remote.key, 'adding what is there opens it')
  await same.close()
})

test('keys follow from primary key and name as in corestore 6', async (t) => {
  // Taken from corestore 6.18.4.
  const { publicKey } = keyPairOfName(new Uint8Array(32).fill(1), 'logs')
  t.is(hex(publicKey), 'b021dada9c16894bc9ebd170d4db1809bd1b2ebd28e7b4de80b8a7903bbcf6eb')
})

test('removed feeds leave nothing', async (t) => {
  const root = path.join(await t.tmp(), 'store')
  const folder = await FeedFolder.open(root)
  const feed = await folder.createFeed('logs')
  await feed.append([Buffer.from('x')])
  const other = await folder.addFeed(newIdentity().key, { name: 'other' })
  await other.close()
  t.is((await errorOf(folder.remove(feed.key)))?.code, 'FEED_LOCKED')
  await feed.close()
  await folder.remove(feed.key)
  await folder.remove(other.key)
  t.alike(await all(folder.list()), [])
  t.alike(await readdir(path.join(root, 'cores')), [])
  t.alike(await readdir(path.join(root, 'names')), [])
  const again = await folder.createFeed('logs')
  t.alike([again.key, again.length], [feed.key, 0])
  await again.close()
})

test('secrets are for their owner only', async (t) => {
  const root = path.join(await t.tmp(), 'store')
  const folder = await FeedFolder.open(root)
  await (await folder.create('logs')).close()
  await (await folder.add(newIdentity().key, { name: 'x' })).close()
  for (const entry of await readdir(root, { recursive: true })) {
    const { mode } = await stat(path.join(root, entry))
    t.is(mode & 0o77, 0, entry)
  }
  t.is((await stat(root)).mode & 0o777, 0o700)
})

test('exported keys make a feed writable elsewhere', async (t) => {
  const tmp = await t.tmp()
  const first = await FeedFolder.open(path.join(tmp, 'first'))
  const feed = await first.createFeed('logs', { compat: false })
  await feed.append([Buffer.from('x')])
  await feed.close()
  await (await first.create('other')).close()
  await (await first.add(newIdentity().key)).close()
  const keys = await all<FeedKeys>(first.exportKeys())
  t.alike(new Set(keys.map(({ name }) => name)), new Set(['logs', 'other']))

  const second = await FeedFolder.open(path.join(tmp, 'second'))
  await (await second.add(feed.key)).close()
  for (const key of keys) await second.importKeys(key)
  for (const key of keys) await second.importKeys(key)
  const copy = await second.openFeed('logs')
  t.alike([copy.key, copy.writable], [feed.key, true])
  await copy.close()
  t.is((await all(second.list())).filter(({ writable }) => writable).length, 2)
  const { publicKey, secretKey } = createKeyPair()
  const [key] = keys as [FeedKeys]
  t.is((await errorOf(second.importKeys({ ...key, publicKey })))?.code, 'BAD_KEY')
  t.is((await errorOf(second.importKeys({ ...key, publicKey, secretKey })))?.code, 'BAD_KEY')
})

test('a store of hypercore 11 is refused, and refuses ours, without a change', async (t) => {
  const { default: CorestoreStorage } = await import('hypercore-storage')
  const tmp = await t.tmp()
  const theirs = path.join(tmp, 'theirs')
  const storage = new CorestoreStorage(theirs)
  await storage.ready()
  await storage.close()
  t.is((await errorOf(FeedFolder.open(theirs)))?.code, 'STORE_IS_V11')

  const ours = path.join(tmp, 'ours')
  const folder = await FeedFolder.open(ours)
  const feed = await folder.createFeed('logs')
  await feed.append([Buffer.from('x')])
  await feed.close()
  const before = await contents(ours)
  const other = new CorestoreStorage(ours)
  await t.exception(other.ready(), /device file/)
  await other.close().catch(() => {})
  const { default: Hypercore } = await import('hypercore')
  const core = new Hypercore(ours)
  await t.exception(core.ready(), /device file/)
  await core.close().catch(() => {})
  t.alike(await contents(ours), before)
  await FeedFolder.open(ours)
})

test('a folder for reading refuses to change', async (t) => {
  const root = path.join(await t.tmp(), 'store')
  const writable = await FeedFolder.open(root)
  const feed = await writable.createFeed('logs')
  await feed.close()
  const folder = await FeedFolder.open(root, { readOnly: true })
  t.is((await all(folder.list())).length, 1)
  const reader = await folder.openFeed('logs')
  t.is((await errorOf(reader.append([Buffer.from('x')])))?.code, 'INVALID_OPERATION')
  await reader.close()
  for (const task of [folder.create('a'), folder.add(newIdentity().key), folder.remove(feed.key)]) {
    t.is((await errorOf(task))?.code, 'INVALID_OPERATION')
  }
})

test('2,000 feeds are made, listed and read with 16 descriptors', async (t) => {
  const root = path.join(await t.tmp(), 'store')
  const pool = new FilePool({ max: 16 })
  const folder = await FeedFolder.open(root, { pool })
  const keys = Array.from({ length: 1960 }, (_, i) => {
    const key = new Uint8Array(32)
    key[0] = i & 255
    key[1] = i >> 8
    return key
  })
  const remotes = []
  for (const key of keys) remotes.push(await folder.addFeed(key))
  const own = await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const feed = await folder.createFeed(`feed ${i}`)
      await feed.append([Buffer.from(`block of ${i}`)], { durability: 'os' })
      return feed
    })
  )
  t.is((await all(folder.list())).length, 2000)
  const blocks = await Promise.all(own.map((feed) => feed.read(0)))
  t.alike(
    blocks.map((block) => Buffer.from(block ?? []).toString()),
    own.map((_, i) => `block of ${i}`)
  )
  t.ok(pool.openFiles <= 16)
  if (process.platform === 'linux') {
    const open = (await readdir('/proc/self/fd')).length
    t.ok(open < 60, 'locks need no descriptors of their own')
  }
  await Promise.all([...remotes, ...own].map((feed) => feed.close()))
  t.is(pool.openFiles, 0)
})

async function primaryKey(root: string): Promise<Uint8Array> {
  return readFile(path.join(root, 'primary-key'))
}

/** Names, sizes and content of all files. */
async function contents(root: string): Promise<string[]> {
  const names = (await readdir(root, { recursive: true })).sort()
  return Promise.all(
    names.map(async (name) => {
      const info = await stat(path.join(root, name))
      const bytes = info.isFile() ? await readFile(path.join(root, name), 'hex') : ''
      return `${name} ${info.mtimeMs} ${bytes}`
    })
  )
}

async function all<T = FeedEntry>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
