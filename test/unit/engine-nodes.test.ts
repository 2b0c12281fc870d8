import test from 'brittle'
import {
  NO_DATA_REST_MS,
  NODE_REFUSALS_MAX,
  REQUEST_TIMEOUT_MS,
  TICK_MS
} from '../../lib/limits.ts'
import type { Request } from '../../lib/wire/message.ts'
import { Shell } from '../fixtures/engine.ts'

/** A feed of 64 blocks of which nothing is wanted but nodes. */
function bare(...peers: (readonly (readonly [start: number, end: number])[])[]): Shell {
  const shell = new Shell()
  shell.addFeed(1, { length: 64, wants: [] })
  peers.forEach((haves, i) => {
    shell.addPeer(i + 1)
    shell.open(i + 1, 1, { haves })
  })
  return shell
}

function wait(shell: Shell, ...nodes: (readonly [index: number, nodes: number])[]): void {
  const asked = nodes.map(([index, count]) => ({ index, nodes: count }))
  shell.step({ type: 'ask-nodes', feed: 1, nodes: asked })
}

function answer(shell: Shell, peer: number, request: Request): void {
  const { id, fork, hash } = request
  const nothing = { block: null, seek: null, upgrade: null, manifest: null }
  const data = { type: 'data', request: id, fork, ...nothing } as const
  const answers = [{ ...data, hash: hash && { index: hash.index, nodes: [] } }]
  shell.step({ type: 'data', peer, feed: 1, answers })
}

/** Finds all answers in order; the first of them brings `more` too. */
function check(shell: Shell, ...more: number[]): void {
  for (const { peer, feed, request, asked } of shell.take('check-node')) {
    const learned = [asked.index, ...more]
    shell.step({ type: 'node-checked', peer, feed, request, failure: null, learned, liar: -1 })
  }
}

function hashesOf(requests: readonly Request[]): (readonly [number, number] | null)[] {
  return requests.map(({ hash }) => hash && ([hash.index, hash.nodes] as const))
}

test('nodes that are waited for are asked for together, each once', (t) => {
  const shell = bare([[0, 64]])
  wait(shell, [15, 1], [35, 3], [35, 3])
  wait(shell, [15, 1], [95, 1])
  const requests = shell.requests(1)
  t.alike(hashesOf(requests), [
    [15, 1],
    [35, 3],
    [95, 1]
  ])
  for (const request of requests) answer(shell, 1, request)
  check(shell)
  t.alike(shell.requests(1), [])
})

test('what another answer brought need not be asked for any longer', (t) => {
  const shell = bare([[0, 64]])
  wait(shell, [15, 1], [35, 3], [39, 2])
  const [, second, third] = shell.requests(1)
  if (second !== undefined) answer(shell, 1, second)
  check(shell, 39)
  t.alike(shell.sent(1, 'cancel'), [{ type: 'cancel', request: third?.id }])
})

test('a node that nobody waits for any longer is taken back', (t) => {
  const shell = bare([[0, 64]], [])
  wait(shell, [15, 1])
  const [request] = shell.requests(1)
  shell.step({ type: 'drop-nodes', feed: 1, indexes: [15] })
  t.alike(shell.sent(1, 'cancel'), [{ type: 'cancel', request: request?.id }])
  shell.have(2, 1, 0, 64)
  t.alike(shell.requests(2), [])
  if (request !== undefined) answer(shell, 1, request)
  t.is(shell.take('check-node').length, 0, 'a late answer is of no use')
})

test('a node is asked of those who have a block near it, first of those who have all', (t) => {
  const shell = bare([[4, 5]], [[0, 32]], [[40, 41]])
  // Above blocks 4 to 7 and 0 to 3; 40 to 43 and 44 to 47; 60 to 64.
  wait(shell, [3, 1], [83, 1], [123, 1])
  t.alike(hashesOf(shell.requests(1)), [])
  t.alike(hashesOf(shell.requests(2)), [[3, 1]])
  t.alike(hashesOf(shell.requests(3)), [[83, 1]], 'of who has some where nobody has all')
  shell.step({ type: 'peer-close', peer: 2, broken: false })
  t.alike(hashesOf(shell.requests(1)), [[3, 1]])
  shell.have(1, 1, 63, 64)
  t.alike(hashesOf(shell.requests(1)), [[123, 1]])
})

