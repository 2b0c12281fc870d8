// sodium-universal 5.0.1: the part that syncline uses.
declare module 'sodium-universal' {
  interface Sodium {
    crypto_sign_keypair(publicKey: Uint8Array, secretKey: Uint8Array): void
    crypto_sign_seed_keypair(publicKey: Uint8Array, secretKey: Uint8Array, seed: Uint8Array): void
    crypto_sign_ed25519_sk_to_pk(publicKey: Uint8Array, secretKey: Uint8Array): void
    crypto_sign_detached(signature: Uint8Array, message: Uint8Array, secretKey: Uint8Array): void
    crypto_sign_verify_detached(
      signature: Uint8Array,
      message: Uint8Array,
      publicKey: Uint8Array
    ): boolean
    crypto_stream_xor(
      out: Uint8Array,
      message: Uint8Array,
      nonce: Uint8Array,
      key: Uint8Array
    ): void
  }
  const sodium: Sodium
  export default sodium
}
