import test from 'brittle'
import fs from 'node:fs'
import { isSynclineError } from '../../lib/errors.ts'
import { EXACT_NAMES, FileNames } from '../../lib/drive/folder/file-names.ts'
import { type SystemCalls, systemCalls } from '../../lib/drive/folder/system-calls.ts'
import { conflictPath, Target, type TargetOptions } from '../../lib/drive/folder/target.ts'
import { Trash } from '../../lib/drive/folder/trash.ts'

interface Folders {
  readonly root: string
  /** Beside the root: nothing may ever come there. */
  readonly outside: string
}

function failingCopy(...args: unknown[]): void {
  const done = args.at(-1) as (error: Error) => void
  done(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }))
}

function refuse(): never {
  throw Object.assign(new Error('EPERM'), { code: 'EPERM' })
}

async function folders(t: { tmp(): Promise<string> }): Promise<Folders> {
  const base = fs.realpathSync(await t.tmp())
  for (const name of ['root', 'outside']) fs.mkdirSync(`${base}/${name}`)
  return { root: `${base}/root`, outside: `${base}/outside` }
}

function open(root: string, options: Partial<TargetOptions> = {}): Target {
  return new Target(root, { names: new FileNames(EXACT_NAMES), ...options })
}

function text(root: string, path: string): string {
  return fs.readFileSync(`${root}/${path}`, 'utf8')
}

/** A finished file among the incoming ones. */
function incoming(root: string, content: string): string {
  const path = `${root}/.syncline/incoming/file`
  fs.writeFileSync(path, content, { mode: 0o600 })
  return path
}

const bytes = (content: string): Uint8Array => Buffer.from(content)

test('files come into place with mode and time, and their state is told', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  const written = await target.write('/a/b/c.txt', bytes('hello'), { mode: 0o640, mtimeMs: 1e12 })
  if (written.verdict !== 'done') return t.fail(written.verdict)
  t.is(written.path, 'a/b/c.txt')
  t.is(text(root, 'a/b/c.txt'), 'hello')
  const from = incoming(root, 'large')
  const placed = await target.place(from, '/a/d', { executable: true, mtimeMs: null })
  if (placed.verdict !== 'done') return t.fail(placed.verdict)
  t.is(text(root, 'a/d'), 'large')
  t.absent(fs.existsSync(from))
  for (const { stats, path } of [written, placed]) {
    const now = fs.lstatSync(`${root}/${path}`, { bigint: true })
    for (const field of ['size', 'mtimeNs', 'ctimeNs', 'ino', 'dev'] as const) {
      t.is(stats[field], now[field], field)
    }
  }
  t.is(written.stats.mtimeNs, 10n ** 18n)
  await target.write('/a/b/c.txt', bytes(''))
  t.is(text(root, 'a/b/c.txt'), '')
  t.alike(fs.readdirSync(`${root}/.syncline/incoming`), [])
  t.is(fs.statSync(`${root}/.syncline`).mode & 0o777, 0o700)
})

test('modes hold permission bits only, under the umask; the executable bit decides', async (t) => {
  const { root } = await folders(t)
  const umask = process.umask(0o027)
  t.teardown(() => process.umask(umask))
  const target = open(root)
  const cases: [options: object, mode: number][] = [
    [{}, 0o640],
    [{ executable: true }, 0o750],
    [{ mode: null, executable: true }, 0o750],
    [{ mode: 0o400 }, 0o400],
    [{ mode: 0o777 }, 0o750],
    [{ mode: 0o750, executable: true }, 0o750],
    [{ mode: 0o104755, executable: true }, 0o750],
    [{ mode: 0o6711 }, 0o710],
    [{ mode: 0o7777 }, 0o750],
    [{ mode: 0o644, executable: true }, 0o750],
    [{ mode: 0o755, executable: false }, 0o640],
    [{ mode: 0o610, executable: false }, 0o610],
    [{ mode: -1 }, 0o640],
    [{ mode: Number.NaN }, 0o640],
    [{ mode: 1.5 }, 0o640]
  ]
  for (const [options, mode] of cases) {
    const note = JSON.stringify(options)
    await target.write('/written', bytes('x'), options)
    t.is(fs.statSync(`${root}/written`).mode & 0o7777, mode, note)
    await target.place(incoming(root, 'x'), '/placed', options)
    t.is(fs.statSync(`${root}/placed`).mode & 0o7777, mode, note)
  }
  await target.folder('/new')
  t.is(fs.statSync(`${root}/new`).mode & 0o7777, 0o750)
  await target.folder('/new', { mode: 0o2775 })
  t.is(fs.statSync(`${root}/new`).mode & 0o777, 0o750)
})

