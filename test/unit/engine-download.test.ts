import test, { type Assertions } from 'brittle'
import { RemoteHave } from '../../lib/engine/remote-have.ts'
import { REQUEST_TIMEOUT_MS, TICK_MS, WINDOW_BYTES_START } from '../../lib/limits.ts'
import { indexesOf, range, Shell } from '../fixtures/engine.ts'

test('a want is sent before anything is announced', (t) => {
  const shell = new Shell()
  shell.addFeed(1)
  shell.addPeer(1)
  shell.step({ type: 'channel-opening', peer: 1, feed: 1 })
  t.alike(shell.sent(1, 'want'), [{ type: 'want', start: 0, length: 2_097_152, any: false }])
  const [first] = shell.requests(1)
  t.alike(first?.block, { index: 0, nodes: 0 })
  t.alike(first?.upgrade, { start: 0, length: 1 })
})

test('the first block brings all that the others of a small feed need', (t) => {
  const shell = new Shell()
  shell.addFeed(1)
  shell.addPeer(1)
  shell.open(1, 1, { length: 8, haves: [[0, 8]] })
  t.is(shell.sent(1, 'sync').length, 1, 'what the remote told need not be echoed alone')
  shell.give(1, 1, ...shell.requests(1))
  shell.verify()
  t.is(shell.take('load-path').length, 0)
  t.alike(indexesOf(shell.requests(1)), range(1, 8))
  t.is(shell.sent(1, 'sync').length, 0, 'the remote has it all')
  shell.pass(TICK_MS)
  const [sync] = shell.sent(1, 'sync')
  t.alike([sync?.length, sync?.remoteLength], [8, 8])
})

test('of two first requests one that is answered is enough to go on', (t) => {
  const shell = new Shell()
  shell.addFeed(1)
  for (const peer of [1, 2]) {
    shell.addPeer(peer)
    shell.open(peer, 1, { length: 8, echoed: 0, haves: peer === 2 ? [[0, 8]] : [] })
  }
  t.is(shell.requests(1).length, 1)
  shell.give(2, 1, ...shell.requests(2))
  shell.verify()
  t.alike(indexesOf(shell.requests(2)), range(1, 8))
  shell.sync(2, 1, { length: 9 })
  t.alike(shell.requests(2)[0]?.upgrade, { start: 8, length: 1 })
})

test('roots that one remote does not prove are no reason to ask others for none', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 65_536 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 65_536]] })
  shell.load()
  t.is(indexesOf(shell.requests(1)).length, 2, 'two roots are on their way')
  shell.addPeer(2)
  shell.open(2, 1, { haves: [[0, 65_536]] })
  shell.load()
  t.is(indexesOf(shell.requests(2)).length, 2)
})

test('a remote that has what became ours hears of it together with more, and at once when we have all', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 17 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 16]] })
  shell.addPeer(2)
  shell.open(2, 1, { haves: [[0, 8]] })
  shell.run(1)
  t.alike(shell.sent(2, 'range'), prefix(16), 'one that lacks a block')
  t.alike(shell.sent(1, 'range'), [])
  shell.pass(TICK_MS, [1, 2])
  t.alike(shell.sent(1, 'range'), prefix(16))
  shell.have(1, 1, 16, 17)
  shell.run(1)
  t.ok(shell.engine.progress(1)?.synced)
  t.alike(shell.sent(1, 'range'), prefix(17))
})

test('blocks come as bare values under a root that is trusted', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 16 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 16]] })
  shell.load()
  const requests = shell.requests(1)
  t.alike(indexesOf(requests), range(0, 16))
  t.ok(requests.every(({ block }) => block?.nodes === 0))
  shell.give(1, 1, ...requests)
  shell.fold()
  t.is(shell.engine.progress(1)?.heldBlocks, 16)
  t.ok(shell.engine.progress(1)?.synced)
})

test('what a silent peer was asked for is asked of another', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 4]] })
  shell.load()
  t.is(shell.requests(1).length, 4)
  shell.addPeer(2)
  shell.open(2, 1, { haves: [[0, 4]] })
  t.is(shell.requests(2).length, 0, 'not while the first may still answer')
  shell.pass(REQUEST_TIMEOUT_MS + 2 * TICK_MS, [2])
  t.alike(indexesOf(shell.requests(2)), range(0, 4))
  t.is(shell.sent(1, 'cancel').length, 4)
})

