/** What waits for a feed, and who wants its blocks. */
import { once } from 'node:events'
import { Readable } from 'node:stream'
import test, { type Assertions } from 'brittle'
import { isSynclineError, memory, Synchronizer, type FeedSession } from '../../lib/index.ts'

const BLOCKS = 40

interface Pair {
  readonly source: Synchronizer
  readonly reader: Synchronizer
  readonly feed: FeedSession
}

async function pairOf(t: Assertions): Promise<Pair> {
  const source = new Synchronizer({ storage: memory() })
  const reader = new Synchronizer({ storage: memory() })
  t.teardown(() => Promise.all([reader.close(), source.close()]))
  const feed = await source.create('feed')
  await feed.append(Array.from({ length: BLOCKS }, (_, i) => `block ${i}`))
  const [address = ''] = await source.listen(0, '127.0.0.1')
  await reader.connect('127.0.0.1', Number(address.split(':')[1]))
  return { source, reader, feed }
}

function rateOf(session: FeedSession): number {
  return session.progress().downloadBytesPerSecond
}

/** Lets the feed grow, and resolves when the peer of a copy has told it. */
async function grown(copy: FeedSession, feed: FeedSession): Promise<void> {
  await feed.append('one more')
  while (copy.progress().peers[0]?.length !== feed.length) await once(copy, 'remote')
}

/** How a promise ended: its error's code, or `done`. */
async function endOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'done'
  } catch (error) {
    return isSynclineError(error) ? error.code : String(error)
  }
}

test('session: what waits when the feed is closed ends, however early it began', async (t) => {
  const sync = new Synchronizer({ storage: memory() })
  const { key } = await new Synchronizer({ storage: memory() }).create('elsewhere')
  const early = sync.add(key)
  const whileOpening = [early.get(0), early.synced(), early.update({ wait: true })].map(endOf)
  await early.close()
  t.alike(await Promise.all(whileOpening), Array(3).fill('SESSION_CLOSED'), 'while it was opened')
  const late = sync.add(key)
  await late.ready()
  const inSameTurn = [late.get(0), late.synced(), late.update({ wait: true })].map(endOf)
  await late.close()
  t.alike(await Promise.all(inSameTurn), Array(3).fill('SESSION_CLOSED'), 'in the same turn')
  const other = sync.add(key)
  const whileClosing = [other.get(0), other.synced()].map(endOf)
  await sync.close()
  t.alike(await Promise.all(whileClosing), Array(2).fill('SESSION_CLOSED'), 'of the synchronizer')
})

test('session: a reader that ends early takes nothing from what is followed', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key, { mode: 'follow' })
  await copy.synced({ timeoutMs: 10_000 })
  for await (const _ of copy.read({ start: BLOCKS - 1, live: true })) break
  await feed.append(['more', 'and more'])
  await copy.get(BLOCKS, { timeoutMs: 10_000 })
  await copy.synced({ timeoutMs: 10_000 })
  t.is(copy.contiguousLength, BLOCKS + 2)
})

test('session: a download that is given up leaves the others', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key, { ranges: [] })
  await copy.setDirection('upload')
  const first = copy.download({ start: 0, end: 30 })
  const second = copy.download({ start: 10, end: 35 })
  await Promise.all([first.ready(), second.ready()])
  second.destroy()
  second.destroy()
  await copy.want([20, 32])
  await copy.unwant([0, 40])
  await copy.setDirection('both')
  await first.done()
  t.is(copy.contiguousLength, 30)
  t.absent(copy.holds(30), 'nobody wants what came after')
})

for (const mode of ['pull', 'serve', 'follow'] as const) {
  test(`session: update asks for a longer feed, mode ${mode}`, async (t) => {
    const { reader, feed } = await pairOf(t)
    const copy = reader.add(feed.key, { mode, ranges: [] })
    t.is(await copy.update({ wait: true, timeoutMs: 10_000 }), true)
    t.is(copy.length, BLOCKS)
    await copy.get(0, { timeoutMs: 10_000 })
    await feed.append('one more')
    // Until the news is here there is nothing to wait for.
    while (copy.progress().knownLength <= BLOCKS) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await copy.update({ timeoutMs: 10_000 })
    t.is(copy.length, BLOCKS + 1)
  })
}

test('session: update waits for nothing where nothing may come', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key, { direction: 'upload' })
  await copy.ready()
  t.is(await copy.update({ wait: true, timeoutMs: 10_000 }), false)
  await copy.setDirection('both')
  t.is(await copy.update({ wait: true, timeoutMs: 10_000 }), true)
  await copy.setDirection('none')
  await feed.append('one more')
  t.is(await copy.update({ timeoutMs: 10_000 }), false)
})

