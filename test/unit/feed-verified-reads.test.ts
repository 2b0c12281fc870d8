/** Reads of a feed whose bytes others may change. */
import test, { type Assertions } from 'brittle'
import { isSynclineError, SynclineError } from '../../lib/errors.ts'
import type { FeedChange } from '../../lib/feed/feed.ts'
import { newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import type { Store } from '../../lib/feed/store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { blocksFrom, bytesOf } from '../conformance/feed.ts'

interface Doubted {
  readonly feed: StoredFeed
  readonly bad: [start: number, end: number][]
  readonly changes: FeedChange[]
  /** What becomes of the bytes that are read. */
  spoil: (bytes: Uint8Array, offset: number) => Uint8Array
}

/** A feed of 40 blocks over a store that somebody else writes to. */
async function doubted(t: Assertions): Promise<Doubted> {
  const inner = memoryStore(newIdentity())
  const getBytes = inner.getBytes.bind(inner)
  const store: Store = Object.assign(inner, {
    getBytes: async (offset: number, byteLength: number) =>
      result.spoil(await getBytes(offset, byteLength), offset)
  })
  const bad: [number, number][] = []
  const feed = await StoredFeed.open(store, {
    verifyReads: true,
    onbad: (start, end) => bad.push([start, end])
  })
  t.teardown(() => feed.close())
  await feed.append(blocksFrom(0, 40))
  const changes: FeedChange[] = []
  feed.onchange((change) => changes.push(change))
  const result: Doubted = { feed, bad, changes, spoil: (bytes) => bytes }
  return result
}

/** Byte offset of a block of {@link blocksFrom}. */
function offsetOf(block: number): number {
  return blocksFrom(0, block).reduce((sum, { byteLength }) => sum + byteLength, 0)
}

async function isAbsent(result: Promise<unknown>): Promise<boolean> {
  return result.then(
    () => false,
    (error: unknown) => isSynclineError(error, 'BLOCK_NOT_AVAILABLE')
  )
}

/** Turns a bit of the byte at `place` of the feed whenever it is read. */
function flipped(place: number): Doubted['spoil'] {
  return (bytes, offset) => {
    const at = place - offset
    if (at >= 0 && at < bytes.byteLength) bytes[at] = 1 ^ (bytes[at] as number)
    return bytes
  }
}

test('a block that is not what it was is forgotten and never handed out', async (t) => {
  const asked: ((feed: StoredFeed) => Promise<unknown>)[] = [
    async (feed) => t.is(await feed.read(7), null),
    async (feed) => t.ok(await isAbsent(feed.readRun(2, 20))),
    async (feed) => t.ok(await isAbsent(feed.readPacked(7, 20))),
    async (feed) => t.is((await feed.readPacked(2, 20)).lengths.length, 5),
    async (feed) => t.ok(await isAbsent(feed.proof({ block: { index: 7, nodes: 2 } })))
  ]
  for (const ask of asked) {
    const it = await doubted(t)
    it.spoil = flipped(offsetOf(7))
    await ask(it.feed)
    t.alike(it.bad, [[7, 8]])
    t.alike(it.changes, [{ type: 'forget', start: 7, end: 8 }])
    t.is(it.feed.contiguousLength, 7)
    t.is(it.feed.have.count(0, 40), 39)
    t.alike(await it.feed.readRun(8, 40), blocksFrom(8, 40))
    t.alike(await it.feed.read(6), bytesOf(6))
  }
})

test('blocks whose bytes are gone are forgotten together', async (t) => {
  const it = await doubted(t)
  it.spoil = (bytes, offset) => {
    if (offset + bytes.byteLength <= offsetOf(30)) return bytes
    throw new SynclineError('FEED_DAMAGED', 'the file ends there')
  }
  t.ok(await isAbsent(it.feed.readRun(0, 40)))
  t.alike(it.bad, [[30, 40]])
  t.alike(it.changes, [{ type: 'forget', start: 30, end: 40 }])
  t.alike(await it.feed.readRun(0, 30), blocksFrom(0, 30))
})

test('bytes that were on the move while they were read are read again', async (t) => {
  const it = await doubted(t)
  it.spoil = (bytes, offset) => {
    it.spoil = (same) => same
    return flipped(offsetOf(7))(bytes, offset)
  }
  t.alike(await it.feed.readRun(0, 40), blocksFrom(0, 40))
  t.alike(it.bad, [])
  t.is(it.feed.contiguousLength, 40)
})

test('a store that fails is no proof of bad blocks', async (t) => {
  const it = await doubted(t)
  it.spoil = () => {
    throw new SynclineError('STORAGE_FAILED', 'the disk sleeps')
  }
  const error = await it.feed.read(3).catch((error: unknown) => error)
  t.ok(isSynclineError(error, 'STORAGE_FAILED'))
  t.alike(it.bad, [])
  t.ok(it.feed.have.get(3))
})
