import Hypercore from 'hypercore'
import test, { type Assertions } from 'brittle'
import { HypercoreFeed } from '../../lib/feed/hypercore/hypercore-feed.ts'
import { feedSuite } from './feed.ts'

feedSuite(
  test,
  'hypercore',
  async (t, { key, keyPair }) => {
    if (keyPair) hushHypercore(t)
    const core = new Hypercore(await t.tmp(), key ?? null, keyPair ? { keyPair } : {})
    const feed = await HypercoreFeed.open(core)
    t.teardown(() => core.close(), { order: 1 })
    t.teardown(() => feed.close(), { order: 0 })
    return feed
  },
  { proofsAfterClear: true, chosenFork: true, adopts: false }
)

/** Hypercore prints a line for each conflict. */
function hushHypercore(t: Assertions): void {
  const { log } = console
  console.log = (...words: unknown[]) => {
    if (!String(words[0]).startsWith('[hypercore]')) log(...words)
  }
  t.teardown(() => (console.log = log))
}
