import test from 'brittle'
import type { Input } from '../../lib/engine/input.ts'
import { newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { answer } from '../../lib/synchronizer/answer.ts'
import { type Outgoing, writeFrames } from '../../lib/synchronizer/frame.ts'
import { INVALID_REQUESTS_MAX, SERVE_QUEUE_MAX, SERVES_UNDER_WAY_MAX } from '../../lib/limits.ts'
import type { Request } from '../../lib/wire/message.ts'
import type { RequestRun } from '../../lib/wire/run.ts'
import { range, requestsOf, Shell } from '../fixtures/engine.ts'

/** For a block with its proof, which is joined with no other. */
const PROOF: Request = {
  type: 'request',
  id: 0,
  fork: 0,
  block: { index: 0, nodes: 1 },
  hash: null,
  seek: null,
  upgrade: null,
  manifest: false,
  priority: 0
}

function run(id: number, index: number, count: number, priority: number = 0): RequestRun {
  return { type: 'requests', id, fork: 0, index, count, priority }
}

/** A shell that has blocks `[0, length)` of a feed, but for those that are not held, and a peer that wants them. */
function serving(length: number, have: [number, number][] = [[0, length]], upload = 0): Shell {
  const shell = new Shell({ upload, download: 0 })
  shell.addFeed(1, { length, have, blockBytes: 100 })
  shell.addPeer(1)
  shell.open(1, 1)
  return shell
}

function ask(shell: Shell, ...runs: RequestRun[]): void {
  shell.step({ type: 'requests', peer: 1, feed: 1, runs })
}

/** Ids that were taken to be answered, each effect on its own. */
function served(shell: Shell): number[][] {
  return shell.take('serve').map(({ requests }) => requests.flatMap(requestsOf).map(({ id }) => id))
}

function answered(shell: Shell, count: number, rest: RequestRun[] = []): void {
  const bytes = 100 * count
  const result = { count, expected: bytes, bytes, rest, failure: null }
  shell.step({ type: 'served', peer: 1, feed: 1, ...result })
}

test('requests that arrive together are answered together, as one run where they follow each other', (t) => {
  const shell = serving(100)
  ask(shell, run(1, 0, 10), run(11, 10, 10), run(21, 50, 1), run(22, 7, 1))
  const [effect] = shell.take('serve')
  t.alike(
    effect?.requests.map((item) =>
      item.type === 'requests' ? [item.id, item.index, item.count] : []
    ),
    [
      [1, 0, 20],
      [21, 50, 1],
      [22, 7, 1]
    ]
  )
})

test('what is not held, and what does not exist, is refused at once, the rest is answered', (t) => {
  const shell = serving(100, [
    [0, 10],
    [20, 100]
  ])
  ask(shell, run(1, 5, 20), run(21, 95, 10))
  t.alike(served(shell), [[...range(1, 6), ...range(16, 26)]])
  const refused = shell.sent(1, 'no-data')
  t.alike(
    refused.map(({ request, reason }) => [request, reason]),
    [...range(6, 16).map((id) => [id, 0]), ...range(26, 31).map((id) => [id, 2])]
  )
})

test('a run that reaches far beyond the feed ends the peer', (t) => {
  const shell = serving(10)
  ask(shell, run(1, 5, INVALID_REQUESTS_MAX + 10))
  t.is(shell.take('close-peer')[0]?.code, 'BAD_MESSAGE')
})

test('a run of another fork is refused without a reason', (t) => {
  const shell = serving(10)
  ask(shell, { ...run(1, 0, 3), fork: 7 })
  t.alike(
    shell.sent(1, 'no-data').map(({ request, reason }) => [request, reason]),
    [
      [1, 0],
      [2, 0],
      [3, 0]
    ]
  )
})

test('a peer may not let more wait than the queue holds', (t) => {
  const shell = serving(SERVE_QUEUE_MAX + 100, [[0, SERVE_QUEUE_MAX + 100]], 1)
  ask(shell, run(1, 0, 1))
  shell.take('serve')
  ask(shell, run(2, 0, SERVE_QUEUE_MAX + 50))
  t.is(shell.engine.snapshot().peers[0]?.queued, SERVE_QUEUE_MAX)
  t.is(shell.sent(1, 'no-data').length, 50)
})

test('a cancel takes one request out of the middle of a run', (t) => {
  const shell = serving(100, [[0, 100]], 1000)
  ask(shell, run(1, 0, 20))
  const ids = served(shell).flat()
  t.ok(ids.length < 20, 'the rate lets only some be answered at once')
  ask(shell, run(31, 30, 3))
  shell.message(1, 1, { type: 'cancel', request: 32 })
  shell.message(1, 1, { type: 'cancel', request: 99 })
  t.is(shell.engine.snapshot().peers[0]?.queued, 22 - ids.length)
  for (let turn = 0; turn < 20; turn++) {
    answered(shell, 1)
    shell.pass(1100, [1])
    ids.push(...served(shell).flat())
  }
  t.alike(ids, [...range(1, 21), 31, 33])
})

test('feeds have their turns, by priority, and what is urgent comes first', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  for (const feed of range(1, 5)) {
    shell.addFeed(feed, { length: 10, have: [[0, 10]] })
    shell.open(1, feed)
  }
  const asked = (feed: number, ...runs: RequestRun[]): void => {
    shell.step({ type: 'requests', peer: 1, feed, runs })
  }
  // As many as are answered at a time, so that all others wait.
  for (const i of range(0, SERVES_UNDER_WAY_MAX)) asked(1, run(i, i, 1))
  shell.take('serve')
  for (const feed of range(1, 5)) asked(feed, run(10 * feed, 0, 2))
  asked(2, run(25, 5, 1, 1))
  shell.step({ type: 'configure-feed', feed: 4, priority: 1 })
  const order: number[][] = []
  for (let i = 0; i < 5; i++) {
    answered(shell, 1)
    for (const { feed, requests } of shell.take('serve')) {
      order.push([feed, ...requests.flatMap(requestsOf).map(({ id }) => id)])
    }
  }
  t.alike(order, [
    [2, 25],
    [4, 40, 41],
    [1, 10, 11],
    [2, 20, 21],
    [3, 30, 31]
  ])
})

