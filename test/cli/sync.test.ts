import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createServer, type AddressInfo } from 'node:net'
import { open, readdir } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assertions } from 'brittle'
import { inside as local } from './inside.ts'
import { run, start, type Running } from './program.ts'

type Testnet = (
  size: number,
  options: { teardown: (run: () => unknown) => void }
) => Promise<{ bootstrap: { host: string; port: number }[] }>

const require = createRequire(import.meta.url)
const createTestnet = createRequire(require.resolve('hyperswarm'))('hyperdht/testnet') as Testnet

test(
  'pull over TCP by the command that the other side printed, then verify and repair',
  { timeout: 120_000 },
  async (t) => {
    const source = await makeFeed(t, randomBytes(300_000), ['--chunk', '1000'])
    const server = await serve(t, source.folder, ['--mode', 'serve'])
    t.is(server.command[0], 'syncline')
    t.ok(server.command.includes(source.key))
    const copy = server.command[server.command.indexOf('--storage') + 1] ?? ''
    const pulled = await run([...server.command.slice(1), '--json'])
    t.is(pulled.exit, 0)
    t.alike(JSON.parse(pulled.stdout.toString()), {
      event: 'synced',
      key: source.key,
      length: 300,
      byteLength: 300_000
    })
    t.ok((await local(['feed', 'cat', source.key, '--storage', copy])).stdout.equals(source.input))
    t.is((await local(['feed', 'verify', source.key, '--storage', copy])).exit, 0)

    await flipByte(copy, 123_456)
    const bad = await local(['feed', 'verify', source.key, '--storage', copy])
    t.is(bad.exit, 5)
    t.ok(bad.stdout.toString().startsWith('bad block 123\n'))
    const peer = ['--no-swarm', '--peer', server.address]
    const repaired = await run([
      'feed',
      'verify',
      source.key,
      '--storage',
      copy,
      '--repair',
      ...peer
    ])
    t.is(repaired.exit, 0)
    t.ok(repaired.stdout.toString().endsWith('1 repaired\n'))
    t.is((await local(['feed', 'verify', source.key, '--storage', copy])).exit, 0)
    t.ok((await local(['feed', 'cat', source.key, '--storage', copy])).stdout.equals(source.input))
    server.running.child.kill('SIGINT')
    t.is((await server.running.ended).exit, 130)
  }
)

test(
  'ranges are fetched and nothing else; cat fetches what is missing',
  { timeout: 120_000 },
  async (t) => {
    const all = Array.from({ length: 50 }, (_, i) => `line ${i}\n`)
    const source = await makeFeed(t, Buffer.from(all.join('')))
    const { address } = await serve(t, source.folder)
    const net = ['--storage', `${source.folder}-part`, '--no-swarm', '--peer', address]
    const ranges = ['--range', '3:5', '--range', '40:']
    t.is((await run(['sync', source.key, '--mode', 'pull', ...ranges, ...net])).exit, 0)
    const info = await local([
      'feed',
      'info',
      source.key,
      '--json',
      '--storage',
      `${source.folder}-part`
    ])
    t.is((JSON.parse(info.stdout.toString()) as { have: number }).have, 12)
    const cat = await local(['feed', 'cat', source.key, '--end', '45', ...net])
    t.is(cat.stdout.toString(), all.slice(0, 45).join(''))
    const fresh = ['--storage', `${source.folder}-fresh`, '--no-swarm', '--peer', address]
    t.is((await local(['feed', 'cat', source.key, ...fresh])).stdout.toString(), all.join(''))
  }
)