for (const [whose, restrict] of [
  ['of the session', (copy: FeedSession) => copy.setDirection('upload')],
  ['of the session for a peer', (copy: FeedSession) => copy.setDirection('upload', copy.peers[0])],
  ['of the peer', async (copy: FeedSession) => copy.peers[0]?.setDirection('upload')]
] as const) {
  test(`session: nobody waits for whom the direction ${whose} keeps from giving`, async (t) => {
    const { reader, feed } = await pairOf(t)
    const copy = reader.add(feed.key)
    await copy.synced({ timeoutMs: 10_000 })
    await restrict(copy)
    await grown(copy, feed)
    t.is(await endOf(copy.synced({ timeoutMs: 10_000 })), 'done')
    t.is(await copy.update({ timeoutMs: 10_000 }), false)
    t.is(await copy.update({ wait: true, timeoutMs: 10_000 }), false)
    t.is(await endOf(copy.download().done({ timeoutMs: 10_000 })), 'done')
  })

  test(`session: what waits is looked at again when the direction ${whose} changes`, async (t) => {
    const { reader, feed } = await pairOf(t)
    await feed.append(Buffer.alloc(100_000))
    const copy = reader.add(feed.key, { ranges: [] })
    await copy.update({ wait: true, timeoutMs: 10_000 })
    // After so large a block nothing more is asked for in a day.
    reader.setLimits({ upload: 0, download: 1 })
    await copy.get(BLOCKS, { timeoutMs: 10_000 })
    await grown(copy, feed)
    const ends = [copy.update(), copy.session().update({ wait: true })]
    const synced = copy.synced({ timeoutMs: 10_000 })
    await restrict(copy)
    t.alike(await Promise.all(ends), [false, false])
    await synced
  })
}

test('session: what waits for a peer ends where the direction lets nothing in any more', async (t) => {
  const reader = new Synchronizer({ storage: memory() })
  t.teardown(() => reader.close())
  const copy = reader.add(new Uint8Array(32).fill(1))
  const waiting = copy.update({ wait: true })
  await copy.setDirection('none')
  t.is(await waiting, false)
})

test('session: a feed that is only served waits for nobody', async (t) => {
  const { feed } = await pairOf(t)
  const alone = new Synchronizer({ storage: memory() })
  t.teardown(() => alone.close())
  const written = await alone.create('written')
  await written.append('a block')
  const synced = written.synced({ timeoutMs: 10_000 })
  await written.setMode('serve')
  t.is(await endOf(synced), 'done')
  await feed.setMode('serve')
  t.is(await endOf(feed.synced({ timeoutMs: 10_000 })), 'done')
})

test('session: a view appends and reads in its own encoding', async (t) => {
  const { feed } = await pairOf(t)
  const view = feed.session({ valueEncoding: 'json' })
  const { length } = await view.append([{ a: 1 }], { durability: 'os' })
  t.alike(await view.get(length - 1), { a: 1 })
  t.is(String(await feed.get(length - 1)), '{"a":1}')
})

test('session: what waits in a view ends with the view, and only that', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key, { ranges: [] })
  await copy.update({ wait: true, timeoutMs: 10_000 })
  const view = copy.session()
  const other = copy.session()
  const ends = [endOf(view.get(BLOCKS)), endOf(other.get(BLOCKS))]
  await new Promise((resolve) => setTimeout(resolve, 50))
  await view.close()
  t.is(await ends[0], 'SESSION_CLOSED')
  t.is(await endOf(view.get(0)), 'SESSION_CLOSED', 'a promise that fails, nothing that throws')
  t.is(await endOf(view.append('x')), 'SESSION_CLOSED')
  await feed.append('the next one')
  t.is(await ends[1], 'done')
  const last = endOf(other.get(BLOCKS + 5))
  await copy.close()
  t.is(await last, 'SESSION_CLOSED')
})

