/**
 * Hears of every change of a live Hypercore's bits.
 *
 * Hypercore emits no event for `clear()` nor for blocks stored by `applyProof()`, but tells its
 * replicator of each change, when it is made. So that one method is wrapped, once for each core.
 *
 * @module
 */
import type { HypercoreReplicator } from './hypercore-like.ts'

/** Blocks `[start, start + length)` were stored or (drop) dropped. */
export type OnHave = (start: number, length: number, drop: boolean) => void

interface Watch {
  readonly listeners: Set<OnHave>
  readonly wrapper: HypercoreReplicator['onhave']
  /** Puts back what was there before. */
  readonly unwrap: () => void
}

const watches: WeakMap<HypercoreReplicator, Watch> = new WeakMap()

/** Calls `listener` after each change until the returned function is called. */
export function watchHave(replicator: HypercoreReplicator, listener: OnHave): () => void {
  const watch = watches.get(replicator) ?? wrap(replicator)
  watch.listeners.add(listener)
  return () => {
    watch.listeners.delete(listener)
    // Whatever wrapped it after us keeps calling us, so only our own wrapper is taken out.
    if (watch.listeners.size > 0 || replicator.onhave !== watch.wrapper) return
    watch.unwrap()
    watches.delete(replicator)
  }
}

function wrap(replicator: HypercoreReplicator): Watch {
  // oxlint-disable-next-line typescript/unbound-method -- it is called with its owner below
  const original = replicator.onhave
  const listeners: Set<OnHave> = new Set()
  const wrapper = (start: number, length: number, drop = false): void => {
    original.call(replicator, start, length, drop)
    for (const listener of listeners) listener(start, length, drop)
  }
  const unwrap = Object.hasOwn(replicator, 'onhave')
    ? (): void => void (replicator.onhave = original)
    : (): void => void Reflect.deleteProperty(replicator, 'onhave')
  const watch: Watch = { listeners, wrapper, unwrap }
  replicator.onhave = wrapper
  watches.set(replicator, watch)
  return watch
}