test('times are set to the microsecond, before 1970 too; what is no time is now', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  const times = [0, 1, 0.5, 1_763_741_569_123.456, 1_763_741_569_123.4568, 4_102_444_800_000.999]
  times.push(-1, -0.25, -1000, -1500.5, -946_079_999_999.875, -2_147_483_648_000)
  for (const mtimeMs of times) {
    const microseconds = BigInt(Math.round(mtimeMs * 1000))
    await target.write('/file', bytes('x'), { mtimeMs })
    await target.place(incoming(root, 'x'), '/placed', { mtimeMs })
    await target.link('/link', 'file', { mtimeMs })
    await target.folder('/folder', { mtimeMs })
    for (const name of ['file', 'placed', 'link', 'folder']) {
      const { mtimeNs } = fs.lstatSync(`${root}/${name}`, { bigint: true })
      // Newer versions of Node set a double to the nanosecond.
      const off = mtimeNs < 0n ? microseconds * 1000n - mtimeNs : mtimeNs - microseconds * 1000n
      t.ok(off >= 0n && off < 500n, `${name} ${mtimeMs}`)
    }
  }
  for (const mtimeMs of [Number.NaN, Infinity, -Infinity, 1e300, null]) {
    const before = Date.now() - 1000
    await target.write('/file', bytes('x'), { mtimeMs })
    t.ok(fs.statSync(`${root}/file`).mtimeMs >= before, String(mtimeMs))
  }
  for (const mtimeMs of [8e15, -8e15]) {
    t.is((await target.write('/file', bytes('x'), { mtimeMs })).verdict, 'done', 'the nearest')
  }
})

test('nothing is written through a link, whoever made it', async (t) => {
  const { root, outside } = await folders(t)
  const target = open(root, { links: 'all' })
  fs.writeFileSync(`${outside}/kept`, 'kept')
  t.is((await target.link('/a', '../outside')).verdict, 'done')
  fs.symlinkSync(outside, `${root}/b`)
  fs.mkdirSync(`${root}/c`)
  fs.symlinkSync('../../outside', `${root}/c/d`)
  for (const [folder, path] of [
    ['/a', 'a'],
    ['/b', 'b'],
    ['/c/d', 'c/d'],
    ['/b/deep/er', 'b']
  ] as const) {
    const from = incoming(root, 'evil')
    const blocked = { verdict: 'blocked', path, by: 'link' }
    t.alike(await target.write(`${folder}/evil`, bytes('evil')), blocked)
    t.alike(await target.place(from, `${folder}/evil`), blocked)
    t.alike(await target.link(`${folder}/evil`, 'x'), blocked)
    t.alike(await target.folder(`${folder}/evil`), blocked)
    t.alike(await target.remove(`${folder}/kept`), blocked)
    t.alike(await target.removeFolder(`${folder}/kept`), blocked)
    t.is(text(root, '.syncline/incoming/file'), 'evil', 'what came is not lost')
  }
  t.alike(fs.readdirSync(outside), ['kept'])
  t.alike(await target.folder('/a'), { verdict: 'blocked', path: 'a', by: 'link' })
  t.is((await target.write('/a', bytes('file'))).verdict, 'done', 'the link itself gives way')
  t.is(text(root, 'a'), 'file')
  t.is(text(outside, 'kept'), 'kept')
})

test('a link in the place of a folder that was used is noticed', async (t) => {
  const { root, outside } = await folders(t)
  const target = open(root, { links: 'all' })
  await target.write('/d/e/f', bytes('x'))
  await target.remove('/d/e/f', { mayRemove: () => true })
  t.absent(fs.existsSync(`${root}/d`))
  await target.link('/d', outside)
  t.is((await target.write('/d/e/f', bytes('x'))).verdict, 'blocked')
  await target.remove('/d')
  await target.write('/d/e/f', bytes('x'))
  fs.rmSync(`${root}/d`, { recursive: true })
  t.is(
    (await target.write('/d/e/f', bytes('y'))).verdict,
    'done',
    'a folder that the user took away'
  )
  t.is(text(root, 'd/e/f'), 'y')
  target.moveAside('d', Date.now())
  fs.symlinkSync(outside, `${root}/d`)
  t.is((await target.write('/d/e/f', bytes('x'))).verdict, 'blocked')
  t.alike(fs.readdirSync(outside), [])
})

