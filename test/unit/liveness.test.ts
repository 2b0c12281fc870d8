import test from 'brittle'
import { isSynclineError } from '../../lib/errors.ts'
import { KEEPALIVE_MS, WRITE_TIMEOUT_MS } from '../../lib/limits.ts'
import { Liveness, type Vitals } from '../../lib/synchronizer/liveness.ts'

const STILL: Vitals = {
  rawBytesRead: 0,
  rawBytesWritten: 0,
  frameBytesRead: 0,
  frames: 0,
  waiting: false,
  paused: false
}
/** One keepalive later. */
const HEARD: Vitals = { ...STILL, rawBytesRead: 20, frameBytesRead: 17 }

test('a process that was blocked does not take that for silence', (t) => {
  const liveness = new Liveness(STILL, 0)
  t.is(liveness.look(HEARD, KEEPALIVE_MS), null)
  const late = 100 * KEEPALIVE_MS
  t.is(liveness.look({ ...HEARD, waiting: true }, late), null)
  t.is(liveness.look(HEARD, late + KEEPALIVE_MS), null)
})

test('part of a large frame counts as a sign of life', (t) => {
  const liveness = new Liveness(STILL, 0)
  liveness.look(HEARD, KEEPALIVE_MS)
  for (let i = 2; i < 100; i++) {
    t.is(liveness.look({ ...HEARD, rawBytesRead: 20 + i }, i * KEEPALIVE_MS), null)
  }
})

test('a write that moves, however slowly, is not given up; one that stands still is', (t) => {
  const liveness = new Liveness(STILL, 0)
  const looks = WRITE_TIMEOUT_MS / KEEPALIVE_MS
  let now = 0
  for (let i = 0; i < 3 * looks; i++) {
    now += KEEPALIVE_MS
    t.is(liveness.look({ ...STILL, waiting: true, rawBytesWritten: i }, now), null)
  }
  const stuck = { ...STILL, waiting: true, rawBytesWritten: 3 * looks - 1 }
  for (let i = 1; i < looks; i++) t.is(liveness.look(stuck, (now += KEEPALIVE_MS)), null)
  t.ok(isSynclineError(liveness.look(stuck, now + KEEPALIVE_MS), 'PEER_TIMEOUT'))
})

test('frames that carry something do not tell that a peer keeps alive', (t) => {
  const liveness = new Liveness(STILL, 0)
  liveness.look({ ...HEARD, frames: 1 }, KEEPALIVE_MS)
  for (let i = 2; i < 100; i++) {
    t.is(liveness.look({ ...HEARD, frames: 1 }, i * KEEPALIVE_MS), null)
  }
})
