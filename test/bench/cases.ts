/**
 * What is measured, and the goals.
 *
 * @module
 */
import type { Case, Column, Contestant, Goal } from './case.ts'
import { driveCases } from './drive-cases.ts'
import type { Usage } from './feed-group.ts'
import type { Sample } from './statistics.ts'
import type { Stage } from './stage.ts'
import { firstBlock, transfer, type Kind, type Transfer } from './transfer.ts'

const PEAK: Column = { metric: 'peakBytes', title: 'MB peak', scale: 1e-6 }
const PROCESSES: readonly Column[] = [
  { metric: 'ms', title: 'ms' },
  { metric: 'senderCpuMs', title: 'sender CPU ms' },
  { metric: 'receiverCpuMs', title: 'receiver CPU ms' },
  { metric: 'senderPeakBytes', title: 'sender MB', scale: 1e-6 },
  { metric: 'receiverPeakBytes', title: 'receiver MB', scale: 1e-6 }
]
const BLOCKS: Column = { metric: 'rate', title: 'blocks/s' }
const MEGABYTES: Column = { metric: 'megabytes', title: 'MB/s' }
const STALL: Column = { metric: 'stallMs', title: 'stall ms' }

/** All cases; `quick` ones are small, to see that they work. */
export function allCases(quick: boolean): Case[] {
  const few = (count: number, quickly: number): number => (quick ? quickly : count)
  const blocks = few(100_000, 4000)
  const large = few(8000, 200)
  return [
    hashCase(few(500, 50)),
    foldCase(few(1000, 50)),
    frameCase(few(300, 20)),
    syncCase('sync-128', blocks, 128, [rateGoal('hypercore', 40)]),
    syncCase('sync-1k', blocks, 1024, [rateGoal('hypercore', 15), shareGoal(0.65)]),
    syncCase('sync-64k', large, 65_536, [rateGoal('hypercore', 2.1), shareGoal(0.8)]),
    receiverCase('from-hypercore-100', blocks, 100, 4),
    receiverCase('from-hypercore-64k', large, 65_536, 2),
    senderCase('to-hypercore-100', blocks, 100, 1.3),
    senderCase('to-hypercore-1k', blocks, 1024, 1.3),
    senderCase('to-hypercore-64k', large, 65_536, 1),
    latencyCase(50, few(4000, 400)),
    latencyCase(100, few(4000, 400)),
    latencyCase(200, few(4000, 400)),
    firstBlockCase(),
    tuningCase('feeds-1000', few(1000, 50), [
      rateGoal('hypercore', 5),
      { ...against('hypercore', 'peakBytes'), title: 'peak memory of both', atMost: 1 / 3 }
    ]),
    feedsCase('feeds-4000', few(4000, 100), [
      { ...against('hypercore', 'stallMs'), title: 'longest stall', atMost: 0.1 },
      rateGoal('hypercore', 5)
    ]),
    manyFeedsCase(few(10_000, 200), few(1000, 20)),
    appendCase(few(100_000, 5000)),
    peersCase(few(20_000, 4000)),
    openCase(few(10_000_000, 100_000)),
    ...driveCases(quick)
  ]
}

function hashCase(ms: number): Case {
  const lengths = [64, 128, 1024, 65_536]
  const contestant = (name: string, script: string): Contestant => ({
    name,
    run: async (stage) => {
      const role = stage.role(script)
      const sample: Record<string, number> = {}
      for (const bytes of lengths) {
        const { rate, digest } = await role.call<Rate>('hash', { bytes, ms })
        sample[`rate${bytes}`] = rate
        stage.agree(`hash ${bytes}`, digest)
      }
      await role.close()
      return sample
    }
  })
  return {
    name: 'hash',
    title: 'BLAKE2b-256 of many messages of one length',
    columns: lengths.map((bytes) => ({ metric: `rate${bytes}`, title: `${bytes} B hashes/s` })),
    contestants: [
      contestant('syncline', 'roles/syncline-kernel'),
      contestant('libsodium', 'roles/sodium-kernel')
    ],
    goals: lengths.map((bytes) => ({
      ...against('libsodium', `rate${bytes}`),
      title: `hashes of ${bytes} B`,
      atLeast: bytes <= 128 ? 2.5 : 1.4
    }))
  }
}

