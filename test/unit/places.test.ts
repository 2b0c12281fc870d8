import test from 'brittle'
import { SILENT_PEER_MS } from '../../lib/limits.ts'
import { Places } from '../../lib/synchronizer/places.ts'
import { ManualClock } from '../fixtures/connection.ts'

function setup(most: number): { places: Places; clock: ManualClock; evicted: number[] } {
  const clock = new ManualClock()
  const evicted: number[] = []
  const places = new Places({ clock, most, evict: (peer) => evicted.push(peer) })
  return { places, clock, evicted }
}

test('who has no feed open for a while makes way, whoever has none for longest first', (t) => {
  const { places, clock, evicted } = setup(3)
  for (const peer of [1, 2, 3]) {
    t.ok(places.free())
    places.take(peer, false)
    clock.advance(1)
  }
  t.absent(places.free(), 'they may be about to open one')
  places.opened(1)
  places.opened(1)
  clock.advance(SILENT_PEER_MS)
  t.ok(places.free())
  t.alike(evicted, [2])
  places.take(4, false)
  t.ok(places.free())
  t.alike(evicted, [2, 3])
  places.take(5, false)
  places.closed(1)
  clock.advance(SILENT_PEER_MS - 1)
  t.absent(places.free(), 'peer 1 has another feed open')
  places.closed(1)
  clock.advance(1)
  t.ok(places.free())
  t.alike(evicted, [2, 3, 4])
  places.leave(5)
  t.ok(places.free())
  t.alike(evicted, [2, 3, 4])
})

test('who stays keeps its place, and who never had one needs none', (t) => {
  const { places, clock, evicted } = setup(1)
  places.take(1, true)
  places.opened(2)
  places.closed(2)
  places.opened(1)
  places.closed(1)
  clock.advance(2 * SILENT_PEER_MS)
  t.absent(places.free())
  t.alike(evicted, [])
  places.leave(1)
  t.ok(places.free())
})