test('nodes are asked of nobody whose tree ends below the one that is known', (t) => {
  const shell = bare()
  shell.addPeer(1)
  shell.open(1, 1, { length: 40, haves: [[0, 40]] })
  wait(shell, [15, 1], [71, 3])
  t.alike(hashesOf(shell.requests(1)), [[15, 1]])
})

test('who does not answer in time loses the request to another', (t) => {
  const shell = bare([[0, 64]])
  wait(shell, [15, 1])
  t.is(shell.requests(1).length, 1)
  shell.addPeer(2)
  shell.open(2, 1, { haves: [[0, 64]] })
  shell.pass(REQUEST_TIMEOUT_MS + 2 * TICK_MS)
  t.is(shell.sent(1, 'cancel').length, 1)
  t.alike(hashesOf(shell.requests(2)), [[15, 1]])
})

test('who lacks a node is not asked for it again; who gives no reason is, some times', (t) => {
  const shell = bare([[0, 64]])
  wait(shell, [15, 1])
  const [first] = shell.requests(1)
  if (first !== undefined) shell.noData(1, 1, first, 1)
  shell.pass(4 * NO_DATA_REST_MS, [1])
  t.alike(shell.requests(1), [])
  wait(shell, [95, 1])
  for (let i = 0; i < NODE_REFUSALS_MAX; i++) {
    const [request] = shell.requests(1)
    t.alike(request?.hash, { index: 95, nodes: 1 })
    if (request !== undefined) shell.noData(1, 1, request, 0)
    shell.pass(4 * NO_DATA_REST_MS, [1])
  }
  t.alike(shell.requests(1), [])
})

test('a node that fails its check is asked of another, and the liar is closed', (t) => {
  const shell = bare([[0, 64]])
  wait(shell, [15, 1])
  const [request] = shell.requests(1)
  if (request !== undefined) answer(shell, 1, request)
  shell.addPeer(2)
  shell.open(2, 1, { length: 0 })
  const [effect] = shell.take('check-node')
  const failure = { code: 'INVALID_PROOF', message: 'wrong', fault: 'peer' } as const
  t.alike(effect?.asked, { index: 15, nodes: 1 })
  const result = {
    peer: 1,
    feed: 1,
    request: effect?.request ?? -1,
    failure,
    learned: [],
    liar: -1
  }
  shell.step({ type: 'node-checked', ...result })
  shell.sync(2, 1, {})
  shell.have(2, 1, 0, 64)
  t.alike(hashesOf(shell.requests(2)), [[15, 1]])
  shell.pass(REQUEST_TIMEOUT_MS)
  t.is(shell.take('close-peer')[0]?.peer, 1)
})

test('a feed that is only served asks for nodes too, and says so', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 64, mode: 'serve' })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 64]] })
  t.is(shell.sent(1, 'sync').at(-1)?.downloading, false)
  wait(shell, [15, 1])
  t.is(shell.sent(1, 'sync').at(-1)?.downloading, true)
  t.is(shell.sent(1, 'want').length, 1)
  t.alike(hashesOf(shell.requests(1)), [[15, 1]])
  shell.step({ type: 'drop-nodes', feed: 1, indexes: [15] })
  t.is(shell.sent(1, 'sync').at(-1)?.downloading, false)
})

test('nodes of a fork that is over are not waited for', (t) => {
  const shell = bare([[0, 64]])
  wait(shell, [15, 1])
  t.is(shell.requests(1).length, 1)
  shell.change(1, { type: 'truncate', length: 8 }, { length: 8, fork: 1 })
  shell.sync(1, 1, { fork: 1, length: 64 })
  shell.have(1, 1, 0, 64)
  t.alike(
    hashesOf(shell.requests(1)).filter((hash) => hash !== null),
    []
  )
})

test('forgotten blocks are fetched again where blocks are downloaded, and nowhere else', (t) => {
  for (const [mode, expected] of [
    ['both', [5]],
    ['serve', []]
  ] as const) {
    const shell = new Shell()
    shell.addFeed(1, { length: 8, mode, have: [[0, 8]] })
    shell.addPeer(1)
    shell.open(1, 1, { haves: [[0, 8]] })
    t.alike(shell.requests(1), [])
    shell.change(1, { type: 'forget', start: 5, end: 6 })
    shell.load()
    t.alike(
      shell.requests(1).map(({ block }) => block?.index),
      expected,
      mode
    )
  }
})
