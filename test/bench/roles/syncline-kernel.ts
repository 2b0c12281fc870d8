/** Hashes and folds with the WASM kernels. */
import { fold } from '../../../lib/kernels/fold.ts'
import { hashMany } from '../../../lib/kernels/hash.ts'
import { foldRate, hashRate } from './kernel-rate.ts'
import { serveSteps } from './steps.ts'

await serveSteps({
  hash: (job: { bytes: number; ms: number }) => {
    let hashes = new Uint8Array(0)
    return hashRate(job, (messages) => {
      // Made once, as for libsodium.
      if (hashes.byteLength === 0) hashes = new Uint8Array(32 * messages.length)
      return hashMany(messages, hashes)
    })
  },

  fold: (job: { bytes: number; blocks: number; ms: number }) => {
    const offsets = Uint32Array.from({ length: job.blocks }, (_, i) => i * job.bytes)
    const lengths = new Uint32Array(job.blocks).fill(job.bytes)
    return foldRate(job, (chunk) => {
      const nodes = fold(chunk, offsets, lengths, null)
      return nodes.subarray(40 * (job.blocks - 1), 40 * job.blocks)
    })
  },

  close() {}
})
