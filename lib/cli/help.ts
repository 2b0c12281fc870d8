import type { Command } from './common/command.ts'
import { EXIT_DONE, UsageError } from './common/exit.ts'
import { commandHelp, groupHelp } from './common/help-text.ts'

const command: Command = {
  name: 'help',
  summary: 'Print help about the program or a command.',
  args: [{ name: 'COMMAND', optional: true, repeatable: true }],
  flags: [],
  async run(context) {
    // Imported here, since the list of commands holds this one.
    const { COMMANDS } = await import('./commands.ts')
    const name = context.args.join(' ')
    const found = COMMANDS.find((candidate) => candidate.name === name)
    const isGroup = name === '' || COMMANDS.some((other) => other.name.startsWith(`${name} `))
    if (found === undefined && !isGroup) {
      throw new UsageError(`there is no command ${name}`, 'see: syncline --help')
    }
    const text = found === undefined ? groupHelp(COMMANDS, context.args) : commandHelp(found)
    await context.out.write(`${text}\n`)
    return EXIT_DONE
  }
}

export default command
