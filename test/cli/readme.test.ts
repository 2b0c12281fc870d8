import test from 'brittle'
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = findRoot(path.dirname(fileURLToPath(import.meta.url)))

function findRoot(folder: string): string {
  return existsSync(path.join(folder, 'package.json')) ? folder : findRoot(path.dirname(folder))
}

/** The fenced code of the README in one language, in order. */
function fences(language: string): string[] {
  const text = readFileSync(path.join(root, 'README.md'), 'utf8')
  return [...text.matchAll(/^```(\w+)\n([^]*?)^```/gm)].flatMap(([, name, code]) =>
    name === language ? [code as string] : []
  )
}

/** What a clone would hold, in a folder of its own, and an empty home. */
function clone(folder: string): { project: string; env: NodeJS.ProcessEnv } {
  const project = path.join(folder, 'syncline')
  const list = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root })
  for (const file of list.toString().split('\n')) {
    if (file === '' || !existsSync(path.join(root, file))) continue
    cpSync(path.join(root, file), path.join(project, file))
  }
  const home = path.join(folder, 'home')
  const prefix = path.join(home, 'npm')
  mkdirSync(path.join(prefix, 'lib'), { recursive: true })
  const outside = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name))
  const globalConfig = execFileSync('npm', ['config', 'get', 'globalconfig'], { cwd: folder })
  const env: NodeJS.ProcessEnv = {
    ...Object.fromEntries(outside),
    HOME: home,
    PATH: `${path.join(prefix, 'bin')}:${process.env['PATH']}`,
    NPM_CONFIG_PREFIX: prefix,
    // It lies under the prefix by default, and may say how the registry is reached.
    NPM_CONFIG_GLOBALCONFIG: globalConfig.toString().trim()
  }
  return { project, env }
}

function sh(script: string, cwd: string, env: NodeJS.ProcessEnv): string {
  const options = { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'] }
  return execFileSync('bash', ['-euo', 'pipefail', '-c', script], options).toString()
}

/** Starts a command that serves, and resolves to the command for the other side that it prints. */
async function serve(
  script: string,
  cwd: string,
  env: NodeJS.ProcessEnv
): Promise<{ other: string; stop: () => Promise<number | null> }> {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', `exec ${script}`], { cwd, env })
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  let output = ''
  const other = await new Promise<string>((resolve, reject) => {
    const look = (data: Buffer): void => {
      output += data.toString()
      const line = /^\s*(syncline sync .*--peer .*)$/m.exec(output)
      if (line !== null) resolve(line[1] as string)
    }
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    void ended.then(() => reject(new Error(`it ended without a command to run:\n${output}`)))
  })
  const stop = (): Promise<number | null> => {
    child.kill('SIGINT')
    return ended
  }
  return { other, stop }
}

test(
  'the steps of the README run as printed, from a clone in an empty home',
  { timeout: 230_000 },
  async (t) => {
    const { project, env } = clone(await t.tmp())
    const [setup = '', write = '', serving = ''] = fences('sh')
    const [demo = '', tests = ''] = setup.trim().split('\n')
    t.is(demo, 'npm install && npm run demo')
    // The second set-up is this very run of the tests.
    t.is(tests, 'npm install && npm test')
    t.ok(sh(demo, project, env).length > 0, 'the demo runs')
    sh('npm link', project, env)
    t.ok(sh(write, project, env).endsWith('one\ntwo\nthree\n'), 'what was appended comes back')

    const { other, stop } = await serve(serving.trim(), project, env)
    const reader = { ...env, HOME: path.join(project, '..', 'reader') }
    mkdirSync(reader.HOME)
    sh(other, project, reader)
    const key = /([ybndrfg8ejkmcpqxot1uwisza345h769]{52})/.exec(other)?.[1]
    // On one machine the printed command names a store of its own for the copy.
    const store = /--storage \S+/.exec(other)?.[0] ?? ''
    t.is(
      sh(`syncline feed cat ${key} --no-swarm ${store}`, project, reader),
      'one\ntwo\nthree\n',
      'the copy is whole'
    )
    t.is(await stop(), 130, 'the server closes when it is interrupted')

    const [library = ''] = fences('ts')
    const app = path.join(project, '..', 'app')
    mkdirSync(app)
    writeFileSync(path.join(app, 'package.json'), '{ "type": "module" }')
    sh('npm link syncline', app, env)
    writeFileSync(path.join(app, 'main.mjs'), library)
    t.is(sh('node main.mjs', app, env), 'second 2\n', 'the library example runs')
  }
)
