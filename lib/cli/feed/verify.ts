import type { AuditReport } from '../../feed/feed.ts'
import { formatKey } from '../../synchronizer/key.ts'
import { SynclineError } from '../../errors.ts'
import type { Command, Context } from '../common/command.ts'
import { diagnose } from '../common/diagnosis.ts'
import { EXIT_BAD_DATA, EXIT_DONE } from '../common/exit.ts'
import { toggle } from '../common/flag.ts'
import { DRY_RUN, NETWORK, TIMEOUT } from '../common/flags.ts'
import { checkNetwork, goOnline, openSynchronizer } from '../common/network.ts'
import { keyOf, labelOf, openFolder, openStored } from '../common/storage.ts'
import { count } from '../common/text.ts'
import { watch, watched } from '../common/watch.ts'

const REPAIR = toggle('repair', 'Fetch bad blocks again from peers.')

const command: Command = {
  name: 'feed verify',
  summary: 'Hash everything stored of a feed again, and list the bad blocks.',
  args: [{ name: 'FEED' }],
  flags: [REPAIR, DRY_RUN, ...NETWORK],
  details: 'Exits with 5 if something is bad and was not repaired.',
  async run(context) {
    const repair = context.get(REPAIR)
    if (repair) checkNetwork(context)
    const folder = await openFolder(context)
    const feed = await openStored(folder, context.args[0] ?? '')
    let report: AuditReport
    try {
      report = await feed.audit({ signal: context.signal })
    } finally {
      await feed.close()
    }
    for (const index of report.bad) {
      await context.out.result({ event: 'bad', index }, `bad block ${index}`)
    }
    const { blocks, bad, head } = report
    await context.out.result(
      { event: 'verified', key: formatKey(feed.key), blocks, bad: bad.length, head },
      `${count(blocks, 'block')} checked, ${bad.length} bad${head ? '' : ', and the signed head is wrong'}`
    )
    if (bad.length === 0 && head) return EXIT_DONE
    if (!repair || !head) return EXIT_BAD_DATA
    if (context.get(DRY_RUN)) {
      await context.out.result({ dryRun: true }, `would fetch ${count(bad.length, 'block')} again`)
      return EXIT_BAD_DATA
    }
    return repairBlocks(context, await keyOf(folder, context.args[0] ?? ''), bad)
  }
}

async function repairBlocks(
  context: Context,
  key: Uint8Array,
  bad: readonly number[]
): Promise<number> {
  const sync = await openSynchronizer(context)
  try {
    const session = await sync.open(key, { mode: 'follow', ranges: [] })
    const feed = await session.feed()
    await feed.forget(bad)
    // What was forgotten is asked for block by block: nothing else is fetched.
    await session.want(...bad.map((index) => [index, index + 1] as const))
    await goOnline(context, sync)
    const repaired = watched(session, labelOf(key, null))
    const finished = await watch(context, sync, [repaired], {
      isDone: () => bad.every((index) => feed.have.get(index)),
      live: false,
      timeoutMs: context.get(TIMEOUT) * 1000
    })
    if (repaired.error !== null) throw repaired.error
    if (!finished) {
      const left = bad.filter((index) => !feed.have.get(index)).length
      const why = diagnose(sync, session)
      throw new SynclineError('TIMEOUT', `no peer had ${count(left, 'block')} in time: ${why}`)
    }
    const { bad: still } = await feed.audit({ signal: context.signal })
    const blocks = bad.length - still.length
    await context.out.result({ event: 'repaired', blocks }, `${blocks} repaired`)
    return still.length === 0 ? EXIT_DONE : EXIT_BAD_DATA
  } finally {
    await sync.close()
  }
}

export default command
