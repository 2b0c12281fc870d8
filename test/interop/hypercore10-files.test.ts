import test, { type Assertions } from 'brittle'
import { cp, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import Hypercore10 from 'hypercore10'
import { FileStore } from '../../lib/feed/file/file-store.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { createManifest } from '../../lib/feed/manifest.ts'
import { createKeyPair } from '../../lib/feed/signature.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'

const HYPERCORE = 'hypercore 10.38.2'

test(`a feed is written by turns by ${HYPERCORE} and by us`, async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  let next = 0
  const expected: string[] = []
  const more = (count: number): Uint8Array[] =>
    Array.from({ length: count }, () => {
      expected.push(`block ${next}`)
      return Buffer.from(`block ${next++}`)
    })
  for (let turn = 0; turn < 6; turn++) {
    const theirs = await openTheirs(t, folder)
    t.is(theirs.length, expected.length)
    for (let i = 0; i <= turn; i++) await theirs.append(more(1))
    if (turn === 3) {
      await theirs.truncate(5)
      expected.length = 5
      await theirs.append(more(3))
    }
    await theirs.setUserData(`theirs ${turn}`, Buffer.from(`${turn}`))
    t.is(String(await theirs.getUserData(`theirs ${turn}`)), `${turn}`)
    await theirs.close()

    const ours = await openOurs(t, folder)
    t.alike(texts(await ours.readRun(0, ours.length)), expected)
    t.alike([ours.fork, ours.writable, ours.compat], [theirs.fork, true, true])
    t.is(text(await ours.getUserData(`theirs ${turn}`)), `${turn}`)
    await ours.append(more(turn * 100 + 1))
    if (turn === 4) {
      await ours.truncate(40)
      expected.length = 40
      await ours.append(more(2))
    }
    await ours.setUserData(`ours ${turn}`, Buffer.from(`${turn}`))
    t.alike(await ours.audit(), { blocks: expected.length, bad: [], head: true })
    await ours.close()

    const again = await openTheirs(t, folder)
    t.is(again.length, expected.length)
    t.is(again.contiguousLength, expected.length)
    t.is(String(await again.getUserData(`ours ${turn}`)), `${turn}`)
    t.alike(texts([await again.get(again.length - 1)]), expected.slice(-1))
    t.alike(await again.core.audit(), { tree: 0, blocks: 0 })
    await again.close()
  }
})

test(`entries that ${HYPERCORE} has not folded yet are read, and the other way round`, async (t) => {
  const root = await t.tmp()
  const folder = path.join(root, 'theirs')
  const theirs = await openTheirs(t, folder)
  for (let i = 0; i < 7; i++) await theirs.append(Buffer.from(`block ${i}`))
  await theirs.setUserData('name', Buffer.from('value'))
  const copy = path.join(root, 'copy')
  await cp(folder, copy, { recursive: true })
  const ours = await openOurs(t, copy)
  t.is(ours.length, 7)
  t.alike(texts(await ours.readRun(5, 7)), ['block 5', 'block 6'])
  t.is(text(await ours.getUserData('name')), 'value')
  await ours.append([Buffer.from('block 7')])
  await ours.append([Buffer.from('block 8'), Buffer.from('block 9')])
  await ours.clear(3, 4)

  const other = path.join(root, 'other')
  await cp(copy, other, { recursive: true })
  const again = await openTheirs(t, other)
  t.is(again.length, 10)
  t.is(text(await again.get(9)), 'block 9')
  t.is(await again.has(3), false)
  await again.append(Buffer.from('block 10'))
  await again.close()
  const last = await openOurs(t, other)
  t.is(last.length, 11)
  t.is(last.have.get(3), false)
  t.alike((await last.audit()).bad, [])
})

test(`a partial copy of ${HYPERCORE} is continued by us, and ours by it`, async (t) => {
  const root = await t.tmp()
  const source = await openTheirs(t, path.join(root, 'source'))
  await source.append(Array.from({ length: 40 }, (_, i) => Buffer.from(`block ${i}`)))
  const folder = path.join(root, 'copy')
  const copy = await openTheirs(t, folder, source.key)
  await replicate(t, source, copy, async () => {
    for (const index of [0, 7, 8, 33]) await copy.get(index)
  })
  await copy.close()

  const mirror = await StoredFeed.open(
    await FileStore.create(
      path.join(root, 'mirror'),
      newIdentity({ keyPair: keyPairOf(source), compat: true })
    )
  )
  t.teardown(() => mirror.close(), { order: -1 })
  t.alike(mirror.key, Uint8Array.from(source.key), 'the same feed')
  await mirror.append(Array.from({ length: 40 }, (_, i) => Buffer.from(`block ${i}`)))

  const ours = await openOurs(t, folder)
  t.alike(
    [...ours.have.runs(0, 100)],
    [
      [0, 1],
      [7, 9],
      [33, 34]
    ]
  )
  t.is(ours.length, 40)
  for (const index of [1, 20]) {
    const nodes = await ours.missingNodes(2 * index)
    await ours.applyProof(await mirror.proof({ block: { index, nodes } }))
  }
  t.is(text(await ours.read(20)), 'block 20')
  t.alike((await ours.audit()).bad, [])
  await ours.close()

  const again = await openTheirs(t, folder, source.key)
  t.alike([await again.has(20), await again.has(1), await again.has(2)], [true, true, false])
  t.is(text(await again.get(20, { wait: false })), 'block 20')
  await replicate(t, source, again, async () => {
    t.is(text(await again.get(39)), 'block 39')
    await again.get(2)
  })
  await again.close()
  const last = await openOurs(t, folder)
  t.alike(
    [...last.have.runs(0, 100)],
    [
      [0, 3],
      [7, 9],
      [20, 21],
      [33, 34],
      [39, 40]
    ]
  )
  t.alike((await last.audit()).bad, [])
})

