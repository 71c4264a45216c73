import { execFileSync, spawn } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { systemErrorCode } from '../../src/base/failure.ts';
import { type Mutation, mutateText } from './mutation.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const RESULTS = '.mutation.json';
/** The slowest file takes half a minute where nothing else is at work. */
const RUN_MS_MAX = 10 * 60_000;

/** What became of tests. */
export type Outcome =
  | { readonly kind: 'passed' }
  | { readonly kind: 'failed'; readonly file: string; readonly test: string }
  /** No test said anything: a file that does not load, or a run that does not end. */
  | { readonly kind: 'broken'; readonly why: string };

/** A copy of the working tree, in which sources may be changed and tests run. The tree itself is never touched. */
export class MutantTree implements AsyncDisposable {
  readonly #directory: string;
  readonly #signal: AbortSignal;

  private constructor(directory: string, signal: AbortSignal) {
    this.#directory = directory;
    this.#signal = signal;
  }

  static async copy(signal: AbortSignal): Promise<MutantTree> {
    const directory = await mkdtemp(join(tmpdir(), 'warmstate-mutate-'));
    const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: ROOT });
    for (const path of listed.toString().split('\0').filter(Boolean)) {
      await mkdir(join(directory, dirname(path)), { recursive: true });
      await copyFile(join(ROOT, path), join(directory, path)).catch((error: unknown) => {
        if (systemErrorCode(error) !== 'ENOENT') throw error; // Removed, and not committed yet.
      });
    }
    await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
    return new MutantTree(directory, signal);
  }

  /** The tests of a mutation without what it takes out, which is back afterwards. */
  async testWithout(mutation: Mutation): Promise<Outcome> {
    const path = join(this.#directory, mutation.file);
    const text = await readFile(path, 'utf8');
    await writeFile(path, mutateText(text, mutation));
    try {
      return await this.test(mutation.tests, mutation.only);
    } finally {
      await writeFile(path, text);
    }
  }

  /** Up to the first test that fails, one file after another. */
  async test(files: readonly string[], only = ''): Promise<Outcome> {
    const results = join(this.#directory, RESULTS);
    await rm(results, { force: true });
    const output = await this.#runVitest([...files, '--testNamePattern', only]);
    const text = await readFile(results, 'utf8').catch(() => undefined);
    return text === undefined ? { kind: 'broken', why: output } : this.#readResults(JSON.parse(text), output);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.#directory, { recursive: true, force: true });
  }

  #readResults({ success, testResults }: VitestResults, output: string): Outcome {
    for (const { name, assertionResults } of testResults) {
      const failed = assertionResults.find(({ status }) => status === 'failed');
      if (failed === undefined) continue;
      const test = [...failed.ancestorTitles, failed.title].filter(Boolean).join(' > ');
      return { kind: 'failed', file: relative(this.#directory, name), test };
    }
    return success ? { kind: 'passed' } : { kind: 'broken', why: output };
  }

  /** Its last words, where it has no results to tell. */
  async #runVitest(choice: readonly string[]): Promise<string> {
    const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
    const projects = ['--project', 'unit', '--project', 'system'];
    const limits = ['--bail', '1', '--maxWorkers', '1'];
    const report = ['--reporter', 'json', '--outputFile', RESULTS];
    const child = spawn(process.execPath, [vitest, 'run', ...projects, ...limits, ...report, ...choice], {
      cwd: this.#directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: AbortSignal.any([this.#signal, AbortSignal.timeout(RUN_MS_MAX)]),
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output = `${output}${text}`.slice(-2000);
      });
    const error = await new Promise<Error | undefined>((settle) => {
      child.once('error', settle);
      child.once('close', () => settle(undefined));
    });
    this.#signal.throwIfAborted();
    return error === undefined ? output : error.message;
  }
}

/** What of Vitest's JSON report is read. */
interface VitestResults {
  readonly success: boolean;
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly ancestorTitles: readonly string[];
      readonly title: string;
    }[];
  }[];
}
