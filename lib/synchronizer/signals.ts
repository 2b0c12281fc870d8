/** Signals that ask a process to end. */
const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/**
 * Calls `shutdown` on the first signal, then lets the signal have its usual effect. A second signal does not wait.
 *
 * @returns the way to stop listening.
 */
export function onSignals(shutdown: () => Promise<void>): () => void {
  const handlers = SIGNALS.map((signal) => {
    const handler = (): void => {
      stop()
      void shutdown().then(
        () => process.kill(process.pid, signal),
        () => process.kill(process.pid, signal)
      )
    }
    process.on(signal, handler)
    return { signal, handler }
  })
  function stop(): void {
    for (const { signal, handler } of handlers) process.off(signal, handler)
  }
  return stop
}
