/** Proofs of every shape: what is honest is taken, what is bent is refused and changes nothing. */
import test from 'brittle'
import { isSynclineError } from '../../lib/errors.ts'
import type { Feed, ProofRequest } from '../../lib/feed/feed.ts'
import { identityFromKey, newIdentity } from '../../lib/feed/identity.ts'
import { memoryStore } from '../../lib/feed/memory/memory-store.ts'
import { spanRoots } from '../../lib/feed/tree/proof-plan.ts'
import { StoredFeed } from '../../lib/feed/stored-feed.ts'
import type { Store } from '../../lib/feed/store.ts'
import { blockCount, firstBlock, fullRoots } from '../../lib/primitives/flat-tree.ts'
import { blocksFrom, getBlock, liesAbout, prng } from '../conformance/feed.ts'

const OURS = ['INVALID_PROOF', 'INVALID_CHECKSUM', 'INVALID_SIGNATURE'] as const

async function pair(length: number): Promise<{ source: Feed; copy: Feed; store: Store }> {
  const source = await StoredFeed.open(memoryStore(newIdentity()))
  await source.append(blocksFrom(0, length))
  const store = memoryStore(identityFromKey(source.key))
  const copy = await StoredFeed.open(store)
  await copy.applyProof(await source.proof({ upgrade: { start: 0, length }, manifest: true }))
  return { source, copy, store }
}

async function refusal(attempt: Promise<unknown>): Promise<Error | null> {
  return attempt.then(
    () => null,
    (error: Error) => error
  )
}

/** Every stored byte of a small feed. */
async function contentOf(copy: Feed, store: Store): Promise<unknown> {
  return {
    nodes: Buffer.from(await store.getNodeRun(0, 200)).toString('hex'),
    data: Buffer.from(await store.getBytes(0, 2000)).toString('hex'),
    have: [...copy.have.runs(0, 100)],
    state: [copy.length, copy.byteLength, copy.fork, copy.contiguousLength]
  }
}

test('subtrees that cover a range', (t) => {
  for (let start = 0; start < 40; start++) {
    for (let end = start; end < 70; end++) {
      let block = start
      for (const index of spanRoots(start, end)) {
        t.is(firstBlock(index), block)
        block += blockCount(index)
      }
      t.is(block, end)
    }
    t.alike(spanRoots(0, start), fullRoots(start))
  }
  t.alike(spanRoots(0, 8, 2), [1, 5, 9, 13])
})

test('bent proofs of every shape are refused and change nothing', async (t) => {
  const random = prng(99)
  for (let round = 0; round < 12; round++) {
    const { source, copy, store } = await pair(2 + random(30))
    for (let i = 0; i < 4; i++) await getBlock(source, copy, random(copy.length))
    const { length } = copy
    await source.append(blocksFrom(length, length + 1 + random(20)))
    const behind = source.length - length
    const index = random(length)
    const nodes = await copy.missingNodes(2 * index)
    const inside = length + random(1 + random(behind))
    const upgrade = { start: length, length: inside - length + 1 }
    const requests: ProofRequest[] = [
      { block: { index, nodes } },
      { hash: { index: 2 * index, nodes } },
      { upgrade },
      { upgrade, block: { index: inside, nodes: 0 } },
      { upgrade, block: { index, nodes } },
      { upgrade, hash: { index: 2 * inside, nodes: 0 } },
      { upgrade, seek: { bytes: random(source.byteLength), padding: 0 } }
    ]
    const before = await contentOf(copy, store)
    for (const request of requests) {
      const honest = await source.proof(request)
      for (const { name, proof } of liesAbout(honest)) {
        const error = await refusal(copy.applyProof(proof))
        t.ok(isSynclineError(error, ...OURS), `${JSON.stringify(request)} ${name}: ${error}`)
      }
    }
    t.alike(await contentOf(copy, store), before)
    const request = requests[random(requests.length)] as ProofRequest
    t.ok((await copy.applyProof(await source.proof(request))).applied)
    t.alike((await copy.audit()).bad, [])
  }
})

test('random bytes in the place of parts never do more than be refused', async (t) => {
  const random = prng(5)
  const { source, copy, store } = await pair(13)
  const before = await contentOf(copy, store)
  const hash = (): Uint8Array => new Uint8Array(random(4) === 0 ? random(64) : 32).fill(random(256))
  const number = (): number =>
    [0, 1, 2, 7, 24, 26, -1, 0.5, NaN, 2 ** 53, 2 ** 60][random(11)] as number
  const node = (): { index: number; size: number; hash: Uint8Array } => ({
    index: number(),
    size: number(),
    hash: hash()
  })
  const nodes = (): ReturnType<typeof node>[] => Array.from({ length: random(6) }, node)
  for (let i = 0; i < 2000; i++) {
    const proof = {
      fork: random(9) === 0 ? number() : 0,
      block: random(2) === 0 ? { index: number(), value: hash(), nodes: nodes() } : null,
      hash: random(2) === 0 ? { index: number(), nodes: nodes() } : null,
      seek: random(3) === 0 ? { bytes: number(), nodes: nodes() } : null,
      upgrade:
        random(2) === 0
          ? {
              start: random(2) === 0 ? 13 : number(),
              length: number(),
              nodes: nodes(),
              additionalNodes: nodes(),
              signature: hash()
            }
          : null,
      manifest: random(9) === 0 ? source.manifest : null
    }
    for (const attempt of [
      () => copy.applyProof(proof),
      () => copy.reorg({ ...proof, fork: 3 }),
      () => copy.checkConflict(proof)
    ]) {
      const error = await refusal(attempt())
      if (error !== null && !isSynclineError(error, ...OURS)) t.fail(`${error}`)
    }
  }
  t.is(copy.frozen, false)
  t.alike(await contentOf(copy, store), before)
})

test('a seek beside a node that lies half in an upgrade is refused', async (t) => {
  const { source } = await pair(2)
  const request = {
    hash: { index: 1, nodes: 0 },
    seek: { bytes: 6, padding: 0 },
    upgrade: { start: 1, length: 1 }
  }
  await t.exception(source.proof(request), /INVALID_OPERATION/)
})

test('what a feed hands out is the caller’s', async (t) => {
  const { source } = await pair(200)
  const request = { block: { index: 9, nodes: 7 }, upgrade: { start: 100, length: 50 } }
  const first = await source.proof(request)
  const copy = structuredClone(first)
  first.block?.value.fill(0)
  for (const { hash } of [...(first.block?.nodes ?? []), ...(first.upgrade?.nodes ?? [])])
    hash.fill(0)
  first.upgrade?.signature.fill(0)
  ;(await source.read(9))?.fill(1)
  t.alike(await source.proof(request), copy)
})
