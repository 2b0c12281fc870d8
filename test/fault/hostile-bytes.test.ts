/** Bytes that are no messages, counts beyond all reason, channels that must not be: each costs only its own connection. */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'brittle'
import { BLOCK_BYTES_MAX, CHANNELS_MAX, IDLE_FEED_MS, INBOX_BURST_MAX } from '../../lib/limits.ts'
import { MESSAGE_TYPES } from '../../lib/wire/message.ts'
import { seeded, uint } from './hostile.ts'
import { heapOf, Stage } from './stage.ts'

/** Heap that an attack may leave behind, bytes: what came in a frame may stay for a while, nothing of what was claimed. */
const GROWTH_MAX: number = 48 * 1024 * 1024

const numberOf = (type: (typeof MESSAGE_TYPES)[number]): number => MESSAGE_TYPES.indexOf(type)
const bytes = (...parts: (number | bigint | Uint8Array)[]): Uint8Array =>
  Buffer.concat(parts.map((part) => (part instanceof Uint8Array ? part : uint(part))))
const HASH = Buffer.alloc(32, 7)
const SIGNATURE = bytes(64, Buffer.alloc(64, 7))
/** Sizes that a count may claim: more than a bound, more than a frame, more than can be. */
const COUNTS: readonly (number | bigint)[] = [
  0x10001,
  0xffffffff,
  2 ** 50,
  2n ** 53n - 1n,
  2n ** 64n - 1n
]

/** Payloads that no peer may send, by what is wrong with them. */
function payloads(): readonly {
  readonly name: string
  readonly type: number
  readonly payload: Uint8Array
}[] {
  const list: { name: string; type: number; payload: Uint8Array }[] = []
  const add = (name: string, type: (typeof MESSAGE_TYPES)[number], payload: Uint8Array): void => {
    list.push({ name: `${type}: ${name}`, type: numberOf(type), payload })
  }
  for (const count of COUNTS) {
    add(`a block of ${count} bytes`, 'data', bytes(1, 1, 0, 0, count))
    add(`${count} nodes of a block`, 'data', bytes(1, 1, 0, 0, 1, Buffer.of(1), count))
    add(`${count} nodes of a hash`, 'data', bytes(2, 1, 0, 1, count))
    add(`${count} nodes of a seek`, 'data', bytes(4, 1, 0, 1, count))
    add(`${count} nodes of an upgrade`, 'data', bytes(8, 1, 0, 0, 1, count))
    add(`${count} more nodes of an upgrade`, 'data', bytes(8, 1, 0, 0, 1, 0, count, SIGNATURE))
    add(`a signature of ${count} bytes`, 'data', bytes(8, 1, 0, 0, 1, 0, 0, count))
    add(`${count} signers`, 'data', bytes(16, 1, 0, 1, 0, 0, 1, count))
    add(`${count} words`, 'bitfield', bytes(0, count))
    add(`a name of ${count} bytes`, 'extension', bytes(count))
  }
  for (const count of COUNTS.slice(3)) {
    add(`length ${count}`, 'sync', bytes(7, 0, count, 0))
    add(`remote length ${count}`, 'sync', bytes(7, 0, 1, count))
    add(`start ${count}`, 'want', bytes(count, 32))
    add(`length ${count}`, 'want', bytes(0, count))
    add(`length ${count}`, 'unwant', bytes(0, count))
    add(`start ${count}`, 'range', bytes(0, count, 1))
    add(`length ${count}`, 'range', bytes(0, 0, count))
    add(`length ${count}`, 'range', bytes(1, 0, count))
    add(`start ${count}`, 'bitfield', bytes(count, 0))
    add(`block ${count}`, 'request', bytes(1, 1, 0, count, 0))
    add(`node ${count}`, 'request', bytes(2, 1, 0, count, 0))
    add(`upgrade of ${count}`, 'request', bytes(8, 1, 0, 0, count))
  }
  add('a node with a size and no hash', 'data', bytes(1, 1, 0, 0, 0, 1, 2, 5, HASH.subarray(0, 31)))
  add('a bitfield that starts within a word', 'bitfield', bytes(33, 1, Buffer.alloc(4)))
  for (const type of MESSAGE_TYPES) {
    add('nothing', type, Buffer.alloc(0))
    if (type !== 'cancel' && type !== 'extension') add('cut short', type, Buffer.of(0xfd, 1))
  }
  return list
}

