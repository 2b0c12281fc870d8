import { readFileSync } from 'node:fs'
import { Writable } from 'node:stream'
import test from 'brittle'
import { COMMANDS } from '../../lib/cli/commands.ts'
import { blockRange, byteCount } from '../../lib/cli/common/flag.ts'
import { Log } from '../../lib/cli/common/log.ts'
import { parse } from '../../lib/cli/common/parse.ts'
import { Progress, type FeedStatus } from '../../lib/cli/common/progress.ts'
import { storageFolder } from '../../lib/cli/common/storage.ts'
import { inside, storage } from './inside.ts'

test('no command, and words that only begin one, print help and exit with 2', async (t) => {
  const none = await inside([])
  t.is(none.exit, 2)
  t.ok(none.stderr.includes('feed create NAME'))
  t.is(none.text, '')
  const group = await inside(['feed'])
  t.is(group.exit, 2)
  t.ok(group.stderr.includes('feed verify'))
  t.absent(group.stderr.includes('keys export'))
})

test('--help, help and --version go to stdout and exit with 0', async (t) => {
  for (const { name, summary } of COMMANDS) {
    const asked = await inside([...name.split(' '), '--help'])
    t.is(asked.exit, 0)
    t.ok(asked.text.startsWith(summary), name)
    t.is((await inside(['help', ...name.split(' ')])).text, asked.text)
  }
  t.is((await inside(['--help'])).exit, 0)
  const version = await inside(['--version'])
  t.is(version.exit, 0)
  t.ok(/^\d+\.\d+\.\d+/.test(version.text), version.text)
})

test('what is not known is an error with a hint and exits with 2', async (t) => {
  const cases: [argv: string[], sentence: RegExp, hint: RegExp][] = [
    [['fed', 'ls'], /no command fed/, /feed/],
    [['feed', 'craete', 'x'], /no command feed craete/, /feed create/],
    [['feed', 'ls', '--jsno'], /no flag --jsno/, /--json/],
    [['feed', 'ls', '--peer', 'a:1'], /no flag --peer/, /help feed ls/],
    [['feed', 'create'], /needs NAME/, /help feed create/],
    [['feed', 'create', 'a', 'b'], /does not take "b"/, /help/],
    [['help', 'nothing'], /no command nothing/, /--help/]
  ]
  for (const [argv, sentence, hint] of cases) {
    const { exit, stderr, text } = await inside(argv)
    t.is(exit, 2, argv.join(' '))
    t.is(text, '')
    const [error = '', code, hinted = ''] = stderr.split('\n')
    t.ok(error.startsWith('error: ') && sentence.test(error), error)
    t.is(code, 'code: BAD_ARGUMENT')
    t.ok(hinted.startsWith('hint: ') && hint.test(hinted), hinted)
  }
})

test('values that do not fit exit with 2 and say what would', async (t) => {
  const cases: [argv: string[], sentence: RegExp][] = [
    [['sync', '--mode', 'push'], /pull, follow, serve, both/],
    [['sync', '--range', '7:3'], /A:B/],
    [['sync', '--peer', 'localhost'], /HOST:PORT/],
    [['sync', '--limit-up', 'fast'], /500K/],
    [['sync', '--timeout', '-1'], /needs a value/],
    [['sync', '--timeout=-1'], /seconds/],
    [['sync', '--until-peers', '0'], /at least 1/],
    [['sync', '--storage'], /needs a value: DIR/],
    [['sync', '--storage', '--json'], /needs a value: DIR/],
    [['feed', 'ls', '--json=yes'], /takes no value/],
    [['sync', '--no-swarm'], /no way to any peer/],
    [['feed', 'info', 'hyper://short'], /holds no key/],
    [['feed', 'create', 'o'.repeat(52)], /look like a key/]
  ]
  const { syncline } = await storage(t)
  for (const [argv, sentence] of cases) {
    const bare = argv.includes('--storage') ? await inside(argv) : await syncline(...argv)
    t.is(bare.exit, 2, argv.join(' '))
    t.ok(sentence.test(bare.stderr), String(sentence))
  }
})

test('flags come from the environment, and the command line wins', (t) => {
  const env = {
    SYNCLINE_TIMEOUT: '7',
    SYNCLINE_PEER: '10.0.0.1:1,10.0.0.2:2',
    SYNCLINE_SWARM: '0',
    SYNCLINE_NO_PROGRESS: '1',
    SYNCLINE_LIMIT_UP: '2M',
    SYNCLINE_CHUNK: 'of no matter here'
  }
  const fromEnv = parse(['sync'], env, COMMANDS).values
  t.is(fromEnv.get('timeout'), 7)
  t.is(fromEnv.get('swarm'), false)
  t.is(fromEnv.get('progress'), false)
  t.is(fromEnv.get('limit-up'), 2_000_000)
  t.alike(fromEnv.get('peer'), [
    { host: '10.0.0.1', port: 1 },
    { host: '10.0.0.2', port: 2 }
  ])
  const argv = ['sync', '--timeout', '9', '--swarm', '--peer', '[::1]:5', 'key', '--', '--odd']
  const parsed = parse(argv, env, COMMANDS)
  t.is(parsed.values.get('timeout'), 9)
  t.is(parsed.values.get('swarm'), true)
  t.alike(parsed.values.get('peer'), [{ host: '::1', port: 5 }])
  t.alike(parsed.args, ['key', '--odd'])
})

