import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { textAt, treesAt } from '../../src/inject/tree.ts';
import { Cluster, type Namespace } from '../support/cluster.ts';
import { type KubernetesCode, openKubernetesCode } from '../support/kubernetes-code.ts';
import { DEPLOY, readShipped, SHIPPED } from '../support/shipped.ts';

const cluster = Cluster.open();
const held = new AsyncDisposableStack();
let kubernetes: KubernetesCode;
let namespace: Namespace;

beforeAll(async () => {
  kubernetes = await openKubernetesCode();
  namespace = held.use(await cluster.openNamespace('restricted'));
});
afterAll(() => held.disposeAsync());

/** kubectl takes a stream for one namespace only where its documents name no other. */
const here = (stream: string): string => stream.replaceAll('namespace: streams', `namespace: ${namespace.name}`);

test.each(SHIPPED)('%s is taken by the API server, without a warning', async (_what, stream) => {
  expect(await namespace.apply(here(await stream(kubernetes)), '--dry-run=server')).toEqual([]);
});

describe('monitoring', () => {
  beforeAll(async () => {
    for (const kind of ['podmonitors', 'prometheusrules']) {
      const definition = new URL(`../fixtures/prometheus-operator/${kind}.yaml`, import.meta.url);
      await cluster.apply(readFileSync(definition, 'utf8'));
      const name = `crd/${kind}.monitoring.coreos.com`;
      await cluster.kubectl('wait', '--for=condition=established', name, '--timeout=120s');
    }
    // It serves them a moment after it says so.
    const monitor = readShipped('monitoring/podmonitor.yaml');
    await namespace.until('they are served', () => namespace.apply(monitor, '--dry-run=server'));
  });

  test('is taken by the API server that knows the definitions of the Prometheus operator', async () => {
    const stream = await kubernetes.kustomize(`${DEPLOY}monitoring`);
    expect(['PodMonitor', 'PrometheusRule', 'ConfigMap'].filter((kind) => !stream.includes(`kind: ${kind}`))).toEqual(
      [],
    );
    expect(await namespace.apply(stream, '--dry-run=server')).toEqual([]);
  });

  test('would not be taken with a field that the operator does not know', async () => {
    const wrong = readShipped('monitoring/podmonitor.yaml').replace('podMetricsEndpoints', 'podMetricEndpoints');
    await expect(namespace.apply(wrong, '--dry-run=server')).rejects.toThrow('unknown field "spec.podMetricEndpoints"');
    const rules = readShipped('monitoring/rules.yaml').replace('alert: ', 'alerts: ');
    await expect(namespace.apply(rules, '--dry-run=server')).rejects.toThrow(/unknown field "spec\.groups\[\d+\]/);
  });
});

describe('the API server', () => {
  const changed = (from: string, to: string): string => {
    const text = readShipped('statefulset.yaml');
    expect(text).toContain(from);
    return text.replaceAll(from, to);
  };

  test('refuses a field that does not exist and a value of the wrong type', async () => {
    await expect(
      namespace.apply(changed('restartPolicy: Always', 'restartPolicyy: Always'), '--dry-run=server'),
    ).rejects.toThrow('unknown field "spec.template.spec.initContainers[1].restartPolicyy"');
    await expect(
      namespace.apply(changed('periodSeconds: 30', 'periodSeconds: often'), '--dry-run=server'),
    ).rejects.toThrow('periodSeconds');
  });

  test('lets the pods of both kinds into a namespace that enforces restricted, and a privileged one not', async () => {
    const privileged = changed('allowPrivilegeEscalation: false', 'allowPrivilegeEscalation: true')
      .replace('name: wordcount', 'name: privileged')
      .replaceAll('kubernetes.io/name: wordcount', 'kubernetes.io/name: privileged');
    const [warning = ''] = await namespace.apply(privileged);
    expect(warning).toContain('would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false');
    expect(await namespace.apply(readShipped('statefulset.yaml'))).toEqual([]);
    expect(await namespace.apply(readShipped('deployment.yaml'))).toEqual([]);
    const pods = await namespace.until('both have pods', async () => {
      const owners = (await namespace.list('pods')).map((pod) => textAt(pod, 'metadata', 'ownerReferences', 0, 'kind'));
      return owners.includes('StatefulSet') && owners.includes('ReplicaSet') ? namespace.list('pods') : undefined;
    });
    expect(pods.flatMap((pod) => treesAt(pod, 'spec', 'initContainers')).map((each) => each['name'])).toContain(
      'warmstate-restore',
    );
    const refusal = await namespace.until('the privileged one is refused', async () =>
      (await namespace.events('privileged')).find((event) => event.startsWith('FailedCreate')),
    );
    expect(refusal).toContain('is forbidden: violates PodSecurity "restricted:latest"');
  });
});