function foldCase(ms: number): Case {
  const contestant = (name: string, script: string): Contestant => ({
    name,
    run: async (stage) => {
      const role = stage.role(script)
      const job = { bytes: 1024, blocks: 1024, ms }
      const { rate, digest } = await role.call<Rate>('fold', job)
      await role.close()
      stage.agree('fold', digest)
      return { rate: rate * job.blocks }
    }
  })
  return {
    name: 'fold',
    title: 'leaves and parents of chunks of 1,024 blocks of 1 KiB',
    columns: [BLOCKS],
    contestants: [
      contestant('syncline', 'roles/syncline-kernel'),
      contestant('libsodium', 'roles/sodium-kernel')
    ],
    goals: [{ ...against('libsodium', 'rate'), title: 'blocks/s', atLeast: 1.5 }]
  }
}

function frameCase(ms: number): Case {
  const count = 64
  const lengths = [16, 128, 1024]
  const contestant = (name: string, codec: 'kernel' | 'flat'): Contestant => ({
    name,
    run: async (stage) => {
      const role = stage.role('roles/frame-kernel')
      const sample: Record<string, number> = {}
      const requests = await role.call<FrameRates>('requests', { codec, count, ms })
      sample['writeRequests'] = requests.write
      sample['readRequests'] = requests.read
      stage.agree('requests', requests.digest)
      for (const bytes of lengths) {
        const values = await role.call<FrameRates>('values', { codec, count, ms, bytes })
        sample[`write${bytes}`] = values.write
        sample[`read${bytes}`] = values.read
        stage.agree(`values ${bytes}`, values.digest)
      }
      await role.close()
      return sample
    }
  })
  const messages = [
    ['Requests', 'requests'],
    ...lengths.map((bytes) => [String(bytes), `values of ${size(bytes)}`])
  ] as [string, string][]
  const works = messages.flatMap(([name, title]) => [
    { metric: `write${name}`, title: `${title} written` },
    { metric: `read${name}`, title: `${title} read` }
  ])
  return {
    name: 'frame',
    title: `messages of a run of ${count}, in millions per second`,
    columns: works.map(({ metric, title }) => ({ metric, title, scale: 1e-6, digits: 1 })),
    contestants: [contestant('WASM', 'kernel'), contestant('JavaScript', 'flat')],
    goals: works.map(({ metric, title }) => ({
      title,
      metric,
      of: 'WASM',
      against: 'JavaScript',
      atLeast: 1
    }))
  }
}

function syncCase(name: string, blocks: number, bytes: number, goals: readonly Goal[]): Case {
  return {
    name,
    title: `${count(blocks)} blocks of ${size(bytes)}, each to its own kind`,
    columns: [BLOCKS, MEGABYTES, ...PROCESSES],
    contestants: [
      pair('syncline', 'syncline', blocks, bytes),
      pair('hypercore', 'hypercore', blocks, bytes),
      pair('floor', 'floor', blocks, bytes)
    ],
    goals
  }
}

function receiverCase(name: string, blocks: number, bytes: number, atLeast: number): Case {
  return {
    name,
    title: `${count(blocks)} blocks of ${size(bytes)} from hypercore`,
    columns: [BLOCKS, MEGABYTES, ...PROCESSES],
    contestants: [
      pair('hypercore', 'syncline', blocks, bytes),
      pair('hypercore', 'hypercore', blocks, bytes)
    ],
    goals: [rateGoal('hypercore', atLeast)]
  }
}

function senderCase(name: string, blocks: number, bytes: number, atLeast: number): Case {
  const contestants = (['syncline', 'hypercore'] as const).map((from) => ({
    ...pair(from, 'hypercore', blocks, bytes),
    name: from
  }))
  return {
    name,
    title: `${count(blocks)} blocks of ${size(bytes)} to hypercore`,
    columns: [BLOCKS, MEGABYTES, ...PROCESSES],
    contestants,
    goals: [rateGoal('hypercore', atLeast)]
  }
}

function latencyCase(roundTripMs: number, blocks: number): Case {
  const contestants = (['syncline', 'hypercore'] as const).map((kind) =>
    transferring(kind, {
      from: kind,
      to: kind,
      group: { feeds: 1, blocks, bytes: 100 },
      warm: { feeds: 1, blocks: 50, bytes: 100 },
      roundTripMs
    })
  )
  return {
    name: `latency-${roundTripMs}`,
    title: `${count(blocks)} blocks of 100 B at ${roundTripMs} ms round trip`,
    columns: [BLOCKS, ...PROCESSES],
    contestants,
    goals: [rateGoal('hypercore', 15)]
  }
}

