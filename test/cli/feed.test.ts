import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import test from 'brittle'
import { chunks, lines, type Cutter } from '../../lib/cli/common/blocks.ts'
import { storage } from './inside.ts'

test('create prints the key, ls lists it, info tells all of it', async (t) => {
  const { syncline } = await storage(t)
  t.is((await syncline('feed', 'ls')).text, '', 'nothing is there, and that is no error')
  const created = await syncline('feed', 'create', 'logs')
  t.is(created.exit, 0)
  const key = created.text
  t.ok(/^[a-z0-9]{52}$/.test(key), key)
  t.is((await syncline('feed', 'ls')).text, `${key}  rw  logs`)
  await syncline('feed', 'append', 'logs', { input: 'one\ntwo\n' })

  const info = JSON.parse((await syncline('feed', 'info', 'logs', '--json')).text) as {
    hex: string
    [name: string]: unknown
  }
  t.is(info['key'], key)
  t.ok(/^[0-9a-f]{64}$/.test(info.hex))
  t.ok(/^[0-9a-f]{64}$/.test(String(info['discoveryKey'])))
  const { length, byteLength, fork, contiguousLength, have, writable } = info
  t.alike(
    { length, byteLength, fork, contiguousLength, have, writable },
    {
      length: 2,
      byteLength: 8,
      fork: 0,
      contiguousLength: 2,
      have: 2,
      writable: true
    }
  )
  for (const form of [key, info.hex, info.hex.toUpperCase(), `hyper://${key}`, `pear://${key}/`]) {
    const found = await syncline('feed', 'info', form, '--json')
    t.alike(JSON.parse(found.text), info, form)
  }
  const [record] = (await syncline('feed', 'ls', '--long', '--json')).text.split('\n')
  t.alike(JSON.parse(record ?? ''), { key, name: 'logs', writable: true, length: 2, byteLength: 8 })

  const again = await syncline('feed', 'create', 'logs')
  t.is(again.exit, 1)
  t.ok(again.stderr.includes('code: FEED_EXISTS'))
})

test('append then cat gives every input back byte for byte', async (t) => {
  const { syncline } = await storage(t)
  const inputs: [name: string, input: Buffer, flags: string[], length: number][] = [
    ['lines', Buffer.from('a\nb\n\nd\n'), [], 4],
    ['no-last-newline', Buffer.from('a\nb'), [], 2],
    ['only-newlines', Buffer.from('\n\n\n'), [], 3],
    ['crlf-and-utf8', Buffer.from('één\r\n雪\r\n'), [], 2],
    ['empty', Buffer.alloc(0), [], 0],
    ['binary-lines', randomBytes(100_000), [], -1],
    ['chunks', randomBytes(100_000), ['--chunk', '4096'], 25],
    ['even-chunks', randomBytes(8192), ['--chunk', '4096'], 2],
    ['one-byte-chunks', Buffer.from('xyz'), ['--chunk', '1'], 3],
    ['empty-chunks', Buffer.alloc(0), ['--chunk', '4K'], 0]
  ]
  for (const [name, input, flags, length] of inputs) {
    await syncline('feed', 'create', name)
    const appended = await syncline('feed', 'append', name, ...flags, { input })
    t.is(appended.exit, 0)
    if (length >= 0) t.is(appended.text, String(length), name)
    t.ok((await syncline('feed', 'cat', name)).stdout.equals(input), `${name} came back`)
  }
})

test('a large input in odd pieces comes back, and ranges of it', async (t) => {
  const { syncline } = await storage(t)
  const all = Array.from({ length: 60_000 }, (_, i) => `line ${i} ${'x'.repeat(i % 7)}\n`)
  const input = Buffer.from(all.join(''))
  const pieces: Buffer[] = []
  for (let at = 0; at < input.byteLength; at += 9973) pieces.push(input.subarray(at, at + 9973))
  await syncline('feed', 'create', 'big')
  const appended = await syncline('feed', 'append', 'big', { input: Readable.from(pieces) })
  t.is(appended.text, '60000')
  t.ok((await syncline('feed', 'cat', 'big')).stdout.equals(input))
  const part = await syncline('feed', 'cat', 'big', '--start', '100', '--end', '40000')
  t.is(part.stdout.toString(), all.slice(100, 40_000).join(''))
  t.is((await syncline('feed', 'cat', 'big', '--start', '60000')).text, '')
  t.is((await syncline('feed', 'cat', 'big', '--start', '5', '--end', '4')).exit, 2)
})

test('files are appended one after the other, stdin where - stands', async (t) => {
  const { folder, syncline } = await storage(t)
  mkdirSync(folder, { recursive: true })
  const file = `${folder}-input`
  writeFileSync(file, 'from a file')
  await syncline('feed', 'create', 'f')
  const appended = await syncline('feed', 'append', 'f', file, '-', file, '--json', {
    input: '1\n2'
  })
  t.alike(JSON.parse(appended.text), { length: 4, blocks: 4, bytes: 25 })
  t.is((await syncline('feed', 'cat', 'f')).text, 'from a file1\n2from a file')

  const missing = await syncline('feed', 'append', 'f', file, `${file}-missing`)
  t.is(missing.exit, 3)
  t.ok(missing.stderr.includes('code: ENOENT'))
  t.ok((await syncline('feed', 'ls', '-l')).text.includes(' 4  '), 'nothing of it was appended')
  t.is((await syncline('feed', 'append', 'nothing', { input: 'x' })).exit, 3)
  for (const flags of [['-n'], ['--no-swarm', '--listen', '127.0.0.1:0']]) {
    const unknown = await syncline('sync', 'nothing', ...flags)
    t.is(unknown.exit, 3)
    t.ok(unknown.stderr.includes('nothing is neither a feed nor a drive'), unknown.stderr)
  }
})

