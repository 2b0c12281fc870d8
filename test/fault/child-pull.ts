// Pulls a feed from a port into a folder, and writes down which blocks are stored: `child-pull FOLDER KEY PORT LOG`.
import { openSync, writeSync } from 'node:fs'
import { Synchronizer } from '../../lib/index.ts'

const [storage = '', key = '', port = '', log = ''] = process.argv.slice(2)
const file = openSync(log, 'a')
const sync = new Synchronizer({ storage })
const feed = sync.add(key, { mode: 'pull' })
const { have, length } = await feed.feed()
writeSync(1, `opened ${have.count(0, length)}\n`)
let news: number[] = []
feed.on('download', (index) => {
  if (news.push(index) > 1) return
  queueMicrotask(() => {
    writeSync(file, `${news.join(' ')}\n`)
    news = []
  })
})
await sync.connect('127.0.0.1', Number(port))
await feed.synced()
await sync.close()
writeSync(1, 'done\n')
