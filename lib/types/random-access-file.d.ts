// random-access-file 4.1.2: the part that syncline uses.
declare module 'random-access-file' {
  type Callback = (error: Error | null) => void
  interface Request {
    callback(error: Error | null): void
  }
  export default class RandomAccessFile {
    constructor(filename: string, options?: { readable?: boolean; writable?: boolean })
    readonly filename: string
    /** Descriptor while open, else 0. */
    fd: number
    open(callback: Callback): void
    /** Punches a hole if fs-native-extensions is installed, else does nothing. */
    del(offset: number, size: number, callback: Callback): void
    close(callback: Callback): void
    /** For subclasses: opens, and sets the descriptor. */
    _open(request: Request): void
    /** For subclasses: closes the descriptor. */
    _close(request: Request): void
  }
}
