/**
 * A synchronizer as the network flags describe it.
 *
 * @module
 */
import { Synchronizer, type SynchronizerOptions } from '../../synchronizer/synchronizer.ts'
import type { Context } from './command.ts'
import { sentenceOf, UsageError } from './exit.ts'
import type { Address } from './flag.ts'
import { BOOTSTRAP, LIMIT_DOWN, LIMIT_UP, LISTEN, PEER, SWARM } from './flags.ts'
import { takePeerKey } from './peer-key.ts'
import { storageFolder } from './storage.ts'

/** True if the flags leave a way to some peer. */
export function hasNetwork({ get }: Context): boolean {
  return get(SWARM) || get(PEER).length > 0 || get(LISTEN) !== null
}

/** Throws a UsageError if the flags leave no way to any peer. */
export function checkNetwork(context: Context): void {
  if (hasNetwork(context)) return
  throw new UsageError(
    'without the swarm there is no way to any peer',
    'give --peer HOST:PORT or --listen HOST:PORT'
  )
}

/** A synchronizer, by default over the stored feeds, still without peers. The caller closes it. */
export async function openSynchronizer(
  context: Context,
  storage: SynchronizerOptions['storage'] = storageFolder(context)
): Promise<Synchronizer> {
  const { get, log } = context
  // What is only read for a moment is nobody's business.
  const taken = typeof storage === 'string' ? await takePeerKey(storage) : null
  if (taken === 'in use') {
    log.info('another process is known to peers by the public key of this storage: this one is not')
  }
  const own = taken === 'in use' ? null : taken
  const sync = new Synchronizer({
    storage,
    limits: { upload: get(LIMIT_UP), download: get(LIMIT_DOWN) },
    ...(own === null ? {} : { keyPair: own.keyPair })
  })
  // A lock that stays behind is known by its process, which is gone.
  sync.on('close', () => void own?.release().catch(() => {}))
  await sync.ready()
  tellEvents(context, sync)
  return sync
}

/**
 * Finds peers as the flags name them. Addresses that cannot be reached are told and tried again. Feeds are
 * added before: what peers ask for earlier is only served.
 *
 * @returns `HOST:PORT` under which others reach us by TCP; empty without `--listen`.
 */
export async function goOnline(context: Context, sync: Synchronizer): Promise<readonly string[]> {
  const { get, log, signal } = context
  const listen = get(LISTEN)
  const addresses = listen === null ? [] : await sync.listen(listen.port, listen.host)
  if (get(SWARM)) {
    const bootstrap = get(BOOTSTRAP).map(formatAddress)
    sync.swarm(bootstrap.length === 0 ? {} : { bootstrap })
  }
  for (const peer of get(PEER)) {
    sync.connect(peer.host, peer.port).catch((error: unknown) => {
      if (signal.aborted || !(error instanceof Error)) return
      log.info(`cannot reach ${formatAddress(peer)}, trying again: ${reasonOf(error)}`)
    })
  }
  return addresses
}

/** `HOST:PORT`, IPv6 hosts in brackets. */
export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Why a connection failed, without the address that stands beside it. */
export function reasonOf(error: Error): string {
  const { cause } = error
  return cause instanceof Error && cause.message !== '' ? cause.message : sentenceOf(error)
}

function tellEvents({ log }: Context, sync: Synchronizer): void {
  sync.on('peer-connect', (peer) => log.detail(`connected: ${peer.name}`))
  sync.on('peer-disconnect', (peer, error) =>
    log.detail(`disconnected: ${peer.name}${error === null ? '' : `: ${sentenceOf(error)}`}`)
  )
  sync.on('peer-fault', (peer, error) =>
    log.info(`peer ${peer.name} was closed: ${sentenceOf(error)}`)
  )
}