test('names that leave the root, or touch our own folder, are refused by every method', async (t) => {
  const { root, outside } = await folders(t)
  const target = open(root)
  const before = fs.readdirSync(root)
  const names = ['/../outside/x', '/a/../../outside/x', `${outside}/../../x`, '../outside/x', 'x']
  names.push('C:\\x', 'C:/x', '/a\\..\\..\\outside\\x', '/.syncline/config', '/.syncline', '/', '')
  names.push('/a/./x', '/a//x', '/a/', '/x\0')
  for (const name of names) {
    const verdicts = [
      await target.write(name, bytes('x')),
      await target.place(incoming(root, 'x'), name),
      await target.link(name, 'x'),
      await target.folder(name),
      await target.remove(name),
      await target.removeFolder(name)
    ].map(({ verdict }) => verdict)
    t.alike(
      verdicts,
      Array.from(verdicts, () => 'refused'),
      name
    )
  }
  t.alike(fs.readdirSync(root), before)
  t.alike(fs.readdirSync(outside), [])
  for (const path of ['', '..', '../outside', '.syncline', '.Syncline/incoming', 'nothing/x']) {
    try {
      target.moveAside(path, 0)
      t.fail(path)
    } catch (error) {
      t.ok(isSynclineError(error, 'BAD_ARGUMENT'), path)
    }
  }
})

test('links that stay inside are made as they are, others only when all are wanted', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  const good = ['file', './file', '../file', 'missing', '.', '..', 'loop', 'é\n ']
  for (const linkname of good) {
    t.is((await target.link('/d/loop', linkname)).verdict, 'done', linkname)
    t.is(fs.readlinkSync(`${root}/d/loop`), linkname)
  }
  fs.symlinkSync('/', `${root}/users`)
  const leaving = ['/etc/passwd', root, '../..', '../../outside', 'x/../..', '../users/etc']
  for (const linkname of leaving) {
    const verdict = await target.link('/d/bad', linkname)
    t.is(verdict.verdict, 'refused', linkname)
    if (verdict.verdict === 'refused') t.ok(verdict.reason.length > 0)
    t.absent(fs.lstatSync(`${root}/d/bad`, { throwIfNoEntry: false }))
  }
  const all = open(root, { links: 'all' })
  for (const linkname of leaving) {
    t.is((await all.link('/d/bad', linkname)).verdict, 'done')
    t.is(fs.readlinkSync(`${root}/d/bad`), linkname)
  }
  for (const linkname of ['', 'a\0b']) t.is((await all.link('/d/x', linkname)).verdict, 'refused')
})

test('what stands in the way is told and stays', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  fs.writeFileSync(`${root}/file`, 'mine')
  fs.mkdirSync(`${root}/folder/full`, { recursive: true })
  const from = incoming(root, 'theirs')
  const byFile = { verdict: 'blocked', path: 'file', by: 'file' }
  t.alike(await target.write('/file/x/y', bytes('x')), byFile)
  t.alike(await target.place(from, '/file/x'), byFile)
  t.alike(await target.folder('/file'), byFile)
  t.alike(await target.remove('/file/x'), byFile)
  const byFolder = { verdict: 'blocked', path: 'folder', by: 'folder' }
  t.alike(await target.write('/folder', bytes('x')), byFolder)
  t.alike(await target.place(from, '/folder'), byFolder)
  t.alike(await target.link('/folder', 'x'), byFolder)
  t.alike(await target.remove('/folder'), byFolder)
  t.alike(await target.removeFolder('/folder'), byFolder)
  t.is(text(root, 'file'), 'mine')
  t.alike(fs.readdirSync(`${root}/.syncline/incoming`), ['file'])

  const now = new Date(2026, 10, 21, 16, 5, 1).getTime()
  const moved = target.moveAside('file', now)
  t.is(moved.path, 'file.conflict-20261121-160501')
  t.is(text(root, moved.path), 'mine')
  t.is((await target.write('/file/x/y', bytes('x'))).verdict, 'done')
  t.is(target.moveAside('folder', now).path, 'folder.conflict-20261121-160501')
  t.is((await target.place(from, '/folder')).verdict, 'done')
  t.ok(fs.existsSync(`${root}/folder.conflict-20261121-160501/full`))
})

test('only a file is placed: what else stands in its place stays as it is', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  fs.mkdirSync(`${root}/came`, { mode: 0o755 })
  const { mode, mtimeMs } = fs.statSync(`${root}/came`)
  await t.exception(target.place(`${root}/came`, '/to', { mode: 0o600, mtimeMs: 1e12 }), /no file/)
  const now = fs.statSync(`${root}/came`)
  t.alike([now.mode, now.mtimeMs], [mode, mtimeMs])
  t.absent(fs.existsSync(`${root}/to`))
})

