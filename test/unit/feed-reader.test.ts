/** A feed that one process reads without the lock, while another one writes it. */
import test, { type Assertions } from 'brittle'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FeedChange } from '../../lib/feed/feed.ts'
import { diskFiles, type FileLayer } from '../../lib/feed/file/file.ts'
import { FeedFolder } from '../../lib/feed/file/feed-folder.ts'
import { FilePool } from '../../lib/feed/file/file-pool.ts'
import { FileStore } from '../../lib/feed/file/file-store.ts'
import { newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { copyBlocks } from '../fixtures/copy-feed.ts'
import { errorOf } from '../fixtures/error-of.ts'

const LENGTH = 40

test('what another process wrote over the blocks of a reader is not handed out', async (t) => {
  const { folder, feed } = await make(t)
  await feed.close()
  const reader = await read(t, folder)
  const other = await read(t, folder)
  t.alike(await reader.readRun(0, 10), blocks(0, 10))
  await rewrite(t, folder, 5)
  const reads: ((feed: StoredFeed) => Promise<unknown>)[] = [
    (reader) => reader.read(20),
    (reader) => reader.readRun(10, 30),
    (reader) => reader.readPacked(10, 30),
    (reader) => reader.proof({ block: { index: 20, nodes: 0 } }),
    (reader) => reader.audit()
  ]
  for (const of of [reader, other]) {
    for (const each of reads) t.is((await errorOf(each(of)))?.code, 'FEED_LOCKED')
  }
  const again = await read(t, folder)
  t.alike(await again.audit(), { blocks: LENGTH, bad: [], head: true })
})

test('what is written over while it is read is not handed out either', async (t) => {
  const { folder, feed } = await make(t)
  const files = new Intercepted('data')
  const reader = await read(t, folder, files.layer)
  files.next = async () => {
    await feed.truncate(5)
    await feed.append(blocks(5, LENGTH, 'other'))
  }
  t.is((await errorOf(reader.readRun(0, LENGTH)))?.code, 'FEED_LOCKED')
  t.is(files.next, null)
})

test('a reader that opens a feed while it is cut finds it as it was or as it is', async (t) => {
  for (const name of ['tree', 'bitfield', 'syncline']) {
    const { folder, feed } = await make(t)
    await feed.append(blocks(LENGTH, LENGTH + 1), { durability: 'os' })
    const files = new Intercepted(name)
    files.next = async () => {
      await feed.truncate(5)
      await feed.append(blocks(5, LENGTH + 1, 'other'))
    }
    const reader = await read(t, folder, files.layer)
    t.is(files.next, null)
    t.alike(await reader.audit(), { blocks: LENGTH + 1, bad: [], head: true }, name)
    t.alike(await reader.readRun(0, LENGTH + 1), [
      ...blocks(0, 5),
      ...blocks(5, LENGTH + 1, 'other')
    ])
  }
})

test('a reader goes on while another process appends', async (t) => {
  const { folder, feed } = await make(t)
  const reader = await read(t, folder)
  for (let i = 0; i < 8; i++) {
    await feed.append(blocks(feed.length, feed.length + 1100), { durability: 'os' })
    if (i % 2 === 0) await feed.flush()
    t.alike(await reader.readRun(0, LENGTH), blocks(0, LENGTH))
    t.alike(await reader.audit(), { blocks: LENGTH, bad: [], head: true })
  }
  await feed.truncate(feed.length - 1)
  await feed.append(blocks(feed.length, feed.length + 1))
})

test('blocks that another process cleared are not held by a reader any more', async (t) => {
  for (const folds of [false, true]) {
    const { folder, feed } = await make(t)
    const reader = await read(t, folder)
    const changes: FeedChange[] = []
    reader.onchange((change) => changes.push(change))
    t.alike(await reader.read(4), blocks(4, 5)[0])
    await feed.clear(3, 6)
    await feed.clear(10, 11)
    if (folds) await feed.flush()
    t.is(await reader.read(4), null)
    t.is((await errorOf(reader.readRun(0, LENGTH)))?.code, 'BLOCK_NOT_AVAILABLE')
    t.alike(await reader.readRun(11, LENGTH), blocks(11, LENGTH))
    t.is((await reader.readPacked(0, LENGTH)).lengths.length, 3)
    t.alike(await reader.audit(), { blocks: LENGTH - 4, bad: [], head: true })
    t.is(reader.contiguousLength, 3)
    t.alike(changes, [
      { type: 'clear', start: 3, end: 6 },
      { type: 'clear', start: 10, end: 11 }
    ])
  }
})

test('a small copy that another process moved out and cleared is read without what it cleared', async (t) => {
  const root = path.join(await t.tmp(), 'store')
  const source = await StoredFeed.open(memoryStore(newIdentity()))
  await source.append(blocks(0, 10))
  const folder = await FeedFolder.open(root)
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy)
  const others = await FeedFolder.open(root, { readOnly: true })
  const reader = await others.openFeed(source.key)
  await copy.clear(3, 6)
  await copy.close()
  t.is(await others.has(newIdentity().key), false, 'it looks at the journal')
  t.alike(await reader.read(7), blocks(7, 8)[0])
  t.is(await reader.read(4), null)
  t.is(reader.contiguousLength, 3)
  await reader.close()
})

