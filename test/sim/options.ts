/**
 * What one seed stands for. Features are switched on and off as a whole and sizes are drawn to their
 * extremes, since a mean world never meets its rare cases.
 *
 * @module
 */
import type { Mode } from '../../lib/engine/input.ts'
import type { Conditions } from './network.ts'
import { LIES, type Lie } from './liar.ts'
import { Prng } from './prng.ts'

/** How the blocks of a feed are sized. */
export type BlockSizes = 'empty' | 'tiny' | 'mixed' | 'medium' | 'large' | 'huge'

/** One feed of a world. */
export interface FeedOptions {
  readonly blocks: number
  readonly sizes: BlockSizes
  readonly compat: boolean
  readonly writer: number
  readonly writerMode: Mode
  /** By node: how it takes part, or null. */
  readonly readers: readonly (ReaderOptions | null)[]
}

/** A node's part in a feed that it does not write. */
export interface ReaderOptions {
  readonly mode: Mode
  readonly wants: readonly (readonly [start: number, end: number])[]
  readonly priority: number
  /** True if it begins with a copy of what the writer begins with. */
  readonly seeded: boolean
}

/** What happens while faults are on, each with its mean time between two events in milliseconds; 0 is never. */
export interface Pace {
  readonly append: number
  readonly truncate: number
  readonly clear: number
  readonly get: number
  readonly compare: number
  readonly want: number
  readonly configure: number
  readonly limit: number
  readonly cut: number
  readonly stall: number
  readonly restart: number
}

/** See the module comment. */
export interface WorldOptions {
  readonly nodes: number
  readonly feeds: readonly FeedOptions[]
  /** Pairs of nodes that are connected. */
  readonly edges: readonly (readonly [one: number, other: number])[]
  readonly conditions: readonly Conditions[]
  /** By node: what it lies about; none for an honest one. */
  readonly lies: readonly (readonly Lie[])[]
  /** Probability that a message of a liar is a lie. */
  readonly lieRate: number
  /** Milliseconds of one access to the storage, at most. */
  readonly storageMs: number
  readonly pace: Pace
  /** True if connections go on to break now and then when other faults have ended. */
  readonly restless: boolean
  /** Milliseconds for which faults are on. */
  readonly unsafeMs: number
  /** True if rates, directions and modes stay as they were left when faults end. */
  readonly keepSettings: boolean
  /** True if nothing that costs answers twice is switched on. */
  readonly clean: boolean
}

/** Draws the options of a seed. */
export function drawOptions(prng: Prng): WorldOptions {
  const lying = prng.chance(0.25)
  const faulty = prng.chance(0.6)
  const lively = prng.chance(0.6)
  const nodes = prng.chance(0.3) ? 2 + (lying ? 1 : 0) : prng.int(lying ? 3 : 2, 8)
  const liars = lying ? prng.int(1, Math.max(1, Math.floor(nodes / 3))) : 0
  const honest = nodes - liars
  const feedCount = prng.chance(0.6) ? 1 : prng.int(2, prng.chance(0.2) ? 20 : 5)
  const feeds: FeedOptions[] = []
  // What all feeds together may cost, in blocks that are carried.
  let budget = prng.chance(0.08) ? 6000 : 1200
  for (let i = 0; i < feedCount; i++) {
    const feed = drawFeed(prng, nodes, honest, Math.max(1, budget / Math.max(1, nodes - 1)))
    budget -= feed.blocks * (nodes - 1)
    feeds.push(feed)
  }
  const conditions = drawConditions(prng, faulty)
  const edges = withLiars(prng, drawEdges(prng, nodes), nodes, honest)
  const cables = edges.map(() => (prng.chance(0.3) ? drawConditions(prng, faulty) : conditions))
  const often = (ms: number, probability: number): number =>
    prng.chance(probability) ? ms * (0.3 + prng.next()) : 0
  const lies = Array.from({ length: nodes }, (_, i) =>
    i < honest ? [] : prng.chance(0.5) ? [prng.pick(LIES)] : LIES.filter(() => prng.chance(0.3))
  )
  const lieRate = prng.pick([1, 0.5, 0.1, 0.02])
  const storageMs = prng.chance(0.4) ? prng.pick([1, 5, 50, 400]) : 0
  const pace = {
    append: lively ? often(1500, 0.7) : 0,
    truncate: lively ? often(8000, 0.3) : 0,
    clear: lively ? often(5000, 0.3) : 0,
    get: often(1000, 0.4),
    compare: lively ? often(600, 0.5) : 0,
    want: lively ? often(2000, 0.4) : 0,
    configure: lively ? often(3000, 0.3) : 0,
    limit: lively ? often(4000, 0.25) : 0,
    cut: faulty ? often(4000, 0.5) : 0,
    stall: faulty ? often(6000, 0.4) : 0,
    restart: faulty ? often(12_000, 0.25) : 0
  }
  const unsafeMs = prng.int(1000, 25_000)
  const keepSettings = prng.chance(0.3)
  // What comes between two breaks has to suffice for a block and the messages before it.
  const brisk = cables.every((one) => one.latencyMs <= 60 && (one.bytesPerSecond || 1e9) >= 100e3)
  const light = feeds.every(({ sizes }) => sizes !== 'huge')
  const restless = brisk && light && storageMs < 400 && new Prng(unsafeMs).chance(0.3)
  return {
    nodes,
    feeds,
    edges,
    conditions: cables,
    lies,
    lieRate,
    storageMs,
    pace,
    restless,
    unsafeMs,
    keepSettings,
    clean: !faulty && !lying && !lively && !restless
  }
}

