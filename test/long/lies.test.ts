/** Drives with random lies about blobs: what is honest arrives, whatever is beside it. */
import fs from 'node:fs'
import path from 'node:path'
import test from 'brittle'
import type { BlobRange } from '../../lib/drive/entry.ts'
import { random } from '../drive/hyperbee.ts'
import { bytesOf, cloneFrom, RawDrive } from '../drive/folders.ts'

const ROUNDS = 150

test('long: random lies about blobs', { timeout: 600_000 }, async (t) => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  t.comment(`SEED=${seed}`)
  const next = random(seed)
  for (let round = 0; round < ROUNDS; round++) {
    const raw = await RawDrive.open(t)
    const files = new Map<string, Buffer>()
    const blobs: BlobRange[] = []
    for (let i = 0; i < 8; i++) {
      const bytes = bytesOf(1 + next(3) * next(90_000) + next(300), round * 8 + i)
      files.set(`/${i}-honest`, bytes)
      await raw.drive.put(`/${i}-honest`, bytes)
      blobs.push((await raw.drive.entry(`/${i}-honest`))?.value.blob as BlobRange)
    }
    const total = blobs.reduce((sum, { blockLength }) => sum + blockLength, 0)
    const lies: Record<string, { blob: BlobRange }> = {}
    for (let i = 0; i < 1 + next(6); i++) {
      const [one, other] = [blobs[next(8)] as BlobRange, blobs[next(8)] as BlobRange]
      // They stay within the feed: to wait for what is beyond takes seconds.
      const blockOffset = next(2) === 0 ? one.blockOffset : next(total)
      const blockLength = 1 + next(Math.max(1, Math.min(total - blockOffset, 4)))
      const byteOffset = next(2) === 0 ? other.byteOffset : next(500_000)
      const byteLength = 1 + (next(2) === 0 ? one.byteLength : next(200_000))
      lies[`/${next(9)}-lie-${i}`] = { blob: { blockOffset, blockLength, byteOffset, byteLength } }
    }
    await raw.putEntries(lies)
    const { dir, clone, node } = await cloneFrom(t, raw.node, raw.key)
    for (const [name, bytes] of files) {
      if (!fs.readFileSync(path.join(dir, name)).equals(bytes)) t.fail(`round ${round}: ${name}`)
    }
    for (const name of Object.keys(lies)) {
      if (fs.existsSync(path.join(dir, name))) t.comment(`round ${round}: ${name} was true`)
    }
    await clone.close()
    await node.sync.close()
    await raw.drive.close()
    await raw.node.sync.close()
  }
  t.pass(`${ROUNDS} rounds`)
})