test('a deadline does not run while bytes come', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4, blockBytes: 100_000 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 4]] })
  shell.load()
  t.ok(shell.requests(1).length > 0)
  shell.pass(2 * REQUEST_TIMEOUT_MS, [1])
  t.is(shell.sent(1, 'cancel').length, 0)
})

test('a deadline does not run while what we sent still waits on our side', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 4]] })
  shell.load()
  for (let i = 0; i < 100; i++) {
    shell.step({ type: 'flow', peer: 1, bytesReceived: 0, outboxBytes: 5000, paused: false })
    shell.pass(200)
  }
  t.is(shell.sent(1, 'cancel').length, 0)
  shell.pass(2 * REQUEST_TIMEOUT_MS)
  t.is(shell.sent(1, 'cancel').length, 4)
})

test('a late answer takes the request back that was made instead', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 4 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 4]] })
  shell.load()
  const late = shell.requests(1)
  shell.addPeer(2)
  shell.open(2, 1, { haves: [[0, 4]] })
  shell.pass(REQUEST_TIMEOUT_MS + 2 * TICK_MS, [2])
  t.is(shell.requests(2).length, 4)
  shell.give(1, 1, ...late)
  t.is(shell.sent(2, 'cancel').length, 4)
  shell.fold()
  t.is(shell.engine.progress(1)?.heldBlocks, 4)
})

test('a peer that leaves is no loss if another has the blocks', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 64 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 64]] })
  shell.load()
  shell.give(1, 1, ...shell.requests(1).slice(0, 30))
  shell.step({ type: 'peer-close', peer: 1, broken: true })
  shell.addPeer(2)
  shell.open(2, 1, { haves: [[0, 64]] })
  shell.run(2)
  t.is(shell.engine.progress(1)?.heldBlocks, 64)
})

test('what came stays while nobody is there, and is let go when others offer only part', (t) => {
  const shell = new Shell()
  shell.addFeed(1, { length: 64 })
  shell.addPeer(1)
  shell.open(1, 1, { haves: [[0, 64]] })
  shell.load()
  const asked = shell.requests(1)
  shell.give(1, 1, ...asked.slice(0, 60))
  shell.step({ type: 'peer-close', peer: 1, broken: true })
  t.is(shell.take('drop-chunk').length, 0)
  shell.addPeer(2)
  shell.open(2, 1, { haves: [[0, 64]] })
  t.alike(indexesOf(shell.requests(2)), range(60, 64), 'only the rest is asked for')
  shell.step({ type: 'peer-close', peer: 2, broken: true })
  shell.addPeer(3)
  shell.open(3, 1, { haves: [[0, 60]] })
  t.is(shell.take('drop-chunk').length, 1)
  shell.run(3)
  t.is(shell.engine.progress(1)?.heldBlocks, 60)
})

test('one window of a connection is shared by its feeds', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  for (const feed of range(1, 9)) {
    shell.addFeed(feed, { length: 64, blockBytes: 8192 })
    shell.open(1, feed, { haves: [[0, 64]] })
  }
  shell.load()
  const bytes = shell.engine.snapshot().peers[0]?.requestBytes ?? 0
  t.ok(bytes >= WINDOW_BYTES_START && bytes < WINDOW_BYTES_START + 64 * 8192, `${bytes} bytes`)
  for (let i = 0; i < 2; i++) {
    shell.give(1, 1, ...shell.requests(1, 1))
    shell.load()
  }
  t.ok(shell.requests(1, 2).length > 0, 'the next feed has its turn')
})

test('a block somebody waits for goes first, with a proof of its own', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  shell.addFeed(1, { length: 1024, blockBytes: 4096 })
  shell.open(1, 1, { haves: [[0, 1024]] })
  shell.load()
  const asked = shell.requests(1)
  t.absent(indexesOf(asked).includes(900))
  shell.step({ type: 'get', feed: 1, index: 900, release: false })
  shell.give(1, 1, ...asked.slice(0, 1))
  const [next] = shell.requests(1)
  t.is(next?.block?.index, 900)
  t.ok((next?.block?.nodes ?? 0) > 0)
  t.is(next?.priority, 1)
})

