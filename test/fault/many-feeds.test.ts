/** More feeds, and more calls, than there are descriptors. */
import test from 'brittle'
import type { FileLayer, OpenFile } from '../../lib/feed/file/file.ts'
import { diskFiles } from '../../lib/feed/file/file.ts'
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
