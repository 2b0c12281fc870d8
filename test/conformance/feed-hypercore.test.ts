import Hypercore from 'hypercore'
import test from 'brittle'
import { HypercoreFeed } from '../../lib/feed/hypercore-feed.ts'
import { feedSuite } from './feed.ts'

feedSuite(
  test,
  'hypercore',
  async (t, { key, keyPair }) => {
    const core = new Hypercore(await t.tmp(), key ?? null, keyPair ? { keyPair } : {})
    const feed = await HypercoreFeed.open(core)
    t.teardown(() => core.close(), { order: 1 })
    t.teardown(() => feed.close(), { order: 0 })
    return feed
  },
  { proofsAfterClear: true, chosenFork: true }
)
