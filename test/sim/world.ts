/**
 * Nodes, their connections, and what befalls them.
 *
 * @module
 */
import { RangeSet } from '../../lib/primitives/range-set.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { isSynclineError, type SynclineError } from '../../lib/errors.ts'
import { Checker } from './checker.ts'
import { VirtualClock } from './clock.ts'
import { Liar } from './liar.ts'
import type { SimLink } from './link.ts'
import { type Cable, type End, Network } from './network.ts'
import { type NodeFeed, SimNode } from './node.ts'
import { drawOptions, drawRange, type Pace, type WorldOptions } from './options.ts'
import { Prng } from './prng.ts'
import { Reference } from './reference.ts'
import { SlowStore } from './slow-store.ts'
import { Trace } from './trace.ts'

/** Two nodes that are to be connected. */
interface Edge {
  readonly at: number
  readonly nodes: readonly [SimNode, SimNode]
  cable: Cable | null
  faults: number
}

/** Milliseconds after which everything must have arrived, once faults are off, besides what the bytes take. */
const LIVENESS_MS = 240_000
/** Milliseconds after which a world that has everything must be silent: peers are asked late what they have. */
const SETTLE_MS = 60_000
/** Milliseconds for which it is listened to. */
const QUIET_MS = 5_000

/** Why a node may not come. */
const NO_NODE = ['BAD_ARGUMENT', 'INVALID_OPERATION', 'SESSION_CLOSED', 'TIMEOUT'] as const

/** Milliseconds in which whatever only waits for storage is done. */
const PATIENCE_MS = 600_000

/** See the module comment. */
export class World {
  readonly options: WorldOptions
  readonly clock: VirtualClock = new VirtualClock()
  readonly nodes: SimNode[] = []
  readonly references: Reference[] = []
  readonly trace: Trace
  readonly #prng: Prng
  readonly #network: Network
  readonly #edges: Edge[] = []
  readonly #checker: Checker
  #healed = false
  #calm = false
  #failure: Error | null = null

  constructor(seed: number, verbose: boolean) {
    this.#prng = new Prng(seed)
    this.options = drawOptions(this.#prng)
    this.trace = new Trace(this.clock, verbose)
    this.#network = new Network(this.clock, new Prng(seed + 1_000_003))
    this.#checker = new Checker(this, verbose ? 1 : 16)
    this.#network.ontap = (carried) => {
      this.trace.message(carried)
      this.#guard(() => this.#checker.message(carried))
    }
    this.clock.onevent = () => this.#guard(() => this.#checker.step())
  }

