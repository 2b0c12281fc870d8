/**
 * Peers that are found by the discovery keys of feeds, in Hyperswarm's distributed hash table.
 *
 * The library is loaded by the first join, not before: it opens sockets and is large.
 *
 * @module
 */
import { createRequire } from 'node:module'
import type Hyperswarm from 'hyperswarm'
import type {
  DistributedHashTable,
  DistributedHashTableClass,
  PeerDiscoverySession
} from 'hyperswarm'
import { SynclineError } from '../errors.ts'
import { CLOSE_TIMEOUT_MS, CONNECTIONS_MAX, TRIED_ADDRESSES_MAX } from '../limits.ts'
import { isLoopback } from './address.ts'
import { rawBytes } from './raw-bytes.ts'
import type { NoiseKeyPair } from './secret-stream.ts'
import type { FramedStream, Transport, TransportConnection } from './transport.ts'

/** A node of the table: `HOST:PORT`, or as Hyperswarm's own networks for tests list theirs. */
export type BootstrapNode = string | { readonly host: string; readonly port: number }

/** Options of {@link HyperswarmTransport}. */
export interface HyperswarmOptions {
  /** Who we are; a fresh key pair by default. */
  readonly keyPair?: NoiseKeyPair
  /**
   * Nodes to begin with instead of the public ones. If all of them are on the loopback, so are we.
   */
  readonly bootstrap?: readonly BootstrapNode[]
  /** Connections at a time; CONNECTIONS_MAX by default. */
  readonly maxPeers?: number
  /** Takes connections, whoever began them. Hyperswarm dials lost ones again by itself. */
  readonly onconnection?: (connection: TransportConnection) => void
}

/** What is known about the peers of one discovery key. */
export interface TopicStatus {
  /** True once the first look-up has gone through the table. */
  readonly lookedUp: boolean
  /** Nodes of the table that we know; 0 means that there is no way into it. */
  readonly nodes: number
  /** Peers that announce the key, ourselves left out. */
  readonly announced: number
  /** How many of them we are connected to. */
  readonly connected: number
  /** Why others could not be reached, each reason once; `trying` while it is not known yet. */
  readonly unreachable: readonly string[]
}

interface Topic {
  readonly discoveryKey: Uint8Array
  readonly session: PeerDiscoverySession
  lookedUp: boolean
  /** Public keys of peers that announce it, hexadecimal. */
  readonly announced: Set<string>
}

/** Whether others are to find us under a topic, and whether we look for them. */
interface Roles {
  readonly server: boolean
  readonly client: boolean
}

/** See the module comment. */
export class HyperswarmTransport implements Transport {
  readonly name = 'swarm'
  readonly #options: HyperswarmOptions
  readonly #bootstrap: readonly { readonly host: string; readonly port: number }[] | null
  readonly #topics = new Map<string, Topic>()
  /** As what each topic was joined last, also while the library is still being loaded. */
  readonly #joined = new Map<string, Roles>()
  /** Why peers could not be reached last, by public key. */
  readonly #failures = new Map<string, string>()
  #loading: Promise<Hyperswarm> | null = null
  #swarm: Hyperswarm | null = null
  #announcing = false
  #closed = false

  /** @throws SynclineError BAD_ARGUMENT when a bootstrap node is not HOST:PORT. */
  constructor(options: HyperswarmOptions = {}) {
    this.#options = options
    this.#bootstrap = options.bootstrap?.map(parseNode) ?? null
  }

