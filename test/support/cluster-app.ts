import { expect } from 'vitest';
import { parse, stringify } from 'yaml';
import { type Tree, textAt, treeAt, treesAt } from '../../src/inject/tree.ts';
import type { Cluster, Namespace } from './cluster.ts';
import { javaCommand, KAFKA_IMAGE, STREAMS_VERSION } from './cluster-images.ts';
import { COMMAND_PORT, followProgram, type Servers } from './cluster-servers.ts';
import { containerOf } from './container-log.ts';
import type { Guarantee, PrintedTask } from './kafka/protected-app.ts';
import { StreamsApp, settingsOf } from './kafka/streams-app.ts';
import type { Load } from './model.ts';
import { bareApplication, injected, readShipped } from './shipped.ts';
import type { PrintedStatus } from './sidecar.ts';

const PARTITIONS = 2;
const ASKS = { 'warmstate.dev/inject': 'true' };
/** Of two subtopologies, and the global one. */
export const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
/** Keeps a pod until it was looked at. */
const FINALIZER = 'test.warmstate.dev/look';
export const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 150, payloadBytes: 60 };

export interface PrintedRestore {
  readonly outcome: string;
  readonly tasks: readonly PrintedTask[];
}

interface Options {
  /** How warmstate comes into the pods: the manifest to paste, unless another is said. */
  readonly way?: 'pasted' | 'injected' | 'injected as for 1.28' | 'policy' | 'not at all';
  readonly kind: 'StatefulSet' | 'Deployment';
  readonly guarantee: Guarantee;
  readonly replicas?: number;
  /** Of warmstate, beside what Servers says. */
  readonly configuration?: Readonly<Record<string, string>>;
  readonly secret?: Readonly<Record<string, string>>;
  /** What is otherwise with the manifest, as a last word. */
  readonly change?: (manifest: Tree) => Tree;
}

/**
 * The application of test/streams-app in the pods of a Deployment or StatefulSet, with warmstate as the manifests of deploy/ have it, in a
 * namespace of its own where PodSecurity enforces `restricted`.
 */
export class AppInCluster implements AsyncDisposable {
  readonly namespace: Namespace;
  /** The application id, and the prefix of its topics. */
  readonly name: string;
  readonly #servers: Servers;
  readonly #options: Options;
  readonly #manifest: Tree;

  private constructor(namespace: Namespace, servers: Servers, options: Options, manifest: Tree) {
    this.namespace = namespace;
    this.name = namespace.name;
    this.#servers = servers;
    this.#options = options;
    this.#manifest = manifest;
  }