test('nobody has it in time: exit 4, and why', { timeout: 120_000 }, async (t) => {
  const tmp = await t.tmp()
  const key = 'y'.repeat(51) + 'o'
  // A free one could be given to a server of another test meanwhile; this one is given to nobody.
  const port = 1
  const away = run([
    'sync',
    key,
    '--mode',
    'pull',
    '--no-swarm',
    '--storage',
    `${tmp}/a`,
    '--peer',
    `127.0.0.1:${port}`,
    '--timeout',
    '2.5'
  ])
  const source = await makeFeed(t, Buffer.from('x\n'))
  const { address } = await serve(t, source.folder)
  const lacking = run([
    'sync',
    key,
    '--mode',
    'pull',
    '--no-swarm',
    '--storage',
    `${tmp}/b`,
    '--peer',
    address,
    '--timeout',
    '2.5'
  ])
  const bootstrap = await network(t)
  const unknown = run([
    'sync',
    key,
    '--mode',
    'pull',
    '--storage',
    `${tmp}/c`,
    '--bootstrap',
    bootstrap,
    '--timeout',
    '2.5'
  ])
  const cat = run([
    'feed',
    'cat',
    key,
    '--no-swarm',
    '--storage',
    `${tmp}/d`,
    '--peer',
    address,
    '--timeout',
    '1'
  ])
  const reasons = [
    [away, new RegExp(`waiting: 127.0.0.1:${port} is unreachable: .*ECONNREFUSED`)],
    [lacking, /waiting: connected to 1 peer lacking it/],
    [unknown, /waiting: nobody announces the key/],
    [cat, /code: TIMEOUT/]
  ] as const
  for (const [ending, reason] of reasons) {
    const { exit, stderr } = await ending
    t.is(exit, 4)
    t.ok(reason.test(stderr), String(reason))
    t.ok(stderr.includes('code: TIMEOUT'))
  }
  t.ok((await away).stderr.includes(`cannot reach 127.0.0.1:${port}, trying again`))
})

test('an address that fails at first is tried again', { timeout: 120_000 }, async (t) => {
  const source = await makeFeed(t, Buffer.from('late\n'))
  const port = await closedPort()
  const pulling = ended(
    t,
    start([
      'sync',
      source.key,
      '--mode',
      'pull',
      '--no-swarm',
      '--storage',
      `${source.folder}-copy`,
      '--peer',
      `127.0.0.1:${port}`
    ])
  )
  await pulling.until(/trying again/)
  await serve(t, source.folder, [], `127.0.0.1:${port}`)
  t.is((await pulling.ended).exit, 0)
})

test(
  'two processes find each other in a hash table, in any order',
  { timeout: 120_000 },
  async (t) => {
    const bootstrap = await network(t)
    const source = await makeFeed(t, Buffer.from('a\nb\nc\n'))
    const pulling = ended(
      t,
      start([
        'sync',
        source.key,
        '--mode',
        'pull',
        '--bootstrap',
        bootstrap,
        '--storage',
        `${source.folder}-copy`
      ])
    )
    await pulling.until(/nobody announces/)
    const server = ended(
      t,
      start([
        'sync',
        'feed',
        '--mode',
        'serve',
        '--bootstrap',
        bootstrap,
        '--storage',
        source.folder
      ])
    )
    const [, command = ''] = await server.until(/\n {2}(syncline .*)\n/)
    t.ok(command.includes(`--bootstrap ${bootstrap}`), command)
    t.is((await pulling.ended).exit, 0)
    const second = await run([
      'sync',
      source.key,
      '--mode',
      'pull',
      '--bootstrap',
      bootstrap,
      '--storage',
      `${source.folder}-second`
    ])
    t.is(second.exit, 0)
    server.child.kill('SIGINT')
    t.is((await server.ended).exit, 130)
  }
)

test(
  'follow gets what another process appends; --until-peers ends when it is safe',
  { timeout: 120_000 },
  async (t) => {
    const source = await makeFeed(t, Buffer.from('one\n'))
    const { address } = await serve(t, source.folder)
    const copy = ['--storage', `${source.folder}-copy`]
    const following = ended(
      t,
      start([
        'sync',
        source.key,
        '--mode',
        'follow',
        '--no-swarm',
        '--peer',
        address,
        '--json',
        ...copy
      ])
    )
    await following.until(/"length":1,/)
    const append = ['feed', 'append', 'feed', '--storage', source.folder]
    t.is((await local(append, { input: 'two\n' })).exit, 0)
    await following.until(/"length":2,/)
    following.child.kill('SIGTERM')
    t.is((await following.ended).exit, 143)

    const backup = await serve(
      t,
      `${source.folder}-copy`,
      ['--mode', 'follow'],
      undefined,
      source.key
    )
    await local(append, { input: 'three\n' })
    const safe = await run([
      'sync',
      'feed',
      '--until-peers',
      '1',
      '--no-swarm',
      '--peer',
      backup.address,
      '--storage',
      source.folder
    ])
    t.is(safe.exit, 0)
    backup.running.child.kill('SIGINT')
    await backup.running.ended
    t.is((await local(['feed', 'cat', source.key, ...copy])).stdout.toString(), 'one\ntwo\nthree\n')
  }
)

