/** Synchronizers whose feeds and connections come and go at random: once it is quiet, all have the same. */
import path from 'node:path'
import test, { type Assertions } from 'brittle'
import { isSynclineError, Synchronizer, type FeedSession, type Mode } from '../../lib/index.ts'
import { wholeNumbers } from '../fixtures/random.ts'
import { until } from '../interop/helpers.ts'

const ROUNDS = 150
/** A copy that takes longer hangs: the seed is to be seen then. */
const COPY_MS = 60_000
const MODES: readonly Mode[] = ['pull', 'follow', 'serve', 'both']

interface Node {
  readonly folder: string
  sync: Synchronizer
  port: number
}

interface OwnFeed {
  readonly key: Uint8Array
  readonly name: string
  readonly owner: Node
}

/** What a round is made of. */
interface World {
  readonly next: (bound: number) => number
  readonly nodes: readonly Node[]
  readonly feeds: readonly OwnFeed[]
  /** What went wrong, as it came. */
  readonly faults: string[]
  /** What was not waited for. */
  readonly underWay: Promise<unknown>[]
}

test(
  'long: feeds that are added, closed, removed and cut off at random',
  { timeout: 900_000 },
  async (t) => {
    const first = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
    for (let seed = first; seed < first + ROUNDS; seed++) {
      try {
        await playRound(t, seed)
      } catch (error) {
        t.comment(`SEED=${seed}`)
        throw error
      }
    }
    t.pass(`${ROUNDS} rounds from SEED=${first}`)
  }
)

async function playRound(t: Assertions, seed: number): Promise<void> {
  const next = wholeNumbers(seed)
  const root = await t.tmp()
  const faults: string[] = []
  const nodes: Node[] = []
  for (let i = 0; i < 2 + next(3); i++) nodes.push(await start(path.join(root, `${i}`), faults))
  const feeds: OwnFeed[] = []
  for (let i = 0; i < 1 + next(12); i++) {
    const owner = nodes[next(nodes.length)] as Node
    const name = `feed ${i}`
    const session = await owner.sync.create(name)
    await session.append(blocksOf(next, next(60), 200))
    feeds.push({ key: session.key, name, owner })
  }
  const world: World = { next, nodes, feeds, faults, underWay: [] }
  for (let i = 10 + next(60); i > 0; i--) await step(world)
  await Promise.all(world.underWay)
  await settle(world)
  for (const { sync } of nodes) await sync.close()
  if (faults.length > 0) throw new Error(`seed ${seed}: ${faults.join('; ')}`)
}

async function start(folder: string, faults: string[]): Promise<Node> {
  const sync = new Synchronizer({ storage: folder })
  sync.on('feed-error', (_feed, error) => faults.push(error.message))
  sync.on('peer-fault', (_peer, error) => faults.push(error.message))
  const [address = ''] = await sync.listen(0, '127.0.0.1')
  return { folder, sync, port: Number(address.split(':').pop()) }
}

/** Does one thing, and waits for its end or not. */
async function step(world: World): Promise<void> {
  const { next, nodes, feeds, faults } = world
  const node = nodes[next(nodes.length)] as Node
  const other = nodes[next(nodes.length)] as Node
  const feed = feeds[next(feeds.length)] as OwnFeed
  const { sync } = node
  const isOwn = feed.owner === node
  switch (next(11)) {
    case 0:
    case 1:
      return other === node ? undefined : mayFail(world, sync.connect('127.0.0.1', other.port))
    case 2:
      sync.disconnect('127.0.0.1', other.port)
      if (next(2) === 0) sync.peers[0]?.close()
      return undefined
    case 3:
    case 4:
    case 5:
      if (isOwn) return undefined
      return mayFail(world, sync.add(feed.key, { mode: MODES[next(4)] as Mode }).ready())
    case 6:
      return mayFail(world, sync.add(feed.key, { mode: 'serve' }).close())
    case 7:
      return isOwn ? undefined : mayFail(world, sync.remove(feed.key))
    case 8:
      return mayFail(world, append(world, feed))
    case 9:
      if (next(3) > 0) return undefined
      await sync.close()
      Object.assign(node, await start(node.folder, faults))
      return undefined
    default:
      return new Promise((resolve) => setTimeout(resolve, next(20)))
  }
}

async function append({ next }: World, { owner, name }: OwnFeed): Promise<void> {
  const session = await owner.sync.open(name)
  await session.append(blocksOf(next, 1 + next(30), 3000))
}

/** What is closed or removed meanwhile fails, with an error of ours. */
async function mayFail({ next, underWay }: World, work: Promise<unknown>): Promise<void> {
  const done = work.catch((error: unknown) => {
    if (!isSynclineError(error)) throw error
  })
  if (next(2) === 0) await done
  else underWay.push(done)
}

/** Connects all in a ring, wants everything everywhere, and compares. */
async function settle({ nodes, feeds }: World): Promise<void> {
  for (const [i, { sync }] of nodes.entries()) {
    const { port } = nodes[(i + 1) % nodes.length] as Node
    await sync.connect('127.0.0.1', port)
  }
  const copies: Promise<void>[] = []
  for (const { key, name, owner } of feeds) {
    const source = await owner.sync.open(name)
    await source.setMode('both')
    for (const node of nodes) if (node !== owner) copies.push(copied(node.sync.add(key), source))
  }
  await Promise.all(copies)
}

async function copied(copy: FeedSession, source: FeedSession): Promise<void> {
  await copy.ready()
  await copy.setMode('both')
  const end = performance.now() + COPY_MS
  const isWhole = (): boolean =>
    copy.length === source.length && copy.contiguousLength === source.length
  await until(() => isWhole() || performance.now() > end)
  if (!isWhole()) throw new Error(`${copy.contiguousLength} of ${source.length} of ${source.id}`)
  for (let i = 0; i < source.length; i++) {
    if (!Buffer.from(await copy.get(i)).equals(await source.get(i))) {
      throw new Error(`block ${i} of ${source.id} is another`)
    }
  }
}

function blocksOf(next: (bound: number) => number, count: number, bytesMax: number): Buffer[] {
  return Array.from({ length: count }, () => Buffer.alloc(1 + next(bytesMax), next(256)))
}
