import { randomBytes } from 'node:crypto'
import {
  appendFile,
  cp,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  utimes,
  writeFile
} from 'node:fs/promises'
import path from 'node:path'
import test, { type Assertions } from 'brittle'
import { Registry } from '../../lib/drive/registry.ts'
import { inside, storage, type CommandOptions, type Result } from './inside.ts'
import { run, start, type Running } from './program.ts'

const NET = ['--no-swarm', '--listen', '127.0.0.1:0']

type Syncline = (...argv: (string | CommandOptions)[]) => Promise<Result>

/** A folder with a store of its own, and some files that are not new. */
async function source(t: Assertions): Promise<{ dir: string; store: string; syncline: Syncline }> {
  const { folder: store, syncline } = await storage(t)
  const dir = path.join(path.dirname(store), 'photos')
  await mkdir(path.join(dir, 'sub/deep'), { recursive: true })
  await writeFile(path.join(dir, 'one.txt'), 'one\n')
  await writeFile(path.join(dir, 'sub/two.txt'), 'two\n')
  await writeFile(path.join(dir, 'sub/deep/three words.txt'), 'three\n')
  await writeFile(path.join(dir, 'large.bin'), randomBytes(3_000_000))
  await writeFile(path.join(dir, 'empty'), '')
  await symlink('one.txt', path.join(dir, 'link'))
  await mkdir(path.join(dir, 'nothing here'))
  await age(dir)
  return { dir, store, syncline }
}

/** Makes all files an hour old: none is taken as still being written. */
async function age(dir: string): Promise<void> {
  const then = Date.now() / 1000 - 3600
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) await utimes(path.join(entry.parentPath, entry.name), then, then)
  }
}

/** What a folder holds, state left out: contents, modes and times by name. What goes while it is looked at is left out. */
async function tree(dir: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const name of await readdir(dir, { recursive: true })) {
    if (name.split(path.sep)[0] === '.syncline') continue
    const text = await look(path.join(dir, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
      return null
    })
    if (text !== null) found[name] = text
  }
  return found
}

async function look(file: string): Promise<string> {
  const stats = await lstat(file)
  if (stats.isDirectory()) return 'folder'
  if (stats.isSymbolicLink()) return `link ${await readlink(file)}`
  return `${stats.mode & 0o777} ${Math.round(stats.mtimeMs)} ${await readFile(file, 'latin1')}`
}

interface Serving {
  readonly running: Running
  readonly key: string
  readonly address: string
  /** The command for the other side, without its first word. */
  readonly command: readonly string[]
}

/** Starts `share`, and resolves when it tells the command for the other side. */
async function serve(
  t: Assertions,
  store: string,
  dirs: readonly string[],
  flags: readonly string[] = []
): Promise<Serving> {
  const running = start(['share', ...dirs, ...NET, ...flags, '--json', '--storage', store])
  t.teardown(() => running.child.kill('SIGKILL'))
  const [, line = ''] = await running.until(/^(\{"event":"serving".*\})$/m)
  const { key, command } = JSON.parse(line) as { key: string; command: string }
  const [, address = ''] = running.stdout().match(/"address":"([^"]+)"/) ?? []
  return { running, key, address, command: command.split(' ').slice(1) }
}

async function interrupt({ child, ended }: Running): Promise<number | null> {
  child.kill('SIGINT')
  return (await ended).exit
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 50))
}

function lines(result: Result): Record<string, unknown>[] {
  return result.text.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)
}

