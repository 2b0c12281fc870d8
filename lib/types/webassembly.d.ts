// WebAssembly 2.0 as Node 20 has it: the part that lib/kernels uses. @types/node does not declare it, and the dom lib would
// declare too much.
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array)
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>)
    readonly exports: Record<string, unknown>
  }
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number })
    readonly buffer: ArrayBuffer
    /** Adds pages of 64 KiB; detaches `buffer`. */
    grow(pages: number): number
  }
  function validate(bytes: Uint8Array): boolean
}
