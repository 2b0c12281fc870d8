/** Listeners that throw: the work goes on, and what they threw is an uncaught exception. */
import test, { type Assertions } from 'brittle'
import type { Feed, FeedChange } from '../../lib/feed/feed.ts'
import { memory, Synchronizer, type FeedSession } from '../../lib/index.ts'

const SOON = { timeoutMs: 10_000 }

/** Messages of what is thrown with nobody to catch it. */
function uncaughtOf(t: Assertions): string[] {
  const uncaught: string[] = []
  const note = (error: Error): void => {
    uncaught.push(error.message)
  }
  process.on('uncaughtException', note)
  t.teardown(() => process.off('uncaughtException', note))
  return uncaught
}

function open(t: Assertions): Synchronizer {
  const sync = new Synchronizer({ storage: memory() })
  t.teardown(() => sync.close())
  return sync
}

async function connect(from: Synchronizer, to: Synchronizer): Promise<void> {
  const [address = ''] = await to.listen(0, '127.0.0.1')
  await from.connect('127.0.0.1', Number(address.split(':')[1]))
}

function thrower(message: string): () => never {
  return () => {
    throw new Error(message)
  }
}

test('listeners: one that throws fails neither an append nor a download', async (t) => {
  const uncaught = uncaughtOf(t)
  const [source, reader] = [open(t), open(t)]
  const feed = await source.create('feed')
  feed.on('append', thrower('append'))
  let appends = 0
  feed.on('append', () => appends++)
  feed.session().on('append', () => appends++)
  t.is((await feed.append(['one', 'two'])).length, 2)
  t.is(appends, 2, 'the others hear of it')

  const copy = reader.add(feed.key)
  const failures: Error[] = []
  copy.on('failed', (error) => failures.push(error))
  const events = ['ready', 'append', 'download', 'peer-add', 'remote', 'synced'] as const
  for (const event of events) copy.on(event, thrower(`copy ${event}`))
  for (const event of ['upload', 'peer-add'] as const) feed.on(event, thrower(`feed ${event}`))
  reader.on('peer-connect', thrower('peer-connect'))
  const downloaded = new Promise((resolve) => copy.once('download', resolve))
  await connect(reader, source)
  await copy.synced(SOON)
  await downloaded
  await feed.append('three')
  await copy.get(2, SOON)
  await copy.synced(SOON)
  t.alike(failures, [])
  t.is(copy.contiguousLength, 3)
  t.is(reader.peers.length, 1)
  for (const event of events) t.ok(uncaught.includes(`copy ${event}`), event)
  for (const message of ['append', 'feed upload', 'feed peer-add', 'peer-connect']) {
    t.ok(uncaught.includes(message), message)
  }
})

test('listeners: an extension that throws does not stop what follows', async (t) => {
  const uncaught = uncaughtOf(t)
  const [source, reader] = [open(t), open(t)]
  const feed = await source.create('feed')
  await feed.append('one')
  feed.registerExtension('greeting', { onmessage: thrower('greeting') })
  const copy = reader.add(feed.key)
  const greeting = copy.registerExtension('greeting')
  await connect(reader, source)
  await copy.synced(SOON)
  t.is(greeting.broadcast('hello'), 1)
  await feed.append('two')
  await copy.get(1, SOON)
  t.alike(uncaught, ['greeting'])
})

test('listeners: one that throws leaves closing in good order', async (t) => {
  const uncaught = uncaughtOf(t)
  const sync = open(t)
  const feed: FeedSession = await sync.create('feed')
  feed.on('close', thrower('feed close'))
  feed.session().on('close', thrower('view close'))
  sync.on('close', thrower('close'))
  await sync.close()
  t.ok(feed.closed)
  await new Promise((resolve) => setImmediate(resolve))
  t.alike(uncaught, ['view close', 'feed close', 'close'])
})

test('listeners: one of the feed below that throws does not fail what it is told of', async (t) => {
  const uncaught = uncaughtOf(t)
  const session = await open(t).create('feed')
  const feed: Feed = await session.feed()
  const changes: FeedChange['type'][] = []
  feed.onchange(thrower('change'))
  feed.onchange((change) => changes.push(change.type))
  t.is((await feed.append([Buffer.from('one')])).length, 1)
  await feed.truncate(0)
  t.alike(changes, ['append', 'truncate'])
  t.alike(uncaught, ['change', 'change'])
})
