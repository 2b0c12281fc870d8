import test from 'brittle'
import fs from 'node:fs'
import { isSynclineError } from '../../lib/errors.ts'
import { systemCalls } from '../../lib/drive/folder/system-calls.ts'
import {
  expired,
  KEEP_DEFAULT,
  parseKeep,
  Trash,
  type TrashEntry,
  type TrashInfo
} from '../../lib/drive/folder/trash.ts'

const BLOB = { blockOffset: 3, blockLength: 2, byteOffset: 5, byteLength: 70_000 }
const DAY = 86_400_000

function failing(code: string): () => never {
  return () => {
    throw Object.assign(new Error(code), { code })
  }
}

/** Puts what does not change meanwhile. */
async function put(trash: Trash, path: string, info: TrashInfo): Promise<TrashEntry> {
  const entry = await trash.put(path, info)
  if (entry === null) throw new Error(`${path} changed`)
  return entry
}

async function putReplaced(trash: Trash, path: string, info: TrashInfo): Promise<TrashEntry> {
  const replaced = await trash.putReplaced(path, info)
  if (replaced === null) throw new Error(`${path} changed`)
  return replaced.entry
}

test('what is put into the trash is found again from the folder alone', async (t) => {
  const root = await t.tmp()
  const trash = new Trash(`${root}/trash`)
  const names = [
    '/a.txt',
    '/dir/a+b %2F.txt',
    '/é/e\u0301\n*.',
    '/~',
    `/${'long'.repeat(60)}`,
    `/${'deep/'.repeat(700)}x`,
    '/.old'
  ]
  for (const [i, name] of names.entries()) {
    fs.writeFileSync(`${root}/file`, name)
    const blob = i === 0 ? null : i === 1 ? { ...BLOB, blockMap: true as const } : BLOB
    const entry = await put(trash, `${root}/file`, { name, blob, timeMs: 1000 + i })
    t.is(entry.size, Buffer.byteLength(name))
    t.alike(trash.get(entry.id), entry)
  }
  t.absent(fs.existsSync(`${root}/file`))
  const again = new Trash(`${root}/trash`)
  t.alike(again.list(), trash.list())
  t.alike(
    again.list().map(({ name }) => name),
    names
  )
  for (const { name, path } of again.list()) t.is(fs.readFileSync(path, 'utf8'), name)
  t.is(again.get(99), null)
  fs.writeFileSync(`${root}/file`, '')
  const next = await put(again, `${root}/file`, { name: '/x', blob: null, timeMs: 0 })
  t.is(next.id, names.length + 1)
  for (const { id } of again.list()) again.delete(id)
  t.alike(fs.readdirSync(`${root}/trash`), [])
})

test('links go into the trash as links; what is replaced stays until then', async (t) => {
  const root = await t.tmp()
  const trash = new Trash(`${root}/trash`)
  fs.symlinkSync('../../nowhere', `${root}/link`)
  const info = { name: '/link', blob: null, timeMs: 1 }
  const moved = await put(trash, `${root}/link`, info)
  t.is(fs.readlinkSync(moved.path), '../../nowhere')
  fs.writeFileSync(`${root}/file`, 'old')
  const kept = await putReplaced(trash, `${root}/file`, { ...info, name: '/file' })
  t.is(fs.readFileSync(`${root}/file`, 'utf8'), 'old')
  fs.writeFileSync(`${root}/new`, 'new')
  fs.renameSync(`${root}/new`, `${root}/file`)
  t.is(fs.readFileSync(kept.path, 'utf8'), 'old')
})

