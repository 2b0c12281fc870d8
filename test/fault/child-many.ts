// Makes, appends to, serves and syncs COUNT feeds within the descriptors it was given: `child-many FOLDER COUNT`.
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { Synchronizer, type FeedSession } from '../../lib/index.ts'

const [folder = '', counted = ''] = process.argv.slice(2)
const count = Number(counted)
let most = 0
const look = setInterval(() => {
  try {
    most = Math.max(most, readdirSync('/proc/self/fd').length)
  } catch {
    most = Infinity
  }
}, 20)

const one = new Synchronizer({ storage: path.join(folder, 'one') })
const other = new Synchronizer({ storage: path.join(folder, 'other') })
const fail = (error: unknown): void => {
  console.log(`failed ${String(error)}`)
  process.exitCode = 1
}
for (const sync of [one, other]) {
  sync.on('feed-error', (_feed, error) => fail(error))
  sync.on('peer-disconnect', (_peer, error) => error !== null && fail(error))
}

const feeds = await inParallel(count, async (i) => {
  const feed = await one.create(`feed ${i}`)
  await feed.append([`first of ${i}`, `second of ${i}`])
  return feed
})
console.log(`made ${feeds.length}`)
const [address = ''] = await one.listen(0, '127.0.0.1')
const [host = '', port = ''] = address.split(':')
const copies = feeds.map(({ key }) => other.add(key, { mode: 'follow' }))
await other.connect(host, Number(port))
await Promise.all(copies.map((copy) => copy.synced()))
console.log('synced')
await inParallel(count, async (i) => (feeds[i] as FeedSession).append(`third of ${i}`))
await Promise.all(copies.map(async (copy) => until(copy, () => copy.contiguousLength === 3)))
console.log('followed')
await inParallel(count, async (i) => {
  const copy = copies[i] as FeedSession
  const { bad, head, blocks } = await copy.audit()
  const last = String(await copy.get(2))
  if (bad.length > 0 || !head || blocks !== 3 || last !== `third of ${i}`)
    fail(`feed ${i}: ${last}`)
})
await other.close()
await one.close()

// A listing opens none of them.
const again = new Synchronizer({ storage: path.join(folder, 'one') })
let listed = 0
for await (const { writable } of again.list()) if (writable) listed++
await again.close()
clearInterval(look)
console.log(`listed ${listed}`)
console.log(`descriptors ${most}`)

async function inParallel<T>(times: number, run: (i: number) => Promise<T>): Promise<T[]> {
  const results: T[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < times) {
      const i = next++
      results[i] = await run(i)
    }
  }
  await Promise.all(Array.from({ length: 32 }, worker))
  return results
}

function until(feed: FeedSession, holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (!holds()) return
      feed.off('download', look)
      resolve()
    }
    feed.on('download', look)
    look()
  })
}
