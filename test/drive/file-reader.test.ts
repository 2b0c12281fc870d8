/** Files are hashed piece by piece. */
import test from 'brittle'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { hashFile } from '../../lib/drive/folder/file-reader.ts'
import { bytesOf } from './folders.ts'

test('file reader: a stop in the midst of a file is heard, and nothing else is', async (t) => {
  const folder = await t.tmp()
  const file = path.join(folder, 'file')
  const small = path.join(folder, 'small')
  writeFileSync(file, bytesOf(5_000_000, 1))
  // Read twice: the second time to see that it ends.
  writeFileSync(small, 'small')
  const unheard: unknown[] = []
  const note = (error: unknown): void => void unheard.push(error)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  for (const after of [0, 1, 2]) {
    const stop = new AbortController()
    let pieces = 0
    if (after === 0) stop.abort(new Error('stopped'))
    const onpiece = (): void => {
      if (++pieces === after) stop.abort(new Error('stopped'))
    }
    await t.exception(hashFile(file, onpiece, stop.signal), /stopped/)
    t.is(pieces, after)
  }
  const stopped = AbortSignal.abort(new Error('stopped'))
  await t.exception(
    hashFile(small, () => {}, stopped),
    /stopped/
  )
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.alike(unheard, [])
})
