import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, symlink, writeFile, chmod } from 'node:fs/promises'
import path from 'node:path'
import { Writable } from 'node:stream'
import test from 'brittle'
import { clone, plant, serve, share, stage } from './drive-stage.ts'

/** Longer than peers may bring nothing to who waits for it. */
const RESTS_MS = 6000

test('ls, cat and log of a folder here, by path, name and key, at any version', async (t) => {
  const { tmp, run, store, fails } = await stage(t)
  const dir = path.join(tmp, 'photos')
  await plant(dir, {
    'a.txt': 'one\n',
    'sub/b.txt': '0123456789',
    'sub/deep/c.bin': 'c',
    empty: null
  })
  await symlink('a.txt', path.join(dir, 'link'))
  await chmod(path.join(dir, 'a.txt'), 0o750)
  const first = await share(store, dir)
  await plant(dir, { 'd.txt': 'new' })
  await rm(path.join(dir, 'sub/b.txt'))
  const second = await share(store, dir)

  for (const drive of [dir, path.join(dir, 'sub', 'deep'), 'photos', first.key]) {
    const listed = await run('ls', drive, '--json')
    t.is(listed.exit, 0)
    t.alike(names(listed.text), ['/a.txt', '/d.txt', '/empty', '/link', '/sub'])
  }
  const all = await run('ls', dir, '-r', '--at', String(first.version), '--json')
  t.alike(names(all.text), ['/a.txt', '/empty', '/link', '/sub/b.txt', '/sub/deep/c.bin'])
  const [file = ''] = all.text.split('\n')
  t.alike(JSON.parse(file), {
    name: '/a.txt',
    kind: 'file',
    size: 4,
    executable: true,
    mtime: 1_700_000_000_000,
    mode: 0o750
  })
  t.alike(names((await run('ls', dir, 'sub', '--json')).text), ['/sub/deep'])
  t.is((await run('ls', dir, '/a.txt')).text, '-rwxr-x---       4 B  2023-11-14 22:13  /a.txt')
  t.ok((await run('ls', dir)).text.includes('/link -> a.txt'))

  t.is((await run('cat', dir, 'a.txt')).stdout.toString(), 'one\n')
  t.is((await run('cat', dir, 'link')).stdout.toString(), 'one\n', 'links are followed')
  t.is((await run('cat', dir, '/a.txt', '--start', '1', '--end', '3')).stdout.toString(), 'ne')
  t.is((await run('cat', dir, '/a.txt', '--start', '9')).stdout.toString(), '')
  t.ok((await fails(3, 'cat', dir, 'b')).includes('has no /b in version'))
  t.ok((await fails(2, 'cat', dir, 'sub')).includes('is a folder'))
  t.ok((await fails(3, 'ls', dir, 'nothing')).includes('/nothing'))
  t.ok((await fails(3, 'ls', 'nowhere')).includes('is no drive'))
  t.ok((await fails(3, 'ls', tmp)).includes('neither shared nor cloned'))
  t.ok((await fails(3, 'ls', dir, '--at', '99')).includes(`the newest is ${second.version}`))
  t.ok((await fails(3, 'ls', dir, '--at', '3')).includes('syncline log'))
  t.ok((await fails(2, 'ls', dir, '../x')).includes('leads out'))

  const log = (await run('log', dir, '--json')).text.split('\n').map((line) => JSON.parse(line))
  const begun = new Set(log.slice(0, 5).map(({ name }) => name))
  t.alike(begun, new Set(['/a.txt', '/empty', '/link', '/sub/b.txt', '/sub/deep/c.bin']))
  t.ok(log.slice(0, 5).every(({ version, type }) => version === first.version && type === 'put'))
  t.alike(
    log.slice(5).map(({ version, type, name }) => [version, type, name]),
    [
      [second.version, 'put', '/d.txt'],
      [second.version, 'del', '/sub/b.txt']
    ]
  )
  t.is((await run('log', dir, 'sub/b.txt')).text.split('\n').length, 2)
  t.ok((await fails(3, 'log', dir, 'nothing')).includes('/nothing'))

  const diff = await run('diff', dir, String(first.version), String(second.version))
  t.alike(diff.text.split('\n'), ['+      3 B  /d.txt', '-     10 B  /sub/b.txt'])
  await fails(2, 'diff', dir, 'x', '2')
  t.absent(existsSync(path.join(store, 'cores')), 'nothing was stored')
})

function names(text: string): string[] {
  return text.split('\n').map((line) => (JSON.parse(line) as { name: string }).name)
}

