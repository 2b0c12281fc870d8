#!/usr/bin/env node
import { tuneProcess } from '../lib/tuning.ts'

tuneProcess()
// Only now: loading is a good part of a short command.
const { main } = await import('../lib/cli/main.ts')
await main()
