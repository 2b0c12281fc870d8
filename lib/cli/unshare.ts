import { lstat, rm } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import { DriveFolder, readConfig, type FolderConfig } from '../drive/folder/drive-folder.ts'
import { foldersOf, withoutFolder, type RegisteredDrive, type Registry } from '../drive/registry.ts'
import { formatKey } from '../synchronizer/key.ts'
import { memory } from '../synchronizer/storage.ts'
import { Synchronizer } from '../synchronizer/synchronizer.ts'
import { isSameFolder } from '../drive/folder/look.ts'
import { openRegistry } from './common/folders.ts'
import type { Command, Context } from './common/command.ts'
import { EXIT_DONE } from './common/exit.ts'
import { DRY_RUN } from './common/flags.ts'
import { STATE_FOLDER } from '../drive/folder/state-folder.ts'

const command: Command = {
  name: 'unshare',
  summary: 'Forget that a folder is shared, or a clone; its files stay as they are.',
  args: [{ name: 'DIR' }],
  flags: [DRY_RUN],
  details: `Deletes DIR/${STATE_FOLDER} with its trash, and the secret key of a share: nobody can change that drive any more.`,
  async run(context) {
    const root = path.resolve(context.args[0] ?? '')
    const registry = openRegistry(context)
    const config = await readConfig(root)
    const registered =
      config === null
        ? await findByFolder(registry, root)
        : await registry.get(b4a.from(config.key, 'hex'))
    if (config === null && registered === null) {
      throw new SynclineError('FEED_NOT_FOUND', `${root} is neither shared nor cloned`)
    }
    const folder = registered && (await registeredAs(registered, root, config))
    const key = config === null ? (registered as RegisteredDrive).key : b4a.from(config.key, 'hex')
    const own = registered !== null && folder !== null ? kindOf(registered, folder) : null
    const kind = config?.kind ?? own ?? 'clone'
    const losesKey = own === 'share' && registered?.keyPair !== null
    if (!context.get(DRY_RUN)) {
      await checkState(root)
      if (config !== null) await checkUnused(root)
      await forget(root)
      if (registered !== null && folder !== null) await unregister(registry, registered, folder)
    }
    return tell(context, { root, key, kind, losesKey })
  }
}

/** The drive that was shared or cloned at a path. */
async function findByFolder(registry: Registry, root: string): Promise<RegisteredDrive | null> {
  for (const drive of await registry.list()) {
    for (const folder of foldersOf(drive)) if (await isSameFolder(folder, root)) return drive
  }
  return null
}

/** The path under which a folder that holds a drive is registered for it; null if it is not. */
async function registeredAs(
  drive: RegisteredDrive,
  root: string,
  config: FolderConfig | null
): Promise<string | null> {
  const folders = foldersOf(drive)
  for (const folder of folders) if (await isSameFolder(folder, root)) return folder
  // It was moved: a path where the drive is no more was its own. A share of which it is a clone may only be away.
  const mayBe = folders.filter((folder) => kindOf(drive, folder) === config?.kind)
  for (const folder of mayBe) {
    const there = await readConfig(folder).catch(() => null)
    if (there?.key !== config?.key) return folder
  }
  return null
}

function kindOf(drive: RegisteredDrive, folder: string): RegisteredDrive['kind'] {
  return folder === drive.folder ? drive.kind : 'clone'
}

async function unregister(
  registry: Registry,
  drive: RegisteredDrive,
  folder: string
): Promise<void> {
  const rest = withoutFolder(drive, folder)
  if (rest === null) await registry.delete(drive.key)
  else await registry.put(rest)
}

/** Only a folder of ours is deleted. @throws SynclineError REFUSED. */
async function checkState(root: string): Promise<void> {
  const state = path.join(root, STATE_FOLDER)
  const stats = await lstat(state).catch(() => null)
  if (stats === null || stats.isDirectory()) return
  throw new SynclineError('REFUSED', `${state} is no folder`, { path: state })
}

/** @throws SynclineError FEED_LOCKED while another process shares it or brings it up to date. */
async function checkUnused(root: string): Promise<void> {
  const sync = new Synchronizer({ storage: memory() })
  try {
    const folder = await DriveFolder.open(sync, root, { mode: 'serve' }).catch((error: unknown) => {
      if (error instanceof SynclineError && error.code !== 'FEED_LOCKED') return null
      throw error
    })
    await folder?.close()
  } finally {
    await sync.close()
  }
}

/** Without `config` it is nothing to us, should the rest be interrupted. */
async function forget(root: string): Promise<void> {
  const state = path.join(root, STATE_FOLDER)
  await rm(path.join(state, 'config'), { force: true })
  await rm(state, { recursive: true, force: true })
}

async function tell(
  { get, out }: Context,
  what: { root: string; key: Uint8Array; kind: RegisteredDrive['kind']; losesKey: boolean }
): Promise<number> {
  const { root, key, kind, losesKey } = what
  const dryRun = get(DRY_RUN)
  const id = formatKey(key)
  const state = kind === 'share' ? 'shared' : 'a clone'
  const lines = [
    dryRun
      ? `would forget that ${root} is ${state}`
      : `${root} is no longer ${state}; its files stay`
  ]
  if (losesKey) {
    const gone = dryRun ? 'would be' : 'is'
    lines.push(`its secret key ${gone} gone: nobody can change the drive ${id} any more`)
  }
  const record = { key: id, folder: root, kind, secretKeyDeleted: losesKey }
  await out.result(
    { ...(dryRun ? { dryRun } : { event: 'unshared' }), ...record },
    lines.join('\n')
  )
  return EXIT_DONE
}

export default command
