import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { SynclineError } from '../../errors.ts'
import type { StoredFeed } from '../../feed/stored-feed.ts'
import { BLOCK_BYTES_MAX } from '../../limits.ts'
import { chunks, lines, type Cutter } from '../common/blocks.ts'
import type { Command, Context } from '../common/command.ts'
import { EXIT_DONE, UsageError } from '../common/exit.ts'
import { byteCount, option, type Flag } from '../common/flag.ts'
import { DRY_RUN } from '../common/flags.ts'
import { openFolder, openStored } from '../common/storage.ts'
import { count, formatBytes } from '../common/text.ts'

const CHUNK: Flag<number> = option(
  'chunk',
  'BYTES',
  'Cut the input into blocks of so many bytes instead of lines.',
  0,
  byteCount('chunk', 1)
)

/** One batch is synced to the disk at a time: large enough that this costs little. */
const BATCH_BYTES: number = 8 * 1024 * 1024
const BATCH_BLOCKS = 16_384
/** Milliseconds without input after which what came is appended. */
const IDLE_MS = 200

const command: Command = {
  name: 'feed append',
  summary: 'Append lines (or chunks) of files or of stdin, and print the new length.',
  args: [{ name: 'FEED' }, { name: 'FILE|-', optional: true, repeatable: true }],
  flags: [CHUNK, DRY_RUN],
  details:
    'A line is a block and keeps its newline, so that `feed cat` gives the input back byte for byte.\n' +
    'Example:\n  tail -f app.log | syncline feed append logs',
  async run(context) {
    const [name = '', ...files] = context.args
    const chunk = context.get(CHUNK)
    if (chunk > BLOCK_BYTES_MAX) throw new UsageError(`--chunk is at most ${BLOCK_BYTES_MAX}`)
    const dryRun = context.get(DRY_RUN)
    // Nothing is appended of inputs of which some are missing.
    for (const file of files) if (file !== '-') await checkFile(file)
    const folder = await openFolder(context, !dryRun)
    const feed = await openStored(folder, name, { lock: !dryRun })
    try {
      if (!feed.writable) {
        throw new SynclineError('NOT_WRITABLE', `the secret key of ${name} is not here`)
      }
      const batch = new Batch(feed, dryRun)
      for (const file of files.length === 0 ? ['-'] : files) {
        const input = file === '-' ? context.stdin : createReadStream(file)
        await appendAll(context, input, chunk === 0 ? lines() : chunks(chunk), batch)
        if (context.signal.aborted) break
      }
      const { blocks, bytes } = batch
      context.log.detail(`${count(blocks, 'block')}, ${formatBytes(bytes)} appended`)
      const length = feed.length + (dryRun ? blocks : 0)
      const record = { length, blocks, bytes, ...(dryRun ? { dryRun } : {}) }
      await context.out.result(record, String(length))
      return EXIT_DONE
    } finally {
      await feed.close()
    }
  }
}

/** Blocks that wait to be appended together. */
class Batch {
  blocks = 0
  bytes = 0
  readonly #feed: StoredFeed
  readonly #dryRun: boolean
  #waiting: Uint8Array[] = []
  #waitingBytes = 0

  constructor(feed: StoredFeed, dryRun: boolean) {
    this.#feed = feed
    this.#dryRun = dryRun
  }

  async add(blocks: readonly Uint8Array[]): Promise<void> {
    for (const block of blocks) {
      this.#waiting.push(block)
      this.#waitingBytes += block.byteLength
      const full = this.#waitingBytes >= BATCH_BYTES || this.#waiting.length >= BATCH_BLOCKS
      if (full) await this.flush()
    }
  }

  async flush(): Promise<void> {
    const blocks = this.#waiting
    if (blocks.length === 0) return
    this.blocks += blocks.length
    this.bytes += this.#waitingBytes
    this.#waiting = []
    this.#waitingBytes = 0
    if (!this.#dryRun) await this.#feed.append(blocks)
  }
}

async function checkFile(file: string): Promise<void> {
  const found = await stat(file)
  if (found.isDirectory()) throw new UsageError(`${file} is a folder`)
}

/** Appends one input. An interrupt ends it after its last whole block. */
async function appendAll(
  context: Context,
  input: Readable,
  cutter: Cutter,
  batch: Batch
): Promise<void> {
  const { signal } = context
  const stop = (): unknown => input.destroy()
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  const source = input[Symbol.asyncIterator]() as AsyncIterator<Buffer | string>
  try {
    while (true) {
      const next = source.next()
      if (await isIdle(next)) await batch.flush()
      const { done, value } = await next
      if (done === true) break
      await batch.add(cutter.push(typeof value === 'string' ? Buffer.from(value) : value))
    }
    const last = signal.aborted ? null : cutter.end()
    if (last !== null) await batch.add([last])
  } catch (error) {
    // A stream that is destroyed while it is read ends with an error.
    if (!signal.aborted) throw error
  } finally {
    signal.removeEventListener('abort', stop)
  }
  await batch.flush()
}

/** True if no input comes for a while. */
async function isIdle(next: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const idle = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, IDLE_MS, true)
  })
  const came = next.then(
    () => false,
    () => false
  )
  const result = await Promise.race([came, idle])
  clearTimeout(timer)
  return result
}

export default command