test('share --once takes a folder in, tells what is left out, and keeps its key', async (t) => {
  const { dir, syncline } = await source(t)
  await writeFile(path.join(dir, '.synclineignore'), '*.log\n/tmp/\n')
  await writeFile(path.join(dir, 'a.log'), '')
  await mkdir(path.join(dir, 'tmp'))
  await age(dir)
  const foreseen = await syncline('share', dir, '-n')
  t.is(foreseen.exit, 0)
  t.ok(foreseen.text.includes('6 files'), foreseen.text)
  t.absent((await readdir(dir)).includes('.syncline'), 'nothing was done')

  const first = await syncline('share', dir, '--once', '--json')
  t.is(first.exit, 0)
  const [record = {}] = lines(first)
  t.is(record['files'], 6)
  t.is(record['added'], 8)
  t.alike(record['ignored'], [
    { file: '/.synclineignore', line: 1, pattern: '*.log', count: 1 },
    { file: '/.synclineignore', line: 2, pattern: '/tmp/', count: 1 }
  ])
  const again = await syncline('share', dir, '--once')
  t.ok(again.text.includes(String(record['key'])), 'the same key')
  t.ok(again.text.includes('nothing new'), again.text)
  t.ok(again.text.includes('1 by /.synclineignore:1:*.log'))
})

test('status tells what an import would do, and which rule ignores a name', async (t) => {
  const { dir, syncline } = await source(t)
  await writeFile(path.join(dir, '.synclineignore'), '# first\n*.log\n')
  await writeFile(path.join(dir, 'sub/a.log'), '')
  await age(dir)
  t.is((await syncline('status', dir)).exit, 3, 'it is not shared yet')
  await syncline('share', dir, '--once')
  t.ok((await syncline('status', dir)).text.includes('none'))

  await writeFile(path.join(dir, 'new'), 'new')
  await appendFile(path.join(dir, 'one.txt'), 'more\n')
  await rm(path.join(dir, 'sub/two.txt'))
  await utimes(path.join(dir, 'large.bin'), 1, 1)
  const status = await syncline('status', path.join(dir, 'sub'), '--ignored')
  t.is(status.exit, 0)
  t.alike(status.text.split('\n').slice(-5), [
    't /large.bin',
    '+ /new',
    '~ /one.txt',
    '- /sub/two.txt',
    '/.synclineignore:2:*.log\t/sub/a.log'
  ])
  const [record = {}, ...changes] = lines(await syncline('status', dir, '--json'))
  t.is(record['kind'], 'share')
  t.alike(
    changes.map(({ type }) => type),
    ['touch', 'add', 'change', 'remove']
  )

  const verified = await syncline('verify', dir)
  t.is(verified.exit, 5)
  t.ok(verified.text.startsWith('edited /one.txt\nmissing /sub/two.txt\n'), verified.text)
  t.ok(verified.stderr.includes('--once takes in'), verified.stderr)
  t.is((await syncline('share', dir, '--once')).exit, 0)
  t.is((await syncline('verify', dir)).exit, 0)
  t.is((await syncline('verify', 'photos')).exit, 0, 'by its name')
  t.is((await syncline('verify', String(record['key']))).exit, 0, 'by its key')
})

test('what looks like a mistake is refused, and the way to go on is told', async (t) => {
  const { dir, syncline } = await source(t)
  const missing = await syncline('share', `${dir}-missing`, '--once')
  t.is(missing.exit, 6)
  t.ok(missing.stderr.includes('FOLDER_MISSING'))
  t.is((await syncline('share', dir, '--once', '--live')).exit, 2)
  t.is((await syncline('share', '--once')).exit, 2, 'no folder is shared yet')

  for (let i = 0; i < 30; i++) await writeFile(path.join(dir, `f${i}`), `${i}`)
  await age(dir)
  await syncline('share', dir, '--once')
  for (let i = 0; i < 20; i++) await rm(path.join(dir, `f${i}`))
  const held = await syncline('share', dir, '--once', '--json')
  t.is(held.exit, 6)
  const [{ heldBack } = {}] = lines(held)
  t.is((heldBack as string[]).length, 20)
  const way = /syncline (share .* --max-delete 20) goes on/.exec(held.stderr)
  t.ok(way !== null, held.stderr)
  const on = await syncline(...(way?.[1] ?? '').split(' '), '--once', '--json')
  t.is(on.exit, 0)
  t.is(lines(on)[0]?.['removed'], 20)

  const aside = `${dir}-aside`
  await mkdir(aside)
  for (const name of await readdir(dir)) {
    if (name !== '.syncline') await rename(path.join(dir, name), path.join(aside, name))
  }
  const empty = await syncline('share', dir, '--once')
  t.is(empty.exit, 6)
  t.ok(empty.stderr.includes('code: REFUSED'), empty.stderr)
})

