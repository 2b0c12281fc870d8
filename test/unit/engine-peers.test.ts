import test from 'brittle'
import {
  INVALID_REQUESTS_MAX,
  PROOF_REST_MS,
  REMOTE_HAVE_PAGES_MAX,
  REQUEST_TIMEOUT_MS,
  REQUEST_TIMEOUTS_MAX,
  TICK_MS
} from '../../lib/limits.ts'
import type { Bitfield, Range, Request } from '../../lib/wire/message.ts'
import { indexesOf, range, Shell } from '../fixtures/engine.ts'

/** A shell that needs a proof of `peer` before it can fetch anything: it lacks block 5 of a held subtree. */
function needsProof(identity: string, feeds: number): Shell {
  const shell = new Shell()
  connect(shell, 1, identity, feeds, true)
  return shell
}

function connect(shell: Shell, peer: number, identity: string, feeds: number, add: boolean): void {
  shell.addPeer(peer, identity)
  for (const feed of range(1, feeds + 1)) {
    if (add) shell.addFeed(feed, { length: 16_384 })
    shell.open(peer, feed, { haves: [[0, 16_384]] })
  }
  shell.load()
}

function block(id: number, index: number, fork: number = 0): Request {
  return {
    type: 'request',
    id,
    fork,
    block: { index, nodes: 0 },
    hash: null,
    seek: null,
    upgrade: null,
    manifest: false,
    priority: 0
  }
}

function proofs(requests: readonly Request[]): number {
  return requests.filter(({ block }) => block !== null && block.nodes > 0).length
}

test('of several feeds whose proofs may have broken a connection, one is asked at a time', (t) => {
  const shell = needsProof('seed', 3)
  for (const feed of [1, 2, 3]) t.ok(proofs(shell.requests(1, feed)) > 0)
  shell.step({ type: 'peer-close', peer: 1, broken: true })
  connect(shell, 2, 'seed', 3, false)
  const asked = [1, 2, 3].map((feed) => proofs(shell.requests(2, feed)))
  t.is(
    asked.reduce((sum, count) => sum + count, 0),
    1,
    'one suspect is asked for one proof'
  )
})

test('a suspect that proves something is asked freely again, and so is the next', (t) => {
  const shell = needsProof('seed', 2)
  for (const feed of [1, 2]) shell.requests(1, feed)
  shell.step({ type: 'peer-close', peer: 1, broken: true })
  connect(shell, 2, 'seed', 2, false)
  shell.run(2)
  for (const feed of [1, 2]) t.is(shell.engine.progress(feed)?.heldBlocks, 16_384)
})

test('a remote that breaks off twice over the same proof gives only bare values, for a while', (t) => {
  const shell = needsProof('seed', 1)
  t.ok(proofs(shell.requests(1)) > 0)
  shell.step({ type: 'peer-close', peer: 1, broken: true })
  connect(shell, 2, 'seed', 1, false)
  t.is(proofs(shell.requests(2)), 1)
  shell.step({ type: 'peer-close', peer: 2, broken: true })
  connect(shell, 3, 'seed', 1, false)
  t.is(shell.requests(3).length, 0)
  shell.pass(PROOF_REST_MS + 2 * TICK_MS, [3])
  shell.load()
  t.is(proofs(shell.requests(3)), 1, 'a line may break for other reasons')
})

test('a remote that gives no proofs still gives its head from the start', (t) => {
  const shell = new Shell()
  shell.addFeed(1)
  for (const peer of [1, 2]) {
    shell.addPeer(peer, 'seed')
    shell.open(peer, 1, { length: 0 })
    shell.step({ type: 'peer-close', peer, broken: true })
  }
  shell.addPeer(3, 'seed')
  shell.open(3, 1, { length: 4, echoed: 0, haves: [[0, 4]] })
  t.alike(
    shell.requests(3).map(({ upgrade }) => upgrade),
    [{ start: 0, length: 4 }]
  )
})

test('an orderly end makes nobody a suspect', (t) => {
  const shell = needsProof('seed', 2)
  for (const feed of [1, 2]) t.ok(proofs(shell.requests(1, feed)) > 0)
  shell.step({ type: 'peer-close', peer: 1, broken: false })
  connect(shell, 2, 'seed', 2, false)
  for (const feed of [1, 2]) t.ok(proofs(shell.requests(2, feed)) > 0)
})

