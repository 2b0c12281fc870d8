/** Hyperbee on our sessions: written here, read from afar, and beside a Hyperbee on a real hypercore. */
import { createRequire } from 'node:module'
import test from 'brittle'
import type { FeedSession } from '../../lib/index.ts'
import {
  connectSyncs,
  dialCores,
  DIALLING,
  faultsOf,
  listenOn,
  openCore,
  openSync,
  until,
  VERSIONS,
  type Core
} from './helpers.ts'

interface Entry {
  readonly seq: number
  readonly key: string
  readonly value: string
}
interface Bee {
  readonly version: number
  ready(): Promise<void>
  put(key: string, value: string): Promise<void>
  del(key: string): Promise<void>
  get(key: string): Promise<Entry | null>
  batch(): Bee & { flush(): Promise<void> }
  sub(name: string): Bee
  checkout(version: number): Bee
  snapshot(): Bee
  createReadStream(range?: object): AsyncIterable<Entry>
  createHistoryStream(options?: object): AsyncIterable<Entry & { readonly type: string }>
  createDiffStream(version: number): AsyncIterable<{ left: Entry | null; right: Entry | null }>
  watch(range?: object): AsyncIterable<unknown> & { destroy(): Promise<void> }
  close(): Promise<void>
}

const require = createRequire(import.meta.url)
const { version: beeVersion } = require('hyperbee/package.json') as { version: string }
const Hyperbee = require('hyperbee') as new (feed: FeedSession | Core, options: object) => Bee
const TEXT = { keyEncoding: 'utf-8', valueEncoding: 'utf-8' }

test(`Hyperbee ${beeVersion} on a feed of ours`, async (t) => {
  const sync = openSync(t)
  const feed = await sync.create('bee')
  const bee = new Hyperbee(feed, TEXT)
  await bee.ready()
  await fill(bee)
  t.alike((await bee.get('key 7'))?.value, 'value 7')
  t.is(await bee.get('key 8'), null, 'deleted')
  t.is(await bee.get('nothing'), null)
  t.is((await keysOf(bee.createReadStream())).length, 101)
  t.alike(await keysOf(bee.createReadStream({ gte: 'key 10', lt: 'key 13' })), [
    'key 10',
    'key 11',
    'key 12'
  ])
  t.alike(await keysOf(bee.createReadStream({ reverse: true, limit: 1 })), ['sub\0inner'])
  t.alike(await keysOf(bee.sub('sub').createReadStream()), ['inner'])

  const history = []
  for await (const entry of bee.createHistoryStream({ reverse: true, limit: 2 })) {
    history.push(`${entry.type} ${entry.key}`)
  }
  t.alike(history, ['put last', 'del key 8'])
  const { version } = bee
  const snapshot = bee.snapshot()
  await bee.put('key 7', 'changed')
  await bee.put('new', 'entry')
  t.alike((await bee.get('key 7'))?.value, 'changed')
  t.alike((await bee.checkout(version).get('key 7'))?.value, 'value 7')
  t.alike((await snapshot.get('key 7'))?.value, 'value 7')
  t.is(await snapshot.get('new'), null)
  const changed = []
  for await (const { left } of bee.createDiffStream(version)) changed.push(left?.key)
  t.alike(changed, ['key 7', 'new'])
  await snapshot.close()
  await bee.close()
})

test(`Hyperbee ${beeVersion} on a feed that comes from another of ours, TCP`, async (t) => {
  const [source, sync] = [openSync(t), openSync(t)]
  const writer = new Hyperbee(await source.create('bee'), TEXT)
  await writer.ready()
  await fill(writer)
  const feed = sync.add((await source.open('bee')).key, { ranges: [] })
  await connectSyncs(sync, source)
  await feed.update()
  const bee = new Hyperbee(feed, TEXT)
  t.alike((await bee.get('key 42'))?.value, 'value 42')
  t.ok(feed.progress().heldBlocks === 0 && !(await feed.has(0, feed.length)), 'sparsely')
  t.is((await keysOf(bee.createReadStream())).length, 101)
  const changes = bee.watch()[Symbol.asyncIterator]()
  const changing = changes.next()
  await writer.put('key 42', 'anew')
  await feed.update()
  await changing
  t.alike((await bee.get('key 42'))?.value, 'anew')
  await changes.return?.()
})

for (const version of VERSIONS) {
  const { name } = version

  test(`Hyperbee ${beeVersion} on ${name}, read by one on our feed, TCP`, async (t) => {
    const core = await openCore(t, version)
    const writer = new Hyperbee(core, TEXT)
    await writer.ready()
    await fill(writer)
    const sync = openSync(t)
    const faults = faultsOf(sync)
    const feed = sync.add(core.key, { ranges: [] })
    await DIALLING.connect(t, sync, core)
    await feed.update()
    const bee = new Hyperbee(feed, TEXT)
    t.alike((await bee.get('key 42'))?.value, 'value 42')
    t.is(await bee.get('key 8'), null)
    t.alike(await keysOf(bee.createReadStream({ gt: 'key 97' })), [
      'key 98',
      'key 99',
      'last',
      'sub\0inner'
    ])
    await writer.put('later', 'entry')
    await until(() => feed.length === core.length)
    t.alike((await bee.get('later'))?.value, 'entry')
    t.alike(faults, [])
  })

  test(`Hyperbee ${beeVersion} on our feed, read by one on ${name}, TCP`, async (t) => {
    const sync = openSync(t)
    const feed = await sync.create('bee', { compat: version.major === 10 })
    const writer = new Hyperbee(feed, TEXT)
    await writer.ready()
    await fill(writer)
    const core = await openCore(t, version, feed.key)
    dialCores(t, await listenOn(sync), core)
    const bee = new Hyperbee(core, TEXT)
    await until(() => core.peers.length > 0)
    await core.update({ wait: true })
    t.alike((await bee.get('key 42'))?.value, 'value 42')
    t.is((await keysOf(bee.createReadStream())).length, 101)
  })
}

/** 101 keys: a batch, single puts, a deleted one, one in a sub. */
async function fill(bee: Bee): Promise<void> {
  const batch = bee.batch()
  for (let i = 0; i < 50; i++) await batch.put(`key ${i}`, `value ${i}`)
  await batch.flush()
  for (let i = 50; i < 99; i++) await bee.put(`key ${i}`, `value ${i}`)
  await bee.sub('sub').put('inner', 'value')
  await bee.put('key 99', 'value 99')
  await bee.del('key 8')
  await bee.put('last', 'value')
  const left = await bee.get('key 8')
  if (left !== null) throw new Error('not deleted')
}

async function keysOf(stream: AsyncIterable<Entry>): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of stream) keys.push(key)
  return keys
}
