/** A token bucket: bytes per second with at most a second of credit. A rate of 0 is no limit. */
export class Bucket {
  #rate: number
  #credit: number
  #at: number

  constructor(rate: number, now: number) {
    this.#rate = rate
    this.#credit = rate
    this.#at = now
  }

  setRate(rate: number, now: number): void {
    this.#refill(now)
    this.#rate = rate
    this.#credit = Math.min(this.#credit, rate)
  }

  get isLimited(): boolean {
    return this.#rate > 0
  }

  /** Milliseconds until something may be taken; 0 for now. */
  delay(now: number): number {
    if (this.#rate === 0) return 0
    this.#refill(now)
    return this.#credit > 0 ? 0 : Math.ceil(((1 - this.#credit) / this.#rate) * 1000)
  }

  /** Bytes that are taken in one go at most, so that what follows does not wait for long: those of a quarter of a second. */
  get share(): number {
    return this.#rate === 0 ? Infinity : this.#rate / 4
  }

  /** Takes bytes, or gives those back that were too many; the credit may go below zero, which the next one waits for. */
  take(bytes: number, now: number): void {
    if (this.#rate === 0) return
    this.#refill(now)
    this.#credit -= bytes
  }

  #refill(now: number): void {
    this.#credit = Math.min(this.#rate, this.#credit + ((now - this.#at) / 1000) * this.#rate)
    this.#at = now
  }
}

/** Bytes per second, averaged over about two seconds. */
export class Meter {
  #rate = 0
  #pending = 0
  #at: number

  constructor(now: number) {
    this.#at = now
  }

  add(bytes: number): void {
    this.#pending += bytes
  }

  /** Folds what was added into the average; call it on ticks. Returns false once the average is nothing. */
  tick(now: number): boolean {
    const elapsed = now - this.#at
    if (elapsed <= 0) return true
    const weight = 1 - Math.exp(-elapsed / 2000)
    this.#rate += weight * ((this.#pending / elapsed) * 1000 - this.#rate)
    this.#pending = 0
    this.#at = now
    return this.#rate >= 1
  }

  get bytesPerSecond(): number {
    return this.#rate < 1 ? 0 : this.#rate
  }
}
