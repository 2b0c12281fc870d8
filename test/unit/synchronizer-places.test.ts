/** Strangers that connect and say nothing leave room for others. */
import test from 'brittle'
import { memory, Synchronizer } from '../../lib/index.ts'
import { SILENT_PEER_MS } from '../../lib/limits.ts'
import { systemClock } from '../../lib/synchronizer/timers.ts'
import { TcpTransport } from '../../lib/transport/tcp.ts'
import { portOf, until } from '../fault/stage.ts'

test('silent strangers keep neither our own connections out, nor, for long, those of others', async (t) => {
  const host = '127.0.0.1'
  const sync = new Synchronizer({ storage: memory(), connections: 2 })
  const [source, reader] = [1, 2].map(() => new Synchronizer({ storage: memory() }))
  if (source === undefined || reader === undefined) throw new Error('unreachable')
  const port = portOf(await sync.listen(0, host))
  const strangers = [await new TcpTransport().connect(host, port)]
  strangers.push(await new TcpTransport().connect(host, port))
  t.teardown(async () => {
    for (const { stream } of strangers) stream.destroy()
    await Promise.all([sync.close(), source.close(), reader.close()])
  })
  await until(() => sync.peers.length === 2)

  const feed = await source.create('feed')
  await feed.append(['block'])
  await sync.connect(host, portOf(await source.listen(0, host)))
  t.is(sync.peers.length, 3, 'a connection of our own')
  const copy = sync.add(feed.key)
  await copy.synced({ timeoutMs: 10_000 })

  const third = reader.add(feed.key, { mode: 'pull' })
  await reader.connect(host, port)
  await until(() => reader.unreachable().length === 1)
  t.is(sync.peers.length, 3, 'there is no room yet')
  reader.disconnect(host, port)

  // Later than it is, for everybody here.
  systemClock.now = () => performance.now() + SILENT_PEER_MS
  await reader.connect(host, port)
  await third.synced({ timeoutMs: 10_000 })
  t.is(String(await third.get(0)), 'block')
})
