import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { openSha256 } from '../../../src/base/sha256.ts';
import { type CampaignOrder, countFindings, runCampaign, type SeedReport } from './campaign.ts';
import { simulate } from './simulation.ts';

// npm run simulate -- --seeds N [--from S] [--steps N] [--workers N], or --seed S --trace for one of them. Findings go to
// the standard output as they come, progress to the standard error; SIGINT and SIGTERM end it with its summary.

const PROGRESS_MS = 10_000;

async function runAll(order: CampaignOrder): Promise<number> {
  const { seeds, signal } = order;
  const startedMs = performance.now();
  const reports: SeedReport[] = [];
  let done = 0;
  let toldMs = startedMs;
  const progress = (): string => {
    const seconds = (performance.now() - startedMs) / 1000;
    const { user, system } = process.cpuUsage();
    const cpu = (user + system) / 1e6 / Math.max(1, done);
    const speed = `${(done / seconds).toFixed(1)} a second, ${cpu.toFixed(3)} CPU s each`;
    return `${done} of ${seeds} seeds from ${order.from} on, ${order.steps} steps each; ${speed}; ${reports.length} found something`;
  };
  await runCampaign(order, (report) => {
    done += 1;
    if (report.finding !== undefined) {
      reports.push(report);
      console.log(`seed ${report.seed} after ${report.steps} steps: ${report.finding}`);
    }
    if (performance.now() - toldMs < PROGRESS_MS) return;
    toldMs = performance.now();
    console.error(progress());
  });
  console.log(`${signal.aborted ? 'stopped after ' : ''}${progress()}`);
  for (const [invariant, found] of countFindings(reports))
    console.log(`${found.length} × ${invariant}: seeds ${found.join(' ')}`);
  return reports.length === 0 ? 0 : 1;
}

async function runOne(seed: number, options: { readonly steps: number; readonly trace: boolean }): Promise<number> {
  // All hashes are computed in this thread, once what hashes is loaded.
  (await openSha256())[Symbol.dispose]();
  const { trace, finding, hash, counts } = await simulate(seed, options);
  if (options.trace) console.log(trace.join('\n'));
  console.log(JSON.stringify(counts));
  console.log(`seed ${seed}: ${finding ?? 'nothing found'} (${hash.slice(0, 16)})`);
  return finding === undefined ? 0 : 1;
}

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
if (values.seed === undefined) {
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stopping.abort());
  process.exitCode = await runAll({
    from: Number(values.from),
    seeds: Number(values.seeds),
    steps,
    workers: Number(values.workers),
    signal: stopping.signal,
  });
} else process.exitCode = await runOne(Number(values.seed), { steps, trace: values.trace });
