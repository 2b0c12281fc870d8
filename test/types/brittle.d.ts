// brittle 4.1: the part that the tests use.
declare module 'brittle' {
  export interface Assertions {
    readonly name: string
    pass(message?: string): void
    fail(message?: string): void
    ok(value: unknown, message?: string): void
    absent(value: unknown, message?: string): void
    is(actual: unknown, expected: unknown, message?: string): void
    not(actual: unknown, expected: unknown, message?: string): void
    alike(actual: unknown, expected: unknown, message?: string): void
    unlike(actual: unknown, expected: unknown, message?: string): void
    exception(run: Promise<unknown> | (() => unknown), expected?: RegExp | object): Promise<void>
    execution(run: Promise<unknown> | (() => unknown), message?: string): Promise<void>
    plan(count: number): void
    end(): Promise<void>
    comment(...message: unknown[]): void
    timeout(ms: number): void
    teardown(run: () => unknown, options?: { order?: number; force?: boolean }): void
    tmp(): Promise<string>
  }
  export type TestRun = (t: Assertions) => unknown
  export interface TestFunction {
    (name: string, run: TestRun): void
    (
      name: string,
      options: { timeout?: number; skip?: boolean; solo?: boolean },
      run: TestRun
    ): void
  }
  export const test: TestFunction & { solo: TestFunction; skip: TestFunction }
  export const solo: TestFunction
  export default test
}
