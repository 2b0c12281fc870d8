import { lstat, rm } from 'node:fs/promises'
import path from 'node:path'
import b4a from 'b4a'
import { SynclineError } from '../errors.ts'
import { DriveFolder, readConfig, type FolderConfig } from '../drive/folder/drive-folder.ts'
import type { RegisteredDrive, Registry } from '../drive/registry.ts'
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
    const drive =
      config === null
        ? await findShared(registry, root)
        : await registry.get(b4a.from(config.key, 'hex'))
    if (config === null && drive === null) {
      throw new SynclineError('FEED_NOT_FOUND', `${root} is neither shared nor cloned`)
    }
    // A second folder of the same drive may be the one that is registered.
    const own = drive !== null && (await isOwn(drive, root, config)) ? drive : null
    const key = config === null ? (own as RegisteredDrive).key : b4a.from(config.key, 'hex')
    const kind = config?.kind ?? (own as RegisteredDrive).kind
    const losesKey = own?.keyPair != null
    if (!context.get(DRY_RUN)) {
      await checkState(root)
      if (config !== null) await checkUnused(root)
      await forget(root)
      if (own !== null) await registry.delete(key)
    }
    return tell(context, { root, key, kind, losesKey })
  }
}

/** What was shared or cloned at a path; a mirror only remembers it. */
async function findShared(registry: Registry, root: string): Promise<RegisteredDrive | null> {
  for (const drive of await registry.list()) {
    if (drive.kind !== 'mirror' && (await isSameFolder(drive.folder, root))) return drive
  }
  return null
}

/** True if a folder that holds a drive is the one that is registered for it, which may have been moved. */
async function isOwn(
  { key, kind, folder }: RegisteredDrive,
  root: string,
  config: FolderConfig | null
): Promise<boolean> {
  if (kind === 'mirror') return false
  if (await isSameFolder(folder, root)) return true
  // A share of which this is a clone may only be away.
  if (config?.kind !== kind) return false
  const there = await readConfig(folder).catch(() => null)
  return there?.key !== b4a.toString(key, 'hex')
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
