/**
 * Runs test files, each in a process of its own, some at a time, and adds up what they report.
 *
 *     node dist/test/run.js unit interop       folders of test/
 *     node dist/test/run.js unit/wire.test     single files
 *
 * The last line is `N passed, N failed`: tests, plus one failure for each file that ended badly. A test that asserts nothing
 * failed, unless it says `skipped: ` and why in a comment; what was skipped is named before the last line.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** A file that runs longer hangs; those of test/long may take their time. */
const FILE_TIMEOUT_MS = 480_000
const LONG_FILE_TIMEOUT_MS = 1_200_000
/** From the end of a file's process until what it left in the pipes is given up: they may be held by others. */
const DRAIN_MS = 1000

/** What a file reported of its tests. */
interface Report {
  readonly passed: number
  readonly failed: number
  /** Their names. */
  readonly skipped: readonly string[]
  /** What is wrong with the file itself, or with tests that did not fail by themselves. */
  readonly faults: readonly string[]
}

interface Outcome extends Report {
  readonly file: string
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

/** Process groups of the files that run. */
const groups = new Set<number>()

function endGroup(group: number): void {
  if (!groups.delete(group)) return
  try {
    process.kill(-group, 'SIGKILL')
  } catch {
    // Nobody is left in it.
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    for (const group of groups) endGroup(group)
    process.exit(1)
  })
}

function run(file: string): Promise<Outcome> {
  const began = performance.now()
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [runner, path.basename(file)], {
      cwd: path.dirname(file),
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own, so that processes which it left go with it.
      detached: true
    })
    const group = child.pid ?? 0
    groups.add(group)
    let output = ''
    let timedOut = false
    const isLong = path.basename(path.dirname(file)) === 'long'
    const timeoutMs = isLong ? LONG_FILE_TIMEOUT_MS : FILE_TIMEOUT_MS
    child.stdout.on('data', (data: Buffer) => (output += data.toString()))
    child.stderr.on('data', (data: Buffer) => (output += data.toString()))
    const timer = setTimeout(() => {
      timedOut = true
      endGroup(group)
    }, timeoutMs)
    const end = (code: number | null): void => {
      clearTimeout(timer)
      endGroup(group)
      const report = reportOf(output, code, readFileSync(file, 'utf8').includes('.solo('))
      const seconds = (performance.now() - began) / 1000
      const late = timedOut ? [`it ran longer than ${timeoutMs} ms and was ended`] : []
      resolve({ ...report, file, seconds, output, faults: [...report.faults, ...late] })
    }
    child.on('exit', (code) => setTimeout(end, DRAIN_MS, code))
    child.on('close', end)
  })
}

/**
 * Reads what a file printed.
 *
 * @param code - with which its process ended, null if a signal ended it.
 * @param solo - true if some of its tests keep the others from running.
 */
function reportOf(output: string, code: number | null, solo: boolean): Report {
  const skipped: string[] = []
  const faults: string[] = []
  let [passed, notOk, asserted] = [0, 0, 0]
  let excused = false
  for (const line of output.split('\n')) {
    if (/^ +(not )?ok \d+/.test(line)) asserted++
    if (/^ +# skipped: /.test(line)) excused = true
    const [, failed, name = '', mark] = /^(not )?ok \d+ - (.*?)(?: # ([^#]*))?$/.exec(line) ?? []
    if (name === '') continue
    if (failed !== undefined) notOk++
    else if (asserted > 0) passed++
    else if (excused || mark === 'SKIP' || mark === 'TODO') skipped.push(name)
    else faults.push(`it asserts nothing: ${name}`)
    asserted = 0
    excused = false
  }
  if (solo) faults.push('a test of it keeps the others from running')
  // A file that crashed, hung or ended before its end counts as a failure of its own.
  if (!/^# (not )?ok$/m.test(output) || (code !== 0 && notOk === 0)) {
    faults.push(`it did not come to its end: exit code ${code}`)
  } else if (passed + notOk + skipped.length + faults.length === 0) {
    faults.push('it has no test')
  }
  return { passed, failed: notOk + faults.length, skipped, faults }
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
      const { passed, failed, faults } = outcome
      console.log(
        `${failed === 0 ? 'ok  ' : 'FAIL'} ${name}: ${passed} passed, ${failed} failed, ${outcome.seconds.toFixed(1)} s`
      )
      if (failed > 0) console.log(outcome.output)
      for (const fault of faults) console.log(`FAIL ${name}: ${fault}`)
    }
  }
  // Most files wait for timers and other processes longer than they compute.
  const workers = 1 + Math.min(2, availableParallelism())
  await Promise.all(Array.from({ length: workers }, worker))
  const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0)
  const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0)
  for (const { file, skipped } of outcomes) {
    for (const name of skipped) console.log(`skipped ${path.relative(root, file)}: ${name}`)
  }
  if (files.length === 0) console.log('no test file was found')
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0
}

await main()