test('session: extensions end with their view, and a later one takes over', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key)
  await copy.synced({ timeoutMs: 10_000 })
  const got: string[] = []
  const view = copy.session()
  view.registerExtension('e', { onmessage: () => got.push('closed view') })
  await view.close()
  copy.registerExtension('e', { onmessage: () => got.push('earlier') })
  const later = copy.registerExtension('e', { onmessage: (message) => got.push(String(message)) })
  const heard = new Promise((resolve) => {
    feed.registerExtension('e', { onmessage: resolve })
  })
  const sender = feed.registerExtension('f')
  copy.registerExtension('f', { onmessage: () => got.push('f') })
  await copy.ready()
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.is(later.broadcast(Buffer.from('hello')), 1)
  t.is(String(await heard), 'hello')
  t.is(feed.registerExtension('e').name, 'e')
  t.is(sender.broadcast(Buffer.from('x')), 1)
  while (got.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.alike(got, ['f'])
  try {
    feed.registerExtension('')
    t.fail('an extension without a name')
  } catch (error) {
    t.ok(isSynclineError(error, 'BAD_ARGUMENT'))
  }
})

test('session: nothing is made of what is closed', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key)
  await copy.synced({ timeoutMs: 10_000 })
  const heard = new Promise((resolve) => {
    copy.registerExtension('e', { onmessage: (message) => resolve(String(message)) })
  })
  const view = copy.session()
  await view.close()
  const onmessage = (): void => t.fail('a closed view hears nothing')
  t.is(await endOf((async () => view.registerExtension('e', { onmessage }))()), 'SESSION_CLOSED')
  const sender = feed.registerExtension('e')
  await copy.ready()
  t.is(sender.broadcast(Buffer.from('hello')), 1)
  t.is(await heard, 'hello')
  const closing = copy.close()
  for (const make of [() => copy.session(), () => copy.snapshot()]) {
    t.is(await endOf((async () => make())()), 'SESSION_CLOSED')
  }
  await closing
})

test('session: views tell of blocks and peers as the session does', async (t) => {
  const { reader, source, feed } = await pairOf(t)
  const copy = reader.add(feed.key, { ranges: [] })
  const early = copy.session()
  const events: string[] = []
  const note = (event: string): void => {
    events.push(event)
  }
  early.on('ready', () => note('ready'))
  early.on('peer-add', () => note('peer-add'))
  early.on('peer-remove', () => note('peer-remove'))
  early.on('download', (index: number) => note(`download ${index}`))
  const uploads: number[] = []
  const served = feed.snapshot()
  served.on('upload', (index: number) => uploads.push(index))
  await copy.update({ wait: true, timeoutMs: 10_000 })
  await copy.get(7, { timeoutMs: 10_000 })
  const late = copy.session()
  late.on('ready', () => note('late'))
  const closed = copy.session()
  closed.on('ready', () => note('closed'))
  closed.on('peer-remove', () => note('closed'))
  await closed.close()
  const gone = new Promise((resolve) => early.on('peer-remove', resolve))
  await source.close()
  await gone
  t.alike(events, ['ready', 'peer-add', 'download 7', 'late', 'peer-remove'])
  t.alike(uploads, [7])
})

test('session: all that a view waits for, and all that it wants, ends with it', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key, { ranges: [] })
  await copy.update({ wait: true, timeoutMs: 10_000 })
  await copy.setDirection('upload')
  const view = copy.session()
  const download = view.download({ start: 0, end: 10 })
  const other = copy.download({ start: 20, end: 25 })
  await Promise.all([download.ready(), other.ready()])
  const ends = [endOf(download.done()), endOf(view.seek(100))]
  const elsewhere = reader.add(new Uint8Array(32).fill(1))
  const waiting = elsewhere.session()
  ends.push(endOf(waiting.update({ wait: true })))
  await new Promise((resolve) => setTimeout(resolve, 50))
  await Promise.all([view.close(), waiting.close()])
  t.alike(await Promise.all(ends), Array(3).fill('SESSION_CLOSED'))
  const late = [download.done(), view.seek(0), view.update(), view.has(0), view.clear(0)]
  t.alike(
    await Promise.all(late.map(endOf)),
    Array(5).fill('SESSION_CLOSED'),
    'and once it is closed'
  )
  t.is(await endOf((async () => view.download())()), 'SESSION_CLOSED')
  await copy.setDirection('both')
  await other.done()
  await copy.synced({ timeoutMs: 10_000 })
  t.absent(await copy.has(0), 'nobody wants what the view wanted')
})

test('session: progress can be looked at while the feed is closed', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key)
  await copy.synced({ timeoutMs: 10_000 })
  const seen: number[] = []
  copy.on('peer-remove', () => seen.push(copy.progress().peers.length))
  await copy.close()
  t.alike(seen, [0])
  t.is(copy.progress().wantedBlocks, 0)
})

