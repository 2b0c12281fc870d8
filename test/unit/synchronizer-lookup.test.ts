/** A remote asks for a feed that is being added at that moment. */
import { EventEmitter, once } from 'node:events'
import test from 'brittle'
import { Synchronizer, memory } from '../../lib/index.ts'
import { FeedFolder } from '../../lib/feed/file/feed-folder.ts'
import type { FeedStorage } from '../../lib/synchronizer/storage.ts'

test('a feed that a remote asks for while it is being added is hosted once, and synchronized', async (t) => {
  const source = new Synchronizer({ storage: memory() })
  const feed = await source.create('log')
  await feed.append(['a', 'b', 'c'])
  const [address = ''] = await source.listen(0, '127.0.0.1')

  const folder = await FeedFolder.open(await t.tmp())
  const signals = new EventEmitter()
  const [released, asked] = [once(signals, 'release'), once(signals, 'asked')]
  const storage: FeedStorage = {
    create: (name, options) => folder.create(name, options),
    openByName: (name) => folder.openByName(name),
    openByKey: (key) => folder.openByKey(key),
    remove: (key) => folder.remove(key),
    list: () => folder.list(),
    async add(key) {
      const store = await folder.add(key)
      await released
      return store
    },
    async openByDiscoveryKey(discoveryKey) {
      const store = await folder.openByDiscoveryKey(discoveryKey)
      if (store !== null) signals.emit('asked')
      return store
    }
  }
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

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
