import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile
} from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { treeOf } from '../drive/folders.ts'
import { plant, serve, share, stage } from './drive-stage.ts'

const NOBODY = 65_534

test('a folder is mirrored into a drive of the store, and its versions are kept', async (t) => {
  const { tmp, store, run, fails } = await stage(t)
  const dir = path.join(tmp, 'photos')
  await plant(dir, { 'a.txt': 'one', 'sub/b.txt': 'two', empty: null })
  const plan = await run('mirror', dir, 'backup', '-n', '--json')
  t.alike(
    plan.text.split('\n').map((line) => JSON.parse(line) as object),
    [
      { name: '/a.txt', action: 'add', bytes: 3 },
      { name: '/empty', action: 'add', bytes: 0 },
      { name: '/sub/b.txt', action: 'add', bytes: 3 }
    ]
  )
  t.absent(existsSync(store), 'a dry run makes nothing')

  const first = await run('mirror', dir, 'backup', '--json')
  t.is(first.exit, 0, first.stderr)
  const { key, version } = JSON.parse(first.text) as { key: string; version: number }
  t.absent(existsSync(path.join(dir, '.syncline')), 'the source is left as it is')
  await plant(dir, { 'a.txt': 'changed', 'c.txt': 'new' })
  await rm(path.join(dir, 'sub/b.txt'))
  const changes = await run('mirror', dir, key, '-n', '--json')
  t.is(changes.text.split('\n').length, 4, changes.text)
  const second = await run('mirror', dir, key, '--json')
  t.alike(
    { ...(JSON.parse(second.text) as object), version: 0 },
    { event: 'mirrored', key, version: 0, added: 2, changed: 1, touched: 0, removed: 1 }
  )
  const again = JSON.parse((await run('mirror', dir, 'backup', '--json')).text) as object
  t.alike(
    { ...again, version: 0 },
    { event: 'mirrored', key, version: 0, added: 0, changed: 0, touched: 0, removed: 0 }
  )
  t.is((await run('verify', 'backup')).exit, 0)
  await rename(dir, path.join(tmp, 'away'))
  t.is((await run('cat', 'backup', 'a.txt')).text, 'changed', 'it needs no source')
  t.is((await run('cat', key, 'a.txt', '--at', String(version))).text, 'one')
  t.is((await run('cat', 'backup', 'sub/b.txt', '--at', String(version))).text, 'two')

  await fails(6, 'mirror', dir, 'backup')
  await mkdir(dir)
  t.ok((await fails(6, 'mirror', dir, 'backup')).includes('is empty'))
  t.is((await run('cat', 'backup', 'a.txt')).text, 'changed')
  t.ok((await fails(2, 'mirror', path.join(tmp, 'away'), dir)).includes('syncline share'))
  t.ok((await fails(2, 'mirror', path.join(tmp, 'away'), './new')).includes('both are folders'))
  await share(store, path.join(tmp, 'away'))
  t.ok((await fails(2, 'mirror', dir, 'away')).includes('shared folder'))
})

test('-n reads files of which nothing but the contents can tell whether they changed', async (t) => {
  const { tmp, store, run } = await stage(t)
  const [dir, shared] = [path.join(tmp, 'src'), path.join(tmp, 'shared')]
  for (const root of [dir, shared]) await plant(root, { 'a.txt': 'one', 'b.txt': 'two' })
  await run('mirror', dir, 'backup')
  await share(store, shared)
  for (const root of [dir, shared]) {
    await writeFile(path.join(root, 'a.txt'), 'one')
    await writeFile(path.join(root, 'b.txt'), 'TWO')
  }
  t.alike((await run('mirror', dir, 'backup', '-n')).text.split('\n'), [
    't      3 B  /a.txt',
    '~      3 B  /b.txt'
  ])
  t.ok((await run('share', shared, '-n')).text.endsWith(': 1 changed, 1 touched'))
  // As after a copy of the folder: all of it is read, and nothing changed.
  for (const root of [dir, shared]) {
    await plant(root, { 'a.txt': 'one', 'b.txt': 'two' })
    await rename(path.join(root, 'a.txt'), path.join(root, 'aside'))
    await plant(root, { 'a.txt': 'one' })
    await rm(path.join(root, 'aside'))
  }
  t.is((await run('mirror', dir, 'backup', '-n')).text, '')
  t.ok((await run('share', shared, '-n')).text.endsWith(': nothing new'))
})

