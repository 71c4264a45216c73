import { at, isTree, type Tree, textAt, treeAt, treesAt } from '../../src/inject/tree.ts';

/** With which inject makes what lies in deploy/. */
export const OPTIONS = {
  image: 'registry.example/warmstate:0.1.0',
  destination: 's3://my-bucket/kafka-streams',
  stateDirLimitBytes: undefined,
  terminationGracePeriodSeconds: undefined,
  shape: 'native',
  applicationId: undefined,
  processingGuarantee: undefined,
  stateDir: undefined,
} as const;

// Manifests say the same in several ways. What follows says it in one, as the kubelet would make it.

/** Of a workload, or of a pod itself. `configMaps` are those of its namespace, by name. */
export function podShape(workload: unknown, configMaps: ReadonlyMap<string, Tree> = new Map()): unknown {
  const pod = textAt(workload, 'kind') === 'Pod' ? workload : treeAt(workload, 'spec', 'template');
  const spec = treeAt(pod, 'spec');
  const container = (each: Tree): unknown => {
    const { env: _env, ...rest } = each;
    return { ...rest, environment: environmentOf(each, treeAt(pod, 'metadata', 'annotations'), configMaps) };
  };
  return withoutDefaults({
    ...spec,
    initContainers: treesAt(spec, 'initContainers').map(container),
    containers: treesAt(spec, 'containers').map(container),
    isInjected: at(pod, ['metadata', 'labels', 'warmstate.dev/injected']),
    volumeLists: VOLUME_LISTS.map((name) => at(pod, ['metadata', 'annotations', name])),
  });
}

const VOLUME_LISTS = [
  'cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes',
  'backup.velero.io/backup-volumes-excludes',
];

/** Name to value, or to what the cluster is asked for. What is empty is not set. */
function environmentOf(container: Tree, annotations: Tree, configMaps: ReadonlyMap<string, Tree>): unknown {
  const shared = treesAt(container, 'envFrom').flatMap((source) =>
    Object.entries(configMaps.get(textAt(source, 'configMapRef', 'name') ?? '') ?? {}),
  );
  const own = treesAt(container, 'env').map((variable): [string, unknown] => {
    const asked = /^metadata\.annotations\['(.+)'\]$/.exec(
      textAt(variable, 'valueFrom', 'fieldRef', 'fieldPath') ?? '',
    );
    const value = asked === null ? (variable['value'] ?? variable['valueFrom']) : annotations[asked[1] ?? ''];
    return [textAt(variable, 'name') ?? '', value];
  });
  return Object.fromEntries(
    [...new Map([...shared, ...own])].filter(([, value]) => value !== '' && value !== undefined),
  );
}

/** Without what an API server adds to what is not said. */
function withoutDefaults(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDefaults);
  if (!isTree(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, child]) => {
      const isEmpty =
        child === null ||
        child === undefined ||
        (isTree(child) && Object.keys(child).length === 0 && key !== 'emptyDir');
      return isEmpty || (key === 'protocol' && child === 'TCP') ? [] : [[key, withoutDefaults(child)]];
    }),
  );
}
