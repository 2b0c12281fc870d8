/** What is said of requests that were taken on, and that cannot be answered when their turn comes. */
import test from 'brittle'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { answer } from '../../lib/synchronizer/answer.ts'
import type { Outgoing } from '../../lib/synchronizer/frame.ts'
import type { Request } from '../../lib/wire/message.ts'
import type { RequestRun } from '../../lib/wire/run.ts'
import { blocksFrom } from '../conformance/feed.ts'
import { copyBlocks } from '../fixtures/copy-feed.ts'

const REQUEST: Request = {
  type: 'request',
  id: 1,
  fork: 0,
  block: null,
  hash: null,
  seek: null,
  upgrade: null,
  manifest: false,
  priority: 0
}
const RUN: RequestRun = { type: 'requests', id: 10, fork: 0, index: 2, count: 4, priority: 0 }

async function sentBy(feed: StoredFeed, ...requests: (Request | RequestRun)[]): Promise<unknown[]> {
  const sent: Outgoing[] = []
  const send = (messages: readonly Outgoing[]): number => sent.push(...messages)
  await answer(feed, requests, send, () => false)
  return sent.map((message) => {
    if (message.type === 'no-data') return [message.request, `reason ${message.reason}`]
    return message.type === 'values' ? [message.id, message.count] : message.type
  })
}

test('a block that was cleared before its turn is refused without a reason', async (t) => {
  const feed = await StoredFeed.open(memoryStore(newIdentity()))
  await feed.append(blocksFrom(0, 8))
  await feed.clear(3, 5)
  const block = { ...REQUEST, block: { index: 3, nodes: 1 } }
  t.alike(await sentBy(feed, block, RUN), [
    [1, 'reason 0'],
    [10, 1],
    [11, 'reason 0'],
    [12, 'reason 0'],
    [13, 1]
  ])
})

test('a node that is not stored is refused with a reason', async (t) => {
  const source = await StoredFeed.open(memoryStore(newIdentity()))
  await source.append(blocksFrom(0, 8))
  const copy = await StoredFeed.open(memoryStore(identityFromKey(source.key)))
  await copyBlocks(source, copy, 0, 1)
  const node = { ...REQUEST, hash: { index: 8, nodes: 1 } }
  t.alike(await sentBy(copy, node), [[1, 'reason 1']])
})
