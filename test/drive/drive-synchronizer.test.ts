import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import test, { type Assertions } from 'brittle'
import {
  CloneSession,
  DriveSession,
  isSynclineError,
  memory,
  SynclineError,
  Synchronizer,
  type DriveProgress,
  type FeedSession,
  type SynchronizerOptions
} from '../../lib/index.ts'

const SOON = { timeoutMs: 20_000 }

function open(t: Assertions, options: SynchronizerOptions = { storage: memory() }): Synchronizer {
  const sync = new Synchronizer(options)
  t.teardown(() => sync.close())
  return sync
}

async function connect(from: Synchronizer, to: Synchronizer): Promise<void> {
  const [address = ''] = await to.listen(0, '127.0.0.1')
  await from.connect('127.0.0.1', Number(address.split(':')[1]))
}

test('synchronizer: a folder is shared, cloned and followed', { timeout: 60_000 }, async (t) => {
  const tmp = await t.tmp()
  const [photos, copy] = [path.join(tmp, 'photos'), path.join(tmp, 'copy')]
  await mkdir(photos)
  await writeFile(path.join(photos, 'a.txt'), 'one')
  const source = open(t, { storage: path.join(tmp, 'store') })
  const shared = await source.share(photos, { rescanMs: 500 })
  t.is(shared.folder.index.version, 2)

  const reader = open(t)
  await connect(reader, source)
  const clone: CloneSession = reader.add(shared.key, { drive: copy })
  t.is(reader.add(shared.key, { drive: copy }), clone, 'added again it is the same')
  const phases = new Set<DriveProgress['phase']>()
  const watching = (async () => {
    for await (const { phase } of clone.progress) phases.add(phase)
  })()
  const report = await clone.synced(SOON)
  await watching
  t.ok(phases.has('done'))
  t.is(report.added, 1)
  t.is(await readFile(path.join(copy, 'a.txt'), 'utf8'), 'one')
  await shared.synced({ peers: 1, ...SOON })
  const drive = await clone.drive()
  t.alike(await drive.get('/a.txt'), Buffer.from('one'))

  await writeFile(path.join(photos, 'b.txt'), 'two')
  const updated = await new Promise<number>((resolve) =>
    clone.on('updated', ({ version }) => resolve(version))
  )
  t.ok(updated > report.version)
  t.is(await readFile(path.join(copy, 'b.txt'), 'utf8'), 'two')
  await clone.close()
  await t.exception(clone.synced(SOON), /SESSION_CLOSED/)
  t.not(reader.add(shared.key, { drive: copy }), clone, 'closed it can be added again')
})

test(
  'synchronizer: a drive without a folder is read and seeded',
  { timeout: 60_000 },
  async (t) => {
    const tmp = await t.tmp()
    const photos = path.join(tmp, 'photos')
    await mkdir(photos)
    await writeFile(path.join(photos, 'a.txt'), 'one')
    const source = open(t)
    const shared = await source.share(photos, { live: false })
    const middle = open(t)
    await connect(middle, source)
    const session: DriveSession = middle.add(shared.key, { drive: true })
    t.is(middle.add(shared.key, { drive: true }), session)
    await session.synced(SOON)
    t.alike(await session.drive.get('/a.txt'), Buffer.from('one'))
    await source.close()

    const reader = open(t)
    await connect(reader, middle)
    const last = reader.add(session.key, { drive: path.join(tmp, 'last') })
    await last.synced(SOON)
    t.is(await readFile(path.join(tmp, 'last', 'a.txt'), 'utf8'), 'one', 'from the seeder')
  }
)

test('synchronizer: its storage is of no share, though it lies in the folder', async (t) => {
  const root = await t.tmp()
  await writeFile(path.join(root, 'a.txt'), 'one')
  const sync = open(t, { storage: path.join(root, 'data') })
  await (await sync.create('notes')).append(Buffer.from('a note'))
  const shared = await sync.share(root, { live: false })
  const { catalog } = shared.folder
  t.alike(
    Array.from(catalog.rows(), ([name]) => name),
    ['/a.txt']
  )
  await t.exception(sync.share(path.join(root, 'data/drives')), /REFUSED/)
})

