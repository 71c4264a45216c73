import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { Failure } from '../../src/base/failure.ts';
import { installPackages } from './debian-packages.ts';
import { run } from './image/run.ts';

const KIT = resolve(import.meta.dirname, '../cluster/kit');
/** Debian's: what holds containers, and what the kit makes certificates and networks with. */
const PACKAGES = ['containerd', 'runc', 'openssl', 'iproute2'];
const PROGRAMS = ['containerd', 'runc', 'openssl', 'ip'];
const STDERR_CHARACTERS_MAX = 8000;

/** A Kubernetes of one node: see test/cluster/kit/run.sh. It ends with this process, however that ends. */
export class ClusterNode implements AsyncDisposable {
  readonly directory: string;
  readonly #holder: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<unknown>;
  #stderr = '';

  private constructor(directory: string) {
    this.directory = directory;
    // A process group of its own: ctrl-C is for us, and its end comes with the end of its standard input.
    this.#holder = spawn(join(KIT, 'run.sh'), [directory], { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#ended = once(this.#holder, 'close');
    this.#holder.stderr.setEncoding('utf8').on('data', (said: string) => {
      this.#stderr = (this.#stderr + said).slice(-STDERR_CHARACTERS_MAX);
    });
  }

  /** Returns once pods can be made. What it is made of is installed and built where it never was. */
  static async start(): Promise<ClusterNode> {
    await installPrograms();
    await run(join(KIT, 'build.sh'), [], {});
    const node = new ClusterNode(await mkdtemp(join(tmpdir(), 'warmstate-cluster-')));
    const lines = createInterface({ input: node.#holder.stdout })[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.value === 'ready') return node;
    await node.#ended;
    throw new Failure('unavailable', `cannot start a cluster: ${node.#stderr.trim()}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.stdin.end();
    await this.#ended;
  }
}

export interface Said {
  readonly stdout: string;
  /** Of kubectl these are warnings where it succeeds. */
  readonly stderr: string;
}

/** Runs a command in the cluster that lies in a directory; a Failure with what it said where it fails. */
export async function runInside(directory: string, command: readonly string[], input = ''): Promise<Said> {
  const child = spawnInside(directory, command);
  const ended = new Promise<number | null>((done, failed) => child.on('close', done).on('error', failed));
  child.stdin.on('error', () => undefined); // Who does not read to the end says why in its own words.
  child.stdin.end(input);
  const [code, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  if (code === 0) return { stdout, stderr };
  throw new Failure('invalid', `${command.slice(0, 8).join(' ')} ends with ${code}: ${stderr.trim()}`);
}

export function spawnInside(
  directory: string,
  command: readonly string[],
): ChildProcessByStdio<Writable, Readable, Readable> {
  return spawn(join(KIT, 'inside.sh'), [directory, ...command], { stdio: ['pipe', 'pipe', 'pipe'] });
}

async function installPrograms(): Promise<void> {
  if ((await Promise.all(PROGRAMS.map(isThere))).every(Boolean)) return;
  await installPackages(PACKAGES);
}

async function isThere(program: string): Promise<boolean> {
  return promisify(execFile)('sh', ['-c', `command -v ${program}`]).then(
    () => true,
    () => false,
  );
}
