export { absorb, begin, finish, hashMessages } from './hash'
export { fold } from './fold'