test('payloads that no peer may send end its connection as BAD_MESSAGE, and cost no memory', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const before = await heapOf()
  const all = payloads()
  t.ok(all.length > 80, `${all.length} payloads`)
  for (let start = 0; start < all.length; start += 16) {
    await Promise.all(
      all.slice(start, start + 16).map(async ({ name, type, payload }) => {
        const channel = await stage.attack({})
        channel.sendAsIs({ number: type, payload })
        const { peer } = channel
        const { error, fault } = await stage.endOf(peer)
        if (error?.code !== 'BAD_MESSAGE' || !fault)
          t.fail(`${name}: ${error?.message ?? 'no error'}`)
      })
    )
  }
  const grown = (await heapOf()) - before
  t.ok(grown < GROWTH_MAX, `${Math.round(grown / 1024)} KiB more heap`)
  await stage.recover()
})

test('frames that Protomux cannot read end their connection only', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const open = (id: Uint8Array): Uint8Array =>
    bytes(0, 1, 1, Buffer.from('\x0fhypercore/alpha'), 32, id, 1, HASH)
  const frames: readonly [name: string, ...frames: Uint8Array[]][] = [
    ['an open cut short', bytes(0, 1, 1, 15, Buffer.from('hyper'))],
    ['a name beyond the frame', bytes(0, 1, 1, 2 ** 40)],
    ['an id beyond the frame', bytes(0, 1, 1, 0, 0xffffffff)],
    ['a channel out of order', bytes(0, 1, 9, Buffer.from('\x0fhypercore/alpha'), 0)],
    ['the same number twice', open(HASH), open(HASH)],
    ['a batch beyond the frame', bytes(0, 0, 1, 2 ** 40)],
    ['a channel of 2^64 - 1', bytes(2n ** 64n - 1n, 0)],
    ['half a number', Buffer.of(0xff, 1, 2)],
    // The handshake of a feed that is open here.
    [
      'a handshake cut short',
      bytes(0, 1, 1, Buffer.from('\x0fhypercore/alpha'), 32, stage.source.discoveryKey, 1)
    ]
  ]
  for (const [name, ...sent] of frames) {
    const peer = await stage.dial()
    for (const frame of sent) peer.frame(frame)
    const { error, fault } = await stage.endOf(peer)
    if (error?.code !== 'BAD_MESSAGE' || !fault) t.fail(`${name}: ${error?.message ?? 'no error'}`)
  }
  await stage.recover()
})

test('random frames never hurt anybody else', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  t.comment(`SEED=${seed}`)
  const random = seeded(seed)
  for (let round = 0; round < 30; round++) {
    const { peer, localId } = await stage.attack({})
    for (let i = 0; i < 50 && !peer.closed; i++) {
      const body = Buffer.from(Array.from({ length: 1 + random(60) }, () => random(256)))
      peer.frame(bytes(random(2) === 0 ? localId : random(3), random(11), body))
    }
    peer.stream.destroy()
    await stage.endOf(peer)
  }
  t.is(stage.ended.length, 30, 'nobody else was closed')
  await stage.recover()
})

test('bytes that break the encryption end the connection', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const { peer } = await stage.attack({})
  // A frame of 100 bytes that nobody encrypted.
  peer.garble(Buffer.concat([Buffer.of(100, 0, 0), Buffer.alloc(100, 0xee)]))
  const { error } = await stage.endOf(peer)
  t.is(error?.code, 'CONNECTION_FAILED')
  await stage.recover()
})

test('message types that nobody knows, and messages for no channel, are ignored', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const { peer, localId } = await stage.attack({})
  for (const type of [10, 11, 250, 70_000]) peer.frame(bytes(localId, type, HASH))
  peer.frame(bytes(77, 0, HASH))
  peer.frame(bytes(0, 77, HASH))
  peer.frame(Buffer.alloc(0))
  await stage.copy.synced({ timeoutMs: 10_000 })
  t.alike(stage.ended, [], 'it serves as before')
  await stage.recover()
})

test('a block larger than any may be ends its connection', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const value = Buffer.alloc(BLOCK_BYTES_MAX + 1)
  const { peer } = await stage.attack({
    mutate: (message) =>
      message.type === 'data'
        ? [
            {
              number: numberOf('data'),
              payload: bytes(1, message.request, 0, 0, value.byteLength, value, 0)
            }
          ]
        : [message]
  })
  await stage.refuses(peer, 'BAD_MESSAGE')
  await stage.recover()
})