test(
  'what is no file is told of, and no failure',
  { skip: process.platform === 'win32' },
  async (t) => {
    const { tmp, store, run } = await stage(t)
    const dir = path.join(tmp, 'src')
    await plant(dir, { 'a.txt': 'one' })
    execFileSync('mkfifo', [path.join(dir, 'pipe')])
    const mirrored = await run('mirror', dir, 'backup')
    t.is(mirrored.exit, 0)
    t.ok(mirrored.stderr.includes('/pipe: no file, folder or link'), mirrored.stderr)
    await share(store, dir)
    t.ok((await run('status', dir)).stderr.includes('/pipe: no file, folder or link'))
  }
)

test('too many deletes are held back, and the rest is taken in', async (t) => {
  const { tmp, run } = await stage(t)
  const dir = path.join(tmp, 'many')
  const files = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`${i}.txt`, `${i}`]))
  await plant(dir, files)
  t.is((await run('mirror', dir, 'many')).exit, 0)
  for (let i = 0; i < 12; i++) await rm(path.join(dir, `${i}.txt`))
  await plant(dir, { 'new.txt': 'new' })
  const held = await run('mirror', dir, 'many')
  t.is(held.exit, 6)
  t.ok(held.stderr.includes('--max-delete 12'), held.stderr)
  t.is((await run('ls', 'many')).text.split('\n').length, 21)
  t.is((await run('mirror', dir, 'many', '--max-delete', '12')).exit, 0)
  t.is((await run('ls', 'many')).text.split('\n').length, 9)
})

test('a folder is made equal to a drive: extras and edits go to the trash', async (t) => {
  const { tmp, run, fails } = await stage(t)
  const dir = path.join(tmp, 'source')
  const large = randomBytes(2_000_000)
  await plant(dir, {
    'a.txt': 'one',
    'sub/b.txt': 'two',
    'large.bin': large,
    empty: null,
    same: 's'
  })
  await symlink('a.txt', path.join(dir, 'link'))
  const { version } = JSON.parse((await run('mirror', dir, 'drive', '--json')).text) as {
    version: number
  }
  const to = path.join(tmp, 'to')
  await plant(to, {
    'a.txt': 'mine',
    'extra/x.txt': 'extra',
    same: 's',
    'ignored.tmp': 'i',
    '.synclineignore': '*.tmp\n'
  })
  const plan = await run('mirror', 'drive', to, '-n', '--json')
  const actions = plan.text
    .split('\n')
    .map((line) => JSON.parse(line) as { name: string; action: string })
  t.alike(
    actions.map(({ name, action }) => `${action} ${name}`),
    [
      'remove /.synclineignore',
      'check /a.txt',
      'add /empty',
      'remove /extra/x.txt',
      'add /large.bin',
      'add /link',
      'check /same',
      'add /sub/b.txt'
    ].map((line) => line.replace('check /a.txt', 'change /a.txt'))
  )
  t.absent(existsSync(path.join(to, '.syncline')))
  const first = await run('mirror', 'drive', to)
  t.is(first.exit, 0, first.stderr)
  t.alike((await readdir(to)).sort(), [
    '.syncline',
    'a.txt',
    'empty',
    'ignored.tmp',
    'large.bin',
    'link',
    'same',
    'sub'
  ])
  t.is(await readFile(path.join(to, 'a.txt'), 'utf8'), 'one')
  t.ok((await readFile(path.join(to, 'large.bin'))).equals(large))
  const trash = await readdir(path.join(to, '.syncline', 'trash'))
  t.is(trash.length, 3, trash.join(' '))

  // Edits of all kinds are taken back.
  await writeFile(path.join(to, 'large.bin'), 'edited')
  await rm(path.join(to, 'sub'), { recursive: true })
  await rm(path.join(to, 'empty'), { recursive: true })
  await utimes(path.join(to, 'same'), 1, 1)
  await writeFile(path.join(to, 'new.txt'), 'new')
  const second = await run('mirror', 'drive', to)
  t.is(second.exit, 0, second.stderr)
  t.ok((await readFile(path.join(to, 'large.bin'))).equals(large))
  t.is(await readFile(path.join(to, 'sub/b.txt'), 'utf8'), 'two')
  t.ok(existsSync(path.join(to, 'empty')))
  t.is((await stat(path.join(to, 'same'))).mtimeMs, 1_700_000_000_000)
  t.absent(existsSync(path.join(to, 'new.txt')))

  await plant(dir, { 'a.txt': 'newer' })
  await rm(path.join(dir, 'same'))
  t.is((await run('mirror', dir, 'drive')).exit, 0)
  t.is((await run('mirror', 'drive', to)).exit, 0)
  t.is(await readFile(path.join(to, 'a.txt'), 'utf8'), 'newer')
  t.absent(existsSync(path.join(to, 'same')))
  t.is((await run('mirror', 'drive', to, '--at', String(version))).exit, 0)
  t.is(await readFile(path.join(to, 'a.txt'), 'utf8'), 'one')
  t.is(await readFile(path.join(to, 'same'), 'utf8'), 's')
  await fails(3, 'mirror', 'drive', to, '--at', '99')
  await fails(6, 'mirror', 'nowhere', to)
  t.ok(existsSync(path.join(to, 'same')), 'nothing was done')
  t.is((await run('cat', 'drive', 'a.txt')).text, 'newer', 'the drive is still the mirror')
})

