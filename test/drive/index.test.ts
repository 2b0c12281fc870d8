/** The index of a drive: our B-tree against Hyperbee's, in both directions, and against hostile blocks. */
import test, { type Assertions } from 'brittle'
import { memory, Synchronizer, type FeedSession } from '../../lib/index.ts'
import {
  changeBytes,
  decodeHeader,
  encodeHeader,
  writeChange,
  type Node
} from '../../lib/drive/index/block.ts'
import { DriveIndex, type EntriesOptions } from '../../lib/drive/index/drive-index.ts'
import {
  BEE_VERSION,
  listOf,
  openBee,
  random,
  sourceOf,
  sourceOfBlocks,
  type Bee
} from './hyperbee.ts'

const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString()
const files = (name: string): Buffer => Buffer.from(`files\0${name}`)
const SEED = Number(process.env['SEED'] ?? 1)

async function openFeed(t: Assertions): Promise<FeedSession> {
  const sync = new Synchronizer({ storage: memory() })
  t.teardown(() => sync.close())
  return sync.create('index')
}

type Steps = readonly (readonly [key: string, value: string | null])[]

async function write(index: DriveIndex, feed: FeedSession, steps: Steps): Promise<void> {
  const blocks = await index.encode(
    steps.map(([key, value]) => ({
      key: Buffer.from(key),
      value: value === null ? null : Buffer.from(value)
    }))
  )
  if (blocks.length > 0) await feed.append(blocks)
}

async function writeBee(bee: Bee, steps: Steps, single: boolean): Promise<void> {
  const target = single ? bee : bee.batch()
  for (const [key, value] of steps) {
    if (value === null) await target.del(key)
    else await target.put(key, value)
  }
  if (!single) await target.flush()
}

/** Compares every way to read the tree at one version with Hyperbee's and with what must be there. */
async function compare(
  t: Assertions,
  index: DriveIndex,
  bee: Bee,
  expected: ReadonlyMap<string, string>,
  next: (bound: number) => number
): Promise<void> {
  const sorted = [...expected].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const ours = (await listOf(index.entries())).map(({ key, value }) => [text(key), text(value)])
  t.alike(ours, sorted, `${sorted.length} entries`)
  const theirs = (await listOf(bee.createReadStream())).map(({ key, value }) => [key, value])
  t.alike(theirs, sorted, 'and hyperbee has them')
  for (let i = 0; i < 20; i++) {
    const key = `key ${next(400)}`
    const entry = await index.get(Buffer.from(key))
    const other = await bee.get(key)
    if (text(entry?.value ?? null) !== (expected.get(key) ?? null)) t.fail(`get ${key}`)
    if ((other?.value ?? null) !== (expected.get(key) ?? null)) t.fail(`hyperbee's get ${key}`)
    if ((entry?.seq ?? 0) !== (other?.seq ?? 0)) t.fail(`seq of ${key}`)
  }
}

