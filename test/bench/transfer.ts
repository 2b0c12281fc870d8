/**
 * One process writes feeds to disk and serves them, another one fetches them to disk.
 *
 * @module
 */
import type { FeedGroup, Usage, WrittenGroup } from './feed-group.ts'
import type { RoleProcess } from './role-process.ts'
import type { Sample } from './statistics.ts'
import type { Stage } from './stage.ts'

/** Who sends or receives. */
export type Kind = 'syncline' | 'hypercore' | 'floor'

/** What is transferred, and how. */
export interface Transfer {
  readonly from: Kind
  readonly to: Kind
  /** Feeds of the timed transfer, and of the one before it that warms both processes up. */
  readonly group: Omit<FeedGroup, 'seed'>
  readonly warm: Omit<FeedGroup, 'seed'>
  /** Round trip; 0 is none added. */
  readonly roundTripMs?: number
  /** Connections to the sender, each by a port of its own. */
  readonly connections?: number
  /** Connections to another sender that has nothing. */
  readonly idleConnections?: number
  /** Counts blocks that were sent. */
  readonly count?: boolean
}

const WARM_SEED = 1
const TIMED_SEED = 2

/** Runs a transfer and checks every block on the receiver's disk. */
export async function transfer(stage: Stage, options: Transfer): Promise<Sample> {
  const { to, group, connections = 1, idleConnections = 0, count = false, roundTripMs } = options
  const served = await serve(stage, options, connections, count)
  const { sender, warm, timed } = served
  const ports = [...served.ports]
  if (roundTripMs !== undefined) ports.splice(0, 1, await proxied(stage, ports[0], roundTripMs))
  if (idleConnections > 0) {
    const idle = stage.role(`roles/${options.from}-sender`)
    const job = { folder: stage.folder('idle'), keys: [], ports: idleConnections }
    ports.push(...(await idle.call<number[]>('serve', job)))
  }
  const receiver = stage.role(`roles/${to}-receiver`)
  await receiver.call('open', { folder: stage.folder('receiver'), connections: ports.length })
  await receiver.call('connect', { ports })
  await receiver.call('fetch', { group: warm })
  if (count) await sender.call('uploads')

  await sender.call('watch')
  await receiver.call('watch')
  const before = [await sender.call<Usage>('usage'), await receiver.call<Usage>('usage')] as const
  const { ms } = await receiver.call<{ ms: number }>('fetch', { group: timed })
  const after = [await sender.call<Usage>('usage'), await receiver.call<Usage>('usage')] as const
  const blocks = group.feeds * group.blocks
  const sample = {
    ms,
    rate: (blocks * 1000) / ms,
    megabytes: (blocks * group.bytes) / 1000 / ms,
    ...usageOf(before, after),
    ...(count ? { waste: (await sender.call<number>('uploads')) / blocks - 1 } : {})
  }
  await receiver.call('check', { groups: [timed], blocks: group.blocks })
  await receiver.close()
  await sender.close()
  return sample
}

/** Fetches one block over a new connection: milliseconds from the open stream to the block. */
export async function firstBlock(stage: Stage, options: Transfer): Promise<Sample> {
  const { sender, ports, warm, timed } = await serve(stage, options, 1, false)
  const receiver = stage.role(`roles/${options.to}-receiver`)
  await receiver.call('open', { folder: stage.folder('receiver'), connections: 1 })
  // Warm code, so that what is measured is the protocol.
  await receiver.call('first', { key: warm.keys[0], port: ports[0] })
  const { ms } = await receiver.call<{ ms: number }>('first', {
    key: timed.keys[0],
    port: await proxied(stage, ports[0], options.roundTripMs)
  })
  await receiver.call('check', { groups: [timed], blocks: 1 })
  await receiver.close()
  await sender.close()
  return { ms, roundTrips: ms / (options.roundTripMs ?? NaN) }
}

async function serve(
  stage: Stage,
  options: Transfer,
  connections: number,
  count: boolean
): Promise<{ sender: RoleProcess; ports: number[]; warm: WrittenGroup; timed: WrittenGroup }> {
  const { from } = options
  const groups = [
    { seed: WARM_SEED, ...options.warm },
    { seed: TIMED_SEED, ...options.group }
  ]
  const script = `roles/${from}-sender`
  const source = await stage.prepare(script, { groups })
  const [warm, timed] = source.result as [WrittenGroup, WrittenGroup]
  const sender = stage.role(script)
  const keys = [...warm.keys, ...timed.keys]
  const job = { folder: source.folder, keys, ports: connections, count }
  const ports = await sender.call<number[]>('serve', job)
  return { sender, ports, warm, timed }
}

async function proxied(stage: Stage, port: number | undefined, roundTripMs = 0): Promise<number> {
  const proxy = stage.role('delay-proxy')
  return proxy.call<number>('listen', { port, delayMs: roundTripMs / 2 })
}

/** What a sender and a receiver used, from what they said before and after. */
export function usageOf(before: readonly [Usage, Usage], after: readonly [Usage, Usage]): Sample {
  const [sender, receiver] = after
  const senderCpuMs = sender.cpuMs - before[0].cpuMs
  const receiverCpuMs = receiver.cpuMs - before[1].cpuMs
  return {
    senderCpuMs,
    receiverCpuMs,
    cpuMs: senderCpuMs + receiverCpuMs,
    senderPeakBytes: sender.peakBytes,
    receiverPeakBytes: receiver.peakBytes,
    peakBytes: sender.peakBytes + receiver.peakBytes,
    grownBytes:
      sender.peakBytes - before[0].residentBytes + receiver.peakBytes - before[1].residentBytes,
    stallMs: Math.max(sender.stallMs, receiver.stallMs)
  }
}