test('-n holds back no deletes of files that are here under other names', async (t) => {
  const { tmp, store, run } = await stage(t)
  const [dir, shared] = [path.join(tmp, 'src'), path.join(tmp, 'shared')]
  const files = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`a/${i}`, `file ${i}`]))
  const twins = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`${i}`, `file ${i}`]))
  for (const root of [dir, shared]) await plant(root, files)
  t.is((await run('mirror', dir, 'drive')).exit, 0)
  await share(store, shared)
  const sharing = ['share', shared, '--once']
  const mirroring = ['mirror', dir, 'drive']
  const agree = async (exit: number): Promise<void> => {
    for (const command of [sharing, mirroring]) {
      const foreseen = await run(...command, '-n')
      t.is(foreseen.exit, exit, foreseen.stderr)
      t.is((await run(...command)).exit, exit, command[0])
    }
  }
  for (const root of [dir, shared]) await rename(path.join(root, 'a'), path.join(root, 'b'))
  await agree(0)
  for (const root of [dir, shared]) await plant(path.join(root, 'twins'), twins)
  await agree(0)
  for (const root of [dir, shared]) await rm(path.join(root, 'b'), { recursive: true })
  await agree(0)
  for (const root of [dir, shared]) {
    await rm(path.join(root, 'twins'), { recursive: true })
    await plant(root, Object.fromEntries(Object.keys(twins).map((name) => [name, `none ${name}`])))
  }
  await agree(6)
})

test(
  'what keeps a folder from being equal to a drive is told by its name',
  { skip: process.getuid === undefined },
  async (t) => {
    const { tmp, run } = await stage(t)
    const dir = path.join(tmp, 'source')
    await plant(dir, { 'a.txt': 'one', 'sub/b.txt': 'two' })
    t.is((await run('mirror', dir, 'drive')).exit, 0)
    const to = path.join(tmp, 'to')
    t.is((await run('mirror', 'drive', to)).exit, 0)
    await plant(to, { 'a.txt': 'mine', 'sub/b.txt': 'edited', 'sub/x.txt': 'x', 'sub/y': null })
    await chmod(path.join(to, 'sub'), 0o555)
    t.teardown(() => chmod(path.join(to, 'sub'), 0o755), { order: -1 })
    const held = await asUser(tmp, () => run('mirror', 'drive', to))
    t.is(held.exit, 1, held.stderr)
    for (const name of ['/sub/b.txt', '/sub/x.txt', '/sub/y']) {
      t.ok(held.stderr.includes(`${name} is left out: `), name)
    }
    t.is(await readFile(path.join(to, 'a.txt'), 'utf8'), 'one', 'the rest is done')
    await chmod(path.join(to, 'sub'), 0o755)
    const done = await asUser(tmp, () => run('mirror', 'drive', to))
    t.is(done.exit, 0, done.stderr)
    t.alike(await readdir(path.join(to, 'sub')), ['b.txt'])
    t.is(await readFile(path.join(to, 'sub/b.txt'), 'utf8'), 'two')
  }
)

/** Runs something as a user who owns a folder and is held back by modes: root is not. */
async function asUser<T>(folder: string, run: () => Promise<T>): Promise<T> {
  if (process.getuid?.() !== 0) return run()
  execFileSync('chown', ['-R', String(NOBODY), folder])
  process.seteuid?.(NOBODY)
  try {
    return await run()
  } finally {
    process.seteuid?.(0)
  }
}