for (let round = 0; round < 6; round++) {
  const seed = SEED + round
  test(`index: random changes, ours and hyperbee ${BEE_VERSION}'s in turn, seed ${seed}`, async (t) => {
    const next = random(seed)
    const feed = await openFeed(t)
    const index = new DriveIndex(sourceOf(feed))
    const bee = await openBee(feed)
    const expected = new Map<string, string>()
    const versions: { version: number; entries: Map<string, string> }[] = []
    const history: string[] = []
    const keys = [20, 60, 400, 400, 400, 400][round] as number
    for (let step = 0; step < 24; step++) {
      // Grows in the first half, shrinks in the second.
      const deletes = step < 12 ? 3 : 7
      const steps = Array.from({ length: next(step % 5 === 0 ? 120 : 12) + 1 }, () => {
        const key = `key ${next(keys)}`
        return [key, next(10) < deletes ? null : `value ${next(1e6)}`] as const
      })
      if (next(4) === 0) steps.sort(([a], [b]) => (a < b ? -1 : 1))
      const before = feed.length
      const turn = next(5)
      if (turn < 3) await write(index, feed, steps)
      else await writeBee(bee, steps, turn === 3)
      let effective = 0
      for (const [key, value] of steps) {
        if (value === null ? !expected.has(key) : false) continue
        effective++
        history.push(`${value === null ? 'del' : 'put'} ${key} ${value ?? ''}`)
        if (value === null) expected.delete(key)
        else expected.set(key, value)
      }
      if (before > 0) t.is(feed.length - before, effective, 'one block each')
      if (step % 4 === 3) await compare(t, index, bee, expected, next)
      versions.push({ version: index.version, entries: new Map(expected) })
    }
    const ours = await listOf(index.history())
    t.alike(
      ours.map(({ type, key, value }) => `${type} ${text(key)} ${text(value) ?? ''}`),
      history
    )
    const theirs = await listOf(bee.createHistoryStream())
    t.alike(
      theirs.map(({ type, key, value }) => `${type} ${key} ${value ?? ''}`),
      history
    )
    for (const { version, entries } of versions) {
      const read = await listOf(index.entries({}, version))
      t.alike(new Map(read.map(({ key, value }) => [text(key), text(value)])), entries)
      const checkout = bee.checkout(version)
      const other = await listOf(checkout.createReadStream())
      t.alike(new Map(other.map(({ key, value }) => [key, value])), entries, `at ${version}`)
      await checkout.close()
      const present = await listOf(index.diff(index.version, version))
      const wanted = await listOf(bee.createDiffStream(version))
      t.alike(
        present.map(({ left, right }) => [left?.seq ?? null, right?.seq ?? null]),
        wanted.map(({ left, right }) => [left?.seq ?? null, right?.seq ?? null]),
        `${present.length} differences`
      )
      const back = await listOf(index.diff(version, index.version))
      t.alike(
        back.map(({ left, right }) => [right?.seq, left?.seq]),
        present.map(({ left, right }) => [left?.seq, right?.seq]),
        'the other way round'
      )
    }
  })
}

test('index: ranges', async (t) => {
  const feed = await openFeed(t)
  const index = new DriveIndex(sourceOf(feed))
  const bee = await openBee(feed)
  const next = random(SEED)
  await write(
    index,
    feed,
    Array.from({ length: 300 }, () => [`${next(500)}`, 'x'] as const)
  )
  for (let i = 0; i < 200; i++) {
    const [low, high] = [`${next(500)}`, `${next(500)}`]
    const reverse = next(2) === 0
    const bounds: Record<string, string>[] = [
      {},
      { gt: low },
      { gte: low },
      { lt: high },
      { lte: high },
      { gt: low, lt: high },
      { gte: low, lte: high }
    ]
    const range = bounds[next(bounds.length)] as Record<string, string>
    const bytes: Record<string, unknown> = { reverse }
    for (const [name, key] of Object.entries(range)) bytes[name] = Buffer.from(key)
    const ours = (await listOf(index.entries(bytes as EntriesOptions))).map(({ key }) => text(key))
    // Hyperbee takes no empty ranges.
    const theirs = (await listOf(bee.createReadStream({ ...range, reverse }))).map(({ key }) => key)
    t.alike(ours, theirs, JSON.stringify({ ...range, reverse }))
    if (reverse) continue
    const diff = await listOf(index.diff(index.version, 1, bytes as EntriesOptions))
    t.alike(
      diff.map(({ left }) => text(left?.key ?? null)),
      ours
    )
  }
})