test('from another file system, and where files have one name only, files are copied or moved', async (t) => {
  const root = await t.tmp()
  const info = { name: '/f', blob: BLOB, timeMs: 1 }
  fs.mkdirSync(`${root}/trash`)
  fs.writeFileSync(`${root}/trash/copy-1-1`, 'half')
  const isFrom = (from: fs.PathLike): boolean => String(from).startsWith(`${root}/f`)
  const steps: string[] = []
  const mounted = new Trash(`${root}/trash`, {
    ...systemCalls,
    fsync: ((fd: number, done: fs.NoParamCallback) => {
      steps.push('sync')
      fs.fsync(fd, done)
    }) as typeof fs.fsync,
    unlinkSync: (file) => {
      steps.push(`unlink ${String(file).slice(root.length)}`)
      fs.unlinkSync(file)
    },
    linkSync: failing('EXDEV'),
    renameSync: (from, to) => (isFrom(from) ? failing('EXDEV')() : fs.renameSync(from, to))
  })
  steps.length = 0
  fs.writeFileSync(`${root}/f1`, 'one')
  const moved = await put(mounted, `${root}/f1`, info)
  t.is(fs.readFileSync(moved.path, 'utf8'), 'one')
  t.absent(fs.existsSync(`${root}/f1`))
  t.alike(steps, ['sync', 'unlink /f1'], 'a copy is on the disk before its original goes')
  fs.writeFileSync(`${root}/f2`, 'two')
  t.is(fs.readFileSync((await putReplaced(mounted, `${root}/f2`, info)).path, 'utf8'), 'two')
  t.ok(fs.existsSync(`${root}/f2`))
  fs.symlinkSync('to', `${root}/f3`)
  t.is(fs.readlinkSync((await put(mounted, `${root}/f3`, info)).path), 'to')
  const plain = new Trash(`${root}/trash`, { ...systemCalls, linkSync: failing('EPERM') })
  t.is(fs.readFileSync((await putReplaced(plain, `${root}/f2`, info)).path, 'utf8'), 'two')
  t.absent(fs.existsSync(`${root}/f2`))
  t.is(fs.readdirSync(`${root}/trash`).length, 4)
})

test('what changes while it is copied from another file system stays where it is', async (t) => {
  const root = await t.tmp()
  for (const change of ['edit', 'delete']) {
    const trash = new Trash(`${root}/trash`, {
      ...systemCalls,
      linkSync: failing('EXDEV'),
      renameSync: (from, to) =>
        String(from) === `${root}/f` ? failing('EXDEV')() : fs.renameSync(from, to),
      copyFile: ((from: string, to: string, mode: number, done: fs.NoParamCallback) => {
        fs.copyFileSync(from, to, mode)
        if (change === 'edit') fs.writeFileSync(from, 'edited meanwhile')
        else fs.unlinkSync(from)
        done(null)
      }) as typeof fs.copyFile
    })
    for (const method of ['put', 'putReplaced'] as const) {
      fs.writeFileSync(`${root}/f`, 'old')
      t.is(await trash[method](`${root}/f`, { name: '/f', blob: BLOB, timeMs: 1 }), null)
      if (change === 'edit') t.is(fs.readFileSync(`${root}/f`, 'utf8'), 'edited meanwhile')
      t.alike([trash.list(), fs.readdirSync(`${root}/trash`)], [[], []])
    }
  }
})

test('what was not replaced is put back; what came there meanwhile stays', async (t) => {
  const root = await t.tmp()
  const info = { name: '/f', blob: BLOB, timeMs: 1 }
  for (const calls of [systemCalls, { ...systemCalls, linkSync: failing('EPERM') }]) {
    const trash = new Trash(`${root}/trash`, calls)
    fs.writeFileSync(`${root}/f`, 'old')
    const replaced = await trash.putReplaced(`${root}/f`, info)
    if (replaced === null) return t.fail('it did not change')
    trash.putBack(replaced, `${root}/f`)
    t.is(fs.readFileSync(`${root}/f`, 'utf8'), 'old')
    t.alike([trash.list(), fs.readdirSync(`${root}/trash`)], [[], []])
  }
  const trash = new Trash(`${root}/trash`, { ...systemCalls, linkSync: failing('EPERM') })
  const replaced = await trash.putReplaced(`${root}/f`, info)
  if (replaced === null) return t.fail('it did not change')
  fs.writeFileSync(`${root}/f`, 'mine')
  trash.putBack(replaced, `${root}/f`)
  t.is(fs.readFileSync(`${root}/f`, 'utf8'), 'mine')
  t.is(fs.readFileSync(replaced.entry.path, 'utf8'), 'old')
  t.alike(trash.list(), [replaced.entry])
})

