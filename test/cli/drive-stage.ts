import { mkdir, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Assertions } from 'brittle'
import { ClonedFolder } from '../../lib/drive/cloned-folder.ts'
import type { ImportReport } from '../../lib/drive/import.ts'
import { Registry } from '../../lib/drive/registry.ts'
import { SharedFolder, type ShareOptions } from '../../lib/drive/shared-folder.ts'
import { formatKey } from '../../lib/synchronizer/key.ts'
import { memory } from '../../lib/synchronizer/storage.ts'
import { Synchronizer } from '../../lib/synchronizer/synchronizer.ts'
import { inside, type CommandOptions, type Result } from './inside.ts'

/** Files by name; null is an empty folder. */
export type Tree = Record<string, string | Uint8Array | null>

/** A user's store, and folders that are deleted with the test. */
export interface Stage {
  readonly tmp: string
  readonly store: string
  /** Runs a command line on the store, without the swarm. */
  readonly run: (...argv: (string | CommandOptions)[]) => Promise<Result>
  /** Runs a command line that fails with an exit code, and gives what it said. */
  readonly fails: (exit: number, ...argv: string[]) => Promise<string>
}

export async function stage(t: Assertions): Promise<Stage> {
  const tmp = await t.tmp()
  const store = path.join(tmp, 'store')
  const run = (...argv: (string | CommandOptions)[]): Promise<Result> => {
    const words = argv.filter((word) => typeof word === 'string')
    const options = argv.find((word) => typeof word !== 'string') ?? {}
    const net = NETWORKED.has(words[0] ?? '') ? ['--no-swarm'] : []
    return inside([...net, '--storage', store, ...words], options)
  }
  const fails = async (exit: number, ...argv: string[]): Promise<string> => {
    const result = await run(...argv)
    t.is(result.exit, exit, `${argv.join(' ')}: ${result.stderr}`)
    return result.stderr
  }
  return { tmp, store, run, fails }
}

const NETWORKED = new Set(['ls', 'cat', 'log', 'diff', 'restore', 'mirror'])

/** Writes files, some minutes old so that their stamps count. */
export async function plant(root: string, tree: Tree): Promise<void> {
  await mkdir(root, { recursive: true })
  for (const [name, content] of Object.entries(tree)) {
    const file = path.join(root, name)
    await mkdir(content === null ? file : path.dirname(file), { recursive: true })
    if (content === null) continue
    await writeFile(file, content)
    await utimes(file, 1_700_000_000, 1_700_000_000)
  }
}

/** Shares a folder as it is now. Returns the key and the version. */
export async function share(
  store: string,
  dir: string,
  options: ShareOptions = {}
): Promise<{ readonly key: string; readonly version: number; readonly report: ImportReport }> {
  const sync = new Synchronizer({ storage: memory() })
  const shared = await SharedFolder.open(sync, new Registry(store), dir, options)
  try {
    const report = await shared.import()
    const { index } = shared.folder
    return { key: formatKey(shared.key), version: index.version, report }
  } finally {
    await shared.close()
    await sync.close()
  }
}

/** A share that serves over TCP until the test ends. */
export async function serve(
  t: Assertions,
  store: string,
  dir: string,
  options: ShareOptions = {}
): Promise<{ readonly shared: SharedFolder; readonly key: string; readonly peer: string }> {
  const sync = new Synchronizer({ storage: memory() })
  const shared = await SharedFolder.open(sync, new Registry(store), dir, options)
  t.teardown(async () => {
    await shared.close()
    await sync.close()
  })
  await shared.import()
  const [peer = ''] = await sync.listen(0, '127.0.0.1')
  return { shared, key: formatKey(shared.key), peer }
}

/** Clones a drive as it is now. */
export async function clone(
  store: string,
  key: Uint8Array,
  peer: string,
  dir: string,
  choices: Parameters<typeof ClonedFolder.open>[4] = {}
): Promise<void> {
  const sync = new Synchronizer({ storage: memory() })
  const cloned = await ClonedFolder.open(sync, new Registry(store), key, dir, choices)
  try {
    const colon = peer.lastIndexOf(':')
    await sync.connect(peer.slice(0, colon), Number(peer.slice(colon + 1)))
    await cloned.update({ signal: AbortSignal.timeout(20_000) })
  } finally {
    await cloned.close()
    await sync.close()
  }
}
