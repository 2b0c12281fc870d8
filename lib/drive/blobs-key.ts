/**
 * How the index of a drive and its feed of blobs belong together.
 *
 * The blobs feed has the signers of the index, under namespaces derived from the key of the index; so one key
 * pair writes both, and whoever has the manifest of the index knows the key of the blobs. Compat drives, of which
 * the key is the public key itself, name the blobs feed in block 0 instead.
 *
 * @see hyperdrive 13.3.4 `index.js`, generateContentManifest
 *
 * @module
 */
import b4a from 'b4a'
import { newIdentity } from '../feed/identity.ts'
import { createManifest, keyOf } from '../feed/manifest.ts'
import type { Identity, KeyPair } from '../feed/store.ts'
import { hash } from '../kernels/hash.ts'
import type { Manifest } from '../wire/manifest.ts'

/** Namespace of blobs feeds: f217b747... */
const BLOBS: Uint8Array = hash([hash(b4a.from('hyperdrive')), Uint8Array.of(0)])

/** The manifest of the blobs feed; null if that of the index is too old (version 0) to derive it. */
export function blobsManifest(indexKey: Uint8Array, manifest: Manifest): Manifest | null {
  const { version, allowPatch, quorum, signers } = manifest
  if (version < 1) return null
  return createManifest({
    version,
    allowPatch,
    quorum,
    signers: signers.map(({ publicKey, namespace }) => ({
      publicKey,
      namespace: hash([BLOBS, indexKey, namespace])
    }))
  })
}

/**
 * The key of the blobs feed; null if nothing says it.
 *
 * @param manifest - of the index; null if it is compat, or not known yet.
 * @param contentFeed - what block 0 of the index names: it wins. Null before there is a block.
 */
export function blobsKey(
  indexKey: Uint8Array,
  manifest: Manifest | null,
  contentFeed: Uint8Array | null
): Uint8Array | null {
  if (contentFeed !== null) return Uint8Array.from(contentFeed)
  // A compat feed has a manifest that does not hash to its key: nothing is derived from it.
  if (manifest === null || !b4a.equals(keyOf(manifest), indexKey)) return null
  const derived = blobsManifest(indexKey, manifest)
  return derived && keyOf(derived)
}

/**
 * The two feeds of a new drive, both written with one key pair.
 *
 * @param keyPair - a new one by default.
 */
export function newDriveIdentities(keyPair?: KeyPair): {
  readonly index: Identity
  readonly blobs: Identity
} {
  const index = newIdentity(keyPair === undefined ? {} : { keyPair })
  const manifest = blobsManifest(index.key, index.manifest as Manifest) as Manifest
  return { index, blobs: newIdentity({ keyPair: index.keyPair as KeyPair, manifest }) }
}