test('session: a snapshot never gives a block of another history', async (t) => {
  const { feed } = await pairOf(t)
  const snapshot = feed.snapshot({ valueEncoding: 'utf-8' })
  const before = snapshot.byteLength
  await feed.append('later')
  t.is(await endOf(snapshot.get(BLOCKS)), 'BLOCK_NOT_AVAILABLE', 'not what came after it')
  t.is(await snapshot.seek(before + 1), null)
  t.alike(await snapshot.seek(before), [BLOCKS, 0])
  t.is(await snapshot.get(BLOCKS - 1), `block ${BLOCKS - 1}`)
  const short = feed.snapshot()
  await feed.truncate(5)
  await feed.append(Array.from({ length: BLOCKS }, (_, i) => `other ${i}`))
  t.is(snapshot.length, BLOCKS)
  t.is(await snapshot.get(4), 'block 4', 'what both histories have')
  for (const options of [{}, { wait: false }]) {
    t.is(await endOf(snapshot.get(7, options)), 'BLOCK_NOT_AVAILABLE')
  }
  t.is(await endOf(short.get(5)), 'BLOCK_NOT_AVAILABLE')
  t.alike(
    [await snapshot.has(4), await snapshot.has(7), await snapshot.has(3, 8)],
    [true, false, false]
  )
  t.alike(await snapshot.seek(9), [1, 2])
  t.is(await endOf(snapshot.seek(before - 1)), 'BLOCK_NOT_AVAILABLE')
  await feed.truncate(20)
  t.is(await snapshot.get(4), 'block 4')
  t.is(await endOf(snapshot.get(5)), 'BLOCK_NOT_AVAILABLE', 'a later truncation gives nothing back')
})

test('session: a snapshot seeks and clears in its own history only', async (t) => {
  const { reader, feed } = await pairOf(t)
  const snapshot = feed.snapshot()
  const end = snapshot.byteLength
  await feed.truncate(5)
  t.is(
    await endOf(snapshot.seek(end - 1)),
    'BLOCK_NOT_AVAILABLE',
    'what was cut off is not the end'
  )
  t.alike(await snapshot.seek(9), [1, 2])
  await feed.append(Array.from({ length: BLOCKS }, (_, i) => `other ${i}`))
  await snapshot.clear(3, 8)
  t.alike([await feed.has(3, 5), await feed.has(5, 8)], [false, true])
  await snapshot.clear(6)
  t.ok(await feed.has(6))
  t.is(await endOf(snapshot.clear(NaN)), 'BAD_ARGUMENT')
  const early = reader.add(feed.key, { ranges: [] }).snapshot()
  await early.clear(0, 10)
  t.is(early.length, 0)
})

test('session: a seek in a snapshot ends when a truncation takes what it waits for', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key, { ranges: [] })
  await copy.update({ wait: true, timeoutMs: 10_000 })
  await copy.setDirection('upload')
  const snapshot = copy.snapshot()
  const lost = endOf(snapshot.seek(snapshot.byteLength - 1))
  const truncated = once(copy, 'truncate')
  await feed.truncate(5)
  await feed.append('the only one')
  await copy.setDirection('both')
  await truncated
  t.is(await lost, 'BLOCK_NOT_AVAILABLE')
})

test('session: what is made of a snapshot stays what the snapshot is', async (t) => {
  const { feed } = await pairOf(t)
  const snapshot = feed.snapshot({ valueEncoding: 'utf-8' })
  await feed.truncate(5)
  await feed.append(Array.from({ length: BLOCKS }, (_, i) => `other ${i}`))
  for (const view of [snapshot.session(), snapshot.snapshot(), snapshot.session().snapshot()]) {
    t.alike([view.length, view.fork, view.byteLength], [BLOCKS, 0, snapshot.byteLength])
    t.is(await view.get(4), 'block 4')
    t.is(await endOf(view.get(7)), 'BLOCK_NOT_AVAILABLE')
    t.is(await endOf(view.append('no')), 'NOT_WRITABLE')
    await view.close()
  }
  t.is(await snapshot.get(4), 'block 4', 'it stays open')
  const session = feed.session({ valueEncoding: 'utf-8' })
  t.is(await session.session().get(7), 'other 2')
  t.is(await session.session().snapshot().get(7), 'other 2')
  await session.close()
  t.is(await endOf((async () => session.session())()), 'SESSION_CLOSED')
})

