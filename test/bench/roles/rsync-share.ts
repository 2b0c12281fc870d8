/** Serves a folder with the daemon of rsync: no encryption. */
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import type { MadeTree, TreeShape } from '../tree.ts'
import { endProgram, freePort, startProgram, until } from './child.ts'
import { serveSteps } from './steps.ts'
import { changeTree, digestOfTree, makeTree } from './tree.ts'

let daemon: ChildProcess | null = null

await serveSteps({
  async prepare({ folder, shape }: { folder: string; shape: TreeShape }): Promise<MadeTree> {
    const tree = path.join(folder, 'tree')
    await makeTree(tree, shape)
    return { digest: digestOfTree(tree), key: '' }
  },

  async serve({ folder, state }: { folder: string; state: string }) {
    const port = await freePort()
    const config = path.join(state, 'rsyncd.conf')
    // Root would serve as nobody.
    const user = process.getuid?.() === 0 ? ['uid = root', 'gid = root'] : []
    const lines = ['use chroot = no', 'reverse lookup = no', ...user, '[tree]']
    mkdirSync(state, { recursive: true })
    writeFileSync(config, `${[...lines, `path = ${path.join(folder, 'tree')}`].join('\n')}\n`)
    const address = ['--address=127.0.0.1', `--port=${port}`]
    daemon = startProgram('rsync', ['--daemon', '--no-detach', `--config=${config}`, ...address])
    await until('the daemon of rsync', () => answers(port))
    return port
  },

  /** Changes one block of the tree. */
  change({ folder, shape }: { folder: string; shape: TreeShape }) {
    const tree = path.join(folder, 'tree')
    changeTree(tree, shape)
    return { version: 0, digest: digestOfTree(tree) }
  },

  async close() {
    if (daemon !== null) await endProgram(daemon)
  }
})

function answers(port: number): Promise<true | null> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => resolve(null))
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}
