/** A tree of files of equal length, spread over folders; file `i` is `block` `i` of feed 0 of a group, or many of them. */
export interface TreeShape {
  /** Sets the content of this tree apart from that of others. */
  readonly seed: number
  readonly folders: number
  /** Files of all folders together. */
  readonly files: number
  /** Bytes of each file. */
  readonly bytes: number
}

/** A tree that was made, as `prepare` of every role that makes one tells it. */
export interface MadeTree {
  /** Of the names and contents of all files. */
  readonly digest: string
  /** What a receiver has to know of the source besides where it listens. */
  readonly key: string
}

/** Bytes of the pieces that a changed file differs in: the blocks of a drive. */
export const CHANGE_BYTES: number = 64 * 1024
