import { keyOf } from './blob-check.ts'
import { sameRange, type BlobRange } from './entry.ts'

/**
 * What belongs to blobs, found by them. As a rule no two blobs begin with the same block, so that is what is looked up: a
 * text of all that tells them apart is made only for those that do.
 */
export class BlobMap<T extends { readonly blob: BlobRange }> {
  readonly #byBlock = new Map<number, T>()
  /** Those whose first block was taken, by {@link keyOf}. */
  readonly #others = new Map<string, T>()

  get size(): number {
    return this.#byBlock.size + this.#others.size
  }

  get(blob: BlobRange): T | undefined {
    const item = this.#byBlock.get(blob.blockOffset)
    if (item !== undefined && sameRange(item.blob, blob)) return item
    return this.#others.size === 0 ? undefined : this.#others.get(keyOf(blob))
  }

  /** Adds what belongs to a blob of which there is nothing yet. */
  add(item: T): void {
    const { blob } = item
    if (this.#byBlock.has(blob.blockOffset)) this.#others.set(keyOf(blob), item)
    else this.#byBlock.set(blob.blockOffset, item)
  }

  delete(item: T): void {
    const { blob } = item
    if (this.#byBlock.get(blob.blockOffset) === item) this.#byBlock.delete(blob.blockOffset)
    else this.#others.delete(keyOf(blob))
  }

  clear(): void {
    this.#byBlock.clear()
    this.#others.clear()
  }

  *[Symbol.iterator](): Generator<T, void, void> {
    yield* this.#byBlock.values()
    yield* this.#others.values()
  }
}
