import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { isFailure } from '../base/failure.ts';
import { cleanManifests, injectManifests, type Result } from './manifests.ts';
import { at, type Path, textAt, treesAt } from './tree.ts';

type Options = Parameters<typeof injectManifests>[1];

const OPTIONS: Options = {
  image: 'warmstate:test',
  destination: 's3://bucket/streams',
  stateDirLimitBytes: undefined,
  terminationGracePeriodSeconds: undefined,
  shape: 'native',
  applicationId: undefined,
  processingGuarantee: undefined,
  stateDir: undefined,
};

interface Parts {
  readonly kind?: string;
  readonly env?: string;
  /** Further lines of the container, the spec of the pod, the spec of the workload. */
  readonly container?: string;
  readonly pod?: string;
  readonly spec?: string;
  readonly annotations?: string;
}

/** A workload as people write them, in flow style where that is shorter. */
function workload(parts: Parts = {}): string {
  const {
    kind = 'Deployment',
    env = '{name: APPLICATION_ID, value: orders}',
    container = '',
    pod = '',
    spec = '',
  } = parts;
  return `apiVersion: apps/v1
kind: ${kind}
metadata: {name: orders}
spec:
  ${spec}
  template:
    metadata: {labels: {app: orders}, annotations: {${parts.annotations ?? ''}}}
    spec:
      ${pod}
      containers:
      - name: app
        image: orders:1
        env: [${env}]
        ${container}
`;
}

const TEMPLATE = ['spec', 'template'];
const POD = [...TEMPLATE, 'spec'];

function injected(text: string, options: Partial<Options> = {}): Result {
  return injectManifests(text, { ...OPTIONS, ...options });
}

/** The settings of both containers; they are one block. */
function settingsOf(text: string): Record<string, unknown> {
  const [restore = [], run] = [RESTORE, SIDECAR].map((container) => treesAt(parse(text), ...container, 'env'));
  expect(run).toEqual(restore);
  const entries = restore.map((variable) => {
    const name = textAt(variable, 'name') ?? '';
    return [name.replace('WARMSTATE_', ''), variable['value'] ?? variable['valueFrom']] as const;
  });
  return Object.fromEntries(entries);
}

const RESTORE = [...POD, 'initContainers', 0];
const SIDECAR = [...POD, 'initContainers', 1];

function part(text: string, ...path: Path): unknown {
  return at(parse(text), path);
}

function refusal(text: string, options: Partial<Options> = {}): string {
  try {
    injected(text, options);
  } catch (error) {
    if (isFailure(error, 'invalid')) return `${error.message}; try: ${error.hint}`;
    throw error;
  }
  throw new Error('it was not refused');
}

const remarksOf = ({ remarks }: Result): string[] => remarks.map(({ level, message }) => `${level} ${message}`);

