/** Bytes that look random and are the same for one seed in every run. */
export function randomBytes(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = (seed + 1) * 0x9e3779b1
  for (let i = 0; i < length; i++) {
    state = Math.imul(state ^ (state >>> 15), 0x85ebca6b) + 0x6d2b79f5
    bytes[i] = state >>> 24
  }
  return bytes
}

/** Numbers 0 to `count` - 1 in an order that depends on the seed only. */
export function shuffled(count: number, seed: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i)
  const keys = randomBytes(4 * count, seed)
  const view = new DataView(keys.buffer)
  return order.sort((a, b) => view.getUint32(4 * a) - view.getUint32(4 * b))
}

/** `bytes` cut at the given offsets. */
export function slices(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const edges = [0, ...cuts, bytes.byteLength]
  return edges.slice(1).map((edge, i) => bytes.subarray(edges[i], edge))
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