test('synchronizer: what cannot be opened is told by the session', async (t) => {
  const tmp = await t.tmp()
  await writeFile(path.join(tmp, 'mine.txt'), 'mine')
  const sync = open(t)
  const key = 'y'.repeat(51) + 'o'
  const clone = sync.add(key, { drive: tmp })
  await t.exception(clone.ready(), /REFUSED/)
  await t.exception(clone.synced(), /REFUSED/)
  await t.exception(sync.share(path.join(tmp, 'nothing')), /FOLDER_MISSING/)
  await t.exception(async () => sync.add('short', { drive: true }), /BAD_KEY/)
  const feed: FeedSession = sync.add(key)
  await t.exception(sync.add(key, { drive: true }).synced({ timeoutMs: 100 }), /TIMEOUT/)
  t.is(feed.length, 0)
})

test('synchronizer: drives that cannot be closed leave nothing open', async (t) => {
  const tmp = await t.tmp()
  const store = path.join(tmp, 'store')
  const source = new Synchronizer({ storage: store })
  const [address = ''] = await source.listen(0, '127.0.0.1')
  const dirs = [path.join(tmp, 'a'), path.join(tmp, 'b')]
  for (const dir of dirs) {
    await mkdir(dir)
    const { folder } = await source.share(dir, { live: false })
    folder.catalog.save = async () => {
      throw new SynclineError('DISK_FULL', `no room in ${dir}`)
    }
  }
  const logs = await source.create('logs')
  await t.exception(source.close(), /DISK_FULL: no room in .*a$/)
  t.ok(logs.closed)
  const other = open(t, { storage: store })
  await t.exception(other.connect('127.0.0.1', Number(address.split(':')[1])), /CONNECTION_FAILED/)
  for (const dir of dirs) await other.share(dir, { live: false })
  await (await other.open('logs')).append('the locks are free')
})

test('synchronizer: a listener that throws does not fail its clone', async (t) => {
  const uncaught: string[] = []
  const note = (error: Error): void => {
    uncaught.push(error.message)
  }
  process.on('uncaughtException', note)
  t.teardown(() => process.off('uncaughtException', note))
  const tmp = await t.tmp()
  const [photos, copy] = [path.join(tmp, 'photos'), path.join(tmp, 'copy')]
  await mkdir(photos)
  await writeFile(path.join(photos, 'a.txt'), 'one')
  const source = open(t)
  const { key } = await source.share(photos, { live: false })
  const reader = open(t)
  await connect(reader, source)
  const clone = reader.add(key, { drive: copy })
  clone.on('updated', () => {
    throw new Error('updated')
  })
  const failures: Error[] = []
  clone.on('failed', (error) => failures.push(error))
  t.is((await clone.synced(SOON)).added, 1)
  await clone.close()
  t.alike(failures, [])
  t.alike(uncaught, ['updated'])
})

/** How an iteration over progress ended: its error's code, or `done`. */
async function endOf(progress: AsyncIterable<DriveProgress>): Promise<string> {
  try {
    for await (const _ of progress);
    return 'done'
  } catch (error) {
    return isSynclineError(error) ? error.code : String(error)
  }
}

