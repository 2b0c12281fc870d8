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
}
