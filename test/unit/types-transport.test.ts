import { createRequire } from 'node:module'
import NoiseSecretStream from '@hyperswarm/secret-stream'
import test, { type Assertions } from 'brittle'
import type HyperswarmClass from 'hyperswarm'
import type { DistributedHashTable, PeerDiscoverySession, PeerInfo } from 'hyperswarm'
import Protomux, { type Channel } from 'protomux'
import { duplexPair, memoryPair } from '../../lib/transport/memory.ts'

// The compiler holds these lists against the ambient types, the tests hold them against the libraries.

test('secret-stream has all that its ambient type declares', async (t) => {
  const names: Record<keyof NoiseSecretStream, true> = {
    isInitiator: true,
    publicKey: true,
    remotePublicKey: true,
    handshakeHash: true,
    rawStream: true,
    keepAlive: true,
    rawBytesRead: true,
    destroying: true,
    userData: true,
    setKeepAlive: true,
    alloc: true,
    write: true,
    end: true,
    destroy: true,
    pause: true,
    resume: true,
    on: true,
    off: true,
    rawBytesWritten: true,
    _message: true,
    _outgoingPlain: true,
    _outgoingWrapped: true,
    _onrawdata: true,
    _incoming: true,
    _write: true
  }
  const stream = new NoiseSecretStream(true, duplexPair()[0])
  t.teardown(() => stream.destroy())
  checkNames(t, stream, names)
})

test('protomux has all that its ambient type declares', async (t) => {
  const names: Record<Exclude<keyof Protomux, symbol>, true> = {
    isProtomux: true,
    stream: true,
    corked: true,
    drained: true,
    _notify: true,
    _remote: true,
    _paused: true,
    _buffered: true,
    _free: true,
    _alloc: true,
    _destroying: true,
    cork: true,
    uncork: true,
    opened: true,
    pair: true,
    unpair: true,
    createChannel: true,
    _onopensession: true,
    _onclosesession: true,
    _ondata: true,
    _ondrain: true,
    _pushBatch: true,
    _write0: true,
    _onbatch: true,
    _decode: true,
    _safeDestroy: true,
    _warn: true
  }
  const channelNames: Record<keyof Channel, true> = {
    opened: true,
    closed: true,
    userData: true,
    messages: true,
    _localId: true,
    _remoteId: true,
    fullyOpened: true,
    _close: true,
    addMessage: true,
    open: true,
    close: true
  }
  const [{ stream }] = await memoryPair()
  t.teardown(() => stream.destroy())
  const mux = new Protomux(stream)
  checkNames(t, mux, names)
  t.is(typeof mux[Symbol.iterator], 'function')
  const codec = { preencode() {}, encode() {}, decode: () => null }
  const channel = mux.createChannel({
    protocol: 'test',
    aliases: [],
    handshake: codec,
    messages: [{ encoding: codec, onmessage() {}, autoBatch: false }],
    onopen() {},
    onclose() {}
  })
  checkNames(t, channel as Channel, channelNames)
  t.is(typeof channel?.messages[0]?.send, 'function')
})

test('hyperswarm has all that its ambient type declares', async (t) => {
  const names: Record<keyof HyperswarmClass, true> = {
    keyPair: true,
    dht: true,
    connecting: true,
    connections: true,
    peers: true,
    join: true,
    joinPeer: true,
    leavePeer: true,
    flush: true,
    destroy: true,
    on: true
  }
  const tableNames: Record<keyof DistributedHashTable, true> = { nodes: true, connect: true }
  const sessionNames: Record<keyof PeerDiscoverySession, true> = {
    refresh: true,
    flushed: true,
    destroy: true
  }
  const peerNames: Record<keyof PeerInfo, true> = { publicKey: true, topics: true }
  const { default: Hyperswarm } = await import('hyperswarm')
  const require = createRequire(createRequire(import.meta.url).resolve('hyperswarm'))
  const Table = require('hyperdht') as new (options: object) => DistributedHashTable
  const swarm = new Hyperswarm({
    dht: new Table({ bootstrap: [], host: '127.0.0.1' }),
    maxPeers: 1
  })
  // By force it would leave the timers of its topics, which keep the process alive.
  t.teardown(() => swarm.destroy())
  checkNames(t, swarm, names)
  checkNames(t, swarm.dht, tableNames)
  t.is(typeof swarm.dht.nodes.length, 'number')
  const session = swarm.join(new Uint8Array(32), { server: false, client: true })
  checkNames(t, session, sessionNames)
  swarm.joinPeer(new Uint8Array(32).fill(1))
  checkNames(t, [...swarm.peers.values()][0] as PeerInfo, peerNames)
})

function checkNames(t: Assertions, object: object, names: Record<string, true>): void {
  const missing = Object.keys(names).filter((name) => !(name in object))
  t.alike(missing, [])
}
