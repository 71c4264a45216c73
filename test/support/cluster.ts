import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { inject } from 'vitest';
import { type Tree, textAt, treesAt } from '../../src/inject/tree.ts';
import { runInside, spawnInside } from './cluster-node.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The directory of the cluster that test/cluster/setup.ts holds. */
    readonly cluster: string;
  }
}

const POLL_MS = 300;
/** Of one wait: a pod takes seconds, and a machine that others use as well ten times that. */
const PATIENCE_MS = 180_000;

/** The cluster of this run, by kubectl. A test makes its things in a namespace of its own. */
export class Cluster {
  /** What it writes lies below it, volumes and logs of pods too. */
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Without a directory the one of this run. */
  static open(directory?: string): Cluster {
    return new Cluster(directory ?? inject('cluster'));
  }

  /** A command in the node: its network reaches pods, its `ctr -n k8s.io` their containers. */
  async inside(...command: readonly string[]): Promise<string> {
    return (await runInside(this.directory, command)).stdout;
  }

  async kubectl(...args: readonly string[]): Promise<string> {
    return this.inside('kubectl', ...args);
  }

  /** What it writes to its standard output, until it ends or is killed. */
  follow(...args: readonly string[]): ReturnType<typeof spawnInside> {
    return spawnInside(this.directory, ['kubectl', ...args]);
  }

  /** What the API server answers at a path, such as `/api/v1/namespaces/N/pods/P:PORT/proxy/metrics`. */
  async raw(path: string): Promise<string> {
    return this.kubectl('get', '--raw', path);
  }

  /** Applies a stream of documents; the warnings of the API server, one a line. */
  async apply(stream: string, ...options: readonly string[]): Promise<readonly string[]> {
    const command = ['kubectl', 'apply', '--validate=strict', '-f', '-', ...options];
    const { stderr } = await runInside(this.directory, command, stream);
    return stderr.split('\n').filter((line) => line.startsWith('Warning:'));
  }

  /** What the API server makes of an object. */
  async create(object: Tree, ...options: readonly string[]): Promise<Tree> {
    const command = ['kubectl', 'create', '--validate=strict', '-o', 'json', '-f', '-', ...options];
    return JSON.parse((await runInside(this.directory, command, JSON.stringify(object))).stdout);
  }

  async get(kind: string, name: string, ...options: readonly string[]): Promise<Tree> {
    return JSON.parse(await this.kubectl('get', kind, name, '-o', 'json', ...options));
  }

  /** `options` such as `-l app=orders`, word by word. */
  async list(kind: string, ...options: readonly string[]): Promise<readonly Tree[]> {
    return treesAt(JSON.parse(await this.kubectl('get', kind, '-o', 'json', ...options)), 'items');
  }

  /** An archive as `docker save` and `buildah push docker-archive:` write it, under the name that it carries. */
  async importImage(archive: string): Promise<void> {
    await this.inside('ctr', '-n', 'k8s.io', 'images', 'import', resolve(archive));
  }

  /** Whatever is in it goes with it. `restricted` and `baseline` are enforced by PodSecurity, and warned of. */
  async openNamespace(
    security: 'restricted' | 'baseline' | 'privileged' = 'restricted',
    name = `test-${randomBytes(4).toString('hex')}`,
  ): Promise<Namespace> {
    await this.kubectl('create', 'namespace', name);
    const modes = ['enforce', 'warn'].map((mode) => `pod-security.kubernetes.io/${mode}=${security}`);
    await this.kubectl('label', 'namespace', name, ...modes);
    // Without it the API server refuses pods; its controller takes a moment.
    await until(`namespace ${name} has a service account`, () => this.get('serviceaccount', 'default', '-n', name));
    return new Namespace(this, name);
  }
}