test('a bad value in the environment is a usage error that names it', async (t) => {
  const { exit, stderr } = await inside(['feed', 'ls'], { env: { SYNCLINE_JSON: 'perhaps' } })
  t.is(exit, 2)
  t.ok(stderr.includes('SYNCLINE_JSON'))
})

test('flags may stand before the command', (t) => {
  const parsed = parse(['--json', 'feed', 'ls', '-v'], {}, COMMANDS)
  t.is(parsed.command?.name, 'feed ls')
  t.is(parsed.values.get('json'), true)
  t.is(parsed.values.get('verbose'), true)
})

test('a flag of one name means the same in every command', (t) => {
  const types = new Map<string, string>()
  for (const { name, flags } of COMMANDS) {
    for (const flag of flags) {
      const type = types.get(flag.name) ?? flag.type
      types.set(flag.name, type)
      if (type !== flag.type) t.fail(`${name} has another --${flag.name}`)
    }
  }
  t.ok(types.size > 10)
})

test('sizes and ranges', (t) => {
  const bytes = byteCount('x')
  t.alike(['0', '12', '1.5K', '3m', '2GB', '4MiB'].map(bytes), [0, 12, 1500, 3e6, 2e9, 4e6])
  const range = blockRange('x')
  t.alike(
    [range('2:5'), range('2:'), range(':5')],
    [
      [2, 5],
      [2, Infinity],
      [0, 5]
    ]
  )
})

test('the storage is where the system keeps such data', (t) => {
  if (process.platform !== 'linux') return t.pass('checked on Linux only')
  t.is(storageFolder({ get: fallback, env: { XDG_DATA_HOME: '/data' } }), '/data/syncline')
  t.is(
    storageFolder({ get: fallback, env: { HOME: '/home/me' } }),
    '/home/me/.local/share/syncline'
  )
})

test('-v shows the stack of an error, and it is hidden otherwise', async (t) => {
  const { syncline } = await storage(t)
  const plain = await syncline('feed', 'info', 'nothing')
  t.is(plain.exit, 3)
  t.is(plain.stderr.trim().split('\n').length, 2)
  t.ok(plain.stderr.includes('code: FEED_NOT_FOUND'))
  t.ok((await syncline('feed', 'info', 'nothing', '-v')).stderr.includes('    at '))
})

test('results that cannot be written are a failure like any other', async (t) => {
  const { folder, syncline } = await storage(t)
  await syncline('feed', 'create', 'logs')
  await syncline('feed', 'append', 'logs', { input: 'a\n' })
  for (const command of [['ls'], ['cat', 'logs'], ['info', 'logs', '--json']]) {
    const stdout = new Writable({
      write(_chunk, _, done) {
        done(Object.assign(new Error('no space left on device, write'), { code: 'ENOSPC' }))
      }
    })
    const { exit, stderr } = await inside(['feed', ...command, '--storage', folder], { stdout })
    t.is(exit, 1, command.join(' '))
    t.is(stderr, 'error: no space left on device, write\ncode: ENOSPC\n')
  }
})

test('progress is redrawn on a terminal and printed now and then elsewhere', (t) => {
  const status: FeedStatus = {
    label: 'logs',
    held: 50,
    wanted: 100,
    bytesPerSecond: 2e6,
    etaMs: 4000,
    peers: 1,
    waiting: null,
    done: false
  }
  const terminal = recorder(true)
  const bars = new Progress(terminal.log, 0)
  bars.update([status])
  bars.update([{ ...status, held: 75 }])
  t.is(
    terminal.text(),
    `${bar(12)} 50/100 blocks, 50 %, 1 peer, 2.0 MB/s, 4 s left\n\u001b[1A\u001b[J${bar(18)} 75/100 blocks, 75 %, 1 peer, 2.0 MB/s, 4 s left\n`
  )

  let now = 0
  const plain = recorder(false)
  const progress = new Progress(plain.log, 1000, () => now)
  for (; now <= 8000; now += 500) progress.update([{ ...status, held: now / 100 }])
  t.alike(
    lines(plain.text()).map((line) => line.split(' ')[1]),
    ['10/100', '40/100', '70/100']
  )

  now = 0
  const many = recorder(false)
  new Progress(many.log, 0, () => now).update(Array.from({ length: 10_000 }, () => status))
  t.is(lines(many.text()).length, 1, 'many feeds make one line')
})

test('every command stands in the file of its words', (t) => {
  const index = readFileSync(
    new URL('../../lib/cli/commands.ts', import.meta.url).pathname.replace('/dist/', '/'),
    'utf8'
  )
  for (const { name } of COMMANDS) t.ok(index.includes(`'./${name.replaceAll(' ', '/')}.ts'`), name)
})

function fallback<T>(flag: { readonly fallback: T }): T {
  return flag.fallback
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '')
}

function bar(full: number): string {
  return `[${'#'.repeat(full)}${'.'.repeat(24 - full)}] logs:`
}

function recorder(isTTY: boolean): { log: Log; text: () => string } {
  let text = ''
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      text += chunk.toString()
      done()
    }
  })
  Object.assign(stream, { isTTY, columns: 100, rows: 20 })
  const log = new Log(stream, { quiet: false, verbose: false, progress: true })
  return { log, text: () => text }
}
