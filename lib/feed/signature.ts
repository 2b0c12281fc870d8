/**
 * Ed25519 signatures, and the stream cipher of block encryption: all that is asked of libsodium.
 *
 * @module
 */
import sodium from 'sodium-universal'
import { SynclineError } from '../errors.ts'
import type { KeyPair } from './store.ts'

const PUBLIC_KEY_BYTES = 32
const SECRET_KEY_BYTES = 64
const SIGNATURE_BYTES = 64
const SEED_BYTES = 32

/**
 * Makes a key pair: a random one, or the one of a 32-byte seed.
 *
 * @throws SynclineError BAD_ARGUMENT when the seed has another size.
 */
export function createKeyPair(seed?: Uint8Array): KeyPair {
  const publicKey = new Uint8Array(PUBLIC_KEY_BYTES)
  const secretKey = new Uint8Array(SECRET_KEY_BYTES)
  if (seed === undefined) {
    sodium.crypto_sign_keypair(publicKey, secretKey)
  } else {
    if (seed.byteLength !== SEED_BYTES) {
      throw new SynclineError('BAD_ARGUMENT', `a seed has 32 bytes, not ${seed.byteLength}`)
    }
    sodium.crypto_sign_seed_keypair(publicKey, secretKey, seed)
  }
  return { publicKey, secretKey }
}

/** Tells whether both halves have the right size and belong together. */
export function isKeyPair({ publicKey, secretKey }: KeyPair): boolean {
  if (publicKey.byteLength !== PUBLIC_KEY_BYTES || secretKey.byteLength !== SECRET_KEY_BYTES) {
    return false
  }
  const derived = new Uint8Array(PUBLIC_KEY_BYTES)
  sodium.crypto_sign_ed25519_sk_to_pk(derived, secretKey)
  return derived.every((byte, i) => byte === publicKey[i])
}

/** Signs a message; 64 bytes. */
export function sign(message: Uint8Array, secretKey: Uint8Array): Uint8Array {
  const signature = new Uint8Array(SIGNATURE_BYTES)
  sodium.crypto_sign_detached(signature, message, secretKey)
  return signature
}

/** Verifies a signature; one of a wrong size is simply not valid. */
export function verify(message: Uint8Array, signature: Uint8Array, publicKey: Uint8Array): boolean {
  if (signature.byteLength !== SIGNATURE_BYTES) return false
  if (publicKey.byteLength !== PUBLIC_KEY_BYTES) return false
  return sodium.crypto_sign_verify_detached(signature, message, publicKey)
}

/** XSalsa20: `bytes` are changed in place. `nonce` has 24 bytes, `key` 32. */
export function streamXor(bytes: Uint8Array, nonce: Uint8Array, key: Uint8Array): void {
  sodium.crypto_stream_xor(bytes, bytes, nonce, key)
}
