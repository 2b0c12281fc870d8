import test, { type Assertions } from 'brittle'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { open, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import type { SynclineError } from '../../lib/errors.ts'
import { diskFiles, type FileLayer } from '../../lib/feed/file/file.ts'
import { FilePool, sharedPool } from '../../lib/feed/file/file-pool.ts'
import { FeedFolder } from '../../lib/feed/file/feed-folder.ts'
import { Journal } from '../../lib/feed/file/journal.ts'
import { Kind, RecordBatch } from '../../lib/feed/file/journal-record.ts'
import { newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import { JOURNAL_WASTE_BYTES, SMALL_FEED_BLOCKS, SMALL_FEED_BYTES } from '../../lib/limits.ts'
import { copyBlocks } from '../fixtures/copy-feed.ts'
import { errorOf } from '../fixtures/error-of.ts'

test('small copies stand together in the journal, without files of their own', async (t) => {
  const { root, folder } = await makeFolder(t)
  const sources = await Promise.all([1, 3, 10, 30].map((count) => sourceOf(count)))
  const copies = await Promise.all(sources.map((source) => folder.addFeed(source.key)))
  await Promise.all(copies.map((copy, i) => copyBlocks(sources[i] as StoredFeed, copy)))
  for (const copy of copies) await copy.close()
  t.alike((await readdir(root)).sort(), ['CORESTORE', 'journal', 'primary-key'])
  t.alike(await readdir(path.join(root, 'journal')), ['log'])

  const again = await FeedFolder.open(root)
  const listed = []
  for await (const { key } of again.list()) listed.push(hex(key))
  t.alike(listed.sort(), sources.map(({ key }) => hex(key)).sort())
  for (const source of sources) {
    const copy = await again.openFeed(source.key)
    t.alike(copy.manifest, source.manifest)
    await isWhole(t, copy, source)
    await copy.close()
  }
})

test('a copy that follows its source stays in the journal while it is small, and moves out when it is not', async (t) => {
  const { root, folder } = await makeFolder(t)
  const source = await sourceOf(0)
  const copy = await folder.addFeed(source.key)
  const step = SMALL_FEED_BYTES / 8
  for (let i = 0; i < 12; i++) {
    await source.append([Buffer.alloc(step, i)])
    await copyBlocks(source, copy)
    t.is(await isThere(folder.folderOf(source.key)), i >= 8, `${i + 1} blocks`)
  }
  await isWhole(t, copy, source)
  await copy.close()
  const again = await (await FeedFolder.open(root)).openFeed(source.key)
  await isWhole(t, again, source)
  await again.close()
  // Nothing is left in the journal.
  t.alike(await readdir(path.join(root, 'journal')), [])
})

test('a copy that is known to be large has its own files from the first block on', async (t) => {
  for (const [blocks, bytes] of [
    [SMALL_FEED_BLOCKS + 1, 10],
    [2, SMALL_FEED_BYTES]
  ] as const) {
    const { folder } = await makeFolder(t)
    const source = await sourceOf(blocks, bytes)
    const copy = await folder.addFeed(source.key)
    await copyBlocks(source, copy, 0, 1)
    t.ok(await isThere(path.join(folder.folderOf(source.key), 'oplog')))
    t.alike(await copy.read(0), await source.read(0))
    await copy.close()
  }
})

test('what only files can hold moves a copy out, and nothing is lost', async (t) => {
  const changes: [string, (copy: StoredFeed) => Promise<unknown>][] = [
    ['clear', (copy) => copy.clear(3, 5)],
    ['user data', (copy) => copy.setUserData('name', Buffer.from('value'))],
    ['forget', (copy) => copy.forget([4])]
  ]
  for (const [name, change] of changes) {
    const { root, folder } = await makeFolder(t)
    const source = await sourceOf(20)
    const copy = await folder.addFeed(source.key)
    await copyBlocks(source, copy)
    await change(copy)
    t.ok(await isThere(folder.folderOf(source.key)), name)
    const before = [...copy.have.runs(0, 20)]
    await copy.close()
    const again = await (await FeedFolder.open(root)).openFeed(source.key)
    t.alike([...again.have.runs(0, 20)], before)
    t.alike((await again.audit()).bad, [])
    await again.close()
  }
})

test('a folder without a journal gives copies their own files, those of the journal with the next write', async (t) => {
  const { root, source, copy } = await halfCopied(t)
  await copy.close()
  const files = await FeedFolder.open(root, { journal: false })
  const again = await files.openFeed(source.key)
  t.is(await isThere(files.folderOf(source.key)), false)
  await copyBlocks(source, again)
  t.ok(await isThere(files.folderOf(source.key)))
  await isWhole(t, again, source)
  await again.close()
  const other = await sourceOf(3)
  const fresh = await files.addFeed(other.key)
  t.ok(await isThere(files.folderOf(other.key)))
  await fresh.close()
})

test('a copy in the journal is removed, and can be added again', async (t) => {
  const { root, folder } = await makeFolder(t)
  const source = await sourceOf(10)
  const kept = await sourceOf(4)
  for (const from of [source, kept]) {
    const copy = await folder.addFeed(from.key, { name: `copy of ${from.length}` })
    await copyBlocks(from, copy)
    t.is((await errorOf(folder.remove(from.key)))?.code, 'FEED_LOCKED', 'it is being written')
    await copy.close()
  }
  await folder.remove(source.key)
  t.is(await folder.has(source.key), false)
  t.is((await errorOf(folder.openByName('copy of 10')))?.code, 'FEED_NOT_FOUND')
  const again = await (await FeedFolder.open(root)).addFeed(source.key)
  t.is(again.length, 0)
  await again.close()
  const rest = await folder.openFeed('copy of 4')
  await isWhole(t, rest, kept)
  await rest.close()
})

test('another process keeps new copies in files, takes over what is not written, and is told who writes', async (t) => {
  const { root, folder } = await makeFolder(t)
  const seed = new Uint8Array(32).fill(7)
  // The source that the other process copies.
  const written = await StoredFeed.open(memoryStore(newIdentity({ seed })))
  await written.append(Array.from({ length: 10 }, (_, i) => Buffer.from(`block ${i}`)))
  const idle = await sourceOf(11)
  const fresh = await sourceOf(12)
  for (const source of [written, idle]) {
    const copy = await folder.addFeed(source.key)
    await copyBlocks(source, copy, 0, 5)
    await copy.close()
  }
  const file = fileURLToPath(new URL('../fixtures/hold-copy.js', import.meta.url))
  const other = spawn(process.execPath, [file, root, hex(seed)], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => other.kill('SIGKILL'))
  await once(other.stdout, 'data')

  const copy = await folder.openFeed(written.key)
  t.is(copy.contiguousLength, 6, 'it can be read')
  const error = await errorOf(copyBlocks(written, copy))
  t.is(error?.code, 'FEED_LOCKED')
  t.is(error?.details.pid, other.pid)
  await copy.close()

  const second = await folder.openFeed(idle.key)
  await copyBlocks(idle, second)
  await isWhole(t, second, idle)
  t.ok(await isThere(path.join(folder.folderOf(idle.key), 'oplog')), 'it has files now')
  await second.close()
  const third = await folder.addFeed(fresh.key)
  await copyBlocks(fresh, third)
  t.ok(await isThere(folder.folderOf(fresh.key)))
  await third.close()

  other.kill('SIGKILL')
  await once(other, 'exit')
  const now = await FeedFolder.open(root)
  for (const source of [written, idle, fresh]) {
    const last = await now.openFeed(source.key)
    await copyBlocks(source, last)
    await isWhole(t, last, source)
    await last.close()
  }
})

test('records that come while a write ends are written, whatever the moment', async (t) => {
  const { root, folder } = await makeFolder(t)
  await folder.createFeed('first').then((feed) => feed.close())
  const journal = new Journal(sharedPool, root)
  t.ok(await journal.enter())
  const add = (): Promise<unknown> => journal.add(newIdentity().key, randomBytes(32))
  for (let turns = 0; turns < 20; turns++) {
    await add()
    for (let i = 0; i < turns; i++) await Promise.resolve()
    await add()
  }
  await journal.leave()
  t.is((await new Journal(sharedPool, root).all()).size, 40)
})

test('a feed that moved out behind our back is not written in the journal any more', async (t) => {
  const { root, folder } = await makeFolder(t)
  const source = await sourceOf(10)
  const other = await sourceOf(2)
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy, 0, 5)
  await copy.close()
  const reader = await folder.openFeed(source.key)
  // As another process does while a third one writes the journal.
  const busy = await FeedFolder.open(root)
  const writer = await busy.addFeed(other.key)
  const second = await (await FeedFolder.open(root)).openFeed(source.key)
  await copyBlocks(source, second)
  await second.close()
  await writer.close()
  t.is((await errorOf(copyBlocks(source, reader)))?.code, 'FEED_LOCKED')
  await reader.close()
  const again = await folder.openFeed(source.key)
  await isWhole(t, again, source)
  await again.close()
})

test('a feed that moved out while this process writes the journal is refused every time', async (t) => {
  const { root, folder, source, copy } = await halfCopied(t)
  await copy.close()
  const writer = await folder.addFeed(newIdentity().key)
  const reader = await folder.openFeed(source.key)
  const other = await (await FeedFolder.open(root)).openFeed(source.key)
  await copyBlocks(source, other, 0, 7)
  for (let i = 0; i < 3; i++) {
    t.is((await errorOf(copyBlocks(source, reader)))?.code, 'FEED_LOCKED')
  }
  t.is(reader.contiguousLength, 5)
  await reader.close()
  await writer.close()
  await other.close()
})

test('whoever writes a feed in the journal goes on, also after another process tried to', async (t) => {
  const { root, folder } = await makeFolder(t)
  const source = await sourceOf(5)
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy, 0, 3)
  const other = await (await FeedFolder.open(root)).openFeed(source.key)
  t.is((await errorOf(copyBlocks(source, other)))?.code, 'FEED_LOCKED')
  await other.close()
  t.is(await isThere(folder.folderOf(source.key)), false)
  await copyBlocks(source, copy)
  await copy.clear(0, 1)
  t.ok(await isThere(folder.folderOf(source.key)))
  await copy.close()
})

