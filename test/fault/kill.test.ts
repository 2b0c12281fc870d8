/** Processes that are killed at any moment: what they stored, or acknowledged, is there when the feed is opened again. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type Assertions } from 'brittle'
import { memory, Synchronizer } from '../../lib/index.ts'
import { Child } from './child.ts'
import { seeded } from './hostile.ts'
import { appendedBlock } from './kill-blocks.ts'
import { differing, portOf } from './stage.ts'

const PULL_KILLS = 15
const APPEND_KILLS = 15
/** About 23 MB. */
const BLOCKS = 50_000

test(
  'a pull that is killed goes on where it was, and fetches nothing twice that was stored',
  { timeout: 120_000 },
  async (t) => {
    const random = seeded(seedOf(t))
    const source = new Synchronizer({ storage: memory() })
    t.teardown(() => source.close(), { order: 1 })
    const feed = await source.create('source')
    await feed.append(Array.from({ length: BLOCKS }, (_, i) => appendedBlock(i)))
    // A life gets what flows in 0.4 s and a second's credit: some chunks, and never the whole within all lives.
    source.setLimits({ upload: 1_000_000, download: 0 })
    const port = portOf(await source.listen(0, '127.0.0.1'))
    const folder = await t.tmp()
    const log = path.join(await t.tmp(), 'stored')
    let stored = 0
    let kills = 0
    let done = false
    while (!done) {
      const child = Child.start(t, 'child-pull', [folder, feed.id, String(port), log])
      const opened = Number((await child.said('opened')).split(' ')[1])
      t.ok(opened >= stored, `${opened} held, ${stored} were told to be stored`)
      if (kills < PULL_KILLS) {
        await sleep(random(400))
        await child.kill()
        kills++
      } else {
        source.setLimits({ upload: 0, download: 0 })
        t.is(await child.end(), 0)
      }
      done = child.lines.includes('done')
      // The last line may be cut short by the kill.
      const lines = (await readFile(log, 'utf8')).split('\n').slice(0, -1)
      const indexes = lines.flatMap((line) => line.split(' '))
      stored = new Set(indexes).size
      t.is(indexes.length, stored, 'no block was fetched again that was stored')
      const sync = new Synchronizer({ storage: folder })
      const copy = sync.add(feed.key, { ranges: [] })
      const { bad, head, blocks } = await copy.audit()
      t.ok(head && bad.length === 0 && blocks >= stored, `${blocks} blocks are sound`)
      if (done) t.is(await differing(copy, feed), -1, 'all is as in the source')
      await sync.close()
    }
    t.is(kills, PULL_KILLS)
  }
)

test('an append that was acknowledged survives a kill', { timeout: 120_000 }, async (t) => {
  const seed = seedOf(t)
  const random = seeded(seed)
  const folder = await t.tmp()
  let length = 0
  for (let kills = 0; kills < APPEND_KILLS; kills++) {
    const child = Child.start(t, 'child-append', [folder, String(seed + kills)])
    const opened = Number((await child.said('opened')).split(' ')[1])
    t.ok(opened >= length, `opened with ${opened}, ${length} were acknowledged`)
    await sleep(random(200))
    await child.kill()
    const last = child.lines.filter((line) => line.startsWith('appended')).at(-1)
    if (last !== undefined) length = Number(last.split(' ')[1])
    else length = opened
  }
  const sync = new Synchronizer({ storage: folder })
  t.teardown(() => sync.close(), { order: 1 })
  const feed = await sync.open('log')
  t.ok(feed.length >= length)
  t.alike(await feed.audit(), { blocks: feed.length, bad: [], head: true })
  let wrong = -1
  for (let i = 0; i < feed.length && wrong === -1; i++) {
    if (!appendedBlock(i).equals(Buffer.from((await feed.get(i)) as Uint8Array))) wrong = i
  }
  t.is(wrong, -1, 'every block is what was appended')
  await feed.append('more')
})

/** The seed of the moments, to be given again by SEED. */
function seedOf(t: Assertions): number {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  t.comment(`SEED=${seed}`)
  return seed
}
