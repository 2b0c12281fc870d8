/** Appends batches with hypercore 11. */
import type { FeedGroup } from '../feed-group.ts'
import { blocksOf, checkBlock } from './block.ts'
import { closeCore, createCore, openCore, openStorage } from './core.ts'
import { serveSteps } from './steps.ts'

const keys = new Map<number, string>()

await serveSteps({
  async append({ folder, group, batch }: { folder: string; group: FeedGroup; batch: number }) {
    const storage = await openStorage(folder)
    const core = await createCore(storage)
    keys.set(group.seed, Buffer.from(core.key).toString('hex'))
    const batches: Uint8Array[][] = []
    for (let start = 0; start < group.blocks; start += batch) {
      batches.push(blocksOf(group, 0, start, start + batch))
    }
    const began = performance.now()
    for (const blocks of batches) await core.append(blocks)
    const ms = performance.now() - began
    await closeCore(core)
    await storage.close()
    return { ms }
  },

  async check({ folder, group }: { folder: string; group: FeedGroup }) {
    const storage = await openStorage(folder)
    const core = await openCore(storage, keys.get(group.seed) ?? '')
    if (core.length !== group.blocks) throw new Error(`${core.length} of ${group.blocks} blocks`)
    for (let index = 0; index < group.blocks; index++) {
      checkBlock(group, 0, index, await core.get(index, { wait: false }))
    }
    await closeCore(core)
    await storage.close()
  },

  close() {}
})