  static async start(servers: Servers, options: Options): Promise<AppInCluster> {
    const namespace = await servers.cluster.openNamespace('restricted');
    await servers.broker.createTopics(namespace.name, PARTITIONS);
    const { configuration, secret } = servers.settings;
    const quick = { WARMSTATE_INTERVAL: '1s', WARMSTATE_LOG_LEVEL: 'debug' };
    const data = { ...configuration, ...quick, ...options.configuration };
    const shared = [
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'warmstate' }, data },
      { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'warmstate' }, stringData: options.secret ?? secret },
    ];
    const text =
      (options.way ?? 'pasted') === 'pasted'
        ? readShipped(`${options.kind.toLowerCase()}.yaml`)
        : bareApplication(options.kind);
    const filled = filledIn(text, namespace.name, servers.broker.bootstrap, options);
    const complete = withWarmstate(filled, options.way);
    const manifest = options.change?.(complete) ?? complete;
    const app = new AppInCluster(namespace, servers, options, manifest);
    const objects = options.way === 'not at all' ? [manifest] : [...shared, manifest];
    expect(await namespace.apply(objects.map((each) => stringify(each)).join('---\n'))).toEqual([]);
    return app;
  }

  get manifest(): string {
    return stringify(this.#manifest);
  }

  get #workload(): string {
    return `${this.#options.kind.toLowerCase()}/${textAt(this.#manifest, 'metadata', 'name')}`;
  }

  /** Those that are not going, oldest first. */
  async pods(): Promise<readonly Tree[]> {
    const all = await this.namespace.list('pods');
    return all.filter((pod) => textAt(pod, 'metadata', 'deletionTimestamp') === undefined);
  }

  /** Deletes a pod; as it was when all its containers had ended. */
  async endOf(pod: Tree): Promise<Tree> {
    const name = nameOf(pod);
    const patch = (finalizers: readonly string[]): Promise<string> =>
      this.namespace.kubectl('patch', 'pod', name, '--type=merge', '-p', JSON.stringify({ metadata: { finalizers } }));
    await patch([FINALIZER]);
    await this.namespace.delete('pod', name, '--wait=false');
    const ended = await this.namespace.until(`${name} has ended`, async () => {
      const now = await this.namespace.get('pod', name);
      return /Succeeded|Failed/.test(textAt(now, 'status', 'phase') ?? '') ? now : undefined;
    });
    await patch([]);
    return ended;
  }

  /** The next pod with another identity than those, once there is one. */
  async podBeside(known: readonly Tree[]): Promise<Tree> {
    const uids = known.map(uidOf);
    return this.namespace.until('a new pod', async () => (await this.pods()).find((pod) => !uids.includes(uidOf(pod))));
  }

  /** The application of a pod, once it is RUNNING; after so many restarts of its container. */
  async running(pod: Tree, restarts = 0): Promise<StreamsApp> {
    const { broker } = this.#servers;
    const java = await followProgram(this.namespace, { pod: nameOf(pod), container: 'app', restarts });
    const { signal } = this.#servers;
    return StreamsApp.at(java, { broker, applicationId: this.name, topics: this.name, signal });
  }

  feed(from: number, to: number): Promise<void> {
    return this.#servers.broker.feed(this.name, LOAD, { from, to });
  }

  /** What `restore` came to in a pod, as its termination message says; waits for it. */
  async restored(pod: Tree): Promise<PrintedRestore> {
    const name = nameOf(pod);
    return this.namespace.until(`restore of ${name} has ended`, async () => {
      const restore = containerOf(await this.namespace.get('pod', name), 'warmstate-restore');
      const message = textAt(restore, 'state', 'terminated', 'message');
      return message === undefined ? undefined : restoreIn(message);
    });
  }

  /** Of the sidecar, once it listens. */
  async status(pod: Tree): Promise<PrintedStatus> {
    const name = nameOf(pod);
    return this.namespace.until(`${name} says its status`, async () =>
      JSON.parse(await this.namespace.exec(name, 'warmstate', 'warmstate', 'status', '--output', 'json')),
    );
  }

  /** Waits until the sidecar says that something is in the way, and what; of one area where that is said. */
  async problems(pod: Tree, inArea?: string): Promise<string> {
    return this.namespace.until(`${nameOf(pod)} says what is in the way`, async () => {
      const { problems } = await this.status(pod);
      const found = problems.filter(({ area }) => inArea === undefined || area === inArea);
      return found.length > 0 ? found.map(({ message }) => message).join('\n') : undefined;
    });
  }

  /** The value of one series of the sidecar's `/metrics`. */
  async metric(pod: Tree, series: string): Promise<number | undefined> {
    const metrics = await this.namespace.metrics(nameOf(pod));
    const line = metrics.split('\n').find((each) => each.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  }

  /** Waits until one series of the sidecar has a value. */
  async untilMetric(pod: Tree, series: string, isSo: (value: number) => boolean): Promise<void> {
    await this.namespace.until(`${series} of ${nameOf(pod)}`, async () => {
      const value = await this.metric(pod, series);
      return (value !== undefined && isSo(value)) || undefined;
    });
  }

  /** Waits until the repository has an entry of each of these tasks that is up to date. */
  async offered(pod: Tree, tasks: readonly string[]): Promise<void> {
    await this.namespace.until(`${tasks.join(', ')} of ${nameOf(pod)} are offered`, async () => {
      const { tasks: known } = await this.status(pod);
      return tasks.every((task) => known.some((each) => each.task === task && each.entry !== null)) || undefined;
    });
  }

  async scale(replicas: number): Promise<void> {
    await this.namespace.kubectl('scale', this.#workload, `--replicas=${replicas}`);
  }

  async restartRollout(): Promise<void> {
    await this.namespace.kubectl('rollout', 'restart', this.#workload);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.namespace[Symbol.asyncDispose]();
  }
}

export function nameOf(object: Tree): string {
  return textAt(object, 'metadata', 'name') ?? '';
}

export function uidOf(object: Tree): string {
  return textAt(object, 'metadata', 'uid') ?? '';
}

/** As `kill -9`. */
export async function killContainer(cluster: Cluster, pod: Tree, container: string): Promise<void> {
  const id = (textAt(containerOf(pod, container), 'containerID') ?? '').replace('containerd://', '');
  await cluster.inside('ctr', '-n', 'k8s.io', 'tasks', 'kill', '-s', 'SIGKILL', id);
}

/** What holds the pod's network: without it the kubelet starts the pod anew, on the same volumes. */
export async function killSandbox(cluster: Cluster, pod: Tree): Promise<void> {
  const filter = `labels."io.cri-containerd.kind"==sandbox,labels."io.kubernetes.pod.uid"==${uidOf(pod)}`;
  const ids = await cluster.inside('ctr', '-n', 'k8s.io', 'containers', 'list', '-q', filter);
  await cluster.inside('ctr', '-n', 'k8s.io', 'tasks', 'kill', '-s', 'SIGKILL', ids.trim());
}

/** The summary, then the JSON. */
function restoreIn(message: string): PrintedRestore | undefined {
  const json = message.split('\n').find((line) => line.startsWith('{'));
  return json === undefined ? undefined : JSON.parse(json);
}

/** With other pods. */
export function withPod(manifest: Tree, change: (spec: Tree) => Tree): Tree {
  const spec = treeAt(manifest, 'spec');
  const template = treeAt(spec, 'template');
  return { ...manifest, spec: { ...spec, template: { ...template, spec: change(treeAt(template, 'spec')) } } };
}

/** With other containers of warmstate. */
export function withContainers(manifest: Tree, change: (container: Tree) => Tree): Tree {
  return withPod(manifest, (pod) => ({ ...pod, initContainers: treesAt(pod, 'initContainers').map(change) }));
}

function withWarmstate(manifest: Tree, way: Options['way']): Tree {
  if (way !== 'injected' && way !== 'injected as for 1.28') return manifest;
  return parse(injected(stringify(manifest), { shape: way === 'injected' ? 'native' : 'beside' }));
}

/** What a manifest of deploy/ leaves to its user: the application id, the guarantee, and the container `app`. */
function filledIn(text: string, applicationId: string, bootstrap: string, options: Options): Tree {
  const { guarantee, replicas = 1, way } = options;
  const named = text.replaceAll(/((?:value|application-id): )(?:wordcount|clicks)\b/g, `$1${applicationId}`);
  const manifest: Tree = parse(named.replaceAll('exactly_once_v2', guarantee), { merge: true });
  const template = treeAt(manifest, 'spec', 'template');
  const pod = treeAt(template, 'spec');
  const settings = settingsOf({
    version: STREAMS_VERSION,
    broker: { bootstrap },
    applicationId,
    topics: applicationId,
    stateDir: '/var/lib/kafka-streams',
    guarantee,
    // Small write buffers make tables to capture while it runs. Under exactly-once nothing is before its close, and a
    // compaction that begins right after that has a task refused (Q1): few tables give it no reason to.
    ...(guarantee === 'at_least_once' ? { writeBufferBytes: 64 * 1024 } : {}),
  });
  const app = {
    ...treesAt(pod, 'containers')[0],
    image: KAFKA_IMAGE,
    command: javaCommand('application'),
    args: [...Object.entries(settings).map(([name, value]) => `${name}=${value}`), `podPort=${COMMAND_PORT}`],
    resources: { requests: { cpu: '50m', memory: '128Mi' } },
  };
  const labels = { ...treeAt(template, 'metadata', 'labels'), ...(way === 'policy' ? ASKS : {}) };
  const spec = {
    ...treeAt(manifest, 'spec'),
    replicas,
    template: { metadata: { ...treeAt(template, 'metadata'), labels }, spec: { ...pod, containers: [app] } },
  };
  return { ...manifest, spec };
}
