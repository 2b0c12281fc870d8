/** A feed is hosted once, whatever is asked for while it is being added or closed. */
import { EventEmitter, once } from 'node:events'
import test from 'brittle'
import { Synchronizer, SynclineError, memory } from '../../lib/index.ts'
import { FeedFolder } from '../../lib/feed/file/feed-folder.ts'
import type { FeedStorage } from '../../lib/synchronizer/storage.ts'

test('a feed that a remote asks for while it is being added is hosted once, and synchronized', async (t) => {
  const source = new Synchronizer({ storage: memory() })
  const feed = await source.create('log')
  await feed.append(['a', 'b', 'c'])
  const [address = ''] = await source.listen(0, '127.0.0.1')

  const signals = new EventEmitter()
  const [released, asked] = [once(signals, 'release'), once(signals, 'asked')]
  const folder = await FeedFolder.open(await t.tmp())
  const storage = heldStorage(folder, signals, {
    async add(key) {
      const store = await folder.add(key)
      await released
      return store
    }
  })
  const reader = new Synchronizer({ storage })
  t.teardown(() => Promise.all([source.close(), reader.close()]))
  const copy = reader.add(feed.key, { mode: 'pull' })
  while (!(await folder.has(feed.key))) await turn()
  await reader.connect('127.0.0.1', Number(address.split(':').pop()))
  await asked
  // Whatever is made of what was found is made before the feed is added.
  for (let i = 0; i < 100; i++) await turn()
  signals.emit('release')
  await copy.synced({ timeoutMs: 5000 })
  t.is(String(await copy.get(2)), 'c')
  t.is(reader.add(feed.key), copy, 'the session of who added it is the one that stays')
  t.is(copy.mode, 'pull')
})

test('a feed that a remote asks for while it is being removed is not hosted', async (t) => {
  const source = new Synchronizer({ storage: memory() })
  const feed = await source.create('log')
  await feed.append(['a', 'b', 'c'])
  const [address = ''] = await source.listen(0, '127.0.0.1')
  const port = Number(address.split(':').pop())

  const signals = new EventEmitter()
  const [released, asked] = [once(signals, 'release'), once(signals, 'asked')]
  const folder = await FeedFolder.open(await t.tmp())
  const storage = heldStorage(folder, signals, {
    async remove(key) {
      await released
      await folder.remove(key)
    }
  })
  const reader = new Synchronizer({ storage })
  t.teardown(() => Promise.all([source.close(), reader.close()]))
  await reader.connect('127.0.0.1', port)
  await reader.add(feed.key, { mode: 'pull' }).synced({ timeoutMs: 5000 })
  const removed = reader.remove(feed.key)
  await source.add(feed.key).append(['d'])
  for (const peer of reader.peers) peer.close()
  await asked
  for (let i = 0; i < 100; i++) await turn()
  const copy = reader.add(feed.key, { mode: 'pull' })
  signals.emit('release')
  await removed
  await copy.synced({ timeoutMs: 5000 })
  t.is(String(await copy.get(3)), 'd')
  t.is(copy.mode, 'pull')
})

test('a feed that is being closed can be added, opened and appended to', async (t) => {
  const sync = new Synchronizer({ storage: await t.tmp() })
  t.teardown(() => sync.close())
  const feed = await sync.create('log')
  await feed.append(['a'])
  const closing = feed.close()
  const again = await sync.open('log')
  await again.append(['b'])
  t.is(again.length, 2)

  const closingAgain = again.close()
  const added = sync.add(feed.key)
  await added.append(['c'])
  t.is(added.length, 3)
  t.is(sync.add(feed.key), added)

  const closingAdded = added.close()
  const byKey = await sync.open(feed.key)
  t.is(String(await byKey.get(2)), 'c')
  await Promise.all([closing, closingAgain, closingAdded])
  t.is(await sync.open('log'), byKey)
})

test('a remote that asks for a feed which is being closed is served', async (t) => {
  const source = new Synchronizer({ storage: await t.tmp() })
  const reader = new Synchronizer({ storage: memory() })
  t.teardown(() => Promise.all([source.close(), reader.close()]))
  const feed = await source.create('log')
  await feed.append(['a'])
  const [address = ''] = await source.listen(0, '127.0.0.1')
  const copy = reader.add(feed.key, { mode: 'pull' })
  await copy.ready()
  await Promise.all([feed.close(), reader.connect('127.0.0.1', Number(address.split(':').pop()))])
  await copy.synced({ timeoutMs: 5000 })
  t.is(String(await copy.get(0)), 'a')
})

