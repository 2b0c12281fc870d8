import test from 'brittle'
import { indexesOf, range, requestsOf, Shell } from '../fixtures/engine.ts'
import { REQUEST_TIMEOUT_MS, TICK_MS } from '../../lib/limits.ts'
import type { Input } from '../../lib/engine/input.ts'
import type { Request } from '../../lib/wire/message.ts'

function block(id: number, index: number, fork: number = 0, priority: number = 0): Request {
  return {
    type: 'request',
    id,
    fork,
    block: { index, nodes: 0 },
    hash: null,
    seek: null,
    upgrade: null,
    manifest: false,
    priority
  }
}

test('pull stops at the highest length seen', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { mode: 'pull' })
  shell.addPeer(1)
  shell.open(1, 1, { length: 8, echoed: 0, haves: [[0, 8]] })
  shell.run(1)
  t.ok(shell.engine.progress(1)?.synced)
  t.is(shell.take('tell').filter(({ event }) => event === 'synced').length, 1)
  t.is(shell.sent(1, 'sync').at(-1)?.downloading, false)
  shell.sync(1, 1, { length: 12 })
  shell.have(1, 1, 0, 12)
  t.is(shell.requests(1).length, 0)
})

test('who serves, or has stopped, fetches what somebody waits for and nothing else', (t) => {
  for (const mode of ['serve', 'pull'] as const) {
    const shell = new Shell()
    shell.addFeed(1, { mode, length: 8, have: mode === 'pull' ? [[0, 8]] : [] })
    shell.addPeer(1)
    shell.open(1, 1, { length: 8, haves: [[0, 8]] })
    shell.change(1, { type: 'clear', start: 5, end: 6 })
    shell.sync(1, 1, { length: 12 })
    shell.have(1, 1, 0, 12)
    shell.run(1)
    t.is(shell.engine.progress(1)?.knownLength, 12)
    shell.step({ type: 'get', feed: 1, index: 5, release: false })
    shell.load()
    t.alike(indexesOf(shell.requests(1)), [5], `${mode}: no other block, no longer head`)
    shell.step({ type: 'get', feed: 1, index: 5, release: true })
    t.is(shell.sent(1, 'cancel').length, 1)
    shell.step({ type: 'get', feed: 1, index: 9, release: false })
    t.alike(shell.requests(1)[0]?.upgrade, { start: 8, length: 4 })
  }
})

test('what a remote claims and does not give keeps nobody waiting', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8, have: [[0, 8]] })
  shell.addPeer(1)
  shell.open(1, 1, { fork: 3, length: 20, uploading: false })
  t.ok(shell.engine.progress(1)?.synced)
  shell.sync(1, 1, { length: 20, uploading: true })
  t.absent(shell.engine.progress(1)?.synced)
})

test('who may give us nothing keeps nobody waiting until it may', (t) => {
  const closed: Input[] = [
    { type: 'configure-peer', peer: 1, feed: 1, direction: 'upload' },
    { type: 'configure-peer', peer: 1, feed: null, direction: 'none' },
    { type: 'configure-feed', feed: 1, direction: 'upload' }
  ]
  for (const mode of ['both', 'pull'] as const) {
    for (const input of closed) {
      const shell = new Shell()
      shell.addFeed(1, { mode, length: 8, have: [[0, 8]] })
      shell.addPeer(1)
      shell.step({ type: 'channel-opening', peer: 1, feed: 1 })
      t.is(shell.engine.progress(1)?.pendingPeers, 1)
      const heard = (): number =>
        shell.take('tell').filter(({ event }) => event === 'configured').length
      shell.step(input)
      t.is(heard(), 1, 'what waits is looked at again')
      t.is(shell.engine.progress(1)?.pendingPeers, 0)
      shell.open(1, 1, { length: 12 })
      shell.have(1, 1, 0, 12)
      t.is(shell.engine.progress(1)?.knownLength, 8)
      t.ok(shell.engine.progress(1)?.synced)
      shell.sync(1, 1, { fork: 1, length: 12 })
      t.is(shell.engine.progress(1)?.pendingPeers, 0)
      t.ok(shell.engine.progress(1)?.synced)
      shell.sync(1, 1, { length: 12 })
      shell.step({ ...input, direction: 'both' } as Input)
      t.is(heard(), 1)
      t.absent(shell.engine.progress(1)?.synced)
      shell.run(1)
      t.is(shell.engine.progress(1)?.heldBlocks, 12, `${mode}: it is taken as before`)
      t.ok(shell.engine.progress(1)?.synced)
    }
  }
})

