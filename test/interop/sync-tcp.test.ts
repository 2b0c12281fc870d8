/** A synchronizer and real hypercores of both generations over TCP, each way. */
import test from 'brittle'
import {
  blockBytes,
  blocksOf,
  dialCores,
  DIALLED,
  DIALLING,
  faultsOf,
  filledCore,
  listenOn,
  openCore,
  openSync,
  sameFeed,
  until,
  VERSIONS,
  type Core,
  type Version
} from './helpers.ts'

const COUNT = 600

for (const version of VERSIONS) {
  const { name } = version

  for (const route of [DIALLING, DIALLED]) {
    test(`full, from ${name} to us, ${route.name}`, async (t) => {
      const core = await filledCore(t, version, COUNT)
      const sync = openSync(t, { storage: await t.tmp() })
      const faults = faultsOf(sync)
      const downloaded = new Set<number>()
      const feed = sync.add(core.key, { mode: 'pull' })
      feed.on('download', (index, byteLength, peer) => {
        if (peer === null || byteLength !== blockBytes(index).byteLength)
          t.fail(`download ${index}`)
        downloaded.add(index)
      })
      await route.connect(t, sync, core)
      await feed.synced()
      await sameFeed(t, feed, core)
      t.is(downloaded.size, COUNT, 'each block was told of')
      t.is((await feed.audit()).bad.length, 0)
      t.alike(faults, [])
    })

    test(`full, from us to ${name}, ${route.name}`, async (t) => {
      const sync = openSync(t, { storage: await t.tmp() })
      const faults = faultsOf(sync)
      const feed = await sync.create('feed', { compat: version.major === 10 })
      await feed.append(blocksOf(0, COUNT))
      let uploads = 0
      feed.on('upload', () => uploads++)
      const core = await openCore(t, version, feed.key)
      await route.connect(t, sync, core)
      await core.download({ start: 0, end: COUNT }).done()
      await sameFeed(t, feed, core)
      t.ok(uploads >= COUNT, 'each block was told of')
      await feed.synced({ peers: 1 })
      t.alike(faults, [])
    })
  }

  test(`single blocks and ranges, from ${name} to us, TCP`, async (t) => {
    const core = await filledCore(t, version, COUNT)
    const sync = openSync(t)
    const feed = sync.add(core.key, { ranges: [] })
    await DIALLING.connect(t, sync, core)
    for (const index of [0, COUNT - 1, 77, 300]) {
      t.alike(Buffer.from((await feed.get(index)) as Uint8Array), blockBytes(index))
    }
    t.is(await feed.get(78, { wait: false }), null, 'nothing else was fetched')
    t.is(wantsHeard(core, version), 1, 'one want serves all of them')
    await feed.download({ start: 100, end: 200 }).done()
    t.is(await feed.has(100, 200), true)
    t.is(await feed.has(0, COUNT), false)
    await feed.download({ blocks: [1, 3, 599] }).done()
    t.is((await feed.has(1)) && (await feed.has(3)) && !(await feed.has(2)), true)
    const seen: string[] = []
    for await (const block of feed.read({ start: 395, end: 405 })) seen.push(String(block))
    t.alike(seen, blocksOf(395, 405).map(String))
    const bytes = blocksOf(0, 250).reduce((sum, block) => sum + block.byteLength, 0)
    t.alike(await feed.seek(bytes + 3), [250, 3])
    t.is((await feed.audit()).bad.length, 0)
  })

  test(`single blocks and ranges, from us to ${name}, TCP`, async (t) => {
    const sync = openSync(t)
    const feed = await sync.create('feed', { compat: version.major === 10 })
    await feed.append(blocksOf(0, COUNT))
    const core = await openCore(t, version, feed.key)
    dialCores(t, await listenOn(sync), core)
    for (const index of [0, COUNT - 1, 77, 300]) {
      t.alike(Buffer.from((await core.get(index)) as Uint8Array), blockBytes(index))
    }
    await core.download({ start: 100, end: 200 }).done()
    t.is(await core.has(100, 200), true)
    t.is(await core.has(201), false)
    const bytes = blocksOf(0, 250).reduce((sum, block) => sum + block.byteLength, 0)
    t.alike(await core.seek(bytes + 3), [250, 3])
  })

  test(`${name} appends while we follow, TCP`, async (t) => {
    const core = await filledCore(t, version, 100)
    const sync = openSync(t)
    const feed = sync.add(core.key)
    await DIALLING.connect(t, sync, core)
    for (let length = 100; length < 400; length += 30) {
      await core.append(blocksOf(length, length + 30))
      if (length === 220) await feed.synced()
    }
    await until(() => feed.contiguousLength === core.length)
    await sameFeed(t, feed, core)
    await core.append(blockBytes(core.length))
    await until(() => feed.contiguousLength === core.length)
    t.is(await feed.update(), false, 'there is no more')
  })

  test(`${name} follows while we append, TCP`, async (t) => {
    const sync = openSync(t)
    const feed = await sync.create('feed', { compat: version.major === 10 })
    await feed.append(blocksOf(0, 100))
    const core = await openCore(t, version, feed.key)
    dialCores(t, await listenOn(sync), core)
    core.download({ start: 0, end: -1 })
    for (let length = 100; length < 400; length += 30) {
      await feed.append(blocksOf(length, length + 30))
      if (length === 220) await until(() => core.length >= 220)
    }
    await until(() => core.contiguousLength === feed.length)
    await sameFeed(t, feed, core)
    await feed.append(blockBytes(feed.length))
    await until(() => core.contiguousLength === feed.length)
    await feed.synced({ peers: 1 })
  })

  test(`${name} truncates and grows on, and we follow the fork, TCP`, async (t) => {
    const core = await filledCore(t, version, 200)
    const sync = openSync(t)
    const faults = faultsOf(sync)
    const feed = sync.add(core.key)
    const truncated: number[][] = []
    feed.on('truncate', (length, fork) => truncated.push([length, fork]))
    await DIALLING.connect(t, sync, core)
    await until(() => feed.contiguousLength === 200)
    await core.truncate(137)
    await core.append(['other', 'blocks', 'follow'])
    await until(() => feed.fork === 1 && feed.contiguousLength === 140)
    await sameFeed(t, feed, core)
    t.alike(truncated[0], [137, 1])
    await core.truncate(0)
    await core.append('anew')
    await until(() => feed.fork === 2 && feed.contiguousLength === 1)
    await sameFeed(t, feed, core)
    t.alike(faults, [])
  })

  test(`we truncate and grow on, and ${name} follows the fork, TCP`, async (t) => {
    const sync = openSync(t)
    const feed = await sync.create('feed', { compat: version.major === 10 })
    await feed.append(blocksOf(0, 200))
    const core = await openCore(t, version, feed.key)
    dialCores(t, await listenOn(sync), core)
    core.download({ start: 0, end: -1 })
    await until(() => core.contiguousLength === 200)
    await feed.truncate(137)
    await feed.append(['other', 'blocks', 'follow'])
    await until(() => core.fork === 1 && core.contiguousLength === 140)
    await sameFeed(t, feed, core)
    await feed.truncate(64)
    await feed.append(blocksOf(64, 100))
    await until(() => core.fork === 2 && core.contiguousLength === 100)
    await sameFeed(t, feed, core)
  })
}

/** Wants that reached a hypercore, as it counts them. */
function wantsHeard(core: Core, { major }: Version): number {
  const own = core as unknown as Counting & { readonly core: Counting }
  return (major === 11 ? own.core : own).replicator.stats.wireWant.rx
}

interface Counting {
  readonly replicator: { readonly stats: { readonly wireWant: { readonly rx: number } } }
}
