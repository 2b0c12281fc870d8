import test from 'brittle'
import { SPARE_BUFFER_BYTES_MAX } from '../../lib/limits.ts'
import { BufferPool } from '../../lib/primitives/buffer-pool.ts'

test('a buffer that was given back is taken again, one that was not never is', (t) => {
  const pool = new BufferPool()
  const first = pool.take(10_000)
  const second = pool.take(10_000)
  t.not(first.buffer, second.buffer)
  pool.give(first.subarray(5, 6))
  const third = pool.take(9000)
  t.is(third.buffer, first.buffer)
  t.is(third.byteLength, 9000)
  t.not(pool.take(10_000).buffer, first.buffer)
})

test('what is given twice, or was never taken, is not handed out', (t) => {
  const pool = new BufferPool()
  const once = pool.take(8192)
  pool.give(once)
  pool.give(once)
  t.is(pool.take(8192).buffer, once.buffer)
  t.not(pool.take(8192).buffer, once.buffer)
  const foreign = new Uint8Array(8192)
  pool.give(foreign)
  t.not(pool.take(8192).buffer, foreign.buffer)
  const small = pool.take(10)
  pool.give(small)
  t.not(pool.take(10).buffer, small.buffer)
})

test('it keeps no more than it may', (t) => {
  const pool = new BufferPool()
  const byteLength = 1024 * 1024
  const most = SPARE_BUFFER_BYTES_MAX / byteLength
  const taken = Array.from({ length: most + 5 }, () => pool.take(byteLength))
  for (const buffer of taken) pool.give(buffer)
  const before = new Set(taken.map(({ buffer }) => buffer))
  const again = taken.map(() => pool.take(byteLength))
  t.is(again.filter(({ buffer }) => before.has(buffer)).length, most)
})