describe('the application', () => {
  const names = [
    ['plain', 'APPLICATION_ID', 'STATE_DIR', 'PROCESSING_GUARANTEE'],
    [
      'Spring Boot',
      'SPRING_KAFKA_STREAMS_APPLICATION_ID',
      'SPRING_KAFKA_STREAMS_STATE_DIR',
      'SPRING_KAFKA_STREAMS_PROPERTIES_PROCESSING_GUARANTEE',
    ],
    [
      'Spring Boot, relaxed',
      'SPRING_KAFKA_STREAMS_APPLICATIONID',
      'SPRING_KAFKA_STREAMS_STATEDIR',
      'SPRING_KAFKA_STREAMS_PROPERTIES_PROCESSINGGUARANTEE',
    ],
    [
      'Quarkus',
      'QUARKUS_KAFKA_STREAMS_APPLICATION_ID',
      'KAFKA_STREAMS_STATE_DIR',
      'KAFKA_STREAMS_PROCESSING_GUARANTEE',
    ],
    ['streams-bootstrap 3', 'KAFKA_APPLICATION_ID', 'KAFKA_STATE_DIR', 'KAFKA_PROCESSING_GUARANTEE'],
    ['streams-bootstrap 2', 'APP_APPLICATION_ID', 'STREAMS_STATE_DIR', 'STREAMS_PROCESSING_GUARANTEE'],
    [
      'one with names of its own',
      'ORDERS_KAFKA_STREAMS_APP_ID',
      'LHORSE_KAFKA_STREAMS_STATE_DIR',
      'MY_STREAMS_PROCESSING_GUARANTEE',
    ],
  ];
  test.each(names)('is found in the environment of a %s application', (_kind, id, dir, guarantee) => {
    const env = `{name: ${id}, value: shop}, {name: ${dir}, value: /data/}, {name: ${guarantee}, value: exactly_once}`;
    expect(settingsOf(injected(workload({ env })).text)).toMatchObject({
      APPLICATION_ID: 'shop',
      STATE_DIR: '/data',
      PROCESSING_GUARANTEE: 'exactly_once_v2',
    });
  });

  test.each([
    ['arguments', 'args: [--application-id, shop, --state.dir=/data]'],
    ['options of the JVM', 'command: [java, -Dapplication.id=shop, -Dstate.dir=/data, -jar, a.jar]'],
    [
      'a line for a shell',
      'command: [sh, -c, "exec java -Dspring.kafka.streams.application-id=shop -Dspring.kafka.streams.state-dir=\'/data\' -jar a.jar"]',
    ],
  ])('is found in %s', (_place, container) => {
    const { text } = injected(workload({ env: '', container }));
    expect(settingsOf(text)).toMatchObject({ APPLICATION_ID: 'shop', STATE_DIR: '/data' });
  });

  test('is found in the variables that JVMs take options from', () => {
    const env =
      '{name: JAVA_TOOL_OPTIONS, value: "-Xmx1g -Dquarkus.kafka-streams.application-id=shop -Djava.io.tmpdir=/work"}';
    expect(settingsOf(injected(workload({ env })).text)).toMatchObject({
      APPLICATION_ID: 'shop',
      STATE_DIR: '/work/kafka-streams',
    });
  });

  test('is found in a ConfigMap of the same stream, and taken from there in the cluster too', () => {
    const map = 'kind: ConfigMap\nmetadata: {name: cfg}\ndata: {ID: shop, KAFKA_STATE_DIR: /data}\n---\n';
    const env = '{name: APPLICATION_ID, valueFrom: {configMapKeyRef: {name: cfg, key: ID}}}';
    const container = 'envFrom: [{configMapRef: {name: cfg}}]';
    const [, deployment] = parseAllDocuments(injected(map + workload({ env, container })).text);
    expect(settingsOf(String(deployment))).toMatchObject({
      APPLICATION_ID: { configMapKeyRef: { name: 'cfg', key: 'ID' } },
      STATE_DIR: '/data',
    });
  });

  test('may have an id that only the cluster knows, but no such state directory', () => {
    const id = '{name: APPLICATION_ID, valueFrom: {secretKeyRef: {name: s, key: id}}}';
    expect(settingsOf(injected(workload({ env: id })).text)['APPLICATION_ID']).toEqual({
      secretKeyRef: { name: 's', key: 'id' },
    });
    const dir =
      '{name: APPLICATION_ID, value: a}, {name: STATE_DIR, valueFrom: {configMapKeyRef: {name: other, key: dir}}}';
    expect(refusal(workload({ env: dir }))).toBe(
      'cannot inject into Deployment orders: the state directory (environment variable STATE_DIR) is known in the cluster only; try: --state-dir, or the annotation warmstate.dev/state-volume',
    );
  });

  test('is read as the kubelet reads it: $(NAME) is what stands before', () => {
    const env =
      '{name: BASE, value: /data}, {name: APPLICATION_ID, value: a}, {name: STATE_DIR, value: $(BASE)/streams}';
    expect(settingsOf(injected(workload({ env })).text)['STATE_DIR']).toBe('/data/streams');
    const pod =
      '{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: APPLICATION_ID, value: a}, {name: STATE_DIR, value: /data/$(POD)}';
    expect(refusal(workload({ env: pod }))).toContain('known in the cluster only');
  });

  test('is what annotations say, and before them what flags say', () => {
    const annotations =
      'warmstate.dev/application-id: shop, warmstate.dev/processing-guarantee: at_least_once, warmstate.dev/state-dir-limit: 9Gi';
    const asked = (name: string) => ({ fieldRef: { fieldPath: `metadata.annotations['warmstate.dev/${name}']` } });
    const { text, remarks } = injected(workload({ annotations }));
    expect(settingsOf(text)).toMatchObject({
      APPLICATION_ID: asked('application-id'),
      PROCESSING_GUARANTEE: asked('processing-guarantee'),
      STATE_DIR_LIMIT: asked('state-dir-limit'),
    });
    expect(remarks[0]?.message).toBe(
      'Deployment orders: application id shop (annotation warmstate.dev/application-id)',
    );
    const answers = { applicationId: 'mine', processingGuarantee: 'auto', stateDir: '/mine' };
    expect(settingsOf(injected(workload({ annotations }), answers).text)).toMatchObject({
      APPLICATION_ID: 'mine',
      PROCESSING_GUARANTEE: 'auto',
      STATE_DIR: '/mine',
    });
  });

  test.each([
    [
      'two names that differ',
      '{name: APPLICATION_ID, value: a}, {name: KAFKA_APPLICATION_ID, value: b}',
      'environment variable APPLICATION_ID says a, but environment variable KAFKA_APPLICATION_ID says b',
    ],
    [
      'a guarantee that Kafka does not have',
      '{name: APPLICATION_ID, value: a}, {name: PROCESSING_GUARANTEE, value: best_effort}',
      'the processing.guarantee (environment variable PROCESSING_GUARANTEE) is best_effort',
    ],
    [
      'a relative state directory',
      '{name: APPLICATION_ID, value: a}, {name: STATE_DIR, value: ./state}',
      'relative to what only the image knows',
    ],
    ['ksqlDB', '{name: APPLICATION_ID, value: _confluent-ksql-default_query_1}', 'ksqlDB'],
  ])('with %s is refused', (_what, env, message) => {
    expect(refusal(workload({ env }))).toContain(message);
  });

  test('without an id is refused, and says how to give it', () => {
    expect(refusal(workload({ env: '' }))).toBe(
      'cannot inject into Deployment orders: its application.id is not in the manifest; try: --application-id, or the annotation warmstate.dev/application-id on the pod',
    );
  });

  test('of a container that is not the first is found; of two the default container says which', () => {
    const other = '{name: proxy, image: p}';
    const twoAt = (annotations: string): string =>
      `kind: Deployment\nmetadata: {name: o}\nspec: {template: {metadata: {annotations: {${annotations}}}, spec: {containers: [${other}, {name: a, env: [{name: APPLICATION_ID, value: one}]}, {name: b, env: [{name: APPLICATION_ID, value: two}]}]}}}\n`;
    expect(refusal(twoAt(''))).toContain('the containers a and b have an application.id each');
    expect(settingsOf(injected(twoAt('kubectl.kubernetes.io/default-container: b')).text)['APPLICATION_ID']).toBe(
      'two',
    );
  });

  test('is assumed where frameworks assume it, and that is said', () => {
    const result = injected(workload({ env: '{name: SPRING_APPLICATION_NAME, value: shop}' }));
    expect(settingsOf(result.text)).toMatchObject({
      APPLICATION_ID: 'shop',
      STATE_DIR: '/tmp/kafka-streams',
      PROCESSING_GUARANTEE: 'auto',
    });
    expect(remarksOf(result).filter((remark) => remark.includes('is assumed'))).toEqual([
      'warn Deployment orders: application id shop is assumed (environment variable SPRING_APPLICATION_NAME): --application-id says another',
      "warn Deployment orders: state directory /tmp/kafka-streams is assumed (Kafka's default): --state-dir says another",
      'warn Deployment orders: processing guarantee auto is assumed (not in the manifest): it captures only what is valid under every guarantee; set --processing-guarantee to that of the application',
    ]);
  });
});

