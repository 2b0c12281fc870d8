import test, { type Assertions } from 'brittle'
import { isSynclineError, SynclineError } from '../../lib/errors.ts'
import type { Feed } from '../../lib/feed/feed.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { LEARNT_PAIRS_MAX } from '../../lib/limits.ts'
import { RemoteNodes } from '../../lib/synchronizer/remote-nodes.ts'
import { systemClock } from '../../lib/synchronizer/timers.ts'
import type { BlockRequest } from '../../lib/wire/message.ts'
import { getBlock } from '../conformance/feed.ts'

interface Sides {
  readonly feed: Feed
  readonly copy: Feed
  readonly nodes: RemoteNodes
  /** What was asked, and is not answered before `answer` is called. */
  readonly asked: BlockRequest[]
  readonly dropped: number[]
  /** Waits until something is asked, or `isOver`. */
  readonly asking: (isOver?: () => boolean) => Promise<void>
  /** Waits so, then answers as `feed` would, and returns how much there was to answer. */
  readonly answer: (isOver?: () => boolean) => Promise<number>
}

/** A feed, and a copy of it that has nothing but the head. */
async function sides(t: Assertions, length: number): Promise<Sides> {
  const feed = await StoredFeed.open(memoryStore(newIdentity()))
  await feed.append(Array.from({ length }, (_, i) => Uint8Array.of(i, i >> 8)))
  const copy = await StoredFeed.open(memoryStore(identityFromKey(feed.key)))
  await copy.applyProof(await feed.proof({ upgrade: { start: 0, length }, manifest: true }))
  const asked: BlockRequest[] = []
  const dropped: number[] = []
  const nodes = new RemoteNodes({
    feed: copy,
    clock: systemClock,
    ask: (more) => asked.push(...more),
    drop: (index) => dropped.push(index)
  })
  const asking = async (isOver = (): boolean => false): Promise<void> => {
    for (let i = 0; i < 2000 && asked.length === 0 && !isOver(); i++) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  const answer = async (isOver = (): boolean => false): Promise<number> => {
    await asking(isOver)
    const taken = asked.splice(0)
    for (const hash of taken) await nodes.take(hash, 0, 1, await feed.proof({ hash }))
    return taken.length
  }
  t.teardown(() => Promise.all([feed.close(), copy.close()]))
  return { feed, copy, nodes, asked, dropped, asking, answer }
}

function codeOf(result: Promise<unknown>): Promise<string> {
  return result.then(
    () => 'none',
    (error: unknown) => (isSynclineError(error) ? error.code : String(error))
  )
}

test('siblings share a request, and what is known costs none', async (t) => {
  const { feed, nodes, asked, asking, answer } = await sides(t, 64)
  const got = Promise.all([21, 17, 21, 11].map((index) => nodes.get(index)))
  await asking()
  t.alike(asked, [
    { index: 17, nodes: 5 },
    { index: 3, nodes: 4 }
  ])
  await answer()
  t.alike(await got, await Promise.all([21, 17, 21, 11].map((index) => feed.node(index))))
  t.alike(await nodes.get(47), await feed.node(47), 'it came on the way')
  t.alike(await nodes.get(63), await feed.node(63), 'a root is stored')
  t.alike(asked, [])
  const below = nodes.get(18)
  t.is(await answer(), 1)
  t.alike(await below, await feed.node(18))
})

test('nodes that were stored meanwhile are not asked for', async (t) => {
  const { feed, copy, nodes, asked } = await sides(t, 64)
  await getBlock(feed, copy, 9)
  t.alike(await nodes.get(2 * 8), await feed.node(2 * 8))
  t.alike(asked, [])
})

test('thousands are asked for in turns, and the oldest are forgotten', async (t) => {
  const length = 2 * LEARNT_PAIRS_MAX + 2048
  const { feed, nodes, answer } = await sides(t, length)
  const indexes = Array.from({ length: length / 2 }, (_, i) => 4 * i)
  let isHere = false
  const got = Promise.all(indexes.map((index) => nodes.get(index))).finally(() => (isHere = true))
  // What hangs from a node that was forgotten meanwhile is asked for anew.
  let answered = 0
  while (!isHere) answered += await answer(() => isHere)
  t.ok(answered >= indexes.length)
  t.alike((await got)[77], await feed.node(4 * 77))
  const again = nodes.get(0)
  t.is(await answer(), 1, 'it was forgotten')
  t.alike(await again, await feed.node(0))
})

test('a wait ends with its time, its signal, or the feed', async (t) => {
  const { nodes, dropped } = await sides(t, 64)
  t.is(await codeOf(nodes.get(17, { timeoutMs: 20 })), 'TIMEOUT')
  t.alike(dropped, [17])
  const abort = new AbortController()
  const [one, other] = [nodes.get(17, { signal: abort.signal }), nodes.get(21)]
  abort.abort(new Error('enough'))
  t.is(await codeOf(one), 'Error: enough')
  t.alike(dropped, [17], 'somebody else waits for it')
  nodes.fail(new SynclineError('SESSION_CLOSED', 'the feed is closed'))
  t.is(await codeOf(other), 'SESSION_CLOSED')
  for (const index of [-1, 0.5, 127, 2 ** 53]) {
    t.is(await codeOf(nodes.get(index)), 'BAD_ARGUMENT')
  }
})

test('an answer for a fork that is over changes nothing', async (t) => {
  const { feed, nodes, asked, asking } = await sides(t, 64)
  const waiting = nodes.get(17, { timeoutMs: 50 })
  await asking()
  const [hash] = asked
  if (hash !== undefined) await nodes.take(hash, 7, 1, await feed.proof({ hash }))
  t.is(await codeOf(waiting), 'TIMEOUT')
})

test('what was a root alone has a sibling once the feed grew', async (t) => {
  const { feed, copy, nodes, answer } = await sides(t, 64)
  t.alike(await nodes.get(63), await feed.node(63))
  await feed.append(Array.from({ length: 64 }, (_, i) => Uint8Array.of(i)))
  await copy.applyProof(await feed.proof({ upgrade: { start: 64, length: 64 } }))
  t.alike(await nodes.get(127), await feed.node(127), 'the root now')
  const pair = Promise.all([
    nodes.get(63, { timeoutMs: 1000 }),
    nodes.get(191, { timeoutMs: 1000 })
  ])
  await answer()
  t.alike(await pair, [await feed.node(63), await feed.node(191)])
})