test('a feed opened without knowing its key ends the connection', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const { peer } = await stage.attack({ capability: HASH })
  await stage.refuses(peer, 'BAD_CAPABILITY')
  t.absent(
    peer.received.some(({ type }) => type === 'range' || type === 'bitfield' || type === 'data'),
    'it heard nothing of what is held'
  )
  await stage.recover()
})

test('a stored feed that only a stranger asked for is let go again', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const { victim, copy, writer } = stage
  await stage.giveAll()
  await copy.close()
  await writer.close()
  t.is(victim.feeds.length, 0)
  const { peer } = await stage.attack({ capability: HASH })
  await peer.whenClosed
  t.is(victim.feeds.length, 1, 'it was opened to be served')
  await sleep(IDLE_FEED_MS + 500)
  t.is(victim.feeds.length, 0)
})

test('a feed opened twice on one connection ends it', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const { peer } = await stage.attack({})
  peer.frame(
    bytes(0, 1, 2, Buffer.from('\x0fhypercore/alpha'), 32, stage.source.discoveryKey, 1, HASH)
  )
  await stage.refuses(peer, 'DUPLICATE_OPEN')
  await stage.recover()
})

test('more messages in one frame than are ever needed end the connection', async (t) => {
  const stage = await Stage.open(t, { blocks: 40 })
  const channel = await stage.attack({})
  const payload = bytes(1)
  const before = await heapOf()
  channel.sendBatch(
    Array.from({ length: INBOX_BURST_MAX + 10 }, () => ({ number: numberOf('cancel'), payload }))
  )
  await stage.refuses(channel.peer, 'TOO_MANY')
  const grown = (await heapOf()) - before
  t.ok(grown < GROWTH_MAX, `${Math.round(grown / 1024)} KiB more heap`)
  await stage.recover()
})

test('more channels than are ever needed end the connection', async (t) => {
  const stage = await Stage.open(t, { blocks: 40, inMemory: true })
  const peer = await stage.dial()
  const before = await heapOf()
  let peak = 0
  const looking = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().heapUsed)
  }, 20)
  for (let id = 1; id <= CHANNELS_MAX + 2; id++) {
    const discoveryKey = Buffer.alloc(32)
    discoveryKey.writeUInt32LE(id)
    peer.frame(bytes(0, 1, id, Buffer.from('\x0fhypercore/alpha'), 32, discoveryKey, 1, HASH))
    if (id % 1000 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await stage.refuses(peer, 'TOO_MANY')
  clearInterval(looking)
  const grown = (await heapOf()) - before
  t.comment(`${Math.round(peak / 2 ** 20)} MiB at most`)
  t.ok(grown < GROWTH_MAX, `${Math.round(grown / 1024)} KiB more heap`)
  await stage.recover()
})

test('more messages than are ever needed for a channel that is not open end the connection', async (t) => {
  const stage = await Stage.open(t, { blocks: 40, inMemory: true })
  const peer = await stage.dial()
  const before = await heapOf()
  const open = bytes(1, 1, Buffer.from('\x0fhypercore/alpha'), 32, HASH)
  const message = bytes(2, numberOf('cancel'), 0)
  const messages = Buffer.alloc(message.byteLength * 1_000_000, message)
  peer.frame(bytes(0, 0, 0, open.byteLength, open, 0, 1, messages))
  await stage.refuses(peer, 'TOO_MANY')
  const grown = (await heapOf()) - before
  t.ok(grown < GROWTH_MAX, `${Math.round(grown / 1024)} KiB more heap`)
  await stage.recover()
})

test('a peer whose channels are refused, and which reads none of the refusals, is closed', async (t) => {
  const stage = await Stage.open(t, { blocks: 40, inMemory: true })
  const peer = await stage.dial()
  peer.stopReading()
  const opens: Uint8Array[] = []
  for (let id = 1; id <= 20_000; id++) {
    const open = bytes(1, id, 1, Buffer.from('x'), 0)
    opens.push(bytes(open.byteLength, open))
  }
  const frame = bytes(0, 0, 0, ...opens)
  const before = await heapOf()
  while (stage.ended.length === 0) {
    peer.frame(Buffer.from(frame))
    await sleep(100)
  }
  const grown = (await heapOf()) - before
  t.ok(grown < 160 * 2 ** 20, `${Math.round(grown / 1024)} KiB more heap`)
  // It cannot see that it was closed before it reads again.
  peer.stream.destroy()
  await stage.refuses(peer, 'TOO_MANY')
  await stage.recover()
})