test('unshare forgets a folder and leaves its files', async (t) => {
  const { dir, syncline } = await source(t)
  const before = await tree(dir)
  t.is((await syncline('unshare', dir)).exit, 3)
  const [{ key } = {}] = lines(await syncline('share', dir, '--once', '--json'))
  const foreseen = await syncline('unshare', dir, '-n')
  t.ok(foreseen.text.includes('would forget'), foreseen.text)
  t.is((await syncline('status', dir)).exit, 0)
  const done = await syncline('unshare', dir)
  t.is(done.exit, 0)
  t.ok(done.text.includes('secret key is gone'), done.text)
  t.absent((await readdir(dir)).includes('.syncline'))
  t.alike(await tree(dir), before)
  t.is((await syncline('status', dir)).exit, 3)
  const [again = {}] = lines(await syncline('share', dir, '--once', '--json'))
  t.not(again['key'], key, 'it is another drive now')
  await rm(dir, { recursive: true })
  t.is((await syncline('unshare', dir)).exit, 0, 'one that was deleted, too')
  t.is((await syncline('share', '--once')).exit, 2, 'and no folder is left')
})

test('a share whose disk is away is not shared anew', async (t) => {
  const { dir, syncline } = await source(t)
  const [{ key } = {}] = lines(await syncline('share', dir, '--once', '--json'))
  await rename(dir, `${dir}-away`)
  await mkdir(dir)
  for (const args of [
    ['share', '--once'],
    ['share', dir, '--once']
  ]) {
    const { exit, stderr } = await syncline(...args)
    t.is(exit, 6, stderr)
    t.alike(await readdir(dir), [], args.join(' '))
  }
  await writeFile(path.join(dir, 'other'), 'of another disk')
  t.is((await syncline('share', '--once')).exit, 6, 'what has another content, neither')
  t.alike(await readdir(dir), ['other'])
  await rm(dir, { recursive: true })
  await rename(`${dir}-away`, dir)
  const back = await syncline('share', '--once', '--json')
  t.is(back.exit, 0, back.stderr)
  t.is(lines(back)[0]?.['key'], key)
})

test('a share keeps its key by whatever path it is called', async (t) => {
  const { dir, store, syncline } = await source(t)
  const keyOf = async (...args: string[]): Promise<unknown> => {
    const result = await syncline('share', ...args, '--once', '--json')
    t.is(result.exit, 0, result.stderr)
    return lines(result)[0]?.['key']
  }
  const link = `${dir}-link`
  await symlink(dir, link, 'junction')
  const key = await keyOf(link)
  t.is(await keyOf(dir), key, 'where the link leads')
  t.is(await keyOf(), key)
  await rename(dir, `${dir}-moved`)
  t.is(await keyOf(`${dir}-moved`), key)
  t.is(await keyOf(), key, 'it is remembered where it is now')

  const drives = new Registry(store)
  await rename(`${dir}-moved`, dir)
  t.is((await drives.list())[0]?.folder, `${dir}-moved`)
  const done = await syncline('unshare', dir)
  t.ok(done.text.includes('secret key is gone'), done.text)
  t.alike(await drives.list(), [])
  t.is((await syncline('share', '--once')).exit, 2, 'no folder is left')

  await keyOf(link)
  t.is((await syncline('unshare', dir)).exit, 0)
  t.alike(await drives.list(), [], 'what was shared by the link')
})

test('a copy of a share is no share, and is forgotten without it', async (t) => {
  const { dir, store, syncline } = await source(t)
  const [{ key } = {}] = lines(await syncline('share', dir, '--once', '--json'))
  const copy = `${dir}-copy`
  await cp(dir, copy, { recursive: true })
  const refused = await syncline('share', copy, '--once')
  t.is(refused.exit, 6)
  t.ok(refused.stderr.includes('is a copy of'), refused.stderr)
  t.is((await syncline('unshare', copy)).exit, 0)
  t.is((await new Registry(store).list())[0]?.folder, dir)
  t.is(lines(await syncline('share', dir, '--once', '--json'))[0]?.['key'], key)
})