test('a damaged record costs what it holds, and no other feed', async (t) => {
  const { root, folder } = await makeFolder(t)
  const sources = await Promise.all([10, 10, 10].map((count) => sourceOf(count)))
  for (const source of sources) {
    const copy = await folder.addFeed(source.key)
    await copyBlocks(source, copy)
    await copy.close()
  }
  const log = path.join(root, 'journal', 'log')
  const bytes = await readFile(log)
  // The first feed has these bytes.
  const at = bytes.indexOf((await (sources[1] as StoredFeed).read(6)) ?? '')
  for (const place of [at, 4]) {
    await flip(log, place)
    const damaged = await FeedFolder.open(root)
    for (const [i, source] of sources.entries()) {
      const copy = await damaged.openFeed(source.key)
      t.is(copy.contiguousLength, i === 0 ? 6 : 10)
      t.alike((await copy.audit()).bad, [])
      await copy.close()
    }
  }
  // What was lost is fetched again.
  const [source] = sources as [StoredFeed]
  const copy = await (await FeedFolder.open(root)).openFeed(source.key)
  await copyBlocks(source, copy)
  await copy.close()
  const last = await (await FeedFolder.open(root)).openFeed(source.key)
  await isWhole(t, last, source)
  await last.close()
})

test('blocks that look like records of a journal do no harm where the record around them is damaged', async (t) => {
  const { root, folder } = await makeFolder(t)
  const source = await sourceOf(3)
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy)
  await copy.close()
  const log = path.join(root, 'journal', 'log')
  // As whoever has no access to the folder can make them, and as a copy of such a file has them.
  const records = new RecordBatch()
  for (let number = 1; number < 20; number++) records.note(Kind.removed, number)
  const forged = Array.from({ length: 8 }, () => [records.bytes, Buffer.alloc(1)]).flat()
  const other = await StoredFeed.open(memoryStore(newIdentity()))
  await other.append([Buffer.concat([...forged, Buffer.alloc(2000)])])
  const second = await folder.addFeed(other.key)
  await copyBlocks(other, second)
  await second.close()
  // The write was torn.
  await truncate(log, (await stat(log)).size - 1000)
  const again = await (await FeedFolder.open(root)).openFeed(source.key)
  await isWhole(t, again, source)
  await again.close()
  const rest = await (await FeedFolder.open(root)).openFeed(other.key)
  t.is(rest.length, 0)
  await rest.close()
})

