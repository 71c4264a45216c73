import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { usageOf } from '../usage.ts';
import type { CommandLine, Cost } from './measure.ts';

/** A `warmstate run` that is asked for snapshots: what an increment costs where nothing has to start. */
export interface Resident extends AsyncDisposable {
  /** What it took since the last call, or since its start, up to the end of the snapshot that it is asked for now. */
  snapshot(): Promise<Cost>;
}

const START_MS_MAX = 60_000;

export async function startResident({ line, env = {} }: CommandLine, port: number): Promise<Resident> {
  const [program = '', ...args] = line;
  const child = spawn(program, [...args, '--listen', `127.0.0.1:${port}`], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: 'ignore',
  });
  const ended = once(child, 'exit');
  let [beganMs, countedS] = [performance.now(), 0];
  await untilAlive(`http://127.0.0.1:${port}/livez`);
  return {
    snapshot: async () => {
      const response = await fetch(`http://127.0.0.1:${port}/-/snapshot`, { method: 'POST' });
      const answer = await response.text();
      if (!response.ok) throw new Error(`run answers ${response.status}: ${answer.slice(0, 500)}`);
      const { cpuS, peakMb } = await usageOf(child.pid ?? 0);
      const cost = { wallS: (performance.now() - beganMs) / 1000, cpuS: cpuS - countedS, peakMb };
      [beganMs, countedS] = [performance.now(), cpuS];
      return cost;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function untilAlive(url: string): Promise<void> {
  const startedMs = performance.now();
  for (;;) {
    try {
      if ((await fetch(url)).ok) return;
    } catch (error) {
      if (performance.now() - startedMs > START_MS_MAX) throw error;
    }
    await delay(50);
  }
}