test(
  'an interrupted pull keeps what came, ends with 130, and goes on later',
  { timeout: 120_000 },
  async (t) => {
    const source = await makeFeed(t, randomBytes(12_000_000), ['--chunk', '60000'])
    const { address } = await serve(t, source.folder, ['--limit-up', '2M'])
    const words = [
      'sync',
      source.key,
      '--mode',
      'pull',
      '--no-swarm',
      '--peer',
      address,
      '--storage',
      `${source.folder}-copy`
    ]
    const pulling = ended(t, start(words))
    await pulling.until(/: [1-9]\d*\/200 blocks/)
    pulling.child.kill('SIGINT')
    const stopped = await pulling.ended
    t.is(stopped.exit, 130)
    const info = await local([
      'feed',
      'info',
      source.key,
      '--json',
      '--storage',
      `${source.folder}-copy`
    ])
    const { have } = JSON.parse(info.stdout.toString()) as { have: number }
    t.ok(have > 0 && have < 200, `${have} of 200 blocks were kept`)
    const fast = await serve(t, source.folder)
    t.is((await run([...words, '--peer', fast.address])).exit, 0)
    t.is(
      (await local(['feed', 'verify', source.key, '--storage', `${source.folder}-copy`])).exit,
      0
    )
  }
)

test('a server on all interfaces never prints a wildcard', { timeout: 120_000 }, async (t) => {
  const source = await makeFeed(t, Buffer.from('x\n'))
  const { running } = await serve(t, source.folder, [], '0.0.0.0:0')
  t.absent(running.stdout().includes('0.0.0.0'))
})

test('without a key all stored feeds are served, also many', { timeout: 120_000 }, async (t) => {
  const folder = `${await t.tmp()}/store`
  const keys: string[] = []
  for (const name of ['a', 'b', 'c']) {
    const created = await local(['feed', 'create', name, '--storage', folder])
    keys.push(created.stdout.toString().trim())
    await local(['feed', 'append', name, '--storage', folder], { input: `feed ${name}\n` })
  }
  const { address } = await serve(t, folder, [], undefined, null)
  const copy = ['--storage', `${folder}-copy`]
  const net = ['--mode', 'pull', '--no-swarm', '--peer', address, ...copy]
  t.is((await run(['sync', ...keys, ...net])).exit, 0)
  t.is((await run(['sync', ...net])).exit, 0, 'again, of what is stored')
  for (const [i, name] of ['a', 'b', 'c'].entries()) {
    const { stdout } = await local(['feed', 'cat', keys[i] ?? '', ...copy])
    t.is(stdout.toString(), `feed ${name}\n`)
  }
  t.is((await run(['sync', ...net.slice(0, -1), `${folder}-empty`])).exit, 2, 'nothing is stored')
})

test(
  'a feed whose secret key was imported is fetched before it is appended to',
  { timeout: 120_000 },
  async (t) => {
    const source = await makeFeed(t, Buffer.from('one\ntwo\n'))
    const { address } = await serve(t, source.folder)
    const { stdout: keys } = await local(['keys', 'export', '--storage', source.folder])
    const net = ['--mode', 'pull', '--no-swarm', '--timeout', '2']
    for (const named of [[], [source.key]]) {
      const to = ['--storage', `${source.folder}-moved-${named.length}`]
      await local(['keys', 'import', ...to], { input: keys })
      // Nobody listens there.
      const away = await run(['sync', ...named, ...net, '--peer', '127.0.0.1:1', ...to])
      t.is(away.exit, 4, away.stderr)
      const pulled = await run(['sync', ...named, ...net, '--peer', address, ...to])
      t.is(pulled.exit, 0, pulled.stderr)
      t.ok(pulled.stdout.toString().startsWith('synced '))
      t.is((await local(['feed', 'append', 'feed', ...to], { input: 'x' })).text, '3')
      const alone = await run(['sync', ...net, '--peer', '127.0.0.1:1', ...to])
      t.is(alone.exit, 0, 'one that is written here needs nothing unless it is named')
    }
  }
)

