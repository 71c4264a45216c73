import { parentPort } from 'node:worker_threads';
import { openSha256 } from '../../../src/base/sha256.ts';
import type { SeedOrder, SeedReport } from './campaign.ts';
import { simulate } from './simulation.ts';

// A thread of a campaign: told a seed it answers what became of it, one after another.

const STORY_LINES = 30;

// All hashes are computed in this thread, once what hashes is loaded.
(await openSha256())[Symbol.dispose]();
parentPort?.on('message', ({ seed, steps }: SeedOrder) => {
  void simulate(seed, { steps }).then((outcome) => {
    const story = outcome.finding === undefined ? [] : outcome.trace.slice(-STORY_LINES);
    const report: SeedReport = { seed, steps: outcome.steps, finding: outcome.finding, story };
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of a worker, no window
    parentPort?.postMessage(report);
  });
});
