import { basename, dirname } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { type FileAccess, realFiles } from '../../src/base/file-access.ts';
import { type Capture, captureTask } from '../../src/capture/capture.ts';
import { ManifestTails } from '../../src/capture/manifest-tail.ts';
import { judge, type TaskMemory, verdictUnder } from '../../src/streams/quality.ts';
import type { Reason } from '../../src/streams/reason.ts';

/** What one look at a task came to under at-least-once. An accepted capture is the caller's to dispose of. */
export type Look =
  | { readonly kind: 'accepted'; readonly capture: Capture; readonly stores: ReadonlySet<string> }
  | { readonly kind: 'refused'; readonly reason: Reason; readonly message: string }
  | { readonly kind: 'gone' };

/** Captures one task again and again and judges what it gets, as a running process does: manifests stay open between looks. */
export class CaptureSession implements AsyncDisposable {
  readonly #taskDirectory: string;
  readonly #files: FileAccess;
  readonly #manifests: ManifestTails;
  readonly #remembers: boolean;
  #memory: TaskMemory | undefined;
  #retries = 0;

  /** With `remembers` each look is judged with the memory of those before, else as if it were the first of a process. */
  constructor(taskDirectory: string, options: { readonly remembers: boolean; readonly files?: FileAccess }) {
    this.#taskDirectory = taskDirectory;
    this.#files = options.files ?? realFiles;
    this.#manifests = new ManifestTails(this.#files);
    this.#remembers = options.remembers;
  }

  /** Attempts that had to be repeated so far. */
  get retries(): number {
    return this.#retries;
  }

  async look(triesMax: number, signal: AbortSignal): Promise<Look> {
    const applicationDirectory = dirname(this.#taskDirectory);
    const tools = { files: this.#files, manifests: this.#manifests, clock: systemClock, emit: this.#count, signal };
    const outcome = await captureTask({ applicationDirectory, task: basename(this.#taskDirectory) }, tools, {
      isKnown: () => false,
      triesMax,
    });
    if (outcome.kind === 'gone') return outcome;
    if (outcome.kind === 'refused') return { kind: 'refused', ...outcome.why };
    const judgement = judge(outcome.capture.sight, {
      applicationId: basename(applicationDirectory),
      nowMs: systemClock.nowMs(),
      isRunning: true,
      clockWasSet: false,
      memory: this.#memory,
      installedQuality: undefined,
      transactionalStores: false,
    });
    if (this.#remembers) this.#memory = judgement.memory;
    const verdict = verdictUnder('at_least_once', judgement);
    if (verdict.kind === 'valid') return { kind: 'accepted', capture: outcome.capture, stores: judgement.stores };
    await outcome.capture[Symbol.asyncDispose]();
    return { kind: 'refused', ...verdict.why };
  }

  readonly #count = (): void => {
    this.#retries += 1;
  };

  [Symbol.asyncDispose](): Promise<void> {
    return this.#manifests[Symbol.asyncDispose]();
  }
}
