import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock, systemRandom } from '../../src/base/clock.ts';
import type { EpochRecord } from '../../src/repository/record.ts';
import { listRepository, loadRecords, openRepository } from '../../src/repository/repository.ts';
import { openFileStore } from '../../src/storage/file-store.ts';
import { APPLICATION, type Scenario } from './scenario.ts';
import { COMPILE_CACHE } from './warmstate.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');
const HOLDER = resolve(import.meta.dirname, 'bin/hold-lock.ts');
const POLL_MS = 100;
/** Less than a test has: its end must not leave processes behind. */
const PATIENCE_MS = 60_000;

/** The sidecar of a pod as a process of its own, beside an application that only holds its lock. */
export class Pod implements AsyncDisposable {
  readonly #scenario: Scenario;
  readonly #sidecar: ChildProcess;
  #application: ChildProcess | undefined;
  #log = '';

  private constructor(scenario: Scenario, sidecar: ChildProcess) {
    this.#scenario = scenario;
    this.#sidecar = sidecar;
    for (const stream of [sidecar.stdout, sidecar.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#log += chunk.toString();
      });
    }
  }

  /** Returns once the sidecar is in the repository. */
  static async start(scenario: Scenario, flags: readonly string[]): Promise<Pod> {
    await mkdir(scenario.applicationDirectory, { recursive: true });
    await writeFile(join(scenario.applicationDirectory, '.lock'), '');
    const before = new Set((await recordsOf(scenario)).map(({ epoch }) => epoch));
    const args = [MAIN, 'run', ...flags, '--listen', '127.0.0.1:0'];
    const environment = { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], ...COMPILE_CACHE };
    const pod = new Pod(
      scenario,
      spawn(process.execPath, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] }),
    );
    await pod.until('the sidecar has an epoch', (records) =>
      records.some(({ epoch, role }) => role === 'run' && !before.has(epoch)),
    );
    return pod;
  }

  /** Resolves once it holds its lock. */
  async startApplication(): Promise<void> {
    const path = join(this.#scenario.applicationDirectory, '.lock');
    this.#application = spawn(process.execPath, [HOLDER, path], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [answer]: unknown[] = this.#application.stdout === null ? [] : await once(this.#application.stdout, 'data');
    if (String(answer) !== 'held\n') throw new Error(`the lock is not held: ${String(answer)}`);
  }

  async killApplication(): Promise<void> {
    const application = this.#application;
    this.#application = undefined;
    if (application === undefined) return;
    const ended = once(application, 'exit');
    application.kill('SIGKILL');
    await ended;
  }

  /** Waits until the record of the newest sidecar says so. */
  async untilTrial(says: string): Promise<void> {
    await this.until(`the trial is ${says}`, (records) => {
      const trial = records.findLast(({ role }) => role === 'run')?.trial;
      return trial !== undefined && `${trial.state} ${trial.lockTaken}/${trial.lockLost}` === says;
    });
  }

  /** The application ends, as suddenly as it may, and the sidecar sees it. */
  async loseApplication(): Promise<void> {
    const before = this.#endings();
    await this.killApplication();
    await this.until('the application was seen to end', () => this.#endings() > before);
  }

  #endings(): number {
    return this.#log.split('"application-ended"').length - 1;
  }

  async until(what: string, holds: (records: readonly EpochRecord[]) => boolean): Promise<void> {
    const patience = AbortSignal.timeout(PATIENCE_MS);
    for (;;) {
      if (patience.aborted) throw new Error(`waited in vain: ${what}:\n${this.#log}`);
      const records = await recordsOf(this.#scenario);
      if (holds(records)) return;
      const { exitCode, signalCode } = this.#sidecar;
      if (exitCode !== null || signalCode !== null) {
        throw new Error(`the sidecar ended with ${exitCode ?? signalCode} before ${what}:\n${this.#log}`);
      }
      await delay(POLL_MS);
    }
  }

  /** As Kubernetes ends a pod: the application first, then the sidecar is told. Returns its exit code. */
  async end(): Promise<number | null> {
    await this.killApplication();
    if (this.#sidecar.exitCode !== null) return this.#sidecar.exitCode;
    const ended = once(this.#sidecar, 'exit');
    this.#sidecar.kill('SIGTERM');
    await ended;
    return this.#sidecar.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.killApplication();
    if (this.#sidecar.exitCode !== null || this.#sidecar.signalCode !== null) return;
    const ended = once(this.#sidecar, 'exit');
    this.#sidecar.kill('SIGKILL');
    await ended;
  }
}

async function recordsOf(scenario: Scenario): Promise<readonly EpochRecord[]> {
  const { signal } = new AbortController();
  const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
  const repository = await openRepository(store, {
    application: APPLICATION,
    lineage: 'test',
    notice: () => {},
    signal,
  });
  const loaded = await loadRecords(repository, await listRepository(repository, { signal }), { signal });
  return loaded.map(({ record }) => record);
}