test('a feed that another process changed is not written, however much it looks as before', async (t) => {
  const { folder, feed } = await make(t)
  // Such a header stands in a file of its own, at two places in turn.
  await feed.setUserData('large', Buffer.alloc(5000))
  await feed.flush()
  const late = await StoredFeed.open(FileStore.open(folder))
  for (let i = 0; i < 4; i++) {
    await feed.append(blocks(feed.length, feed.length + 1))
    await feed.flush()
  }
  await feed.close()
  t.is((await errorOf(late.append(blocks(0, 1))))?.code, 'FEED_LOCKED')
  await late.close()
  const again = await read(t, folder)
  t.alike(await again.audit(), { blocks: LENGTH + 4, bad: [], head: true })
})

test('a feed of which a block was taken back and another one appended is not written on', async (t) => {
  const { folder, feed } = await make(t)
  await feed.close()
  const files = new Intercepted('oplog', 'sync')
  const first = await StoredFeed.open(FileStore.open(folder, { pool: files.pool }))
  await first.append(blocks(LENGTH, LENGTH + 1))
  let late: StoredFeed | null = null
  files.next = async () => {
    late = await StoredFeed.open(FileStore.open(folder))
    throw new Error('EIO: injected')
  }
  t.is((await errorOf(first.append([Buffer.from('one')])))?.code, 'STORAGE_FAILED')
  await first.close()
  // Ends without having closed the feed, as if it were killed.
  const lockless = new FilePool({ layer: { ...diskFiles, lock: async () => async () => {} } })
  const killed = await StoredFeed.open(FileStore.open(folder, { pool: lockless }))
  t.is(killed.length, LENGTH + 1)
  await killed.append([Buffer.from('two')])
  const open = late as unknown as StoredFeed
  t.is(open.length, LENGTH + 2)
  t.is((await errorOf(open.append([Buffer.from('three')])))?.code, 'FEED_LOCKED')
  await open.close()
  await killed.close()
  const again = await read(t, folder)
  t.alike(await again.audit(), { blocks: LENGTH + 2, bad: [], head: true })
})

/** A feed of 40 blocks in a folder of its own. */
async function make(t: Assertions): Promise<{ folder: string; feed: StoredFeed }> {
  const folder = path.join(await t.tmp(), 'feed')
  const feed = await StoredFeed.open(await FileStore.create(folder, newIdentity()))
  t.teardown(() => feed.close(), { order: -1 })
  await feed.append(blocks(0, LENGTH))
  await feed.flush()
  return { folder, feed }
}

/** As another process reads it. */
async function read(
  t: Assertions,
  folder: string,
  layer: FileLayer = diskFiles
): Promise<StoredFeed> {
  const pool = new FilePool({ layer })
  const reader = await StoredFeed.open(FileStore.open(folder, { pool, readOnly: true }))
  t.teardown(() => reader.close(), { order: -1 })
  return reader
}

async function rewrite(t: Assertions, folder: string, start: number): Promise<void> {
  const script = fileURLToPath(
    new URL(`../fixtures/rewrite-feed${path.extname(import.meta.url)}`, import.meta.url)
  )
  const args = [...process.execArgv, script, folder, String(start)]
  const child = spawn(process.execPath, args, { stdio: 'inherit' })
  t.teardown(() => child.kill('SIGKILL'))
  const [code] = (await once(child, 'exit')) as [number | null]
  t.is(code, 0)
}

/** Files of the disk, and what happens right before the next one of a name is read or synced. */
class Intercepted {
  next: (() => Promise<void>) | null = null
  readonly layer: FileLayer

  constructor(name: string, call: 'read' | 'sync' = 'read') {
    const intercept = async (of: 'read' | 'sync'): Promise<void> => {
      if (of !== call) return
      const { next } = this
      this.next = null
      await next?.()
    }
    this.layer = {
      ...diskFiles,
      open: async (file, access) => {
        const open = await diskFiles.open(file, access)
        if (path.basename(file) !== name) return open
        return {
          read: async (target, position) => {
            await intercept('read')
            return open.read(target, position)
          },
          write: (parts, position) => open.write(parts, position),
          truncate: (size) => open.truncate(size),
          size: () => open.size(),
          sync: async () => {
            await intercept('sync')
            return open.sync()
          },
          punch: (offset, length) => open.punch(offset, length),
          close: () => open.close()
        }
      }
    }
  }

  get pool(): FilePool {
    return new FilePool({ layer: this.layer })
  }
}

function blocks(start: number, end: number, text = 'block'): Uint8Array[] {
  return Array.from({ length: end - start }, (_, i) =>
    Uint8Array.from(Buffer.alloc(20, `${text} ${start + i} `))
  )
}