test('a feed that a remote asked for first is synchronized as who adds it says', async (t) => {
  const folder = await FeedFolder.open(await t.tmp())
  const source = new Synchronizer({ storage: await t.tmp() })
  const feed = await source.create('log')
  await feed.append(['a', 'b', 'c'])
  const before = new Synchronizer({ storage: folder })
  await connect(before, source)
  await before.add(feed.key, { mode: 'pull' }).synced({ timeoutMs: 5000 })
  await before.close()
  await feed.append(['d', 'e'])

  const sync = new Synchronizer({ storage: folder })
  const other = new Synchronizer({ storage: memory() })
  t.teardown(() => Promise.all([source.close(), sync.close(), other.close()]))
  await connect(other, sync)
  await other.add(feed.key, { mode: 'pull' }).synced({ timeoutMs: 5000 })
  t.is(sync.feeds.length, 1, 'it is open since the remote asked for it')
  const copy = sync.add(feed.key, { valueEncoding: 'utf-8', ranges: [[4, 5]] })
  t.is(copy.mode, 'both')
  await connect(sync, source)
  await copy.update({ wait: true, timeoutMs: 5000 })
  await copy.synced({ timeoutMs: 5000 })
  t.is(await copy.get(4, { wait: false }), 'e')
  t.is(await copy.has(3), false, 'no more than was asked for')
})

test('a feed that is being opened or made while the synchronizer closes does not stay open', async (t) => {
  const signals = new EventEmitter()
  const [released, asked] = [once(signals, 'release'), once(signals, 'asked')]
  const folder = await FeedFolder.open(await t.tmp())
  const first = new Synchronizer({ storage: folder })
  await first.create('log')
  await first.close()
  const storage = heldStorage(folder, signals, {
    async openByName(name) {
      signals.emit('asked')
      await released
      return folder.openByName(name)
    },
    async create(name, options) {
      await released
      return folder.create(name, options)
    }
  })
  const sync = new Synchronizer({ storage })
  const [opened, created] = [sync.open('log'), sync.create('other')]
  opened.catch(() => {})
  created.catch(() => {})
  await asked
  const closed = sync.close()
  for (let i = 0; i < 100; i++) await turn()
  signals.emit('release')
  await closed
  t.alike(sync.feeds, [])
  await t.exception(opened, /SESSION_CLOSED/)
  await t.exception(created, /SESSION_CLOSED/)
})

/** A folder of which some methods are others. `asked` is emitted when a remote's feed was found in it. */
function heldStorage(
  folder: FeedFolder,
  signals: EventEmitter,
  others: Partial<FeedStorage>
): FeedStorage {
  return {
    create: (name, options) => folder.create(name, options),
    openByName: (name) => folder.openByName(name),
    openByKey: (key) => folder.openByKey(key),
    add: (key) => folder.add(key),
    remove: (key) => folder.remove(key),
    list: () => folder.list(),
    async openByDiscoveryKey(discoveryKey) {
      const store = await folder.openByDiscoveryKey(discoveryKey)
      if (store !== null) signals.emit('asked')
      return store
    },
    ...others
  }
}

async function connect(from: Synchronizer, to: Synchronizer): Promise<void> {
  const [address = ''] = await to.listen(0, '127.0.0.1')
  await from.connect('127.0.0.1', Number(address.split(':').pop()))
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

test('feeds and locks are let go on close although one of the feeds cannot be closed', async (t) => {
  const folder = await FeedFolder.open(await t.tmp())
  const failing: FeedStorage = heldStorage(folder, new EventEmitter(), {
    async create(name, options) {
      const store = await folder.create(name, options)
      if (name !== 'one') return store
      const close = store.close.bind(store)
      store.close = async () => {
        await close()
        throw new SynclineError('STORAGE_FAILED', 'the disk is gone')
      }
      return store
    }
  })
  const sync = new Synchronizer({ storage: failing })
  const feeds = []
  for (const name of ['one', 'two', 'three']) feeds.push(await sync.create(name))
  let closes = 0
  sync.on('close', () => closes++)
  await t.exception(sync.close(), /the disk is gone/)
  t.is(closes, 1)
  for (const { key } of feeds) {
    const store = await folder.openByKey(key)
    await store?.close()
    t.ok(store !== null, 'its lock is free')
  }
})
