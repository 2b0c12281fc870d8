import test from 'brittle'
import path from 'node:path'
import { FileStore } from '../../lib/feed/file/file-store.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { feedSuite } from './feed.ts'

feedSuite(
  test,
  'file',
  async (t, { key, keyPair }) => {
    const identity = key ? identityFromKey(key) : newIdentity(keyPair ? { keyPair } : {})
    const folder = path.join(await t.tmp(), 'feed')
    const feed = await StoredFeed.open(await FileStore.create(folder, identity))
    t.teardown(() => feed.close(), { order: -1 })
    return feed
  },
  { proofsAfterClear: true, chosenFork: true, adopts: true }
)
