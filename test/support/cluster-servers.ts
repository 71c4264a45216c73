import { afterAll, beforeAll } from 'vitest';
import { stringify } from 'yaml';
import { textAt, treesAt } from '../../src/inject/tree.ts';
import { Cluster, Namespace } from './cluster.ts';
import { BUCKET, javaCommand, KAFKA_IMAGE, makeTestImages, S3_IMAGE } from './cluster-images.ts';
import { ContainerLog } from './container-log.ts';
import { Broker, CLUSTER_ID, serverProperties } from './kafka/broker.ts';
import { ControlledProcess } from './kafka/controlled-process.ts';
import { openTempDirectory } from './temp-directory.ts';

const NAMESPACE = 'servers';
const KAFKA_PORT = 9092;
const S3_PORT = 7070;
/** Where the broker and the application take commands. */
export const COMMAND_PORT = 8080;
const KEYS = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'testtest' };

/** For the tests of one file: there before the first of them. What still waits after the last, or after so long, is given up. */
export function openServersOfFile(patienceMs: number): () => Servers {
  const ended = new AbortController();
  const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(patienceMs)]);
  let servers: Servers | undefined;
  beforeAll(async () => {
    servers = await Servers.open(Cluster.open(), signal);
  });
  afterAll(async () => {
    ended.abort();
    await servers?.[Symbol.asyncDispose]();
  });
  return () => {
    if (servers === undefined) throw new Error('bug: a test asks for the servers before it runs');
    return servers;
  };
}

/**
 * A broker and an S3 server in the network of the node, for all tests of a run. The cluster has neither DNS nor services: the node's
 * address is what stays.
 */
export class Servers implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly broker: Broker;
  readonly s3Endpoint: string;
  /** Aborts what waits for what happens beside them. */
  readonly signal: AbortSignal;
  readonly #log: ControlledProcess;

  private constructor(cluster: Cluster, { log, broker, address, signal }: Started) {
    this.cluster = cluster;
    this.signal = signal;
    this.broker = broker;
    this.s3Endpoint = `http://${address}:${S3_PORT}`;
    this.#log = log;
  }

  /** Started by the first who asks. */
  static async open(cluster: Cluster, signal: AbortSignal): Promise<Servers> {
    const address = await addressOf(cluster);
    const images = await cluster.inside('ctr', '-n', 'k8s.io', 'images', 'list', '-q');
    if (!images.split('\n').includes(S3_IMAGE)) await importImages(cluster);
    await cluster.apply(manifests(address));
    const namespace = new Namespace(cluster, NAMESPACE);
    await namespace.untilCondition('pod', 's3', 'Ready');
    await namespace.untilCondition('pod', 'broker', 'Ready');
    const log = await followProgram(namespace, { pod: 'broker', container: 'broker' });
    const broker = Broker.at(`${address}:${KAFKA_PORT}`, log, signal);
    await broker.endOffsets();
    return new Servers(cluster, { log, broker, address, signal });
  }

  /** The settings that warmstate has in common in a namespace: what the ConfigMap and the Secret `warmstate` hold. */
  get settings(): { readonly configuration: Readonly<Record<string, string>>; readonly secret: typeof KEYS } {
    const configuration = {
      WARMSTATE_DESTINATION: `s3://${BUCKET}/kafka-streams`,
      WARMSTATE_S3_ENDPOINT: this.s3Endpoint,
      AWS_REGION: 'us-east-1',
    };
    return { configuration, secret: KEYS };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#log.kill();
  }
}

interface Started {
  readonly log: ControlledProcess;
  readonly broker: Broker;
  readonly address: string;
  readonly signal: AbortSignal;
}

async function addressOf(cluster: Cluster): Promise<string> {
  const [node] = await cluster.list('nodes');
  const internal = treesAt(node, 'status', 'addresses').find((each) => each['type'] === 'InternalIP');
  return textAt(internal, 'address') ?? '';
}

async function importImages(cluster: Cluster): Promise<void> {
  await using directory = await openTempDirectory();
  for (const image of await makeTestImages(directory.path)) await cluster.importImage(image);
}

function manifests(address: string): string {
  const bootstrap = `${address}:${KAFKA_PORT}`;
  const properties = serverProperties({
    bootstrap,
    controllerPort: KAFKA_PORT + 1,
    directory: '/tmp/broker',
    listeners: new Map(),
    protocols: {},
    more: {},
  });
  const configuration = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'broker', namespace: NAMESPACE },
    data: { 'server.properties': properties },
  };
  const broker = {
    name: 'broker',
    image: KAFKA_IMAGE,
    command: javaCommand('broker'),
    args: [
      'properties=/etc/broker/server.properties',
      `bootstrap=${bootstrap}`,
      `clusterId=${CLUSTER_ID}`,
      `podPort=${COMMAND_PORT}`,
    ],
    readinessProbe: { tcpSocket: { port: COMMAND_PORT }, periodSeconds: 1 },
    // Whoever asks for nothing gets nothing where several applications start at once.
    resources: { requests: { cpu: '300m', memory: '512Mi' } },
    volumeMounts: [{ name: 'configuration', mountPath: '/etc/broker' }],
  };
  const s3 = {
    name: 's3',
    image: S3_IMAGE,
    command: ['/versitygw', '--access', KEYS.AWS_ACCESS_KEY_ID, '--secret', KEYS.AWS_SECRET_ACCESS_KEY],
    args: ['--port', `:${S3_PORT}`, '--quiet', 'posix', '--sidecar', '/data/metadata', '/data/objects'],
    readinessProbe: { tcpSocket: { port: S3_PORT }, periodSeconds: 1 },
  };
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    configuration,
    pod(broker, [{ name: 'configuration', configMap: { name: 'broker' } }]),
    pod(s3, []),
  ]
    .map((each) => stringify(each))
    .join('---\n');
}

function pod(container: { readonly name: string }, volumes: readonly unknown[]): unknown {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: container.name, namespace: NAMESPACE },
    spec: {
      hostNetwork: true,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      containers: [container],
      volumes,
    },
  };
}

/** A program of test/streams-app in a container: its events are its log, its commands go over the API server. */
export async function followProgram(
  namespace: Namespace,
  where: { readonly pod: string; readonly container: string; readonly restarts?: number },
): Promise<ControlledProcess> {
  const { pod, container } = where;
  const log = await ContainerLog.follow(namespace, where);
  const base = `/api/v1/namespaces/${namespace.name}/pods/${pod}:${COMMAND_PORT}/proxy`;
  return ControlledProcess.follow(`${container} of ${pod}`, {
    pid: 0,
    nextLine: () => log.nextLine(),
    kill: () => log.close(),
    ask: (pathAndQuery) => namespace.cluster.raw(`${base}${pathAndQuery}`),
  });
}