test('a journal of a later version is refused, and feeds with files are not', async (t) => {
  const { root, folder } = await makeFolder(t)
  const mine = await folder.createFeed('mine')
  await mine.append([Buffer.from('x')])
  await mine.close()
  const source = await sourceOf(3)
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy)
  await copy.close()
  const log = path.join(root, 'journal', 'log')
  const bytes = await readFile(log)
  bytes.writeUInt32LE(99, 16)
  bytes.writeUInt32LE(crc32(bytes.subarray(8, 40)), 4)
  await writeFile(log, bytes)
  const again = await FeedFolder.open(root)
  t.is((await errorOf(again.openFeed(source.key)))?.code, 'UNSUPPORTED')
  t.is((await errorOf(again.addFeed(newIdentity().key)))?.code, 'UNSUPPORTED')
  const opened = await again.openFeed('mine')
  t.is(opened.length, 1)
  await opened.close()
  await again.remove(mine.key)
  t.is(await isThere(folder.folderOf(mine.key)), false)
  t.alike(await readFile(log), bytes)
})

test('a journal of which most is gone is written anew, also below feeds that are being read', async (t) => {
  const { root, folder } = await makeFolder(t)
  const kept = await sourceOf(40, 100)
  const copy = await folder.addFeed(kept.key)
  for (let end = 5; end <= 40; end += 5) await copyBlocks(kept, copy, end - 5, end)
  await copy.close()
  const large = await sourceOf(3, SMALL_FEED_BYTES / 4)
  const log = path.join(root, 'journal', 'log')
  await waste(folder)
  const reader = await folder.openFeed(kept.key)
  const before = (await stat(log)).size
  const next = await (await FeedFolder.open(root)).addFeed(large.key)
  await copyBlocks(large, next)
  const after = (await stat(log)).size
  t.ok(after < before / 10, `${before} -> ${after} bytes`)
  await isWhole(t, reader, kept)
  await next.close()
  await isWhole(t, reader, kept)
  await reader.close()
  const again = await (await FeedFolder.open(root)).openFeed(kept.key)
  await isWhole(t, again, kept)
  await again.close()
})