test('names without an entry are taken away, other files are left alone', async (t) => {
  const root = await t.tmp()
  fs.mkdirSync(`${root}/trash`)
  for (const file of ['7.name', 'readme', '1.2.3.-.+%zz.old', '1.2.3.x.+a.old']) {
    fs.writeFileSync(`${root}/trash/${file}`, '')
  }
  const trash = new Trash(`${root}/trash`)
  t.alike(trash.list(), [])
  t.alike(fs.readdirSync(`${root}/trash`).sort(), ['1.2.3.-.+%zz.old', '1.2.3.x.+a.old', 'readme'])
  fs.symlinkSync(`${root}/trash`, `${root}/other`)
  try {
    const trash = new Trash(`${root}/other`)
    t.fail(`a link is no trash, with ${trash.list().length} entries`)
  } catch (error) {
    t.ok(isSynclineError(error, 'REFUSED'))
  }
})

test('entries go by age, then the oldest until the rest fits', (t) => {
  const entries = [10, 1, 40, 20].map((days, i) => ({
    id: i + 1,
    name: `/${days}`,
    blob: { blockOffset: i, blockLength: 1, byteOffset: i, byteLength: 100e6 },
    timeMs: 100 * DAY - days * DAY,
    path: '',
    size: 100e6
  }))
  const gone = (text: string, dataBytes: number): string[] =>
    expired(entries, parseKeep(text), 100 * DAY, dataBytes).map(({ name }) => name)
  t.alike(gone('30d', 1e15), ['/40'])
  t.alike(gone('100d,10%', 2000e6), ['/40', '/20'])
  t.alike(gone('100d,10%', 1999e6), ['/40', '/20', '/10'])
  t.alike(gone('5d,10%', 1e15), ['/40', '/20', '/10'])
  t.alike(gone('1d,10%', 1e15), ['/40', '/20', '/10'], 'as old as allowed is kept')
  t.alike(gone('30d,10%', 0), ['/40', '/20', '/10', '/1'])
  const few = entries.map((entry) => ({ ...entry, size: 4e6 }))
  t.alike(expired(few, parseKeep('100d,10%'), 100 * DAY, 0), [], 'a little is always kept')
  const own = entries.map((entry) => (entry.name === '/20' ? { ...entry, blob: null } : entry))
  const rest = expired(own, parseKeep('30d,10%'), 100 * DAY, 0).map(({ name }) => name)
  t.alike(rest, ['/40', '/10', '/1'], 'what no version holds goes by its age alone')
  t.alike(gone('0', 1e9), ['/40', '/20', '/10', '/1'])
  t.alike(gone('0d', 1e9), ['/40', '/20', '/10', '/1'])
})

test('what expires is deleted; what cannot be deleted is tried again', async (t) => {
  const root = await t.tmp()
  let isStuck = true
  const trash = new Trash(`${root}/trash`, {
    ...systemCalls,
    unlinkSync(path) {
      if (isStuck && String(path).includes('+b'))
        throw Object.assign(new Error(), { code: 'EBUSY' })
      fs.unlinkSync(path)
    }
  })
  for (const name of ['/a', '/b']) {
    fs.writeFileSync(`${root}/f`, name)
    await put(trash, `${root}/f`, { name, blob: null, timeMs: 1 })
  }
  const rule = parseKeep('0')
  t.alike(
    trash.expire(2, 100, rule).map(({ name }) => name),
    ['/a']
  )
  isStuck = false
  t.is(trash.list().length, 1)
  t.is(trash.expire(2, 100, rule).length, 1)
  t.alike(fs.readdirSync(`${root}/trash`), [])
})

test('rules are read, and what is none is told', (t) => {
  t.alike(parseKeep('30d'), { days: 30, percent: KEEP_DEFAULT.percent })
  t.alike(parseKeep('5%'), { days: KEEP_DEFAULT.days, percent: 5 })
  t.alike(parseKeep('1.5d, 0.5%'), { days: 1.5, percent: 0.5 })
  t.alike(parseKeep('10%,7d'), { days: 7, percent: 10 })
  t.alike(parseKeep(' 0 '), { days: 0, percent: 0 })
  for (const text of ['', '30', 'd', '-1d', '30d,', '1d,2d', '1e3d', '30 d', '10%%', 'all']) {
    try {
      parseKeep(text)
      t.fail(text)
    } catch (error) {
      t.ok(isSynclineError(error, 'BAD_ARGUMENT'), text)
    }
  }
})
