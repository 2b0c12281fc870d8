/**
 * The main job on real input: a folder of some hundred files and more than 20 MB goes from one process to another over
 * a swarm, and follows what happens in the first.
 *
 *     npm run demo
 *
 * It starts a distributed hash table on the loopback, shares a tree in one process, clones it in a second one that
 * knows nothing but the key, edits the tree, waits for the edit to arrive, and compares all files byte for byte.
 *
 * @module
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import {
  appendFile,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  open,
  readdir,
  rename,
  rm,
  stat
} from 'node:fs/promises'
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
/** The whole demo ends within this time, whatever happens. */
const DEADLINE_MS = 55_000

const isBuilt = import.meta.url.endsWith('.js')
const program = fileURLToPath(
  new URL(`../../bin/syncline.${isBuilt ? 'js' : 'ts'}`, import.meta.url)
)
const nodeArgs = isBuilt ? [program] : ['--import', import.meta.resolve('tsx'), program]
/** Our own code: real text in real folders. */
const code = fileURLToPath(new URL('../../lib', import.meta.url))
const children = new Set<ChildProcess>()

/** A process of the program that goes on until it is interrupted. */
interface Running {
  /** Resolves when it has printed something new that fits. */
  printed(pattern: RegExp): Promise<RegExpMatchArray>
  interrupt(): Promise<void>
}

function start(args: readonly string[]): Running {
  console.log(`\n$ syncline ${args.join(' ')}`)
  const child = spawn(process.execPath, [...nodeArgs, ...args], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  children.add(child)
  child.on('exit', () => children.delete(child))
  let text = ''
  let look: (() => void) | null = null
  child.stdout.on('data', (data: Buffer) => {
    process.stdout.write(data)
    text += data.toString()
    look?.()
  })
  const printed = (pattern: RegExp): Promise<RegExpMatchArray> =>
    new Promise((resolve, reject) => {
      child.on('exit', (exit) => reject(new Error(`it ended with ${exit} too early`)))
      look = () => {
        const found = text.match(pattern)
        if (found === null) return
        text = text.slice((found.index ?? 0) + found[0].length)
        look = null
        resolve(found)
      }
      look()
    })
  const interrupt = async (): Promise<void> => {
    child.kill('SIGINT')
    await once(child, 'close')
  }
  return { printed, interrupt }
}

/** A tree of real files with a large one: node itself, or one that is made if that does not fit. */
async function makeTree(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await cp(code, path.join(folder, 'code'), { recursive: true })
  const large = path.join(folder, 'large')
  const { size } = await stat(process.execPath)
  if (size >= LEAST_BYTES && size <= MOST_BYTES) return copyFile(process.execPath, large)
  const handle = await open(large, 'w')
  for (let bytes = 0; bytes < 2 * LEAST_BYTES; bytes += 1_000_000) {
    await handle.write(randomBytes(1_000_000))
  }
  await handle.close()
}

/** Names of all files below a folder, what is syncline's own left out, and their bytes. */
async function filesOf(folder: string): Promise<{ names: string[]; bytes: number }> {
  const names: string[] = []
  let bytes = 0
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const name = path.relative(folder, path.join(entry.parentPath, entry.name))
    if (!entry.isFile() || name.split(path.sep)[0] === '.syncline') continue
    names.push(name)
    bytes += (await stat(path.join(folder, name))).size
  }
  return { names: names.sort(), bytes }
}

/** True if both folders hold the same files with the same bytes; not while files still go. */
async function isSameTree(one: string, other: string): Promise<boolean> {
  return areSame(one, other).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return false
  })
}

async function areSame(one: string, other: string): Promise<boolean> {
  const { names } = await filesOf(one)
  const others = await filesOf(other)
  if (names.join('\0') !== others.names.join('\0')) return false
  for (const name of names) {
    const [a, b] = [one, other].map((folder) => createReadStream(path.join(folder, name)))
    if (!(await isSame(a as Readable, b as Readable))) return false
  }
  return true
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
  const [tree, copy] = [path.join(folder, 'tree'), path.join(folder, 'tree-copy')]
  await makeTree(tree)
  const { names, bytes } = await filesOf(tree)
  console.log(`${tree}: ${names.length} files, ${(bytes / 1e6).toFixed(1)} MB`)
  const net = (store: string): string[] => ['--bootstrap', bootstrap, '--storage', store]

  const share = start(['share', tree, ...net(path.join(folder, 'store'))])
  const [, key = ''] = await share.printed(/for the other side:\n {2}syncline clone (\w+)/)
  const began = performance.now()
  const clone = start(['clone', key, copy, '--live', ...net(path.join(folder, 'store-copy'))])
  await clone.printed(/: version \d+, .*\n/)
  const seconds = (performance.now() - began) / 1000
  const first = await isSameTree(tree, copy)
  tell(first, `${(bytes / 1e6 / seconds).toFixed(1)} MB/s, start of the process included`)

  console.log('\nA file grows, one gets another name, and one goes:')
  const [grows = '', moves = '', goes = ''] = names
  await appendFile(path.join(tree, grows), '\n// and one line more\n')
  await rename(path.join(tree, moves), path.join(tree, `moved-${path.basename(moves)}`))
  await rm(path.join(tree, goes))
  const edited = performance.now()
  while (!(await isSameTree(tree, copy))) await clone.printed(/: version \d+, .*\n/)
  tell(true, `${((performance.now() - edited) / 1000).toFixed(1)} s after the edit`)

  await clone.interrupt()
  await share.interrupt()
  return first
}

function tell(same: boolean, how: string): void {
  console.log(
    same ? `The copy equals the tree, byte for byte: ${how}.` : 'THE COPY DIFFERS FROM THE TREE.'
  )
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
