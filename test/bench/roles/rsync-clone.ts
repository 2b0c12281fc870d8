/** Fetches a folder with rsync, with the options that most people give it. */
import path from 'node:path'
import { runProgram } from './child.ts'
import { serveSteps } from './steps.ts'
import { digestOfTree } from './tree.ts'

let target = ''
let source = ''

await serveSteps({
  open({ folder }: { folder: string }) {
    target = path.join(folder, 'tree')
  },

  connect({ port }: { port: number }) {
    source = `rsync://127.0.0.1:${port}/tree/`
  },

  /** From the start of the program, which connects, to its end. */
  fetch,
  update: fetch,

  check: () => digestOfTree(target),

  close() {}
})

async function fetch(): Promise<{ ms: number }> {
  const began = performance.now()
  await runProgram('rsync', ['-a', '--mkpath', source, `${target}/`])
  return { ms: performance.now() - began }
}
