// fs-native-extensions 1.5.1: the part that syncline uses.
declare module 'fs-native-extensions' {
  /** Locks `length` bytes (0: to the end) of an open file for this descriptor; false if another holds them. */
  export function tryLock(
    fd: number,
    offset: number,
    length: number,
    options?: { readonly shared?: boolean }
  ): boolean
  export function unlock(fd: number, offset: number, length: number): void
}