test('conflicts have names of their own, whatever stands there', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  const now = new Date(2026, 0, 2, 3, 4, 5).getTime()
  const found: string[] = []
  for (const content of ['1', '2', '3']) {
    await target.write('/d/a.tar.gz', bytes(content))
    found.push(target.moveAside('d/a.tar.gz', now).path)
  }
  t.alike(found, [
    'd/a.tar.conflict-20260102-030405.gz',
    'd/a.tar.conflict-20260102-030405-2.gz',
    'd/a.tar.conflict-20260102-030405-3.gz'
  ])
  t.is(conflictPath('.bashrc', now, 1, 255), '.bashrc.conflict-20260102-030405')
  t.is(Buffer.byteLength(conflictPath('é'.repeat(127), now, 9, 255)), 255)
})

test('what is expected to stand there is checked before it gives way', async (t) => {
  const { root } = await folders(t)
  const trash = new Trash(`${(await folders(t)).root}/trash`)
  const target = open(root, { trash })
  const first = await target.write('/a', bytes('1'), { expected: null })
  if (first.verdict !== 'done') return t.fail(first.verdict)
  const blocked = { verdict: 'blocked', path: 'a', by: 'file' }
  t.alike(await target.write('/a', bytes('2'), { expected: null }), blocked)
  fs.writeFileSync(`${root}/a`, 'edited')
  const from = incoming(root, '2')
  t.alike(await target.write('/a', bytes('2'), { expected: first.stats }), blocked)
  t.alike(await target.place(from, '/a', { expected: first.stats }), blocked)
  t.alike(await target.link('/a', 'x', { expected: first.stats }), blocked)
  t.alike(await target.remove('/a', { expected: first.stats }), blocked)
  t.is(text(root, 'a'), 'edited')
  const now = fs.lstatSync(`${root}/a`, { bigint: true })
  const old = { name: '/a', blob: null, timeMs: 5 }
  const next = await target.write('/a', bytes('2'), { expected: now, old })
  if (next.verdict !== 'done' || next.trashed === null) return t.fail(next.verdict)
  t.is(fs.readFileSync(next.trashed.entry.path, 'utf8'), 'edited')
  const { ctimeNs } = fs.lstatSync(next.trashed.entry.path, { bigint: true })
  t.is(next.trashed.stats.ctimeNs, ctimeNs)
  const gone = await target.remove('/a', { expected: next.stats, old })
  if (gone.verdict !== 'done' || gone.trashed === null) return t.fail(gone.verdict)
  t.is(fs.readFileSync(gone.trashed.entry.path, 'utf8'), '2')
  t.alike(
    trash.list().map(({ name, size }) => [name, size]),
    [
      ['/a', 6],
      ['/a', 1]
    ]
  )
  t.alike(await target.write('/a', bytes('3'), { expected: next.stats }), {
    verdict: 'blocked',
    path: 'a',
    by: 'nothing'
  })
  const put = await target.write('/a', bytes('3'), { old })
  t.ok(put.verdict === 'done' && put.trashed === null, 'nothing was there')
  try {
    await open(root).remove('/a', { old })
    t.fail('there is no trash')
  } catch (error) {
    t.ok(isSynclineError(error, 'BAD_ARGUMENT'))
  }
})

/** As `fsync` and `copyFile`, with `run` while they take their time. */
function meanwhile(run: () => void): Pick<SystemCalls, 'fsync' | 'copyFile'> {
  const fsync = (fd: number, done: fs.NoParamCallback): void => {
    run()
    fs.fsync(fd, done)
  }
  const copyFile = (from: string, to: string, mode: number, done: fs.NoParamCallback): void => {
    fs.copyFileSync(from, to, mode)
    run()
    done(null)
  }
  return { fsync, copyFile } as unknown as Pick<SystemCalls, 'fsync' | 'copyFile'>
}

/** As a rename where `mnt` is another file system. */
function renameApart(from: fs.PathLike, to: fs.PathLike): void {
  const isAcross = String(from).includes('/incoming/') && String(to).includes('/mnt/')
  if (isAcross) throw Object.assign(new Error('EXDEV'), { code: 'EXDEV' })
  fs.renameSync(from, to)
}

