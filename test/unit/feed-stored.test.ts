/** What only a feed over a store can show: commits, failures of the store, damage, and reopening. */
import test, { type Assertions } from 'brittle'
import { SynclineError, isSynclineError } from '../../lib/errors.ts'
import { type ChunkBlocks, type FeedChange, HELD } from '../../lib/feed/feed.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import type { Commit, Store, StoreState } from '../../lib/feed/store.ts'
import { blocksFrom, bytesOf, getBlock, headProof } from '../conformance/feed.ts'

/** A store that records commits and reads, fails on demand, and says what a test wants it to say when opened. */
class WatchedStore implements Store {
  readonly inner: Store
  readonly commits: Commit[] = []
  reads = 0
  closes = 0
  failure: Error | null = null
  doubtful: StoreState['doubtful'] = []

  constructor(inner: Store) {
    this.inner = inner
  }

  async open(): Promise<StoreState> {
    return { ...(await this.inner.open()), doubtful: this.doubtful }
  }

  async commit(commit: Commit): Promise<void> {
    // As late as a disk would, so that callers pile up.
    await new Promise((resolve) => setImmediate(resolve))
    if (this.failure !== null) throw this.failure
    this.commits.push(commit)
    await this.inner.commit(commit)
  }

  checked(): void {
    this.inner.checked()
  }

  getNode(index: number): ReturnType<Store['getNode']> {
    this.reads++
    return this.inner.getNode(index)
  }

  getNodeRun(first: number, count: number): Promise<Uint8Array> {
    this.reads++
    return this.inner.getNodeRun(first, count)
  }

  getBytes(offset: number, byteLength: number): Promise<Uint8Array> {
    this.reads++
    return this.inner.getBytes(offset, byteLength)
  }

  free(offset: number, byteLength: number): Promise<void> {
    return this.inner.free(offset, byteLength)
  }

  getUserData(name: string): Promise<Uint8Array | null> {
    return this.inner.getUserData(name)
  }

  flush(): Promise<void> {
    return this.inner.flush()
  }

  close(): Promise<void> {
    this.closes++
    return this.inner.close()
  }
}

async function openWatched(
  t: Assertions,
  key?: Uint8Array
): Promise<{ feed: StoredFeed; store: WatchedStore }> {
  const store = new WatchedStore(memoryStore(key ? identityFromKey(key) : newIdentity()))
  const feed = await StoredFeed.open(store)
  t.teardown(() => feed.close())
  return { feed, store }
}

async function failure(result: Promise<unknown>): Promise<unknown> {
  return result.then(
    () => null,
    (error: unknown) => error
  )
}

test('concurrent appends are signed and written together', async (t) => {
  const { feed, store } = await openWatched(t)
  await Promise.all(Array.from({ length: 50 }, (_, i) => feed.append([bytesOf(i)])))
  t.is(feed.length, 50)
  t.ok(store.commits.length <= 3, `${store.commits.length} commits`)
  const whole = await StoredFeed.open(memoryStore(identityFromKey(feed.key)))
  t.ok((await whole.applyProof(await headProof(feed))).upgraded)
})

test('an append asks for the durability that it was given', async (t) => {
  const { feed, store } = await openWatched(t)
  await feed.append([bytesOf(1)], { durability: 'os' })
  await feed.append([bytesOf(2)])
  await Promise.all([
    feed.append([bytesOf(3)], { durability: 'os' }),
    feed.append([bytesOf(4)], { durability: 'os' })
  ])
  await feed.clear(0, 1)
  await feed.truncate(2)
  t.alike(
    store.commits.map((commit) => commit.durability),
    ['os', 'fsync', 'os', 'fsync', 'fsync']
  )
})

test('a commit that fails leaves the feed as it was', async (t) => {
  const { feed, store } = await openWatched(t)
  await feed.append(blocksFrom(0, 5))
  const { feed: copy, store: copyStore } = await openWatched(t, feed.key)
  store.failure = new SynclineError('DISK_FULL', 'no room')
  copyStore.failure = store.failure
  const changes: unknown[] = []
  feed.onchange((change) => changes.push(change))
  copy.onchange((change) => changes.push(change))
  const proof = await headProof(feed)
  for (const attempt of [
    () => feed.append([bytesOf(5)]),
    () => feed.truncate(2),
    () => feed.clear(0, 3),
    () => feed.forget([1]),
    () => feed.setUserData('name', bytesOf(1)),
    () => copy.applyProof(proof)
  ]) {
    t.ok(isSynclineError(await failure(attempt()), 'DISK_FULL'))
  }
  t.alike([feed.length, feed.fork, feed.contiguousLength], [5, 0, 5])
  t.alike([copy.length, copy.manifest, copy.have.get(0)], [0, null, false])
  t.alike(changes, [])
  store.failure = null
  copyStore.failure = null
  await feed.append([bytesOf(5)])
  t.ok((await copy.applyProof(await headProof(feed))).upgraded)
  t.alike(await feed.audit(), { blocks: 6, bad: [], head: true })
})