describe('the state', () => {
  test('on the layer of the container gets an emptyDir, which the application mounts too', () => {
    const { text } = injected(workload());
    const mount = { name: 'warmstate-state', mountPath: '/tmp/kafka-streams' };
    expect(part(text, ...POD, 'volumes')).toEqual([{ name: 'warmstate-state', emptyDir: {} }]);
    expect(part(text, ...POD, 'containers', 0, 'volumeMounts')).toEqual([mount]);
    expect(part(text, ...RESTORE, 'volumeMounts')).toEqual([mount]);
    expect(part(text, ...SIDECAR, 'volumeMounts')).toEqual([{ ...mount, readOnly: true }]);
  });

  test('on an emptyDir stays there, mounted where it lies: the directory below the mount is made by that', () => {
    const container =
      'volumeMounts: [{name: other, mountPath: /data/x}, {name: vol, mountPath: /data, subPath: s}, {name: root, mountPath: /}]';
    const pod =
      'volumes: [{name: vol, emptyDir: {sizeLimit: 20Gi}}, {name: other, emptyDir: {}}, {name: root, emptyDir: {}}]';
    const env = '{name: APPLICATION_ID, value: orders}, {name: STATE_DIR, value: /data/streams}';
    const { text } = injected(workload({ container, pod, env }));
    expect(part(text, ...RESTORE, 'volumeMounts')).toEqual([
      { name: 'vol', mountPath: '/data/streams', subPath: 's/streams' },
    ]);
    expect(settingsOf(text)).toMatchObject({ STATE_DIR: '/data/streams', STATE_DIR_LIMIT: '20Gi' });
    expect(part(text, ...TEMPLATE, 'metadata', 'annotations')).toMatchObject({
      'cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes': 'vol',
      'backup.velero.io/backup-volumes-excludes': 'vol',
    });
  });

  test('on a persistent volume stays there; what warmstate still gives is said', () => {
    const container = 'volumeMounts: [{name: datadir, mountPath: /tmp/kafka-streams}]';
    const spec = 'volumeClaimTemplates: [{metadata: {name: datadir}}]';
    const result = injected(workload({ kind: 'StatefulSet', container, spec }));
    expect(part(result.text, ...POD, 'volumes')).toBeUndefined();
    expect(part(result.text, ...TEMPLATE, 'metadata', 'annotations')).toEqual({
      'warmstate.dev/added': 'terminationGracePeriodSeconds',
    });
    expect(remarksOf(result)).toContainEqual(
      expect.stringContaining('the volume datadir outlives the pod and stays as it is'),
    );
  });

  test.each([
    [
      'annotation',
      'warmstate.dev/state-volume: cache',
      'info Deployment orders: state directory /cache (annotation warmstate.dev/state-volume)',
    ],
    [
      'look',
      '',
      'warn Deployment orders: state directory /var/state is assumed (the volume that is mounted there): --state-dir says another',
    ],
  ])('lies where a volume is by its %s, where the directory is not said', (_how, annotations, remark) => {
    const container = 'volumeMounts: [{name: cache, mountPath: /cache}, {name: v, mountPath: /var/state}]';
    const pod = 'volumes: [{name: cache, emptyDir: {}}, {name: v, emptyDir: {}}]';
    expect(remarksOf(injected(workload({ container, pod, annotations })))).toContain(remark);
  });

  test.each([
    [
      'a subPathExpr',
      'volumeMounts: [{name: v, mountPath: /tmp, subPathExpr: $(POD)}]',
      'volumes: [{name: v, emptyDir: {}}]',
      'a subPathExpr',
    ],
    [
      'a read-only mount',
      'volumeMounts: [{name: v, mountPath: /tmp, readOnly: true}]',
      'volumes: [{name: v, emptyDir: {}}]',
      'mounted read-only',
    ],
    [
      'a ConfigMap',
      'volumeMounts: [{name: v, mountPath: /tmp}]',
      'volumes: [{name: v, configMap: {name: c}}]',
      'no application can write',
    ],
    ['a volume that is not there', 'volumeMounts: [{name: v, mountPath: /tmp}]', '', 'which the pod does not have'],
  ])('on %s is refused', (_what, container, pod, message) => {
    expect(refusal(workload({ container, pod }))).toContain(message);
  });

  test.each([
    ['20Gi', '', '20Gi'],
    ['20G', '', '20000000000'],
    ['', '5Gi', '5Gi'],
    ['20Gi', '5Gi', '5Gi'],
    ['', '', undefined],
  ])('with a sizeLimit of %j and an ephemeral-storage of %j may fill %j', (sizeLimit, storage, limit) => {
    const container = `volumeMounts: [{name: v, mountPath: /tmp}]\n        resources: {limits: {ephemeral-storage: ${storage}}}`;
    const result = injected(workload({ container, pod: `volumes: [{name: v, emptyDir: {sizeLimit: ${sizeLimit}}}]` }));
    expect(settingsOf(result.text)['STATE_DIR_LIMIT']).toBe(limit);
    expect(remarksOf(result).some((remark) => remark.startsWith('warn') && remark.includes('nothing limits'))).toBe(
      limit === undefined,
    );
  });
});

