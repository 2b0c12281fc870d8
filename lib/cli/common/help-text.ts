import type { Command } from './command.ts'
import type { Flag } from './flag.ts'
import { COMMON, NETWORK, VERSION } from './flags.ts'

/** Help of the whole program, or of the commands that begin with some words. */
export function groupHelp(commands: readonly Command[], words: readonly string[]): string {
  const prefix = words.length === 0 ? '' : `${words.join(' ')} `
  const rows = commands
    .filter(({ name }) => name.startsWith(prefix))
    .map((command) => [synopsis(command), command.summary] as const)
  return [
    'syncline keeps append-only feeds in sync with every hypercore peer.',
    '',
    `Usage: syncline ${prefix}COMMAND [ARGUMENTS] [FLAGS]`,
    '',
    'Commands:',
    table(rows),
    '',
    'Flags:',
    table([...COMMON, VERSION].map(flagRow)),
    '',
    'More about one command: syncline help COMMAND'
  ].join('\n')
}

/** Help of one command. */
export function commandHelp(command: Command): string {
  const own = command.flags.filter((flag) => !NETWORK.includes(flag))
  const network = command.flags.filter((flag) => NETWORK.includes(flag))
  const parts = [
    command.summary,
    '',
    `Usage: syncline ${synopsis(command)} [FLAGS]`,
    ...(command.details === undefined ? [] : ['', command.details]),
    ...section('Flags:', own),
    ...section('Network:', network),
    ...section('Everywhere:', COMMON),
    '',
    'Each flag can be given as an environment variable too: SYNCLINE_STORAGE for --storage.'
  ]
  return parts.join('\n')
}

function section(title: string, flags: readonly Flag[]): string[] {
  return flags.length === 0 ? [] : ['', title, table(flags.map(flagRow))]
}

function synopsis(command: Command): string {
  const args = command.args.map(({ name, optional, repeatable }) => {
    const text = repeatable === true ? `${name}...` : name
    return optional === true ? `[${text}]` : text
  })
  return [command.name, ...args].join(' ')
}

function flagRow(flag: Flag): readonly [string, string] {
  const short = flag.short === undefined ? '' : `-${flag.short}, `
  const name = flag.negatable === true ? `--[no-]${flag.name}` : `--${flag.name}`
  const value = flag.value === undefined ? '' : ` ${flag.value}`
  const again = flag.repeatable === true ? ' Can be given again.' : ''
  const on = flag.negatable === true && flag.fallback === true ? ' On by default.' : ''
  return [`${short}${name}${value}`, `${flag.summary}${again}${on}`]
}

function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.min(34, Math.max(...rows.map(([left]) => left.length)))
  return rows
    .map(([left, right]) =>
      left.length > width
        ? `  ${left}\n  ${' '.repeat(width)}  ${right}`
        : `  ${left.padEnd(width)}  ${right}`
    )
    .join('\n')
}