  /**
   * Looks for peers of a feed (`client`) and lets them find us (`server`), until {@link HyperswarmTransport.leave}. Both by
   * default. Joining again changes the two. Resolves when the search has begun.
   *
   * @throws SynclineError UNSUPPORTED when Hyperswarm cannot be loaded, BAD_ARGUMENT for neither, SESSION_CLOSED.
   */
  async join(
    discoveryKey: Uint8Array,
    options: { readonly server?: boolean; readonly client?: boolean } = {}
  ): Promise<void> {
    const roles: Roles = { server: options.server ?? true, client: options.client ?? true }
    if (!roles.server && !roles.client) {
      throw new SynclineError('BAD_ARGUMENT', 'join neither as a server nor as a client')
    }
    const id = toHex(discoveryKey)
    this.#joined.set(id, roles)
    const swarm = await this.#open()
    // Somebody left it or changed the roles meanwhile.
    if (this.#joined.get(id) !== roles) return
    if (roles.server) this.#announcing = true
    const present = this.#topics.get(id)
    if (present !== undefined) {
      // It fails only when the network does, and is tried again by itself.
      void present.session.refresh(roles).catch(() => {})
      return
    }
    const session = swarm.join(discoveryKey, roles)
    const topic: Topic = { discoveryKey, session, lookedUp: false, announced: new Set() }
    this.#topics.set(id, topic)
    void session.flushed().then(
      () => {
        topic.lookedUp = true
      },
      () => {}
    )
  }

  /** Ends what {@link HyperswarmTransport.join} began; connections stay. */
  async leave(discoveryKey: Uint8Array): Promise<void> {
    const id = toHex(discoveryKey)
    const topic = this.#topics.get(id)
    this.#joined.delete(id)
    this.#topics.delete(id)
    await topic?.session.destroy()
  }

  /** Keeps a connection to one peer, whatever it announces. */
  async joinPeer(publicKey: Uint8Array): Promise<void> {
    const swarm = await this.#open()
    swarm.joinPeer(publicKey)
  }

  /** Takes {@link HyperswarmTransport.joinPeer} back. */
  leavePeer(publicKey: Uint8Array): void {
    this.#swarm?.leavePeer(publicKey)
  }

  /** Resolves when all announcements stand and every peer found so far was tried. */
  async flush(): Promise<void> {
    const swarm = await this.#loading?.catch(() => null)
    await swarm?.flush()
  }

  /** What is known about the peers of a discovery key, or null if it was not joined. */
  status(discoveryKey: Uint8Array): TopicStatus | null {
    const topic = this.#topics.get(toHex(discoveryKey))
    const swarm = this.#swarm
    if (topic === undefined || swarm === null) return null
    for (const [key, peer] of swarm.peers) {
      if (topic.announced.size >= TRIED_ADDRESSES_MAX) break
      if (peer.topics.some((other) => equal(other, discoveryKey))) topic.announced.add(key)
    }
    const connected = new Set<string>()
    for (const stream of swarm.connections) {
      const { remotePublicKey } = stream as FramedStream
      if (remotePublicKey !== null) connected.add(toHex(remotePublicKey))
    }
    const missing = [...topic.announced].filter((key) => !connected.has(key))
    return {
      lookedUp: topic.lookedUp,
      nodes: swarm.dht.nodes.length,
      announced: topic.announced.size,
      connected: topic.announced.size - missing.length,
      unreachable: [...new Set(missing.map((key) => this.#failures.get(key) ?? 'trying'))]
    }
  }

  /** Why the last try to reach a peer failed, or null. */
  failure(publicKey: Uint8Array): string | null {
    return this.#failures.get(toHex(publicKey)) ?? null
  }

  /** `swarm:KEY` with our public key, once something is announced. */
  addresses(): readonly string[] {
    if (this.#swarm === null || !this.#announcing) return []
    return [`swarm:${toHex(this.#swarm.keyPair.publicKey)}`]
  }

  /** Takes announcements back and closes. Its connections end too: they share one socket. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#topics.clear()
    const swarm = await this.#loading?.catch(() => null)
    if (swarm === null || swarm === undefined) return
    // Taking announcements back needs the network, which may be gone.
    const force = setTimeout(() => void swarm.destroy({ force: true }), CLOSE_TIMEOUT_MS)
    try {
      await swarm.destroy()
    } finally {
      clearTimeout(force)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #open(): Promise<Hyperswarm> {
    if (this.#closed) {
      throw new SynclineError('SESSION_CLOSED', 'the Hyperswarm transport is closed')
    }
    this.#loading ??= this.#load()
    return this.#loading
  }

  async #load(): Promise<Hyperswarm> {
    const { Swarm, Table } = await loadLibrary()
    const dht = new Table(this.#tableOptions())
    this.#watchFailures(dht)
    const { keyPair, maxPeers = CONNECTIONS_MAX } = this.#options
    const swarm = new Swarm({ dht, maxPeers, ...(keyPair === undefined ? {} : { keyPair }) })
    swarm.on('connection', (stream: FramedStream) => this.#onconnection(stream))
    this.#swarm = swarm
    return swarm
  }

  #tableOptions(): ConstructorParameters<DistributedHashTableClass>[0] {
    const bootstrap = this.#bootstrap
    if (bootstrap === null) return {}
    // Bound to all interfaces it would never reach nodes that live on the loopback only. There is no NAT there either:
    // a node that believes in one picks the wrong of its two sockets every other time, and the first connection
    // times out after 13 s (hyperdht 6.34).
    if (bootstrap.every(({ host }) => isLoopback(host))) {
      return { bootstrap, host: '127.0.0.1', firewalled: false }
    }
    return { bootstrap }
  }

  /** Hyperswarm tells nobody why it could not connect. */
  #watchFailures(dht: DistributedHashTable): void {
    const connect = dht.connect.bind(dht)
    dht.connect = (publicKey, options) => {
      const stream = connect(publicKey, options)
      const id = toHex(publicKey)
      stream.on('error', (error: Error & { code?: string }) => {
        if (this.#failures.size >= TRIED_ADDRESSES_MAX) this.#failures.clear()
        this.#failures.set(id, error.code ?? error.message)
      })
      stream.on('open', () => this.#failures.delete(id))
      return stream
    }
  }

  #onconnection(stream: FramedStream): void {
    stream.on('error', () => {})
    const { onconnection } = this.#options
    if (onconnection === undefined || stream.remotePublicKey === null) {
      stream.destroy()
      return
    }
    const address = `swarm:${toHex(stream.remotePublicKey)}`
    onconnection({ stream, address, dialled: null, owned: true, ...rawBytes(stream) })
  }
}

async function loadLibrary(): Promise<{
  Swarm: typeof Hyperswarm
  Table: DistributedHashTableClass
}> {
  try {
    const { default: Swarm } = await import('hyperswarm')
    // The very copy that Hyperswarm uses: it is its dependency, not ours.
    const path = createRequire(import.meta.url).resolve('hyperswarm')
    const Table = createRequire(path)('hyperdht') as DistributedHashTableClass
    return { Swarm, Table }
  } catch (error) {
    throw new SynclineError('UNSUPPORTED', 'Hyperswarm cannot be loaded', {}, error)
  }
}

function parseNode(node: BootstrapNode): { host: string; port: number } {
  const text = typeof node === 'string' ? node : `${node.host}:${node.port}`
  const colon = text.lastIndexOf(':')
  const host = text.slice(0, colon)
  const port = Number(text.slice(colon + 1))
  if (colon < 1 || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new SynclineError('BAD_ARGUMENT', `${text} is not HOST:PORT`)
  }
  return { host: host === 'localhost' ? '127.0.0.1' : host, port }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(b)
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}
