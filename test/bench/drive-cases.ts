/**
 * What is measured of drives, and the goals.
 *
 * @module
 */
import type { Case, Column, Contestant, Goal } from './case.ts'
import { fetchChange, fetchedDisk, fetchTree, type DriveKind } from './drive-transfer.ts'
import type { Usage } from './feed-group.ts'
import type { Stage } from './stage.ts'
import type { Sample } from './statistics.ts'
import type { MadeTree, TreeShape } from './tree.ts'

const FILES: Column = { metric: 'rate', title: 'files/s' }
const MS: Column = { metric: 'ms', title: 'ms' }
const OPEN_MS: Column = { metric: 'openMs', title: 'ms to open' }
const CPU: Column = { metric: 'cpuMs', title: 'CPU ms' }
const PEAK: Column = { metric: 'peakBytes', title: 'MB peak', scale: 1e-6 }
const SIDES: readonly Column[] = [
  MS,
  { metric: 'senderCpuMs', title: 'source CPU ms' },
  { metric: 'receiverCpuMs', title: 'receiver CPU ms' },
  { metric: 'senderPeakBytes', title: 'source MB', scale: 1e-6 },
  { metric: 'receiverPeakBytes', title: 'receiver MB', scale: 1e-6 }
]

/** All cases of drives; `quick` ones are small, to see that they work. */
export function driveCases(quick: boolean): Case[] {
  const few = (count: number, quickly: number): number => (quick ? quickly : count)
  const small: TreeShape = { seed: 1, folders: few(100, 10), files: few(10_000, 300), bytes: 1024 }
  const large: TreeShape = { seed: 2, folders: 1, files: 1, bytes: few(512, 16) * 1024 * 1024 }
  const many: TreeShape = { seed: 3, folders: few(2000, 20), files: few(200_000, 2000), bytes: 10 }
  return [
    importCase(small),
    importAgainCase(small),
    cloneSmallCase(small),
    cloneLargeCase(large),
    diskCase(small, large),
    deltaCase(large),
    memoryCase(many)
  ]
}

/**
 * A folder that nobody shared before, in a fresh process with an open store: from the open drive to all in it. A store
 * keeps a copy of every byte, a share in place does not: that is the difference which is measured. What the drive gives
 * back is compared with the folder.
 */
function importCase(shape: TreeShape): Case {
  const contestants = (['syncline', 'hyperdrive'] as const).map((kind) => ({
    name: kind,
    run: async (stage: Stage): Promise<Sample> => {
      const made = await stage.prepare('roles/tree-maker', { shape })
      const role = stage.role(`roles/${kind}-share`)
      await role.call('open', { store: stage.folder('store') })
      const before = await role.call<Usage>('usage')
      const { openMs, ms, changes } = await role.call<Import>('import', { tree: made.folder })
      const { cpuMs, peakBytes } = await role.call<Usage>('usage')
      if (changes !== shape.files) throw new Error(`${changes} changes were found`)
      await checkContents(stage, role, made.result as MadeTree)
      if (kind === 'syncline') {
        // The next contestant finds the folder as it was.
        await role.call('forget', { tree: made.folder, to: stage.folder('state') })
      }
      await role.close()
      return { openMs, ms, rate: rateOf(shape, ms), cpuMs: cpuMs - before.cpuMs, peakBytes }
    }
  }))
  return {
    name: 'drive-import',
    title: `import of ${count(shape.files)} files of ${size(shape.bytes)}`,
    manyFiles: true,
    columns: [FILES, MS, OPEN_MS, CPU, PEAK],
    contestants,
    goals: [{ ...against('hyperdrive', 'rate'), title: 'speed', atLeast: 10 }]
  }
}

/**
 * The same folder again, nothing changed, in a fresh process that opens everything anew. As syncline reads its
 * catalog of the files when it opens the folder, and would not be asked for that time otherwise, the time of both
 * begins before the drive is opened, when only the store is.
 */
