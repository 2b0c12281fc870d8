/**
 * A process that imports or clones a folder and is killed at a step of it: `share STORE DIR`, `mirror STORE DIR` or
 * `clone STORE DIR KEY PORT`.
 *
 * A share says `open KEY PORT` and goes on when it is told anything, so that a peer can be there; it says `head LENGTH`
 * whenever its index has become longer, and goes on when the peer has that. At its end a process says `steps COUNT`.
 */
import { stepsSoFar } from './kill-step.ts'
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import path from 'node:path'
import { ClonedFolder } from '../../lib/drive/cloned-folder.ts'
import { mirrorFolder, openMirror } from '../../lib/drive/mirror.ts'
import { Registry } from '../../lib/drive/registry.ts'
import { SharedFolder } from '../../lib/drive/shared-folder.ts'
import { memory, Synchronizer } from '../../lib/index.ts'

const [kind, store = '', dir = '', key = '', port = ''] = process.argv.slice(2)
const sync = new Synchronizer({ storage: memory() })
const registry = new Registry(store)
if (kind === 'share') {
  const [address = ''] = await sync.listen(0, '127.0.0.1')
  const share = await SharedFolder.open(sync, registry, dir)
  const { indexSession } = share.folder
  const append = indexSession.append.bind(indexSession)
  indexSession.append = async (...args) => {
    const length = await append(...args)
    // Said before the next change: whatever happens to that, this is there for ever.
    writeSync(1, `head ${indexSession.length}\n`)
    await indexSession.synced({ peers: 1 })
    return length
  }
  console.log(`open ${Buffer.from(share.key).toString('hex')} ${address.split(':')[1]}`)
  await once(process.stdin, 'data')
  process.stdin.pause().unref()
  await share.import()
  await share.close()
} else if (kind === 'mirror') {
  const [known] = await registry.named('kept')
  const mirror = await openMirror(sync, registry, known ?? 'kept', dir)
  await mirrorFolder(mirror)
  await mirror.close()
} else {
  const wanted = Buffer.from(key, 'hex')
  const clone = await ClonedFolder.open(sync, registry, wanted, path.resolve(dir), { at: null })
  await sync.connect('127.0.0.1', Number(port))
  await clone.update()
  await clone.close()
}
await sync.close()
console.log(`steps ${stepsSoFar()}`)
