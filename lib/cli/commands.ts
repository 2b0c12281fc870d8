import cat from './cat.ts'
import clone from './clone.ts'
import type { Command } from './common/command.ts'
import completionBash from './completion/bash.ts'
import diff from './diff.ts'
import feedAppend from './feed/append.ts'
import feedCat from './feed/cat.ts'
import feedCreate from './feed/create.ts'
import feedInfo from './feed/info.ts'
import feedLs from './feed/ls.ts'
import feedRm from './feed/rm.ts'
import feedVerify from './feed/verify.ts'
import help from './help.ts'
import keysExport from './keys/export.ts'
import keysImport from './keys/import.ts'
import keysPeer from './keys/peer.ts'
import log from './log.ts'
import ls from './ls.ts'
import mirror from './mirror.ts'
import pull from './pull.ts'
import restore from './restore.ts'
import share from './share.ts'
import status from './status.ts'
import sync from './sync.ts'
import unshare from './unshare.ts'
import verify from './verify.ts'

/** All commands, in the order in which help shows them. */
export const COMMANDS: readonly Command[] = [
  share,
  clone,
  pull,
  mirror,
  status,
  verify,
  unshare,
  ls,
  cat,
  log,
  diff,
  restore,
  sync,
  feedCreate,
  feedLs,
  feedInfo,
  feedAppend,
  feedCat,
  feedVerify,
  feedRm,
  keysExport,
  keysImport,
  keysPeer,
  completionBash,
  help
]