test('feeds are found and read while the journal is written anew', async (t) => {
  const { root, folder } = await makeFolder(t)
  const kept = await sourceOf(3)
  const copy = await folder.addFeed(kept.key)
  await copyBlocks(kept, copy)
  await copy.close()
  await waste(folder)
  const now = await FeedFolder.open(root)
  const reader = await now.openFeed(kept.key)
  let done = false
  const adding = now.addFeed(newIdentity().key).finally(() => {
    done = true
  })
  let rounds = 0
  for (; !done; rounds++) {
    const [blocks, isStored, again] = await Promise.all([
      errorOf(reader.readRun(0, 3)),
      now.has(kept.key),
      errorOf(now.openFeed(kept.key).then((feed) => feed.close()))
    ])
    if (blocks !== null || !isStored || again !== null) {
      t.fail(`round ${rounds}: ${blocks?.message}, ${isStored}, ${again?.message}`)
      break
    }
  }
  t.ok(rounds > 0)
  await (await adding).close()
  await isWhole(t, reader, kept)
  await reader.close()
})

test('a copy is read on after another process wrote it and the journal anew', async (t) => {
  const { root, folder, source, copy } = await halfCopied(t)
  const other = await FeedFolder.open(root)
  const reader = await other.openFeed(source.key)
  const blocks = await source.readRun(0, 5)
  await copyBlocks(source, copy)
  await copy.close()
  await waste(folder)
  const writer = await (await FeedFolder.open(root)).addFeed(newIdentity().key)
  t.is(await other.has(newIdentity().key), false, 'it looks at the journal')
  t.alike(await Promise.all(blocks.map((_, i) => reader.read(i))), blocks)
  t.is(
    (await errorOf(copyBlocks(source, reader)))?.code,
    'FEED_LOCKED',
    'it is not what was opened'
  )
  await reader.close()
  await writer.close()
})

