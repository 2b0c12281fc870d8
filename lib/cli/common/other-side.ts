/**
 * What to type on the other side.
 *
 * @module
 */
import path from 'node:path'
import b4a from 'b4a'
import { formatKey } from '../../synchronizer/key.ts'
import type { Synchronizer } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import { BOOTSTRAP, SWARM } from './flags.ts'
import { formatAddress } from './network.ts'
import { storageFolder } from './storage.ts'
import { quote } from './text.ts'
import { sleep } from './watch.ts'

/** Milliseconds that announcements may take before we say that we are there. */
const ANNOUNCE_MS = 3000

/** Waits a while for our announcements, so that whoever runs the printed command finds us at once. */
export async function announced(context: Context, sync: Synchronizer): Promise<void> {
  const stop = new AbortController()
  const signal = AbortSignal.any([stop.signal, context.signal])
  const flushed = sync
    .swarm()
    .flush()
    .catch(() => {})
  await Promise.race([flushed, sleep(ANNOUNCE_MS, signal)])
  stop.abort()
}

/** True if only this machine reaches us, as far as the flags tell: then the other side is on it, too. */
export function isThisMachine({ get }: Context, addresses: readonly string[]): boolean {
  const nodes = get(SWARM) ? get(BOOTSTRAP).map(formatAddress) : []
  const all = [...addresses.slice(0, 1), ...nodes]
  return all.length > 0 && all.every((address) => /^(127\.|\[?::1|localhost:)/.test(address))
}

/**
 * A command for the other side, runnable as printed: the given words and the way to us.
 *
 * @param addresses - of ours, for TCP.
 */
export function otherSide(
  context: Context,
  words: readonly string[],
  addresses: readonly string[]
): string {
  const { get } = context
  const [address] = addresses
  const all = ['syncline', ...words]
  if (address !== undefined) all.push('--peer', address)
  if (!get(SWARM)) all.push('--no-swarm')
  for (const node of get(BOOTSTRAP)) all.push('--bootstrap', formatAddress(node))
  // It needs a storage of its own there.
  if (isThisMachine(context, addresses)) all.push('--storage', `${storageFolder(context)}-copy`)
  return all.map(quote).join(' ')
}

/** A folder that is served. */
export interface Served {
  /** 32 bytes. */
  readonly key: Uint8Array
  readonly root: string
  /** 32 bytes; null if it is not encrypted. */
  readonly encryptionKey: Uint8Array | null
}

/** Prints where we are reached, and the command that clones each folder on the other side. */
export async function tellCloneCommand(
  context: Context,
  folders: readonly Served[],
  addresses: readonly string[]
): Promise<void> {
  const { get, out } = context
  if (addresses.length === 0 && !get(SWARM)) return
  for (const address of addresses) {
    await out.result({ event: 'listening', address }, `listening on ${address}`)
  }
  for (const { key, root, encryptionKey: secret } of folders) {
    const name = path.basename(root) || 'clone'
    const dir = isThisMachine(context, addresses) ? `${root}-copy` : name.replace(/^-/, './-')
    const words = ['clone', formatKey(key), dir]
    if (secret !== null) words.push('--encryption-key', b4a.toString(secret, 'hex'))
    const command = otherSide(context, words, addresses)
    const record = { event: 'serving', key: formatKey(key), folder: root, command }
    await out.result(record, `for the other side:\n  ${command}`)
  }
}
