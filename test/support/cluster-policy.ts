import { parseAllDocuments } from 'yaml';
import { treesAt } from '../../src/inject/tree.ts';
import type { Cluster } from './cluster.ts';
import { readShipped } from './shipped.ts';

/** The policy of deploy/admission, in force; it goes with what is returned. */
export async function openPolicy(cluster: Cluster): Promise<AsyncDisposable> {
  const policy = readShipped('admission/policy.yaml');
  await using held = new AsyncDisposableStack();
  await cluster.apply(policy);
  held.defer(async () => {
    for (const document of parseAllDocuments(policy)) {
      const { kind, metadata } = document.toJS();
      await cluster.kubectl('delete', kind, metadata.name);
    }
  });
  // Some seconds after it was created the API server obeys it.
  await using namespace = await cluster.openNamespace('baseline');
  await namespace.until('the policy is in force', async () => {
    const made = await namespace.create(POD, '--dry-run=server');
    return treesAt(made, 'spec', 'initContainers').length > 0 || undefined;
  });
  return held.move();
}

const POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'first',
    labels: { 'warmstate.dev/inject': 'true' },
    annotations: { 'warmstate.dev/application-id': 'first' },
  },
  spec: {
    containers: [
      { name: 'app', image: 'cluster.local/pause:1', volumeMounts: [{ name: 'state', mountPath: '/state' }] },
    ],
    volumes: [{ name: 'state', emptyDir: {} }],
  },
};