test('a copy is read on after another process moved it out', async (t) => {
  const { root, folder, source, copy } = await halfCopied(t)
  const other = await FeedFolder.open(root)
  const reader = await other.openFeed(source.key)
  await copyBlocks(source, copy)
  await copy.setUserData('name', Buffer.from('value'))
  await copy.close()
  t.alike(await readdir(path.join(root, 'journal')), [], 'nothing is left in the journal')
  t.is(await other.has(newIdentity().key), false, 'it looks at the journal')
  const blocks = await source.readRun(0, 5)
  t.alike(await Promise.all(blocks.map((_, i) => reader.read(i))), blocks)
  t.is((await errorOf(copyBlocks(source, reader)))?.code, 'FEED_LOCKED')
  await reader.close()
  const again = await folder.openFeed(source.key)
  await isWhole(t, again, source)
  await again.close()
})

test('a copy is written on, in the journal and in files, after that was written anew below it', async (t) => {
  for (const isBusy of [false, true]) {
    const { root, folder } = await makeFolder(t)
    const source = await sourceOf(10)
    const copy = await folder.addFeed(source.key)
    await copyBlocks(source, copy, 0, 5)
    await copy.close()
    await waste(folder)
    const now = await FeedFolder.open(root)
    const opened = await now.openFeed(source.key)
    // As another process that goes on writing the journal.
    const other = await FeedFolder.open(root)
    const writer = isBusy ? await other.addFeed(newIdentity().key) : null
    await copyBlocks(source, opened)
    t.is(await isThere(folder.folderOf(source.key)), isBusy)
    await isWhole(t, opened, source)
    await opened.close()
    const again = await (await FeedFolder.open(root)).openFeed(source.key)
    await isWhole(t, again, source)
    await again.close()
    await writer?.close()
  }
})

test('a record that is damaged while the journal is written does not keep others from it', async (t) => {
  const { root, folder } = await makeFolder(t)
  const source = await sourceOf(3)
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy)
  await copy.close()
  await waste(folder)
  const log = path.join(root, 'journal', 'log')
  await flip(log, (await readFile(log)).indexOf((await source.read(2)) ?? ''))
  const next = await folder.addFeed(newIdentity().key)
  await next.close()
  const again = await folder.openFeed(source.key)
  await copyBlocks(source, again)
  await isWhole(t, again, source)
  await again.close()
})

