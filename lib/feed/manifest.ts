/**
 * Makes manifests, checks them, and derives the keys that they stand for.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import {
  FEED_LENGTH_MAX,
  LINKED_FEEDS_MAX,
  MANIFEST_USER_DATA_BYTES_MAX,
  SIGNERS_MAX
} from '../limits.ts'
import { encodeManifest } from '../wire/manifest-codec.ts'
import type { Manifest, Prologue } from '../wire/manifest.ts'
import { copyBytes, equalBytes } from './bytes.ts'
import { DEFAULT_NAMESPACE, MANIFEST } from './namespace.ts'
import { hash } from '../kernels/hash.ts'

/** What a manifest can be made from; see {@link createManifest}. */
export interface ManifestOptions {
  /** 0 to 3. Default: 1, or 2 with `linked` or `userData`. */
  readonly version?: number
  /** Default: false. */
  readonly allowPatch?: boolean
  /** Signatures that are needed. Default: more than half of the signers. */
  readonly quorum?: number
  /** Who may sign; `namespace` (32 bytes) defaults to hypercore's. Default: nobody. */
  readonly signers?: readonly { readonly publicKey: Uint8Array; readonly namespace?: Uint8Array }[]
  /** Content that is part of the key. Default: none. */
  readonly prologue?: Prologue | null
  /** Keys of other feeds. Default: none. */
  readonly linked?: readonly Uint8Array[] | null
  /** Free bytes. Default: none. */
  readonly userData?: Uint8Array | null
}

/**
 * Makes a manifest with hypercore 11's defaults.
 *
 * @throws SynclineError INVALID_MANIFEST when it breaks its own rules.
 */
export function createManifest(options: ManifestOptions): Manifest {
  const signers = options.signers ?? []
  const linked = options.linked?.length ? options.linked : null
  const userData = options.userData ?? null
  const manifest: Manifest = {
    version: options.version ?? (linked !== null || userData !== null ? 2 : 1),
    hash: 'blake2b',
    allowPatch: options.allowPatch ?? false,
    quorum: options.quorum ?? (signers.length === 0 ? 0 : Math.floor(signers.length / 2) + 1),
    signers: signers.map(({ publicKey, namespace = DEFAULT_NAMESPACE }) => ({
      signature: 'ed25519',
      namespace,
      publicKey
    })),
    prologue: options.prologue ?? null,
    linked,
    userData
  }
  checkManifest(manifest)
  if (manifest.version < 2 && (linked !== null || userData !== null)) {
    throw invalid('linked feeds and user data need version 2')
  }
  return copyManifest(manifest)
}

/** The manifest that hypercore 11 gives a feed of one signer. */
export function singleSignerManifest(publicKey: Uint8Array): Manifest {
  return createManifest({ signers: [{ publicKey }] })
}

/** The key of the feed that a manifest describes. */
export function keyOf(manifest: Manifest): Uint8Array {
  return hash([MANIFEST, encodeManifest(manifest)])
}

/** True if `key` is itself the public key of the manifest's single signer. */
export function isCompat(key: Uint8Array, manifest: Manifest): boolean {
  const [signer, ...others] = manifest.signers
  return signer !== undefined && others.length === 0 && equalBytes(signer.publicKey, key)
}

/**
 * Checks a manifest that came from elsewhere against the key of its feed.
 *
 * @throws SynclineError INVALID_MANIFEST when it breaks its own rules or belongs to another key.
 */
export function checkManifestFor(key: Uint8Array, manifest: Manifest): void {
  checkManifest(manifest)
  if (!isCompat(key, manifest) && !equalBytes(keyOf(manifest), key)) {
    throw invalid('it does not hash to the key of the feed')
  }
}

/** A copy that shares no bytes: decoded manifests are views into their frame. */
export function copyManifest(manifest: Manifest): Manifest {
  return {
    version: manifest.version,
    hash: manifest.hash,
    allowPatch: manifest.allowPatch,
    quorum: manifest.quorum,
    signers: manifest.signers.map((signer) => ({
      signature: signer.signature,
      namespace: copyBytes(signer.namespace),
      publicKey: copyBytes(signer.publicKey)
    })),
    prologue: manifest.prologue && {
      hash: copyBytes(manifest.prologue.hash),
      length: manifest.prologue.length
    },
    linked: manifest.linked && manifest.linked.map(copyBytes),
    userData: manifest.userData && copyBytes(manifest.userData)
  }
}

function checkManifest(manifest: Manifest): void {
  const { version, quorum, signers, prologue, linked, userData } = manifest
  if (!Number.isInteger(version) || version < 0 || version > 3) {
    throw invalid(`version ${version} is unknown`)
  }
  if (signers.length > SIGNERS_MAX) throw invalid(`${signers.length} signers are too many`)
  if (!Number.isInteger(quorum) || quorum < 0 || quorum > signers.length) {
    throw invalid(`a quorum of ${quorum} cannot come from ${signers.length} signers`)
  }
  for (const { publicKey, namespace } of signers) {
    if (publicKey.byteLength !== 32 || namespace.byteLength !== 32) {
      throw invalid('public keys and namespaces of signers have 32 bytes')
    }
  }
  if (prologue !== null) {
    if (prologue.hash.byteLength !== 32) throw invalid('the hash of a prologue has 32 bytes')
    if (!Number.isInteger(prologue.length) || prologue.length < 0) {
      throw invalid(`a prologue cannot have the length ${prologue.length}`)
    }
    if (prologue.length > FEED_LENGTH_MAX) throw invalid('the prologue is too long')
  }
  if (linked !== null && linked.length > LINKED_FEEDS_MAX) {
    throw invalid(`${linked.length} linked feeds are too many`)
  }
  if (userData !== null && userData.byteLength > MANIFEST_USER_DATA_BYTES_MAX) {
    throw invalid(`${userData.byteLength} bytes of user data are too many`)
  }
  if (linked?.some((key) => key.byteLength !== 32)) throw invalid('linked keys have 32 bytes')
}

function invalid(why: string): SynclineError {
  return new SynclineError('INVALID_MANIFEST', `the manifest is not valid: ${why}`)
}
