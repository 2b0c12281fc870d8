import test from 'brittle'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { feedSuite } from './feed.ts'

feedSuite(
  test,
  'memory',
  async (t, { key, keyPair }) => {
    const identity = key ? identityFromKey(key) : newIdentity(keyPair ? { keyPair } : {})
    const feed = await StoredFeed.open(memoryStore(identity))
    t.teardown(() => feed.close())
    return feed
  },
  { proofsAfterClear: true, chosenFork: true, adopts: true }
)
