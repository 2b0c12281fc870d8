/** A synchronizer and real hypercores that find each other in a local table of hyperswarm. */
import { createRequire } from 'node:module'
import test, { type Assertions } from 'brittle'
import { type Synchronizer } from '../../lib/index.ts'
import {
  blocksOf,
  faultsOf,
  filledCore,
  openCore,
  openSync,
  sameFeed,
  until,
  V10,
  V11,
  VERSIONS,
  type Core,
  type CoreStream
} from './helpers.ts'

interface Testnet {
  readonly bootstrap: readonly { readonly host: string; readonly port: number }[]
  createNode(): object
}
interface Swarm {
  on(event: 'connection', run: (connection: CoreStream) => void): unknown
  join(topic: Uint8Array, options?: object): { flushed(): Promise<void> }
  destroy(): Promise<void>
}

const require = createRequire(import.meta.url)
const Hyperswarm = require('hyperswarm') as new (options: object) => Swarm
const createTestnet = createRequire(require.resolve('hyperswarm'))('hyperdht/testnet') as (
  size: number,
  options: object
) => Promise<Testnet>
const COUNT = 300

for (const version of VERSIONS) {
  const { name } = version

  test(`full, from ${name} to us, hyperswarm`, async (t) => {
    const testnet = await network(t)
    const core = await filledCore(t, version, COUNT)
    await swarmOf(t, testnet, core)
    const sync = openSync(t, { storage: await t.tmp() })
    const faults = faultsOf(sync)
    const feed = sync.add(core.key, { mode: 'pull' })
    joinSwarm(sync, testnet)
    await feed.synced()
    await sameFeed(t, feed, core)
    t.is(sync.topic(core.discoveryKey)?.connected, 1)
    t.alike(faults, [])
  })

  test(`full, from us to ${name}, hyperswarm`, async (t) => {
    const testnet = await network(t)
    const sync = openSync(t)
    const feed = await sync.create('feed', { compat: version.major === 10 })
    await feed.append(blocksOf(0, COUNT))
    await joinSwarm(sync, testnet).flush()
    const core = await openCore(t, version, feed.key)
    const downloading = core.download({ start: 0, end: COUNT }).done()
    await swarmOf(t, testnet, core)
    await downloading
    await sameFeed(t, feed, core)
    await feed.synced({ peers: 1 })
  })
}

test(`three peers each with a third, from ${V11.name} and ${V10.name} and us, hyperswarm`, async (t) => {
  const testnet = await network(t)
  const source = await filledCore(t, V11, COUNT, { compat: true })
  const cores = [await openCore(t, V11, source.key), await openCore(t, V10, source.key)]
  const third = openSync(t)
  const part = third.add(source.key, { ranges: [[200, 300]] })
  const sources = await swarmOf(t, testnet, source)
  joinSwarm(third, testnet)
  for (const [i, core] of cores.entries()) {
    const downloading = core.download({ start: i * 100, end: i * 100 + 100 }).done()
    await swarmOf(t, testnet, core)
    await downloading
  }
  await until(() => part.has(200, 300))
  await sources.destroy()
  await source.close()
  const sync = openSync(t)
  const feed = sync.add(source.key)
  joinSwarm(sync, testnet)
  await until(() => feed.contiguousLength === COUNT)
  t.is((await feed.audit()).bad.length, 0)
  t.is(
    feed.progress().peers.every(({ downloadedBlocks }) => downloadedBlocks <= 100),
    true
  )
})

test('a feed that is served from now on can be found, hyperswarm', async (t) => {
  const testnet = await network(t)
  const source = openSync(t)
  const feed = await source.create('feed')
  await feed.append(blocksOf(0, COUNT))
  const [address = ''] = await source.listen(0, '127.0.0.1')
  const holder = openSync(t)
  const copy = holder.add(feed.key, { mode: 'pull' })
  const swarm = joinSwarm(holder, testnet)
  await holder.connect('127.0.0.1', Number(address.split(':')[1]))
  await copy.synced()
  await source.close()
  // Who only pulls looks for others, and tells nobody that it is there.
  await copy.setMode('both')
  await swarm.flush()
  const reader = openSync(t)
  const found = reader.add(feed.key, { mode: 'pull' })
  joinSwarm(reader, testnet)
  await until(() => found.contiguousLength === COUNT)
  t.is(found.contiguousLength, COUNT)
})

test("a user's hyperswarm connection, on which hypercores replicate, is attached", async (t) => {
  const testnet = await network(t)
  const [core, other] = [await filledCore(t, V11, COUNT), await filledCore(t, V11, COUNT)]
  const theirs = await swarmOf(t, testnet, core)
  theirs.on('connection', (connection) => void other.replicate(connection))
  const copy = await openCore(t, V11, core.key)
  const sync = openSync(t)
  const occupied: Uint8Array[] = []
  sync.on('occupied', ({ key }) => occupied.push(key))
  const [taken, free] = [sync.add(core.key), sync.add(other.key)]
  await taken.ready()
  const mine = new Hyperswarm({ dht: testnet.createNode() })
  t.teardown(() => mine.destroy(), { order: 0 })
  mine.on('connection', (connection) => {
    connection.on('error', () => {})
    copy.replicate(connection)
    sync.attach(connection).catch((error: Error) => t.fail(error.message))
  })
  mine.join(core.discoveryKey)
  await free.synced()
  await sameFeed(t, free, other)
  t.alike(occupied, [core.key])
  await copy.download({ start: 0, end: COUNT }).done()
  t.is(taken.length, 0)
})

async function network(t: Assertions): Promise<Testnet> {
  return createTestnet(3, { teardown: (run: () => unknown) => t.teardown(run, { order: 10 }) })
}

/** Our side; `storage` and `sync` find the local table by its loopback nodes. */
function joinSwarm(sync: Synchronizer, testnet: Testnet): ReturnType<Synchronizer['swarm']> {
  return sync.swarm({ bootstrap: testnet.bootstrap })
}

/** A swarm that replicates one hypercore, as its README shows it. */
async function swarmOf(t: Assertions, testnet: Testnet, core: Core): Promise<Swarm> {
  const swarm = new Hyperswarm({ dht: testnet.createNode() })
  t.teardown(() => swarm.destroy(), { order: 0 })
  swarm.on('connection', (connection) => {
    connection.on('error', () => {})
    core.replicate(connection)
  })
  await swarm.join(core.discoveryKey).flushed()
  return swarm
}
