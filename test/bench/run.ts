/**
 * Measures syncline beside hypercore 11 and the floor, and its drives beside hyperdrive 13, rsync and syncthing.
 *
 *     npm run bench                               everything, five runs of each
 *     npm run bench -- sync-1k feeds-1000         some cases
 *     npm run bench -- --json FILE                writes the result to a file, after each case
 *     npm run bench -- --runs 9 --quick           another number of runs; small sizes, one run
 *     npm run bench -- sync-1k --cpu-prof FOLDER  writes CPU profiles of all roles
 *
 * Of what is no package of npm, rsync and syncthing, a case leaves out what is not installed, and says so:
 * `apt-get install rsync syncthing`.
 *
 * @module
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { allCases } from './cases.ts'
import { machine, machineLine } from './machine.ts'
import { caseText } from './report.ts'
import type { CaseResult } from './result.ts'
import { runCase } from './runner.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'string' },
    runs: { type: 'string' },
    quick: { type: 'boolean', default: false },
    'cpu-prof': { type: 'string' }
  }
})

// An interrupted run leaves nothing behind: folders go at the exit, roles end with their stdin.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

const { quick } = values
const runs = Number(values.runs ?? (quick ? 1 : 5))
const all = allCases(quick)
const unknown = positionals.filter((name) => all.every((case_) => case_.name !== name))
if (unknown.length > 0 || !(runs >= 1)) {
  console.error(unknown.length > 0 ? `no case ${unknown.join(', ')}` : '--runs takes a number')
  console.error(`cases: ${all.map(({ name }) => name).join(' ')}`)
  process.exit(2)
}

const cases = positionals.length === 0 ? all : all.filter(({ name }) => positionals.includes(name))
const here = machine()
console.log(`${machineLine(here)}${quick ? ', quick: the figures say nothing' : ''}\n`)
const results: CaseResult[] = []
for (const case_ of cases) {
  const result = await runCase(case_, {
    runs,
    profileFolder: values['cpu-prof'] ?? null,
    log: (line) => console.error(line)
  })
  results.push(result)
  console.log(`${caseText(result)}\n`)
  if (values.json !== undefined) {
    const text = JSON.stringify({ machine: here, quick, cases: results }, null, 2)
    writeFileSync(values.json, `${text}\n`)
  }
  if (result.contestants.some(({ error }) => error !== null)) process.exitCode = 1
}
