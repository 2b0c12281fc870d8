/** Block `index` of the feeds that are killed: it tells its index, and sizes differ. */
export function appendedBlock(index: number): Buffer {
  return Buffer.alloc(10 + ((index * 131) % 900), `${index} `)
}