test('a copy that two processes add at once has one place', async (t) => {
  const { root, folder } = await makeFolder(t)
  const source = await sourceOf(6)
  const writer = await folder.addFeed(newIdentity().key)
  let mine: StoredFeed | null = null
  const layer: FileLayer = {
    ...diskFiles,
    async makeFolder(name) {
      // The other one has looked for it and not made anything yet.
      if (name.includes('cores') && mine === null) {
        mine = await folder.addFeed(source.key)
        await copyBlocks(source, mine, 0, 3)
      }
      return diskFiles.makeFolder(name)
    }
  }
  const other = await FeedFolder.open(root, { pool: new FilePool({ layer }) })
  const theirs = await other.addFeed(source.key)
  if (mine === null) return t.fail('the other process made no files')
  t.is((await errorOf(copyBlocks(source, theirs)))?.code, 'FEED_LOCKED')
  await theirs.close()
  const copy: StoredFeed = mine
  await copyBlocks(source, copy, 3, 5)
  await copy.close()
  await writer.close()
  const again = await (await FeedFolder.open(root)).openFeed(source.key)
  t.is(again.contiguousLength, 5)
  await again.close()
})

test('a record that could not be written as a whole is taken back, also for whoever saw it', async (t) => {
  const { root, folder: reader } = await makeFolder(t)
  const [first, second] = [await sourceOf(12), await sourceOf(9, 77)]
  const writes = new Writes()
  const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: writes.layer }) })
  const [copy, other] = [await folder.addFeed(first.key), await folder.addFeed(second.key)]
  await copyBlocks(first, copy, 0, 3)
  writes.after = async () => {
    t.ok(await reader.has(first.key))
    throw noRoom()
  }
  t.is((await errorOf(copyBlocks(first, copy, 0, 4)))?.code, 'DISK_FULL')
  // Other records stand there then.
  await copyBlocks(second, other)
  await copyBlocks(first, copy, 5, 9)
  await copy.close()
  await other.close()
  const again = await reader.openFeed(first.key)
  t.alike([...again.have.runs(0, 12)], [...copy.have.runs(0, 12)])
  await copyBlocks(first, again)
  await again.close()
  const last = await (await FeedFolder.open(root)).openFeed(first.key)
  await isWhole(t, last, first)
  await last.close()
})

test('a copy is not written on after a commit that was seen was taken back', async (t) => {
  const { root, folder: others } = await makeFolder(t)
  const source = await sourceOf(12)
  const writes = new Writes()
  const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: writes.layer }) })
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy, 0, 3)
  let late: StoredFeed | null = null
  writes.after = async () => {
    late = await others.openFeed(source.key)
    throw noRoom()
  }
  t.is((await errorOf(copyBlocks(source, copy, 3, 4)))?.code, 'DISK_FULL')
  await copyBlocks(source, copy, 5, 6)
  await copy.close()
  if (late === null) return t.fail('nobody opened it')
  const open: StoredFeed = late
  t.is((await errorOf(copyBlocks(source, open, 8, 9)))?.code, 'FEED_LOCKED')
  await open.close()
  const again = await others.openFeed(source.key)
  t.alike(
    [...again.have.runs(0, 12)],
    [
      [0, 3],
      [5, 6]
    ]
  )
  await copyBlocks(source, again)
  await isWhole(t, again, source)
  await again.close()
})

test('a copy that is added twice at a time is there for both or for none', async (t) => {
  const { root, folder: prepared } = await makeFolder(t)
  await prepared.createFeed('first').then((feed) => feed.close())
  const source = await sourceOf(3)
  const writes = new Writes()
  const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: writes.layer }) })
  const second = new Promise<SynclineError | null>((resolve) => {
    writes.after = async () => {
      const adding = folder.addFeed(source.key).then((copy) => copyBlocks(source, copy))
      resolve(errorOf(adding))
      for (let turns = 0; turns < 10; turns++) await new Promise((next) => setImmediate(next))
      throw noRoom()
    }
  })
  t.is((await errorOf(folder.addFeed(source.key)))?.code, 'DISK_FULL')
  const isThere = (await second) === null
  t.is(await (await FeedFolder.open(root)).has(source.key), isThere)
})

