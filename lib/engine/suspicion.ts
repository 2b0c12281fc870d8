/**
 * Remotes that broke off while they owed a proof.
 *
 * A hypercore 11 seed that cleared ranges breaks its connection when asked for a proof, though it could give
 * the bare blocks. A line that breaks for other reasons looks the same, so no remote is given up for good.
 *
 * @module
 */
import { PROOF_REST_MS, PROOF_REST_MS_MAX, SUSPECTS_MAX } from '../limits.ts'
import { wakeChannel, type Channel, type PeerState, type World } from './state.ts'

/** How often a remote broke off for which nothing else can be to blame, and when it did last. */
export interface Suspicion {
  readonly strikes: number
  readonly at: number
}

/** Remembers that a peer broke off. One that owed the proof of one suspect feed alone is surely guilty. */
export function suspect(world: World, peer: PeerState): void {
  const { suspects } = world
  const owed = [...peer.channels.values()].filter((channel) => channel.proofsInFlight > 0)
  for (const channel of owed) {
    const key = keyOf(channel)
    const known = suspects.get(key)
    const strikes = known === undefined ? 0 : known.strikes + (owed.length === 1 ? 1 : 0)
    suspects.delete(key)
    suspects.set(key, { strikes, at: world.now })
  }
  for (const key of suspects.keys()) {
    if (suspects.size <= SUSPECTS_MAX) break
    suspects.delete(key)
  }
}

/** Sets how far a channel may be asked for proofs, by what is remembered of its remote. */
export function recall(world: World, channel: Channel): void {
  const known = world.suspects.get(keyOf(channel))
  if (known === undefined) return
  const { strikes, at } = known
  const restMs = Math.min(PROOF_REST_MS_MAX, PROOF_REST_MS * 4 ** (strikes - 1))
  if (strikes === 0 || world.now - at >= restMs) {
    channel.proofs = 'suspect'
    return
  }
  channel.proofs = 'values-only'
  channel.provesAt = at + restMs
  world.watched.add(channel)
}

/** Gives a remote that gave no proofs another chance once it is time; true if it still has to wait. */
export function rehabilitate(world: World, channel: Channel): boolean {
  if (channel.proofs !== 'values-only') return false
  if (channel.provesAt > world.now) return true
  channel.proofs = 'suspect'
  wakeChannel(world, channel)
  return false
}

/** Forgets what was held against a remote that proved something. */
export function clearOf(world: World, channel: Channel): void {
  if (channel.proofs === 'normal') return
  channel.proofs = 'normal'
  world.suspects.delete(keyOf(channel))
}

function keyOf(channel: Channel): string {
  return `${channel.peer.identity}:${channel.feed.id}`
}
