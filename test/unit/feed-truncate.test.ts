/** Reads that a truncation overtakes. */
import { EventEmitter, once } from 'node:events'
import test from 'brittle'
import { newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import type { Store } from '../../lib/feed/store.ts'

test('what is read while a truncation is written is that of one fork', async (t) => {
  const signals = new EventEmitter()
  const [released, written] = [once(signals, 'release'), once(signals, 'written')]
  const store = memoryStore(newIdentity({ seed: new Uint8Array(32) }))
  const commit = store.commit.bind(store)
  const feed = await StoredFeed.open(store)
  t.teardown(() => feed.close())
  await feed.append(Array.from({ length: 100 }, (_, i) => new Uint8Array(1 + i).fill(i)))
  const slow: Pick<Store, 'commit'> = {
    async commit(change) {
      await commit(change)
      // As a store that still folds its log.
      signals.emit('written')
      await released
    }
  }
  Object.assign(store, slow)
  const truncated = feed.truncate(40)
  await written
  const packed = feed.readPacked(30, 50)
  const block = feed.read(45)
  const proof = feed.proof({ block: { index: 10, nodes: 3 } })
  for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve))
  signals.emit('release')
  await truncated
  const { lengths } = await packed
  t.alike(
    [...lengths],
    Array.from({ length: 10 }, (_, i) => 31 + i)
  )
  t.is(await block, null)
  t.is((await proof).fork, 1)
})