test('who only serves waits for nobody', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { mode: 'serve', length: 8, have: [[0, 8]] })
  t.ok(shell.engine.progress(1)?.synced)
  shell.addPeer(1)
  shell.open(1, 1, { length: 12, haves: [[0, 12]] })
  t.ok(shell.engine.progress(1)?.synced)
  shell.change(1, { type: 'clear', start: 5, end: 6 })
  shell.step({ type: 'want', feed: 1, start: 5, end: 6 })
  t.absent(shell.engine.progress(1)?.synced, 'what is wanted is missing')
  shell.step({ type: 'configure-feed', feed: 1, mode: 'both' })
  t.absent(shell.engine.progress(1)?.synced)
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 12)
})

test('follow goes on', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { mode: 'follow' })
  shell.addPeer(1)
  shell.open(1, 1, { length: 8, echoed: 0, haves: [[0, 8]] })
  shell.run(1)
  shell.sync(1, 1, { length: 12 })
  shell.have(1, 1, 0, 12)
  t.absent(shell.engine.progress(1)?.synced)
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 12)
  t.is(shell.take('tell').filter(({ event }) => event === 'synced').length, 2)
})

test('nothing is synced before somebody was heard, nor while a block is missing', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4, have: [[0, 4]] })
  t.absent(shell.engine.progress(1)?.synced)
  shell.addPeer(1)
  shell.open(1, 1, { length: 4, haves: [[0, 3]] })
  t.ok(shell.engine.progress(1)?.synced)
  shell.addFeed(2, { length: 4, have: [[0, 3]] })
  shell.open(1, 2, { length: 4, haves: [[0, 3]] })
  t.absent(shell.engine.progress(2)?.synced)
  shell.step({ type: 'unwant', feed: 2, start: 3, end: 4 })
  t.ok(shell.engine.progress(2)?.synced)
})

test('an upgrade is asked of one remote at a time, and of the next if that fails', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4, have: [[0, 4]] })
  for (const peer of [1, 2]) {
    shell.addPeer(peer)
    shell.open(peer, 1, { length: 8 })
  }
  const [first] = shell.requests(1)
  t.alike(first?.upgrade, { start: 4, length: 4 })
  t.is(shell.requests(2).length, 0)
  shell.step({ type: 'peer-close', peer: 1, broken: false })
  t.alike(shell.requests(2)[0]?.upgrade, { start: 4, length: 4 })
})

test('a remote that cannot prove an upgrade is not asked for one', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4, have: [[0, 4]] })
  shell.addPeer(1)
  shell.open(1, 1, { length: 8, canUpgrade: false })
  t.is(shell.requests(1).length, 0)
  shell.sync(1, 1, { length: 8, echoed: 3 })
  t.is(shell.requests(1).length, 0, 'its word is about another length')
  shell.sync(1, 1, { length: 8 })
  t.is(shell.requests(1).length, 1)
})

test('whether we can prove an upgrade is looked at again when more is stored', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8, have: [[0, 1]] })
  shell.addPeer(1)
  shell.open(1, 1, { length: 5, echoed: 8 })
  const roots = (stored: boolean): void => {
    for (const { feed, fork, length } of shell.take('load-roots')) {
      shell.step({ type: 'roots-loaded', feed, fork, length, stored })
    }
  }
  roots(false)
  t.is(shell.sent(1, 'sync').at(-1)?.canUpgrade, false)
  shell.change(1, { type: 'have', start: 4, end: 5 })
  roots(true)
  t.is(shell.sent(1, 'sync').at(-1)?.canUpgrade, true)
})