test('a feed of higher priority is asked for first', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  shell.addFeed(1, { length: 512, blockBytes: 4096 })
  shell.addFeed(2, { length: 512, blockBytes: 4096, priority: 1 })
  shell.open(1, 1, { haves: [[0, 512]] })
  shell.load()
  const asked = shell.requests(1, 1)
  t.ok(asked.length > 0)
  shell.open(1, 2, { haves: [[0, 512]] })
  shell.give(1, 1, asked[0]!)
  shell.load()
  shell.requests(1, 1)
  for (const request of asked.slice(1)) shell.give(1, 1, request)
  t.ok(shell.requests(1, 2).length > 0)
  t.is(shell.requests(1, 1).length, 0)
})

test('a download rate is kept', (t) => {
  const shell = new Shell({ upload: 0, download: 10_000 })
  shell.addPeer(1)
  shell.addFeed(1, { length: 1000, blockBytes: 100 })
  shell.open(1, 1, { haves: [[0, 1000]] })
  let blocks = 0
  for (let i = 0; i < 40; i++) {
    shell.load()
    shell.verify()
    shell.fold()
    const requests = shell.requests(1)
    blocks += requests.length
    shell.give(1, 1, ...requests)
    shell.pass(100, [1])
  }
  // 4 seconds at 100 blocks each, and a second of credit; one batch may go beyond.
  t.ok(blocks >= 400 && blocks <= 500 + 64, `${blocks} blocks`)
})

test('a direction that changes takes requests back and gives them again', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  shell.addFeed(1, { length: 8 })
  shell.open(1, 1, { haves: [[0, 8]] })
  shell.load()
  t.is(shell.requests(1).length, 8)
  shell.sent(1, 'sync')
  shell.step({ type: 'configure-feed', feed: 1, direction: 'upload' })
  t.is(shell.sent(1, 'cancel').length, 8)
  t.is(shell.sent(1, 'sync').at(-1)?.downloading, false)
  t.is(shell.requests(1).length, 0)
  shell.step({ type: 'configure-peer', peer: 1, feed: 1, direction: 'none' })
  shell.step({ type: 'configure-feed', feed: 1, direction: 'both' })
  t.is(shell.requests(1).length, 0, 'the channel still says no')
  shell.step({ type: 'configure-peer', peer: 1, feed: 1, direction: 'download' })
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 8)
  t.is(shell.sent(1, 'sync').at(-1)?.uploading, false)
})

test('unwant takes back what is in flight, and no more', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  shell.addFeed(1, { length: 8, wants: [[0, 8]] })
  shell.open(1, 1, { haves: [[0, 8]] })
  shell.load()
  t.is(shell.requests(1).length, 8)
  shell.step({ type: 'unwant', feed: 1, start: 4, end: 8 })
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 4)
  t.ok(shell.engine.progress(1)?.synced)
})

test('no-data without a reason is a pause, with one it is the end of a block', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  shell.addFeed(1, { length: 1 })
  shell.open(1, 1, { haves: [[0, 1]] })
  shell.load()
  const [first] = shell.requests(1)
  shell.noData(1, 1, first!, 0)
  t.is(shell.requests(1).length, 0)
  shell.pass(1000, [1])
  shell.load()
  const [second] = shell.requests(1)
  t.is(second?.block?.index, 0)
  shell.noData(1, 1, second!, 1)
  shell.pass(10_000, [1])
  shell.load()
  t.is(shell.requests(1).length, 0)
  shell.have(1, 1, 0, 1)
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 1)
})

test('a block that is taken back while it is waited for keeps no others waiting', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  shell.addFeed(1, { length: 8 })
  shell.open(1, 1, { haves: [[0, 8]] })
  shell.load()
  const asked = shell.requests(1)
  shell.message(1, 1, { type: 'range', drop: true, start: 2, length: 1 })
  shell.noData(1, 1, asked[2]!, 0)
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 7)
})

