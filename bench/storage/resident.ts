import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { CommandLine, Cost } from './measure.ts';

/** A `warmstate run` that is asked for snapshots: what an increment costs where nothing has to start. */
export interface Resident extends AsyncDisposable {
  /** What it took since the last call, or since its start, up to the end of the snapshot that it is asked for now. */
  snapshot(): Promise<Cost>;
}

/** Of /proc; Linux has 100 a second wherever it runs. */
const TICKS_PER_SECOND = 100;
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

async function usageOf(pid: number): Promise<Pick<Cost, 'cpuS' | 'peakMb'>> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // After the name in brackets, which may hold anything: utime and stime are the 12th and 13th (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return {
    cpuS: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    peakMb: Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024,
  };
}
