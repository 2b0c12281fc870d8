import { networkInterfaces } from 'node:os'

const LOOPBACK = '127.0.0.1'

/** `tcp:HOST:PORT`, with brackets around an IPv6 host. */
export function tcpAddress(host: string, port: number): string {
  return `tcp:${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Hosts under which a server that is bound to `host` can be reached: those of the interfaces for a wildcard. */
export function reachableHosts(host: string): string[] {
  if (host !== '0.0.0.0' && host !== '::') return [host]
  const families = host === '::' ? ['IPv4', 'IPv6'] : ['IPv4']
  const hosts = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    // Link-local addresses need the name of an interface that only this machine knows.
    .filter((a) => !a.internal && families.includes(a.family) && !a.address.startsWith('fe80:'))
    .map((a) => a.address)
  return hosts.length > 0 ? hosts : [LOOPBACK]
}

/** Tells whether a host is this machine's own loopback. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}
