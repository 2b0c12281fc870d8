/** Peers that stop: they are waited for in bounded memory, and not for ever. */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'brittle'
import type { Message, Request } from '../../lib/wire/message.ts'
import { heapOf, Stage, until } from './stage.ts'

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
const isNews = ({ type }: Message): boolean => type === 'sync' || type === 'range'
const MEBIBYTE: number = 1024 * 1024

test(
  'a peer that asks for ever and never reads is closed before its refusals fill the memory',
  { timeout: 90_000 },
  async (t) => {
    const stage = await Stage.open(t, { blocks: 100 })
    await stage.giveAll()
    const channel = await stage.attack({ onrequest: () => true })
    const { peer } = channel
    await until(() => peer.received.length > 0)
    const before = await heapOf()
    peer.stopReading()
    // Of another fork: refused at once, and no fault.
    const batch = Array.from({ length: 20_000 }, (_, i) => ({ ...REQUEST, id: 1 + i, fork: 7 }))
    while (stage.ended.length === 0) {
      channel.sendBatch(batch)
      await sleep(20)
    }
    const grown = (await heapOf()) - before
    t.ok(grown < 160 * MEBIBYTE, `${Math.round(grown / 1024)} KiB more heap`)
    // It cannot see that it was closed before it reads again.
    peer.stream.destroy()
    await stage.refuses(peer, 'TOO_MANY')
    await stage.recover()
  }
)

test(
  'a peer that asks for large blocks and never reads, and one that falls silent, are given up',
  { timeout: 90_000 },
  async (t) => {
    const stage = await Stage.open(t, { blocks: 64, blockBytes: MEBIBYTE })
    await stage.giveAll()
    const reader = await stage.attack({ onrequest: () => true })
    await until(() => reader.peer.received.length > 0)
    const before = await heapOf()
    reader.peer.stopReading()
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < 64; i++) {
        reader.send({ ...REQUEST, id: 1 + 64 * round + i, block: { index: i, nodes: 0 } })
      }
    }
    await sleep(1000)
    const grown = (await heapOf()) - before
    t.ok(grown < 64 * MEBIBYTE, `${Math.round(grown / 1024)} KiB wait for it`)

    // Meanwhile somebody grows the feed, announces it, answers a little, and stops.
    await stage.source.setDirection('none')
    await stage.source.append(Array.from({ length: 200 }, (_, i) => Buffer.from(`more ${i}`)))
    let answers = 0
    const silent = await stage.attack({ onrequest: () => ++answers > 20 })
    await stage.refuses(silent.peer, 'PEER_TIMEOUT')

    const { error, fault } = await stage.endOf(reader.peer)
    t.is(error?.code, 'PEER_TIMEOUT')
    t.ok(fault)
    await stage.recover()
  }
)

test(
  'an update does not wait for ever for a peer that opens a feed and tells nothing',
  { timeout: 60_000 },
  async (t) => {
    const stage = await Stage.open(t, { blocks: 10 })
    const silent = await stage.attack({ mutate: (message) => (isNews(message) ? [] : [message]) })
    await until(() => stage.copy.progress().pendingPeers > 0)
    t.is(await stage.copy.update(), false)
    t.is(stage.copy.progress().pendingPeers, 0)
    t.absent(silent.peer.closed, 'it did nothing wrong')
    await stage.recover()
  }
)
