import test, { type Assertions } from 'brittle'
import Protomux, { type Channel } from 'protomux'
import * as fc from 'fast-check'
import { isSynclineError, SynclineError } from '../../lib/errors.ts'
import {
  ANSWER_FRAME_BYTES_MAX,
  INBOX_BURST_MAX,
  INBOX_MESSAGES_MAX,
  KEEPALIVE_MS,
  KEEPALIVES_MISSED_MAX,
  OUTBOX_BYTES_MAX,
  WRITE_TIMEOUT_MS
} from '../../lib/limits.ts'
import { capabilityOf } from '../../lib/synchronizer/capability.ts'
import { Connection } from '../../lib/synchronizer/connection.ts'
import { Inbox } from '../../lib/synchronizer/inbox.ts'
import { memoryPair } from '../../lib/transport/memory.ts'
import type { FramedStream } from '../../lib/transport/transport.ts'
import { handshake as handshakeCodec } from '../../lib/wire/codec.ts'
import type { Data, Message } from '../../lib/wire/message.ts'
import {
  bytesOf,
  feedOf,
  ManualClock,
  openBoth,
  Recorder,
  recordedPair,
  tcpPair
} from '../fixtures/connection.ts'
import { MESSAGES } from '../fixtures/wire-messages.ts'

const RANGE: Message = { type: 'range', drop: false, start: 0, length: 5 }

test('every message type crosses in order, over memory and TCP', async (t) => {
  const [tcpOne, tcpOther] = await tcpPair(t)
  const pairs = [
    await recordedPair(t),
    [new Recorder(t, tcpOne), new Recorder(t, tcpOther)] as const
  ]
  for (const [one, other] of pairs) {
    const [a, b] = await openBoth(one, other, 1)
    one.link.send(a, MESSAGES)
    for (const message of MESSAGES) other.link.send(b, [message])
    t.alike(bytesOf(await other.messages(MESSAGES.length)), bytesOf(MESSAGES))
    t.alike(bytesOf(await one.messages(MESSAGES.length)), bytesOf(MESSAGES))
    t.ok(one.link.bytesSent() > 0 && other.link.bytesReceived() > 0)
  }
})

test('a remote is wanted, opened, and its early messages follow its open', async (t) => {
  const [one, other] = await recordedPair(t)
  const feed = feedOf(1)
  const a = one.link.open(feed)
  t.ok(one.link.send(a, [RANGE, RANGE]) > 0)
  const wanted = await other.next('wanted')
  t.alike(Buffer.from(wanted.discoveryKey), Buffer.from(feed.discoveryKey))
  const b = other.link.open(feed)
  await other.messages(2)
  t.alike(
    other.received.map((item) => item.type),
    ['wanted', 'channel-open', 'message', 'message']
  )
  t.is((await one.next('channel-open')).channel, a)
  t.is((await other.next('channel-open')).channel, b)
})

test('open and first messages leave in one frame', async (t) => {
  const [one, other] = await recordedPair(t)
  const frames: number[] = []
  other.transport.stream.on('data', (frame: Uint8Array) => frames.push(frame.byteLength))
  const a = one.link.open(feedOf(1))
  one.link.send(a, [RANGE, RANGE])
  one.link.send(a, [RANGE])
  await other.next('wanted')
  other.link.open(feedOf(1))
  await other.messages(3)
  t.is(frames.length, 2, 'open with two messages, and one more')
})

test('a rejected feed closes the channel and can be opened again', async (t) => {
  const [one, other] = await recordedPair(t)
  const feed = feedOf(1)
  const a = one.link.open(feed)
  await other.next('wanted')
  other.link.reject(feed.discoveryKey)
  t.is((await one.next('channel-close')).channel, a)
  const again = one.link.open(feed)
  t.not(again, a, 'numbers are not used again')
  await other.next('wanted', 1)
  other.link.open(feed)
  await one.next('channel-open')
  await other.next('channel-open')
})

