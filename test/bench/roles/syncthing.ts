/**
 * An instance of syncthing with a home of its own: two devices, one folder, nothing of the network beside the loopback.
 *
 * It does not sync to the disk, keeps its priority and looks for nothing, as nobody else does here.
 *
 * @module
 */
import type { ChildProcess } from 'node:child_process'
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { endProgram, freePort, runProgram, startProgram, until } from './child.ts'

/** Of an instance. */
export interface Device {
  readonly id: string
  /** Where it listens; null if it does not. */
  readonly port: number | null
}

/** Files of a folder, as an instance counts them. */
export interface FolderStatus {
  readonly state: string
  readonly localFiles: number
  readonly globalFiles: number
  readonly needTotalItems: number
}

/** What an instance tells of itself. */
export interface InstanceEvent {
  readonly id: number
  readonly type: string
  /** ISO 8601. */
  readonly time: string
  /** Of a change of state: the new one. */
  readonly data: { readonly to?: string }
}

/** What an instance is to be. */
export interface InstanceOptions {
  /** Made by {@link makeDevice}; copied to `home`. */
  readonly identity: string
  readonly home: string
  readonly tree: string
  readonly own: Device
  readonly other: Device
  /** True if the other device is not dialled until it is resumed. */
  readonly paused: boolean
}

const API_KEY = 'bench'

/** Makes the identity of a device in a folder. @returns its ID. */
export async function makeDevice(identity: string): Promise<string> {
  const home = `--home=${identity}`
  await runProgram('syncthing', ['generate', home, '--no-default-folder', '--skip-port-probing'])
  return (await runProgram('syncthing', [home, '--device-id'])).trim()
}

/** See the module comment. */
export class Instance {
  readonly #process: ChildProcess
  readonly #port: number

  private constructor(process: ChildProcess, port: number) {
    this.#process = process
    this.#port = port
  }

  /** Resolves when the instance runs and knows what is in its folder. */
  static async start(options: InstanceOptions): Promise<Instance> {
    const { identity, home, tree } = options
    const port = await freePort()
    mkdirSync(path.join(tree, '.stfolder'), { recursive: true })
    cpSync(identity, home, { recursive: true })
    writeFileSync(path.join(home, 'config.xml'), configOf(options, port))
    const args = ['serve', `--home=${home}`, '--no-browser', '--no-upgrade', '--no-restart']
    // One process, without the one that starts it anew.
    const instance = new Instance(startProgram('syncthing', args, { STMONITORED: 'yes' }), port)
    await until('syncthing', async () => {
      const { state } = await instance.status()
      return state === 'idle' ? true : null
    })
    return instance
  }

  status(): Promise<FolderStatus> {
    return this.#call<FolderStatus>('GET', 'db/status?folder=tree')
  }

  async resume({ id }: Device): Promise<void> {
    await this.#call('POST', `system/resume?device=${id}`)
  }

  /**
   * Events of some types after one. Those that come before the first call with the same types are not kept.
   *
   * @param timeoutSeconds - how long to wait for one; 0 gives what there is.
   */
  events(
    types: readonly string[],
    since: number,
    timeoutSeconds: number
  ): Promise<readonly InstanceEvent[]> {
    const query = `events=${types.join(',')}&since=${since}&timeout=${timeoutSeconds}`
    return this.#call<readonly InstanceEvent[]>('GET', `events?${query}`)
  }

  close(): Promise<void> {
    return endProgram(this.#process)
  }

  async #call<T>(method: string, what: string): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${this.#port}/rest/${what}`, {
      method,
      headers: { 'X-API-Key': API_KEY }
    })
    if (!response.ok) throw new Error(`${what}: ${response.status}`)
    return (method === 'GET' ? await response.json() : null) as T
  }
}

function configOf({ tree, own, other, paused }: InstanceOptions, port: number): string {
  const listen = own.port === null ? 'tcp://127.0.0.1:0' : `tcp://127.0.0.1:${own.port}`
  const address = other.port === null ? 'dynamic' : `tcp://127.0.0.1:${other.port}`
  const off = ['globalAnnounceEnabled', 'localAnnounceEnabled', 'relaysEnabled', 'natEnabled']
  const calm = ['startBrowser', 'setLowPriority', 'crashReportingEnabled', 'announceLANAddresses']
  return `<configuration version="36">
  <folder id="tree" path="${tree}" type="sendreceive" rescanIntervalS="0" fsWatcherEnabled="false">
    <device id="${own.id}"/>
    <device id="${other.id}"/>
    <minDiskFree unit="%">0</minDiskFree>
    <disableFsync>true</disableFsync>
  </folder>
  <device id="${own.id}"><address>dynamic</address></device>
  <device id="${other.id}"><address>${address}</address><paused>${paused}</paused></device>
  <gui enabled="true" tls="false"><address>127.0.0.1:${port}</address><apikey>${API_KEY}</apikey></gui>
  <options>
    <listenAddress>${listen}</listenAddress>
    ${[...off, ...calm].map((name) => `<${name}>false</${name}>`).join('\n    ')}
    <urAccepted>-1</urAccepted>
    <autoUpgradeIntervalH>0</autoUpgradeIntervalH>
    <stunServer></stunServer>
    <stunKeepaliveStartS>0</stunKeepaliveStartS>
    <reconnectionIntervalS>1</reconnectionIntervalS>
  </options>
</configuration>
`
}
