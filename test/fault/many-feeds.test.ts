/** More feeds, and more calls, than there are descriptors. */
import { mkdtemp, rm } from 'node:fs/promises'
import test, { type Assertions } from 'brittle'
import type { FileLayer, OpenFile } from '../../lib/feed/file/file.ts'
import { diskFiles } from '../../lib/feed/file/file.ts'
import { Child } from './child.ts'
import { FilePool, PooledFile } from '../../lib/feed/file/file-pool.ts'

test('many thousand calls share a few descriptors without each waking all others', async (t) => {
  const count = 20_000
  let open = 0
  let most = 0
  const file: OpenFile = {
    read: async () => 0,
    write: async () => {},
    truncate: async () => {},
    size: async () => 1,
    sync: async () => {},
    punch: async () => true,
    close: async () => {
      open--
    }
  }
  const layer: FileLayer = {
    ...diskFiles,
    open: async () => {
      most = Math.max(most, ++open)
      return file
    }
  }
  const pool = new FilePool({ max: 4, layer })
  const files = Array.from({ length: count }, (_, i) => new PooledFile(pool, `/${i}`))
  // If all were woken for each, this would take minutes.
  const sizes = await Promise.all(files.map((one) => one.size()))
  t.is(sizes.length, count)
  t.is(most, 4)
  await Promise.all(files.map((one) => one.close()))
  t.is(open, 0)
})

test(
  '1,000 feeds are made, served and followed by a process that may open 256 files',
  { timeout: 120_000 },
  async (t) => {
    if (process.platform !== 'linux') return t.comment('skipped: needs ulimit and /proc')
    const child = Child.start(t, 'child-many', [await folderInMemory(t), '1000'], { files: 256 })
    t.is(await child.end(), 0)
    t.alike(child.lines.slice(0, 4), ['made 1000', 'synced', 'followed', 'listed 1000'])
    const most = Number(child.lines.at(-1)?.split(' ')[1])
    t.ok(most <= 256, `${most} descriptors`)
  }
)

/** A folder whose syncs cost nothing, where there is one: what is counted here is descriptors. */
async function folderInMemory(t: Assertions): Promise<string> {
  const folder = await mkdtemp('/dev/shm/syncline-').catch(() => t.tmp())
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}
