import type { FileHandle } from 'node:fs/promises';
import { relative } from 'node:path';
import { type FileOperations, nodeFileOperations } from '../../src/storage/file-operations.ts';

export interface FileStep {
  readonly operation: keyof FileOperations;
  /** Below the root of the recording; of a handle, the path it was opened under. */
  readonly path: string;
  /** Of a rename. */
  readonly to: string | undefined;
}

/** Real file operations that are recorded, can be made to fail, and can end like those of a killed process. */
export class RecordedFiles implements AsyncDisposable {
  readonly operations: FileOperations;
  readonly steps: FileStep[] = [];
  /** After so many steps none is done any more. */
  stepsMax = Number.POSITIVE_INFINITY;
  /** The error code that a step fails with instead of being done. */
  failing: (step: FileStep) => string | undefined = () => undefined;
  onStart: (step: FileStep) => void = () => undefined;
  onDone: (step: FileStep) => void = () => undefined;
  readonly #root: string;
  readonly #opened = new Map<FileHandle, string>();

  constructor(root: string) {
    this.#root = root;
    this.operations = new Proxy(nodeFileOperations, {
      get: (target, name: keyof FileOperations) => {
        const operation = (...args: readonly unknown[]): Promise<unknown> => Reflect.apply(target[name], target, args);
        return (...args: readonly unknown[]) => this.#step(name, args, operation);
      },
    });
  }

  /** The steps as text, `rename .warmstate-tmp/x → a/b`; those that change nothing are left out. */
  changes(): readonly string[] {
    const looks: readonly string[] = ['lstat', 'stat', 'statFile', 'readDirectory', 'openFile', 'read'];
    const changes = this.steps.filter(({ operation }) => !looks.includes(operation));
    return changes.map(({ operation, path, to }) =>
      [operation, path, ...(to === undefined ? [] : ['→', to])].join(' '),
    );
  }

  /** Closes what the code under test, cut off by `stepsMax`, could not. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const handle of this.#opened.keys()) await handle.close();
  }

  async #step(
    operation: keyof FileOperations,
    args: readonly unknown[],
    work: (...args: readonly unknown[]) => Promise<unknown>,
  ): Promise<unknown> {
    const [subject, to] = args;
    const path = isHandle(subject) ? (this.#opened.get(subject) ?? '?') : this.#shown(subject);
    const step = { operation, path, to: operation === 'rename' ? this.#shown(to) : undefined };
    if (this.steps.length >= this.stepsMax) throw new Error('killed');
    const code = this.failing(step);
    if (code !== undefined) throw Object.assign(new Error(`${code}: ${operation} ${path}`), { code });
    this.steps.push(step);
    this.onStart(step);
    const result = await work(...args);
    if (isHandle(result)) this.#opened.set(result, path);
    if (operation === 'closeFile' && isHandle(subject)) this.#opened.delete(subject);
    this.onDone(step);
    return result;
  }

  #shown(path: unknown): string {
    return relative(this.#root, String(path)) || '.';
  }
}

function isHandle(value: unknown): value is FileHandle {
  return typeof value === 'object' && value !== null && 'fd' in value;
}
