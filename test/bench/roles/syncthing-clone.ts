/** Fetches a folder with syncthing. */
import path from 'node:path'
import type { TreeShape } from '../tree.ts'
import { serveSteps } from './steps.ts'
import { Instance } from './syncthing.ts'
import { digestOfTree } from './tree.ts'

const EVENTS = ['DeviceConnected', 'StateChanged']

let folder = ''
let identity = ''
let instance: Instance | null = null
let source = { id: '', port: 0 }

await serveSteps({
  open(job: { folder: string; source: string }) {
    folder = job.folder
    identity = path.join(job.source, 'target')
  },

  /** Starts the instance; it does not dial yet. */
  async connect({ port, key }: { port: number; key: string }) {
    const [id = '', own = ''] = key.split(' ')
    source = { id, port }
    instance = await Instance.start({
      identity,
      home: path.join(folder, 'home'),
      tree: path.join(folder, 'tree'),
      own: { id: own, port: null },
      other: source,
      paused: true
    })
  },

  /** From the open connection to all files in their places. */
  async fetch({ shape }: { shape: TreeShape }) {
    const into = instance
    if (into === null) throw new Error('connect comes first')
    let since = (await into.events(EVENTS, 0, 0)).at(-1)?.id ?? 0
    await into.resume(source)
    let began = NaN
    let ended = NaN
    while (true) {
      for (const { id, type, time, data } of await into.events(EVENTS, since, 60)) {
        since = id
        if (type === 'DeviceConnected') began = Date.parse(time)
        else ended = data.to === 'idle' ? Date.parse(time) : NaN
      }
      const { localFiles, needTotalItems } = await into.status()
      const ms = ended - began
      if (localFiles === shape.files && needTotalItems === 0 && ms > 0) return { ms }
    }
  },

  async check() {
    await close()
    return digestOfTree(path.join(folder, 'tree'))
  },

  close
})

async function close(): Promise<void> {
  await instance?.close()
  instance = null
}