test('a folder that lost its state and is shared anew is one share, under its name, too', async (t) => {
  const { dir, syncline } = await source(t)
  const [before = {}] = lines(await syncline('share', dir, '--once', '--json'))
  await rm(path.join(dir, '.syncline'), { recursive: true })
  const [{ key } = {}] = lines(await syncline('share', dir, '--once', '--json'))
  t.not(key, before['key'], 'what was signed with the old key is not known any more')
  const all = await syncline('share', '--once', '--json')
  t.is(all.exit, 0, all.stderr)
  t.alike(
    lines(all).map((record) => record['key']),
    [key]
  )
  const verified = await syncline('verify', 'photos')
  t.is(verified.exit, 0, verified.stderr)
})

test(
  'a clone by the printed command, pulled, edited, verified and repaired',
  { timeout: 200_000 },
  async (t) => {
    const { dir, store } = await source(t)
    const { running, command, key, address } = await serve(t, store, [dir])
    const copy = `${dir}-copy`
    t.is(command[2], copy)
    const cloned = await run(command)
    t.is(cloned.exit, 0, cloned.stderr)
    t.ok(cloned.stdout.toString().includes('5 files, 1 link, 1 empty folder, 3.0 MB'))
    t.alike(await tree(copy), await tree(dir))

    const net = ['--no-swarm', '--peer', address, '--storage', `${store}-copy`]
    const local = ['--storage', `${store}-copy`]
    const nothing = await run(['pull', copy, ...net])
    t.is(nothing.exit, 0, nothing.stderr)
    t.ok(nothing.stdout.toString().includes('nothing new'))
    t.is((await run(['pull', dir, ...net])).exit, 2, 'a share is the source')
    t.is((await inside(['pull', store, ...net])).exit, 3, 'no clone')

    // Edits without a change of the drive stay, and are told.
    await appendFile(path.join(copy, 'one.txt'), 'mine\n')
    await rm(path.join(copy, 'sub/two.txt'))
    await writeFile(path.join(copy, 'own'), 'own')
    const status = await inside(['status', copy, ...local])
    t.alike(status.text.split('\n').slice(-3), ['~ /one.txt', '+ /own', '- /sub/two.txt'])
    t.is((await run(['pull', copy, ...net])).exit, 0)
    t.is(await readFile(path.join(copy, 'one.txt'), 'utf8'), 'one\nmine\n')

    const bad = await inside(['verify', copy, ...local])
    t.is(bad.exit, 5)
    t.ok(bad.text.startsWith('edited /one.txt\nmissing /sub/two.txt\n'), bad.text)
    t.is((await inside(['verify', dir, '--repair', ...net])).exit, 2, 'a share is not repaired')
    const repaired = await run(['verify', copy, '--repair', ...net])
    t.is(repaired.exit, 0, repaired.stderr)
    t.is(await readFile(path.join(copy, 'one.txt'), 'utf8'), 'one\n')
    t.is(await readFile(path.join(copy, 'sub/two.txt'), 'utf8'), 'two\n')
    const trash = await readdir(path.join(copy, '.syncline/trash'))
    const kept = trash.find((name) => name.includes('one.txt')) ?? ''
    t.is(await readFile(path.join(copy, '.syncline/trash', kept), 'utf8'), 'one\nmine\n')
    t.is((await inside(['verify', copy, ...local])).exit, 0)

    // With one, they get a name of their own.
    await writeFile(path.join(copy, 'one.txt'), 'mine again\n')
    await writeFile(path.join(dir, 'one.txt'), 'one anew\n')
    await running.until(/"event":"imported".*"changed":1/)
    const conflict = await run(['pull', copy, ...net])
    t.is(conflict.exit, 1)
    t.ok(conflict.stderr.includes('/one.txt as one.conflict-'), conflict.stderr)
    t.is(await readFile(path.join(copy, 'one.txt'), 'utf8'), 'one anew\n')
    const aside = (await readdir(copy)).find((name) => name.includes('.conflict-')) ?? ''
    t.is(await readFile(path.join(copy, aside), 'utf8'), 'mine again\n')
    const told = await inside(['status', copy, '--json', ...local])
    t.ok(told.text.includes(`{"event":"conflict","name":"/${aside}"}`))

    const refused = await inside(['clone', 'y'.repeat(52), copy, ...net])
    t.is(refused.exit, 6, 'a clone of another drive')
    const forgotten = await inside(['unshare', copy, ...local])
    t.is(forgotten.exit, 0)
    t.is((await inside(['clone', key, copy, ...net])).exit, 6, 'not empty')
    const forced = await run(['clone', key, copy, '--force', '--json', ...net])
    t.is(forced.exit, 0, forced.stderr)
    t.is(await readFile(path.join(copy, 'own'), 'utf8'), 'own', 'what is only here stays')
    t.is(await interrupt(running), 130)
  }
)

