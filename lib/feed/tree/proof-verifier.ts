/**
 * Verifies proofs against what a feed holds: manifest, signature, stored nodes.
 *
 * @module
 */
import { SynclineError } from '../../errors.ts'
import { parent } from '../../primitives/flat-tree.ts'
import type { Manifest, Prologue } from '../../wire/manifest.ts'
import type { Proof, TreeNode, UpgradeProof } from '../../wire/message.ts'
import { copyBytes, equalBytes } from '../bytes.ts'
import type { TrustedNode } from '../feed.ts'
import { type FoldNode, GrowingTree } from './growing-tree.ts'
import { checkManifestFor, copyManifest, singleSignerManifest } from '../manifest.ts'
import { checkProof, foldParts, foldUpgrade, tieRoots } from './proof-fold.ts'
import type { TreeView } from './tree-view.ts'
import { Verifier } from '../verifier.ts'

/** What is known of a feed before a proof comes. */
export interface KnownFeed {
  readonly key: Uint8Array
  /** Null while it is not known who signs. */
  readonly verifier: Verifier | null
  readonly tree: TreeView & { readonly fork: number }
}

/** What a proof proves. */
export interface VerifiedProof {
  /** The tree after the upgrade part, or null without one. */
  readonly grown: GrowingTree | null
  /** The manifest that was learned, or null. */
  readonly learned: Manifest | null
  /** Nodes whose hash and size are both sure. */
  readonly nodes: readonly TreeNode[]
  /** See `Applied.path`. */
  readonly path: readonly TrustedNode[]
  /** See `Applied.roots`. */
  readonly roots: readonly TrustedNode[]
}

/**
 * Verifies a proof of the feed's own fork; null if the feed moved on.
 *
 * @throws SynclineError INVALID_PROOF, INVALID_CHECKSUM, INVALID_SIGNATURE, INVALID_MANIFEST
 */
export async function verifyProof(feed: KnownFeed, proof: Proof): Promise<VerifiedProof | null> {
  checkProof(proof)
  const { tree } = feed
  const { verifier, learned } = signersOf(feed, proof)
  if (proof.fork !== tree.fork) return null
  if (proof.upgrade !== null && proof.upgrade.start < tree.length) return null
  const parts = foldParts(proof)
  let grown: GrowingTree | null = null
  let consumed = false
  if (proof.upgrade !== null) {
    if (proof.upgrade.start > tree.length) {
      throw new SynclineError(
        'INVALID_PROOF',
        `an upgrade from ${proof.upgrade.start} was not asked`
      )
    }
    grown = new GrowingTree(tree.fork, tree.roots)
    consumed = grow(grown, proof.upgrade, parts.root, verifier)
  }
  if (parts.root !== null && !consumed) await compareWithStored(tree, parts.root)
  const nodes = [...parts.nodes, ...(grown?.nodes ?? [])].filter((node) => node.tied)
  const above = consumed ? pathAbove(parts.root, grown?.nodes ?? []) : []
  return {
    grown,
    learned: proof.upgrade === null && proof.manifest === null ? null : learned,
    nodes: nodes.map(copyNode),
    path: [...parts.path, ...above].filter((node) => node.tied).map(withoutHash),
    roots: (grown?.roots ?? []).map(withoutHash)
  }
}

function withoutHash({ index, size }: FoldNode): TrustedNode {
  return { index, size }
}

/** The whole tree that an upgrade from 0 proves, by itself. */
export interface VerifiedTree {
  readonly tree: GrowingTree
  readonly signature: Uint8Array
  readonly learned: Manifest | null
}

/**
 * Verifies a proof as that of a whole tree: its upgrade part must start at 0, other parts are ignored.
 *
 * @throws SynclineError INVALID_PROOF, INVALID_SIGNATURE, INVALID_MANIFEST
 */
export function verifyTree(feed: Omit<KnownFeed, 'tree'>, proof: Proof): VerifiedTree {
  checkProof(proof)
  const { upgrade } = proof
  if (upgrade === null || upgrade.start !== 0) {
    throw new SynclineError('INVALID_PROOF', 'the proof does not bring a whole tree')
  }
  const parts = foldParts(proof)
  const { verifier, learned } = signersOf(feed, proof)
  const tree = new GrowingTree(proof.fork, [])
  grow(tree, upgrade, parts.root, verifier)
  return { tree, signature: copyBytes(upgrade.signature), learned }
}

/** A node that shares no bytes with what it came from. */
export function copyNode({ index, size, hash }: TreeNode): TreeNode {
  return { index, size, hash: copyBytes(hash) }
}

/** The prologue by which a verifier's feed begins. Compat feeds have none. */
export function prologueOf(verifier: Verifier | null): Prologue | null {
  return verifier === null || verifier.compat ? null : verifier.manifest.prologue
}

/** Who signs: as known, as the proof says, or else the key itself. */
function signersOf(
  { key, verifier }: Omit<KnownFeed, 'tree'>,
  { manifest }: Proof
): { verifier: Verifier; learned: Manifest | null } {
  if (manifest !== null) checkManifestFor(key, manifest)
  if (verifier !== null) return { verifier, learned: null }
  const learned = manifest === null ? singleSignerManifest(key) : copyManifest(manifest)
  return { verifier: new Verifier(key, learned), learned }
}

/** Grows a tree by an upgrade and verifies its signature; tells whether `inner` became part of it. */
function grow(
  tree: GrowingTree,
  upgrade: UpgradeProof,
  inner: FoldNode | null,
  verifier: Verifier
): boolean {
  const { consumed } = foldUpgrade(tree, upgrade, inner, prologueOf(verifier))
  if (!verifier.verify(tree, upgrade.signature)) {
    throw new SynclineError(
      'INVALID_SIGNATURE',
      `the signature of length ${tree.length} is not valid`
    )
  }
  tieRoots(tree)
  return consumed
}

async function compareWithStored(tree: TreeView, root: FoldNode): Promise<void> {
  const { index } = root
  const stored = await tree.nodes.get(index)
  if (stored === null) {
    throw new SynclineError(
      'INVALID_PROOF',
      `the proof ends at node ${index}, which is not trusted`,
      {
        node: index
      }
    )
  }
  if (stored.size !== root.size || !equalBytes(stored.hash, root.hash)) {
    throw new SynclineError('INVALID_CHECKSUM', `node ${index} has another hash`, { node: index })
  }
  root.tied = true
}

/** The ancestors of `from` among `nodes`, which are in the order in which they were folded. */
function pathAbove(from: FoldNode | null, nodes: readonly FoldNode[]): FoldNode[] {
  const above: FoldNode[] = []
  let top = from
  for (const node of nodes) {
    if (top === null || parent(top.index) !== node.index) continue
    above.push(node)
    top = node
  }
  return above
}
