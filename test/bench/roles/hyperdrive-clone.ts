/** Fetches a hyperdrive into a folder with mirror-drive. */
import { connect } from 'node:net'
import path from 'node:path'
import type NoiseSecretStream from '@hyperswarm/secret-stream'
import { connected, secure } from './core.ts'
import {
  localDrive,
  openCoreStore,
  openDrive,
  type CoreStore,
  type RemoteDrive
} from './hyperdrive.ts'
import { serveSteps } from './steps.ts'
import { digestOfTree } from './tree.ts'

let target = ''
let store: CoreStore | null = null
let stream: NoiseSecretStream | null = null
let drive: RemoteDrive | null = null

await serveSteps({
  async open({ folder }: { folder: string }) {
    target = path.join(folder, 'tree')
    store = await openCoreStore(path.join(folder, 'store'))
  },

  async connect({ port }: { port: number }) {
    stream = secure(true, connect(port, '127.0.0.1'))
    store?.replicate(stream)
    await connected(stream)
  },

  /** From a key over an open connection to all files in their places. */
  async fetch({ key }: { key: string }) {
    const into = store
    if (into === null) throw new Error('open comes first')
    const began = performance.now()
    drive = await openDrive(into, key)
    const found = into.findingPeers()
    const updating = drive.core.update({ wait: true })
    found()
    await updating
    if (drive.version <= 1) await reached(drive, 2)
    await drive.mirror(localDrive(target)).done()
    return { ms: performance.now() - began }
  },

  /** Brings the folder to a version that was made after it. */
  async update({ version }: { version: number }) {
    const from = drive
    if (from === null) throw new Error('fetch comes first')
    const began = performance.now()
    await reached(from, version)
    await from.mirror(localDrive(target)).done()
    return { ms: performance.now() - began }
  },

  /** Digest of what is in the folder once all is closed. */
  async check() {
    await close()
    return digestOfTree(target)
  },

  close
})

/** Resolves when the index is as long as a version. */
async function reached(drive: RemoteDrive, version: number): Promise<void> {
  if (drive.version >= version) return
  await new Promise<void>((resolve) => {
    drive.core.on('append', () => {
      if (drive.version >= version) resolve()
    })
  })
}

async function close(): Promise<void> {
  stream?.destroy()
  await drive?.close()
  await store?.close()
}