test('synchronizer: a clone that failed ends its progress, and begins anew', async (t) => {
  const tmp = await t.tmp()
  const [photos, copy] = [path.join(tmp, 'photos'), path.join(tmp, 'copy')]
  await mkdir(photos)
  await mkdir(copy)
  await writeFile(path.join(photos, 'a.txt'), 'one')
  await writeFile(path.join(copy, 'mine.txt'), 'mine')
  const source = open(t)
  const encryptionKey = randomBytes(32)
  const { key } = await source.share(photos, { live: false, encryptionKey })
  const reader = open(t)
  await connect(reader, source)

  const refused = reader.add(key, { drive: copy })
  t.is(await endOf(refused.progress), 'REFUSED')
  t.is(await endOf(refused.progress), 'REFUSED', 'whoever comes later hears of it, too')
  t.is(refused.failure?.code, 'REFUSED')
  await rm(path.join(copy, 'mine.txt'))

  const locked = reader.add(key, { drive: copy, encryptionKey: randomBytes(32) })
  t.not(locked, refused)
  t.is(await endOf(locked.progress), 'ENCRYPTED')
  const clone = reader.add(key, { drive: copy, encryptionKey })
  t.not(clone, locked)
  t.is(reader.add(key, { drive: copy }), clone, 'what does not fail stays')
  t.is((await clone.synced(SOON)).added, 1)
  t.is(await endOf(clone.progress), 'done')
  t.is(await readFile(path.join(copy, 'a.txt'), 'utf8'), 'one')

  const closing = clone.close()
  const next = reader.add(key, { drive: copy, encryptionKey })
  t.not(next, clone, 'one that is being closed is over')
  t.is((await next.synced(SOON)).added, 0)
  await closing
  t.is(reader.add(key, { drive: copy }), next)
})

test('synchronizer: a drive whose key was wrong is added again with the right one', async (t) => {
  const photos = path.join(await t.tmp(), 'photos')
  await mkdir(photos)
  await writeFile(path.join(photos, 'a.txt'), 'one')
  const source = open(t)
  const encryptionKey = randomBytes(32)
  const { key } = await source.share(photos, { live: false, encryptionKey })
  const reader = open(t)
  await connect(reader, source)
  const locked = reader.add(key, { drive: true, encryptionKey: randomBytes(32) })
  await t.exception(locked.ready(), /ENCRYPTED/)
  const session = reader.add(key, { drive: true, encryptionKey })
  t.not(session, locked)
  await session.synced(SOON)
  t.alike(await session.drive.get('/a.txt'), Buffer.from('one'))
  t.is(reader.add(key, { drive: true }), session)

  const closing = session.close()
  const next = reader.add(key, { drive: true, encryptionKey })
  t.not(next, session, 'one that is being closed is over')
  await next.synced(SOON)
  t.alike(await next.drive.get('/a.txt'), Buffer.from('one'))
  await closing
  t.is(reader.add(key, { drive: true }), next)
})

test('synchronizer: a folder is not the clone of two drives', async (t) => {
  const tmp = await t.tmp()
  const sync = open(t)
  const first = sync.add('y'.repeat(51) + 'o', { drive: path.join(tmp, 'copy') })
  const other = 'o'.repeat(51) + 'o'
  const add = (): CloneSession => sync.add(other, { drive: path.join(tmp, 'copy') })
  await t.exception(async () => add(), /REFUSED/)
  await first.ready()
  await t.exception(async () => add(), /REFUSED/)
  await first.close()
  await t.exception(add().ready(), /REFUSED/)
})

test('synchronizer: importing the library loads neither hyperswarm nor hypercore', async (t) => {
  const index = new URL('../../lib/index.ts', import.meta.url).pathname
  const built = index.replace(/\.ts$/, '.js')
  const script = `
    import { createRequire } from 'node:module'
    import { existsSync } from 'node:fs'
    await import(existsSync(${JSON.stringify(built)}) ? ${JSON.stringify(built)} : ${JSON.stringify(index)})
    console.log(Object.keys(createRequire(import.meta.url).cache).join('\\n'))
  `
  const args = [...process.execArgv, '--input-type=module', '-e', script]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: path.dirname(index) })
  t.ok(stdout.includes('node_modules'), 'what is loaded is seen')
  t.absent(/node_modules\/(hyperswarm|hyperdht|hypercore|hyperdrive|hyperbee)\//.test(stdout))
})
