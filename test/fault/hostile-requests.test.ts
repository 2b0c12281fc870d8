/** Peers that ask: for what is not there, for far too much, or without ever reading an answer. */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'brittle'
import { memory, Synchronizer } from '../../lib/index.ts'
import { INVALID_REQUESTS_MAX, REMOTE_HAVE_PAGES_MAX } from '../../lib/limits.ts'
import type { Message, Request } from '../../lib/wire/message.ts'
import { range } from '../fixtures/engine.ts'
import { HostilePeer, type HostileChannel } from './hostile.ts'
import { heapOf, portOf, Stage, until } from './stage.ts'

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
/** Heap that an attack may take, bytes. */
const GROWTH_MAX: number = 64 * 1024 * 1024

/** Requests that no feed of `length` blocks can answer. */
function invalid(length: number): Partial<Request>[] {
  return [
    { block: { index: length, nodes: 0 } },
    { block: { index: 2 ** 49, nodes: 0 } },
    { block: { index: 0, nodes: 200 } },
    { hash: { index: 2 ** 50 + 1, nodes: 0 } },
    { hash: { index: 2 ** 50 - 1, nodes: 0 } },
    { hash: { index: 0, nodes: 200 } },
    { hash: { index: 4 * length, nodes: 0 } },
    { seek: { bytes: 2 ** 50, padding: 0 } },
    { upgrade: { start: 0, length: length + 1 } },
    { upgrade: { start: length, length: 0 } },
    { upgrade: { start: 2 ** 49, length: 1 } }
  ]
}

/** Requests of odd shapes that may or may not be answered. */
function odd(length: number): Partial<Request>[] {
  return [
    {},
    { manifest: true },
    { fork: 7, block: { index: 0, nodes: 0 } },
    { block: { index: 1, nodes: 60 } },
    { hash: { index: 1, nodes: 60 } },
    { block: { index: 1, nodes: 1 }, hash: { index: 3, nodes: 1 } },
    { block: { index: 1, nodes: 1 }, seek: { bytes: 10, padding: 2 ** 50 } },
    { seek: { bytes: 0, padding: 0 } },
    { seek: { bytes: 1, padding: 8 }, upgrade: { start: 0, length: 3 } },
    { block: { index: length - 1, nodes: 0 }, upgrade: { start: 5, length: 3 } },
    { id: 0, upgrade: { start: 0, length } },
    { id: 0 },
    { id: 2 ** 53 - 1, block: { index: 1, nodes: 0 } }
  ]
}

test('requests for what is not there are refused, and too many end the connection', async (t) => {
  const stage = await Stage.open(t, { blocks: 100 })
  await stage.giveAll()
  const channel = await stage.attack({ onrequest: () => true })
  const { peer } = channel
  await until(() => peer.received.length > 0)
  const asked = invalid(100)
  asked.forEach((parts, i) => channel.send({ ...REQUEST, id: 10 + i, ...parts }))
  const refused = (): Message[] => peer.received.filter(({ type }) => type === 'no-data')
  await until(() => refused().length === asked.length)
  t.ok(refused().every((answer) => answer.type === 'no-data' && answer.reason === 2))
  t.alike(stage.ended, [], 'so far nobody is closed')
  for (let i = 0; i <= INVALID_REQUESTS_MAX; i++) {
    channel.send({ ...REQUEST, id: 1000 + i, block: { index: 100, nodes: 0 } })
  }
  await stage.refuses(peer, 'BAD_MESSAGE')
  await stage.recover()
})

test('odd requests are answered or refused, and hurt nobody', async (t) => {
  const stage = await Stage.open(t, { blocks: 100 })
  await stage.giveAll()
  const channel = await stage.attack({ onrequest: () => true })
  const { peer } = channel
  await until(() => peer.received.length > 0)
  const asked = odd(100)
  asked.forEach((parts, i) => channel.send({ ...REQUEST, id: 10 + i, ...parts }))
  const answers = (): Message[] =>
    peer.received.filter(({ type }) => type === 'no-data' || type === 'data')
  await until(() => answers().length === asked.length)
  t.alike(stage.ended, [])
  await stage.recover()
})

