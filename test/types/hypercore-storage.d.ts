// hypercore-storage 3.3.1: the part that the tests use.
declare module 'hypercore-storage' {
  export default class CorestoreStorage {
    constructor(folder: string)
    ready(): Promise<void>
    close(): Promise<void>
  }
}
