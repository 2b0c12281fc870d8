/** Pseudo-random numbers of a seed (mulberry32): the only source of chance in the simulator. */
export class Prng {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
    // Neighbouring seeds begin alike; a few draws part them.
    for (let i = 0; i < 4; i++) this.next()
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  /** An integer in [min, max]. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  /** A number in [min, max), small ones more often. */
  skewed(min: number, max: number): number {
    return min + (max - min) * this.next() ** 3
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    return items[this.int(0, items.length - 1)] as T
  }

  bytes(byteLength: number): Uint8Array {
    const bytes = new Uint8Array(byteLength)
    for (let i = 0; i < byteLength; i += 4) {
      const word = Math.floor(this.next() * 2 ** 32)
      for (let j = i; j < Math.min(i + 4, byteLength); j++) bytes[j] = word >>> (8 * (j - i))
    }
    return bytes
  }
}