test('a chunk is one data run, one node run and one range of bits between held blocks', async (t) => {
  const { feed } = await openWatched(t)
  await feed.append(blocksFrom(0, 32))
  const { feed: copy, store } = await openWatched(t, feed.key)
  await copy.applyProof(await headProof(feed))
  store.commits.length = 0
  const blocks = blocksFrom(0, 32)
  const bytes = new Uint8Array(Buffer.concat(blocks))
  const lengths = Uint32Array.from(blocks, (block) => block.byteLength)
  const offsets = Uint32Array.from(lengths, (_, i) =>
    lengths.subarray(0, i).reduce((a, b) => a + b, 0)
  )
  lengths[0] = HELD
  t.is(await copy.putChunk({ fork: 0, root: 31, bytes, offsets, lengths }), 'stored')
  const [commit] = store.commits
  t.is(store.commits.length, 1)
  t.is(commit?.data?.length, 1)
  t.is(commit?.data?.[0]?.parts.length, 1, 'neighbours in memory are written as one')
  t.is(commit?.data?.[0]?.parts[0]?.buffer, bytes.buffer, 'and are not copied')
  t.alike([commit?.nodeRuns?.length, commit?.nodes], [1, []])
  t.alike(commit?.bits, [{ start: 0, end: 32, drop: false }])
  t.is(commit?.contiguousLength, 32)
})

test('of a small chunk the nodes that are new stand in the log', async (t) => {
  const { feed } = await openWatched(t)
  const blocks = blocksFrom(0, 4)
  await feed.append(blocks)
  const { feed: copy, store } = await openWatched(t, feed.key)
  await copy.applyProof(await headProof(feed))
  store.commits.length = 0
  const bytes = new Uint8Array(Buffer.concat(blocks))
  const lengths = Uint32Array.from(blocks, (block) => block.byteLength)
  const offsets = Uint32Array.from(lengths, (_, i) =>
    lengths.subarray(0, i).reduce((a, b) => a + b, 0)
  )
  lengths[0] = HELD
  t.is(await copy.putChunk({ fork: 0, root: 3, bytes, offsets, lengths }), 'stored')
  const [commit] = store.commits
  t.alike(
    commit?.nodes?.map(({ index }) => index),
    [1, 2, 4, 5, 6]
  )
  t.alike(commit?.nodeRuns, [])
  t.alike(await copy.audit(), { blocks: 4, bad: [], head: true })
})

test('a run is read at once, and the proofs of a run share what they read', async (t) => {
  const { feed, store } = await openWatched(t)
  await feed.append(Array.from({ length: 2048 }, (_, i) => bytesOf(i % 50)))
  store.reads = 0
  await feed.readRun(1024, 2048)
  t.ok(store.reads < 30, `${store.reads} reads for 1,024 blocks`)
  await feed.readRun(0, 64)
  store.reads = 0
  for (let index = 1024; index < 2048; index++)
    await feed.proof({ hash: { index: 2 * index, nodes: 11 } })
  t.ok(store.reads < 64, `${store.reads} reads for 1,024 paths`)
})

test('a feed is the same when it is opened again', async (t) => {
  const store = memoryStore(newIdentity())
  const first = await StoredFeed.open(store)
  await first.append(blocksFrom(0, 21))
  await first.clear(3, 5)
  await first.setUserData('name', bytesOf(9))
  await first.truncate(20)
  const { key, byteLength } = first
  await first.close()
  const again = await StoredFeed.open(store)
  t.teardown(() => again.close())
  t.alike(
    [again.key, again.length, again.byteLength, again.fork, again.contiguousLength, again.writable],
    [key, 20, byteLength, 1, 3, true]
  )
  t.is(again.have.count(0, 30), 18)
  t.alike(await again.getUserData('name'), bytesOf(9))
  await again.append(blocksFrom(20, 25))
  t.alike(await again.audit(), { blocks: 23, bad: [], head: true })
})

test('a compat feed that was learned from its key stays one', async (t) => {
  const writer = await StoredFeed.open(memoryStore(newIdentity({ compat: true })))
  await writer.append(blocksFrom(0, 3))
  const store = memoryStore(identityFromKey(writer.key))
  const copy = await StoredFeed.open(store)
  await copy.applyProof(await headProof(writer))
  await copy.close()
  const again = await StoredFeed.open(store)
  t.ok(again.compat)
  t.is(again.manifest, null)
  t.alike((await again.audit()).head, true)
})