test('what the user writes while a file is synced or copied is not replaced', async (t) => {
  for (const fsync of [true, false]) {
    const { root } = await folders(t)
    let run: (() => void) | null = null
    const calls = {
      ...systemCalls,
      ...meanwhile(() => run?.()),
      ...(fsync ? {} : { renameSync: renameApart })
    }
    const trash = new Trash(`${(await folders(t)).root}/trash`)
    const target = open(root, { calls, trash })
    fs.mkdirSync(`${root}/mnt`)
    const blocked = { verdict: 'blocked', path: 'mnt/a', by: 'file' }
    run = () => fs.writeFileSync(`${root}/mnt/a`, 'new and mine')
    t.alike(await target.write('/mnt/a', bytes('x'), { fsync, expected: null }), blocked)
    t.is(text(root, 'mnt/a'), 'new and mine')
    fs.writeFileSync(`${root}/mnt/a`, 'ours')
    const expected = fs.lstatSync(`${root}/mnt/a`, { bigint: true })
    const old = { name: '/mnt/a', blob: null, timeMs: 1 }
    const temp = target.newTemp()
    for (const from of [incoming(root, 'theirs'), temp]) {
      fs.writeFileSync(from, 'theirs')
      run = () => fs.writeFileSync(`${root}/mnt/a`, 'edited by me')
      t.alike(await target.place(from, '/mnt/a', { fsync, expected, old }), blocked)
      t.is(text(root, 'mnt/a'), 'edited by me')
      t.is(fs.readFileSync(from, 'utf8'), 'theirs', 'what was to come stays')
    }
    t.alike(fs.readdirSync(`${root}/mnt`), ['a'])
    t.alike(trash.list(), [])
    run = null
    const now = fs.lstatSync(`${root}/mnt/a`, { bigint: true })
    t.is((await target.place(temp, '/mnt/a', { fsync, expected: now, old })).verdict, 'done')
    t.is(text(root, 'mnt/a'), 'theirs')
    t.alike(fs.readdirSync(`${root}/.syncline/incoming`), ['file'])
  }
})

test('a file that is placed where it stands may be synced', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  fs.writeFileSync(`${root}/a`, 'a')
  const expected = fs.lstatSync(`${root}/a`, { bigint: true })
  const options = { mode: 0o600, mtimeMs: 1e12, fsync: true, expected }
  t.is((await target.place(`${root}/a`, '/a', options)).verdict, 'done')
  t.is(fs.statSync(`${root}/a`).mtimeMs, 1e12)
})

test('what the user writes while a file is copied to the trash stays', async (t) => {
  const { root } = await folders(t)
  fs.writeFileSync(`${root}/a`, 'ours')
  const edit = (): void => fs.writeFileSync(`${root}/a`, 'edited by me')
  const refuseFrom = (from: fs.PathLike, to: fs.PathLike): void => {
    if (String(from) === `${root}/a`) throw Object.assign(new Error('EXDEV'), { code: 'EXDEV' })
    fs.renameSync(from, to)
  }
  const calls = { ...systemCalls, ...meanwhile(edit), linkSync: refuse, renameSync: refuseFrom }
  const trash = new Trash(`${(await folders(t)).root}/trash`, calls)
  const target = open(root, { trash })
  const old = { name: '/a', blob: null, timeMs: 1 }
  const blocked = { verdict: 'blocked', path: 'a', by: 'file' }
  const seen = (): { readonly expected: fs.BigIntStats } => ({
    expected: fs.lstatSync(`${root}/a`, { bigint: true })
  })
  t.alike(await target.write('/a', bytes('x'), { ...seen(), old }), blocked)
  t.is(text(root, 'a'), 'edited by me')
  fs.writeFileSync(`${root}/a`, 'ours')
  t.alike(await target.remove('/a', { ...seen(), old }), blocked)
  t.is(text(root, 'a'), 'edited by me')
  t.alike(trash.list(), [])
})

test('what the system does not let be replaced is not in the trash', async (t) => {
  const failures: Partial<SystemCalls>[] = [{}, { linkSync: refuse }]
  for (const links of failures) {
    const { root } = await folders(t)
    let isStuck = true
    const renameSync = (from: fs.PathLike, to: fs.PathLike): void => {
      if (isStuck && String(from).includes('/incoming/')) refuse()
      fs.renameSync(from, to)
    }
    const calls = { ...systemCalls, ...links, renameSync }
    const trash = new Trash(`${(await folders(t)).root}/trash`, calls)
    const target = open(root, { trash, calls })
    fs.writeFileSync(`${root}/a`, 'old')
    const old = { name: '/a', blob: null, timeMs: 1 }
    const from = incoming(root, 'new')
    for (let i = 0; i < 2; i++) {
      await t.exception(target.place(from, '/a', { old }), /STORAGE_FAILED/)
      await t.exception(target.write('/a', bytes('new'), { old }), /STORAGE_FAILED/)
    }
    t.is(text(root, 'a'), 'old')
    t.alike(trash.list(), [])
    isStuck = false
    t.is((await target.place(from, '/a', { old })).verdict, 'done')
    t.is(trash.list().length, 1)
  }
})

