/** Appends batches with syncline. */
import { Synchronizer } from '../../../lib/index.ts'
import type { FeedGroup } from '../feed-group.ts'
import { blocksOf, checkBlock } from './block.ts'
import { serveSteps } from './steps.ts'

await serveSteps({
  async append({ folder, group, batch }: { folder: string; group: FeedGroup; batch: number }) {
    const sync = new Synchronizer({ storage: folder })
    const session = await sync.create(String(group.seed))
    const batches: Uint8Array[][] = []
    for (let start = 0; start < group.blocks; start += batch) {
      batches.push(blocksOf(group, 0, start, start + batch))
    }
    const began = performance.now()
    // hypercore 11 does not wait for the disk either.
    for (const blocks of batches) await session.append(blocks, { durability: 'os' })
    const ms = performance.now() - began
    await sync.close()
    return { ms }
  },

  async check({ folder, group }: { folder: string; group: FeedGroup }) {
    const sync = new Synchronizer({ storage: folder })
    const session = await sync.open(String(group.seed))
    let index = 0
    for await (const block of session.read()) checkBlock(group, 0, index++, block as Uint8Array)
    if (index !== group.blocks) throw new Error(`${index} of ${group.blocks} blocks`)
    await sync.close()
  },

  close() {}
})