test('doubtful blocks are hashed before they are believed', async (t) => {
  const inner = memoryStore(newIdentity())
  const first = await StoredFeed.open(inner)
  await first.append(Array.from({ length: 40 }, () => new Uint8Array(10).fill(7)))
  await first.close()
  // Two blocks and a node did not reach the disk.
  await inner.free(100, 15)
  await inner.commit({
    nodes: [{ index: 60, size: 0, hash: new Uint8Array(32) }],
    contiguousLength: 40,
    durability: 'os'
  })
  const store = new WatchedStore(inner)
  store.doubtful = [
    [8, 14],
    [28, 40]
  ]
  const again = await StoredFeed.open(store)
  t.teardown(() => again.close())
  t.alike(
    [...again.have.runs(0, 40)],
    [
      [0, 10],
      [12, 30],
      [32, 40]
    ]
  )
  t.is(again.contiguousLength, 10)
  t.alike(await again.audit(), { blocks: 36, bad: [], head: true })
})

test('damage is found, forgotten and mended from elsewhere', async (t) => {
  const source = await StoredFeed.open(memoryStore(newIdentity()))
  await source.append(blocksFrom(1, 65))
  const store = memoryStore(identityFromKey(source.key))
  const first = await StoredFeed.open(store)
  await first.applyProof(await headProof(source))
  for (let index = 0; index < 64; index++) await getBlock(source, first, index)
  await first.close()
  const wrong = new Uint8Array(32).fill(9)
  await store.commit({
    data: [{ offset: 0, parts: [Uint8Array.of(255)] }],
    nodes: [{ index: 39, size: 5, hash: wrong }],
    contiguousLength: 64,
    durability: 'os'
  })
  const copy = await StoredFeed.open(store)
  t.teardown(() => copy.close())
  const { bad, head } = await copy.audit()
  t.ok(head, 'the head does not depend on inner nodes')
  t.ok(bad.includes(0), 'the block with other bytes')
  for (let index = 16; index < 24; index++) t.ok(bad.includes(index), 'blocks below the wrong node')
  t.absent(bad.includes(40), 'blocks far from it are in order')
  await copy.forget(bad)
  t.alike((await copy.audit()).bad, [])
  t.is(copy.have.count(0, 64), 64 - bad.length)
  for (const index of bad) await getBlock(source, copy, index)
  t.alike(await copy.audit(), { blocks: 64, bad: [], head: true })
})

test('an audit finds a wrong signature and stops when it is told to', async (t) => {
  const store = memoryStore(newIdentity())
  const first = await StoredFeed.open(store)
  await first.append(blocksFrom(0, 5))
  await first.close()
  const { head } = await store.open()
  await store.commit({
    head: { ...head, signature: new Uint8Array(head.signature).fill(1, 10, 20), ancestors: 5 },
    contiguousLength: 5,
    durability: 'os'
  })
  const feed = await StoredFeed.open(store)
  t.teardown(() => feed.close())
  t.alike(await feed.audit(), { blocks: 5, bad: [], head: false })
  const reason = new Error('enough')
  t.is(await failure(feed.audit({ signal: AbortSignal.abort(reason) })), reason)
})

test('a head that contradicts the tree is not opened', async (t) => {
  for (const nodes of [
    [{ index: 3, size: 9, hash: new Uint8Array(32).fill(1) }],
    [{ index: 3, size: 0, hash: new Uint8Array(32) }]
  ]) {
    const store = memoryStore(newIdentity())
    const feed = await StoredFeed.open(store)
    await feed.append(blocksFrom(0, 5))
    await feed.close()
    await store.commit({ nodes, contiguousLength: 5, durability: 'os' })
    t.ok(isSynclineError(await failure(StoredFeed.open(store)), 'FEED_DAMAGED'))
  }
})

test('a store whose feed cannot be opened is closed again', async (t) => {
  const inner = memoryStore(newIdentity())
  const feed = await StoredFeed.open(inner)
  await feed.append(blocksFrom(0, 5))
  const nodes = [{ index: 3, size: 9, hash: new Uint8Array(32).fill(1) }]
  await feed.close()
  await inner.commit({ nodes, contiguousLength: 5, durability: 'os' })
  const store = new WatchedStore(inner)
  await failure(StoredFeed.open(store))
  t.is(store.closes, 1)
})

