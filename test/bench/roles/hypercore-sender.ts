/** Writes feeds with hypercore 11 and serves them. */
import { createServer, type AddressInfo } from 'node:net'
import type { FeedGroup, WrittenGroup } from '../feed-group.ts'
import { batchBlocks, blocksOf, each } from './block.ts'
import {
  closeCore,
  createCore,
  openCore,
  openStorage,
  secure,
  type Core,
  type CoreStorage
} from './core.ts'
import { serveSteps } from './steps.ts'

let storage: CoreStorage | null = null
const cores: Core[] = []

await serveSteps({
  async prepare({ folder, groups }: { folder: string; groups: FeedGroup[] }) {
    const storage = await openStorage(folder)
    const written: WrittenGroup[] = []
    for (const group of groups) {
      const keys: string[] = []
      await each(group.feeds, async (feed) => {
        const core = await createCore(storage)
        keys[feed] = Buffer.from(core.key).toString('hex')
        const step = batchBlocks(group)
        for (let start = 0; start < group.blocks; start += step) {
          await core.append(blocksOf(group, feed, start, Math.min(group.blocks, start + step)))
        }
        await closeCore(core)
      })
      written.push({ ...group, keys })
    }
    await storage.close()
    return written
  },

  async serve(job: { folder: string; keys: string[] }) {
    const shared = await openStorage(job.folder)
    storage = shared
    for (const key of job.keys) cores.push(await openCore(shared, key))
    const server = createServer((socket) => {
      const stream = secure(false, socket)
      for (const core of cores) core.replicate(stream)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return [(server.address() as AddressInfo).port]
  },

  async close() {
    for (const core of cores) await closeCore(core)
    await storage?.close()
  }
})
