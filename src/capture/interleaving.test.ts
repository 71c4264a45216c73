import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { interleavedFiles } from '../../test/support/interleaved-files.ts';
import { ManualClock } from '../../test/support/manual-clock.ts';
import {
  MODEL_APPLICATION,
  MODEL_EVENTS,
  type ModelEvent,
  type ModelImage,
  ModelTask,
} from '../../test/support/model-task.ts';
import { parseFileName } from '../rocksdb/file-name.ts';
import { ManifestReplay } from '../rocksdb/live-files.ts';
import { judge, type TaskMemory } from '../streams/quality.ts';
import { type Capture, captureTask } from './capture.ts';
import { ManifestTails } from './manifest-tail.ts';

// The application acts between any two accesses of a capture. Whatever is accepted must be a state that the task had.

const START_SECONDS = 1_750_000_000;
/** Of the model task: its own, one store, two segments. */
const HELD_DIRECTORIES = 4;

let root: string;
let directories = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'warmstate-interleaving-'));
});
afterAll(() => rmSync(root, { recursive: true }));

interface Act {
  /** Before which access, counted from the one before which the last act happened. */
  readonly after: number;
  readonly event: ModelEvent;
  /** Whether the clock of the file system went on since the last act. */
  readonly tick: boolean;
}

interface Run {
  readonly verbs: readonly string[];
  /** Of each look: `accepted`, or why not. */
  readonly outcomes: readonly string[];
  readonly faults: readonly string[];
}

/** Looks at a model task so many times, with the memory of the looks before, while the acts happen. */
async function run(
  acts: readonly Act[],
  options: { readonly looks: number; readonly triesMax: number; readonly remembers: boolean },
): Promise<Run> {
  const applicationDirectory = join(root, String(directories++), MODEL_APPLICATION);
  mkdirSync(applicationDirectory, { recursive: true });
  using task = new ModelTask(applicationDirectory, START_SECONDS);
  const queue = [...acts];
  const verbs: string[] = [];
  let since = 0;
  const files = interleavedFiles((verb) => {
    verbs.push(verb);
    for (; queue[0] !== undefined && since >= queue[0].after; since = 0) {
      const { event, tick } = queue.shift() ?? queue[0];
      task.do(event, { tick });
    }
    since += 1;
  });
  await using manifests = new ManifestTails(files);
  const clock = new ManualClock({ sleepsPass: true });
  const tools = { files, manifests, clock, emit: () => {}, signal: new AbortController().signal };
  const outcomes: string[] = [];
  const faults: string[] = [];
  let memory: TaskMemory | undefined;
  for (let look = 0; look < options.looks; look++) {
    const outcome = await captureTask({ applicationDirectory, task: basename(task.path) }, tools, {
      isKnown: () => false,
      triesMax: options.triesMax,
    });
    if (outcome.kind !== 'captured') {
      outcomes.push(outcome.kind === 'gone' ? 'gone' : outcome.why.reason);
      continue;
    }
    await using capture = outcome.capture;
    const judgement = judge(capture.sight, {
      applicationId: MODEL_APPLICATION,
      nowMs: task.nowMs + 1000,
      isRunning: true,
      clockWasSet: false,
      memory,
      installedQuality: undefined,
      transactionalStores: false,
    });
    if (options.remembers) memory = judgement.memory;
    const verdict = judgement.atLeastOnce;
    outcomes.push(verdict.kind === 'valid' ? 'accepted' : verdict.why.reason);
    const fault =
      verdict.kind === 'valid' ? ((await findTorn(capture)) ?? task.findFault(await imageOf(capture))) : undefined;
    if (fault !== undefined) faults.push(fault);
  }
  rmSync(dirname(applicationDirectory), { recursive: true });
  return { verbs, outcomes, faults };
}

