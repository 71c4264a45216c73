import { beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import { type Tree, textAt, treeAt, treesAt, withKeys } from '../../src/inject/tree.ts';
import { findConfigMaps } from '../../src/inject/workload.ts';
import { type Admitted, type KubernetesCode, openKubernetesCode } from '../support/kubernetes-code.ts';
import { podShape } from '../support/pod-shape.ts';
import { bareApplication, chart, DEPLOY, injected, readShipped, SHIPPED, withoutVolume } from '../support/shipped.ts';

const POLICY = `${DEPLOY}admission/policy.yaml`;
/** Every kind, and what it is called where it is an example. */
const KINDS = [
  ['StatefulSet', 'wordcount', 'controller-revision-hash'],
  ['Deployment', 'clicks', 'pod-template-hash'],
] as const;

let kubernetes: KubernetesCode;
beforeAll(async () => {
  kubernetes = await openKubernetesCode();
});

function documentsOf(stream: string): readonly Tree[] {
  return parseAllDocuments(stream, { merge: true }).flatMap((document) => treesAt([document.toJS()]));
}

/** What the only workload of a kind in a stream makes of a pod. */
function shapeIn(stream: string, kind: string): unknown {
  const documents = documentsOf(stream);
  const workloads = documents.filter((document) => document['kind'] === kind);
  expect(workloads).toHaveLength(1);
  return podShape(workloads[0], new Map(documents.flatMap(findConfigMaps)));
}

describe.each(KINDS)('a %s', (kind, name) => {
  const expected = (): unknown => shapeIn(injected(bareApplication(kind)), kind);

  test('to paste has the pod that inject makes', () => {
    expect(shapeIn(readShipped(`${kind.toLowerCase()}.yaml`), kind)).toEqual(expected());
  });

  test('of kustomize has the pod that inject makes', async () => {
    expect(shapeIn(await kubernetes.kustomize(`${DEPLOY}kustomize/example`), kind)).toEqual(expected());
  });

  test('of helm has the pod that inject makes', async () => {
    const sets = [`kind=${kind}`, `warmstate.applicationId=${name}`, `image=registry.example/${name}:1.0.0`];
    expect(shapeIn(await kubernetes.helm(`${DEPLOY}helm/example`, name, ...sets), kind)).toEqual(expected());
  });
});

describe('what is shipped', () => {
  test.each(SHIPPED)('%s is valid, and its pods are restricted', async (_what, stream) => {
    const verdicts = await kubernetes.validate(await stream(kubernetes));
    expect(verdicts.length).toBeGreaterThan(0);
    expect(verdicts.filter(({ problem, restricted }) => problem !== '' || restricted.length > 0)).toEqual([]);
  });

  test('would not pass with a field that does not exist, a wrong type, or a privilege', async () => {
    const problemsWith = async (from: string, to: string): Promise<unknown> => {
      const text = readShipped('statefulset.yaml');
      expect(text).toContain(from);
      const [verdict] = await kubernetes.validate(text.replace(from, to));
      return verdict?.problem === '' ? verdict.restricted : verdict?.problem;
    };
    expect(await problemsWith('restartPolicy: Always', 'restartPolicyy: Always')).toContain(
      'unknown field "spec.template.spec.initContainers[1].restartPolicyy"',
    );
    expect(await problemsWith('periodSeconds: 30', 'periodSeconds: often')).toContain('periodSeconds');
    expect(await problemsWith('allowPrivilegeEscalation: false', 'allowPrivilegeEscalation: true')).toEqual([
      expect.stringContaining('allowPrivilegeEscalation'),
    ]);
  });

  test('refuses a chart that says no application id', async () => {
    await expect(chart(kubernetes, 'warmstate.applicationId=null')).rejects.toThrow(
      'warmstate.applicationId is not set',
    );
  });
});

describe('the admission policy', () => {
  /** A pod as the controller of a workload makes it. */
  function podOf(kind: string, change: (pod: Tree) => Tree = (pod) => pod): Tree {
    const [workload] = documentsOf(bareApplication(kind));
    const template = treeAt(workload, 'spec', 'template');
    const hash = KINDS.find(([each]) => each === kind)?.[2] ?? '';
    const labels = { ...treeAt(template, 'metadata', 'labels'), 'warmstate.dev/inject': 'true', [hash]: 'abc' };
    const metadata = { ...treeAt(template, 'metadata'), name: 'p', namespace: 'streams', labels };
    return change({ apiVersion: 'v1', kind: 'Pod', metadata, spec: treeAt(template, 'spec') });
  }

  async function admit(...pods: readonly Tree[]): Promise<readonly Admitted[]> {
    const admitted = await kubernetes.admit(POLICY, pods.map((pod) => stringify(pod)).join('---\n'));
    expect(admitted).toHaveLength(pods.length);
    return admitted;
  }

  const inSpec =
    (values: Tree) =>
    (pod: Tree): Tree => ({ ...pod, spec: { ...treeAt(pod, 'spec'), ...values } });
  const inContainer =
    (values: Tree) =>
    (pod: Tree): Tree =>
      inSpec({ containers: treesAt(pod, 'spec', 'containers').map((container) => ({ ...container, ...values })) })(pod);
  const annotated =
    (annotations: Tree) =>
    (pod: Tree): Tree => ({
      ...pod,
      metadata: withKeys(treeAt(pod, 'metadata'), {
        annotations: { ...treeAt(pod, 'metadata', 'annotations'), ...annotations },
      }),
    });
  const settings = new Map([['warmstate', treeAt(documentsOf(readShipped('admission/configmap.yaml'))[0], 'data')]]);

  test.each(KINDS)('makes of the pod of a %s what inject makes of it', async (kind) => {
    const [admitted] = await admit(podOf(kind));
    expect(admitted).toMatchObject({ matched: true, error: '' });
    expect(podShape(admitted?.pod, settings)).toEqual(shapeIn(injected(bareApplication(kind)), kind));
    const verdicts = await kubernetes.validate(stringify(admitted?.pod));
    expect(verdicts).toEqual([{ kind: 'Pod', name: 'p', problem: '', restricted: [] }]);
  });

  test('needs no ConfigMap: only the settings that it would have are missing', async () => {
    const [policy, binding] = documentsOf(readShipped('admission/policy.yaml'));
    expect([treeAt(policy, 'spec')['paramKind'], treeAt(binding, 'spec')['paramRef']]).toEqual([undefined, undefined]);
    const [admitted] = await admit(podOf('StatefulSet'));
    const container = treesAt(admitted?.pod, 'spec', 'initContainers')[0];
    expect(treesAt(container, 'envFrom').map((source) => Object.values(source))).toEqual([
      [{ name: 'warmstate', optional: true }],
      [{ name: 'warmstate', optional: true }],
    ]);
  });

  test('leaves alone what it does not understand, and what has warmstate already', async () => {
    const [plain] = await admit(podOf('StatefulSet'));
    const unnamed = podOf('StatefulSet', (pod) => ({
      ...pod,
      metadata: { name: 'p', labels: { 'warmstate.dev/inject': 'true' } },
    }));
    const elsewhere = podOf('StatefulSet', annotated({ 'warmstate.dev/state-volume': 'other' }));
    const expanded = podOf(
      'StatefulSet',
      inContainer({ volumeMounts: [{ name: 'state', mountPath: '/s', subPathExpr: '$(POD)' }] }),
    );
    const volumeless = podOf('StatefulSet', inSpec({ volumes: undefined }));
    const pods = [plain?.pod ?? {}, unnamed, elsewhere, expanded, volumeless];
    const admitted = await admit(...pods);
    expect(admitted.map(({ matched, error }) => [matched, error])).toEqual([
      [false, 'not-injected-yet'],
      [false, 'has-an-application-id'],
      [false, 'has-a-state-volume'],
      [false, 'has-a-state-volume'],
      [false, 'has-a-state-volume'],
    ]);
  });

  test('goes in front of other init containers, and takes volume, path, user and time from the pod', async () => {
    const change = (pod: Tree): Tree =>
      [
        inSpec({
          initContainers: [{ name: 'migrate', image: 'm' }],
          terminationGracePeriodSeconds: 45,
          volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'c' } }],
        }),
        inContainer({
          securityContext: { runAsUser: 7, runAsGroup: 8 },
          volumeMounts: [{ name: 'data', mountPath: '/data', subPath: 's' }],
        }),
        annotated({ 'warmstate.dev/state-volume': 'data', 'warmstate.dev/state-dir-limit': '' }),
      ].reduce((changed, step) => step(changed), pod);
    const [admitted] = await admit(podOf('Deployment', change));
    expect(admitted).toMatchObject({ matched: true, error: '' });
    const inits = treesAt(admitted?.pod, 'spec', 'initContainers');
    expect(inits.map(({ name }) => name)).toEqual(['warmstate-restore', 'warmstate', 'migrate']);
    expect(inits[1]).toMatchObject({
      securityContext: { runAsUser: 7, runAsGroup: 8, runAsNonRoot: true },
      volumeMounts: [{ name: 'data', mountPath: '/data', subPath: 's', readOnly: true }],
    });
    const values = Object.fromEntries(
      treesAt(inits[1], 'env').map((variable) => [variable['name'], textAt(variable, 'value')]),
    );
    expect(values).toMatchObject({ WARMSTATE_STATE_DIR: '/data', WARMSTATE_TERMINATION_GRACE_PERIOD: '45s' });
    expect(treeAt(admitted?.pod, 'spec')['terminationGracePeriodSeconds']).toBe(45);
    expect(treeAt(admitted?.pod, 'metadata', 'annotations')).not.toHaveProperty([
      'backup.velero.io/backup-volumes-excludes',
    ]);
  });

  test('gives an application that runs as root no user that it could not start as', async () => {
    const [own, pods] = await admit(
      podOf('Deployment', inContainer({ securityContext: { runAsUser: 0 } })),
      podOf('Deployment', inSpec({ securityContext: { runAsUser: 0 } })),
    );
    const contexts = [own, pods].map((admitted) =>
      treeAt(treesAt(admitted?.pod, 'spec', 'initContainers')[0], 'securityContext'),
    );
    expect(contexts.map(({ runAsUser, runAsNonRoot }) => [runAsUser, runAsNonRoot])).toEqual([
      [0, undefined],
      [undefined, undefined],
    ]);
  });
});