test(
  'names that hold control characters move no cursor and begin no line',
  { skip: process.platform === 'win32' },
  async (t) => {
    const { tmp, run, store } = await stage(t)
    const dir = path.join(tmp, 'odd')
    await plant(dir, { '\u001b[2Jtwo\nlines\u009b': 'x' })
    const { version } = await share(store, dir)
    const shown = '/\\x1b[2Jtwo\\nlines\\x9b'
    for (const words of [
      ['ls', dir],
      ['log', dir],
      ['diff', dir, '1', String(version)]
    ]) {
      const { text } = await run(...words)
      t.ok(text.endsWith(`  ${shown}`) && !text.includes('\n'), words[0])
    }
    const [listed = ''] = (await run('ls', dir, '--json')).text.split('\n')
    t.is((JSON.parse(listed) as { name: string }).name, '/\u001b[2Jtwo\nlines\u009b')
    await plant(dir, { 'new\u0007': 'x' })
    t.ok((await run('status', dir)).text.endsWith('+ /new\\x07'))
    const missing = await run('cat', dir, '\u001b[31mred')
    t.absent(missing.stderr.includes('\u001b'), 'nor in what is told on stderr')
  }
)

test('what its owner changed in place is not kept; copies are', async (t) => {
  const { tmp, store, run, fails } = await stage(t)
  const large = randomBytes(3_000_000)
  const trees = { 'a.txt': 'before', 'large.bin': large }
  const [placed, copied] = [path.join(tmp, 'placed'), path.join(tmp, 'copied')]
  for (const dir of [placed, copied]) await plant(dir, trees)
  const { version } = await share(store, placed)
  await share(store, copied, { copy: true })
  for (const dir of [placed, copied]) {
    await writeFile(path.join(dir, 'a.txt'), 'after!')
    await writeFile(path.join(dir, 'large.bin'), 'x')
  }
  // Not imported yet: the newest version cannot be read either.
  t.ok((await fails(3, 'cat', placed, 'a.txt')).includes('in place'))
  t.is((await run('cat', copied, 'a.txt')).text, 'before')
  for (const dir of [placed, copied]) await share(store, dir)
  const at = ['--at', String(version)]
  t.is((await run('cat', placed, 'a.txt')).text, 'after!')
  t.ok((await fails(3, 'cat', placed, 'a.txt', ...at)).includes('share --copy'))
  t.ok(
    (await fails(3, 'restore', placed, 'a.txt', path.join(tmp, 'x'), ...at)).includes('not kept')
  )
  t.is((await run('cat', copied, 'a.txt', ...at)).text, 'before')
  const part = ['--start', '65530', '--end', '2000001']
  const piece = await run('cat', copied, 'large.bin', ...part, ...at)
  t.ok(piece.stdout.equals(large.subarray(65_530, 2_000_001)))

  const to = path.join(tmp, 'restored')
  const done = await run('restore', copied, '/', to, ...at)
  t.is(done.exit, 0)
  t.ok((await readFile(path.join(to, 'large.bin'))).equals(large))
  t.is(await readFile(path.join(to, 'a.txt'), 'utf8'), 'before')
  t.absent(existsSync(path.join(to, '.syncline')), 'nothing of ours is left there')
  t.ok((await fails(6, 'restore', copied, 'a.txt', to, ...at)).includes('--force'))
  t.ok(
    (await fails(6, 'restore', copied, 'a.txt', ...at)).includes('--force'),
    'in the folder itself'
  )
  t.is((await run('restore', copied, 'a.txt', '--force', ...at)).exit, 0)
  t.is(await readFile(path.join(copied, 'a.txt'), 'utf8'), 'before')
  const planned = await run('restore', copied, '/', path.join(tmp, 'other'), '-n', '--json')
  t.is(planned.text.split('\n').length, 2)
  t.absent(existsSync(path.join(tmp, 'other')))
})