test('a feed that is closed before the remote answers its open can be opened again, and so can others', async (t) => {
  const [one, other] = await recordedPair(t)
  const a = one.link.open(feedOf(1))
  await other.next('wanted')
  one.link.close(a)
  await settle()
  other.link.open(feedOf(1))
  await settle()
  t.ok(other.received.some((item) => item.type === 'channel-close'))
  await opensAgain(t, one, (byte) => other.link.open(feedOf(byte)))
  t.absent(other.received.some((item) => item.type === 'disconnected'))
})

test('a plain Protomux may close a feed before we answer its open', async (t) => {
  const { mux, other, stream } = await rawPeer(t)
  const hash = stream.handshakeHash as Uint8Array
  openPlain(mux, 1, hash)?.close()
  await other.next('wanted')
  other.link.open(feedOf(1))
  await settle()
  for (const byte of [2, 1, 3]) {
    const channel = openPlain(mux, byte, hash)
    await settle()
    other.link.open(feedOf(byte))
    await settle()
    t.ok(channel?.opened, `feed ${byte}`)
  }
  t.absent(other.received.some((item) => item.type === 'disconnected'))
})

test('a feed that is closed before a plain Protomux answers its open leaves the connection whole', async (t) => {
  const { mux, other, stream } = await rawPeer(t)
  const hash = stream.handshakeHash as Uint8Array
  for (const byte of [1, 2, 3]) {
    mux.pair({ protocol: 'hypercore/alpha', id: feedOf(byte).discoveryKey }, async () => {
      await settle()
      openPlain(mux, byte, hash)
    })
  }
  other.link.close(other.link.open(feedOf(1)))
  await settle()
  await settle()
  await opensAgain(t, other, () => {})
  t.absent(other.received.some((item) => item.type === 'disconnected'))
})

/** Opens three feeds one after the other, the first of which was open before. */
async function opensAgain(
  t: Assertions,
  recorder: Recorder,
  answer: (byte: number) => void
): Promise<void> {
  const before = recorder.received.filter((item) => item.type === 'channel-open').length
  for (const byte of [2, 1, 3]) {
    recorder.link.open(feedOf(byte))
    await settle()
    answer(byte)
    await settle()
    await settle()
  }
  const after = recorder.received.filter((item) => item.type === 'channel-open').length
  t.is(after - before, 3)
}

test('closing a channel sends what was queued before and tells the other side once', async (t) => {
  const [one, other] = await recordedPair(t)
  const [a, b] = await openBoth(one, other, 1)
  one.link.send(a, [RANGE])
  one.link.close(a)
  one.link.close(a)
  t.is(one.link.send(a, [RANGE]), 0, 'a closed channel takes nothing')
  t.is((await other.next('channel-close')).channel, b)
  t.is((await other.messages(1)).length, 1)
  t.is(other.received.filter((item) => item.type === 'channel-close').length, 1)
  t.absent(one.received.some((item) => item.type === 'channel-close'))
  await openBoth(one, other, 1)
})

test('many feeds share a connection', async (t) => {
  const [one, other] = await recordedPair(t)
  const channels = Array.from({ length: 200 }, (_, i) => one.link.open(feedOf(i)))
  for (const channel of channels) one.link.send(channel, [RANGE])
  for (let i = 0; i < 200; i++) await other.next('wanted', i)
  for (let i = 0; i < 200; i++) other.link.open(feedOf(i))
  await other.messages(200)
  await one.next('channel-open', 199)
  t.is(new Set(channels).size, 200)
})

test('opening a feed twice on one end is refused without harm', async (t) => {
  const [one, other] = await recordedPair(t)
  await openBoth(one, other, 1)
  t.is(one.link.open(feedOf(1)), -1)
  t.absent(other.received.some((item) => item.type === 'disconnected'))
})