test('index: a sorted batch is a compact tree, and changes read and write only their paths', async (t) => {
  const feed = await openFeed(t)
  const index = new DriveIndex(sourceOf(feed))
  const steps = Array.from(
    { length: 10_000 },
    (_, i) => [`key ${String(i).padStart(5, '0')}`, `value ${i}`] as const
  )
  await write(index, feed, steps)
  t.is(feed.length, 10_001)
  t.ok(feed.byteLength < 10_000 * 60, `${feed.byteLength} bytes`)
  t.is((await listOf(index.entries())).length, 10_000)

  const source = sourceOf(feed)
  const fresh = new DriveIndex(source)
  const before = feed.byteLength
  await write(fresh, feed, [
    ['key 00500', 'changed'],
    ['key 09000', null]
  ])
  t.is(feed.length, 10_003)
  t.ok(source.reads < 60, `${source.reads} blocks read`)
  t.ok(feed.byteLength - before < 1000, `${feed.byteLength - before} bytes written`)

  const cold = sourceOf(feed)
  const changed = await listOf(new DriveIndex(cold).diff(feed.length, 10_001))
  t.alike(
    changed.map(({ left, right }) => [text(left?.value ?? null), text(right?.value ?? null)]),
    [
      ['changed', 'value 500'],
      [null, 'value 9000']
    ]
  )
  t.ok(cold.reads < 120, `${cold.reads} blocks read for the difference`)
})

test('index: a listing asks the network ahead', async (t) => {
  const blocks: Uint8Array[] = []
  const writer = new DriveIndex(sourceOfBlocks(blocks))
  const value = Buffer.from('value')
  const changes = Array.from({ length: 3000 }, (_, i) => ({ key: Buffer.from(`key ${i}`), value }))
  blocks.push(...(await writer.encode(changes)))
  const rounds = async (readAhead: boolean): Promise<number> => {
    let count = 0
    let waiting: (() => void)[] = []
    const source = {
      length: blocks.length,
      holds: () => false,
      get: (index: number) =>
        new Promise<Uint8Array>((resolve) => {
          if (waiting.length === 0) {
            count++
            // All that is asked in one turn is answered in one.
            setTimeout(() => {
              const answered = waiting
              waiting = []
              for (const answer of answered) answer()
            }, 0)
          }
          waiting.push(() => resolve(blocks[index] as Uint8Array))
        })
    }
    const entries = await listOf(new DriveIndex(source).entries({ readAhead }))
    t.is(entries.length, 3000)
    return count
  }
  const [ahead, without] = [await rounds(true), await rounds(false)]
  t.ok(without > 2500, `${without} round trips without`)
  t.ok(ahead < 60, `${ahead} round trips`)
})

test('index: entries come together as far as they are here, in order', async (t) => {
  const blocks: Uint8Array[] = []
  const writer = new DriveIndex(sourceOfBlocks(blocks))
  const keys = Array.from({ length: 3000 }, (_, i) => Buffer.from(`key ${10_000 + i}`))
  blocks.push(...(await writer.encode(keys.map((key) => ({ key, value: key })))))
  const runs: number[] = []
  const local = {
    ...sourceOfBlocks(blocks),
    length: blocks.length,
    holds: () => true,
    getRun: async (start: number, end: number) => {
      runs.push(end - start)
      return blocks.slice(start, end)
    }
  }
  const batches = await listOf(new DriveIndex(local).batches())
  t.alike(
    batches.flat().map(({ key }) => Buffer.from(key)),
    keys
  )
  t.ok(batches.length < 20, `${batches.length} batches`)
  t.ok(runs.length < 20, `${runs.length} reads`)

  // What comes after the 50th entry is far away.
  const { seq: far } = batches.flat()[50] as { seq: number }
  const source = {
    length: blocks.length,
    holds: (index: number) => index !== far,
    get: async (index: number) => blocks[index] as Uint8Array
  }
  const first = await new DriveIndex(source).batches({ readAhead: false }).next()
  t.ok(first.done !== true && first.value.length <= 50, 'what is here is not kept back')
})