test('a higher fork is followed, and what was known of the old one is forgotten', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8 })
  shell.addPeer(1)
  shell.open(1, 1, { length: 8, haves: [[0, 8]] })
  shell.load()
  t.is(shell.requests(1).length, 8)
  shell.sync(1, 1, { fork: 1, length: 6, echoed: 0 })
  const [reorg] = shell.requests(1)
  t.alike([reorg?.fork, reorg?.upgrade], [1, { start: 0, length: 6 }])
  shell.give(1, 1, reorg!)
  t.alike(
    shell.take('reorg').map(({ begin }) => begin),
    [true]
  )
  shell.step({
    type: 'reorged',
    feed: 1,
    peer: 1,
    next: { index: 6, nodes: 3 },
    failure: null
  })
  const [ancestors] = shell.requests(1)
  t.alike([ancestors?.fork, ancestors?.hash], [1, { index: 6, nodes: 3 }])
  shell.give(1, 1, ancestors!)
  shell.change(1, { type: 'truncate', length: 3 }, { length: 3, fork: 1 })
  shell.change(1, { type: 'length' }, { length: 6 })
  shell.step({ type: 'reorged', feed: 1, peer: 1, next: null, failure: null })
  t.is(shell.sent(1, 'sync').at(-1)?.fork, 1)
  shell.have(1, 1, 0, 6)
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 6)
})

test('a higher fork yet takes the place of the one that is being followed', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8, have: [[0, 8]] })
  for (const peer of [1, 2]) shell.addPeer(peer)
  shell.open(1, 1, { fork: 1, length: 6, echoed: 0 })
  const [old] = shell.requests(1)
  shell.open(2, 1, { fork: 2, length: 7, echoed: 0 })
  t.is(shell.requests(2)[0]?.fork, 2)
  t.is(shell.take('reorg-drop').length, 1)
  shell.give(1, 1, old!)
  t.is(shell.take('reorg').length, 0, 'what the old one still says is not wanted')
})

test('who claims ever higher forks keeps nobody from growing the feed, and is believed no longer', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8, have: [[0, 8]] })
  for (const peer of [1, 2]) shell.addPeer(peer)
  shell.open(1, 1, { fork: 1, length: 8, echoed: 0 })
  shell.open(2, 1, { length: 8, haves: [[0, 8]] })
  t.is(shell.requests(1)[0]?.fork, 1)
  shell.sync(2, 1, { length: 9 })
  const [upgrade] = shell.requests(2)
  t.alike(upgrade?.upgrade, { start: 8, length: 1 })
  shell.give(2, 1, upgrade!)
  shell.verify()
  shell.have(2, 1, 8, 9)
  shell.run(2)
  for (const fork of range(2, 8)) {
    shell.pass(5000, [1, 2])
    shell.sync(1, 1, { fork, length: 8, echoed: 0 })
  }
  t.ok(shell.engine.progress(1)?.synced)
})

test('of two remotes that claim higher forks by turns neither keeps a third from being followed', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8, have: [[0, 8]] })
  for (const peer of [1, 2, 3]) shell.addPeer(peer)
  for (const peer of [1, 2]) shell.open(peer, 1, { fork: 10 + peer, length: 8, echoed: 0 })
  shell.open(3, 1, { fork: 1, length: 8, echoed: 0 })
  for (const fork of range(13, 25)) {
    shell.pass(3000, [1, 2, 3])
    shell.sync(1 + (fork % 2), 1, { fork, length: 8, echoed: 0 })
  }
  const [reorg] = shell.requests(3)
  t.is(reorg?.fork, 1)
})

