/** Fetches feeds with hypercore 11 and checks what is on disk then. */
import { connect } from 'node:net'
import type NoiseSecretStream from '@hyperswarm/secret-stream'
import type { WrittenGroup } from '../feed-group.ts'
import { checkBlock, each } from './block.ts'
import {
  closeCore,
  connected,
  openCore,
  openStorage,
  secure,
  type Core,
  type CoreStorage
} from './core.ts'
import { serveSteps } from './steps.ts'

let folder = ''
let storage: CoreStorage | null = null
const streams: NoiseSecretStream[] = []
const cores: Core[] = []

await serveSteps({
  async open(job: { folder: string }) {
    folder = job.folder
    storage = await openStorage(folder)
  },

  async connect({ ports }: { ports: number[] }) {
    for (const port of ports) {
      const stream = secure(true, connect(port, '127.0.0.1'))
      await connected(stream)
      streams.push(stream)
    }
  },

  /** From feeds of which only keys and lengths are known to all their blocks stored, over open connections. */
  async fetch({ group }: { group: WrittenGroup }) {
    const into = opened()
    const began = performance.now()
    await Promise.all(
      group.keys.map(async (key) => {
        const core = await openCore(into, key)
        cores.push(core)
        for (const stream of streams) core.replicate(stream)
        await core.download({ start: 0, end: group.blocks }).done()
        if (core.contiguousLength !== group.blocks) throw new Error(`${key} is not all here`)
      })
    )
    return { ms: performance.now() - began }
  },

  /** From an open stream to the first block. */
  async first({ key, port }: { key: string; port: number }) {
    const core = await openCore(opened(), key)
    cores.push(core)
    const block = core.get(0)
    const stream = secure(true, connect(port, '127.0.0.1'))
    core.replicate(stream)
    await connected(stream)
    const began = performance.now()
    await block
    const ms = performance.now() - began
    stream.destroy()
    return { ms }
  },

  /** Closes everything, opens it again and compares every block with what was written. */
  async check({ groups, blocks }: { groups: WrittenGroup[]; blocks: number }) {
    await closeAll()
    const stored = await openStorage(folder)
    storage = stored
    for (const group of groups) {
      const count = Math.min(blocks, group.blocks)
      await each(group.feeds, async (feed) => {
        const core = await openCore(stored, group.keys[feed] ?? '')
        for (let start = 0; start < count; start += 64) {
          const end = Math.min(count, start + 64)
          const read = Array.from({ length: end - start }, (_, i) =>
            core.get(start + i, { wait: false })
          )
          const got = await Promise.all(read)
          got.forEach((block, i) => checkBlock(group, feed, start + i, block))
        }
        await closeCore(core)
      })
    }
  },

  close: closeAll
})

async function closeAll(): Promise<void> {
  for (const stream of streams.splice(0)) stream.destroy()
  for (const core of cores.splice(0)) await closeCore(core)
  await storage?.close()
}

function opened(): CoreStorage {
  if (storage === null) throw new Error('open comes first')
  return storage
}
