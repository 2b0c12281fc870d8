/**
 * Writes the performance table of the README from results of benchmarks, between its two marks. Of a case that stands in
 * several results the last one counts; all machines and commits are named.
 *
 *     node dist/test/bench/table.js RESULT.json... [README.md]
 *
 * @module
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { ratioText, type Column } from './case.ts'
import { machineLine } from './machine.ts'
import { cell } from './report.ts'
import type { BenchResult, CaseResult, GoalResult } from './result.ts'

const START = '<!-- bench -->'
const END = '<!-- /bench -->'
const HEAD: readonly string[] = [
  'case',
  'syncline',
  'against',
  'goal',
  'measured',
  'reached',
  'runs'
]

/** How metrics are written that a case does not list as a column. */
const METRICS: readonly Column[] = [
  { metric: 'rate', title: 'blocks/s' },
  { metric: 'peakBytes', title: 'MB', scale: 1e-6 }
]

/** The table as Markdown, a row for each goal; `machines` are those that the cases ran on. */
function tableOf(cases: readonly CaseResult[], machines: readonly string[]): string {
  const rows = cases.flatMap((case_) => case_.goals.map((goal) => rowOf(case_, goal)))
  return [
    `Medians of interleaved runs. ${machines.join('; ')}.`,
    '',
    line(HEAD),
    line(HEAD.map(() => '---')),
    ...rows.map(line)
  ].join('\n')
}

function rowOf(case_: CaseResult, goal: GoalResult): string[] {
  const title = case_.goals.length > 1 ? `${case_.title}: ${goal.title}` : case_.title
  const against =
    goal.against === null ? '' : `${goal.against}: ${shown(case_, goal, goal.against)}`
  const missing = case_.contestants.some(
    ({ name, missing }) => name === goal.against && (missing ?? null) !== null
  )
  const failed = missing ? 'not installed' : 'failed'
  const measured = goal.measured === null ? failed : ratioText(goal, goal.measured)
  const reached = goal.reached ? 'yes' : 'no'
  const present = case_.contestants.filter((contestant) => (contestant.missing ?? null) === null)
  const counts = present.map(({ samples }) => samples.length)
  const runs = Math.min(...counts)
  const ended = present.filter(({ error }) => error !== null).map(({ name }) => name)
  const told = ended.length === 0 ? String(runs) : `${runs}, then ${ended.join(' and ')} failed`
  return [title, shown(case_, goal, goal.of), against, goal.bound, measured, reached, told]
}

/** The figure that a goal is about, of one contestant. */
function shown({ columns, contestants }: CaseResult, goal: GoalResult, name: string): string {
  const column = [...columns, ...METRICS].find(({ metric }) => metric === goal.metric)
  const contestant = contestants.find((contestant) => contestant.name === name)
  if (column === undefined || contestant === undefined) return ''
  return `${cell(column, contestant.median)} ${column.title}`
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

const files = process.argv.slice(2)
const readme = files.at(-1)?.endsWith('.md') === true ? (files.pop() as string) : 'README.md'
if (files.length === 0) {
  console.error('usage: node dist/test/bench/table.js RESULT.json... [README.md]')
  process.exit(2)
}
const text = readFileSync(readme, 'utf8')
const start = text.indexOf(START)
const end = text.indexOf(END)
if (start === -1 || end < start) {
  console.error(`${readme} has no place between ${START} and ${END}`)
  process.exit(1)
}
const results = files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as BenchResult)
if (results.some(({ quick }) => quick)) {
  console.error('figures of --quick say nothing')
  process.exit(1)
}
const cases = new Map<string, { readonly case_: CaseResult; readonly machine: string }>()
for (const { machine, cases: own } of results) {
  for (const case_ of own) cases.set(case_.name, { case_, machine: machineLine(machine) })
}
const shownCases = [...cases.values()]
const table = tableOf(
  shownCases.map(({ case_ }) => case_),
  [...new Set(shownCases.map(({ machine }) => machine))]
)
writeFileSync(readme, `${text.slice(0, start + START.length)}\n\n${table}\n\n${text.slice(end)}`)
