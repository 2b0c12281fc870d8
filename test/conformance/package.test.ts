import test from 'brittle'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = findRoot(path.dirname(fileURLToPath(import.meta.url)))

function findRoot(folder: string): string {
  return existsSync(path.join(folder, 'package.json')) ? folder : findRoot(path.dirname(folder))
}

const STRANGER = `
import { Synchronizer, memory, type FeedSession } from 'syncline'
const a = new Synchronizer({ storage: memory() })
const b = new Synchronizer({ storage: './data', limits: { upload: 0, download: 0 } })
const logs: FeedSession = await a.create('logs')
await logs.append([Buffer.from('hello'), 'world'])
const [address = ''] = await a.listen(0, '127.0.0.1')
await b.connect('127.0.0.1', Number(address.split(':')[1]))
const copy = b.add(logs.id, { mode: 'pull' })
await copy.synced({ timeoutMs: 10_000 })
console.log(String(await copy.get(1)), copy.length)
await Promise.all([a.close(), b.close()])
`

test(
  'a packed syncline compiles and runs in an empty folder of a stranger',
  { timeout: 180_000 },
  async (t) => {
    const folder = await t.tmp()
    const { stdout } = await run(
      'npm',
      ['pack', '--ignore-scripts', '--json', '--pack-destination', folder],
      {
        cwd: root
      }
    )
    const packed = JSON.parse(stdout) as { filename: string }[]
    const tarball = path.join(folder, packed[0]?.filename ?? '')
    const app = path.join(folder, 'app')
    await mkdir(app)
    await writeFile(
      path.join(app, 'package.json'),
      '{ "name": "app", "type": "module", "private": true }'
    )
    await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', tarball], {
      cwd: app
    })
    // The compiler and node's types are the stranger's own; ours serve as well.
    await mkdir(path.join(app, 'node_modules', '@types'), { recursive: true })
    for (const name of ['@types/node', 'undici-types']) {
      const target = path.join(app, 'node_modules', name)
      if (!existsSync(target)) await symlink(path.join(root, 'node_modules', name), target)
    }
    await writeFile(path.join(app, 'main.ts'), STRANGER)
    const options = [
      '--strict',
      '--skipLibCheck',
      'false',
      '--module',
      'nodenext',
      '--target',
      'es2023'
    ]
    const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    await run(process.execPath, [tsc, ...options, '--types', 'node', 'main.ts'], { cwd: app })
    const result = await run(process.execPath, ['main.js'], { cwd: app })
    t.is(result.stdout, 'world 2\n')
    t.absent(
      existsSync(path.join(app, 'node_modules', 'hypercore')),
      'hypercore is not dragged along'
    )
  }
)