test('removing empties the folders that may go, and no others', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  for (const name of ['/a/b/c/d', '/a/b/e', '/x/y']) await target.write(name, bytes('x'))
  t.alike(await target.remove('/none'), { verdict: 'absent' })
  t.alike(await target.remove('/none/x'), { verdict: 'absent' })
  const options = { mayRemove: (folder: string): boolean => folder !== '/a' }
  const one = await target.remove('/a/b/c/d', options)
  t.alike(one.verdict === 'done' && one.folders, ['/a/b/c'])
  const two = await target.remove('/a/b/e', options)
  t.alike(two.verdict === 'done' && two.folders, ['/a/b'])
  t.ok(fs.existsSync(`${root}/a`))
  const three = await target.remove('/x/y')
  t.alike(three.verdict === 'done' && three.folders, [])
  t.ok(fs.existsSync(`${root}/x`))
  await target.folder('/p/q')
  const four = await target.removeFolder('/p/q', { mayRemove: () => true })
  t.alike(four.verdict === 'done' && four.folders, ['/p/q', '/p'])
  t.alike(await target.removeFolder('/p/q'), { verdict: 'absent' })
  t.ok(fs.existsSync(root))
})

test('renamed names are written, found and removed by the drive name', async (t) => {
  const { root } = await folders(t)
  const names = new FileNames({ ...EXACT_NAMES, caseFolds: true })
  const list = ['/A/one', '/a/one', '/a/two']
  for (const name of list) names.add(name)
  const target = new Target(root, { names })
  for (const name of list) t.is((await target.write(name, bytes(name))).verdict, 'done')
  for (const name of list) t.is(text(root, names.pathOf(name) as string), name)
  t.is(fs.readdirSync(root).length, 3)
  for (const name of list) await target.remove(name, { mayRemove: () => true })
  t.alike(fs.readdirSync(root), ['.syncline'])
})

test('an entry that the system refuses is told with its path, and the next one goes on', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  fs.mkdirSync(`${root}/locked`)
  const isRoot = process.getuid?.() === 0
  fs.chmodSync(`${root}/locked`, 0o555)
  if (isRoot) {
    // As someone who is held back by modes.
    for (const path of [root, `${root}/.syncline`, `${root}/.syncline/incoming`]) {
      fs.chownSync(path, 65_534, 65_534)
    }
    fs.chmodSync(`${root}/..`, 0o755)
    process.seteuid?.(65_534)
    t.teardown(() => process.seteuid?.(0))
  }
  for (const [name, isOurs] of [
    ['/locked/x', process.platform !== 'win32'],
    ['/locked/y/z', process.platform !== 'win32']
  ] as const) {
    if (!isOurs) continue
    try {
      await target.write(name, bytes('x'))
      t.fail(name.slice(0, 20))
    } catch (error) {
      t.ok(isSynclineError(error, 'STORAGE_FAILED'))
      t.ok(isSynclineError(error) && error.details.path?.startsWith(root))
    }
  }
  const deep = `/${'d'.repeat(200)}`.repeat(25)
  t.is((await target.write(`${deep}/x`, bytes('x'))).verdict, 'refused', 'no system takes it')
  t.is((await target.write('/free', bytes('x'), { mode: 0o400 })).verdict, 'done')
  t.is((await target.write('/free', bytes('y'), { mode: 0o400 })).verdict, 'done')
  const from = incoming(root, 'z')
  fs.chmodSync(from, 0o400)
  t.is((await target.place(from, '/free', { mode: 0o400 })).verdict, 'done')
  t.is(text(root, 'free'), 'z')
  t.alike(fs.readdirSync(`${root}/.syncline/incoming`), [])
})

test('modes and times that a file system does not hold are left', async (t) => {
  const { root } = await folders(t)
  const calls = { ...systemCalls, fchmodSync: refuse, futimesSync: refuse, lutimesSync: refuse }
  const target = open(root, { calls })
  const options = { mode: 0o600, mtimeMs: 5 }
  t.is((await target.write('/a', bytes('x'), options)).verdict, 'done')
  t.is((await target.place(incoming(root, 'y'), '/b', options)).verdict, 'done')
  t.is((await target.link('/c', 'a', options)).verdict, 'done')
  t.is((await target.folder('/d', options)).verdict, 'done')
})