describe('the policy that explains', () => {
  const EXPLANATION = `${DEPLOY}admission/explanation.yaml`;
  const asking = (text: string): string =>
    text.replace(/^ {8}app\.kubernetes\.io\/name: .*/m, '$&\n        warmstate.dev/inject: "true"');
  const explain = async (...texts: string[]): Promise<readonly (readonly string[])[]> =>
    await kubernetes.explain(EXPLANATION, texts.join('---\n'));

  test('says nothing of what the other one changes, nor of what does not ask, nor of what has warmstate', async () => {
    const bad = bareApplication('Deployment').replaceAll(/ {8}warmstate\.dev\/.*\n/g, '');
    const ready = injected(asking(bareApplication('StatefulSet')));
    expect(
      await explain(asking(bareApplication('StatefulSet')), asking(bareApplication('Deployment')), bad, ready),
    ).toEqual([[], [], [], []]);
  });

  test('says why warmstate is not added, and what it will not store', async () => {
    const text = asking(bareApplication('Deployment'));
    const without = (name: string): string => text.replace(new RegExp(` {8}warmstate\\.dev/${name}.*\n`), '');
    const noVolume = 'warmstate is not added: no container mounts a volume state that it may write';
    const elsewhere = 'warmstate is not added: no container mounts a volume cache that it may write';
    expect(
      await explain(
        without('application-id'),
        without('processing-guarantee'),
        text.replaceAll('name: state', 'name: cache'),
        text.replace(/( {8})warmstate\.dev\/state-dir-limit.*/, '$1warmstate.dev/state-volume: cache'),
        text.replace('mountPath: /var/lib/kafka-streams}', 'mountPath: /x, readOnly: true}'),
        withoutVolume(text),
      ),
    ).toEqual([
      ['warmstate is not added: the pods have no annotation warmstate.dev/application-id'],
      [expect.stringContaining('the pods have no annotation warmstate.dev/processing-guarantee')],
      [noVolume],
      [elsewhere],
      [noVolume],
      [noVolume],
    ]);
  });

  test('refuses nothing', () => {
    const [policy, binding] = documentsOf(readShipped('admission/explanation.yaml'));
    expect([treeAt(policy, 'spec')['failurePolicy'], treeAt(binding, 'spec')['validationActions']]).toEqual([
      'Ignore',
      ['Warn'],
    ]);
  });
});