test('a wrong capability closes the connection with BAD_CAPABILITY', async (t) => {
  const [one, other] = await recordedPair(t)
  const { discoveryKey } = feedOf(1)
  one.link.open({ key: new Uint8Array(32).fill(99), discoveryKey })
  other.link.open(feedOf(1))
  const { error } = await other.next('disconnected')
  t.ok(isSynclineError(error, 'BAD_CAPABILITY'))
  t.is(error?.details.feed, Buffer.from(discoveryKey).toString('hex'))
  t.absent(other.received.some((item) => item.type === 'channel-open'))
  await one.next('disconnected')
})

test('a capability cannot be reflected to whom it came from', (t) => {
  const { key } = feedOf(1)
  const hash = new Uint8Array(64).fill(5)
  t.unlike(capabilityOf(true, key, hash), capabilityOf(false, key, hash))
})

test('a second open of an open feed closes the connection with DUPLICATE_OPEN', async (t) => {
  const { mux, other, capability } = await rawPeer(t)
  other.link.open(feedOf(1))
  openRaw(mux, 1, capability)
  await other.next('channel-open')
  const copy = mux as unknown as { _infos: Map<string, unknown> }
  copy._infos.clear()
  openRaw(mux, 1, capability)
  const { error } = await other.next('disconnected')
  t.ok(isSynclineError(error, 'DUPLICATE_OPEN'))
})

test('bytes that are no message close the connection with BAD_MESSAGE', async (t) => {
  const { mux, stream, other, capability } = await rawPeer(t)
  other.link.open(feedOf(1))
  openRaw(mux, 1, capability)
  await other.next('channel-open')
  stream.write(Buffer.from([1, 3, 255]))
  const { error } = await other.next('disconnected')
  t.ok(isSynclineError(error, 'BAD_MESSAGE'))
  t.is(other.received.at(-1)?.type, 'disconnected', 'it is the last item')
})

test('a handshake that is cut short closes the connection with BAD_MESSAGE', async (t) => {
  const { stream, other } = await rawPeer(t)
  other.link.open(feedOf(1))
  const id = Buffer.from(feedOf(1).discoveryKey)
  const name = Buffer.from('hypercore/alpha')
  const head = Buffer.from([0, 1, 1, name.byteLength])
  stream.write(Buffer.concat([head, name, Buffer.from([32]), id, Buffer.from([1, 2, 3])]))
  const { error } = await other.next('disconnected')
  t.ok(isSynclineError(error, 'BAD_MESSAGE'))
})

test('no frame of rubbish becomes an uncaught exception', async (t) => {
  const uncaught: unknown[] = []
  const onuncaught = (error: unknown): void => {
    uncaught.push(error)
  }
  process.on('uncaughtException', onuncaught)
  t.teardown(() => process.off('uncaughtException', onuncaught))
  const head = fc.constantFrom([0, 0], [0, 1], [0, 2], [0, 3], [1], [])
  const frame = fc
    .tuple(head, fc.uint8Array({ maxLength: 40 }))
    .map(([start, rest]) => Buffer.from([...start, ...rest]))
  const frames = [
    // Open and close of channel 0, a batch in a batch, a batch that is cut short.
    Buffer.from([0, 1, 0, 1, 65, 0]),
    Buffer.from([0, 2, 0]),
    Buffer.from([0, 3, 0]),
    Buffer.from([0, 0, 0, 4, 0, 0, 0, 1]),
    Buffer.from([0, 0, 1, 200]),
    Buffer.from([0, 1, 0xff, 255, 255, 255, 255, 255, 255, 255, 255]),
    ...fc.sample(frame, { numRuns: 150, seed: 1 })
  ]
  for (const bytes of frames) {
    const { stream, other } = await rawPeer(t, false)
    other.link.open(feedOf(1))
    stream.write(bytes)
    stream.end()
    const { error } = await other.next('disconnected')
    if (error !== null) t.ok(isSynclineError(error, 'BAD_MESSAGE', 'CONNECTION_FAILED', 'TOO_MANY'))
  }
  t.alike(uncaught, [])
})

