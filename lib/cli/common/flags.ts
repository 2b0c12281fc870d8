/**
 * Flags that several commands have.
 *
 * @module
 */
import {
  address,
  byteCount,
  list,
  option,
  seconds,
  toggle,
  type Address,
  type Flag
} from './flag.ts'

export const HELP: Flag<boolean> = toggle('help', 'Print help.', { short: 'h' })
export const VERSION: Flag<boolean> = toggle('version', 'Print the version.')
export const QUIET: Flag<boolean> = toggle('quiet', 'Print no progress and no logs.', {
  short: 'q'
})
export const VERBOSE: Flag<boolean> = toggle('verbose', 'Print more logs, and stacks of errors.', {
  short: 'v'
})
export const PROGRESS: Flag<boolean> = toggle('progress', 'Show progress.', { on: true })
export const JSON_LINES: Flag<boolean> = toggle('json', 'Print results as lines of JSON.')
export const STORAGE: Flag<string> = option(
  'storage',
  'DIR',
  'Folder of the feeds; default $XDG_DATA_HOME/syncline, else ~/.local/share/syncline.',
  '',
  String
)
export const DRY_RUN: Flag<boolean> = toggle('dry-run', 'Say what would be done, and do nothing.', {
  short: 'n'
})

export const SWARM: Flag<boolean> = toggle('swarm', 'Find peers over Hyperswarm.', { on: true })
export const BOOTSTRAP: Flag<readonly Address[]> = list(
  'bootstrap',
  'HOST:PORT',
  'Node to enter the DHT by, instead of the public ones.',
  address('bootstrap')
)
export const PEER: Flag<readonly Address[]> = list(
  'peer',
  'HOST:PORT',
  'Keep a TCP connection to this peer.',
  address('peer')
)
export const LISTEN: Flag<Address | null> = option(
  'listen',
  'HOST:PORT',
  'Accept TCP connections here; port 0 is any free one.',
  null,
  address('listen', 0)
)
export const LIMIT_UP: Flag<number> = option(
  'limit-up',
  'BYTES',
  'Send at most so many bytes per second (suffix K, M, G).',
  0,
  byteCount('limit-up')
)
export const LIMIT_DOWN: Flag<number> = option(
  'limit-down',
  'BYTES',
  'Receive at most so many bytes per second (suffix K, M, G).',
  0,
  byteCount('limit-down')
)
export const TIMEOUT: Flag<number> = option(
  'timeout',
  'S',
  'Give up after so many seconds without progress; 0 is never. Default 30.',
  30,
  seconds('timeout')
)

/** Flags of every command. */
export const COMMON: readonly Flag[] = [STORAGE, JSON_LINES, QUIET, VERBOSE, PROGRESS, HELP]
/** Flags of every command that talks to peers. */
export const NETWORK: readonly Flag[] = [
  SWARM,
  BOOTSTRAP,
  PEER,
  LISTEN,
  LIMIT_UP,
  LIMIT_DOWN,
  TIMEOUT
]
