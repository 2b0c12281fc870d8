import test from 'brittle'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { createKernels, createScalarKernels, HELD } from '../../lib/kernels/kernels.ts'
import { equal, randomBytes } from '../reference/bytes.ts'

// One memory layout for both sets of kernels; the addresses are the test's own.
const WORK = 4096
const OFFSETS = 8192
const LENGTHS = 16_384
const OUT = 32_768
const BYTES = 131_072
const COUNT = 512

function bothKernels(pages: number) {
  return [createKernels(pages), createScalarKernels(pages)]
}

test('the committed module is what wasm/ builds to', { timeout: 120_000 }, async (t) => {
  // Works from the sources and from dist/: only the project's root has wasm/build.ts.
  let root = new URL('..', import.meta.url)
  while (!existsSync(new URL('wasm/build.ts', root))) root = new URL('..', root)
  const run = promisify(execFile)
  await t.execution(
    run(process.execPath, ['--import', 'tsx', 'wasm/build.ts', '--check'], { cwd: root })
  )
})

test('the scalar kernels write the same bytes as the module', (t) => {
  const results = bothKernels(4).map(({ kernels, memory }) => {
    const bytes = new Uint8Array(memory.buffer)
    const view = new DataView(memory.buffer)
    bytes.set(randomBytes(100_000, 1), BYTES)
    const sizes = new Uint16Array(randomBytes(2 * COUNT, 2).buffer)
    for (let i = 0; i < COUNT; i++) {
      view.setUint32(OFFSETS + 4 * i, 131 * i, true)
      view.setUint32(LENGTHS + 4 * i, i < 300 ? i : sizes[i]! % 4000, true)
    }
    const outputs: Uint8Array[] = []
    const keep = (byteLength: number) => outputs.push(bytes.slice(OUT, OUT + byteLength))
    for (const leaf of [0, 1]) {
      kernels.hashMessages(WORK, BYTES, OFFSETS, LENGTHS, COUNT, OUT, 32, leaf)
      keep(32 * COUNT)
    }
    for (const keyLength of [0, 1, 32, 64]) {
      for (const length of [1, 127, 128, 129, 1000]) {
        kernels.begin(WORK, keyLength)
        kernels.absorb(WORK, BYTES, 3)
        kernels.finish(WORK, BYTES + 384, length, OUT)
        keep(32)
      }
    }
    for (let count = 1; count <= COUNT; count *= 2) {
      bytes.set(randomBytes(80 * count, 3), OUT)
      if (count > 4) view.setUint32(LENGTHS + 12, HELD, true)
      kernels.fold(WORK, BYTES, OFFSETS, LENGTHS, count, OUT)
      keep(40 * (2 * count - 1))
    }
    return Buffer.concat(outputs)
  })
  t.ok(equal(results[0]!, results[1]!))
})

test('the scalar bitmap kernels answer as the module does', (t) => {
  const results = bothKernels(4).map(({ kernels, memory }) => {
    const words = new Uint32Array(memory.buffer)
    const answers: number[] = []
    const keep = (answer: number) => answers.push(answer >>> 0)
    words.set(new Uint32Array(randomBytes(4000, 5).buffer), BYTES / 4)
    // Longer and longer stretches of empty and full words between the others.
    for (let i = 0; i < 1000; i++) {
      const stretch = (i % 97) >>> 2
      if (stretch > 3) words[BYTES / 4 + i] = stretch % 2 === 0 ? 0 : 0xffffffff
    }
    for (let start = 0; start < 70; start += 3) {
      for (let end = start; end < 32_000; end += 1 + (end >>> 4)) {
        keep(kernels.countBits(BYTES, start, end))
        for (const flip of [0, -1]) {
          keep(kernels.findBit(BYTES, start, end, flip))
          const count = kernels.listRuns(BYTES, start, end, flip, 2 ** 30, OUT)
          keep(count)
          for (const number of words.subarray(OUT / 4, OUT / 4 + 2 * count)) keep(number)
        }
      }
    }
    for (let count = 0; count < 100; count++) {
      kernels.andNot(BYTES, BYTES + 400, BYTES + 800, count, OUT)
      for (const word of words.subarray(OUT / 4, OUT / 4 + count)) keep(word)
      const runs = kernels.listRuns(BYTES, count, 700, 0, 640, OUT)
      words.fill(0, WORK / 4, WORK / 4 + 20)
      keep(kernels.fillRuns(WORK, 700, 10 * count, OUT, runs, 1200))
      for (const word of words.subarray(WORK / 4, WORK / 4 + 40)) keep(word)
    }
    return answers
  })
  t.ok(results[0]!.length > 100_000)
  t.alike(results[0]!.length, results[1]!.length)
  t.is(
    results[0]!.findIndex((answer, i) => answer !== results[1]![i]),
    -1
  )
})

test('kernels go on after their memory has grown', (t) => {
  const results = bothKernels(1).map(({ kernels, memory }) => {
    memory.grow(3)
    new Uint8Array(memory.buffer).set(randomBytes(1000, 4), BYTES)
    kernels.begin(WORK, 0)
    kernels.finish(WORK, BYTES, 1000, OUT)
    return new Uint8Array(memory.buffer).slice(OUT, OUT + 32)
  })
  t.ok(equal(results[0]!, results[1]!))
})
