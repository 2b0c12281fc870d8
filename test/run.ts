/**
 * Runs test files, each in a process of its own, some at a time, and adds up what they report.
 *
 *     node dist/test/run.js unit interop       folders of test/
 *     node dist/test/run.js unit/wire.test     single files
 *
 * The last line is `N passed, N failed`: tests, plus one failure for each file that ended badly.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** A file that runs longer hangs; those of test/long may take their time. */
const FILE_TIMEOUT_MS = 240_000
const LONG_FILE_TIMEOUT_MS = 1_200_000

interface Outcome {
  readonly file: string
  readonly passed: number
  readonly failed: number
  readonly seconds: number
  readonly output: string
}

const root = path.dirname(fileURLToPath(import.meta.url))
const brittle = createRequire(import.meta.url).resolve('brittle/package.json')
const runner = path.join(path.dirname(brittle), 'brittle-node.js')

/** Test files of the folders and names on the command line. */
function filesOf(names: readonly string[]): string[] {
  const files: string[] = []
  for (const name of names) {
    if (name.includes('.test')) files.push(path.join(root, name.replace(/(\.[jt]s)?$/, '.js')))
    else {
      for (const entry of readdirSync(path.join(root, name), { recursive: true })) {
        if (String(entry).endsWith('.test.js')) files.push(path.join(root, name, String(entry)))
      }
    }
  }
  return files.sort()
}

function run(file: string): Promise<Outcome> {
  const began = performance.now()
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [runner, path.basename(file)], {
      cwd: path.dirname(file),
      stdio: ['ignore', 'pipe', 'pipe']
    })
    let output = ''
    let timedOut = false
    const isLong = path.basename(path.dirname(file)) === 'long'
    const timeoutMs = isLong ? LONG_FILE_TIMEOUT_MS : FILE_TIMEOUT_MS
    child.stdout.on('data', (data: Buffer) => (output += data.toString()))
    child.stderr.on('data', (data: Buffer) => (output += data.toString()))
    const timer = setTimeout(() => {
      timedOut = true
      child.kill('SIGKILL')
    }, timeoutMs)
    child.on('close', (code) => {
      clearTimeout(timer)
      const passed = output.match(/^ok \d+ /gm)?.length ?? 0
      const notOk = output.match(/^not ok \d+ /gm)?.length ?? 0
      if (timedOut) output += `\n${file} ran longer than ${timeoutMs} ms and was ended\n`
      // A file that crashed, hung or ran nothing counts as a failure of its own.
      const broken = (code !== 0 && notOk === 0) || (passed === 0 && notOk === 0)
      const failed = notOk + (broken ? 1 : 0)
      resolve({ file, passed, failed, seconds: (performance.now() - began) / 1000, output })
    })
  })
}

async function main(): Promise<void> {
  const files = filesOf(process.argv.slice(2))
  const queue = [...files]
  const outcomes: Outcome[] = []
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const outcome = await run(file)
      outcomes.push(outcome)
      const name = path.relative(root, outcome.file)
      const { passed, failed } = outcome
      console.log(
        `${failed === 0 ? 'ok  ' : 'FAIL'} ${name}: ${passed} passed, ${failed} failed, ${outcome.seconds.toFixed(1)} s`
      )
      if (failed > 0) console.log(outcome.output)
    }
  }
  // Most files wait for timers and other processes longer than they compute.
  const workers = 1 + Math.min(2, availableParallelism())
  await Promise.all(Array.from({ length: workers }, worker))
  const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0)
  const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0)
  if (files.length === 0) console.log('no test file was found')
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0
}

await main()
