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

test('the scalar frame kernels write and read what the module does', (t) => {
  const [state, runs, offsets, lengths] = [WORK, OUT, OUT + 48_000, OUT + 56_000]
  const results = bothKernels(8).map(({ kernels, memory }) => {
    const bytes = new Uint8Array(memory.buffer)
    const words = new Uint32Array(memory.buffer)
    const outputs: Uint8Array[] = []
    const keep = (from: number, to: number) => outputs.push(bytes.slice(from, to))
    bytes.set(randomBytes(50_000, 6), BYTES)
    for (let i = 0; i < 150; i++) {
      words[OFFSETS / 4 + i] = 77 * i
      words[LENGTHS / 4 + i] = 3 * i
    }
    const frame = BYTES + 65_536
    let at = frame
    for (const id of [0, 200, 65_500, 2 ** 32 - 100, 2 ** 51]) {
      for (const priority of [0, 1, 300]) {
        at = kernels.writeRequests(at, 100, id, 3 * priority, 2 * id, priority)
      }
      at = kernels.writeValues(at, BYTES, OFFSETS, LENGTHS, 150, id, id, 7)
      keep(at, kernels.writeHead(at, id, 1, id, 70_000))
    }
    keep(frame, at)
    // More and more of it, then changed here and there.
    for (let round = 0; round < 400; round++) {
      const cuts = round < 100 ? [1, 37, 700, 20_000] : [at - frame]
      const start = frame + (round % 4 === 0 ? 0 : 5)
      if (round >= 100) bytes[frame + 13 * round] = round % 3 === 0 ? round : 0xfd
      words.fill(0, state / 4, state / 4 + 4)
      for (const cut of cuts) {
        const end = Math.min(at, start + round + cut)
        kernels.readRuns(start, end, 9, runs, offsets, lengths, 2000, state)
        const [runCount, entries] = [words[state / 4]!, words[state / 4 + 1]!]
        keep(state, state + 16)
        keep(runs, runs + 24 * runCount)
        keep(offsets, offsets + 4 * entries)
        keep(lengths, lengths + 4 * entries)
      }
    }
    return Buffer.concat(outputs)
  })
  t.ok(results[0]!.byteLength > 100_000)
  t.ok(equal(results[0]!, results[1]!))
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
