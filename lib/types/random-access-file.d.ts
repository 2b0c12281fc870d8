// random-access-file 4.1.2: the part that syncline uses.
declare module 'random-access-file' {
  type Callback = (error: Error | null) => void
  export default class RandomAccessFile {
    constructor(filename: string, options?: { readable?: boolean; writable?: boolean })
    /** Descriptor while open, else 0. */
    readonly fd: number
    open(callback: Callback): void
    truncate(offset: number, callback: Callback): void
    /** Punches a hole if fs-native-extensions is installed, else does nothing. */
    del(offset: number, size: number, callback: Callback): void
    stat(callback: (error: Error | null, stat?: { readonly size: number }) => void): void
    close(callback: Callback): void
  }
}