function firstBlockCase(): Case {
  const roundTripMs = 100
  const contestants = (['syncline', 'hypercore'] as const).map((kind) => ({
    name: kind,
    run: (stage: Stage) =>
      firstBlock(stage, {
        from: kind,
        to: kind,
        group: { feeds: 1, blocks: 1000, bytes: 100 },
        warm: { feeds: 1, blocks: 1000, bytes: 100 },
        roundTripMs
      })
  }))
  return {
    name: 'first-block',
    title: `first block at ${roundTripMs} ms round trip, from the open stream`,
    columns: [
      { metric: 'ms', title: 'ms' },
      { metric: 'roundTrips', title: 'round trips', digits: 2 }
    ],
    contestants,
    goals: [
      {
        title: 'first block',
        metric: 'roundTrips',
        of: 'syncline',
        against: null,
        atMost: 1.3,
        unit: 'round trips'
      }
    ]
  }
}

function feedsCase(name: string, feeds: number, goals: readonly Goal[]): Case {
  return {
    name,
    title: `${count(feeds)} feeds of 10 blocks of 100 B, one connection`,
    manyFiles: true,
    columns: [STALL, PEAK, ...PROCESSES],
    contestants: [feedsOf('syncline', 'syncline', feeds), feedsOf('hypercore', 'hypercore', feeds)],
    goals
  }
}

/** {@link feedsCase}, and the same for syncline without what its command line asks of V8, and for hypercore with it. */
function tuningCase(name: string, feeds: number, goals: readonly Goal[]): Case {
  const case_ = feedsCase(name, feeds, goals)
  return {
    ...case_,
    contestants: [
      ...case_.contestants,
      { ...feedsOf('syncline, not tuned', 'syncline', feeds), tuned: false },
      { ...feedsOf('hypercore, tuned', 'hypercore', feeds), tuned: true }
    ]
  }
}

function manyFeedsCase(many: number, some: number): Case {
  const [large, small] = [`${count(many)} feeds`, `${count(some)} feeds`]
  return {
    name: 'feeds-10000',
    title: `${count(many)} feeds of 10 blocks of 100 B, one connection, syncline`,
    manyFiles: true,
    columns: [
      STALL,
      PEAK,
      { metric: 'feedBytes', title: 'kB for each feed', scale: 1e-3, digits: 1 },
      ...PROCESSES
    ],
    contestants: [feedsOf(large, 'syncline', many), feedsOf(small, 'syncline', some)],
    goals: [
      {
        title: 'memory for each feed, both sides',
        metric: 'feedBytes',
        of: large,
        against: small,
        atMost: 1
      }
    ]
  }
}

function appendCase(blocks: number): Case {
  const group = { seed: 2, feeds: 1, blocks, bytes: 1024 }
  const warm = { seed: 1, feeds: 1, blocks: Math.min(20_000, blocks), bytes: 1024 }
  const contestants = (['syncline', 'hypercore'] as const).map((kind) => ({
    name: kind,
    run: async (stage: Stage) => {
      const role = stage.role(`roles/${kind}-writer`)
      const batch = 1000
      await role.call('append', { folder: stage.folder('warm'), group: warm, batch })
      const before = await role.call<Usage>('usage')
      const job = { folder: stage.folder('feed'), group, batch }
      const { ms } = await role.call<{ ms: number }>('append', job)
      const { cpuMs, peakBytes } = await role.call<Usage>('usage')
      await role.call('check', { folder: stage.folder('feed'), group })
      await role.close()
      return { ms, rate: (blocks * 1000) / ms, cpuMs: cpuMs - before.cpuMs, peakBytes }
    }
  }))
  return {
    name: 'append-1k',
    title: `${count(blocks)} blocks of 1 KiB appended in batches of 1,000, without fsync`,
    columns: [BLOCKS, { metric: 'ms', title: 'ms' }, { metric: 'cpuMs', title: 'CPU ms' }, PEAK],
    contestants,
    goals: [rateGoal('hypercore', 4)]
  }
}

