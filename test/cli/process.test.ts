import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test, { type Assertions } from 'brittle'
import { COMMANDS } from '../../lib/cli/commands.ts'
import { NODE_ARGS, run, start, type Running } from './program.ts'

test(
  'the program as a process: results on stdout, errors on stderr, exit codes',
  { timeout: 120_000 },
  async (t) => {
    const env = { SYNCLINE_STORAGE: `${await t.tmp()}/store` }
    const created = await run(['feed', 'create', 'logs'], { env })
    t.is(created.exit, 0)
    t.is(created.stdout.byteLength, 53)
    t.is(created.stderr, '')
    t.is((await run(['feed', 'append', 'logs'], { env, input: 'a\nb' })).stdout.toString(), '2\n')
    t.is((await run(['feed', 'cat', 'logs'], { env })).stdout.toString(), 'a\nb')
    const none = await run([])
    t.is(none.exit, 2)
    t.is(none.stdout.byteLength, 0)
    t.is((await run(['feed', 'rm', 'logs'], { env })).exit, 6)
    t.is((await run(['feed', 'info', 'nothing'], { env })).exit, 3)
  }
)

test('a reader that goes away, as head does, ends cat quietly', { timeout: 120_000 }, async (t) => {
  const env = { SYNCLINE_STORAGE: `${await t.tmp()}/store` }
  await run(['feed', 'create', 'big'], { env })
  await run(['feed', 'append', 'big'], { env, input: 'a line of text\n'.repeat(200_000) })
  const cat = start(['feed', 'cat', 'big'], { env })
  cat.child.stdout?.once('data', () => cat.child.stdout?.destroy())
  const [exit] = (await once(cat.child, 'exit')) as [number | null]
  t.is(exit, 0)
  t.is(cat.stderr(), '')
})

test(
  'a second writer is refused with the pid of the first; readers are not',
  { timeout: 120_000 },
  async (t) => {
    const env = { SYNCLINE_STORAGE: `${await t.tmp()}/store` }
    await run(['feed', 'create', 'logs'], { env })
    const first = started(
      t,
      start(['feed', 'append', 'logs'], { env, input: 'a\n', keepStdin: true })
    )
    await until(
      async () => (await run(['feed', 'cat', 'logs'], { env })).stdout.toString() === 'a\n'
    )
    const second = await run(['feed', 'append', 'logs'], { env, input: 'b\n' })
    t.is(second.exit, 6)
    t.ok(second.stderr.includes('code: FEED_LOCKED'))
    t.ok(second.stderr.includes(String(first.child.pid)), second.stderr.split('\n')[0])
    t.is((await run(['feed', 'info', 'logs'], { env })).exit, 0)
    t.is((await run(['feed', 'verify', 'logs'], { env })).exit, 0)
    first.child.stdin?.end('last')
    t.is((await first.ended).stdout.toString(), '2\n')
  }
)

test(
  'cat --live goes on with what another process appends, until it is interrupted',
  { timeout: 120_000 },
  async (t) => {
    const env = { SYNCLINE_STORAGE: `${await t.tmp()}/store` }
    await run(['feed', 'create', 'logs'], { env })
    await run(['feed', 'append', 'logs'], { env, input: 'one\n' })
    const live = started(t, start(['feed', 'cat', 'logs', '--live'], { env }))
    await live.until(/one/)
    await run(['feed', 'append', 'logs'], { env, input: 'two\nthree\n' })
    await live.until(/three/)
    live.child.kill('SIGINT')
    const { exit, stdout, stderr } = await live.ended
    t.is(exit, 130)
    t.is(stdout.toString(), 'one\ntwo\nthree\n')
    t.is(stderr, '')
  }
)

test('bash completes commands, flags, their values and feeds', { timeout: 120_000 }, async (t) => {
  const env = { SYNCLINE_STORAGE: `${await t.tmp()}/store` }
  for (const name of ['alpha', 'alto', 'beta', 'odd name'])
    await run(['feed', 'create', name], { env })
  const program = [process.execPath, ...NODE_ARGS].map((word) => `'${word}'`).join(' ')
  const cases: [line: string, expected: string][] = [
    [
      'syncline ',
      [...new Set(COMMANDS.map(({ name }) => name.split(' ')[0] ?? ''))]
        .sort((a, b) => (a < b ? -1 : 1))
        .join(' ')
    ],
    ['syncline clone al', ''],
    ['syncline fe', 'feed'],
    ['syncline feed c', 'cat create'],
    ['syncline --storage x feed v', 'verify'],
    ['syncline help feed r', 'rm'],
    ['syncline feed cat --st', '--start --storage'],
    ['syncline feed rm --f', '--force'],
    ['syncline sync --no-', '--no-progress --no-swarm'],
    ['syncline sync --mode p', 'pull'],
    ['syncline feed info al', 'alpha alto'],
    ['syncline feed cat ', 'alpha alto beta'],
    ['syncline sync KEY al', 'alpha alto'],
    ['syncline keys export be', 'beta'],
    ['syncline feed create ', '']
  ]
  const script = `
    syncline() { ${program} "$@"; }
    source <(syncline completion bash) || exit 9
    complete -p syncline > /dev/null || exit 8
    complete_line() {
      COMP_LINE="$1"; COMP_POINT=\${#1}; read -ra COMP_WORDS <<< "$1"
      [[ $1 == *' ' ]] && COMP_WORDS+=('')
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); COMPREPLY=(); _syncline
      echo "\${COMPREPLY[@]}" | tr ' ' '\\n' | sort | xargs
    }
    ${cases.map(([line]) => `complete_line '${line}'`).join('\n')}`
  const bash = spawn('bash', ['-c', script], {
    env: { ...process.env, ...env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  let errors = ''
  bash.stdout.on('data', (data: Buffer) => (output += data.toString()))
  bash.stderr.on('data', (data: Buffer) => (errors += data.toString()))
  const [exit] = (await once(bash, 'close')) as [number]
  t.is(exit, 0)
  t.is(errors, '')
  const found = output.split('\n')
  cases.forEach(([line, expected], i) => t.is(found[i], expected, line))
})

function started(t: Assertions, running: Running): Running {
  t.teardown(() => running.child.kill('SIGKILL'))
  return running
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 50))
}