test('an interrupt keeps the whole lines that came', async (t) => {
  const { syncline } = await storage(t)
  await syncline('feed', 'create', 'live')
  const interrupted = new AbortController()
  const pieces = ['one\ntw', 'o\nthr']
  const input = new Readable({
    highWaterMark: 1,
    read() {
      const piece = pieces.shift()
      // All were taken: it waits for more when the signal comes.
      if (piece === undefined) setImmediate(() => interrupted.abort(130))
      else this.push(piece)
    }
  })
  const appending = syncline('feed', 'append', 'live', { input, signal: interrupted.signal })
  t.is((await appending).exit, 130)
  t.is((await syncline('feed', 'cat', 'live')).text, 'one\ntwo')
})

test('rm refuses a writable feed with exit 6, unless it is forced', async (t) => {
  const { syncline } = await storage(t)
  await syncline('feed', 'create', 'mine')
  const refused = await syncline('feed', 'rm', 'mine')
  t.is(refused.exit, 6)
  t.ok(refused.stderr.includes('code: REFUSED'))
  t.is((await syncline('feed', 'rm', 'mine', '--force', '--dry-run')).exit, 0)
  t.ok((await syncline('feed', 'ls')).text.includes('mine'), 'it is still there')
  t.is((await syncline('feed', 'rm', 'mine', '--force')).exit, 0)
  t.is((await syncline('feed', 'ls')).text, '')
  t.is((await syncline('feed', 'rm', 'mine')).exit, 3)
})

test('a dry run writes nothing', async (t) => {
  const { folder, syncline } = await storage(t)
  t.ok((await syncline('feed', 'create', 'x', '-n')).text.includes('would create'))
  t.absent(existsSync(folder))
  const { text: key } = await syncline('feed', 'create', 'x')
  t.is((await syncline('feed', 'append', 'x', '-n', { input: 'a\nb\n' })).text, '2')
  t.is((await syncline('sync', 'x', '-n')).text, `would sync ${key} (both)`)
  t.is((await syncline('feed', 'cat', 'x')).text, '')
})

test('keys go to another store, which can append then', async (t) => {
  const from = await storage(t)
  const to = await storage(t)
  await from.syncline('feed', 'create', 'one')
  await from.syncline('feed', 'create', 'two')
  const all = await from.syncline('keys', 'export')
  t.is(all.text.split('\n').length, 2)
  const file = `${from.folder}-keys`
  t.is((await from.syncline('keys', 'export', 'two', '--output', file)).exit, 0)
  if (process.platform !== 'win32') t.is(statSync(file).mode & 0o777, 0o600)
  t.is((await from.syncline('keys', 'export', '--output', file)).exit, 6, 'nothing is overwritten')

  const dry = await to.syncline('keys', 'import', file, '-n')
  t.ok(dry.text.startsWith('would import'))
  t.is((await to.syncline('feed', 'ls')).text, '')
  t.is((await to.syncline('keys', 'import', file)).exit, 0)
  t.is((await to.syncline('feed', 'ls')).text.split('  ')[1], 'rw')
  t.is((await to.syncline('feed', 'append', 'two', { input: 'x' })).text, '1')
  t.is((await to.syncline('keys', 'import', '-', { input: all.stdout })).exit, 0)
  t.is((await to.syncline('feed', 'ls')).text.split('\n').length, 2)

  const bad = await to.syncline('keys', 'import', { input: '{"key":"nonsense"}\n' })
  t.is(bad.exit, 2)
  t.ok(bad.stderr.includes('line 1') && bad.stderr.includes('code: BAD_KEY'))
  t.is((await to.syncline('keys', 'export', 'nothing')).exit, 3)
})

test('input is cut the same way however it arrives', (t) => {
  const input = Buffer.from('ab\n\ncdefgh\nxyz')
  const cut = (make: () => Cutter, step: number): string[] => {
    const cutter = make()
    const blocks: string[] = []
    for (let at = 0; at < input.byteLength; at += step) {
      const piece = Buffer.from(input.subarray(at, at + step))
      blocks.push(...cutter.push(piece).map(String))
    }
    const last = cutter.end()
    return last === null ? blocks : [...blocks, String(last)]
  }
  for (let step = 1; step <= input.byteLength; step++) {
    t.alike(cut(lines, step), ['ab\n', '\n', 'cdefgh\n', 'xyz'], `lines by ${step}`)
    t.alike(
      cut(() => chunks(4), step),
      ['ab\n\n', 'cdef', 'gh\nx', 'yz'],
      `chunks by ${step}`
    )
  }
})