test('index: golden blocks of hyperdrive 13.3.4', async (t) => {
  const blocks: Uint8Array[] = []
  const index = new DriveIndex(sourceOfBlocks(blocks))
  for (const [name, value] of [
    ['/a.txt', '{}'],
    ['/dir/b.bin', '{}'],
    ['/link', '{}'],
    ['/a.txt', null],
    ['/empty', '{}']
  ] as const) {
    blocks.push(
      ...(await index.encode([
        { key: files(name), value: value === null ? null : Buffer.from(value) }
      ]))
    )
  }
  const hex = blocks.map((block) => Buffer.from(block).toString('hex'))
  t.is(hex[0], '0a0868797065726265651200')
  t.ok(hex[1]?.startsWith('0a050a030a0101120c'))
  t.is(hex[4], '0a060a040a020203120c66696c6573002f612e747874')
  t.ok(hex[5]?.startsWith('0a070a050a0302050312'), 'keys 2, 5, 3')
  const key = Buffer.alloc(32, 7)
  t.is(
    Buffer.from(encodeHeader(key)).toString('hex'),
    `0a08687970657262656512220a20${key.toString('hex')}`
  )
  t.alike(Buffer.from(decodeHeader(encodeHeader(key))?.contentFeed ?? []), key)
})

test('index: an empty feed, and one that is no index', async (t) => {
  const empty = new DriveIndex(sourceOfBlocks([]))
  t.is(await empty.header(), null)
  t.is(await empty.get(Buffer.from('x')), null)
  t.alike(await listOf(empty.entries()), [])
  t.alike(await listOf(empty.diff(0, 0)), [])
  t.alike(await empty.encode([{ key: Buffer.from('x'), value: null }]), [])
  for (const block of [Buffer.from('no header'), Buffer.alloc(0), Buffer.alloc(40, 0xff)]) {
    await t.exception(new DriveIndex(sourceOfBlocks([block])).header(), /ENCRYPTED/)
  }
})

test(`index: only the last block of changes that hyperbee ${BEE_VERSION} makes together ends a version`, async (t) => {
  const feed = await openFeed(t)
  const bee = await openBee(feed)
  const put = async (numbers: readonly number[], value: string): Promise<number> => {
    await writeBee(
      bee,
      numbers.map((number) => [`key ${1000 + number}`, value] as const),
      false
    )
    return feed.length
  }
  const last = [
    await put(
      Array.from({ length: 300 }, (_, i) => i),
      'old'
    )
  ]
  for (const step of [7, 11, 1]) {
    const numbers = Array.from({ length: 40 }, (_, i) => (i * step * 7) % 300)
    last.push(await put(numbers, `by ${step}`))
  }
  const index = new DriveIndex(sourceOf(feed))
  const ends = await index.versionEnds(1, feed.length)
  const found = [...ends].flatMap((isEnd, i) => (isEnd === 1 ? [i + 2] : []))
  t.alike(found, last)
  for (let version = 2; version <= feed.length; version++) {
    if ((await index.isWhole(version)) !== last.includes(version)) t.fail(`version ${version}`)
  }
})

