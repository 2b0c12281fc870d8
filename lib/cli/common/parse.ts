/**
 * From the words of the command line and the environment to a command and its values.
 *
 * @module
 */
import { parseArgs } from 'node:util'
import type { Command } from './command.ts'
import { UsageError } from './exit.ts'
import type { Flag } from './flag.ts'
import { COMMON, HELP, VERSION } from './flags.ts'
import { nearest } from './nearest.ts'

/** A command line that was understood. */
export interface Parsed {
  /** Null: no command, only words that begin some, or none at all. */
  readonly command: Command | null
  readonly words: readonly string[]
  readonly args: readonly string[]
  /** Of the flags that were given, by name. */
  readonly values: ReadonlyMap<string, unknown>
}

/** All flags of a command. */
export function flagsOf(command: Command): readonly Flag[] {
  return [...command.flags, ...COMMON]
}

/** @throws UsageError for what is not known or does not fit. */
export function parse(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  commands: readonly Command[]
): Parsed {
  const all = new Map<string, Flag>()
  for (const flag of [...commands.flatMap(flagsOf), VERSION]) all.set(flag.name, flag)
  const { positionals, given } = tokens(argv, all)
  const command = longestMatch(positionals, commands)
  const values = new Map<string, unknown>()
  if (command === null) {
    const words = positionals.length > 0 ? groupOf(positionals, commands) : []
    for (const flag of [...COMMON, VERSION]) readValue(flag, given, {}, values)
    checkKnown(given, [...COMMON, VERSION], 'syncline')
    return { command, words, args: [], values }
  }
  const words = command.name.split(' ')
  const args = positionals.slice(words.length)
  const flags = flagsOf(command)
  checkKnown(given, flags, command.name)
  for (const flag of flags) readValue(flag, given, env, values)
  if (values.get(HELP.name) !== true) checkCount(command, args)
  return { command, words, args, values }
}

/** Texts given for each flag, in order, with the flag as it was typed. */
type Given = Map<string, { readonly raw: string; readonly texts: string[] }>

function tokens(
  argv: readonly string[],
  all: ReadonlyMap<string, Flag>
): { positionals: string[]; given: Given } {
  const options: Record<string, { type: 'boolean' | 'string'; short?: string; multiple: true }> = {}
  for (const { name, type, short, negatable } of all.values()) {
    options[name] = { type, multiple: true, ...(short === undefined ? {} : { short }) }
    if (negatable === true) options[`no-${name}`] = { type: 'boolean', multiple: true }
  }
  const parsed = parseArgs({
    args: [...argv],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true
  })
  const positionals: string[] = []
  const given: Given = new Map()
  for (const token of parsed.tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const off = token.name.startsWith('no-') && !all.has(token.name)
    const name = off ? token.name.slice(3) : token.name
    const known = all.get(name)
    if (known === undefined || (off && known.negatable !== true)) {
      given.set(token.name, { raw: token.rawName, texts: [] })
      continue
    }
    const entry = given.get(name) ?? { raw: token.rawName, texts: [] }
    given.set(name, entry)
    entry.texts.push(textOf(token, known, off))
  }
  return { positionals, given }
}

function textOf(
  token: { rawName: string; value?: string | undefined; inlineValue?: boolean | undefined },
  flag: Flag,
  off: boolean
): string {
  const { rawName, value, inlineValue } = token
  if (flag.type === 'boolean') {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value`)
    return String(!off)
  }
  // A flag in the place of a value is a value forgotten.
  const forgotten = inlineValue === false && value !== undefined && /^-./.test(value)
  if (value === undefined || forgotten) {
    throw new UsageError(`${rawName} needs a value: ${flag.value ?? 'VALUE'}`)
  }
  return value
}

function checkKnown(given: Given, flags: readonly Flag[], name: string): void {
  const known = new Set(flags.map((flag) => flag.name))
  for (const [flagName, { raw }] of given) {
    if (known.has(flagName)) continue
    const near = nearest(flagName, [...known])
    const help = name === 'syncline' ? 'syncline --help' : `syncline help ${name}`
    throw new UsageError(
      `${name} has no flag ${raw}`,
      near === null ? `see: ${help}` : `did you mean --${near}? See: ${help}`
    )
  }
}

function readValue(
  flag: Flag,
  given: Given,
  env: Readonly<Record<string, string | undefined>>,
  values: Map<string, unknown>
): void {
  const texts = given.get(flag.name)?.texts ?? textsFromEnv(flag, env)
  if (texts.length > 0) values.set(flag.name, flag.read(texts))
}

function textsFromEnv(
  flag: Flag,
  env: Readonly<Record<string, string | undefined>>
): readonly string[] {
  // Nobody means help or the version for every command.
  if (flag === HELP || flag === VERSION) return []
  const name = envName(flag.name)
  const text = env[name]
  const negated = flag.negatable === true ? env[envName(`no-${flag.name}`)] : undefined
  if (flag.type === 'boolean') {
    if (text !== undefined && text !== '') return [String(readSwitch(name, text))]
    if (negated === undefined || negated === '') return []
    return [String(!readSwitch(envName(`no-${flag.name}`), negated))]
  }
  if (text === undefined || text === '') return []
  return flag.repeatable === true ? text.split(/[\s,]+/).filter((part) => part !== '') : [text]
}

function envName(name: string): string {
  return `SYNCLINE_${name.toUpperCase().replaceAll('-', '_')}`
}

function readSwitch(name: string, text: string): boolean {
  if (/^(1|true|yes|on)$/i.test(text)) return true
  if (/^(0|false|no|off)$/i.test(text)) return false
  throw new UsageError(`${name} is 1 or 0, not "${text}"`)
}

function longestMatch(words: readonly string[], commands: readonly Command[]): Command | null {
  let found: Command | null = null
  for (const command of commands) {
    const name = command.name.split(' ')
    const fits = name.every((word, i) => words[i] === word)
    if (fits && name.length > (found?.name.split(' ').length ?? 0)) found = command
  }
  return found
}

/** The words if some commands begin with them. @throws UsageError else. */
function groupOf(words: readonly string[], commands: readonly Command[]): readonly string[] {
  const names = commands.map(({ name }) => name)
  const typed = words.join(' ')
  if (names.some((name) => name.startsWith(`${typed} `))) return words
  const first = words[0] ?? ''
  const isGroup = names.some((name) => name.startsWith(`${first} `))
  const shown = isGroup ? words.slice(0, 2).join(' ') : first
  const candidates = isGroup ? names : [...names, ...names.map((name) => name.split(' ')[0] ?? '')]
  const near = nearest(shown, candidates)
  throw new UsageError(
    `there is no command ${shown}`,
    near === null ? 'see: syncline --help' : `did you mean: syncline ${near}`
  )
}

function checkCount(command: Command, args: readonly string[]): void {
  const least = command.args.filter((arg) => arg.optional !== true).length
  const most = command.args.at(-1)?.repeatable === true ? Infinity : command.args.length
  const hint = `see: syncline help ${command.name}`
  if (args.length < least) {
    throw new UsageError(`${command.name} needs ${command.args[args.length]?.name ?? 'more'}`, hint)
  }
  if (args.length > most) {
    throw new UsageError(`${command.name} does not take "${args[most] ?? ''}"`, hint)
  }
}