describe('the pod', () => {
  test('gets both containers in front, but behind the network of a mesh', () => {
    const pod = 'initContainers: [{name: istio-proxy, restartPolicy: Always}, {name: migrate}]';
    const containers = treesAt(parse(injected(workload({ pod })).text), ...POD, 'initContainers');
    const names = containers.map(({ name }) => name);
    expect(names).toEqual(['istio-proxy', 'warmstate-restore', 'warmstate', 'migrate']);
  });

  test('of a cluster without native sidecars gets run as one more container', () => {
    const { text } = injected(workload(), { shape: 'beside' });
    expect(part(text, ...POD, 'initContainers')).toEqual([expect.objectContaining({ name: 'warmstate-restore' })]);
    expect(part(text, ...POD, 'containers')).toEqual([
      expect.objectContaining({ name: 'app' }),
      expect.objectContaining({ name: 'warmstate', args: ['run'] }),
    ]);
    expect(part(text, ...POD, 'containers', 1)).not.toHaveProperty('restartPolicy');
  });

  test('tells who it is, in which namespace, and of which revision', () => {
    const from = (fieldPath: string) => ({ fieldRef: { fieldPath } });
    const hashes = { Deployment: 'pod-template-hash', StatefulSet: 'controller-revision-hash' };
    for (const [kind, label] of Object.entries(hashes)) {
      expect(settingsOf(injected(workload({ kind })).text)).toMatchObject({
        INSTANCE: from('metadata.name'),
        LINEAGE: from('metadata.namespace'),
        APP_VERSION: from(`metadata.labels['${label}']`),
      });
    }
  });

  test.each([
    ['', undefined, 120, '120s'],
    ['terminationGracePeriodSeconds: 45', undefined, 45, '45s'],
    ['terminationGracePeriodSeconds: 45', 90, 90, '90s'],
  ])('with %j and the flag %s has %i seconds to end', (pod, terminationGracePeriodSeconds, seconds, setting) => {
    const { text } = injected(workload({ pod }), { terminationGracePeriodSeconds });
    expect(part(text, ...POD, 'terminationGracePeriodSeconds')).toBe(seconds);
    expect(settingsOf(text)['TERMINATION_GRACE_PERIOD']).toBe(setting);
  });

  test.each([
    ['', '', { runAsNonRoot: true }],
    ['securityContext: {runAsUser: 1001}', '', { runAsNonRoot: true }],
    ['securityContext: {runAsUser: 0}', '', {}],
    [
      '',
      'securityContext: {runAsUser: 1001, runAsGroup: 5, privileged: true}',
      { runAsUser: 1001, runAsGroup: 5, runAsNonRoot: true },
    ],
    ['', 'securityContext: {runAsUser: 0}', { runAsUser: 0 }],
  ])('with %j and %j gives our containers the user %j and no other', (pod, container, user) => {
    const { text } = injected(workload({ pod, container }));
    for (const path of [RESTORE, SIDECAR]) {
      expect(part(text, ...path, 'securityContext')).toEqual({
        ...user,
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
        seccompProfile: { type: 'RuntimeDefault' },
      });
    }
  });

  test.each([
    ['a surge by default', workload(), 'maxSurge 25%: new pods restore before old ones took their last snapshot'],
    ['a surge', workload({ spec: 'strategy: {rollingUpdate: {maxSurge: 1}}' }), 'maxSurge 1:'],
    [
      'a short grace period',
      workload({ pod: 'terminationGracePeriodSeconds: 30' }),
      'terminationGracePeriodSeconds 30 is short',
    ],
    ['a user that is not said', workload(), 'nothing says as which user'],
    [
      'a short progress deadline',
      workload({ spec: 'progressDeadlineSeconds: 120' }),
      'progressDeadlineSeconds 120 may end',
    ],
    [
      'a port that is used',
      workload({ container: 'ports: [{containerPort: 10464}]' }),
      'the container app uses port 10464 too',
    ],
    ['the network of its host', workload({ pod: 'hostNetwork: true' }), 'hostNetwork'],
    [
      'an emptyDir in memory',
      workload({
        container: 'volumeMounts: [{name: v, mountPath: /tmp}]',
        pod: 'volumes: [{name: v, emptyDir: {medium: Memory}}]',
      }),
      'lies in memory',
    ],
  ])('with %s is warned about', (_what, text, message) => {
    expect(remarksOf(injected(text))).toContainEqual(
      expect.stringMatching(new RegExp(`^warn .*${message.replace('%', '%')}`)),
    );
  });

  test('that does everything right is not warned about', () => {
    const env =
      '{name: APPLICATION_ID, value: orders}, {name: STATE_DIR, value: /data}, {name: PROCESSING_GUARANTEE, value: at_least_once}';
    const container = 'volumeMounts: [{name: v, mountPath: /data}]';
    const pod =
      'securityContext: {runAsUser: 7, runAsGroup: 7, fsGroup: 7}\n      volumes: [{name: v, emptyDir: {sizeLimit: 1Gi}}]';
    const spec = 'strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}';
    expect(
      remarksOf(injected(workload({ env, container, pod, spec }))).filter((remark) => remark.startsWith('warn')),
    ).toEqual([]);
  });
});