function importAgainCase(shape: TreeShape): Case {
  const contestants = (['syncline', 'hyperdrive'] as const).map((kind) => ({
    name: kind,
    run: async (stage: Stage): Promise<Sample> => {
      const script = `roles/${kind}-share`
      const { folder, result } = await stage.prepare(script, { shape })
      const role = stage.role(script)
      await role.call('open', { store: `${folder}/store` })
      const before = await role.call<Usage>('usage')
      const job = { tree: `${folder}/tree` }
      const { openMs, ms, changes } = await role.call<Import>('import', job)
      const { cpuMs, peakBytes } = await role.call<Usage>('usage')
      if (changes !== 0) throw new Error(`${changes} changes were found where nothing changed`)
      await checkContents(stage, role, result as MadeTree)
      await role.close()
      const all = openMs + ms
      return { openMs, ms: all, rate: rateOf(shape, all), cpuMs: cpuMs - before.cpuMs, peakBytes }
    }
  }))
  return {
    name: 'drive-import-again',
    title: `import of ${count(shape.files)} files of ${size(shape.bytes)} again, nothing changed`,
    manyFiles: true,
    columns: [FILES, MS, { ...OPEN_MS, title: 'of them to open' }, CPU, PEAK],
    contestants,
    goals: [{ ...against('hyperdrive', 'rate'), title: 'speed', atLeast: 30 }]
  }
}

/**
 * From folder to folder, see {@link fetchTree}. The time of rsync is that of its program, which connects within some
 * milliseconds; it encrypts nothing, and keeps nothing that it could serve. syncthing's goes from the event of its
 * connection to that of its idle folder. Nobody waits for the disk: syncthing is told not to. The goals are about
 * fresh processes; `syncline, warm` shows what is left when the code is compiled, as in a process that runs for long.
 */
function cloneSmallCase(shape: TreeShape): Case {
  return {
    name: 'drive-clone-small',
    title: `${count(shape.files)} files of ${size(shape.bytes)}, from folder to folder`,
    manyFiles: true,
    columns: [FILES, ...SIDES],
    contestants: [
      fetching('syncline', shape),
      { name: 'syncline, warm', run: (stage) => fetchTree(stage, 'syncline', shape, true) },
      fetching('hyperdrive', shape),
      { ...fetching('rsync', shape), needs: 'rsync' },
      { ...fetching('syncthing', shape), needs: 'syncthing' }
    ],
    goals: [
      { ...against('hyperdrive', 'rate'), title: 'speed', atLeast: 8 },
      { ...against('rsync', 'rate'), title: 'speed, rsync not encrypting', atLeast: 0.8 },
      { ...against('syncthing', 'rate'), title: 'speed', atLeast: 5 }
    ]
  }
}

/** The same with one long file. */
function cloneLargeCase(shape: TreeShape): Case {
  return {
    name: 'drive-clone-large',
    title: `one file of ${size(shape.bytes)}, from folder to folder`,
    columns: [{ metric: 'megabytes', title: 'MB/s' }, ...SIDES],
    contestants: [
      fetching('syncline', shape),
      fetching('hyperdrive', shape),
      { ...fetching('rsync', shape), needs: 'rsync' }
    ],
    goals: [{ ...against('hyperdrive', 'megabytes'), title: 'speed', atLeast: 5 }]
  }
}

/**
 * What a first clone takes on the receiver's disk: blocks of the disk that its files have, in shares of the blocks that
 * the plain files have at the source, on the same file system. `content` is every byte of the files, wherever it lies;
 * the rest is what is known of them: `index` and `tree` are feeds that can be served again, `catalog` are the stamps.
 * A store that keeps content and tree together counts as content. Peaks are what was seen by looking again and again.
 */
function diskCase(small: TreeShape, large: TreeShape): Case {
  const sets = [
    ['small', small, `${count(small.files)} files of ${size(small.bytes)}`],
    ['large', large, `one file of ${size(large.bytes)}`]
  ] as const
  const shares = [
    ['content', 'content'],
    ['contentPeak', 'content at most'],
    ['all', 'all'],
    ['allPeak', 'all at most'],
    ['allApparent', 'all by length']
  ] as const
  const parts = ['index', 'tree', 'catalog', 'other'] as const
  const columns = sets.flatMap(([set]) => [
    ...shares.map(([metric, title]) => ({
      metric: `${set}.${metric}`,
      title: `${set}: ${title}`,
      digits: 3
    })),
    ...parts.map((part) => ({
      metric: `${set}.${part}Bytes`,
      title: `${part} kB`,
      scale: 1e-3
    }))
  ])
  const contestants = (['syncline', 'hyperdrive'] as const).map((kind) => ({
    name: kind,
    run: async (stage: Stage): Promise<Sample> => {
      const sample: Record<string, number> = {}
      for (const [set, shape] of sets) {
        const use = await fetchedDisk(stage, kind, shape, set)
        for (const [metric, value] of Object.entries(use)) sample[`${set}.${metric}`] = value
      }
      return sample
    }
  }))
  const goals = sets.flatMap(([set, , title]) => [
    { ...absolute(`${set}.content`), title: `content of ${title}`, atMost: 1.05 },
    { ...absolute(`${set}.contentPeak`), title: `content of ${title}, at most`, atMost: 1.05 }
  ])
  return {
    name: 'drive-disk',
    title: "receiver's disk in shares of the plain files",
    manyFiles: true,
    columns,
    contestants,
    goals
  }
}

