import test from 'brittle'
import { newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import type { Store } from '../../lib/feed/store.ts'

/** A store that notes what is made durable, and when. */
function noted(store: Store, notes: string[]): Store {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      return (...args: unknown[]): unknown => {
        if (name === 'commit')
          notes.push(`commit ${(args[0] as { durability: string }).durability}`)
        if (name === 'flush') notes.push('flush')
        return Reflect.apply(member, target, args)
      }
    }
  })
}

test('a signed head is made durable before a proof carries it away', async (t) => {
  const notes: string[] = []
  const feed = await StoredFeed.open(noted(memoryStore(newIdentity()), notes))
  await feed.append([Buffer.from('a')], { durability: 'os' })
  t.alike(notes, ['commit os'])
  await feed.proof({ block: { index: 0, nodes: 0 } })
  t.alike(notes, ['commit os'], 'a block alone shows no signature')
  await feed.proof({ upgrade: { start: 0, length: 1 } })
  t.alike(notes, ['commit os', 'flush'])
  await feed.proof({ upgrade: { start: 0, length: 1 } })
  await feed.append([Buffer.from('b')])
  await feed.proof({ upgrade: { start: 0, length: 2 } })
  t.alike(notes, ['commit os', 'flush', 'commit fsync'], 'nothing is flushed twice')
  await feed.close()
})

test('a head is proven while somebody appends without a pause', async (t) => {
  const feed = await StoredFeed.open(memoryStore(newIdentity()))
  await feed.append([Buffer.from('a')], { durability: 'os' })
  let isProven = false
  const appending = (async () => {
    while (!isProven) await feed.append([Buffer.from('more')], { durability: 'os' })
  })()
  while (feed.length < 20) {
    const { upgrade } = await feed.proof({ upgrade: { start: 0, length: feed.length } })
    if (upgrade === null) t.fail('no head was proven')
  }
  isProven = true
  await appending
  t.ok(feed.length >= 20)
  await feed.close()
})