test('a grace period of none is told as the shortest that a setting can say', () => {
  const { text } = injected(workload({ pod: 'terminationGracePeriodSeconds: 0' }));
  expect(settingsOf(text)['TERMINATION_GRACE_PERIOD']).toBe('1s');
  expect(part(text, ...POD, 'terminationGracePeriodSeconds')).toBe(0);
});

test.each(['20G', '0', 'much'])('a limit that warmstate could not read in the pod is refused: %s', (limit) => {
  const annotations = `warmstate.dev/state-dir-limit: "${limit}"`;
  expect(refusal(workload({ annotations }))).toBe(
    `cannot inject into Deployment orders: the annotation warmstate.dev/state-dir-limit is ${limit}, which is no size above zero; try: a size such as 20Gi`,
  );
});

describe('a stream', () => {
  const SERVICE = '# Source: chart/service.yaml\napiVersion: v1\nkind:   Service   # odd\nmetadata: {name: orders}\n';

  test('keeps what is no application byte by byte, and comments, order and style of what is one', () => {
    const deployment = `# Source: chart/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders}
spec:
  replicas: 0x3

  # what runs
  template:
    spec:
      # the container
      containers:
      - name: app
        image: "orders:1" # pinned
        env:
        # its id
        - {name: APPLICATION_ID, value: 'orders'}
      volumes:
      - name: cert
        secret: {secretName: c, defaultMode: 0400}
`;
    const { text } = injected(`${SERVICE}---\n${deployment}---\n${SERVICE}`);
    const [before, changed = '', after] = text.split('---\n');
    expect([before, after]).toEqual([SERVICE, SERVICE]);
    const lines = changed.split('\n');
    expect(deployment.split('\n').filter((line) => !lines.includes(line))).toEqual([]);
    const order = deployment.split('\n').filter((line) => line !== '' && line.trim() !== 'env:'); // Ours have one too.
    expect(lines.filter((line) => order.includes(line))).toEqual(order);
    // And the comments are still there when warmstate goes.
    const removed = cleanManifests(text).text.split('---\n')[1] ?? '';
    expect(removed.split('\n').filter((line) => line !== '')).toEqual(
      deployment.split('\n').filter((line) => line !== ''),
    );
  });

  test('is the same after a second injection, also where the first was of another version', () => {
    for (const shape of ['native', 'beside'] as const) {
      const once = injected(workload({ pod: 'initContainers: [{name: migrate, image: m}]' }), { shape });
      expect(injected(once.text, { shape })).toMatchObject({ text: once.text, changed: [] });
      const other = injected(once.text, { shape: shape === 'native' ? 'beside' : 'native', image: 'warmstate:2' });
      expect(injected(other.text, { shape }).text).toBe(once.text);
    }
  });

  test.each([
    ['nothing of its own', workload()],
    [
      'annotations, a grace period and volumes',
      workload({
        annotations:
          'cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes: "tmp", backup.velero.io/backup-volumes-excludes: "tmp,v"',
        pod: 'terminationGracePeriodSeconds: 120\n      volumes: [{name: v, emptyDir: {}}, {name: tmp, emptyDir: {}}]',
        container: 'volumeMounts: [{name: tmp, mountPath: /t}, {name: v, mountPath: /tmp}]',
      }),
    ],
  ])('is as before once warmstate is removed, where it had %s', (_what, text) => {
    for (const shape of ['native', 'beside'] as const) {
      const removed = cleanManifests(injected(text, { shape }).text).text;
      const { spec, ...rest } = parse(removed);
      const before = parse(text);
      expect(rest).toEqual({ apiVersion: before.apiVersion, kind: before.kind, metadata: before.metadata });
      expect(spec.template.spec).toEqual(before.spec.template.spec);
      expect(spec.template.metadata.annotations ?? {}).toEqual(before.spec.template.metadata.annotations ?? {});
      expect(spec.template.metadata.labels).toEqual(before.spec.template.metadata.labels);
    }
  });

  test('keeps the volume that an injection added with what somebody wrote into it since', () => {
    const limited = injected(workload()).text.replace('emptyDir: {}', 'emptyDir: {sizeLimit: 5Gi}');
    const { text } = injected(limited);
    expect(part(text, ...POD, 'volumes')).toEqual([{ name: 'warmstate-state', emptyDir: { sizeLimit: '5Gi' } }]);
    expect(settingsOf(text)['STATE_DIR_LIMIT']).toBe('5Gi');
    expect(part(text, ...POD, 'containers', 0, 'volumeMounts')).toEqual([
      { name: 'warmstate-state', mountPath: '/tmp/kafka-streams' },
    ]);
    const cleaned = cleanManifests(text).text;
    expect(part(cleaned, ...POD, 'volumes')).toEqual(part(text, ...POD, 'volumes'));
    expect(part(cleaned, ...POD, 'initContainers')).toBeUndefined();
  });

  test('without warmstate is not changed by its removal', () => {
    expect(cleanManifests(workload())).toEqual({ text: workload(), remarks: [], changed: [] });
  });

  test('may be a List, or JSON', () => {
    const list = JSON.stringify({
      kind: 'List',
      items: [{ kind: 'Service', metadata: { name: 's' } }, parse(workload())],
    });
    const { text, changed } = injected(list);
    const { items } = JSON.parse(text);
    expect([changed, items[0], items[1].spec.template.metadata.labels]).toEqual([
      ['Deployment orders'],
      { kind: 'Service', metadata: { name: 's' } },
      { app: 'orders', 'warmstate.dev/injected': 'true' },
    ]);
  });

  const labelled = (text: string, value: string): string =>
    text.replace('{app: orders}', `{app: orders, warmstate.dev/inject: "${value}"}`);
  const web = workload({ env: '' }).replaceAll('orders', 'web');
  const kafka = workload({ env: '{name: KAFKA_APPLICATION_ID, value: orders}' });

  test('with several workloads: those are meant that are Kafka Streams for certain, or the label says it', () => {
    const shop = kafka.replaceAll('orders', 'shop');
    const meant = (...texts: string[]): readonly string[] => injected(texts.join('---\n')).changed;
    expect(meant(web, kafka, shop)).toEqual(['Deployment orders', 'Deployment shop']);
    expect(meant(web, labelled(kafka, 'true'), shop)).toEqual(['Deployment orders']);
    expect(meant(web, labelled(kafka, 'false'), shop)).toEqual(['Deployment shop']);
    expect(refusal([kafka, shop].join('---\n'), { stateDir: '/x' })).toContain(
      'cannot tell which of Deployment orders, Deployment shop the flags are for',
    );
  });

  test.each([
    ['no application id', ''],
    [
      'the name of a Spring application',
      '{name: SPRING_APPLICATION_NAME, value: web}, {name: KAFKA_BROKERS, value: k}',
    ],
    ['the id of who knows which application', '{name: APPLICATION_ID, value: facebook}'],
  ])('leaves a workload alone that has %s, unless it is the only one or has the label', (_what, env) => {
    const other = workload({ env }).replaceAll('name: orders', 'name: web');
    expect(injected([other, kafka].join('---\n')).changed).toEqual(['Deployment orders']);
    expect(refusal([other, other].join('---\n'))).toContain('no Deployment or StatefulSet here certainly runs');
    if (env === '') return;
    expect(injected(other).changed).toEqual(['Deployment web']);
    expect(injected([labelled(other, 'true'), kafka].join('---\n')).changed).toEqual(['Deployment web']);
  });

  test.each(['DaemonSet', 'Job', 'ReplicaSet', 'Rollout'])('with an application in a %s is refused', (kind) => {
    expect(refusal(workload({ kind }))).toContain(
      `cannot inject into ${kind} orders: only Deployments and StatefulSets are understood`,
    );
  });

  test('with an application in a Pod or a CronJob is refused', () => {
    const spec = 'spec: {containers: [{name: a, env: [{name: APPLICATION_ID, value: a}]}]}';
    expect(refusal(`kind: Pod\nmetadata: {name: p}\n${spec}\n`)).toContain('cannot inject into Pod p');
    expect(
      refusal(`kind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {${spec}}}}}\n`),
    ).toContain('cannot inject into CronJob c');
  });

  test('with a Job beside the application passes it on, and says so where it has the same environment', () => {
    const reset = kafka.replace('Deployment', 'Job').replace('name: orders', 'name: reset');
    const plain = 'kind: Job\nmetadata: {name: j}\nspec: {template: {spec: {containers: [{name: a}]}}}\n';
    const result = injected([reset, plain, kafka].join('---\n'));
    expect([result.changed, result.text.startsWith(`${reset}---\n${plain}---\n`)]).toEqual([
      ['Deployment orders'],
      true,
    ]);
    expect(remarksOf(result).filter((remark) => remark.includes(' Job '))).toEqual([
      'warn Job reset: it has an application.id too, and stays as it is',
    ]);
    expect(refusal([labelled(reset, 'true'), kafka].join('---\n'))).toContain('cannot inject into Job reset');
  });

  test('keeps values as they are written, whatever YAML reads in them', () => {
    const values = [
      '0400',
      '0x1F',
      '1.10',
      '12345678901234567890',
      '1e3',
      '.5',
      '1_000',
      'yes',
      'Off',
      '~',
      'NULL',
      '2026-11-28',
      '12:30:45',
      '2001-12-14 21:59:43.10 -5',
      '"on"',
      "'it''s'",
      '""',
      'a # no comment',
    ];
    const lines = values.map((value, index) => `  v${index}: ${value}`);
    const block = ['  text: |-', '    one  ', '', '      two: [', `  long: ${'word '.repeat(40)}end`];
    const text = kafka.replace(
      'metadata: {name: orders}',
      ['metadata:', '  name: orders', ...lines, ...block].join('\n'),
    );
    const changed = injected(text).text;
    expect([...lines, ...block].filter((line) => !changed.split('\n').includes(line))).toEqual([]);
    const folded = injected(text.replace('  text: |-', '  text: >-')).text; // Its lines may be folded anew.
    expect(parse(folded).metadata.text).toBe(parse(text.replace('  text: |-', '  text: >-')).metadata.text);
  });

  test('may have quotes whose lines begin at the margin, as charts make them and Kubernetes reads them', () => {
    const quoted = (quote: string): string => `${quote}-Da=b\n-Dit${quote === "'" ? "''" : '\\"'}s\n\n     c\n${quote}`;
    const env = `{name: KAFKA_APPLICATION_ID, value: a}]\n        args:\n        - ${quoted('"')}\n        - ${quoted("'")}\n        ports: [`;
    const args = part(injected(workload({ env })).text, ...POD, 'containers', 0, 'args');
    expect(args).toEqual(['-Da=b -Dit"s\nc ', "-Da=b -Dit's\nc "]);
    const other = workload({ env }).replaceAll('orders', 'other').replace('KAFKA_APPLICATION_ID', 'KAFKA_NOTHING');
    const kept = injected(`${other}---\n${kafka}`).text;
    expect(kept.startsWith(`${other}---\n`)).toBe(true);
  });

  test('keeps the line ends of Windows', () => {
    const { text } = injected(workload().replaceAll('\n', '\r\n'));
    expect(text.split('\n').filter((line) => line !== '' && !line.endsWith('\r'))).toEqual([]);
    expect(text.replaceAll('\r\n', '\n')).toBe(injected(workload()).text);
  });

  test('keeps the comments of a List with the object that they are about', () => {
    const item = (kind: string, name: string): string => `- kind: ${kind} # of ${name}\n  metadata: {name: ${name}}\n`;
    const pod = 'spec: {template: {spec: {containers: [{name: a, env: [{name: KAFKA_APPLICATION_ID, value: a}]}]}}}';
    const list = `kind: List\nitems:\n${item('Service', 'one')}${item('Deployment', 'two')}  ${pod}\n${item('Service', 'three')}`;
    const { text } = injected(list);
    expect(text.match(/kind: .*|name: (?:one|two|three)/g)).toEqual(
      ['one', 'two', 'three'].reduce(
        (lines, name) => [...lines, `kind: ${name === 'two' ? 'Deployment' : 'Service'} # of ${name}`, `name: ${name}`],
        ['kind: List'],
      ),
    );
  });

  test('may say the same in many places by an alias', () => {
    const aliases = Array.from({ length: 150 }, (_, index) => `k${index}: *a`).join(', ');
    const text = `x: &a {b: c}\nmany: {${aliases}}\n${workload()}`;
    expect(parse(injected(text).text, { maxAliasCount: -1 }).many.k149).toEqual({ b: 'c' });
  });

  test('with a container that has our name and is none of ours is refused', () => {
    const pod = 'initContainers: [{name: warmstate-restore, image: x}]';
    expect(refusal(workload({ pod }))).toContain(
      'the pod has a container called warmstate-restore that is none of ours',
    );
  });

  test.each([
    ['that is no YAML', 'a: [', /^cannot read the manifest: /],
    ['with a quote that never ends', "a: 'b\nc: d\n", /^cannot read the manifest: Missing closing 'quote/],
    [
      'whose template is an alias',
      `x: &t {spec: {containers: [{name: a, env: [{name: APPLICATION_ID, value: a}]}]}}\nkind: Deployment\nmetadata: {name: d}\nspec: {template: *t}\n`,
      /alias \*t/,
    ],
    ['without anything to inject into', 'kind: Service\n', /no Deployment or StatefulSet here/],
    ['that is empty', '', /no Deployment or StatefulSet here/],
  ])('%s is refused', (_what, text, message) => {
    expect(refusal(text)).toMatch(message);
  });
});