test('what is left over from one turn is answered in the next', (t) => {
  const shell = serving(100)
  ask(shell, run(1, 0, 50))
  t.alike(served(shell), [range(1, 51)])
  answered(shell, 20, [run(21, 20, 30)])
  t.alike(served(shell), [range(21, 51)])
  t.is(shell.engine.snapshot().peers[0]?.queued, 0)
})

test('who has everything asks nobody what it has, until the feed is longer elsewhere', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 100, have: [[0, 100]] })
  shell.addPeer(1)
  shell.open(1, 1, { length: 40, haves: [[0, 40]] })
  t.alike(shell.sent(1, 'want'), [])
  shell.sync(1, 1, { length: 120 })
  t.is(shell.sent(1, 'want').length, 1)
})

test('peers that ask for more than the upload rate allows get equal parts of it', (t) => {
  const shell = new Shell({ upload: 1_000_000, download: 0 })
  shell.addFeed(1, { length: 1000, have: [[0, 1000]], blockBytes: 1000 })
  const given = new Map<number, number>()
  for (const peer of [1, 2]) {
    shell.addPeer(peer)
    shell.open(peer, 1, { haves: [[0, 1000]] })
    shell.step({ type: 'requests', peer, feed: 1, runs: [run(1, 0, 1000)] })
  }
  const answerAll = (): void => {
    for (const { peer, feed, requests, expected } of shell.take('serve')) {
      const count = requests.flatMap(requestsOf).length
      const bytes = 1000 * count
      given.set(peer, (given.get(peer) ?? 0) + bytes)
      shell.step({ type: 'served', peer, feed, count, expected, bytes, rest: [], failure: null })
      // Whatever was answered is asked for again: there is never an end of what waits.
      const runs = [run(1, 0, count)]
      shell.step({ type: 'requests', peer, feed, runs })
    }
  }
  while (shell.now < 20_000) {
    answerAll()
    shell.pass(10, [1, 2])
  }
  const [one = 0, other = 0] = [given.get(1), given.get(2)]
  t.ok(one + other > 18_000_000, `${one + other} bytes in 20 s`)
  t.ok(one > 0.4 * (one + other) && one < 0.6 * (one + other), `${one} and ${other}`)
})

function alloc(byteLength: number): Uint8Array {
  return new Uint8Array(byteLength)
}

test('what counts against the upload rate is what is sent, however much more than the average block', async (t) => {
  const [rate, large] = [64 * 1024, 1024 * 1024]
  const feed = await StoredFeed.open(memoryStore(newIdentity()))
  await feed.append([
    ...Array.from({ length: 1000 }, () => new Uint8Array(1)),
    new Uint8Array(large)
  ])
  const shell = new Shell({ upload: rate, download: 0 })
  shell.addFeed(1, { length: 1001, have: [[0, 1001]], blockBytes: feed.byteLength / 1001 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 1001]] })
  ask(shell, ...range(0, 20).map((i) => run(10 + i, 1000, 1)))
  let sent = 0
  const answerAll = async (): Promise<void> => {
    for (const { requests, expected, most } of shell.take('serve')) {
      const before = sent
      const send = (messages: readonly Outgoing[]): void => {
        sent += writeFrames(1, messages, alloc, () => {})
      }
      const { rest } = await answer(feed, requests, send, () => false, most)
      const result = { count: 1, expected, bytes: sent - before, rest, failure: null }
      shell.step({ type: 'served', peer: 1, feed: 1, ...result })
    }
  }
  while (shell.now < 10_000) {
    await answerAll()
    shell.pass(10, [1])
  }
  t.ok(sent <= 11 * rate + large, `${sent} bytes in 10 s`)
  // What is small is expected to be as large as the others, and counts as what it is.
  ask(shell, ...range(0, 500).map((i) => run(100 + 2 * i, 2 * i, 1)))
  while (shell.now < 400_000) {
    await answerAll()
    shell.pass(100, [1])
  }
  t.is(shell.engine.snapshot().peers[0]?.queued, 0)
  t.ok(sent > 20 * large + 500, 'all were answered')
})

test('cancels that arrive together take one look at what waits', (t) => {
  const shell = serving(100, [[0, 100]], 1)
  ask(shell, run(1, 0, 1))
  shell.take('serve')
  let looks = 0
  const count = 2000
  for (const i of range(0, count)) {
    shell.message(1, 1, {
      ...PROOF,
      get id() {
        looks++
        return 10 + i
      }
    })
  }
  looks = 0
  const ids = [...range(10, 20), ...range(1_000_000, 1_000_500)]
  const inputs = ids.map((request): Input => {
    return { type: 'message', peer: 1, feed: 1, message: { type: 'cancel', request } }
  })
  shell.engine.stepAll(inputs, shell.now)
  t.ok(looks <= 4 * count, `${looks} looks`)
  t.is(shell.engine.snapshot().peers[0]?.queued, count - 10)
})