/** The same, within a namespace. */
export class Namespace implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly name: string;

  constructor(cluster: Cluster, name: string) {
    this.cluster = cluster;
    this.name = name;
  }

  async kubectl(...args: readonly string[]): Promise<string> {
    // In front: what follows a `--` is a command for a container.
    return this.cluster.kubectl('-n', this.name, ...args);
  }

  async apply(stream: string, ...options: readonly string[]): Promise<readonly string[]> {
    return this.cluster.apply(stream, '-n', this.name, ...options);
  }

  async create(object: Tree, ...options: readonly string[]): Promise<Tree> {
    return this.cluster.create(object, '-n', this.name, ...options);
  }

  async get(kind: string, name: string): Promise<Tree> {
    return this.cluster.get(kind, name, '-n', this.name);
  }

  async list(kind: string, ...options: readonly string[]): Promise<readonly Tree[]> {
    return this.cluster.list(kind, '-n', this.name, ...options);
  }

  async delete(kind: string, name: string, ...options: readonly string[]): Promise<void> {
    await this.kubectl('delete', kind, name, ...options);
  }

  /** `options` such as `--previous`. */
  async logs(pod: string, container: string, ...options: readonly string[]): Promise<string> {
    return this.kubectl('logs', pod, '-c', container, ...options);
  }

  async exec(pod: string, container: string, ...command: readonly string[]): Promise<string> {
    return this.kubectl('exec', pod, '-c', container, '--', ...command);
  }

  /** What the sidecar of a pod tells Prometheus, once it listens: a pod may be Ready before. */
  async metrics(pod: string): Promise<string> {
    const path = `/api/v1/namespaces/${this.name}/pods/${pod}:10464/proxy/metrics`;
    return this.until(`${pod} answers with its metrics`, () => this.cluster.raw(path));
  }

  /** What was said of an object, as `Reason: message`, oldest first. */
  async events(name: string): Promise<readonly string[]> {
    const events = await this.list('events', '--field-selector', `involvedObject.name=${name}`);
    return events
      .toSorted((a, b) => seenAt(a).localeCompare(seenAt(b)))
      .map((event) => `${textAt(event, 'reason')}: ${textAt(event, 'message')}`);
  }

  /** Asks until there is an answer; where there is none, what the cluster says of the namespace stands in the error. */
  async until<T>(what: string, ask: () => Promise<T | undefined>, patienceMs = PATIENCE_MS): Promise<T> {
    try {
      return await until(what, ask, patienceMs);
    } catch (cause) {
      const pods = await this.kubectl('get', 'pods,events', '-o', 'wide').catch(String);
      throw new Error(`waited in vain: ${what}\n${pods}`, { cause });
    }
  }

  /** Waits for a condition such as `Ready` of a pod or `Available` of a Deployment. */
  async untilCondition(kind: string, name: string, type: string): Promise<Tree> {
    return this.until(`${kind} ${name} is ${type}`, async () => {
      const object = await this.get(kind, name);
      const condition = treesAt(object, 'status', 'conditions').find((each) => each['type'] === type);
      return condition?.['status'] === 'True' ? object : undefined;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster.kubectl('delete', 'namespace', this.name, '--wait=false');
    await this.kubectl('delete', 'pods', '--all', '--grace-period=0', '--force', '--wait=false');
  }
}

function seenAt(event: Tree): string {
  return textAt(event, 'lastTimestamp') ?? textAt(event, 'eventTime') ?? '';
}

/** A question that fails is asked again: what it is about may not be there yet. */
async function until<T>(what: string, ask: () => Promise<T | undefined>, patienceMs = PATIENCE_MS): Promise<T> {
  const patience = AbortSignal.timeout(patienceMs);
  for (;;) {
    let failure: unknown;
    const answer = await ask().catch((error: unknown) => {
      failure = error;
      return undefined;
    });
    if (answer !== undefined) return answer;
    if (patience.aborted) throw new Error(`waited in vain: ${what}`, { cause: failure });
    await delay(POLL_MS);
  }
}
