import { Worker } from 'node:worker_threads';

export interface SeedOrder {
  readonly seed: number;
  readonly steps: number;
}

/** What became of one seed. */
export interface SeedReport extends SeedOrder {
  readonly finding: string | undefined;
  /** What happened last, where something was found. */
  readonly story: readonly string[];
}

export interface CampaignOrder {
  /** The first of them. */
  readonly from: number;
  readonly seeds: number;
  readonly steps: number;
  readonly workers: number;
  /** Ends it early; what is under way is not told. */
  readonly signal: AbortSignal;
}

/** A seed takes a second; one that takes so long, also where others have the machine, goes round in circles, in which nothing else gets a turn. */
const SEED_MS_MAX = 60 * 60_000;

/** A world is made of what is soon thrown away: with less room for that its collection takes five per cent of the time more. */
const YOUNG = { maxYoungGenerationSizeMb: 96 };

/** Lets so many worlds go wrong, on as many threads, and tells of each; a finding stops nothing. */
export async function runCampaign(order: CampaignOrder, tell: (report: SeedReport) => void): Promise<void> {
  const seeds = Array.from({ length: order.seeds }, (_, index) => order.from + index).values();
  await Promise.all(Array.from({ length: order.workers }, () => workThrough(seeds, order, tell)));
}

/** By what is wrong, the most frequent first. */
export function countFindings(reports: readonly SeedReport[]): ReadonlyMap<string, readonly number[]> {
  const found = reports.filter(({ finding }) => finding !== undefined);
  const seeds = Map.groupBy(found, ({ finding = '' }) => finding.split(':', 1)[0] ?? '');
  const sorted = [...seeds].sort(([, left], [, right]) => right.length - left.length);
  return new Map(sorted.map(([invariant, of]) => [invariant, of.map(({ seed }) => seed).sort((a, b) => a - b)]));
}

async function workThrough(
  seeds: IterableIterator<number>,
  { steps, signal }: CampaignOrder,
  tell: (report: SeedReport) => void,
): Promise<void> {
  let thread: SeedThread | undefined;
  for (const seed of seeds) {
    thread ??= new SeedThread(signal);
    const report = await thread.run({ seed, steps });
    if (signal.aborted) break;
    tell(report);
    if (thread.isOver) thread = undefined;
  }
  await thread?.end();
}

/** A thread that does one seed at a time, until it ends or is lost in one. */
class SeedThread {
  readonly #worker = new Worker(new URL('./seed-worker.ts', import.meta.url), { resourceLimits: YOUNG });
  readonly #signal: AbortSignal;
  isOver = false;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  async run(order: SeedOrder): Promise<SeedReport> {
    const { promise, resolve } = Promise.withResolvers<SeedReport>();
    const lose = (why: unknown): void => {
      this.isOver = true;
      resolve({
        ...order,
        finding: `bug: ${why instanceof Error ? (why.stack ?? why.message) : String(why)}`,
        story: [],
      });
    };
    const stop = (): void => lose('stopped');
    const patience = setTimeout(() => lose(`it did not end within ${SEED_MS_MAX} ms`), SEED_MS_MAX);
    this.#signal.addEventListener('abort', stop, { once: true });
    if (this.#signal.aborted) stop();
    this.#worker.once('message', resolve).once('error', lose);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of a worker, no window
    this.#worker.postMessage(order);
    const report = await promise;
    clearTimeout(patience);
    this.#signal.removeEventListener('abort', stop);
    this.#worker.removeListener('message', resolve).removeListener('error', lose);
    if (this.isOver) await this.end();
    return report;
  }

  async end(): Promise<void> {
    this.isOver = true;
    await this.#worker.terminate();
  }
}