test('a peer that never answers is closed', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 4]] })
  for (let i = 0; i < REQUEST_TIMEOUTS_MAX; i++) {
    shell.load()
    // After a missed deadline it rests for as long.
    shell.pass(2 * REQUEST_TIMEOUT_MS + 4 * TICK_MS)
  }
  t.is(shell.take('close-peer')[0]?.code, 'PEER_TIMEOUT')
})

test('bitmaps take bounded memory whatever a remote claims', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4 })
  shell.addPeer(1)
  shell.open(1, 1)
  shell.have(1, 1, 0, 2 ** 49)
  shell.have(1, 1, 2 ** 40, 2 ** 48)
  t.is(shell.take('close-peer').length, 0)
  shell.message(1, 1, { type: 'range', drop: true, start: 0, length: 2 ** 49 })
  for (let page = 0; page <= REMOTE_HAVE_PAGES_MAX; page++) {
    shell.have(1, 1, 65_536 * page + 1, 65_536 * page + 2)
    if (shell.take('close-peer').some(({ code }) => code === 'TOO_MANY')) {
      t.ok(page >= REMOTE_HAVE_PAGES_MAX - 1)
      return
    }
  }
  t.fail('it grows for ever')
})

test('haves that take much work for few bytes end the peer', (t) => {
  const all = { start: 1, length: 2 ** 31 }
  const floods: readonly (readonly (Bitfield | Range)[])[] = [
    [{ type: 'range', drop: false, ...all }],
    [
      { type: 'range', drop: false, start: 0, length: 2 ** 31 },
      { type: 'range', drop: true, start: 0, length: 1 }
    ],
    [
      { type: 'range', drop: false, start: 0, length: 2 ** 31 },
      { type: 'bitfield', start: 0, words: new Uint32Array(1) }
    ],
    [
      { type: 'range', drop: false, ...all },
      { type: 'range', drop: true, ...all }
    ],
    // With each new fork everything from the first block on goes.
    [{ type: 'range', drop: false, start: 2 ** 31 - 1, length: 1 }]
  ]
  for (const flood of floods) {
    const shell = new Shell()
    shell.addFeed(1, { length: 4 })
    shell.addPeer(1)
    shell.open(1, 1)
    let rounds = 0
    while (rounds < 20 && shell.take('close-peer').every(({ code }) => code !== 'TOO_MANY')) {
      for (const message of flood) shell.message(1, 1, message)
      shell.sync(1, 1, { fork: rounds++, length: 1 })
    }
    t.ok(rounds < 5, `${rounds} rounds`)
  }
})

test('a remote with a thousand million blocks, of which some go and come, is welcome', (t) => {
  const length = 10 ** 9
  const shell = new Shell()
  shell.addFeed(1, { length: 4, have: [[0, 4]], wants: [] })
  shell.addPeer(1)
  shell.open(1, 1, { length, canUpgrade: false, haves: [[0, length - 10]] })
  const words = new Uint32Array(65_536).fill(-1)
  for (let start = 0; start + 32 * words.length < length; start += 32 * words.length) {
    shell.message(1, 1, { type: 'bitfield', start, words })
  }
  for (let index = 0; index < 1000; index++) {
    shell.message(1, 1, { type: 'range', drop: true, start: index, length: 1 })
  }
  for (let index = 999; index >= 0; index--) shell.have(1, 1, index, index + 1)
  for (const fork of range(1, 100)) {
    shell.sync(1, 1, { fork, length: length - fork, canUpgrade: false })
    shell.have(1, 1, 0, length - fork)
  }
  t.is(shell.take('close-peer').length, 0)
})

test('a remote that says it has what it has not is not asked again and again', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 4]] })
  let asked = 0
  for (let i = 0; i < 20; i++) {
    shell.load()
    for (const request of shell.requests(1)) {
      asked++
      shell.noData(1, 1, request, 1)
    }
    shell.pass(1_000, [1])
  }
  t.ok(asked <= 8, `${asked} requests`)
  t.is(shell.requests(1).length, 0)
  t.absent(shell.engine.progress(1)?.synced)
})