test('a copy that is being removed cannot be written any more', async (t) => {
  const { root, folder: prepared } = await makeFolder(t)
  const source = await sourceOf(5)
  const copy = await prepared.addFeed(source.key)
  await copyBlocks(source, copy, 0, 3)
  await copy.close()
  const writes = new Writes()
  const folder = await FeedFolder.open(root, { pool: new FilePool({ layer: writes.layer }) })
  const opened = await folder.openFeed(source.key)
  const removing = new Promise((resolve) => {
    writes.after = async () => resolve(await errorOf(copyBlocks(source, opened)))
  })
  await folder.remove(source.key)
  t.is(((await removing) as SynclineError | null)?.code, 'FEED_LOCKED')
  await opened.close()
  t.is(await folder.has(source.key), false)
})

test('a folder that is only read changes nothing', async (t) => {
  const { root, source, copy } = await halfCopied(t)
  await copy.close()
  const log = await readFile(path.join(root, 'journal', 'log'))
  const readOnly = await FeedFolder.open(root, { readOnly: true })
  const again = await readOnly.openFeed(source.key)
  t.is(again.contiguousLength, 5)
  t.is((await errorOf(copyBlocks(source, again)))?.code, 'INVALID_OPERATION')
  await again.close()
  t.alike(await readFile(path.join(root, 'journal', 'log')), log)
})

test('keys that are imported give a copy of the journal files of its own', async (t) => {
  const { root, folder } = await makeFolder(t)
  const elsewhere = await makeFolder(t)
  const mine = await elsewhere.folder.createFeed('mine')
  await mine.append([Buffer.from('a'), Buffer.from('b')])
  const copy = await folder.addFeed(mine.key)
  await copyBlocks(mine, copy)
  await copy.close()
  await mine.close()
  for await (const keys of elsewhere.folder.exportKeys()) await folder.importKeys(keys)
  const again = await (await FeedFolder.open(root)).openFeed(mine.key)
  t.ok(again.writable)
  t.is(again.length, 2)
  await again.append([Buffer.from('c')])
  await again.close()
})

test('a feed of which a copy stands in the journal cannot be made anew', async (t) => {
  const { folder } = await makeFolder(t)
  const { keyPair, manifest } = newIdentity()
  if (keyPair === null || manifest === null) throw new Error('a new identity has both')
  const source = await StoredFeed.open(memoryStore(newIdentity({ keyPair, manifest })))
  await source.append([Buffer.from('a'), Buffer.from('b')])
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy)
  await copy.close()
  const error = await errorOf(folder.createFeed('mine', { keyPair, manifest }))
  t.is(error?.code, 'FEED_EXISTS')
  const again = await folder.openFeed(source.key)
  await isWhole(t, again, source)
  await again.close()
})

test('what is kept of a copy that moved out while another process writes the journal is found again', async (t) => {
  for (const blocks of [0, 2]) {
    const { root, folder } = await makeFolder(t)
    const elsewhere = await makeFolder(t)
    const mine = await elsewhere.folder.createFeed('mine')
    if (blocks > 0) await mine.append(Array.from({ length: blocks }, () => Buffer.from('x')))
    const copy = await folder.addFeed(mine.key)
    if (blocks > 0) await copyBlocks(mine, copy)
    await copy.close()
    await mine.close()
    const busy = await (await FeedFolder.open(root)).addFeed(newIdentity().key)
    for await (const keys of elsewhere.folder.exportKeys()) await folder.importKeys(keys)
    const now = await FeedFolder.open(root)
    const writable = []
    for await (const entry of now.list()) if (entry.writable) writable.push(hex(entry.key))
    t.alike(writable, [hex(mine.key)])
    const exported = []
    for await (const { key } of now.exportKeys()) exported.push(hex(key))
    t.alike(exported, [hex(mine.key)])
    const again = await now.openFeed(mine.key)
    t.ok(again.writable)
    t.is(again.length, blocks)
    await again.setUserData('name', Buffer.from('value'))
    await again.close()
    const last = await now.openFeed(mine.key)
    t.alike(Buffer.from((await last.getUserData('name')) ?? ''), Buffer.from('value'))
    await last.close()
    await busy.close()
  }
})