test('a drive that is not here is read from peers, and only what is read', async (t) => {
  const { tmp, store, run, fails } = await stage(t)
  const dir = path.join(tmp, 'source')
  const large = randomBytes(5_000_000)
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`many/${i}.txt`, `${i}`]))
  await plant(dir, { ...many, 'large.bin': large })
  const { key, peer, shared } = await serve(t, path.join(tmp, 'other'), dir)
  const { version } = shared.folder.index
  const net = ['--peer', peer]
  t.is((await run('ls', key, '-r', ...net)).text.split('\n').length, 301)
  const blobs = await shared.folder.blobs()
  let sent = 0
  blobs.session.on('upload', (_, byteLength) => (sent += byteLength))
  const piece = await run('cat', key, 'large.bin', '--start', '1000000', '--end', '1000010', ...net)
  t.is(piece.exit, 0, piece.stderr)
  t.ok(piece.stdout.equals(large.subarray(1_000_000, 1_000_010)))
  t.ok(sent < 1_000_000, `${sent} bytes of blobs were sent`)
  const to = path.join(tmp, 'x')
  t.is((await run('restore', key, 'many', to, ...net)).exit, 0)
  t.is(await readFile(path.join(to, '299.txt'), 'utf8'), '299')
  t.is((await run('log', key, ...net)).exit, 0)
  t.ok((await fails(2, 'ls', key)).includes('no way to any peer'))
  await fails(4, 'ls', 'y'.repeat(51) + 'o', '--timeout', '1', ...net)

  await writeFile(path.join(dir, 'large.bin'), 'short')
  await shared.import()
  const gone = ['cat', key, 'large.bin', '--at', String(version), ...net]
  t.ok((await fails(3, ...gone)).includes('not kept any more'))
  t.absent(existsSync(path.join(store, 'cores')), 'nothing was stored')
})

test(
  'a file of peers comes whole, however long its reader rests and however slow the line is',
  { timeout: 60_000 },
  async (t) => {
    const { tmp, run } = await stage(t)
    const dir = path.join(tmp, 'source')
    // More than is read ahead, and two blocks of which the second has to wait.
    const [large, small] = [randomBytes(6_000_000), randomBytes(131_072)]
    await plant(dir, { 'large.bin': large, 'small.bin': small })
    const { key, peer } = await serve(t, path.join(tmp, 'other'), dir)
    const pieces: Buffer[] = []
    const stdout = new Writable({
      highWaterMark: 1,
      write(piece: Buffer, _, done) {
        pieces.push(Buffer.from(piece))
        if (pieces.length === 1) setTimeout(done, RESTS_MS)
        else done()
      }
    })
    const rested = run('cat', key, 'large.bin', '--peer', peer, { stdout })
    const limits = ['--limit-down', '9K', '--timeout', '3']
    const slow = await run('cat', key, 'small.bin', '--peer', peer, ...limits)
    t.is(slow.exit, 0, slow.stderr)
    t.ok(slow.stdout.equals(small))
    const { exit, stderr } = await rested
    t.is(exit, 0, stderr)
    t.ok(Buffer.concat(pieces).equals(large))
  }
)

test('a clone gives old versions from its trash, and fetches what it did not take', async (t) => {
  const { tmp, store, run, fails } = await stage(t)
  const dir = path.join(tmp, 'source')
  await plant(dir, { 'a.txt': 'before', 'b.txt': 'b', 'keep.bin': randomBytes(100_000) })
  const { key, peer, shared } = await serve(t, path.join(tmp, 'other'), dir)
  const { version } = shared.folder.index
  const copy = path.join(tmp, 'copy')
  await clone(store, shared.key, peer, copy, { only: ['a.txt', 'keep.bin'] })
  await writeFile(path.join(dir, 'a.txt'), 'after')
  await shared.import()
  await clone(store, shared.key, peer, copy)
  const at = ['--at', String(version)]
  t.is((await run('cat', copy, 'a.txt')).text, 'after')
  t.is((await run('cat', 'copy', 'a.txt', ...at)).text, 'before', 'from the trash')
  const to = path.join(copy, 'a-before.txt')
  t.is((await run('restore', copy, 'a.txt', to, ...at)).exit, 0)
  t.is(await readFile(to, 'utf8'), 'before')
  await fails(3, 'cat', copy, 'b.txt')
  t.is((await run('cat', copy, 'b.txt', '--peer', peer)).text, 'b')
  t.ok(key.length > 0)
})

test('an encrypted drive needs its key', async (t) => {
  const { tmp, store, run, fails } = await stage(t)
  const dir = path.join(tmp, 'secret')
  await plant(dir, { 'a.txt': 'hidden' })
  const encryptionKey = randomBytes(32)
  await share(store, dir, { encryptionKey })
  t.is((await run('cat', dir, 'a.txt')).text, 'hidden', 'the store knows it')
  await mkdir(path.join(tmp, 'empty'))
  const elsewhere = ['--storage', path.join(tmp, 'empty')]
  t.ok((await fails(1, 'cat', dir, 'a.txt', ...elsewhere)).includes('ENCRYPTED'))
  const given = ['--encryption-key', encryptionKey.toString('hex')]
  t.is((await run('cat', dir, 'a.txt', ...given, ...elsewhere)).exit, 0)
})
