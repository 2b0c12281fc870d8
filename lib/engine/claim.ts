/**
 * What a remote says of its head, and how long that is believed without a proof.
 *
 * Nobody is synced while a remote has more than we do. So a remote that claims more and never proves it would keep
 * us waiting for ever: after some requests that brought nothing its word does not count until it proves something.
 *
 * @module
 */
import { NO_DATA_REST_MS, UNPROVABLE_HEAD_MS, UNPROVEN_HEADS_MAX } from '../limits.ts'
import { rest, type Channel, type InFlight, type World } from './state.ts'

/** True for requests that ask for the head that the remote claims. */
export function isHead({ kind }: InFlight): boolean {
  return kind === 'upgrade' || kind === 'reorg' || kind === 'ancestors'
}

/** Notes that a remote did not prove the head that it claims; it is asked again after a while. */
export function doubt(world: World, channel: Channel): void {
  if (channel.feed.channels.get(channel.peer.id) !== channel) return
  rest(world, channel, NO_DATA_REST_MS * 2 ** channel.unproven)
  mistrust(world, channel)
}

/** As {@link doubt}, but it may be asked again at once. */
export function mistrust(world: World, channel: Channel): void {
  channel.unproven = Math.min(channel.unproven + 1, UNPROVEN_HEADS_MAX)
  world.dirtyFeeds.add(channel.feed)
}

/** Notes that a remote claims a head and may not be asked for it, by its own word or since it broke off over a proof. */
export function awaitProvable(world: World, channel: Channel): void {
  if (channel.unprovableSince > 0) return
  channel.unprovableSince = world.now
  world.watched.add(channel)
}

/** Stops believing a head that nobody may ask for once it is time; true if it still has to be watched. */
export function outwait(world: World, channel: Channel): boolean {
  if (channel.unprovableSince === 0) return false
  if (world.now - channel.unprovableSince <= UNPROVABLE_HEAD_MS) return true
  channel.unproven = UNPROVEN_HEADS_MAX
  world.dirtyFeeds.add(channel.feed)
  return false
}

/** True if a remote's word about its head counts: it gives what it has, and did not fail to prove it. */
export function isBelieved(channel: Channel): boolean {
  return channel.remote?.uploading === true && channel.unproven < UNPROVEN_HEADS_MAX
}
