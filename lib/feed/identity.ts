/**
 * Who a feed is, before it has a store.
 *
 * @module
 */
import { SynclineError } from '../errors.ts'
import type { Manifest, Prologue } from '../wire/manifest.ts'
import { copyBytes, equalBytes } from './bytes.ts'
import {
  checkManifestFor,
  copyManifest,
  createManifest,
  isCompat,
  keyOf,
  singleSignerManifest
} from './manifest.ts'
import { createKeyPair, isKeyPair } from './signature.ts'
import type { Identity, KeyPair } from './store.ts'

/** Options of {@link newIdentity}. */
export interface NewIdentityOptions {
  /** Key pair that signs; default: made from `seed`, or at random. */
  readonly keyPair?: KeyPair
  /** 32 bytes from which the key pair is made. */
  readonly seed?: Uint8Array
  /** Default: version 1 with the key pair as the single signer. */
  readonly manifest?: Manifest
  /** True if the key of the feed shall be the public key itself, as in hypercore 10. Default: false. */
  readonly compat?: boolean
  /** Content that becomes part of the key; only without `manifest`. */
  readonly prologue?: Prologue
}

/**
 * Makes the identity of a new feed. With a `manifest` and neither key pair nor seed nobody here can
 * write it.
 *
 * @throws SynclineError BAD_ARGUMENT when the key pair is broken or no signer of the manifest;
 * INVALID_MANIFEST when the manifest breaks its own rules.
 */
export function newIdentity(options: NewIdentityOptions = {}): Identity {
  if (options.manifest !== undefined && options.prologue !== undefined) {
    throw new SynclineError('BAD_ARGUMENT', 'a manifest brings its own prologue')
  }
  if (
    options.manifest !== undefined &&
    options.keyPair === undefined &&
    options.seed === undefined
  ) {
    return { ...keyed(copyManifest(options.manifest), options.compat ?? false), keyPair: null }
  }
  const keyPair = options.keyPair ?? createKeyPair(options.seed)
  if (!isKeyPair(keyPair)) throw new SynclineError('BAD_ARGUMENT', 'the key pair is broken')
  const { publicKey, secretKey } = keyPair
  const manifest = options.manifest
    ? copyManifest(options.manifest)
    : createManifest({ signers: [{ publicKey }], prologue: options.prologue ?? null })
  if (!manifest.signers.some((signer) => equalBytes(signer.publicKey, publicKey))) {
    throw new SynclineError('BAD_ARGUMENT', 'the key pair is no signer of the manifest')
  }
  return {
    ...keyed(manifest, options.compat ?? false),
    keyPair: { publicKey: copyBytes(publicKey), secretKey: copyBytes(secretKey) }
  }
}

/**
 * The identity of a feed of which only the key is known: it can be read and replicated.
 *
 * @throws SynclineError BAD_KEY when it has not 32 bytes.
 */
export function identityFromKey(key: Uint8Array): Identity {
  if (key.byteLength !== 32) {
    throw new SynclineError('BAD_KEY', `a key has 32 bytes, not ${key.byteLength}`)
  }
  return { key: copyBytes(key), manifest: null, keyPair: null }
}

/**
 * The manifest that decides about signatures: the known one, or, as in hypercore, that of a compat feed
 * as long as none is known.
 */
export function effectiveManifest(key: Uint8Array, manifest: Manifest | null): Manifest {
  return manifest ?? singleSignerManifest(key)
}

function keyed(manifest: Manifest, compat: boolean): Pick<Identity, 'key' | 'manifest'> {
  const key = compat ? manifest.signers[0]?.publicKey : keyOf(manifest)
  if (key === undefined || (compat && !isCompat(key, manifest))) {
    throw new SynclineError('BAD_ARGUMENT', 'a compat feed has exactly one signer')
  }
  checkManifestFor(key, manifest)
  return { key: copyBytes(key), manifest }
}
