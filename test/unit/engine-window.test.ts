import test from 'brittle'
import { Window } from '../../lib/engine/window.ts'
import {
  WINDOW_BYTES_MAX,
  WINDOW_BYTES_START,
  WINDOW_REQUESTS_MAX,
  WINDOW_REQUESTS_MIN,
  WINDOW_REQUESTS_RUNS,
  WINDOW_REQUESTS_START
} from '../../lib/limits.ts'

/** Answers at a steady pace: `perMs` answers of `bytes` each millisecond, each `roundTrip` after its request. */
function pace(window: Window, perMs: number, bytes: number, roundTrip: number): void {
  window.begin(0)
  for (let now = 1; now <= 1000; now++) window.answered(now, roundTrip, perMs, perMs * bytes)
}

test('a window holds twice what a round trip carries', (t) => {
  const window = new Window()
  t.is(window.requests, WINDOW_REQUESTS_START)
  t.is(window.bytes, WINDOW_BYTES_START)
  pace(window, 10, 100, 100)
  t.ok(Math.abs(window.requests - 2000) <= 20, `${window.requests} of about 2,000 requests`)
  const bytes = window.bytes - WINDOW_BYTES_START
  t.ok(Math.abs(bytes - 200_000) < 4000, `${bytes} of about 200,000 bytes`)
})

test('a window keeps its bounds', (t) => {
  const slow = new Window()
  pace(slow, 1, 10, 1)
  t.is(slow.requests, WINDOW_REQUESTS_MIN, 'near and slow')
  const far = new Window()
  pace(far, 1, 10, 50)
  t.is(far.requests, WINDOW_REQUESTS_START, 'far and slow')
  const fast = new Window()
  pace(fast, 1000, 100_000, 100)
  t.is(fast.requests, WINDOW_REQUESTS_MAX)
  t.is(fast.bytes, WINDOW_BYTES_MAX)
})

test('a remote that reads runs has more in flight, and keeps it', (t) => {
  const window = new Window()
  const { batchRequests, batchBytes } = window
  window.readsRuns()
  t.is(window.requests, WINDOW_REQUESTS_RUNS)
  t.ok(window.batchRequests > batchRequests && window.batchBytes > batchBytes)
  pace(window, 1, 10, 1)
  t.is(window.requests, WINDOW_REQUESTS_RUNS)
})

test('half of a window is free before it is filled again, unless that takes long', (t) => {
  const fast = new Window()
  t.is(fast.refillShare, 1)
  pace(fast, 300, 128, 5)
  t.is(fast.refillShare, 0.5)
  const slow = new Window()
  pace(slow, 1, 100, 5)
  t.is(slow.refillShare, 1)
})

test('a time without requests does not count as a slow one', (t) => {
  const window = new Window()
  pace(window, 10, 100, 100)
  const { requests } = window
  window.begin(100_000)
  window.answered(100_005, 100, 50, 5000)
  window.answered(100_020, 100, 150, 15_000)
  t.ok(window.requests >= requests * 0.9)
})
