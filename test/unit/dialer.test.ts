import test from 'brittle'
import { SynclineError } from '../../lib/errors.ts'
import { RETRY_MS_MAX, RETRY_MS_START, SILENT_PEER_MS } from '../../lib/limits.ts'
import { Dialer } from '../../lib/synchronizer/dialer.ts'
import { Tried } from '../../lib/synchronizer/tried.ts'
import type { TransportConnection } from '../../lib/transport/transport.ts'
import { ManualClock } from '../fixtures/connection.ts'

/** A dialer whose connections need no network, and the times at which it dialled. */
function setup(
  connects: () => boolean,
  takes: () => boolean = () => true
): { dialer: Dialer; clock: ManualClock; dials: number[] } {
  const clock = new ManualClock()
  const dials: number[] = []
  const dialer = new Dialer({
    clock,
    connect: async () => {
      dials.push(clock.now())
      if (!connects()) throw new SynclineError('CONNECTION_FAILED', 'refused')
      return { stream: { destroy: () => {} } } as unknown as TransportConnection
    },
    onconnection: takes
  })
  return { dialer, clock, dials }
}

const FAULT = { fault: true, used: true }
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
    dialer.ended('tcp:host:1', FAULT)
    clock.advance(1000)
    await settle()
  }
  t.alike(dials, [0, 1000, 3000, 7000, 15_000])
  dialer.close()
})

test('a peer that ends its connections at once is dialled ever more slowly, and said to do so', async (t) => {
  const { dialer, clock, dials } = setup(() => true)
  await dialer.add('host', 1)
  for (let second = 0; second < 20; second++) {
    dialer.ended('tcp:host:1', { fault: false, used: false })
    t.alike(
      dialer.failures().map(({ error }) => error.code),
      ['CONNECTION_FAILED']
    )
    clock.advance(1000)
    await settle()
  }
  t.alike(dials, [0, 1000, 3000, 7000, 15_000])
  dialer.close()
})

test('after a connection that lasted the wait is short, although no feed was opened on it', async (t) => {
  const { dialer, clock, dials } = setup(() => true)
  await dialer.add('host', 1)
  for (let i = 1; i < 5; i++) {
    clock.advance(SILENT_PEER_MS)
    dialer.ended('tcp:host:1', { fault: false, used: false })
    t.alike(dialer.failures(), [])
    clock.advance(1000)
    await settle()
    t.is(dials.length, i + 1)
  }
  dialer.close()
})

test('a connection that is not taken is a failure', async (t) => {
  const { dialer } = setup(
    () => true,
    () => false
  )
  await t.exception(dialer.add('host', 1), /CONNECTION_FAILED/)
  t.is(dialer.failures().length, 1)
  dialer.close()
})

test('after a good connection the wait is short again', async (t) => {
  const { dialer, clock, dials } = setup(() => true)
  await dialer.add('host', 1)
  for (let i = 0; i < 3; i++) {
    dialer.ended('tcp:host:1', FAULT)
    clock.advance(60_000)
    await settle()
  }
  dialer.ended('tcp:host:1', { fault: false, used: true })
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