test('floods of requests, cancels, wants and haves take bounded memory, and others are served meanwhile', async (t) => {
  const stage = await Stage.open(t, { blocks: 100 })
  await stage.giveAll()
  const channel = await stage.attack({ onrequest: () => true })
  const { peer } = channel
  await until(() => peer.received.length > 0)
  const before = await heapOf()
  for (let round = 0; round < 20; round++) {
    const first = 1 + round * 5000
    channel.sendBatch(
      Array.from({ length: 5000 }, (_, i) => ({
        ...REQUEST,
        id: first + i,
        priority: i % 2,
        block: { index: i % 100, nodes: 0 }
      }))
    )
    channel.sendBatch(
      Array.from({ length: 5000 }, (_, i) => ({ type: 'cancel', request: 10 ** 9 + i }))
    )
    channel.sendBatch(
      Array.from({ length: 5000 }, (_, i) => ({
        type: 'want',
        start: 32 * i,
        length: 32,
        any: false
      }))
    )
    channel.sendBatch(
      Array.from({ length: 5000 }, (_, i) => ({
        type: 'range',
        drop: i % 2 === 0,
        start: 7 * i,
        length: 1
      }))
    )
    await sleep(1)
  }
  await stage.recover()
  peer.stream.destroy()
  const grown = (await heapOf()) - before
  t.ok(grown < GROWTH_MAX, `${Math.round(grown / 1024)} KiB more heap`)
})

test('haves of all blocks that there can be, again and again, keep nobody else waiting', async (t) => {
  const stage = await Stage.open(t, { blocks: 100 })
  const channel = await stage.attack({ onrequest: () => true })
  channel.sendBatch(
    Array.from({ length: 5000 }, () => ({
      type: 'range',
      drop: false,
      start: 1,
      length: 2 ** 31 - 1
    }))
  )
  await stage.refuses(channel.peer, 'TOO_MANY')
  await stage.recover()
})

test('haves all over the place end the connection before they take much memory', async (t) => {
  const stage = await Stage.open(t, { blocks: 100 })
  const channel = await stage.attack({ onrequest: () => true })
  const before = await heapOf()
  for (let page = 0; page < REMOTE_HAVE_PAGES_MAX + 1000; page += 1000) {
    channel.sendBatch(
      Array.from({ length: 1000 }, (_, i) => ({
        type: 'range',
        drop: false,
        start: 32_768 * (page + i) + 5,
        length: 1
      }))
    )
  }
  await stage.refuses(channel.peer, 'TOO_MANY')
  await stage.recover()
  const grown = (await heapOf()) - before
  // Twice what one channel may take: it was not let go before the next tick.
  t.ok(grown < 4096 * 2.5 * REMOTE_HAVE_PAGES_MAX, `${Math.round(grown / 1024)} KiB more heap`)
})

test('names of extensions that nobody registered are remembered while they are short and their feed is open', async (t) => {
  const victim = new Synchronizer({ storage: memory() })
  t.teardown(() => victim.close(), { order: 1 })
  const sessions = await Promise.all(range(0, 40).map((i) => victim.create(`feed ${i}`)))
  for (const session of sessions) await session.append(['block'])
  const port = portOf(await victim.listen(0, '127.0.0.1'))
  const peer = await HostilePeer.dial(t, port)
  const channels: HostileChannel[] = []
  for (const session of sessions) channels.push(peer.open(await session.feed()))
  await until(() => sessions.every(({ peers }) => peers.length === 1))

  const heard: string[] = []
  const listen = (i: number, name: string): void => {
    sessions[i]?.registerExtension(name, {
      encoding: 'utf-8',
      onmessage: (text) => heard.push(text)
    })
  }
  const say = (i: number, name: string, text: string): void =>
    channels[i]?.send({ type: 'extension', name, message: Buffer.from(text) })
  listen(1, 'other')
  say(0, 'late', 'before it was registered')
  say(1, 'other', 'ready')
  await until(() => heard.length === 1)
  listen(0, 'late')
  say(0, '', 'as the last')
  await until(() => heard.length === 2)
  t.alike(heard, ['ready', 'as the last'])

  const before = await namesAndObjects()
  for (const i of channels.keys()) say(i, 'n'.repeat(900_000), '')
  say(1, 'other', 'all came')
  await until(() => heard.length === 3)
  const grown = (await namesAndObjects()) - before
  t.ok(grown < 12_000_000, `${Math.round(grown / 1024)} KiB more heap`)
})

/** Bytes of all that lies in no buffer, after a collection of garbage. */
async function namesAndObjects(): Promise<number> {
  await heapOf()
  return process.memoryUsage().heapUsed
}
