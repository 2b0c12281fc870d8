import test from 'brittle'
import { truncateSync } from 'node:fs'
import path from 'node:path'
import { FeedFolder } from '../../lib/feed/file/feed-folder.ts'

test('an audit of a feed whose data is cut short names the blocks that are lost, and only those', async (t) => {
  const root = await t.tmp()
  const folder = await FeedFolder.open(root)
  const feed = await folder.createFeed('cut')
  const blocks = Array.from({ length: 100 }, (_, i) => Buffer.alloc(100, i))
  await feed.append(blocks)
  await feed.close()
  truncateSync(path.join(folder.folderOf(feed.key), 'data'), 6_950)

  const again = await folder.openFeed('cut')
  const report = await again.audit()
  t.alike(
    report.bad,
    Array.from({ length: 31 }, (_, i) => 69 + i)
  )
  t.ok(report.head)
  await again.close()
})