test('a feed that moved out is removed from the journal, too, whatever was known of that', async (t) => {
  const { root, folder } = await makeFolder(t)
  const source = await sourceOf(5)
  t.is(await folder.has(source.key), false)
  // As other processes do: one adds it and goes on writing the journal, another one moves it out.
  const busy = await FeedFolder.open(root)
  const copy = await busy.addFeed(source.key)
  await copyBlocks(source, copy)
  await copy.close()
  const writer = await busy.addFeed(newIdentity().key)
  const moved = await (await FeedFolder.open(root)).openFeed(source.key)
  await moved.setUserData('name', Buffer.from('value'))
  await moved.close()
  await writer.close()
  await folder.remove(source.key)
  t.is(await folder.has(source.key), false)
  t.is(await (await FeedFolder.open(root)).has(source.key), false)
})

/** Files of the disk, and what happens right after the next write to a journal. */
class Writes {
  after: (() => Promise<void>) | null = null
  readonly layer: FileLayer = {
    ...diskFiles,
    open: async (name, access) => {
      const file = await diskFiles.open(name, access)
      if (!name.endsWith(path.join('journal', 'log'))) return file
      return {
        read: (target, position) => file.read(target, position),
        write: async (parts, position) => {
          await file.write(parts, position)
          const { after } = this
          this.after = null
          await after?.()
        },
        truncate: (size) => file.truncate(size),
        size: () => file.size(),
        sync: () => file.sync(),
        punch: (offset, length) => file.punch(offset, length),
        close: () => file.close()
      }
    }
  }
}

function noRoom(): Error {
  return Object.assign(new Error('ENOSPC: injected'), { code: 'ENOSPC' })
}

async function makeFolder(t: Assertions): Promise<{ root: string; folder: FeedFolder }> {
  const root = path.join(await t.tmp(), 'store')
  return { root, folder: await FeedFolder.open(root) }
}

/** A feed in memory of blocks that all differ. */
async function sourceOf(count: number, bytes = 100): Promise<StoredFeed> {
  const source = await StoredFeed.open(memoryStore(newIdentity()))
  const blocks = Array.from({ length: count }, (_, i) => Buffer.alloc(bytes, `block ${i} `))
  if (count > 0) await source.append(blocks)
  return source
}

/** A folder with a copy of the first half of a feed of ten blocks. */
async function halfCopied(t: Assertions): Promise<{
  root: string
  folder: FeedFolder
  source: StoredFeed
  copy: StoredFeed
}> {
  const { root, folder } = await makeFolder(t)
  const source = await sourceOf(10)
  const copy = await folder.addFeed(source.key)
  await copyBlocks(source, copy, 0, 5)
  return { root, folder, source, copy }
}

/** Fills the journal with records that do not count any more, so that the next one who writes it does so anew. */
async function waste(folder: FeedFolder): Promise<void> {
  const held = await folder.addFeed(newIdentity().key)
  const source = await sourceOf(3, SMALL_FEED_BYTES / 4)
  const log = path.join(folder.root, 'journal', 'log')
  while ((await stat(log)).size <= JOURNAL_WASTE_BYTES) {
    const copy = await folder.addFeed(source.key)
    await copyBlocks(source, copy)
    await copy.close()
    await folder.remove(source.key)
  }
  await held.close()
}

async function isWhole(t: Assertions, copy: StoredFeed, source: StoredFeed): Promise<void> {
  t.is(copy.contiguousLength, source.length)
  t.alike(await copy.readRun(0, source.length), await source.readRun(0, source.length))
  t.alike(await copy.audit(), { blocks: source.length, bad: [], head: true })
}

async function isThere(file: string): Promise<boolean> {
  return (await stat(file).catch(() => null)) !== null
}

async function flip(file: string, position: number): Promise<void> {
  const handle = await open(file, 'r+')
  const byte = new Uint8Array(1)
  await handle.read(byte, 0, 1, position)
  await handle.write(Uint8Array.of((byte[0] as number) ^ 0xff), 0, 1, position)
  await handle.close()
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