test('a reader that does not take stops the sender, and taking lets it go on', async (t) => {
  const [one, other] = await recordedPair(t)
  const [a] = await openBoth(one, other, 1)
  other.idle = true
  const block = blockOf(64 * 1024)
  let sent = 0
  while (one.link.outboxBytes < OUTBOX_BYTES_MAX) {
    one.link.send(a, [block])
    sent++
    await settle()
  }
  t.ok(sent * 64 * 1024 > OUTBOX_BYTES_MAX, 'the inbox of the other side took some')
  t.ok(sent * 64 * 1024 < 32 * 1024 * 1024, 'but not everything')
  const drained = new Promise<void>((resolve) => {
    one.link.ondrain = resolve
  })
  other.idle = false
  other.take()
  await drained
  t.is(one.link.outboxBytes, 0)
  t.is((await other.messages(sent)).length, sent)
})

test('a paused link takes nothing from its stream', async (t) => {
  const [one, other] = await recordedPair(t)
  const [a] = await openBoth(one, other, 1)
  other.link.pause(true)
  one.link.send(a, [RANGE])
  await settle()
  await settle()
  t.absent(other.received.some((item) => item.type === 'message'))
  other.link.pause(false)
  t.is((await other.messages(1)).length, 1)
})

test('receive takes up to its limit, in order', async (t) => {
  const [one, other] = await recordedPair(t)
  const [a] = await openBoth(one, other, 1)
  other.idle = true
  const messages = Array.from({ length: 3 * INBOX_MESSAGES_MAX }, (_, request) => {
    return { type: 'cancel', request } as const
  })
  for (let i = 0; i < messages.length; i += 512) one.link.send(a, messages.slice(i, i + 512))
  const requests: number[] = []
  while (requests.length < messages.length) {
    await settle()
    const items = other.link.receive(100)
    t.ok(items.length <= 100)
    for (const item of items) {
      if (item.type === 'message' && item.message.type === 'cancel') {
        requests.push(item.message.request)
      }
    }
  }
  t.alike(
    requests,
    messages.map((m) => m.request)
  )
})

test('a peer that floods one frame with messages is closed', async (t) => {
  const { mux, stream, other, capability } = await rawPeer(t)
  other.link.open(feedOf(1))
  openRaw(mux, 1, capability)
  await other.next('channel-open')
  other.idle = true
  const cancel = Buffer.from([2, 2, 9])
  const batch = Buffer.concat([
    Buffer.from([0, 0, 1]),
    Buffer.alloc((INBOX_BURST_MAX + 10) * cancel.byteLength, cancel)
  ])
  stream.write(batch)
  await closedStream(stream)
  other.idle = false
  other.take()
  const { error } = await other.next('disconnected')
  t.ok(isSynclineError(error, 'TOO_MANY'))
})

test('each end says once that it reads runs', async (t) => {
  const [one, other] = await recordedPair(t)
  for (const byte of [1, 2, 3]) await openBoth(one, other, byte)
  await Promise.all([one.next('reads-runs'), other.next('reads-runs')])
  for (const { received } of [one, other]) {
    t.is(received.filter((item) => item.type === 'reads-runs').length, 1)
  }
})

test('between ends that read runs, frames of one turn are one, in order', async (t) => {
  const [dialled, accepted] = await tcpPair(t)
  const [one, other] = [new Recorder(t, dialled), new Recorder(t, accepted)]
  const [a] = await openBoth(one, other, 1)
  const [b] = await openBoth(one, other, 2)
  await Promise.all([one.next('reads-runs'), other.next('reads-runs')])
  const frames: number[] = []
  other.transport.stream.on('data', (frame: Uint8Array) => frames.push(frame.byteLength))
  const wanted = other.received.filter(({ type }) => type === 'wanted').length
  one.link.send(a, [RANGE])
  one.link.send(b, [RANGE, RANGE])
  const c = one.link.open(feedOf(3))
  one.link.send(c, [RANGE])
  one.link.send(a, [blockOf(10_000)])
  one.link.send(b, [RANGE])
  await other.next('wanted', wanted)
  other.link.open(feedOf(3))
  const messages = await other.messages(6)
  t.is(frames.length, 3, 'a large one lets go before it what waits')
  t.alike(
    messages.map(({ type }) => type),
    ['range', 'range', 'range', 'data', 'range', 'range']
  )
})