function peersCase(blocks: number): Case {
  const contestant = (name: string, options: Partial<Transfer>): Contestant =>
    transferring(name, {
      from: 'syncline',
      to: 'syncline',
      group: { feeds: 1, blocks, bytes: 100 },
      warm: { feeds: 1, blocks: blocks / 2, bytes: 100 },
      count: true,
      ...options
    })
  return {
    name: 'peers-64',
    title: `${count(blocks)} blocks of 100 B from 64 peers that have all of them`,
    columns: [...PROCESSES, { metric: 'waste', title: '% waste', scale: 100, digits: 2 }],
    contestants: [
      contestant('64 peers', { connections: 64 }),
      contestant('1 peer', { connections: 1 }),
      contestant('1 peer, 63 idle', { connections: 1, idleConnections: 63 })
    ],
    goals: [
      {
        title: 'CPU of the receiver, 63 idle connections subtracted',
        metric: 'receiverCpuMs',
        of: '64 peers',
        against: '1 peer',
        ratio: (value) => {
          const [all, one, idle] = ['64 peers', '1 peer', '1 peer, 63 idle'].map((name) =>
            value(name, 'receiverCpuMs')
          ) as [number, number, number]
          return (all - Math.max(0, idle - one)) / one
        },
        atMost: 1.3
      },
      {
        title: 'blocks that were sent in vain',
        metric: 'waste',
        of: '64 peers',
        against: null,
        atMost: 0.02,
        unit: '%'
      }
    ]
  }
}

function openCase(blocks: number): Case {
  const group = { seed: 1, feeds: 1, blocks, bytes: 4 }
  const contestants = (['syncline', 'hypercore'] as const).map((kind) => ({
    name: kind,
    run: async (stage: Stage) => {
      const script = `roles/${kind}-opener`
      const { folder, result } = await stage.prepare(script, { group })
      const role = stage.role(script)
      const { ms } = await role.call<{ ms: number }>('list', { folder, key: result, group })
      const { cpuMs, peakBytes } = await role.call<Usage>('usage')
      await role.close()
      return { ms, cpuMs, peakBytes, rate: 1000 / ms }
    }
  }))
  return {
    name: 'open-10m',
    title: `a feed of ${count(blocks)} blocks, half of it here: open it and list what is missing`,
    columns: [
      { metric: 'ms', title: 'ms', digits: 1 },
      { metric: 'rate', title: 'feeds opened/s', digits: 1 },
      { metric: 'cpuMs', title: 'CPU ms, start of the process included' },
      PEAK
    ],
    contestants,
    goals: [{ ...rateGoal('hypercore', 5), title: 'time', metric: 'rate' }]
  }
}

interface FrameRates {
  readonly write: number
  readonly read: number
  readonly digest: string
}

interface Rate {
  readonly rate: number
  readonly digest: string
}

function pair(from: Kind, to: Kind, blocks: number, bytes: number): Contestant {
  const warm = Math.max(10, Math.floor(blocks / 10))
  return transferring(to, {
    from,
    to,
    group: { feeds: 1, blocks, bytes },
    warm: { feeds: 1, blocks: warm, bytes }
  })
}

function feedsOf(name: string, kind: Kind, feeds: number): Contestant {
  const contestant = transferring(name, {
    from: kind,
    to: kind,
    group: { feeds, blocks: 10, bytes: 100 },
    warm: { feeds: Math.min(50, feeds), blocks: 10, bytes: 100 }
  })
  return {
    name,
    run: async (stage): Promise<Sample> => {
      const sample = await contestant.run(stage)
      return { ...sample, feedBytes: (sample['grownBytes'] ?? NaN) / feeds }
    }
  }
}

function transferring(name: string, options: Transfer): Contestant {
  return { name, run: (stage) => transfer(stage, options) }
}

function against(name: string, metric: string): Pick<Goal, 'of' | 'against' | 'metric'> {
  return { of: 'syncline', against: name, metric }
}

function rateGoal(name: string, atLeast: number): Goal {
  return { ...against(name, 'rate'), title: 'speed', atLeast }
}

function shareGoal(atLeast: number): Goal {
  return { ...against('floor', 'rate'), title: 'share of the floor', atLeast, unit: '%' }
}

function count(blocks: number): string {
  return blocks.toLocaleString('en')
}

function size(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KiB`
}
