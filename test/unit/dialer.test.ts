import test from 'brittle'
import { SynclineError } from '../../lib/errors.ts'
import { RETRY_MS_MAX, RETRY_MS_START } from '../../lib/limits.ts'
import { Dialer } from '../../lib/synchronizer/dialer.ts'
import { Tried } from '../../lib/synchronizer/tried.ts'
import type { TransportConnection } from '../../lib/transport/transport.ts'
import { ManualClock } from '../fixtures/connection.ts'

/** A dialer whose connections need no network, and the times at which it dialled. */
function setup(connects: () => boolean): { dialer: Dialer; clock: ManualClock; dials: number[] } {
  const clock = new ManualClock()
  const dials: number[] = []
  const dialer = new Dialer({
    clock,
    connect: async () => {
      dials.push(clock.now())
      if (!connects()) throw new SynclineError('CONNECTION_FAILED', 'refused')
      return { stream: { destroy: () => {} } } as unknown as TransportConnection
    },
    onconnection: () => true
  })
  return { dialer, clock, dials }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('an address that cannot be reached is dialled ever more slowly', async (t) => {
  const { dialer, clock, dials } = setup(() => false)
  await t.exception(dialer.add('host', 1), /CONNECTION_FAILED/)
  for (let second = 0; second < 20; second++) {
    clock.advance(1000)
    await settle()
  }
  t.alike(dials, [0, 1000, 3000, 7000, 15_000])
  t.is(dialer.failures().length, 1)
  dialer.close()
})

test('a peer that connects and is closed for a fault each time is dialled ever more slowly', async (t) => {
  const { dialer, clock, dials } = setup(() => true)
  await dialer.add('host', 1)
  for (let second = 0; second < 20; second++) {
    dialer.ended('tcp:host:1', true)
    clock.advance(1000)
    await settle()
  }
  t.alike(dials, [0, 1000, 3000, 7000, 15_000])
  dialer.close()
})

test('after a good connection the wait is short again', async (t) => {
  const { dialer, clock, dials } = setup(() => true)
  await dialer.add('host', 1)
  for (let i = 0; i < 3; i++) {
    dialer.ended('tcp:host:1', true)
    clock.advance(60_000)
    await settle()
  }
  dialer.ended('tcp:host:1', false)
  const ended = clock.now()
  clock.advance(1000)
  await settle()
  t.is((dials.at(-1) ?? 0) - ended, 1000)
  dialer.close()
})

test('what failed long ago does not count', (t) => {
  const tried = new Tried()
  let now = 0
  for (let i = 0; i < 12; i++) {
    tried.fail('peer', now)
    now += tried.delay('peer', now)
  }
  t.is(tried.failures('peer'), 12)
  now += RETRY_MS_MAX + 1
  tried.fail('peer', now)
  t.alike([tried.failures('peer'), tried.delay('peer', now)], [1, RETRY_MS_START])
})
