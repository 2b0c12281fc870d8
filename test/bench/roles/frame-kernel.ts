/** Writes and reads the messages of runs, with the WASM kernel or in plain JavaScript. */
import * as kernel from '../../../lib/kernels/frame.ts'
import * as flat from '../../../lib/wire/run.ts'
import { serveSteps } from './steps.ts'
import { requestRates, valueRates } from './frame-rate.ts'

interface Job {
  readonly codec: 'kernel' | 'flat'
  readonly count: number
  readonly ms: number
}

const CODECS = { kernel, flat }

await serveSteps({
  requests: ({ codec, count, ms }: Job) => requestRates(CODECS[codec], count, ms),

  values: ({ codec, count, ms, bytes }: Job & { readonly bytes: number }) =>
    valueRates(CODECS[codec], count, ms, bytes),

  close() {}
})
