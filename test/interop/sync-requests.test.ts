/** Requests of hypercores that cannot be answered: they go on asking us for everything else. */
import test from 'brittle'
import {
  blockBytes,
  blocksOf,
  DIALLED,
  faultsOf,
  openCore,
  openSync,
  until,
  VERSIONS
} from './helpers.ts'

/** Refusals with a reason after which a hypercore asks a remote for nothing any more. */
const REFUSALS_MAX = 32

for (const version of VERSIONS) {
  const { name } = version

  test(`a seek beyond our end waits in ${name}, which grows meanwhile, TCP`, async (t) => {
    const source = openSync(t)
    const faults = faultsOf(source)
    const feed = await source.create('feed')
    await feed.append(blocksOf(0, 10))
    const core = await openCore(t, version, feed.key)
    await DIALLED.connect(t, source, core)
    await until(() => core.length === 10)
    const bytes = core.byteLength + 1000
    const seeking = core.seek(bytes)
    for (let length = 11; length < 11 + 2 * REFUSALS_MAX; length++) {
      await feed.append(blockBytes(length - 1))
      await until(() => core.length === length)
    }
    t.ok(core.byteLength > bytes)
    t.alike(await seeking, await feed.seek(bytes))
    t.alike(faults, [])
  })

  test(`blocks that are cleared while ${name} waits for them keep no others from it, TCP`, async (t) => {
    const count = 1000
    const source = openSync(t, { limits: { upload: 400_000, download: 0 } })
    const faults = faultsOf(source)
    const feed = await source.create('feed')
    await feed.append(Array.from({ length: count }, (_, i) => Buffer.alloc(1000, i)))
    const core = await openCore(t, version, feed.key)
    await DIALLED.connect(t, source, core)
    await until(() => core.length === count)
    core.download({ start: 0, end: count, linear: true })
    for (const start of [200, 400, 600]) {
      await until(() => core.has(start - 2))
      await feed.clear(start, start + 100)
    }
    const missing = async (): Promise<number> => {
      let blocks = 0
      for (let i = 0; i < count; i++) if ((await feed.has(i)) && !(await core.has(i))) blocks++
      return blocks
    }
    await until(async () => (await missing()) === 0)
    t.absent(await core.has(200, 300), 'some were cleared before they were sent')
    t.alike(faults, [])
  })
}
