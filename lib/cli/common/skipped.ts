import type { Skipped } from '../../drive/folder/scan.ts'

const TEXTS: Partial<Record<Skipped['reason'], string>> = {
  special: 'no file, folder or link',
  name: 'its name is not UTF-8 or holds a backslash',
  unreadable: 'it cannot be read',
  store: 'a store of syncline, with its keys'
}

/** A name that was left out of a drive, and why. */
export function skippedText({ name, reason, code }: Skipped): string {
  return `${name}: ${TEXTS[reason] ?? reason}${code === undefined ? '' : ` (${code})`}`
}

/** True for what should be in the drive. What is no file at all, or syncline's own, is only told. */
export function isMissed({ reason }: Skipped): boolean {
  return reason !== 'special' && reason !== 'store'
}
