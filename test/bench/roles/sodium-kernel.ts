/** Hashes and folds with libsodium, one message at a time. */
import { leafNode, parentNode, sodium } from './sodium.ts'
import { foldRate, hashRate } from './kernel-rate.ts'
import { serveSteps } from './steps.ts'

await serveSteps({
  hash: (job: { bytes: number; ms: number }) => {
    const hashes = Buffer.alloc(0)
    let outputs: Buffer[] = []
    let all = hashes
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

  fold: (job: { bytes: number; blocks: number; ms: number }) => {
    const bytes = Buffer.alloc(40 * (2 * job.blocks - 1))
    const nodes = Array.from({ length: 2 * job.blocks - 1 }, (_, i) =>
      bytes.subarray(40 * i, 40 * (i + 1))
    )
    return foldRate(job, (chunk) => {
      for (let i = 0; i < job.blocks; i++) {
        leafNode(chunk.subarray(i * job.bytes, (i + 1) * job.bytes), nodes[2 * i] as Buffer)
      }
      // Nodes at local flat indexes: those of a height lie `2 * half` apart, their children `half / 2` beside them.
      for (let half = 2; half <= job.blocks; half *= 2) {
        for (let i = half - 1; i < nodes.length; i += 2 * half) {
          const side = half / 2
          parentNode(nodes[i - side] as Buffer, nodes[i + side] as Buffer, nodes[i] as Buffer)
        }
      }
      return nodes[job.blocks - 1] as Buffer
    })
  },

  close() {}
})
