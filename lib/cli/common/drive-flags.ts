/**
 * Flags of the commands of folders and drives.
 *
 * @module
 */
import b4a from 'b4a'
import { isSynclineError } from '../../errors.ts'
import { parseKeep } from '../../drive/folder/trash.ts'
import { parseKey } from '../../synchronizer/key.ts'
import type { Context } from './command.ts'
import { UsageError } from './exit.ts'
import { choice, list, option, toggle, wholeNumber, type Flag } from './flag.ts'

export const ONCE: Flag<boolean> = toggle('once', 'Do it once, and end.')
export const LIVE: Flag<boolean> = toggle('live', 'Go on until Ctrl-C.')
export const MAX_DELETE: Flag<number | null> = option(
  'max-delete',
  'N',
  'Delete up to N names at once; else more than 10 that are more than a quarter are held back.',
  null,
  wholeNumber('max-delete')
)
export const GITIGNORE: Flag<boolean> = toggle('gitignore', 'Honour .gitignore files too.')
export const UNTIL_PEERS: Flag<number> = option(
  'until-peers',
  'N',
  'End when N peers hold everything that we have.',
  0,
  wholeNumber('until-peers', 1)
)
export const UNTIL_PEER: Flag<readonly Uint8Array[]> = list(
  'until-peer',
  'PUBKEY',
  'End when the peer of this public key (see keys peer) holds everything that we have.',
  (text) => {
    const key = parseKey(text)
    if (key !== null) return key
    throw new UsageError(`--until-peer is a public key in hex or z-base-32, not "${text}"`)
  }
)
export const ENCRYPTION_KEY: Flag<Uint8Array | null> = option(
  'encryption-key',
  'HEX',
  'Secret of an encrypted drive: 64 hexadecimal digits.',
  null,
  (text) => {
    if (/^[0-9a-f]{64}$/i.test(text)) return Uint8Array.from(b4a.from(text, 'hex'))
    throw new UsageError('--encryption-key has 64 hexadecimal digits')
  }
)
export const ONLY: Flag<readonly string[]> = list(
  'only',
  'GLOB',
  'Take only names that fit, as in .synclineignore; remembered, and added to by later ones.',
  String
)
/** Of a clone: a version, null for the newest; undefined leaves it as it was. */
export const STAY_AT: Flag<number | null | undefined> = option(
  'at',
  'V',
  'Bring the folder to version V and stay there; "newest" goes on with the newest.',
  undefined,
  (text) => {
    const version = Number(text)
    if (text === 'newest') return null
    if (/^\d+$/.test(text) && Number.isSafeInteger(version) && version > 0) return version
    throw new UsageError(`--at is a version from 1 on or "newest", not "${text}"`)
  }
)
export const KEEP: Flag<string | null> = option(
  'keep',
  'RULE',
  'Keep what was replaced or removed so long, and so much of it: 30d,10% (default), or 0.',
  null,
  (text) => {
    try {
      parseKeep(text)
    } catch (error) {
      if (!isSynclineError(error)) throw error
      throw new UsageError(`--keep is a rule such as 30d, 10%, 30d,10% or 0, not "${text}"`)
    }
    return text
  }
)
/** Null leaves it as it was: on, unless it was turned off. */
export const TRASH: Flag<boolean | null> = {
  ...toggle('trash', 'Keep what was replaced or removed.', { on: true }),
  fallback: null
}
/** The rule of `--keep` that keeps nothing. */
export const NOTHING = '0'
/** Null leaves it as it was. */
export const LINKS: Flag<'inside' | 'all' | null> = {
  ...choice<'inside' | 'all'>(
    'links',
    ['inside', 'all'],
    'inside (default): make no symbolic link that leaves the folder; all: make each as it is.',
    'inside'
  ),
  fallback: null
}
export const FSYNC: Flag<boolean> = toggle('fsync', 'Have each file on the disk before the next.')

/** True if a command goes on. @throws UsageError for both flags. */
export function isLive({ get }: Pick<Context, 'get'>, byDefault: boolean): boolean {
  if (get(ONCE) && get(LIVE)) throw new UsageError('--once and --live exclude each other')
  return get(LIVE) || (byDefault && !get(ONCE))
}