test('a new file is made on the spot only where nothing stands, and leaves nothing where it is not made', async (t) => {
  const { root, outside } = await folders(t)
  const target = open(root)
  const options = { mode: 0o640, mtimeMs: 1e12 }
  const made = target.writeNew('/a/b', bytes('new'), options)
  if (made === null) return t.fail('it was not made')
  const now = fs.lstatSync(`${root}/a/b`, { bigint: true })
  t.is(made.path, 'a/b')
  t.alike([made.stats.ino, made.stats.ctimeNs], [now.ino, now.ctimeNs])
  t.alike([now.mode & 0o777n, now.mtimeMs], [0o640n & ~BigInt(process.umask()), 10n ** 12n])
  t.is(text(root, 'a/b'), 'new')

  fs.symlinkSync('nowhere', `${root}/dangling`)
  fs.symlinkSync(outside, `${root}/out`)
  fs.mkdirSync(`${root}/folder`)
  for (const name of [
    '/a/b',
    '/a/b/c',
    '/dangling',
    '/folder',
    '/out/x',
    '/../x',
    '/.syncline/x'
  ]) {
    t.is(target.writeNew(name, bytes('other'), options), null, name)
  }
  t.is(text(root, 'a/b'), 'new')
  t.is(fs.readlinkSync(`${root}/dangling`), 'nowhere')
  t.alike(fs.readdirSync(outside), [])

  for (const call of ['openSync', 'writeSync', 'renameSync', 'fstatSync'] as const) {
    const failing = open(root, { calls: { ...systemCalls, [call]: refuse } })
    t.is(failing.writeNew(`/${call}`, bytes('x'), options), null, call)
  }
  t.alike(fs.readdirSync(`${root}/.syncline/incoming`), [])
})

test('new folders come into place whole, with their files', async (t) => {
  const { root } = await folders(t)
  fs.mkdirSync(`${root}/there`)
  const target = open(root)
  const batch = target.newFolders()
  const options = { mode: 0o600, mtimeMs: 1e12 }
  t.absent(batch.add('there/file', bytes('x'), options), 'a folder that is there')
  t.absent(batch.add('file', bytes('x'), options), 'the root')
  const paths = ['a/1', 'a/2', 'a/b/c/3', 'there/d/4']
  for (const path of paths) t.ok(batch.add(path, bytes(path), options), path)
  t.absent(batch.add('a/1', bytes('other'), options), 'one name twice')
  t.alike(fs.readdirSync(root).sort(), ['.syncline', 'there'])
  t.alike(fs.readdirSync(`${root}/there`), [])
  const placed = batch.settle()
  t.alike(
    placed.map(({ path }) => path),
    paths
  )
  for (const { path, stats } of placed) {
    t.is(text(root, path), path)
    const now = fs.lstatSync(`${root}/${path}`, { bigint: true })
    t.is(now.mode & 0o777n, 0o600n)
    t.is(now.mtimeNs, 10n ** 18n)
    for (const field of ['size', 'mtimeNs', 'ctimeNs', 'ino', 'dev'] as const) {
      t.is(stats[field], now[field], field)
    }
  }
  t.alike(fs.readdirSync(`${root}/.syncline/incoming`), [])
  t.is((await target.write('/a/b/5', bytes('later'))).verdict, 'done')
})

test('what came in the place of a new folder stays as it is', async (t) => {
  const { root, outside } = await folders(t)
  const target = open(root)
  const batch = target.newFolders()
  const names = ['empty', 'file', 'link', 'used', 'free']
  for (const name of names) t.ok(batch.add(`${name}/new`, bytes('new'), {}), name)
  fs.mkdirSync(`${root}/empty`)
  fs.writeFileSync(`${root}/file`, 'own')
  fs.symlinkSync(outside, `${root}/link`)
  fs.mkdirSync(`${root}/used`)
  fs.writeFileSync(`${root}/used/new`, 'own')
  t.alike(
    batch.settle().map(({ path }) => path),
    ['free/new']
  )
  t.alike(fs.readdirSync(`${root}/empty`), [])
  t.is(text(root, 'file'), 'own')
  t.is(text(root, 'used/new'), 'own')
  t.alike(fs.readdirSync(outside), [])
  t.alike(fs.readdirSync(`${root}/.syncline/incoming`), [])
})

test('a file that the system does not take stays out of its new folder', async (t) => {
  for (const call of ['openSync', 'writeSync', 'futimesSync', 'fstatSync', 'unlinkSync'] as const) {
    const { root } = await folders(t)
    let fails = false
    const failing = (name: typeof call) => ({
      [name]: (...args: unknown[]): unknown => {
        if (fails) throw Object.assign(new Error('EIO'), { code: 'EIO' })
        return (systemCalls[name] as (...args: unknown[]) => unknown)(...args)
      }
    })
    // Half a file that cannot be taken away.
    const halves = call === 'unlinkSync' ? failing('writeSync') : {}
    const calls = { ...systemCalls, ...halves, ...failing(call) } as SystemCalls
    const target = open(root, { calls })
    const batch = target.newFolders()
    t.ok(batch.add('a/1', bytes('whole'), { mtimeMs: 1e12 }))
    fails = true
    t.absent(batch.add('a/2', bytes('half'), { mtimeMs: 1e12 }), call)
    fails = false
    const placed = batch.settle().map(({ path }) => path)
    t.alike(placed, call === 'unlinkSync' ? [] : ['a/1'])
    t.is(fs.existsSync(`${root}/a`), call !== 'unlinkSync')
    t.absent(fs.existsSync(`${root}/a/2`))
    t.alike(fs.readdirSync(`${root}/.syncline/incoming`), [])
  }
})