test('no claim takes the place of a fork that was begun to be proven', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8, have: [[0, 8]] })
  for (const peer of [1, 2, 3]) shell.addPeer(peer)
  shell.open(1, 1, { fork: 1, length: 6, echoed: 0 })
  shell.give(1, 1, ...shell.requests(1))
  const next = { index: 6, nodes: 3 }
  shell.step({ type: 'reorged', feed: 1, peer: 1, next, failure: null })
  shell.open(2, 1, { fork: 2, length: 8, echoed: 0 })
  shell.open(3, 1, { length: 9 })
  t.is(shell.take('reorg-drop').length, 0)
  t.is(shell.requests(2).length, 0)
  t.is(shell.requests(3).length, 0, 'the head of a fork that is about to end is of no use')
})

test('a head that is claimed and not given is asked of others in time, whatever else comes', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8, have: [[0, 8]] })
  const peers = [1, 2, 3]
  for (const peer of peers) {
    shell.addPeer(peer)
    shell.open(peer, 1, { length: 9 })
  }
  shell.pass(2 * REQUEST_TIMEOUT_MS + 4 * TICK_MS, peers)
  t.alike(shell.requests(3)[0]?.upgrade, { start: 8, length: 1 })
})

test('who was asked for its head in vain makes way at once for one that was not', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8, have: [[0, 8]] })
  for (const peer of [1, 2]) shell.addPeer(peer)
  shell.open(1, 1, { length: 9 })
  // It missed a deadline, and is asked again.
  shell.pass(2 * REQUEST_TIMEOUT_MS + 4 * TICK_MS, [1])
  t.is(shell.requests(1).length, 2)
  shell.open(2, 1, { length: 9 })
  t.alike(shell.requests(2)[0]?.upgrade, { start: 8, length: 1 })
})

test('a remote that leaves in the middle of a reorg leaves it to others', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 8, have: [[0, 8]] })
  for (const peer of [1, 2]) {
    shell.addPeer(peer)
    shell.open(peer, 1, { fork: 1, length: 6, echoed: 0 })
  }
  shell.give(1, 1, ...shell.requests(1))
  t.is(shell.requests(2).length, 0)
  shell.step({ type: 'peer-close', peer: 1, broken: true })
  t.is(shell.take('reorg-drop').length, 1)
  t.is(shell.requests(2)[0]?.fork, 1)
})

test('requests are answered by priority, and a cancel takes one back', (t) => {
  const shell = new Shell({ upload: 1000, download: 0 })
  shell.addFeed(1, { length: 64, have: [[0, 64]], blockBytes: 2000 })
  shell.addPeer(1)
  shell.open(1, 1)
  shell.message(1, 1, block(1, 0))
  t.is(shell.take('serve').length, 1, 'the credit of a second is there')
  for (const id of range(2, 6)) shell.message(1, 1, block(id, id))
  shell.message(1, 1, block(6, 6, 0, 1))
  t.is(shell.take('serve').length, 0, 'the rate is used up')
  shell.message(1, 1, { type: 'cancel', request: 3 })
  const served: number[] = []
  for (let turn = 0; turn < 4; turn++) {
    const result = { count: 1, expected: 2000, bytes: 2000, rest: [], failure: null }
    shell.step({ type: 'served', peer: 1, feed: 1, ...result })
    shell.pass(2200, [1])
    const taken = shell.take('serve').flatMap(({ requests }) => requests.flatMap(requestsOf))
    served.push(...taken.map(({ id }) => id))
  }
  t.alike(served, [6, 2, 4, 5])
})

test('what waits for an answer under a fork that is over is refused', (t) => {
  const shell = new Shell({ upload: 1000, download: 0 })
  shell.addFeed(1, { length: 8, have: [[0, 8]], blockBytes: 2000 })
  shell.addPeer(1)
  shell.open(1, 1)
  for (const id of [1, 2, 3]) shell.message(1, 1, block(id, id))
  shell.take('serve')
  shell.change(1, { type: 'truncate', length: 4 }, { length: 4, fork: 1 })
  t.alike(
    shell.sent(1, 'no-data').map(({ request, reason }) => [request, reason]),
    [
      [2, 0],
      [3, 0]
    ]
  )
  shell.pass(5000, [1])
  t.is(shell.take('serve').length, 0)
})