test('a live clone follows a live share, until Ctrl-C', { timeout: 120_000 }, async (t) => {
  const { dir, store } = await source(t)
  const { running, command } = await serve(t, store, [dir])
  const copy = `${dir}-copy`
  const live = start([...command, '--live', '--json'])
  t.teardown(() => live.child.kill('SIGKILL'))
  await live.until(/"event":"updated"/)
  const locked = await run(['pull', copy, ...command.slice(3)])
  t.is(locked.exit, 6)
  t.ok(locked.stderr.includes('FEED_LOCKED'), 'one process at a time brings a clone up to date')
  t.is((await run(['unshare', copy, ...command.slice(-2)])).exit, 6)
  t.is((await inside(['status', copy, ...command.slice(-2)])).exit, 0)

  await writeFile(path.join(dir, 'sub/four.txt'), 'four\n')
  await appendFile(path.join(dir, 'one.txt'), 'more\n')
  await rename(path.join(dir, 'large.bin'), path.join(dir, 'sub/moved.bin'))
  const isSame = async (): Promise<boolean> =>
    JSON.stringify(await tree(copy)) === JSON.stringify(await tree(dir))
  await until(isSame)
  t.pass('both folders are the same again')
  await until(async () => running.stderr().includes('cannot be served any more'))
  t.is(await interrupt(live), 130)
  t.is(await interrupt(running), 130)
})

test(
  'share --once --until-peers ends when so many have all; two shares at once',
  { timeout: 120_000 },
  async (t) => {
    const { dir, store } = await source(t)
    const other = `${dir}-2`
    await mkdir(other)
    await writeFile(path.join(other, 'x'), 'x')
    await age(other)
    for (const each of [dir, other]) await inside(['share', each, '--once', '--storage', store])
    const { running, address } = await serve(t, store, [], ['--once', '--until-peers', '1'])
    await running.until(/"serving".*\n.*"serving"/)
    const keys = [...running.stdout().matchAll(/"event":"serving","key":"(\w+)"/g)].map(
      ([, key]) => key as string
    )
    t.is(keys.length, 2)
    const peer = ['--no-swarm', '--peer', address, '--storage', `${store}-copy`]
    const clones = keys.map((key, i) => start(['clone', key, `${store}-c${i}`, '--live', ...peer]))
    for (const { child } of clones) t.teardown(() => child.kill('SIGKILL'))
    t.is((await running.ended).exit, 0)
    t.is(running.stdout().match(/"event":"synced"/g)?.length, 2)
    for (const clone of clones) t.is(await interrupt(clone), 130)
    t.alike(await tree(`${store}-c0`), await tree(dir))
    t.alike(await tree(`${store}-c1`), await tree(other))
    const nobody = await run([
      'share',
      dir,
      '--once',
      '--until-peers',
      '1',
      ...NET,
      '--timeout',
      '1',
      '--storage',
      store
    ])
    t.is(nobody.exit, 4)
  }
)

