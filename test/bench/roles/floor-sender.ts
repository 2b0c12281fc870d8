/** The straight pipe, sending side: reads the data of a feed from disk and writes it to an encrypted stream. */
import { createReadStream } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import type NoiseSecretStream from '@hyperswarm/secret-stream'
import type { FeedGroup, WrittenGroup } from '../feed-group.ts'
import { batchBlocks, blocksOf } from './block.ts'
import { secure } from './core.ts'
import { FloorTree } from './floor-tree.ts'
import { serveSteps } from './steps.ts'

/** Bytes that are read and sent at a time, about. */
const READ_BYTES: number = 256 * 1024

await serveSteps({
  async prepare({ folder, groups }: { folder: string; groups: FeedGroup[] }) {
    await mkdir(folder, { recursive: true })
    const written: WrittenGroup[] = []
    for (const group of groups) {
      const file = await open(path.join(folder, String(group.seed)), 'w')
      const tree = new FloorTree(group.bytes)
      const step = batchBlocks(group)
      for (let start = 0; start < group.blocks; start += step) {
        const blocks = blocksOf(group, 0, start, Math.min(group.blocks, start + step))
        const bytes = Buffer.concat(blocks)
        tree.add(bytes)
        await file.write(bytes)
      }
      await file.close()
      // What stands for the key is what the receiver must come to.
      written.push({ ...group, keys: [tree.digest()] })
    }
    return written
  },

  async serve({ folder }: { folder: string }) {
    const server = createServer((socket) => {
      const stream = secure(false, socket)
      stream.on('data', (request: Buffer) => {
        void send(stream, path.join(folder, String(request.readUInt32LE(0))), request)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return [(server.address() as AddressInfo).port]
  },

  close() {}
})

async function send(stream: NoiseSecretStream, file: string, request: Buffer): Promise<void> {
  const blockBytes = request.readUInt32LE(4)
  const highWaterMark = Math.max(1, Math.floor(READ_BYTES / blockBytes)) * blockBytes
  for await (const bytes of createReadStream(file, { highWaterMark })) {
    if (!stream.write(bytes as Buffer)) {
      await new Promise<void>((resolve) => {
        const ondrain = (): void => {
          stream.off('drain', ondrain)
          resolve()
        }
        stream.on('drain', ondrain)
      })
    }
  }
}