test('chunks that come while something is written are stored together, each with its own result', async (t) => {
  const { feed } = await openWatched(t)
  const blocks = blocksFrom(0, 10)
  await feed.append(blocks)
  const { feed: copy, store } = await openWatched(t, feed.key)
  await copy.applyProof(await headProof(feed))
  store.commits.length = 0
  const chunk = (root: number, start: number, end: number): ChunkBlocks =>
    chunkOf(blocks.slice(start, end), root)
  const changes: FeedChange[] = []
  copy.onchange((change) => changes.push(change))
  const wrong = chunk(7, 0, 8)
  wrong.bytes[3] = 255 ^ (wrong.bytes[3] as number)
  const results = await Promise.all([
    copy.setUserData('busy', bytesOf(1)),
    copy.putChunk(wrong),
    copy.putChunk(chunk(7, 0, 8)),
    copy.putChunk({ ...chunk(7, 0, 8), fork: 1 }),
    copy.putChunk(chunk(17, 8, 10))
  ])
  t.alike(results, [undefined, 'wrong', 'stored', 'stale', 'stored'])
  t.is(store.commits.length, 2, 'the user data and both chunks')
  t.is(store.commits[1]?.data?.length, 1)
  t.alike(store.commits[1]?.bits, [{ start: 0, end: 10, drop: false }])
  t.alike(changes, [{ type: 'have', start: 0, end: 10 }])
  t.alike(await copy.audit(), { blocks: 10, bad: [], head: true })
})

test('chunks that are held are stored together when they are let go, blocks with proofs of their own at once', async (t) => {
  const { feed } = await openWatched(t)
  const blocks = blocksFrom(0, 10)
  await feed.append(blocks)
  const { feed: copy, store } = await openWatched(t, feed.key)
  await copy.applyProof(await headProof(feed))
  const letGo = copy.holdChunks()
  const letGoToo = copy.holdChunks()
  store.commits.length = 0
  const chunks = [
    copy.putChunk(chunkOf(blocks.slice(0, 8), 7)),
    copy.putChunk(chunkOf(blocks.slice(8), 17))
  ]
  const block = { index: 9, nodes: await copy.missingNodes(18) }
  await copy.applyProof(await feed.proof({ block }))
  t.alike([copy.have.get(1), copy.have.get(8), copy.have.get(9)], [false, false, true])
  letGoToo()
  letGoToo()
  await copy.setUserData('other', bytesOf(1))
  t.absent(copy.have.get(1), 'one hold is left')
  letGo()
  t.alike(await Promise.all(chunks), ['stored', 'stored'])
  t.is(store.commits.length, 3, 'the block, the user data, both chunks')
  t.alike(await copy.audit(), { blocks: 10, bad: [], head: true })
})

test('a feed that is closed stores the chunks that were held', async (t) => {
  const { feed } = await openWatched(t)
  const blocks = blocksFrom(0, 8)
  await feed.append(blocks)
  const { feed: copy, store } = await openWatched(t, feed.key)
  await copy.applyProof(await headProof(feed))
  copy.holdChunks()
  store.commits.length = 0
  const held = copy.putChunk(chunkOf(blocks, 7))
  await copy.close()
  t.is(await held, 'stored')
  t.is(store.commits.length, 1)
})

test('a run ends before a block whose leaf is not there, and gives no block in its place', async (t) => {
  const inner = memoryStore(newIdentity())
  const feed = await StoredFeed.open(inner)
  await feed.append(blocksFrom(0, 20))
  await feed.close()
  const leaf = { index: 14, size: 0, hash: new Uint8Array(32) }
  await inner.commit({ nodes: [leaf], contiguousLength: 20, durability: 'os' })
  const again = await StoredFeed.open(inner)
  t.ok(isSynclineError(await failure(again.readRun(2, 12)), 'BLOCK_NOT_AVAILABLE'))
  t.alike(await again.readRun(2, 7), blocksFrom(2, 7))
  t.is((await again.readPacked(2, 12)).lengths.length, 5)
  for (const end of [8, 12]) {
    t.ok(isSynclineError(await failure(again.readRun(7, end)), 'BLOCK_NOT_AVAILABLE'))
    t.ok(isSynclineError(await failure(again.readPacked(7, end)), 'BLOCK_NOT_AVAILABLE'))
  }
  await again.close()
})

test('an empty block is read among others', async (t) => {
  const { feed } = await openWatched(t)
  const blocks = [bytesOf(0), new Uint8Array(0), bytesOf(2), new Uint8Array(0)]
  await feed.append(blocks)
  t.alike((await feed.readRun(0, 4)).map(hex), blocks.map(hex))
})

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function chunkOf(parts: readonly Uint8Array[], root: number): ChunkBlocks {
  const lengths = Uint32Array.from(parts, ({ byteLength }) => byteLength)
  const offsets = Uint32Array.from(lengths, (_, i) =>
    lengths.subarray(0, i).reduce((a, b) => a + b, 0)
  )
  return { fork: 0, root, bytes: new Uint8Array(Buffer.concat(parts)), offsets, lengths }
}
