/**
 * What this process asks of V8.
 *
 * @module
 */
import { setFlagsFromString } from 'node:v8'

/**
 * Bytes of bytecode that a function runs through before V8 counts it as a little hotter; 67,584 unless told. V8 compiles
 * with its optimizing compiler what it has counted three times or so.
 */
const INTERRUPT_BUDGET = 1_000_000

/**
 * Lets V8 wait fifteen times as long before it optimizes a function. Its optimizing compiler works in threads of its own,
 * and costs more than all else while some hundred functions become hot at once: that is what happens in the first second of
 * a process which opens a thousand feeds or clones ten thousand files. Loops that run for longer are optimized as ever.
 *
 * It holds for all code of the process, so no part of the library calls it: the command line does, before all else, and
 * programs whose main work is syncline can do so, too. It is for Node.js 20: later ones count calls instead of bytes, and have
 * a cheaper compiler between; there it does nothing.
 */
export function tuneProcess(): void {
  if (process.versions.node.startsWith('20.')) {
    setFlagsFromString(`--interrupt-budget=${INTERRUPT_BUDGET}`)
  }
}