test('session: what a snapshot waits for ends when a truncation takes it', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key, { ranges: [] })
  const early = copy.snapshot()
  const inTime = endOf(early.get(0))
  await copy.ready()
  t.is(await inTime, 'BLOCK_NOT_AVAILABLE', 'it is as long as the feed was when it was opened')
  await copy.update({ wait: true, timeoutMs: 10_000 })
  await copy.setDirection('upload')
  const snapshot = copy.snapshot()
  const lost = endOf(snapshot.get(7))
  await feed.truncate(5)
  await feed.append(Array.from({ length: BLOCKS }, (_, i) => `other ${i}`))
  await copy.setDirection('both')
  t.is(await lost, 'BLOCK_NOT_AVAILABLE')
  t.is(String(await copy.get(7, { timeoutMs: 10_000 })), 'other 2')
})

test('session: a reader that is ended while it waits lets go at once', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key, { ranges: [] })
  await copy.update({ wait: true, timeoutMs: 10_000 })
  await copy.setDirection('upload')
  for (const blocks of [copy.read({ start: 3 }), copy.createReadStream({ start: 3, live: true })]) {
    const next = endOf(blocks.next())
    await new Promise((resolve) => setTimeout(resolve, 20))
    t.alike(await blocks.return(), { value: undefined, done: true })
    t.is(await next, 'SESSION_CLOSED')
  }
  const stream = Readable.from(copy.read({ start: 3 })).resume()
  const closed = new Promise((resolve) => stream.on('close', resolve))
  stream.on('error', () => {})
  await new Promise((resolve) => setTimeout(resolve, 20))
  stream.destroy(new Error('enough'))
  await closed
  await copy.setDirection('both')
  await copy.get(0, { timeoutMs: 10_000 })
  await copy.synced({ timeoutMs: 10_000 })
  t.absent(copy.holds(3), 'nobody wants it any more')
})

test('session: a range of a reader that is none is refused, and stops nothing', async (t) => {
  const { reader, feed } = await pairOf(t)
  const copy = reader.add(feed.key)
  for (const range of [{ end: NaN }, { end: 1.5 }, { end: -2 }, { start: NaN }, { start: -1 }]) {
    t.is(await endOf(copy.read(range).next()), 'BAD_ARGUMENT', JSON.stringify(range))
  }
  await copy.synced({ timeoutMs: 10_000 })
  t.is(copy.contiguousLength, BLOCKS)
  const blocks: string[] = []
  for await (const block of copy.read({ start: 38, end: -1 })) blocks.push(String(block))
  t.alike(blocks, ['block 38', 'block 39'], 'as hypercore: -1 is the length')
})

test('session: the rates of two feeds on one connection are their own', async (t) => {
  const { source, reader, feed } = await pairOf(t)
  const large = await source.create('large')
  await large.append(Array.from({ length: 400 }, () => Buffer.alloc(10_000, 1)))
  const idle = reader.add(feed.key, { ranges: [] })
  await idle.update({ wait: true, timeoutMs: 10_000 })
  reader.setLimits({ upload: 0, download: 1_000_000 })
  const copy = reader.add(large.key)
  while (copy.contiguousLength < 50 || rateOf(copy) === 0) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  t.is(copy.progress().peers[0]?.downloadBytesPerSecond, rateOf(copy), 'of its only peer')
  t.is(idle.progress().peers.length, 1)
  t.ok(rateOf(idle) < rateOf(copy) / 2, 'a head alone, and blocks')
})

test('session: a download is waited for as long as its user says', async (t) => {
  const { feed, reader } = await pairOf(t)
  const copy = reader.add(feed.key, { ranges: [] })
  await copy.setDirection('upload')
  await copy.update()
  const view = copy.session()
  for (const download of [
    copy.download({ start: 0, end: 5 }),
    view.download({ start: 0, end: 5 })
  ]) {
    t.is(await endOf(download.done({ timeoutMs: 20 })), 'TIMEOUT')
    const signal = AbortSignal.abort(new Error('the signal'))
    t.is(await endOf(download.done({ signal })), 'Error: the signal')
  }
  await copy.setDirection('both')
  await view.download({ start: 0, end: 5 }).done({ timeoutMs: 10_000 })
  t.ok(await copy.has(0, 5))
})

test('session: what closes can be disposed of', async (t) => {
  const { feed, reader } = await pairOf(t)
  const view = feed.session()
  await view[Symbol.asyncDispose]()
  t.ok(view.closed)
  const [peer] = reader.peers
  const gone = new Promise((resolve) => reader.on('peer-disconnect', resolve))
  await peer?.[Symbol.asyncDispose]()
  await gone
  t.ok(peer?.closed)
  const swarm = reader.swarm({ bootstrap: [] })
  await swarm[Symbol.asyncDispose]()
})