function drawFeed(prng: Prng, nodes: number, honest: number, most: number): FeedOptions {
  const sizes = prng.pick<BlockSizes>([
    'empty',
    'tiny',
    'tiny',
    'mixed',
    'mixed',
    'medium',
    'large'
  ])
  const cap = { empty: most, tiny: most, mixed: most / 2, medium: most / 4, large: 8, huge: 2 }
  const limit = Math.max(1, Math.floor(cap[sizes]))
  const blocks = prng.chance(0.25) ? prng.pick([0, 1, 2, 3]) : Math.ceil(prng.skewed(1, limit + 1))
  const writer = prng.int(0, honest - 1)
  const same = prng.chance(0.5) ? drawReader(prng, blocks) : null
  return {
    blocks: Math.min(blocks, limit + 3),
    sizes,
    compat: prng.chance(0.2),
    writer,
    writerMode: prng.chance(0.3) ? 'serve' : 'both',
    readers: Array.from({ length: nodes }, (_, node) => {
      if (node === writer) return null
      if (node >= honest) return { mode: 'both', priority: 0, wants: [[0, Infinity]], seeded: true }
      if (nodes > 2 && prng.chance(0.15)) return null
      return same ?? drawReader(prng, blocks)
    })
  }
}

function drawReader(prng: Prng, blocks: number): ReaderOptions {
  const mode = prng.pick<Mode>(['both', 'both', 'both', 'both', 'follow', 'pull', 'serve'])
  const priority = prng.chance(0.3) ? prng.int(-2, 5) : 0
  const seeded = prng.chance(0.12)
  if (prng.chance(0.6)) return { mode, priority, seeded, wants: [[0, Infinity]] }
  if (prng.chance(0.3)) return { mode, priority, seeded, wants: [] }
  const wants = Array.from({ length: prng.int(1, 3) }, () => drawRange(prng, blocks))
  return { mode, priority, seeded, wants }
}

/** A range in or near a feed of that many blocks. */
export function drawRange(prng: Prng, blocks: number): readonly [start: number, end: number] {
  const start = prng.int(0, blocks)
  if (prng.chance(0.1)) return [start, Infinity]
  return [start, start + Math.ceil(prng.skewed(1, blocks + 2))]
}

function drawConditions(prng: Prng, faulty: boolean): Conditions {
  return {
    latencyMs: prng.pick([0, 1, 10, 60, 200, 800]),
    jitterMs: prng.pick([0, 0, 5, 100]),
    bytesPerSecond: prng.pick([0, 0, 0, 1e6, 100e3, 20e3]),
    loss: faulty && prng.chance(0.4) ? prng.pick([0.01, 0.1, 0.5]) : 0,
    reorder: prng.chance(0.3) ? prng.pick([0.05, 0.5]) : 0
  }
}

function drawEdges(prng: Prng, nodes: number): [number, number][] {
  const shape = prng.pick(['star', 'line', 'ring', 'full', 'random'])
  const edges: [number, number][] = []
  for (let i = 1; i < nodes; i++) {
    if (shape === 'star') edges.push([0, i])
    else if (shape === 'line' || shape === 'ring') edges.push([i - 1, i])
    else edges.push([prng.int(0, i - 1), i])
  }
  if (shape === 'ring' && nodes > 2) edges.push([0, nodes - 1])
  if (shape === 'full' || shape === 'random') {
    for (let i = 1; i < nodes; i++) {
      for (let j = 0; j < i; j++) {
        if (edges.some(([a, b]) => a === j && b === i)) continue
        if (shape === 'full' || prng.chance(0.3)) edges.push([j, i])
      }
    }
  }
  // Which end dials is chance.
  return edges.map(([a, b]) => (prng.chance(0.5) ? [a, b] : [b, a]))
}

/** Connects liars with many, since a lie that nobody hears is none. */
function withLiars(
  prng: Prng,
  edges: [number, number][],
  nodes: number,
  honest: number
): [number, number][] {
  for (let liar = honest; liar < nodes; liar++) {
    for (let node = 0; node < honest; node++) {
      const known = edges.some(([a, b]) => (a === node && b === liar) || (a === liar && b === node))
      if (!known && prng.chance(0.7)) edges.push([liar, node])
    }
  }
  return edges
}

/** The bytes of a new block. */
export function drawBlock(prng: Prng, sizes: BlockSizes): Uint8Array {
  switch (sizes) {
    case 'empty':
      return new Uint8Array(prng.chance(0.1) ? 3 : 0)
    case 'tiny':
      return prng.bytes(prng.int(1, 40))
    case 'mixed':
      return prng.chance(0.1) ? new Uint8Array(0) : prng.bytes(Math.floor(prng.skewed(1, 3000)))
    case 'medium':
      return prng.bytes(prng.int(500, 4000))
    case 'large':
      return prng.bytes(prng.int(15_000, 70_000))
    case 'huge':
      return prng.bytes(prng.int(900_000, 1_300_000))
    default:
      return sizes satisfies never
  }
}
