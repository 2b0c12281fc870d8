/**
 * Forwards TCP on the loopback, every byte a fixed time after it came, and counts: a role of its own process.
 *
 *     {"step":"listen","args":{"port":7000,"delayMs":50}}   ->   {"result":40123}
 *
 * @module
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { serveSteps } from './roles/steps.ts'

/** Bytes under way in one direction before the sender is paused: far above what a window of any side holds. */
const UNDER_WAY_BYTES: number = 256 * 1024 * 1024

let carriedBytes = 0

await serveSteps({
  /** Forwards connections to `port`, `delayMs` each way. */
  async listen({ port, delayMs }: { port: number; delayMs: number }) {
    const server = createServer({ allowHalfOpen: true }, (near) => {
      const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
      for (const socket of [near, far]) {
        socket.setNoDelay(true)
        socket.on('error', () => {})
        socket.on('close', () => {
          near.destroy()
          far.destroy()
        })
      }
      forward(near, far, delayMs)
      forward(far, near, delayMs)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  },

  /** Bytes that came from either side since the last look. */
  carried() {
    const bytes = carriedBytes
    carriedBytes = 0
    return bytes
  },

  close() {}
})

/** What comes from one socket goes to the other later; an end does, too. */
function forward(from: Socket, to: Socket, delayMs: number): void {
  const underWay: { readonly due: number; readonly bytes: Buffer | null }[] = []
  let underWayBytes = 0
  let waiting = false

  const wait = (): void => {
    const next = underWay[0]
    if (waiting || next === undefined) return
    waiting = true
    setTimeout(deliver, Math.max(0, next.due - performance.now()))
  }
  const deliver = (): void => {
    waiting = false
    // A timer may fire a fraction of a millisecond early.
    const now = performance.now() + 0.5
    while (underWay[0] !== undefined && underWay[0].due <= now) {
      const bytes = underWay.shift()?.bytes ?? null
      if (bytes === null) to.end()
      else {
        underWayBytes -= bytes.byteLength
        to.write(bytes)
      }
    }
    if (underWayBytes <= UNDER_WAY_BYTES) from.resume()
    wait()
  }
  from.on('data', (bytes: Buffer) => {
    underWay.push({ due: performance.now() + delayMs, bytes })
    underWayBytes += bytes.byteLength
    carriedBytes += bytes.byteLength
    if (underWayBytes > UNDER_WAY_BYTES) from.pause()
    wait()
  })
  from.on('end', () => {
    underWay.push({ due: performance.now() + delayMs, bytes: null })
    wait()
  })
}