/** Whether what is pinned is what the captured manifests and their CURRENT say. */
async function findTorn(capture: Capture): Promise<string | undefined> {
  const small = new Map(capture.stores.flatMap((store) => store.files.map(({ path, bytes }) => [path, bytes])));
  const pinned = capture.stores.flatMap((store) => store.tables.map(({ path }) => path)).sort();
  const live = capture.sight.databases.flatMap(({ path }) => {
    const manifest = Buffer.from(small.get(`${path}/CURRENT`) ?? [])
      .toString()
      .trim();
    const replay = new ManifestReplay();
    replay.feed(small.get(`${path}/${manifest}`) ?? new Uint8Array());
    return (replay.live()?.tables ?? []).map(({ number }) => `${path}/${String(number).padStart(6, '0')}.sst`);
  });
  const expected = live.sort().join();
  return pinned.join() === expected ? undefined : `pinned ${pinned.join()}, the manifests say ${expected}`;
}

async function imageOf(capture: Capture): Promise<ModelImage> {
  const databases = new Map<string, number[]>(capture.sight.databases.map(({ path }) => [path, []]));
  for (const { path, source } of capture.stores.flatMap((store) => store.tables)) {
    if (parseFileName(basename(path))?.kind !== 'table') continue;
    const bytes = Buffer.alloc(4);
    await source?.read(bytes, 0);
    databases.get(dirname(path))?.push(bytes.readUInt32LE());
  }
  const offsets = capture.sight.checkpoint?.content.offsets ?? new Map<string, bigint>();
  const stores = new Map([...offsets].map(([key, offset]) => [key.split('-')[1] ?? '', offset]));
  return { offsets: stores, databases };
}

/** The numbers of the accesses that an undisturbed capture makes, or of those after it holds its directories. */
async function accessesOf(options: { readonly fromHeldDirectories: boolean }): Promise<readonly number[]> {
  const { verbs } = await run([], { looks: 1, triesMax: 1, remembers: false });
  const first = options.fromHeldDirectories ? verbs.indexOf('hold') + HELD_DIRECTORIES : 0;
  return verbs.map((_, access) => access).slice(first);
}

test('a task that nobody disturbs is accepted', async () => {
  const events = ['flush', 'compact', 'checkpoint'] as const;
  const acts = events.map((event) => ({ after: 0, event, tick: true }));
  for (const remembers of [true, false]) {
    const { outcomes, faults } = await run(acts, { looks: 2, triesMax: 1, remembers });
    expect({ outcomes, faults }).toEqual({ outcomes: ['accepted', 'accepted'], faults: [] });
  }
});

test.for(MODEL_EVENTS)('%s before any access of a capture', async (event) => {
  const faults: string[] = [];
  for (const after of await accessesOf({ fromHeldDirectories: false })) {
    const { faults: found } = await run([{ after, event, tick: true }], { looks: 2, triesMax: 6, remembers: true });
    faults.push(...found.map((fault) => `before access ${after}: ${fault}`));
  }
  expect(faults).toEqual([]);
});

// Where stamps do not tell that a directory was changed, the inodes and names must. What happens before the
// directories are held is like what happened before the capture: there only stamps can tell (D2, D3).
test.for(MODEL_EVENTS)('%s within one tick of the clock that stamps', async (event) => {
  const faults: string[] = [];
  for (const after of await accessesOf({ fromHeldDirectories: true })) {
    const { faults: found } = await run([{ after, event, tick: false }], { looks: 1, triesMax: 1, remembers: false });
    faults.push(...found.map((fault) => `before access ${after}: ${fault}`));
  }
  expect(faults).toEqual([]);
});

test('any acts before any accesses', async () => {
  const act = fc.record({
    after: fc.integer({ min: 0, max: 60 }),
    event: fc.constantFrom(...MODEL_EVENTS),
    tick: fc.constant(true),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 12 }), fc.boolean(), async (acts, remembers) => {
      expect((await run(acts, { looks: 3, triesMax: 6, remembers })).faults).toEqual([]);
    }),
    { numRuns: Number(process.env['INTERLEAVINGS'] ?? 100) },
  );
});
