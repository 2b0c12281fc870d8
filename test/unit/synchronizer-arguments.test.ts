import test from 'brittle'
import { isSynclineError, memory, Synchronizer } from '../../lib/index.ts'

/** As plain JavaScript calls it: nothing is checked before. */
type Anything = any

async function refused(work: () => unknown): Promise<boolean> {
  try {
    await work()
    return false
  } catch (error) {
    return isSynclineError(error, 'BAD_ARGUMENT')
  }
}

const RANGES: readonly Anything[] = [
  'all',
  [0, 2],
  [[0]],
  [[-1, 2]],
  [[NaN, 2]],
  [[0.5, 2]],
  [['0', '2']],
  [[5, 2]],
  [[0, 2 ** 60]],
  [[Infinity, Infinity]]
]

test('arguments: how a feed is added is looked at before anything happens', async (t) => {
  const sync = new Synchronizer({ storage: memory() })
  const { key } = await sync.create('known')
  const options: readonly Anything[] = [
    { mode: 'x' },
    { mode: null },
    { direction: 'up' },
    { priority: NaN },
    { priority: '1' },
    { encryptionKey: Buffer.alloc(5) },
    { encryptionKey: 'secret' },
    ...RANGES.map((ranges) => ({ ranges }))
  ]
  for (const option of options) {
    const text = JSON.stringify(option)
    t.ok(await refused(() => sync.add(key, option)), `add ${text}`)
    t.ok(await refused(() => sync.open('known', option)), `open ${text}`)
    t.ok(await refused(() => sync.create('new', option)), `create ${text}`)
  }
  for (const name of ['', 5, null, undefined] as Anything[]) {
    t.ok(await refused(() => sync.create(name)), `create ${String(name)}`)
    t.ok(await refused(() => sync.open(name)), `open ${String(name)}`)
  }
  t.is(sync.feeds.length, 1, 'nothing was opened')
  t.ok(await sync.create('new'), 'nothing was made')
  await sync.close()
})

test('arguments: ranges that are none are refused, and the feed goes on', async (t) => {
  const source = new Synchronizer({ storage: memory() })
  const feed = await source.create('feed')
  await feed.append(['a', 'b', 'c'])
  const [address = ''] = await source.listen(0, '127.0.0.1')
  const reader = new Synchronizer({ storage: memory() })
  await reader.connect('127.0.0.1', Number(address.split(':')[1]))
  const copy = reader.add(feed.key, { ranges: [] })
  await copy.update({ wait: true })
  for (const ranges of RANGES) {
    const text = JSON.stringify(ranges)
    t.ok(await refused(() => copy.want(...ranges)), `want ${text}`)
    t.ok(await refused(() => copy.unwant(...ranges)), `unwant ${text}`)
  }
  for (const range of [
    { start: -5, end: 2 },
    { start: NaN },
    { start: 0, length: 1.5 },
    { blocks: [-1] },
    { blocks: ['2'] }
  ] as Anything[]) {
    t.ok(await refused(() => copy.download(range)), `download ${JSON.stringify(range)}`)
  }
  for (const [start, end] of [
    [-1, 2],
    [NaN, 2],
    [0.5, 2],
    ['0', '2']
  ] as Anything[]) {
    t.ok(await refused(() => copy.clear(start, end)), `clear ${start} ${end}`)
  }
  await copy.download({ start: 0, end: -1 }).done()
  t.is(String(await copy.get(2)), 'c')
  await reader.close()
  await source.close()
})

test('arguments: settings that are none are refused', async (t) => {
  for (const options of [undefined, null, {}, { storage: 5 }, { storage: '' }] as Anything[]) {
    t.ok(await refused(() => new Synchronizer(options)), JSON.stringify(options))
  }
  const sync = new Synchronizer({ storage: memory() })
  const feed = await sync.create('feed')
  const limits = [{}, { upload: 1 }, { upload: -1, download: 0 }, { upload: NaN, download: 0 }]
  for (const limit of limits as Anything[]) {
    const text = JSON.stringify(limit)
    t.ok(await refused(() => sync.setLimits(limit)), `setLimits ${text}`)
    const options = { storage: memory(), limits: limit }
    t.ok(await refused(() => new Synchronizer(options)), `limits ${text}`)
  }
  t.ok(await refused(() => feed.setMode('x' as Anything)))
  t.ok(await refused(() => feed.setDirection('up' as Anything)))
  t.ok(await refused(() => feed.setPriority(NaN)))
  await sync.close()
})
