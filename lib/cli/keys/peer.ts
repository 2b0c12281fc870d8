import { formatKey } from '../../synchronizer/key.ts'
import type { Command } from '../common/command.ts'
import { EXIT_DONE } from '../common/exit.ts'
import { DRY_RUN } from '../common/flags.ts'
import { keepPeerKey, readPeerKey } from '../common/peer-key.ts'
import { storageFolder } from '../common/storage.ts'

const command: Command = {
  name: 'keys peer',
  summary: 'Print the public key by which peers know you, for their `share --until-peer`.',
  args: [],
  flags: [DRY_RUN],
  details:
    'Until it is asked for, each process is somebody new to its peers. From then on what runs on this storage\n' +
    'has this key, one process at a time: a second one is somebody new again.\n' +
    'Example:\n  syncline keys peer',
  async run(context) {
    const store = storageFolder(context)
    const known = await readPeerKey(store)
    if (known === null && context.get(DRY_RUN)) {
      await context.out.result({ dryRun: true, publicKey: null }, 'would make a key pair')
      return EXIT_DONE
    }
    const { publicKey } = known ?? (await keepPeerKey(store))
    const key = formatKey(publicKey)
    await context.out.result({ publicKey: key, hex: Buffer.from(publicKey).toString('hex') }, key)
    return EXIT_DONE
  }
}

export default command