test('messages of one send are packed, and large ones split at the frame limit', async (t) => {
  const [one, other] = await recordedPair(t)
  const [a] = await openBoth(one, other, 1)
  await other.next('reads-runs')
  const frames: number[] = []
  other.transport.stream.on('data', (frame: Uint8Array) => frames.push(frame.byteLength))
  const blocks = Array.from({ length: 40 }, () => blockOf(10_000))
  const bytes = one.link.send(a, [...blocks, blockOf(2 * ANSWER_FRAME_BYTES_MAX)])
  await other.messages(41)
  t.is(
    frames.reduce((sum, n) => sum + n, 0),
    bytes
  )
  t.is(frames.length, 5, '13 blocks fit a frame, and the large one goes alone')
  t.ok(frames.slice(0, 4).every((n) => n <= ANSWER_FRAME_BYTES_MAX))
  await t.exception(() => one.link.send(a, [blockOf(17 * 1024 * 1024)]), /BAD_ARGUMENT/)
  one.link.send(a, [RANGE])
  await other.messages(42)
})

test('an orderly end delivers what was sent and disconnects both without an error', async (t) => {
  const [dialled, accepted] = await tcpPair(t)
  const [one, other] = [new Recorder(t, dialled), new Recorder(t, accepted)]
  const [a] = await openBoth(one, other, 1)
  for (let i = 0; i < 100; i++) one.link.send(a, [blockOf(20_000)])
  one.link.terminate(null)
  t.is((await other.next('disconnected')).error, null)
  t.is((await one.next('disconnected')).error, null)
  t.is((await other.messages(100)).length, 100)
  t.is(other.received.at(-1)?.type, 'disconnected')
  t.is(one.link.open(feedOf(2)), -1)
  t.is(one.link.send(a, [RANGE]), 0)
})

test('terminating with an error disconnects with that error, the other side with its own', async (t) => {
  const [one, other] = await recordedPair(t)
  const [a] = await openBoth(one, other, 1)
  const reason = new SynclineError('PEER_TIMEOUT', 'too slow')
  one.link.terminate(reason)
  one.link.terminate(null)
  one.link.close(a)
  t.is((await one.next('disconnected')).error, reason)
  t.ok(isSynclineError((await other.next('disconnected')).error, 'CONNECTION_FAILED'))
  t.is(one.received.filter((item) => item.type === 'disconnected').length, 1)
})

test('a remote that never ends its side is cut off after the time to close', async (t) => {
  const clock = new ManualClock()
  const [one, other] = await memoryPair()
  const recorder = new Recorder(t, one, clock)
  t.teardown(() => other.stream.destroy())
  recorder.link.terminate(null)
  await settle()
  t.is(recorder.received.length, 0)
  clock.advance(5000)
  t.is((await recorder.next('disconnected')).error, null)
})

test('a peer that keeps alive and then falls silent is closed, but not while we pause', async (t) => {
  const clock = new ManualClock()
  const { stream, other } = await rawPeer(t, true, clock)
  const keepalive = async (): Promise<void> => {
    stream.write(Buffer.alloc(0))
    await settle()
    clock.advance(KEEPALIVE_MS)
  }
  for (let i = 0; i < 10; i++) await keepalive()
  await settle()
  t.is(other.received.length, 0, 'heard of in time')
  other.link.pause(true)
  clock.advance(KEEPALIVE_MS * 100)
  await settle()
  t.is(other.received.length, 0, 'paused by us')
  other.link.pause(false)
  for (let i = 0; i <= KEEPALIVES_MISSED_MAX; i++) clock.advance(KEEPALIVE_MS)
  await settle()
  t.is(other.received.length, 0, 'the last one may be under way')
  clock.advance(KEEPALIVE_MS)
  const { error } = await other.next('disconnected')
  t.ok(isSynclineError(error, 'PEER_TIMEOUT'))
})

