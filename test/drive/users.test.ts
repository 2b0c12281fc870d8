/** One drive that several parts of a program use in one synchronizer. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assertions } from 'brittle'
import {
  Drive,
  memory,
  SynclineError,
  Synchronizer,
  type CloneSession,
  type SharedFolder
} from '../../lib/index.ts'

const SOON = { timeoutMs: 20_000 }

interface Stage {
  readonly dir: string
  readonly source: Synchronizer
  readonly shared: SharedFolder
  /** Writes a file into the share that the clone of another synchronizer must receive. */
  readonly arrives: (name: string) => Promise<void>
}

async function connect(from: Synchronizer, to: Synchronizer): Promise<void> {
  const [address = ''] = await to.listen(0, '127.0.0.1')
  await from.connect('127.0.0.1', Number(address.split(':')[1]))
}

/** A share that is cloned and followed elsewhere. */
async function stage(t: Assertions): Promise<Stage> {
  const tmp = await t.tmp()
  const [dir, copy] = [path.join(tmp, 'dir'), path.join(tmp, 'copy')]
  await mkdir(dir)
  await writeFile(path.join(dir, 'first'), 'first')
  const [source, reader] = [0, 1].map(() => new Synchronizer({ storage: memory() })) as [
    Synchronizer,
    Synchronizer
  ]
  for (const sync of [source, reader]) t.teardown(() => sync.close())
  const shared = await source.share(dir, { rescanMs: 500 })
  await connect(reader, source)
  const clone: CloneSession = reader.add(shared.key, { drive: copy })
  await clone.synced(SOON)
  const arrives = async (name: string): Promise<void> => {
    const updated = new Promise((resolve) => clone.once('updated', resolve))
    await writeFile(path.join(dir, name), name)
    await updated
    t.is(await readFile(path.join(copy, name), 'utf8'), name)
  }
  return { dir, source, shared, arrives }
}

test('users: a share outlives who reads it as a drive', { timeout: 60_000 }, async (t) => {
  const { source, shared, arrives } = await stage(t)
  const drive = await Drive.open(source, shared.key)
  t.is((await drive.get('/first'))?.toString(), 'first')
  const other = await Drive.open(source, shared.key)
  await drive.close()
  t.is((await other.get('/first'))?.toString(), 'first', 'another drive, too')
  await other.close()
  await arrives('after a drive')

  const session = source.add(shared.key, { drive: true })
  await session.ready()
  await session.close()
  await session.close()
  await arrives('after a session')
  await shared.close()
  t.ok(shared.folder.indexSession.closed, 'nobody else has it')
})

test('users: a folder is shared once', { timeout: 60_000 }, async (t) => {
  const { dir, source, arrives } = await stage(t)
  try {
    await source.share(dir)
    t.fail('it is shared already')
  } catch (error) {
    t.is((error as SynclineError).code, 'FEED_LOCKED')
  }
  await arrives('after it was refused')
})

test('users: a drive is in one folder of a synchronizer', { timeout: 60_000 }, async (t) => {
  const { dir, source, shared, arrives } = await stage(t)
  const clone = source.add(shared.key, { drive: `${dir}-clone` })
  try {
    await clone.ready()
    t.fail('the feeds are open with another store')
  } catch (error) {
    t.is((error as SynclineError).code, 'FEED_LOCKED')
  }
  await clone.close()
  await arrives('after it was refused')
})