interface Source {
  readonly folder: string
  readonly key: string
  readonly input: Buffer
}

async function makeFeed(t: Assertions, input: Buffer, flags: string[] = []): Promise<Source> {
  const folder = `${await t.tmp()}/store`
  const created = await local(['feed', 'create', 'feed', '--storage', folder])
  await local(['feed', 'append', 'feed', ...flags, '--storage', folder], { input })
  return { folder, key: created.stdout.toString().trim(), input }
}

interface Server {
  readonly running: Running
  readonly address: string
  /** Words of the command for the other side. */
  readonly command: string[]
}

/** Serves a feed (all for null) over TCP until the test ends. */
async function serve(
  t: Assertions,
  folder: string,
  flags: string[] = [],
  listen = '127.0.0.1:0',
  feed: string | null = 'feed'
): Promise<Server> {
  const feeds = feed === null ? [] : [feed]
  const args = ['sync', ...feeds, '--no-swarm', '--listen', listen, '--storage', folder, ...flags]
  const running = ended(t, start(args))
  const [, address = ''] = await running.until(/listening on (\S+)\n/)
  const [, command = ''] = await running.until(/\n {2}(syncline .*)\n/)
  return { running, address, command: command.split(' ') }
}

function ended(t: Assertions, running: Running): Running {
  t.teardown(
    async () => {
      running.child.kill('SIGKILL')
      await running.ended
    },
    { order: -1 }
  )
  return running
}

async function network(t: Assertions): Promise<string> {
  const { bootstrap } = await createTestnet(3, { teardown: (end) => t.teardown(end) })
  const [node] = bootstrap
  return `${node?.host}:${node?.port}`
}

/** A port that nobody listens on. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Damages the blocks of the only feed in a storage. */
async function flipByte(folder: string, offset: number): Promise<void> {
  const files = await readdir(folder, { recursive: true })
  const data = files.find((file) => path.basename(file) === 'data')
  const handle = await open(path.join(folder, data ?? 'data'), 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, offset)
  byte[0] = (byte[0] ?? 0) ^ 1
  await handle.write(byte, 0, 1, offset)
  await handle.close()
}

test('cat of a feed of which nothing is known asks peers each time', async (t) => {
  const key = 'y'.repeat(51) + 'o'
  const store = ['--storage', path.join(await t.tmp(), 'store'), '--no-swarm']
  const cat = ['feed', 'cat', key, '--peer', '127.0.0.1:1', '--timeout', '0.3', ...store]
  t.is((await local(cat)).exit, 4)
  t.is((await local(cat)).exit, 4, 'what is stored by now is empty')
})

test("cat gets what a writer's own copy lacks from peers", { timeout: 60_000 }, async (t) => {
  const source = await makeFeed(t, Buffer.from('one\ntwo\nthree\n'))
  const { address } = await serve(t, source.folder)
  const other = `${source.folder}-other`
  const secret = await local(['keys', 'export', source.key, '--storage', source.folder])
  const imported = await local(['keys', 'import', '--storage', other], { input: secret.stdout })
  t.is(imported.exit, 0, imported.stderr)
  const net = ['--storage', other, '--no-swarm', '--peer', address, '--timeout', '20']
  t.is((await run(['sync', source.key, '--mode', 'pull', '--range', '2:3', ...net])).exit, 0)
  const cat = await local(['feed', 'cat', source.key, ...net])
  t.is(cat.exit, 0, cat.stderr)
  t.is(cat.stdout.toString(), 'one\ntwo\nthree\n')
})
