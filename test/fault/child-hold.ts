// Opens a stored feed, appends to it, and stays until it is killed: `child-hold FOLDER NAME`.
import { Synchronizer } from '../../lib/index.ts'

const [storage = '', name = ''] = process.argv.slice(2)
const feed = await new Synchronizer({ storage }).open(name)
await feed.append('from another process')
console.log(`holding ${process.pid}`)
setInterval(() => {}, 1000)