test('a sweep takes away new folders that did not come into place', async (t) => {
  const { root, outside } = await folders(t)
  const target = open(root)
  t.ok(target.newFolders().add('a/b', bytes('x'), {}))
  const [left = ''] = fs.readdirSync(`${root}/.syncline/incoming`)
  fs.writeFileSync(`${outside}/kept`, '')
  fs.symlinkSync(outside, `${root}/.syncline/incoming/${left}/link`)
  t.is(open(root).sweep(), 1)
  t.alike(fs.readdirSync(`${root}/.syncline/incoming`), [])
  t.alike(fs.readdirSync(outside), ['kept'])
})

test('onto a file system that is mounted below the root, files are copied and then renamed', async (t) => {
  const { root } = await folders(t)
  const calls = { ...systemCalls, renameSync: renameApart }
  const target = open(root, { calls })
  const options = { mode: 0o640, mtimeMs: 1_763_741_569_123.456, fsync: true }
  const written = await target.write('/mnt/a', bytes('written'), options)
  const placed = await target.place(incoming(root, 'placed'), '/mnt/b', options)
  const linked = await target.link('/mnt/c', 'a', { mtimeMs: 1e12 })
  for (const verdict of [written, placed, linked]) {
    if (verdict.verdict !== 'done') return t.fail(verdict.verdict)
    const now = fs.lstatSync(`${root}/${verdict.path}`, { bigint: true })
    t.is(verdict.stats.ino, now.ino)
    t.is(verdict.stats.ctimeNs, now.ctimeNs)
  }
  t.is(text(root, 'mnt/a'), 'written')
  t.is(text(root, 'mnt/b'), 'placed')
  t.is(fs.readlinkSync(`${root}/mnt/c`), 'a')
  t.is(fs.lstatSync(`${root}/mnt/c`).mtimeMs, 1e12)
  for (const name of ['a', 'b']) {
    const { mode, mtimeMs } = fs.statSync(`${root}/mnt/${name}`)
    t.is(mode & 0o777, 0o640)
    t.is(mtimeMs, options.mtimeMs)
  }
  t.alike(fs.readdirSync(`${root}/mnt`).sort(), ['a', 'b', 'c'])
  await target.folder('/mnt/d')
  t.alike(await target.write('/mnt/d', bytes('x')), {
    verdict: 'blocked',
    path: 'mnt/d',
    by: 'folder'
  })
  const full = { ...calls, copyFile: failingCopy } as unknown as SystemCalls
  try {
    await open(root, { calls: full }).write('/mnt/a', bytes('half'))
    t.fail('the disk is full')
  } catch (error) {
    if (!isSynclineError(error, 'DISK_FULL')) throw error
    t.is(error.details.path, `${root}/mnt/a`)
  }
  t.is(text(root, 'mnt/a'), 'written')
  t.alike(fs.readdirSync(`${root}/.syncline/incoming`), [])
})

test('synced writes may overlap', async (t) => {
  const { root } = await folders(t)
  const target = open(root)
  const names = Array.from({ length: 40 }, (_, i) => `/d${i % 3}/f${i}`)
  const verdicts = await Promise.all(
    names.map((name) => target.write(name, bytes(name), { fsync: true }))
  )
  t.ok(verdicts.every(({ verdict }) => verdict === 'done'))
  for (const name of names) t.is(text(root, name.slice(1)), name)
  await target.link('/d/link', 'x', { fsync: true })
  await target.folder('/e/f', { fsync: true })
  await target.remove('/d/link', { fsync: true })
  t.pass()
})

test('the root may be named by a link; our own folder in it may not be one', async (t) => {
  const { root, outside } = await folders(t)
  fs.symlinkSync(root, `${outside}/named`)
  t.is(open(`${outside}/named`).root, root)
  for (const path of ['.syncline/incoming', '.syncline']) {
    fs.rmSync(`${root}/${path}`, { recursive: true })
    fs.symlinkSync(outside, `${root}/${path}`)
    try {
      open(root)
      t.fail(path)
    } catch (error) {
      t.ok(isSynclineError(error, 'REFUSED'), path)
    }
    fs.unlinkSync(`${root}/${path}`)
  }
  try {
    open(`${root}/missing`)
    t.fail('a root is not made')
  } catch (error) {
    t.ok(isSynclineError(error, 'STORAGE_FAILED'))
  }
})
