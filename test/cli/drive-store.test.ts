/** A store that lies in the folder that is shared, mirrored or cloned into. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, symlink } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { clone, plant, serve, stage } from './drive-stage.ts'

test('a share that its store lies in leaves the store out, and tells it', async (t) => {
  const { tmp, store, run } = await stage(t)
  await plant(tmp, { 'a.txt': 'one', 'sub/b.txt': 'two' })
  await run('feed', 'create', 'notes')
  const foreseen = await run('share', tmp, '-n', '--json')
  t.is((JSON.parse(foreseen.text) as { files: number }).files, 2, foreseen.text)
  const first = await run('share', tmp, '--once')
  t.is(first.exit, 0, first.stderr)
  t.ok(first.stderr.includes('/store: a store of syncline'), first.stderr)
  t.is((await readdir(path.join(store, 'drives'))).length, 1, 'its secret key is in there')
  t.alike((await run('ls', '-r', tmp)).text.split('\n').map(lastWord), ['/a.txt', '/sub/b.txt'])
  const again = await run('share', tmp, '--once')
  t.ok(again.text.includes('nothing new'), again.text)
  const status = await run('status', tmp)
  t.ok(/^changes +none$/m.test(status.text), status.text)
})

test('a mirror of the folder that its store lies in ends, and is up to date then', async (t) => {
  const { tmp, run } = await stage(t)
  await plant(tmp, { 'a.txt': 'one', large: new Uint8Array(3_000_000).fill(7) })
  const ended = { signal: AbortSignal.timeout(60_000) }
  const first = await run('mirror', tmp, 'backup', '--json', ended)
  t.is(first.exit, 0, first.stderr)
  const { version } = JSON.parse(first.text) as { version: number }
  t.alike((await run('ls', '-r', 'backup')).text.split('\n').map(lastWord), ['/a.txt', '/large'])
  t.is((await run('mirror', tmp, 'backup', '-n')).text, '', 'nothing is to be done')
  const second = await run('mirror', tmp, 'backup', '--json', ended)
  t.is((JSON.parse(second.text) as { version: number }).version, version, second.text)
  t.is((await run('mirror', tmp, 'other', '-n', '--json')).text.split('\n').length, 2)
})

test('the usual store is left out where another one is named', async (t) => {
  const { tmp, run } = await stage(t)
  const home = path.join(tmp, 'home')
  const env = { HOME: home, XDG_DATA_HOME: path.join(home, 'data') }
  await plant(home, { 'a.txt': 'one', 'data/syncline/primary-key': 'secret', 'data/other': 'x' })
  await run('share', home, '--once', { env })
  t.alike((await run('ls', '-r', home)).text.split('\n').map(lastWord), ['/a.txt', '/data/other'])
})

test('a folder that its store lies in is made equal to a drive, and the store stays', async (t) => {
  const { tmp, store, run } = await stage(t)
  const [dir, target] = [path.join(tmp, 'photos'), path.dirname(store)]
  await plant(dir, { 'a.txt': 'one' })
  t.is((await run('mirror', dir, 'backup')).exit, 0)
  const plan = await run('mirror', 'backup', target, '-n', '--json')
  t.absent(plan.text.includes('/store'), plan.text)
  const made = await run('mirror', 'backup', target, '--max-delete', '100')
  t.is(made.exit, 0, made.stderr)
  t.absent(existsSync(dir), 'what the drive has not is gone')
  t.is((await run('cat', 'backup', 'a.txt')).text, 'one', 'and the store is there')
})

test('what is in a store is neither shared nor cloned into', async (t) => {
  const { tmp, store, run, fails } = await stage(t)
  const dir = path.join(tmp, 'photos')
  await plant(dir, { 'a.txt': 'one' })
  t.is((await run('mirror', dir, 'backup')).exit, 0)
  const { key, peer, shared } = await serve(t, path.join(tmp, 'other'), dir)
  const link = path.join(tmp, 'link')
  await symlink(store, link)
  for (const root of [store, path.join(store, 'drives'), link]) {
    for (const words of [
      ['share', root, '--once'],
      ['share', root, '-n'],
      ['mirror', root, 'backup'],
      ['mirror', root, 'new', '-n'],
      ['mirror', 'backup', root],
      ['mirror', 'backup', root, '-n'],
      ['clone', key, root, '--force', '--no-swarm', '--peer', peer],
      ['clone', key, root, '-n', '--force', '--no-swarm', '--peer', peer]
    ]) {
      t.ok((await fails(6, ...words)).includes(`is in the store ${store}`), words.join(' '))
    }
  }
  t.absent(existsSync(path.join(store, '.syncline')))
  await fails(6, 'clone', key, path.join(store, 'new'), '--no-swarm', '--peer', peer)
  t.absent(existsSync(path.join(store, 'new')), 'nothing is made')
  const beside = path.join(tmp, 'store-beside')
  await mkdir(beside)
  await clone(store, shared.key, peer, beside)
  t.ok(existsSync(path.join(beside, 'a.txt')), 'a folder that is called alike is another one')
})

function lastWord(line: string): string {
  return line.split(/\s+/).at(-1) ?? ''
}
