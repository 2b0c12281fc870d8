// Appends to a feed for ever, and says each length once it is acknowledged: `child-append FOLDER SEED`.
import { writeSync } from 'node:fs'
import { isSynclineError, Synchronizer } from '../../lib/index.ts'
import { seeded } from './hostile.ts'
import { appendedBlock } from './kill-blocks.ts'

const [storage = '', seed = ''] = process.argv.slice(2)
const random = seeded(Number(seed))
const sync = new Synchronizer({ storage })
const feed = await sync.open('log').catch((error: unknown) => {
  if (isSynclineError(error, 'FEED_NOT_FOUND')) return sync.create('log')
  throw error
})
writeSync(1, `opened ${feed.length}\n`)
for (;;) {
  const count = random(10) === 0 ? 1 + random(700) : 1 + random(3)
  const { length } = feed
  await feed.append(Array.from({ length: count }, (_, i) => appendedBlock(length + i)))
  writeSync(1, `appended ${feed.length}\n`)
}
