/** Hashes and folds with libsodium, one message at a time. */
import { FloorTree } from './floor-tree.ts'
import { foldRate, hashRate } from './kernel-rate.ts'
import { sodium } from './sodium.ts'
import { serveSteps } from './steps.ts'

await serveSteps({
  hash: (job: { bytes: number; ms: number }) => {
    let outputs: Buffer[] = []
    let all = Buffer.alloc(0)
    return hashRate(job, (messages) => {
      // Made once, so that libsodium is not charged for views.
      if (outputs.length !== messages.length) {
        all = Buffer.alloc(32 * messages.length)
        outputs = messages.map((_, i) => all.subarray(32 * i, 32 * (i + 1)))
      }
      for (let i = 0; i < messages.length; i++) {
        sodium.crypto_generichash(outputs[i] as Buffer, messages[i] as Uint8Array)
      }
      return all
    })
  },

  fold: (job: { bytes: number; blocks: number; ms: number }) =>
    foldRate(job, (chunk) => {
      const nodes = new FloorTree(job.bytes).add(chunk)
      return nodes.subarray(nodes.length - 40)
    }),

  close() {}
})