  /** Runs the world to its end; throws what is wrong with it. */
  async run(): Promise<void> {
    await this.#build()
    this.#start(this.options.pace)
    await this.#until(this.options.unsafeMs)
    await this.#heal()
    const bytes = this.references.reduce((sum, one) => sum + one.length * 100, 0)
    const most = this.clock.now() + LIVENESS_MS + bytes * this.nodes.length
    await this.#finish(Promise.all(this.references.map((reference) => reference.written())))
    this.#checker.expect()
    let lookAt = 0
    await this.#until(most, () => {
      if (this.clock.now() < lookAt) return false
      lookAt = this.clock.now() + 200
      return this.#checker.missing() === null
    })
    const missing = this.#checker.missing()
    if (missing !== null) throw new Error(`nothing moves on: ${missing}`)
    this.#calm = true
    await this.#until(this.clock.now() + SETTLE_MS)
    const before = this.trace.messages
    await this.#until(this.clock.now() + QUIET_MS)
    this.#checker.quiet(this.trace.messages - before)
    await this.#finish(this.#checker.end())
  }

  /** Ends everything, whatever state it is in. */
  async close(): Promise<void> {
    for (const node of this.nodes) void node.loop.close()
    await this.clock.runUntil(this.clock.now() + 10_000)
  }

  async #build(): Promise<void> {
    const { options } = this
    for (let i = 0; i < options.nodes; i++) {
      const lies = options.lies[i] ?? []
      const liar =
        lies.length === 0
          ? null
          : new Liar(new Prng(this.#prng.int(0, 2 ** 31)), lies, options.lieRate)
      this.nodes.push(
        new SimNode(i, liar, this.clock, {
          disconnected: (node, link, error) => this.#disconnected(node, link, error),
          told: (node, entry, telling) => {
            this.trace.note(node.name, `f${entry.at} ${telling.event}`)
            this.#guard(() => this.#checker.told(node, entry, telling))
          }
        })
      )
    }
    for (const [at, feed] of options.feeds.entries()) {
      const reference = new Reference(this.#prng, feed)
      this.references.push(reference)
      const identity = newIdentity({ keyPair: reference.keyPair, compat: feed.compat })
      for (const node of this.nodes) {
        const writes = node.index === feed.writer
        const reader = feed.readers[node.index] ?? null
        if (!writes && reader === null) {
          node.feeds[at] = null
          continue
        }
        const wants = new RangeSet()
        for (const [start, end] of reader?.wants ?? [[0, Infinity]]) wants.add(start, end)
        const copies = reader?.seeded ?? false
        const entry = await node.addFeed(
          at,
          new SlowStore({
            store: memoryStore(writes || copies ? identity : identityFromKey(identity.key)),
            clock: this.clock,
            prng: this.#prng,
            mostMs: options.storageMs,
            instant: () => this.#checker.reading
          }),
          {
            writes,
            mode: writes ? feed.writerMode : (reader?.mode ?? 'both'),
            priority: reader?.priority ?? 0,
            wants
          }
        )
        if (writes && feed.blocks > 0) reference.append(entry, feed.blocks, feed.sizes)
      }
      for (const node of this.nodes) {
        const entry = node.feeds[at]
        if (entry && feed.readers[node.index]?.seeded === true) {
          reference.copyTo(entry)
          if (node.honest && this.#prng.chance(0.7)) {
            reference.clear(entry, ...drawRange(this.#prng, feed.blocks))
          }
        }
      }
    }
    await this.#finish(Promise.all(this.references.map((reference) => reference.written())))
    for (const [at, [one, other]] of options.edges.entries()) {
      const nodes = [this.nodes[one] as SimNode, this.nodes[other] as SimNode] as const
      this.#edges.push({ at, nodes, cable: null, faults: 0 })
    }
    for (const edge of this.#edges) this.#dial(edge, this.#prng.int(0, 300))
  }

  #dial(edge: Edge, afterMs: number): void {
    this.clock.setTimer(() => {
      const [one, other] = edge.nodes
      if (edge.cable !== null) return
      if (!one.up || !other.up) {
        this.#dial(edge, 500)
        return
      }
      const conditions = this.options.conditions[edge.at]
      if (conditions === undefined) return
      const cable = this.#network.connect(
        endOf(one),
        endOf(other),
        this.#healed ? { ...conditions, loss: 0 } : conditions
      )
      edge.cable = cable
      this.trace.note(one.name, `connects to ${other.name}`)
      one.addLink(cable.links[0])
      other.addLink(cable.links[1])
    }, afterMs)
  }

  #disconnected(node: SimNode, link: SimLink, error: SynclineError | null): void {
    this.trace.note(node.name, `loses ${link.name}: ${error === null ? 'end' : error.message}`)
    this.#guard(() => this.#checker.disconnected(node, link.name, error))
    const edge = this.#edges.find((one) => one.cable?.links.includes(link) ?? false)
    if (edge === undefined || edge.cable === null) return
    if (error !== null && error.code !== 'CONNECTION_FAILED') edge.faults++
    // The end that dialled dials again.
    if (edge.cable.links[0] !== link) return
    edge.cable = null
    this.#dial(edge, Math.min(60_000, 300 * 2 ** Math.min(edge.faults, 12)))
  }

  /** Lets things happen at random until the world is healed. */
  #start(pace: Pace): void {
    const prng = this.#prng
    const repeat = (meanMs: number, run: () => void): void => {
      if (meanMs === 0) return
      this.clock.setTimer(
        () => {
          if (this.#healed) return
          run()
          repeat(meanMs, run)
        },
        2 * meanMs * prng.next()
      )
    }
    repeat(pace.append, () => this.#append())
    repeat(pace.truncate, () => this.#truncate())
    repeat(pace.clear, () => this.#clear())
    repeat(pace.get, () => this.#get())
    repeat(pace.compare, () => this.#compare())
    repeat(pace.want, () => this.#want())
    repeat(pace.configure, () => this.#configure())
    repeat(pace.limit, () => this.#limit())
    repeat(pace.cut, () => this.#cut())
    repeat(pace.stall, () => this.#stall())
    repeat(pace.restart, () => this.#restart())
  }

  #append(): void {
    const found = this.#writer()
    if (found === null) return
    const [reference, entry] = found
    const { sizes } = reference.options
    const most = sizes === 'large' || sizes === 'huge' ? 2 : 20
    reference.append(entry, this.#prng.int(1, most), sizes)
  }

  #truncate(): void {
    const found = this.#writer()
    if (found === null) return
    const [reference, entry] = found
    if (reference.length === 0 || reference.fork > 5) return
    reference.truncate(entry, this.#prng.int(0, reference.length))
    if (this.#prng.chance(0.7)) reference.append(entry, this.#prng.int(1, 9), 'tiny')
  }

  #clear(): void {
    const found = this.#reader() ?? this.#writer()
    if (found === null) return
    const reference = this.references[found[1].at] as Reference
    const [start, end] = drawRange(this.#prng, reference.length)
    reference.clear(found[1], start, Math.min(end, start + 50))
  }

  #get(): void {
    const found = this.#reader()
    if (found === null) return
    const [node, entry] = found
    const { length } = this.references[entry.at] as Reference
    const index = this.#prng.int(0, length + 1)
    node.get(entry, index)
    if (this.#prng.chance(0.4)) {
      const { loop } = node
      this.clock.setTimer(
        () => {
          if (!this.#healed && node.up && node.loop === loop) node.release(entry, index)
        },
        this.#prng.int(0, 3000)
      )
    }
  }

  /** Asks for a node that nobody stores, which must be the right one if it comes. */
  #compare(): void {
    const found = this.#reader()
    if (found === null || found[1].feed.length === 0) return
    const [node, entry] = found
    const { feed } = entry
    const index = this.#prng.int(0, 2 * feed.length - 2)
    const reference = this.references[entry.at] as Reference
    const timeoutMs = this.#prng.int(1, 20_000)
    void node.loop.node(entry.id, index, { timeoutMs }).then(
      ({ hash }) => {
        this.trace.note(node.name, `f${entry.at} has node ${index}`)
        const right = reference.node(feed.fork, index)
        const same = right !== null && Buffer.compare(hash, right.hash) === 0
        if (!same) this.#guard(() => fail(`node ${index} of ${node.name} is wrong`))
      },
      (error: unknown) => {
        if (!isSynclineError(error, ...NO_NODE)) this.#guard(() => fail(String(error)))
      }
    )
  }

  #want(): void {
    const found = this.#reader()
    if (found === null) return
    const [node, entry] = found
    const [start, end] = drawRange(this.#prng, (this.references[entry.at] as Reference).length)
    if (this.#prng.chance(0.6)) node.want(entry, start, end)
    else node.unwant(entry, start, end)
  }

  #configure(): void {
    const found = this.#reader()
    if (found === null) return
    const [node, entry] = found
    const direction = this.#prng.pick(['both', 'both', 'upload', 'download', 'none'] as const)
    const priority = this.#prng.int(-3, 3)
    switch (this.#prng.int(0, 3)) {
      case 0:
        return node.setMode(entry, this.#prng.pick(['both', 'both', 'follow', 'pull', 'serve']))
      case 1:
        entry.priority = priority
        node.loop.post({ type: 'configure-feed', feed: entry.id, priority })
        return
      case 2:
        return node.setDirection(entry, direction)
      default: {
        const peers = [...node.links.keys()]
        if (peers.length === 0) return
        const peer = this.#prng.pick(peers)
        const feed = this.#prng.chance(0.5) ? entry.id : null
        node.loop.post({ type: 'configure-peer', peer, feed, direction })
      }
    }
  }

  #limit(): void {
    const node = this.#prng.pick(this.nodes)
    if (!node.up) return
    const rate = (): number => this.#prng.pick([0, 0, 2_000, 20_000, 500_000])
    const limits = { upload: rate(), download: rate() }
    const peers = [...node.links.keys()]
    if (this.#prng.chance(0.5) || peers.length === 0) {
      node.loop.post({ type: 'configure', limits })
    } else {
      const peer = this.#prng.pick(peers)
      node.loop.post({ type: 'configure-peer', peer, feed: null, limits })
    }
  }

  #cut(): void {
    const cables = this.#cables()
    if (cables.length > 0) this.#network.cut(this.#prng.pick(cables))
  }

  /** Cuts cables again and again until the end. */
  #annoy(): void {
    this.clock.setTimer(
      () => {
        if (this.#calm) return
        for (const cable of this.#cables()) if (this.#prng.chance(0.5)) this.#network.cut(cable)
        this.#annoy()
      },
      this.#prng.int(5_000, 9_000)
    )
  }

  #stall(): void {
    const cables = this.#cables()
    if (cables.length === 0) return
    const ms = this.#prng.pick([500, 3_000, 12_000, 30_000])
    const cable = this.#prng.pick(cables)
    const turned: Cable = {
      links: cable.links,
      directions: this.#prng.chance(0.5)
        ? cable.directions
        : [cable.directions[1], cable.directions[0]]
    }
    this.#network.stall(turned, ms, this.#prng.chance(0.5))
  }

  #restart(): void {
    const node = this.#prng.pick(this.nodes)
    if (!node.up) return
    const written = node.feeds.flatMap((entry) =>
      entry === null ? [] : [(this.references[entry.at] as Reference).written()]
    )
    this.trace.note(node.name, 'restarts')
    const ms = this.#prng.int(10, 8_000)
    void Promise.all(written).then(() => node.restart(ms))
  }

  #cables(): Cable[] {
    return this.#edges.flatMap(({ cable }) => (cable === null ? [] : [cable]))
  }

  /** A feed at its writer, if that is up. */
  #writer(): [Reference, NodeFeed] | null {
    const reference = this.#prng.pick(this.references)
    const node = this.nodes[reference.options.writer] as SimNode
    const entry = node.feeds[this.references.indexOf(reference)]
    return node.up && entry !== null && entry !== undefined ? [reference, entry] : null
  }

  /** A feed at a reader that is up. */
  #reader(): [SimNode, NodeFeed] | null {
    const node = this.#prng.pick(this.nodes)
    const entries = node.feeds.flatMap((entry) => (entry === null || entry.writes ? [] : [entry]))
    return node.up && entries.length > 0 ? [node, this.#prng.pick(entries)] : null
  }

  /** Ends all faults. */
  async #heal(): Promise<void> {
    this.#healed = true
    if (this.options.restless) this.#annoy()
    this.trace.note('world', 'heals')
    for (const cable of this.#cables()) {
      for (const direction of cable.directions) direction.conditions.loss = 0
    }
    await this.#until(this.clock.now() + 60_000, () => this.nodes.every((node) => node.up))
    for (const node of this.nodes) {
      node.loop.post({ type: 'configure', limits: { upload: 0, download: 0 } })
      for (const peer of node.links.keys()) {
        node.loop.post({
          type: 'configure-peer',
          peer,
          feed: null,
          direction: 'both',
          limits: { upload: 0, download: 0 }
        })
        for (const entry of node.feeds) {
          if (entry === null) continue
          node.loop.post({ type: 'configure-peer', peer, feed: entry.id, direction: 'both' })
        }
      }
      if (this.options.keepSettings) continue
      for (const entry of node.feeds) {
        if (entry !== null && entry.direction !== 'both') node.setDirection(entry, 'both')
      }
    }
    await this.#until(this.clock.now() + 10 * this.options.storageMs)
  }

  async #until(end: number, done: () => boolean = () => false): Promise<void> {
    await this.clock.runUntil(end, () => this.#failure !== null || done())
    if (this.#failure !== null) throw this.#failure
  }

  /** Lets time pass until a promise settles. */
  async #finish(promise: Promise<unknown>): Promise<void> {
    let settled = false
    const finished = promise.finally(() => {
      settled = true
    })
    finished.catch(() => {})
    await this.#until(this.clock.now() + PATIENCE_MS, () => settled)
    if (!settled) throw new Error('the simulator waits for ever')
    await finished
  }

  /** Keeps the first failure: where it is found nobody may throw. */
  #guard(check: () => void): void {
    if (this.#failure !== null) return
    try {
      check()
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error))
    }
  }
}

function endOf({ name, publicKey, liar }: SimNode): End {
  return { name, publicKey, mutate: liar && ((messages) => liar.mutate(messages)) }
}

function fail(message: string): never {
  throw new Error(message)
}
