import { keyedHash } from '../kernels/hash.ts'

// Namespaces 1 and 2 of hypercore 11 `lib/caps.js`: each side of the Noise handshake has its own, so that a capability
// cannot be sent back to whom it came from.
const INITIATOR: Uint8Array = fromHex(
  '51812a2a359b50369536775df89e18e47740f3db72ac0ae70b29594c194dc316'
)
const RESPONDER: Uint8Array = fromHex(
  '0438492d02970cc13528ac0262bca0074e0926260256865accc0bf15bd79127d'
)

/**
 * Proof that one side of a connection knows the key of a feed: 32 bytes, good for this connection only.
 *
 * @param initiator - whether the side that proves began the Noise handshake.
 * @param handshakeHash - 64 bytes.
 */
export function capabilityOf(
  initiator: boolean,
  key: Uint8Array,
  handshakeHash: Uint8Array
): Uint8Array {
  const namespace = initiator ? INITIATOR : RESPONDER
  const message = new Uint8Array(namespace.byteLength + key.byteLength)
  message.set(namespace)
  message.set(key, namespace.byteLength)
  return keyedHash(handshakeHash, message)
}

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16))
}
