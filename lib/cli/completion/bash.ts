import type { Command } from '../common/command.ts'
import { EXIT_DONE } from '../common/exit.ts'
import { VERSION } from '../common/flags.ts'
import { flagsOf } from '../common/parse.ts'

const command: Command = {
  name: 'completion bash',
  summary: 'Print a script that completes commands, flags and feeds in bash.',
  args: [],
  flags: [],
  details: 'Example:\n  source <(syncline completion bash)',
  async run(context) {
    // Imported here, since the list of commands holds this one.
    const { COMMANDS } = await import('../commands.ts')
    await context.out.write(script(COMMANDS))
    return EXIT_DONE
  }
}

function script(commands: readonly Command[]): string {
  const words = new Map<string, Set<string>>([['', new Set()]])
  for (const { name } of commands) {
    const parts = name.split(' ')
    parts.forEach((part, i) => {
      const before = parts.slice(0, i).join(' ')
      words.set(before, (words.get(before) ?? new Set()).add(part))
    })
  }
  const wordCases = [...words].map(
    ([before, next]) => `    '${before}') words='${[...next].join(' ')}' ;;`
  )
  const paths = [...words.keys(), ...commands.map(({ name }) => name)].filter((path) => path !== '')
  const flagCases = commands.map(
    (item) => `    '${item.name}') flags='${flagNames(item).join(' ')}' ;;`
  )
  // A folder is cloned by a key alone.
  const feeds = commands.filter(
    ({ args: [first, second] }) => /^(FEED|KEY)$/.test(first?.name ?? '') && second?.name !== 'DIR'
  )
  const all = commands.flatMap(flagsOf)
  const withValue = [...new Set(all.filter(({ type }) => type === 'string').map(longName))]
  const choices = [...new Map(all.map((flag) => [flag.name, flag])).values()].flatMap((flag) =>
    flag.choices === undefined
      ? []
      : [`    ${longName(flag)}) words='${flag.choices.join(' ')}' ;;`]
  )
  return `# bash completion of syncline: source <(syncline completion bash)
_syncline() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  local command='' words='' flags='--help --${VERSION.name}' given='' help='' word skip='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if [[ -n $skip ]]; then skip=''; continue; fi
    case "$word" in
      ${withValue.join('|')}) skip=1 ;;
      -*) ;;
      *) given="\${given:+$given }$word" ;;
    esac
  done
  case "$previous" in
${choices.join('\n')}
    --storage) COMPREPLY=($(compgen -d -- "$current")); return ;;
    ${withValue.filter((name) => name !== '--storage').join('|')}) [[ -n $words ]] || return ;;
  esac
  if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$current")); return; fi
  [[ $given == 'help '* ]] && { help=1; given="\${given#help }"; }
  # The first words are the command, the others its arguments.
  for word in $given; do
    case "\${command:+$command }$word" in
      ${paths.map((path) => `'${path}'`).join('|')}) command="\${command:+$command }$word" ;;
      *) break ;;
    esac
  done
  if [[ $command == "$given" ]]; then
    case "$command" in
${wordCases.map((line) => `  ${line}`).join('\n')}
    esac
  fi
  case "$command" in
${flagCases.join('\n')}
  esac
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$current")); return; fi
  if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$current")); return; fi
  [[ -n $help ]] && return
  case "$command" in
    ${feeds.map(({ name }) => `'${name}'`).join('|')})
      # Only names that the shell takes as they are: the list of words is expanded.
      words="$("\${COMP_WORDS[0]}" feed ls 2>/dev/null | cut -c 59- | grep -E '^[A-Za-z0-9._-]+$')"
      COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
  esac
}
complete -o default -F _syncline syncline
`
}

function flagNames(command: Command): string[] {
  return flagsOf(command).flatMap(({ name, negatable }) =>
    negatable === true ? [`--${name}`, `--no-${name}`] : [`--${name}`]
  )
}

function longName({ name }: { readonly name: string }): string {
  return `--${name}`
}

export default command
