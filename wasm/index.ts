export { absorb, begin, finish, hashMessages } from './hash'
export { fold } from './fold'
export { andNot, countBits, fillRuns, findBit, listRuns } from './bitmap'
export { readRuns, writeHead, writeRequests, writeValues } from './frame'