test(`feeds of ours are opened by ${HYPERCORE}: compat or not, large headers, only a key`, async (t) => {
  const root = await t.tmp()
  const keyPair = createKeyPair()
  const many = createManifest({
    quorum: 1,
    signers: [keyPair, ...Array.from({ length: 70 }, () => createKeyPair())].map(
      ({ publicKey }) => ({ publicKey })
    )
  })
  const identities = {
    compat: newIdentity({ keyPair, compat: true }),
    manifest: newIdentity({ keyPair }),
    large: newIdentity({ keyPair, manifest: many })
  }
  for (const [name, identity] of Object.entries(identities)) {
    const folder = path.join(root, name)
    const ours = await StoredFeed.open(await FileStore.create(folder, identity))
    for (let i = 0; i < 4; i++) {
      await ours.append([Buffer.from(`${i}`)])
      await ours.flush()
    }
    await ours.close()
    const theirs = await openTheirs(t, folder)
    t.alike(Uint8Array.from(theirs.key), identity.key, name)
    t.is(theirs.length, 4)
    t.is(text(await theirs.get(3)), '3')
    // Appending with many signers needs more than this key pair there.
    if (name !== 'large') await theirs.append(Buffer.from('4'))
    await theirs.setUserData('a', Buffer.from('b'))
    await theirs.setUserData('c', Buffer.from('d'))
    const { length } = theirs
    await theirs.close()
    const again = await openOurs(t, folder)
    t.is(again.length, length, name)
    t.is(text(await again.getUserData('c')), 'd')
    await again.append([Buffer.from('5')])
    await again.close()
    const last = await openTheirs(t, folder)
    t.is(last.length, length + 1)
    await last.close()
  }
  const key = newIdentity().key
  const folder = path.join(root, 'key')
  await (await FileStore.create(folder, identityFromKey(key))).close()
  const theirs = await openTheirs(t, folder)
  t.alike([Uint8Array.from(theirs.key), theirs.length, theirs.writable], [key, 0, false])
})

test(`a feed of ${HYPERCORE} with a log of zeros, or none of it, is damaged and stays as it is`, async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  const theirs = await openTheirs(t, folder)
  await theirs.append(Buffer.from('kept'))
  await theirs.close()
  for (const size of [8192, 100, 0]) {
    await writeFile(path.join(folder, 'oplog'), Buffer.alloc(size))
    const found = FileStore.open(folder)
    t.ok(await found.exists())
    await t.exception(found.open(), /FEED_DAMAGED/)
    await found.close()
    await t.exception(FileStore.create(folder, newIdentity()), /FEED_EXISTS/)
    t.is(text(await readFile(path.join(folder, 'data'))), 'kept')
  }
})

test(`while ${HYPERCORE} has a feed open we do not write it, and the other way round`, async (t) => {
  const folder = path.join(await t.tmp(), 'feed')
  const theirs = await openTheirs(t, folder)
  await theirs.append(Buffer.from('a'))
  const ours = await openOurs(t, folder)
  t.is(text(await ours.read(0)), 'a')
  await t.exception(ours.append([Buffer.from('b')]), /FEED_LOCKED/)
  await theirs.close()
  await ours.append([Buffer.from('b')])
  await t.exception(new Hypercore10(folder).ready(), /ELOCKED/)
  await ours.close()
  const again = await openTheirs(t, folder)
  t.is(again.length, 2)
})

const keyPairs: Map<string, ReturnType<typeof createKeyPair>> = new Map()

/** A hypercore with a key pair that we know too. */
async function openTheirs(t: Assertions, folder: string, key?: Uint8Array): Promise<Hypercore10> {
  const keyPair = createKeyPair()
  const options = key === undefined ? { keyPair: buffers(keyPair) } : {}
  const core = new Hypercore10(folder, key ?? null, options)
  t.teardown(() => core.close(), { order: -1 })
  await core.ready()
  if (Buffer.from(core.key).equals(keyPair.publicKey)) keyPairs.set(hex(core.key), keyPair)
  return core
}

function keyPairOf(core: Hypercore10): ReturnType<typeof createKeyPair> {
  const keyPair = keyPairs.get(hex(core.key))
  if (keyPair === undefined) throw new Error('not made here')
  return keyPair
}

function buffers({ publicKey, secretKey }: ReturnType<typeof createKeyPair>): object {
  return { publicKey: Buffer.from(publicKey), secretKey: Buffer.from(secretKey) }
}

async function openOurs(t: Assertions, folder: string): Promise<StoredFeed> {
  const feed = await StoredFeed.open(FileStore.open(folder))
  t.teardown(() => feed.close(), { order: -1 })
  return feed
}

async function replicate(
  t: Assertions,
  a: Hypercore10,
  b: Hypercore10,
  run: () => Promise<void>
): Promise<void> {
  const [left, right] = [a.replicate(true), b.replicate(false)]
  for (const stream of [left, right]) stream.on('error', () => {})
  left.pipe(right).pipe(left)
  t.teardown(() => left.destroy(), { order: -2 })
  await run()
  left.destroy()
  right.destroy()
}

function text(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString()
}

function texts(blocks: readonly Uint8Array[]): (string | null)[] {
  return blocks.map(text)
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
