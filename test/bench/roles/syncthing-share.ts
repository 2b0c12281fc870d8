/** Shares a folder with syncthing. */
import path from 'node:path'
import type { MadeTree, TreeShape } from '../tree.ts'
import { freePort, until } from './child.ts'
import { serveSteps } from './steps.ts'
import { Instance, makeDevice } from './syncthing.ts'
import { digestOfTree, makeTree } from './tree.ts'

let instance: Instance | null = null

await serveSteps({
  /** A tree in `folder/tree`, and the identities of both sides; the key names them. */
  async prepare({ folder, shape }: { folder: string; shape: TreeShape }): Promise<MadeTree> {
    const tree = path.join(folder, 'tree')
    await makeTree(tree, shape)
    const ids = [
      await makeDevice(path.join(folder, 'source')),
      await makeDevice(path.join(folder, 'target'))
    ]
    return { digest: digestOfTree(tree), key: ids.join(' ') }
  },

  /** Resolves when it has hashed all files. */
  async serve({ folder, state, key, shape }: ServeJob) {
    const [own = '', other = ''] = key.split(' ')
    const port = await freePort()
    const from = await Instance.start({
      identity: path.join(folder, 'source'),
      home: path.join(state, 'home'),
      tree: path.join(folder, 'tree'),
      own: { id: own, port },
      other: { id: other, port: null },
      paused: false
    })
    instance = from
    await until('the hashes of all files', async () => {
      const { state, localFiles } = await from.status()
      return state === 'idle' && localFiles === shape.files ? true : null
    })
    return port
  },

  async close() {
    await instance?.close()
  }
})

interface ServeJob {
  readonly folder: string
  readonly state: string
  readonly key: string
  readonly shape: TreeShape
}
