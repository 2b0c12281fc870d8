import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { RoleProcess } from './role-process.ts'

/** What a role made by its step `prepare`, and where. */
export interface Prepared {
  readonly folder: string
  readonly result: unknown
}

/** What all runs of a case share. */
export class CaseStage {
  /** What was prepared, by script and arguments: it is made once. */
  readonly prepared: Map<string, Promise<Prepared>> = new Map()
  /** What the contestants came to, by name: all to the same. */
  readonly agreed: Map<string, string> = new Map()
  readonly folder: string = mkdtempSync(path.join(tmpdir(), 'syncline-bench-'))

  readonly #onexit = (): void => rmSync(this.folder, { recursive: true, force: true })

  constructor() {
    process.on('exit', this.#onexit)
  }

  /** Removes all that was written. What is not removed until then goes when the process exits. */
  remove(): void {
    process.off('exit', this.#onexit)
    this.#onexit()
  }
}

/** What one run of a contestant has: processes and folders that end with it. */
export class Stage {
  readonly #shared: CaseStage
  readonly #profile: string | null
  readonly #tuned: boolean | null
  readonly #roles: RoleProcess[] = []
  readonly #folder: string

  /**
   * @param profile - folder and beginning of the names of CPU profiles of the roles, or null for none.
   * @param tuned - whether its processes are, see `Contestant`; null is the default.
   */
  constructor(shared: CaseStage, profile: string | null, tuned: boolean | null = null) {
    this.#shared = shared
    this.#tuned = tuned
    this.#profile = profile
    this.#folder = mkdtempSync(path.join(shared.folder, 'run-'))
  }

  /** A fresh process of a role, ended with the run. */
  role(script: string): RoleProcess {
    const { length } = this.#roles
    const profile =
      this.#profile === null
        ? null
        : `${this.#profile}-${length}-${path.basename(script)}.cpuprofile`
    const tuned = this.#tuned ?? path.basename(script).startsWith('syncline-')
    const role = new RoleProcess(script, { profile, tuned })
    this.#roles.push(role)
    return role
  }

  /** A folder that is removed with the run; it is not made yet. */
  folder(name: string): string {
    return path.join(this.#folder, name)
  }

  /** What `script` makes by its step `prepare` in a folder of the case, in a process of its own, once for all runs. */
  async prepare(script: string, args: object): Promise<Prepared> {
    const { prepared, folder } = this.#shared
    const name = JSON.stringify([script, args])
    let made = prepared.get(name)
    if (made === undefined) {
      made = prepare(path.join(folder, `source-${prepared.size}`), script, args)
      prepared.set(name, made)
    }
    return made
  }

  /** The same for a run that changes it: in a folder of the run, removed with it. */
  prepareOnce(script: string, args: object): Promise<Prepared> {
    return prepare(this.folder('made'), script, args)
  }

  /** @throws Error if another contestant, or an earlier run, came to something else. */
  agree(what: string, digest: string): void {
    const first = this.#shared.agreed.get(what)
    if (first !== undefined && first !== digest) throw new Error(`${what}: the results differ`)
    this.#shared.agreed.set(what, digest)
  }

  /**
   * Ends every process and removes the folder of the run.
   *
   * @param keep - true leaves the folder until this process exits.
   */
  async end(keep: boolean): Promise<void> {
    await Promise.all(this.#roles.map((role) => role.kill()))
    if (!keep) rmSync(this.#folder, { recursive: true, force: true })
  }
}

async function prepare(folder: string, script: string, args: object): Promise<Prepared> {
  const role = new RoleProcess(script)
  try {
    const result = await role.call('prepare', { folder, ...args })
    await role.close()
    return { folder, result }
  } finally {
    await role.kill()
  }
}
