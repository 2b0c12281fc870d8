/**
 * The main job on real input: a file of at least 20 MB goes from one process to another over a swarm.
 *
 *     npm run demo
 *
 * It starts a distributed hash table on the loopback, appends the file to a feed, serves it in one process,
 * pulls it in a second one that knows nothing but the key, and compares what came byte for byte.
 *
 * @module
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdtemp, open, rm, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

type Testnet = (size: number) => Promise<{
  readonly bootstrap: readonly { readonly host: string; readonly port: number }[]
  destroy(): Promise<void>
}>

const LEAST_BYTES = 20_000_000
const MOST_BYTES = 400_000_000
const CHUNK_BYTES = 65_536
/** The whole demo ends within this time, whatever happens. */
const DEADLINE_MS = 55_000

const isBuilt = import.meta.url.endsWith('.js')
const program = fileURLToPath(
  new URL(`../../bin/syncline.${isBuilt ? 'js' : 'ts'}`, import.meta.url)
)
const nodeArgs = isBuilt ? [program] : ['--import', import.meta.resolve('tsx'), program]
const children = new Set<ChildProcess>()

function start(args: readonly string[], stdio: StdioOptions): ChildProcess {
  console.log(`\n$ syncline ${args.join(' ')}`)
  const child = spawn(process.execPath, [...nodeArgs, ...args], { stdio })
  children.add(child)
  child.on('exit', () => children.delete(child))
  return child
}

/** Runs a command to its end and returns what it printed. */
async function run(...args: string[]): Promise<string> {
  const child = start(args, ['ignore', 'pipe', 'inherit'])
  let text = ''
  child.stdout?.on('data', (data: Buffer) => (text += data.toString()))
  const [exit] = (await once(child, 'close')) as [number | null]
  if (exit !== 0) throw new Error(`syncline ${args[0] ?? ''} ended with ${exit}`)
  process.stdout.write(text)
  return text.trim()
}

/** Resolves when a process has printed something that fits. */
function printed(child: ChildProcess, pattern: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    child.stdout?.on('data', (data: Buffer) => {
      process.stdout.write(data)
      text += data.toString()
      if (pattern.test(text)) resolve()
    })
    child.on('exit', (exit) => reject(new Error(`it ended with ${exit} too early`)))
  })
}

/** A real file that is large enough: node itself, else one that is made. */
async function findFile(folder: string): Promise<string> {
  const { size } = await stat(process.execPath)
  if (size >= LEAST_BYTES && size <= MOST_BYTES) return process.execPath
  const file = path.join(folder, 'random')
  const handle = await open(file, 'w')
  for (let bytes = 0; bytes < 2 * LEAST_BYTES; bytes += 1_000_000) {
    await handle.write(randomBytes(1_000_000))
  }
  await handle.close()
  return file
}

/** True if both streams hold the same bytes. */
async function isSame(one: Readable, other: Readable): Promise<boolean> {
  const others = other[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of one as AsyncIterable<Buffer>) {
    let at = 0
    while (at < chunk.byteLength) {
      if (rest.byteLength === 0) {
        const next = await others.next()
        if (next.done === true) return false
        rest = next.value
      }
      const count = Math.min(rest.byteLength, chunk.byteLength - at)
      if (!rest.subarray(0, count).equals(chunk.subarray(at, at + count))) return false
      rest = rest.subarray(count)
      at += count
    }
  }
  return rest.byteLength === 0 && (await others.next()).done === true
}

async function demo(folder: string, bootstrap: string): Promise<boolean> {
  const [here, there] = [path.join(folder, 'here'), path.join(folder, 'there')]
  const file = await findFile(folder)
  const { size } = await stat(file)
  console.log(`${file}: ${(size / 1e6).toFixed(1)} MB`)

  const key = await run('feed', 'create', 'demo', '--storage', here)
  await run('feed', 'append', 'demo', file, '--chunk', String(CHUNK_BYTES), '--storage', here)
  const server = start(
    ['sync', 'demo', '--mode', 'serve', '--bootstrap', bootstrap, '--storage', here],
    ['ignore', 'pipe', 'inherit']
  )
  await printed(server, /for the other side/)

  const began = performance.now()
  await run('sync', key, '--mode', 'pull', '--bootstrap', bootstrap, '--storage', there)
  const seconds = (performance.now() - began) / 1000

  const printer = start(['feed', 'cat', key, '--storage', there], ['ignore', 'pipe', 'inherit'])
  const same = await isSame(createReadStream(file), printer.stdout as Readable)
  server.kill('SIGINT')
  await once(server, 'close')

  const rate = (size / 1e6 / seconds).toFixed(1)
  console.log(
    `\n${size} bytes in ${seconds.toFixed(1)} s, ${rate} MB/s, start of the process included`
  )
  console.log(same ? 'The copy equals the file, byte for byte.' : 'THE COPY DIFFERS FROM THE FILE.')
  return same
}

async function main(): Promise<void> {
  const require = createRequire(import.meta.url)
  const fromSwarm = createRequire(require.resolve('hyperswarm'))
  const createTestnet = fromSwarm('hyperdht/testnet') as Testnet
  const folder = await mkdtemp(path.join(tmpdir(), 'syncline-demo-'))
  const testnet = await createTestnet(3)
  const deadline = setTimeout(() => {
    console.error(`the demo took longer than ${DEADLINE_MS / 1000} s`)
    for (const child of children) child.kill('SIGKILL')
  }, DEADLINE_MS)
  try {
    const [node] = testnet.bootstrap
    if (node === undefined) throw new Error('the hash table has no node')
    process.exitCode = (await demo(folder, `${node.host}:${node.port}`)) ? 0 : 1
  } catch (error) {
    console.error(error)
    process.exitCode = 1
  } finally {
    clearTimeout(deadline)
    for (const child of children) child.kill('SIGKILL')
    await testnet.destroy()
    await rm(folder, { recursive: true, force: true })
  }
}

await main()
