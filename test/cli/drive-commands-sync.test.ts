import { randomBytes } from 'node:crypto'
import { rename } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assertions } from 'brittle'
import { start } from './program.ts'
import { plant, serve, share, stage } from './drive-stage.ts'

/** Runs `sync` until the test ends. Returns where it listens. */
async function seed(t: Assertions, ...argv: string[]): Promise<string> {
  const net = ['--no-swarm', '--listen', '127.0.0.1:0']
  const running = start(['sync', ...argv, ...net])
  t.teardown(async () => {
    running.child.kill('SIGINT')
    await running.ended
  })
  const [, address = ''] = await running.until(/listening on (\S+)/)
  return address
}

test('sync takes the blobs of a drive too, and seeds it', { timeout: 60_000 }, async (t) => {
  const { tmp, store, run, fails } = await stage(t)
  const dir = path.join(tmp, 'source')
  const large = randomBytes(400_000)
  await plant(dir, { 'a.txt': 'one', 'large.bin': large })
  const { key, peer } = await serve(t, path.join(tmp, 'other'), dir)
  const pull = ['--mode', 'pull', '--no-swarm', '--peer', peer]
  const bare = await run('sync', key, '--feed-only', ...pull, '--storage', path.join(tmp, 'bare'))
  t.is(bare.exit, 0, bare.stderr)
  t.is(bare.text.split('\n').length, 1)
  const pulled = await run('sync', key, ...pull, '--json')
  t.is(pulled.exit, 0, pulled.stderr)
  const events = pulled.text.split('\n').map((line) => JSON.parse(line) as { byteLength: number })
  t.is(events.length, 2)
  t.ok(events.some(({ byteLength }) => byteLength === large.byteLength + 3))
  t.is((await run('cat', key, 'a.txt')).text, 'one', 'it is read without a network')
  t.ok((await run('verify', key)).exit === 0)

  const seeder = await seed(t, key, '--storage', store)
  const far = ['--peer', seeder, '--storage', path.join(tmp, 'reader')]
  t.ok((await run('cat', key, 'large.bin', ...far)).stdout.equals(large))
  await fails(3, 'cat', key, 'nothing', ...far)
})

test('keys of drives are exported and imported', async (t) => {
  const { tmp, store, run, fails } = await stage(t)
  const dir = path.join(tmp, 'photos')
  await plant(dir, { 'a.txt': 'one' })
  const { key } = await share(store, dir)
  await run('mirror', dir, 'backup')
  const all = await run('keys', 'export')
  t.is(all.text.split('\n').length, 2)
  const one = await run('keys', 'export', 'photos')
  t.ok(one.text.includes(key))
  await fails(3, 'keys', 'export', 'nothing')

  const to = path.join(tmp, 'to')
  const moved = path.join(tmp, 'moved')
  await rename(dir, moved)
  t.is((await run('keys', 'import', '-', { input: one.stdout }, '--storage', to)).exit, 0)
  await plant(moved, { 'b.txt': 'two' })
  t.is((await share(to, moved)).key, key, 'it is shared on under its key')
  const bad = one.text.replace(/"publicKey":"../, '"publicKey":"zz')
  t.is((await run('keys', 'import', '-', { input: bad }, '--storage', to)).exit, 2)
})

test('sync of a share or a mirror serves it', { timeout: 60_000 }, async (t) => {
  const { tmp, store, run } = await stage(t)
  const dir = path.join(tmp, 'photos')
  await plant(dir, { 'a.txt': 'one' })
  const { key } = await share(store, dir)
  await run('mirror', dir, 'backup')
  const mirror = /[a-z0-9]{52}/.exec((await run('mirror', dir, 'backup')).text)?.[0] ?? ''
  for (const [name, wanted] of [
    [key, key],
    [dir, key],
    ['photos', key],
    ['backup', mirror]
  ] as const) {
    const far = ['--storage', path.join(tmp, 'reader')]
    const peer = await seed(t, name, '--storage', store)
    t.is((await run('cat', wanted, 'a.txt', '--peer', peer, ...far)).text, 'one', name)
  }
  const planned = await run('sync', 'backup', '-n', '--no-swarm', '--listen', '127.0.0.1:0')
  t.ok(planned.text.includes(mirror))
})