test(
  'a selection is remembered and added to; a version is stayed at, and left again',
  { timeout: 120_000 },
  async (t) => {
    const { dir, store } = await source(t)
    const { running, key, address } = await serve(t, store, [dir], ['--copy'])
    const copy = `${dir}-part`
    const local = ['--storage', `${store}-part`]
    const net = ['--no-swarm', '--peer', address, ...local]
    const part = await run(['clone', key, copy, '--only', '*.txt', ...net])
    t.is(part.exit, 0, part.stderr)
    t.alike(Object.keys(await tree(copy)).sort(), [
      'one.txt',
      'sub',
      'sub/deep',
      'sub/deep/three words.txt',
      'sub/two.txt'
    ])
    const [status = {}] = lines(await inside(['status', copy, '--json', ...local]))
    t.alike(status['only'], ['*.txt'])
    t.alike(status['missing'], { entries: 0, bytes: 0 })
    const version = Number(status['version'])

    await writeFile(path.join(dir, 'one.txt'), 'one, changed\n')
    await running.until(/"event":"imported".*"changed":1/)
    t.is((await run(['pull', copy, '--only', '/empty', '--at', String(version), ...net])).exit, 0)
    t.is(await readFile(path.join(copy, 'one.txt'), 'utf8'), 'one\n')
    t.is(await readFile(path.join(copy, 'empty'), 'utf8'), '')
    t.ok((await inside(['status', copy, ...local])).text.includes(`at version ${version}`))
    t.is((await run(['pull', copy, '--at', 'newest', ...net])).exit, 0)
    t.is(await readFile(path.join(copy, 'one.txt'), 'utf8'), 'one, changed\n')
    const between = await run(['pull', copy, '--at', String(version - 1), ...net])
    t.is(between.exit, 3, 'no version ends in the midst of an import')
    t.is(await readFile(path.join(copy, 'one.txt'), 'utf8'), 'one, changed\n')
    t.is((await run(['pull', copy, '--at', '4000', '--timeout', '2', ...net])).exit, 3)
    t.is(await interrupt(running), 130)
  }
)

test(
  'an encrypted folder: its files are compared by what the blocks hold',
  { timeout: 120_000 },
  async (t) => {
    const { dir, store, syncline } = await source(t)
    const secret = ['--encryption-key', 'ab'.repeat(32)]
    const { running, key, address, command } = await serve(t, store, [dir], secret)
    const copy = `${dir}-copy`
    const net = ['--no-swarm', '--peer', address, '--storage', `${store}-copy`]
    t.is((await run(['clone', key, `${dir}-blind`, ...net])).exit, 1, 'not without the secret')
    const cloned = await run(command)
    t.is(cloned.exit, 0, cloned.stderr)
    t.alike(await tree(copy), await tree(dir))
    await utimes(path.join(copy, 'large.bin'), 1, 1)
    t.is((await inside(['verify', copy, ...net.slice(-2)])).exit, 0)
    await writeFile(path.join(copy, 'one.txt'), 'eno\n')
    const bad = await inside(['verify', copy, ...net.slice(-2)])
    t.ok(bad.text.startsWith('edited /one.txt\n'), bad.text)
    t.is((await run(['verify', copy, '--repair', ...net])).exit, 0)
    t.alike((await tree(copy))['one.txt'], (await tree(dir))['one.txt'])
    t.is(await interrupt(running), 130)
    await utimes(path.join(dir, 'large.bin'), 1, 1)
    const [{ touched, changed } = {}] = lines(await syncline('share', dir, '--once', '--json'))
    t.alike([touched, changed], [1, 0], 'what is the same is not stored again')
  }
)