test('a block that nobody can prove is no reason to search for ever', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  // Block 3 lies under the root of 8 blocks, and the remote's own tree ends at 4.
  shell.addFeed(1, { length: 8, wants: [[3, 4]] })
  shell.open(1, 1, { length: 4, haves: [[0, 4]], canUpgrade: false })
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 0)
  t.is(shell.take('load-path').length, 0)
  shell.sync(1, 1, { length: 8 })
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 1)
})

test('blocks that nobody can prove are not looked at one by one, and what can be proven is found behind them', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  // Only the root of all blocks is stored, and the remote's own tree ends one block before it.
  shell.addFeed(1, { length: 16_384 })
  const looks = countLooks(t)
  shell.open(1, 1, { length: 16_383, haves: [[0, 16_383]], canUpgrade: false })
  shell.run(1)
  shell.pass(1000, [1])
  for (let i = 0; i < 10; i++) shell.have(1, 1, 0, 16_383)
  t.ok(looks() < 100, `${looks()} looks at what the remote has`)
  t.is(shell.engine.progress(1)?.heldBlocks, 0)
  shell.addPeer(2)
  shell.open(2, 1, { haves: [[9000, 9001]] })
  shell.run(1, 2)
  // With the block came the root of the last 4,096 blocks.
  t.is(shell.engine.progress(1)?.heldBlocks, 12_288)
  shell.have(2, 1, 16_000, 16_001)
  shell.run(1, 2)
  t.is(shell.engine.progress(1)?.heldBlocks, 16_128)
  shell.sync(1, 1, { length: 16_384 })
  shell.have(1, 1, 0, 16_384)
  shell.run(1, 2)
  t.ok(shell.engine.progress(1)?.synced)
})

test('chunks that go take their requests along', (t) => {
  const shell = new Shell()
  shell.addPeer(1)
  shell.addPeer(2)
  shell.addFeed(1, { length: 8, wants: [] })
  shell.open(1, 1, { haves: [[0, 4]] })
  shell.open(2, 1, { haves: [[4, 8]] })
  shell.step({ type: 'want', feed: 1, start: 0, end: 8 })
  shell.load()
  t.is(shell.requests(1).length + shell.requests(2).length, 8)
  shell.message(2, 1, { type: 'range', drop: true, start: 4, length: 4 })
  t.is(shell.sent(1, 'cancel').length, 0, 'what is in flight may still come')
  shell.step({ type: 'channel-close', peer: 2, feed: 1 })
  t.is(shell.sent(1, 'cancel').length, 4)
  shell.load()
  shell.run(1)
  t.is(shell.engine.progress(1)?.heldBlocks, 4)
})

/** Counts from now on how often it is looked up whether a remote has one block. */
function countLooks(t: Assertions): () => number {
  const { prototype } = RemoteHave
  // oxlint-disable-next-line typescript/unbound-method -- called on its own bitmap below
  const { get } = prototype
  let looks = 0
  prototype.get = function (index: number): boolean {
    looks++
    return get.call(this, index)
  }
  t.teardown(() => {
    prototype.get = get
  })
  return () => looks
}

/** What is said of the blocks before `length`. */
function prefix(length: number): object[] {
  return [{ type: 'range', drop: false, start: 0, length }]
}

test('peers that could give more than the download rate allows are asked for equal parts of it', (t) => {
  const shell = new Shell({ upload: 0, download: 100_000 })
  const asked = new Map<number, number>()
  for (const peer of [1, 2]) {
    shell.addPeer(peer)
    shell.addFeed(peer, { length: 4096, blockBytes: 1000 })
    shell.open(peer, peer, { haves: [[0, 4096]] })
  }
  while (shell.now < 20_000) {
    shell.load()
    shell.verify()
    shell.fold()
    for (const peer of [1, 2]) {
      const requests = shell.requests(peer, peer)
      asked.set(peer, (asked.get(peer) ?? 0) + requests.length)
      shell.give(peer, peer, ...requests)
    }
    shell.pass(50, [1, 2])
  }
  const [one = 0, other = 0] = [asked.get(1), asked.get(2)]
  t.ok(one + other > 1800, `${one + other} blocks in 20 s`)
  t.ok(one > 0.4 * (one + other) && one < 0.6 * (one + other), `${one} and ${other}`)
})
