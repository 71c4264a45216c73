import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Failure, messageOf } from '../../../src/base/failure.ts';

const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

interface Options {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a command to its end; what it writes to its standard output. */
export async function run(command: string, args: readonly string[], { cwd, env = {} }: Options): Promise<string> {
  const options = { cwd, env: { ...process.env, ...env }, maxBuffer: OUTPUT_BYTES_MAX };
  try {
    return (await promisify(execFile)(command, args, options)).stdout;
  } catch (cause) {
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).slice(-4000) : '';
    throw new Failure(
      'unavailable',
      `${command} ${args.slice(0, 3).join(' ')} … failed: ${messageOf(cause)}\n${said}`,
      { cause },
    );
  }
}
