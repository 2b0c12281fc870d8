/**
 * A process that shares or clones a folder, to be killed: `share STORE DIR` or `clone STORE DIR KEY PORT LOG`.
 *
 * Says `open`, then `done` when all is in place. A clone notes in LOG which
 * blocks came (`d INDEX`) and which are stored (`h START END`).
 */
import { appendFileSync } from 'node:fs'
import path from 'node:path'
import { ClonedFolder } from '../../lib/drive/cloned-folder.ts'
import { Registry } from '../../lib/drive/registry.ts'
import { SharedFolder } from '../../lib/drive/shared-folder.ts'
import { memory, Synchronizer } from '../../lib/index.ts'

const [kind, store = '', dir = '', key = '', port = '', log = ''] = process.argv.slice(2)
const sync = new Synchronizer({ storage: memory() })
const registry = new Registry(store)
if (kind === 'share') {
  const share = await SharedFolder.open(sync, registry, dir)
  console.log('open')
  await share.import({ maxDelete: 10_000 })
  console.log('done')
  await share.close()
} else {
  const clone = await ClonedFolder.open(sync, registry, Buffer.from(key, 'hex'), path.resolve(dir))
  const noting = clone.folder.indexSession.ready().then(async () => {
    await clone.folder.indexSession.get(0)
    const { feed, session } = await clone.folder.blobs()
    session.on('download', (index) => appendFileSync(log, `d ${index}\n`))
    feed.onchange((change) => {
      if (change.type === 'have') appendFileSync(log, `h ${change.start} ${change.end}\n`)
    })
  })
  console.log('open')
  await sync.connect('127.0.0.1', Number(port))
  await noting
  await clone.update()
  console.log('done')
  await clone.close()
}
await sync.close()
