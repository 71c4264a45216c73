import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { openSha256 } from '../../../src/base/sha256.ts';
import { type Outcome, simulate } from './simulation.ts';

// npm run simulate -- --seeds N [--from S] [--steps N] [--workers N], or --seed S --trace for one of them.

const PROGRESS_MS = 10_000;

interface Share {
  readonly first: number;
  readonly stride: number;
  readonly end: number;
  readonly steps: number;
}

type Told = Pick<Outcome, 'seed' | 'steps' | 'finding'>;

async function runShare({ first, stride, end, steps }: Share, tell: (told: Told) => void): Promise<void> {
  for (let seed = first; seed < end; seed += stride) {
    const outcome = await simulate(seed, { steps });
    tell({ seed, steps: outcome.steps, finding: outcome.finding });
  }
}

async function runAll(options: {
  readonly from: number;
  readonly seeds: number;
  readonly steps: number;
  readonly workers: number;
}): Promise<number> {
  const { from, seeds, steps, workers } = options;
  const startedMs = performance.now();
  const failed: Told[] = [];
  let done = 0;
  let toldMs = startedMs;
  const progress = (): string => {
    const seconds = (performance.now() - startedMs) / 1000;
    return `${done} of ${seeds} seeds, ${(done / seconds).toFixed(1)} a second, ${failed.length} failed`;
  };
  const note = (told: Told): void => {
    done += 1;
    if (told.finding !== undefined) {
      failed.push(told);
      console.log(`seed ${told.seed} after ${told.steps} steps: ${told.finding}`);
    }
    if (performance.now() - toldMs < PROGRESS_MS) return;
    toldMs = performance.now();
    console.log(progress());
  };
  const runs = Array.from({ length: workers }, (_, index) => {
    const share: Share = { first: from + index, stride: workers, end: from + seeds, steps };
    const worker = new Worker(new URL(import.meta.url), { argv: [JSON.stringify(share)] });
    worker.on('message', note);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    worker.on('error', reject);
    worker.on('exit', () => resolve());
    return promise;
  });
  await Promise.all(runs);
  console.log(progress());
  if (failed.length > 0) console.log(`failed: ${failed.map(({ seed }) => seed).join(' ')}`);
  return failed.length === 0 ? 0 : 1;
}

async function runOne(seed: number, options: { readonly steps: number; readonly trace: boolean }): Promise<number> {
  const { trace, finding, hash, counts } = await simulate(seed, options);
  if (options.trace) console.log(trace.join('\n'));
  console.log(JSON.stringify(counts));
  console.log(`seed ${seed}: ${finding ?? 'nothing found'} (${hash.slice(0, 16)})`);
  return finding === undefined ? 0 : 1;
}

// All hashes are computed in this thread, once what hashes is loaded.
(await openSha256())[Symbol.dispose]();
if (isMainThread) {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '1000' },
      from: { type: 'string', default: '1' },
      steps: { type: 'string', default: '500' },
      workers: { type: 'string', default: String(availableParallelism()) },
      seed: { type: 'string' },
      trace: { type: 'boolean', default: false },
    },
  });
  const steps = Number(values.steps);
  process.exitCode =
    values.seed === undefined
      ? await runAll({ from: Number(values.from), seeds: Number(values.seeds), steps, workers: Number(values.workers) })
      : await runOne(Number(values.seed), { steps, trace: values.trace });
} else {
  const share: Share = JSON.parse(process.argv[2] ?? '');
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of a worker, no window
  await runShare(share, (told) => parentPort?.postMessage(told));
}
