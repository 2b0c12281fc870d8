/** Feeds whose session encrypts: index and fork are part of the encryption. */
import { randomBytes } from 'node:crypto'
import test from 'brittle'
import { memory, Synchronizer } from '../../lib/index.ts'

test('session: what is appended beside a truncation is encrypted for its place', async (t) => {
  const sync = new Synchronizer({ storage: memory() })
  t.teardown(() => sync.close())
  const feed = await sync.create('feed', { encryptionKey: randomBytes(32), valueEncoding: 'utf-8' })
  await feed.append(Array.from({ length: 10 }, (_, i) => `block ${i}`))
  await Promise.all([feed.truncate(5), feed.append('x'), feed.append('y')])
  t.is(feed.length, 7)
  await Promise.all([feed.append('z'), feed.truncate(6), feed.append('last')])
  t.is(feed.length, 7)
  const blocks: string[] = []
  for await (const block of feed.read()) blocks.push(block as string)
  t.alike(blocks, ['block 0', 'block 1', 'block 2', 'block 3', 'block 4', 'x', 'last'])
})

test('session: a truncation that fails lets the appends after it go on', async (t) => {
  const sync = new Synchronizer({ storage: memory() })
  t.teardown(() => sync.close())
  const feed = await sync.create('feed', { encryptionKey: randomBytes(32), valueEncoding: 'utf-8' })
  const [failed] = await Promise.allSettled([feed.truncate(5), feed.append('x')])
  t.is(failed.status, 'rejected')
  t.is(await feed.get(0), 'x')
})
