import type { EventEmitter } from 'node:events'
import { rethrow } from '../feed/rethrow.ts'

type Events<T> = Record<keyof T, unknown[]>

/** Calls each listener of an event; one that throws keeps neither the others nor the emitter from going on. */
export function emit<T extends Events<T>, Event extends keyof T>(
  emitter: EventEmitter<T>,
  event: Event,
  ...args: T[Event]
): void {
  const listeners = (emitter as unknown as EventEmitter).rawListeners(event as string)
  for (const listener of listeners) {
    try {
      Reflect.apply(listener, emitter, args)
    } catch (error) {
      rethrow(error)
    }
  }
}