test(
  'without a trash many deletions are held back in a clone, until they are allowed',
  { timeout: 120_000 },
  async (t) => {
    const { dir, store, syncline } = await source(t)
    for (let i = 0; i < 30; i++) await writeFile(path.join(dir, `f${i}`), `${i}`)
    await age(dir)
    const first = await serve(t, store, [dir])
    const copy = `${dir}-copy`
    t.is((await run([...first.command, '--no-trash'])).exit, 0)
    t.is(await interrupt(first.running), 130)
    for (let i = 0; i < 20; i++) await rm(path.join(dir, `f${i}`))
    await syncline('share', dir, '--once', '--max-delete', '20')

    const { running, address } = await serve(t, store, [dir])
    const net = ['--no-swarm', '--peer', address, '--storage', `${store}-copy`]
    const live = start([...first.command.slice(0, 3), '--live', '--json', ...net])
    t.teardown(() => live.child.kill('SIGKILL'))
    await live.until(/"heldBack":\["/)
    await writeFile(path.join(dir, 'new'), 'new')
    await live.until(/"event":"updated"[^]*"event":"updated".*"added":1/)
    t.is(live.stdout().match(/"event":"updated"/g)?.length, 2, 'it is told once for each version')
    t.is(await interrupt(live), 130)
    const held = await run(['pull', copy, ...net])
    t.is(held.exit, 6)
    t.ok((await readdir(copy)).includes('f0'))
    t.ok(held.stderr.includes('--max-delete 20 goes on'), held.stderr)
    t.is((await run(['pull', copy, '--max-delete', '20', ...net])).exit, 0)
    t.alike(await tree(copy), await tree(dir))
    t.is(await interrupt(running), 130)
  }
)

test('an empty folder is a drive, too', { timeout: 60_000 }, async (t) => {
  const { folder: store } = await storage(t)
  const dir = `${store}-empty`
  await mkdir(dir)
  const { running, command } = await serve(t, store, [dir])
  const cloned = await run(command)
  t.is(cloned.exit, 0, cloned.stderr)
  t.ok(cloned.stdout.toString().includes('0 files'))
  t.is(await interrupt(running), 130)
})

test('a clone that nobody serves says why, and ends with 4', { timeout: 60_000 }, async (t) => {
  const { store } = await source(t)
  const clone = start([
    ...['clone', 'y'.repeat(52), `${store}-c`, '--no-swarm', '--peer', '127.0.0.1:1'],
    ...['--timeout', '4', '--storage', store]
  ])
  await clone.until(/waiting: 127.0.0.1:1 is unreachable/)
  t.is(clone.child.exitCode, null, 'it says so while it waits')
  const { exit, stderr } = await clone.ended
  t.is(exit, 4)
  t.ok(stderr.includes('code: TIMEOUT'), stderr)
})

test('a clone that is interrupted goes on where it was', { timeout: 120_000 }, async (t) => {
  const { dir, store } = await source(t)
  const { running, command } = await serve(t, store, [dir])
  const copy = `${dir}-copy`
  const first = start([...command, '--limit-down', '1M'])
  await until(async () => {
    const incoming = await readdir(path.join(copy, '.syncline/incoming')).catch(() => [])
    return incoming.some((name) => /^\d+-\d/.test(name))
  })
  t.is(await interrupt(first), 130)
  t.absent((await readdir(copy)).includes('large.bin'), 'nothing half-done under its name')
  t.is((await run(command)).exit, 0)
  t.alike(await tree(copy), await tree(dir))
  t.is(await interrupt(running), 130)
})

test('flags of a clone that do not fit exit with 2', async (t) => {
  const { folder } = await storage(t)
  const key = 'y'.repeat(52)
  const cases: [argv: string[], sentence: RegExp][] = [
    [['clone', 'photos', folder], /is no key/],
    [['clone', key, folder, '--at', 'x'], /--at is a version/],
    [['clone', key, folder, '--keep', 'ever'], /30d/],
    [['clone', key, folder, '--links', 'some'], /inside, all/],
    [['clone', key, folder, '--encryption-key', '12'], /64 hexadecimal/],
    [['clone', key, folder, '--no-trash', '--keep', '3d', ...NET], /exclude/],
    [['clone', key, folder, '--no-swarm'], /no way to any peer/],
    [['share', folder, '--until-peer', 'x'], /public key/]
  ]
  for (const [argv, sentence] of cases) {
    const { exit, stderr } = await inside([...argv, '--storage', folder])
    t.is(exit, 2, argv.join(' '))
    t.ok(sentence.test(stderr), stderr)
  }
})