/** One block in the middle of a long file changed in place, see {@link fetchChange}. */
function deltaCase(shape: TreeShape): Case {
  const run = (kind: DriveKind) => (stage: Stage) => fetchChange(stage, kind, shape)
  return {
    name: 'drive-delta',
    title: `one changed block in a file of ${size(shape.bytes)}`,
    columns: [
      { metric: 'bytes', title: 'MiB on the wire', scale: 2 ** -20, digits: 3 },
      { metric: 'firstBytes', title: 'MiB the first time', scale: 2 ** -20, digits: 1 },
      MS
    ],
    contestants: [
      { name: 'syncline', run: run('syncline') },
      { name: 'hyperdrive', run: run('hyperdrive') },
      { name: 'rsync', needs: 'rsync', run: run('rsync') }
    ],
    goals: [
      {
        ...absolute('bytes'),
        title: 'bytes both ways',
        ratio: (value) => value('syncline', 'bytes') / 2 ** 20,
        atMost: 1,
        unit: 'MiB'
      }
    ]
  }
}

/**
 * What an import of many files would do, and nothing done: what the process holds at most beyond what it held when the
 * store was open. `all known` is syncline with a catalog of all the files, which it compares the folder with;
 * mirror-drive compares with an empty drive.
 */
function memoryCase(shape: TreeShape): Case {
  const contestant = (
    name: string,
    kind: 'syncline' | 'hyperdrive',
    known: boolean
  ): Contestant => ({
    name,
    run: async (stage) => {
      const script = `roles/${kind}-share`
      const made = await stage.prepare(known ? script : 'roles/tree-maker', { shape })
      const tree = known ? `${made.folder}/tree` : made.folder
      const role = stage.role(script)
      await role.call('open', { store: known ? `${made.folder}/store` : stage.folder('store') })
      const before = await role.call<Usage>('usage')
      const began = performance.now()
      const changes = await role.call<number>('plan', { tree })
      const ms = performance.now() - began
      const { peakBytes } = await role.call<Usage>('usage')
      const expected = known ? 0 : shape.files
      if (changes !== expected) throw new Error(`${changes} changes were found`)
      if (kind === 'syncline' && !known) {
        await role.call('forget', { tree, to: stage.folder('state') })
      }
      await role.close()
      return { ms, peakBytes, grownBytes: peakBytes - before.residentBytes }
    }
  })
  return {
    name: 'drive-memory',
    title: `scan and plan of ${count(shape.files)} files`,
    manyFiles: true,
    columns: [{ metric: 'grownBytes', title: 'MB for it', scale: 1e-6, digits: 1 }, PEAK, MS],
    contestants: [
      contestant('syncline', 'syncline', false),
      contestant('syncline, all known', 'syncline', true),
      contestant('mirror-drive', 'hyperdrive', false)
    ],
    goals: [
      { ...against('mirror-drive', 'grownBytes'), title: 'memory', atMost: 1 / 3 },
      {
        ...against('mirror-drive', 'grownBytes'),
        title: 'memory, with a catalog of all',
        of: 'syncline, all known',
        atMost: 1 / 3
      }
    ]
  }
}

interface Import {
  readonly openMs: number
  readonly ms: number
  readonly changes: number
}

function fetching(kind: DriveKind, shape: TreeShape): Contestant {
  return { name: kind, run: (stage) => fetchTree(stage, kind, shape) }
}

/** Compares what a drive gives with the folder that it was made of. */
async function checkContents(
  stage: Stage,
  role: { call<T>(step: string): Promise<T> },
  { digest }: MadeTree
): Promise<void> {
  const found = await role.call<string>('contents')
  if (found !== digest) throw new Error('what the drive gives is not what the folder has')
  stage.agree('tree', digest)
}

function against(name: string, metric: string): Pick<Goal, 'of' | 'against' | 'metric'> {
  return { of: 'syncline', against: name, metric }
}

function absolute(metric: string): Pick<Goal, 'of' | 'against' | 'metric'> {
  return { of: 'syncline', against: null, metric }
}

function rateOf({ files }: TreeShape, ms: number): number {
  return (files * 1000) / ms
}

function count(files: number): string {
  return files.toLocaleString('en')
}

function size(bytes: number): string {
  return bytes < 1024 * 1024 ? `${bytes / 1024} KiB` : `${bytes / 1024 / 1024} MiB`
}
