import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const OUTPUT_BYTES_MAX = 64 * 2 ** 20;
const run = promisify(execFile);

export interface CommandLine {
  readonly line: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Of one process with all its children, as the kernel counted it. */
export interface Cost {
  readonly wallS: number;
  /** User and system. */
  readonly cpuS: number;
  /** The largest resident set of one of them. */
  readonly peakMb: number;
}

/** Runs a command line under GNU time, which is small: what a process inherits at its fork counts as its own peak. */
export async function measure(command: CommandLine, report: string): Promise<Cost> {
  await execute({
    ...command,
    line: ['/usr/bin/time', '-f', '%e %U %S %M', '-o', report, ...command.line],
  });
  const [wallS = 0, userS = 0, systemS = 0, peakKib = 0] = (await readFile(report, 'utf8'))
    .trim()
    .split(' ')
    .map(Number);
  return { wallS, cpuS: userS + systemS, peakMb: peakKib / 1024 };
}

export async function execute({ line, env = {}, cwd }: CommandLine): Promise<{ readonly stdout: string }> {
  const [program = '', ...args] = line;
  return run(program, args, {
    env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent', ...env },
    maxBuffer: OUTPUT_BYTES_MAX,
    ...(cwd === undefined ? {} : { cwd }),
  });
}
