import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { at, named, type Tree, textAt, treeAt, treesAt } from '../../src/inject/tree.ts';
import { Cluster, type Namespace } from '../support/cluster.ts';
import { readShipped } from '../support/shipped.ts';

const cluster = Cluster.open();
const held = new AsyncDisposableStack();
const KINDS = ['StatefulSet', 'Deployment'] as const;

/** An application that does nothing, for nothing is asked of it but to be there. */
function workload(kind: string, name: string, change: { labels?: Tree; annotations?: Tree } = {}): string {
  const labels = { app: name, 'warmstate.dev/inject': 'true', ...change.labels };
  const annotations = change.annotations ?? {
    'warmstate.dev/application-id': name,
    'warmstate.dev/processing-guarantee': 'at_least_once',
  };
  const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
  const container = {
    name: 'app',
    image: 'cluster.local/pause:1',
    securityContext,
    volumeMounts: [{ name: 'state', mountPath: '/var/lib/kafka-streams' }],
  };
  const pod = {
    securityContext: { runAsNonRoot: true, runAsUser: 1001, fsGroup: 1001, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [container],
    volumes: [{ name: 'state', emptyDir: {} }],
  };
  return JSON.stringify({
    apiVersion: 'apps/v1',
    kind,
    metadata: { name },
    spec: {
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels, annotations }, spec: pod },
    },
  });
}

const initContainers = (pod: Tree): readonly unknown[] =>
  treesAt(pod, 'spec', 'initContainers').map((container) => container['name']);

async function podOf(namespace: Namespace, name: string): Promise<Tree> {
  return namespace.until(
    `there is a pod of ${name}`,
    async () => (await namespace.list('pods', '-l', `app=${name}`))[0],
  );
}

beforeAll(async () => {
  const policies = ['policy', 'explanation'].map((name) => readShipped(`admission/${name}.yaml`));
  for (const policy of policies) {
    await cluster.apply(policy);
    held.defer(async () => {
      for (const document of parseAllDocuments(policy)) {
        const { kind, metadata } = document.toJS();
        await cluster.kubectl('delete', kind, metadata.name);
      }
    });
  }
  // Some seconds after it was created the API server obeys a policy.
  await using namespace = await cluster.openNamespace('restricted');
  const template = treeAt(JSON.parse(workload('Deployment', 'first')), 'spec', 'template');
  const pod = {
    ...template,
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...treeAt(template, 'metadata'), name: 'first' },
  };
  await namespace.until('both policies are in force', async () => {
    const made = initContainers(await namespace.create(pod, '--dry-run=server'));
    const warnings = await namespace.apply(workload('Deployment', 'first', { annotations: {} }), '--dry-run=server');
    return made.length > 0 && warnings.length > 0 ? true : undefined;
  });
});
afterAll(() => held.disposeAsync());

test.each(KINDS)('the pods of a %s are made with warmstate, without a ConfigMap too', async (kind) => {
  await using namespace = await cluster.openNamespace('restricted');
  expect(await namespace.apply(workload(kind, 'orders'))).toEqual([]);
  const made = await podOf(namespace, 'orders');
  expect(initContainers(made)).toEqual(['warmstate-restore', 'warmstate']);
  const name = textAt(made, 'metadata', 'name') ?? '';
  const pod = await namespace.untilCondition('pod', name, 'Ready');
  const status = treesAt(pod, 'status', 'initContainerStatuses');
  // No destination: nothing is restored, nothing is stored, and the application runs.
  expect(at(named(status, 'warmstate-restore'), ['state', 'terminated', 'exitCode'])).toBe(0);
  expect(textAt(named(status, 'warmstate-restore'), 'state', 'terminated', 'message')).toContain(
    'cannot restore: --destination is not set',
  );
  expect(at(named(status, 'warmstate'), ['restartCount'])).toBe(0);
  const metrics = await namespace.metrics(name);
  expect(metrics).toContain('\nwarmstate_config_valid 0\n');
});

test('the settings of the namespace come from its ConfigMap', async () => {
  await using namespace = await cluster.openNamespace('restricted');
  const data = { WARMSTATE_DESTINATION: 'file:///tmp/repository' };
  await namespace.apply(JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'warmstate' }, data }));
  await namespace.apply(workload('StatefulSet', 'orders'));
  await namespace.untilCondition('pod', 'orders-0', 'Ready');
  const metrics = await namespace.metrics('orders-0');
  expect(metrics).toContain('\nwarmstate_config_valid 1\n');
  expect(metrics).toContain(`lineage="${namespace.name}"`);
});

test('pods that do not ask, and those that say no application id, are made as they are', async () => {
  await using namespace = await cluster.openNamespace('restricted');
  expect(
    await namespace.apply(workload('Deployment', 'silent', { labels: { 'warmstate.dev/inject': undefined } })),
  ).toEqual([]);
  // What a controller is told about its pods nobody reads: so this is said of the Deployment.
  const warnings = await namespace.apply(workload('Deployment', 'unnamed', { annotations: {} }));
  expect(warnings.join('\n')).toContain(
    'warmstate is not added: the pods have no annotation warmstate.dev/application-id',
  );
  expect(initContainers(await podOf(namespace, 'silent'))).toEqual([]);
  expect(initContainers(await podOf(namespace, 'unnamed'))).toEqual([]);
});