test('only who gave a wrong chunk is closed', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 4]] })
  shell.load()
  shell.give(1, 1, ...shell.requests(1))
  const [fold] = shell.take('fold')
  shell.step({ type: 'folded', feed: 1, chunk: fold!.chunk, result: 'wrong', failure: null })
  const [accusation] = shell.requests(1)
  t.is(accusation?.id, 0, 'it is asked for its head: two signed histories are another matter')
  shell.step({ type: 'conflict-checked', feed: 1, peer: 1, conflict: false })
  t.is(shell.take('close-peer')[0]?.code, 'INVALID_CHECKSUM')
})

test('of several who gave a wrong chunk none is closed before it is known who lied', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4, wants: [] })
  for (const peer of [1, 2]) shell.addPeer(peer)
  shell.open(1, 1, { haves: [[0, 2]] })
  shell.open(2, 1, { haves: [[2, 4]] })
  shell.step({ type: 'want', feed: 1, start: 0, end: 4 })
  shell.load()
  const asked = [1, 2].map((peer) => shell.requests(peer))
  t.alike(asked.map(indexesOf), [
    [0, 1],
    [2, 3]
  ])
  shell.give(1, 1, ...asked[0]!)
  shell.give(2, 1, ...asked[1]!)
  const [fold] = shell.take('fold')
  shell.step({ type: 'folded', feed: 1, chunk: fold!.chunk, result: 'wrong', failure: null })
  t.is(shell.take('close-peer').length, 0)
  t.is(shell.take('suspect').length, 1)
  const again = [...shell.requests(1), ...shell.requests(2)]
  t.alike(new Set(indexesOf(again)), new Set([0, 1, 2, 3]))
  t.ok(again.every(({ block }) => (block?.nodes ?? 0) > 0))
})

test('two signed histories close the feed everywhere', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4 })
  for (const peer of [1, 2]) {
    shell.addPeer(peer)
    shell.open(peer, 1)
  }
  shell.step({ type: 'conflict-checked', feed: 1, peer: 1, conflict: true })
  t.alike(new Set(shell.take('close-channel').map(({ peer }) => peer)), new Set([1, 2]))
  t.is(shell.take('tell').filter(({ event }) => event === 'conflict').length, 1)
})

test('requests that cannot be answered are refused, and too many of them end the peer', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4, have: [[0, 4]] })
  shell.addPeer(1)
  shell.open(1, 1)
  shell.message(1, 1, block(1, 9))
  t.alike(shell.sent(1, 'no-data'), [{ type: 'no-data', request: 1, reason: 2 }])
  shell.message(1, 1, block(2, 0, 7))
  t.alike(shell.sent(1, 'no-data'), [{ type: 'no-data', request: 2, reason: 0 }])
  shell.change(1, { type: 'clear', start: 2, end: 3 })
  t.alike(shell.sent(1, 'range').at(-1), { type: 'range', drop: true, start: 2, length: 1 })
  shell.message(1, 1, block(3, 2))
  t.alike(shell.sent(1, 'no-data'), [{ type: 'no-data', request: 3, reason: 0 }])
  t.is(shell.take('serve').length, 0)
  for (let id = 4; id < 4 + INVALID_REQUESTS_MAX; id++) shell.message(1, 1, block(id, 9))
  t.is(shell.take('close-peer')[0]?.code, 'BAD_MESSAGE')
})

test('a first request to a feed without blocks is nobody’s fault', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  for (const feed of range(1, INVALID_REQUESTS_MAX + 3)) {
    shell.addFeed(feed)
    shell.open(1, feed, { length: 0 })
    shell.message(1, feed, {
      type: 'request',
      id: feed,
      fork: 0,
      block: { index: 0, nodes: 0 },
      hash: null,
      seek: null,
      upgrade: { start: 0, length: 1 },
      manifest: true,
      priority: 0
    })
  }
  t.ok(shell.sent(1, 'no-data').every(({ reason }) => reason === 0))
  t.is(shell.take('close-peer').length, 0)
})
