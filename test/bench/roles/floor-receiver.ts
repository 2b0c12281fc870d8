/** The straight pipe, receiving side: hashes leaves and parents once with libsodium and writes once. */
import { mkdir, open, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import path from 'node:path'
import type NoiseSecretStream from '@hyperswarm/secret-stream'
import type { WrittenGroup } from '../feed-group.ts'
import { checkBlock } from './block.ts'
import { connected, secure } from './core.ts'
import { FloorTree } from './floor-tree.ts'
import { serveSteps } from './steps.ts'

/** Bytes that may wait to be hashed before the stream is paused. */
const WAITING_BYTES: number = 4 * 1024 * 1024

let folder = ''
let stream: NoiseSecretStream | null = null

await serveSteps({
  async open(job: { folder: string }) {
    folder = job.folder
    await mkdir(folder, { recursive: true })
  },

  async connect({ ports }: { ports: number[] }) {
    stream = secure(true, connect(ports[0] ?? 0, '127.0.0.1'))
    await connected(stream)
  },

  async fetch({ group }: { group: WrittenGroup }) {
    if (stream === null) throw new Error('connect comes first')
    const began = performance.now()
    const digest = await receive(stream, group)
    const ms = performance.now() - began
    if (digest !== group.keys[0]) throw new Error('the tree is not that of the sender')
    return { ms }
  },

  async check({ groups }: { groups: WrittenGroup[] }) {
    for (const group of groups) {
      const stored = await readFile(path.join(folder, `${group.seed}.data`))
      for (let i = 0; i < group.blocks; i++) {
        checkBlock(group, 0, i, stored.subarray(i * group.bytes, (i + 1) * group.bytes))
      }
    }
  },

  close() {
    stream?.destroy()
  }
})

async function receive(stream: NoiseSecretStream, group: WrittenGroup): Promise<string> {
  const data = await open(path.join(folder, `${group.seed}.data`), 'w')
  const nodes = await open(path.join(folder, `${group.seed}.tree`), 'w')
  const tree = new FloorTree(group.bytes)
  const waiting: Buffer[] = []
  let waitingBytes = 0
  let wake: (() => void) | null = null
  const ondata = (bytes: Buffer): void => {
    waiting.push(bytes)
    waitingBytes += bytes.byteLength
    if (waitingBytes > WAITING_BYTES) stream.pause()
    wake?.()
  }
  stream.on('data', ondata)
  const request = Buffer.alloc(8)
  request.writeUInt32LE(group.seed, 0)
  request.writeUInt32LE(group.bytes, 4)
  stream.write(request)
  let missing = group.blocks * group.bytes
  while (missing > 0) {
    const bytes = waiting.shift()
    if (bytes === undefined) {
      await new Promise<void>((resolve) => (wake = resolve))
      continue
    }
    waitingBytes -= bytes.byteLength
    if (waitingBytes <= WAITING_BYTES) stream.resume()
    await Promise.all([data.write(bytes), nodes.write(tree.add(bytes))])
    missing -= bytes.byteLength
  }
  stream.off('data', ondata)
  await data.close()
  await nodes.close()
  return tree.digest()
}
