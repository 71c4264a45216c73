import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { Failure } from '../../src/base/failure.ts';
import type { Tree } from '../../src/inject/tree.ts';

/** Kubernetes' own code: see test/manifests/tool. */
export interface KubernetesCode {
  /** `kubectl kustomize` */
  kustomize(directory: string): Promise<string>;
  /** `helm template RELEASE CHART --set …` */
  helm(chart: string, release: string, ...sets: readonly string[]): Promise<string>;
  /** What the API server's decoder and PodSecurity's checks say of every object of a stream. */
  validate(stream: string): Promise<readonly Verdict[]>;
  /** What the policy of a file makes of pods. */
  admit(policy: string, pods: string): Promise<readonly Admitted[]>;
  /** What a validating policy of a file says of each object, in the order of both. */
  explain(policy: string, objects: string): Promise<readonly (readonly string[])[]>;
}

export interface Verdict {
  readonly kind: string;
  readonly name: string;
  /** Empty where it is valid. */
  readonly problem: string;
  /** Why PodSecurity `restricted` would not let its pods in. */
  readonly restricted: readonly string[];
}

export interface Admitted {
  readonly pod: Tree;
  readonly matched: boolean;
  /** The condition that does not hold, or what went wrong; empty where the pod was changed. */
  readonly error: string;
}

const SOURCE = resolve(import.meta.dirname, '../manifests/tool');
const CACHE = resolve(import.meta.dirname, '../../.cache/manifests');

/** Builds it unless it was built from the same source: some six minutes of two cores without Go's own cache. */
export async function openKubernetesCode(): Promise<KubernetesCode> {
  const program = join(CACHE, `tool-${await hashOfSource()}`);
  if (!(await isThere(program))) await build(program);
  return {
    kustomize: (directory) => run(program, ['kustomize', directory]),
    helm: (chart, release, ...sets) => run(program, ['helm', chart, release, ...sets]),
    validate: async (stream) => JSON.parse(await run(program, ['validate'], stream)),
    explain: async (policy, objects) => JSON.parse(await run(program, ['explain', policy], objects)),
    admit: async (policy, pods) => JSON.parse(await run(program, ['admit', policy], pods)),
  };
}

async function hashOfSource(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(SOURCE)).sort()) hash.update(name).update(await readFile(join(SOURCE, name)));
  return hash.digest('hex').slice(0, 16);
}

async function build(program: string): Promise<void> {
  const unfinished = `${program}.${process.pid}`;
  await mkdir(CACHE, { recursive: true });
  try {
    await promisify(execFile)('go', ['build', '-ldflags=-s -w', '-o', unfinished, '.'], { cwd: SOURCE });
  } catch (cause) {
    throw new Failure('missing', 'cannot build test/manifests/tool: it needs Go 1.26 and proxy.golang.org', { cause });
  }
  await rename(unfinished, program);
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

async function run(program: string, args: readonly string[], input = ''): Promise<string> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolveCode, reject) => child.on('close', resolveCode).on('error', reject));
  child.stdin.end(input);
  const [code, output, problem] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  if (code !== 0) throw new Failure('invalid', `${args.join(' ')}: ${problem.trim()}`);
  return output;
}