test('a peer that never sent a keepalive may be silent', async (t) => {
  const clock = new ManualClock()
  const { mux, other, capability } = await rawPeer(t, true, clock)
  other.link.open(feedOf(1))
  openRaw(mux, 1, capability)
  await other.next('channel-open')
  for (let i = 0; i < 100; i++) clock.advance(KEEPALIVE_MS)
  await settle()
  t.absent(other.received.some((item) => item.type === 'disconnected'))
})

test('a peer that reads nothing while bytes wait is closed', async (t) => {
  const clock = new ManualClock()
  const [one, other] = await memoryPair()
  other.stream.pause()
  const recorder = new Recorder(t, one, clock)
  t.teardown(() => other.stream.destroy())
  const channel = recorder.link.open(feedOf(1))
  for (let i = 0; i < 10; i++) recorder.link.send(channel, [blockOf(100_000)])
  await settle()
  t.ok(recorder.link.outboxBytes > 0)
  clock.advance(KEEPALIVE_MS)
  clock.advance(WRITE_TIMEOUT_MS - KEEPALIVE_MS)
  await settle()
  t.is(recorder.received.length, 0)
  clock.advance(KEEPALIVE_MS)
  const { error } = await recorder.next('disconnected')
  t.ok(isSynclineError(error, 'PEER_TIMEOUT'))
})

test('a connection needs a finished handshake', async (t) => {
  const [one] = await memoryPair()
  t.teardown(() => one.stream.destroy())
  const stream = Object.create(one.stream, { handshakeHash: { value: null } })
  await t.exception(() => new Connection({ ...one, stream }), /BAD_ARGUMENT/)
})

function blockOf(byteLength: number): Data {
  return {
    type: 'data',
    request: 1,
    fork: 0,
    block: { index: 0, value: new Uint8Array(byteLength), nodes: [] },
    hash: null,
    seek: null,
    upgrade: null,
    manifest: null
  }
}

interface RawPeer {
  readonly stream: FramedStream
  readonly mux: Protomux
  readonly other: Recorder
  readonly capability: Uint8Array
}

/** A Connection whose other end is driven by hand, with or without a Protomux on it. */
async function rawPeer(t: Assertions, muxed = true, clock?: ManualClock): Promise<RawPeer> {
  const [one, transport] = await memoryPair()
  const { stream } = one
  stream.on('error', () => {})
  if (!muxed) stream.on('end', () => stream.end())
  stream.resume()
  t.teardown(() => stream.destroy())
  const other = new Recorder(t, transport, clock)
  const { key } = feedOf(1)
  const capability = capabilityOf(true, key, stream.handshakeHash as Uint8Array)
  const mux = (muxed ? new Protomux(stream) : null) as Protomux
  return { stream, mux, other, capability }
}

function openRaw(mux: Protomux, byte: number, capability: Uint8Array): Channel | null {
  const channel = mux.createChannel({
    protocol: 'hypercore/alpha',
    aliases: [],
    id: feedOf(byte).discoveryKey,
    handshake: handshakeCodec,
    messages: [],
    onopen: () => {},
    onclose: () => {}
  })
  channel?.open({ seeks: true, capability })
  return channel
}

/** Opens a feed as the initiator that it belongs to would. */
function openPlain(mux: Protomux, byte: number, handshakeHash: Uint8Array): Channel | null {
  return openRaw(mux, byte, capabilityOf(true, feedOf(byte).key, handshakeHash))
}

function closedStream(stream: { on(event: string, run: () => void): unknown }): Promise<void> {
  return new Promise((resolve) => void stream.on('close', resolve))
}

/** Lets everything that is under way in memory arrive. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}

test('what was taken out of an inbox does not count, though it is never empty', (t) => {
  const inbox = new Inbox()
  const item = { type: 'message', channel: 1, message: RANGE } as const
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < 2100; i++) inbox.push(item)
    inbox.take(round === 0 ? 100 : 2100)
    t.is(inbox.messages, inbox.count)
  }
  t.is(inbox.count, 2000)
})
