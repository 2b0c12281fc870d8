import type { Command } from './common/command.ts'
import completionBash from './completion/bash.ts'
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
import sync from './sync.ts'

/** All commands, in the order in which help shows them. */
export const COMMANDS: readonly Command[] = [
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
  completionBash,
  help
]