test('index: hostile blocks end in an error, never in a loop', async (t) => {
  const header = encodeHeader()
  const cases: Record<string, Uint8Array[]> = {
    'a node that is its own child': [header, change('0a090a0101120401000100', 'k')],
    'a circle over two blocks': [
      header,
      change('0a090a0101120401000100', 'a'),
      change('0a090a0102120401000100', 'b')
    ],
    'a key that comes later': [header, change('0a030a0109', 'k')],
    'a key that is the header': [header, change('0a030a0100', 'k')],
    'a child too few': [header, change('0a070a010112020100', 'k')],
    'a level that is not there': [header, change('0a090a0101120401050106', 'k')],
    'keys out of order': [header, change('0a030a0101', 'b'), change('0a040a020102', 'a')],
    'the same key twice': [header, change('0a040a020101', 'b')],
    'a list that ends early': [header, change('0a030a0701', 'k')],
    'a varint without an end': [header, Buffer.alloc(30, 0xff)],
    'a node of too many keys, most of its children the same': [
      header,
      changeOf('b', []),
      changeOf('a', [
        {
          keys: Array.from({ length: 2000 }, () => 1),
          children: [2, 1, ...Array.from({ length: 2000 }, () => [2, 0]).flat()]
        },
        { keys: [2], children: [] }
      ])
    ],
    'children that are the same, level for level': [
      header,
      changeOf('b', []),
      changeOf(
        'a',
        Array.from({ length: 30 }, (_, level) => ({
          keys: Array.from({ length: 8 }, () => 1),
          children: level === 29 ? [] : Array.from({ length: 9 }, () => [2, level + 1]).flat()
        }))
      )
    ],
    'no key': [header, Buffer.from('0a050a030a0101', 'hex')],
    nothing: [header, Buffer.alloc(0)]
  }
  for (const [name, blocks] of Object.entries(cases)) {
    const index = new DriveIndex(sourceOfBlocks(blocks))
    await t.exception(listOf(index.entries()), /BAD_MESSAGE/)
    t.pass(name)
    await settles(index, blocks.length)
  }
  const crowd = Array.from({ length: 200 }, () => ({ keys: [1], children: [] }))
  const crowded = new DriveIndex(sourceOfBlocks([header, changeOf('a', crowd)]))
  await t.exception(listOf(crowded.entries()), /TOO_MANY/)
  const next = random(SEED)
  const honest = await new DriveIndex(sourceOfBlocks([])).encode(
    Array.from({ length: 200 }, (_, i) => ({
      key: Buffer.from(`key ${next(150)}`),
      value: i % 5 === 0 ? null : Buffer.from(`${i}`)
    }))
  )
  for (let round = 0; round < 300; round++) {
    const blocks = honest.map((block) => Buffer.from(block))
    for (let i = 0; i <= round % 5; i++) {
      const block = blocks[1 + next(blocks.length - 1)] as Buffer
      block[next(block.length)] = next(256)
    }
    await settles(new DriveIndex(sourceOfBlocks(blocks)), blocks.length)
  }
})

/** Every way to read ends, with a value or with one of our errors. */
async function settles(index: DriveIndex, length: number): Promise<void> {
  const ways = [
    () => listOf(index.entries()),
    () => listOf(index.entries({ reverse: true })),
    () => listOf(index.diff(length, length >> 1)),
    () => listOf(index.history()),
    () => index.get(Buffer.from('key 50')),
    () => index.encode([{ key: Buffer.from('key 70'), value: null }]),
    () => index.encode([{ key: Buffer.from('l'), value: Buffer.from('x') }])
  ]
  for (const way of ways) {
    try {
      await way()
    } catch (error) {
      const { code } = error as { code?: string }
      if (code !== 'BAD_MESSAGE' && code !== 'TOO_MANY') throw error
    }
  }
}

test('index: a small cache gives the same entries', async (t) => {
  const feed = await openFeed(t)
  const index = new DriveIndex(sourceOf(feed))
  const next = random(SEED)
  await write(
    index,
    feed,
    Array.from({ length: 2000 }, (_, i) => [`key ${next(1e9)}`, `${i}`] as const)
  )
  const source = { ...sourceOf(feed), length: feed.length }
  const small = new DriveIndex(
    {
      ...source,
      holds: () => true,
      getRun: async (start, end) => {
        const blocks: Uint8Array[] = []
        for (let i = start; i < end; i++) blocks.push((await feed.get(i)) as Uint8Array)
        return blocks.slice(0, 10)
      }
    },
    1
  )
  const keys = (await listOf(small.entries())).map(({ key }) => text(key))
  t.alike(
    keys,
    (await listOf(index.entries())).map(({ key }) => text(key))
  )
})

/** A block of given nodes and key, with a value. */
function changeOf(key: string, nodes: readonly Node[]): Uint8Array {
  const [name, value] = [Buffer.from(key), Buffer.from('x')]
  const block = new Uint8Array(changeBytes(nodes, name, value))
  writeChange(block, 0, nodes, name, value)
  return block
}

/** A block of given nodes (hexadecimal) and key, with a value. */
function change(nodes: string, key: string): Uint8Array {
  const name = Buffer.from(key)
  return Buffer.concat([
    Buffer.of(0x0a, nodes.length / 2),
    Buffer.from(nodes, 'hex'),
    Buffer.of(0x12, name.length),
    name,
    Buffer.from('1a0178', 'hex')
  ])
}