test('a folder is made equal to a drive where files and folders took each other’s places', async (t) => {
  const { tmp, run } = await stage(t)
  const dir = path.join(tmp, 'source')
  await plant(dir, {
    file: 'f',
    'file in a link': 'l',
    'other/a': 'a',
    'folder/a': 'a',
    'folder/sub/b': 'b',
    'linked/a': 'a',
    'full/empty': null,
    empty: null
  })
  t.is((await run('mirror', dir, 'drive')).exit, 0)
  const to = path.join(tmp, 'to')
  t.is((await run('mirror', 'drive', to)).exit, 0)
  for (const name of ['file', 'file in a link', 'folder', 'linked', 'full', 'empty']) {
    await rm(path.join(to, name), { recursive: true })
  }
  await mkdir(path.join(to, 'file/sub/none'), { recursive: true })
  await plant(to, { 'file/sub/a': '1', 'file/b': '2', folder: '3', full: '4', empty: '5' })
  await mkdir(path.join(to, 'file in a link'))
  await mkdir(path.join(tmp, 'outside'))
  await writeFile(path.join(tmp, 'outside/a'), 'outside')
  await symlink('../outside', path.join(to, 'linked'))
  const equal = await run('mirror', 'drive', to, '--max-delete', '100')
  t.is(equal.exit, 0, equal.stderr)
  t.alike(treeOf(to), treeOf(dir))
  t.alike(await readdir(path.join(tmp, 'outside')), ['a'], 'nothing outside was touched')
  t.is((await run('verify', to)).exit, 0)
  t.is((await readdir(path.join(to, '.syncline/trash'))).length, 6)
})

test('a folder is made equal to a drive of peers; the deletes of many files are held back', async (t) => {
  const { tmp, run } = await stage(t)
  const dir = path.join(tmp, 'source')
  await plant(dir, { 'a.txt': 'one', 'b/c.bin': randomBytes(300_000) })
  const { key, peer } = await serve(t, path.join(tmp, 'other'), dir)
  const to = path.join(tmp, 'to')
  const files = Object.fromEntries(Array.from({ length: 15 }, (_, i) => [`${i}.txt`, `${i}`]))
  await plant(to, files)
  const held = await run('mirror', key, to, '--peer', peer)
  t.is(held.exit, 6)
  t.ok(held.stderr.includes('--max-delete 15'), held.stderr)
  t.is(await readFile(path.join(to, 'a.txt'), 'utf8'), 'one')
  t.ok(existsSync(path.join(to, '3.txt')))
  const done = await run('mirror', key, to, '--peer', peer, '--max-delete', '15', '--no-trash')
  t.is(done.exit, 0, done.stderr)
  t.alike((await readdir(to)).sort(), ['.syncline', 'a.txt', 'b'])
  t.is((await run('ls', 'to')).exit, 0, 'it can be read like a clone')
})

test('mirror without a trash is for one time', async (t) => {
  const { tmp, run } = await stage(t)
  const dir = path.join(tmp, 'source')
  await plant(dir, { 'a.txt': 'one' })
  t.is((await run('mirror', dir, 'drive')).exit, 0)
  const to = path.join(tmp, 'to')
  t.is((await run('mirror', 'drive', to, '--no-trash')).exit, 0)
  t.alike(await readdir(path.join(to, '.syncline/trash')).catch(() => []), [])
  await plant(to, { 'mine.txt': 'mine', 'a.txt': 'edited' })
  const again = await run('mirror', 'drive', to)
  t.is(again.exit, 0, again.stderr)
  t.alike(treeOf(to), treeOf(dir))
  t.is((await readdir(path.join(to, '.syncline/trash'))).length, 2, 'both are kept')
})

test('a drive whose index alone is here is mirrored from its peers', async (t) => {
  const { tmp, run } = await stage(t)
  const dir = path.join(tmp, 'source')
  await plant(dir, { 'a.txt': 'one', 'b.bin': randomBytes(100_000) })
  const { key, peer } = await serve(t, path.join(tmp, 'other'), dir)
  const pulled = await run(
    ...['sync', key, '--mode', 'pull', '--feed-only', '--no-swarm', '--peer', peer]
  )
  t.is(pulled.exit, 0, pulled.stderr)
  const to = path.join(tmp, 'to')
  const mirrored = await run('mirror', key, to, '--peer', peer, '--timeout', '20')
  t.is(mirrored.exit, 0, mirrored.stderr)
  t.alike(treeOf(to), treeOf(dir))
})
