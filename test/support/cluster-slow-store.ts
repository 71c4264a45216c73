import { readFileSync } from 'node:fs';
import { textAt } from '../../src/inject/tree.ts';
import type { Namespace } from './cluster.ts';
import type { Servers } from './cluster-servers.ts';
import { OPTIONS } from './pod-shape.ts';

const NAME = 'slow-store';
/** As test/support/bin/slow-store.ts has it. */
const PORT = 7071;
const PROGRAM = readFileSync(new URL('bin/slow-store.ts', import.meta.url), 'utf8');

/** The S3 server, over a link on which from some moment on only little gets through. */
export class SlowStore implements AsyncDisposable {
  readonly endpoint: string;
  readonly #namespace: Namespace;

  private constructor(namespace: Namespace, endpoint: string) {
    this.#namespace = namespace;
    this.endpoint = endpoint;
  }

  static async start({ cluster, s3Endpoint }: Servers): Promise<SlowStore> {
    const namespace = await cluster.openNamespace('restricted');
    await namespace.create(podTo(s3Endpoint));
    const pod = await namespace.untilCondition('pod', NAME, 'Ready');
    return new SlowStore(namespace, `http://${textAt(pod, 'status', 'podIP')}:${PORT}`);
  }

  /** From now on no snapshot gets done; records still pass, and everything is read. */
  async hold(): Promise<void> {
    const { cluster, name } = this.#namespace;
    await cluster.raw(`/api/v1/namespaces/${name}/pods/${NAME}:${PORT}/proxy/hold`);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#namespace[Symbol.asyncDispose]();
  }
}

function podTo(target: string): Parameters<Namespace['create']>[0] {
  const container = {
    name: NAME,
    image: OPTIONS.image,
    command: ['node', '--input-type=module-typescript', '--eval', PROGRAM],
    env: [{ name: 'TARGET', value: target }],
    readinessProbe: { tcpSocket: { port: PORT }, periodSeconds: 1 },
    securityContext: {
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
  };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: NAME },
    spec: { automountServiceAccountToken: false, terminationGracePeriodSeconds: 1, containers: [container] },
  };
}
