import { isDeepStrictEqual } from 'node:util';
import { Failure } from '../base/failure.ts';
import type { Fact } from './application.ts';
import { type ContainerFacts, RESTORE, restoreContainer, type Shape, SIDECAR, sidecarContainer } from './containers.ts';
import { parseQuantityBytes } from './kubernetes-quantity.ts';
import { type PodApplication, userOf } from './pod.ts';
import { type Remark, remarksOn } from './remarks.ts';
import { ADDED_VOLUME, findStateVolume, type StateVolume } from './state-volume.ts';
import { at, named, numberAt, type Path, type Tree, textAt, treeAt, treesAt, withKeys } from './tree.ts';
import { HASH_LABELS, type Workload } from './workload.ts';

/** What is the same for every pod. */
export interface InjectionOptions {
  readonly image: string;
  /** Undefined where the ConfigMap of the namespace says it. */
  readonly destination: string | undefined;
  readonly stateDirLimitBytes: number | undefined;
  readonly terminationGracePeriodSeconds: number | undefined;
  readonly shape: Shape;
}

export interface Injection {
  readonly tree: Tree;
  readonly remarks: readonly Remark[];
}

const INJECTED_LABEL = 'warmstate.dev/injected';
/** Remembers what was added that has no name of ours, so that `--remove` takes out that and nothing else. */
const ADDED_ANNOTATION = 'warmstate.dev/added';
const GRACE_PERIOD = 'terminationGracePeriodSeconds';
/** Annotations of others that name volumes: one lets an autoscaler empty the node, one keeps scratch out of backups. */
const VOLUME_LISTS = [
  'cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes',
  'backup.velero.io/backup-volumes-excludes',
];
/** Enough for a close of many stores and the last snapshot after it; spot nodes give no more in any case. */
const GRACE_SECONDS = 120;

/** A workload, as it is without warmstate, with it in its pods. */
export function inject(workload: Workload, application: PodApplication, options: InjectionOptions): Injection {
  const template = treeAt(workload.tree, ...workload.templatePath);
  const spec = treeAt(template, 'spec');
  const foreign = [...treesAt(spec, 'initContainers'), ...treesAt(spec, 'containers')].find(isOurs);
  if (foreign !== undefined) {
    throw new Failure('invalid', `the pod has a container called ${textAt(foreign, 'name')} that is none of ours`);
  }
  const { container, stateDir, claims } = application;
  const volume = findStateVolume(spec, container, { stateDir: stateDir.text, claims });
  const said = numberAt(spec, GRACE_PERIOD);
  const graceSeconds = options.terminationGracePeriodSeconds ?? said ?? GRACE_SECONDS;
  const limit = limitOf(volume, application, options);
  const facts: ContainerFacts = {
    image: options.image,
    env: environment({ workload, application, options, graceSeconds, limit }),
    volume,
    user: userOf(spec, container).own,
    shape: options.shape,
  };
  const adds = [
    ...(said === undefined ? [GRACE_PERIOD] : []),
    ...(volume.kind === 'persistent' ? [] : VOLUME_LISTS.filter((name) => !isListed(template, name, volume.name))),
  ];
  const changed = withKeys(
    template,
    {
      metadata: annotated(template, volume, adds),
      spec: withContainers(withVolume(withGrace(spec, graceSeconds), container, volume), facts),
    },
    'spec',
  );
  return {
    tree: replaceAt(workload.tree, workload.templatePath, changed),
    remarks: remarksOn({
      workload,
      application,
      volume,
      spec,
      limit,
      graceSeconds: { said, now: graceSeconds },
      destination: options.destination,
    }),
  };
}

/** The workload without anything of ours; unchanged where there is nothing. */
export function remove({ tree, templatePath }: Pick<Workload, 'tree' | 'templatePath'>): Tree {
  const template = treeAt(tree, ...templatePath);
  if (!isInjected(template)) return tree;
  const spec = treeAt(template, 'spec');
  const added = (textAt(template, 'metadata', 'annotations', ADDED_ANNOTATION) ?? '').split(',');
  const stateVolume = treesAt(spec, 'initContainers').find(({ name }) => name === RESTORE);
  const volume = textAt(stateVolume, 'volumeMounts', 0, 'name') ?? '';
  const annotations = Object.fromEntries(
    Object.entries(treeAt(template, 'metadata', 'annotations')).flatMap(([name, value]) => {
      if (name === ADDED_ANNOTATION) return [];
      if (!VOLUME_LISTS.includes(name) || !added.includes(name)) return [[name, value]];
      const rest = String(value)
        .split(',')
        .filter((each) => each !== volume);
      return rest.length === 0 ? [] : [[name, rest.join(',')]];
    }),
  );
  const metadata = withKeys(treeAt(template, 'metadata'), {
    labels: unlessEmpty(withKeys(treeAt(template, 'metadata', 'labels'), { [INJECTED_LABEL]: undefined })),
    annotations: unlessEmpty(annotations),
  });
  const isAdded = ({ name }: Tree): boolean => name === ADDED_VOLUME && isAsAdded(spec);
  const cleanSpec = withKeys(spec, {
    ...(added.includes(GRACE_PERIOD) ? { [GRACE_PERIOD]: undefined } : {}),
    initContainers: listWithout(spec['initContainers'], isOurs),
    containers: listWithout(spec['containers'], isOurs)?.map((container) =>
      withKeys(container, {
        volumeMounts: listWithout(container['volumeMounts'], isAdded),
      }),
    ),
    volumes: listWithout(spec['volumes'], isAdded),
  });
  return replaceAt(tree, templatePath, withKeys(template, { metadata: unlessEmpty(metadata), spec: cleanSpec }));
}

/** With a limit that somebody gave it, or of another kind, it is theirs. */
function isAsAdded(spec: Tree): boolean {
  return isDeepStrictEqual(named(treesAt(spec, 'volumes'), ADDED_VOLUME), addedVolume());
}

function isOurs({ name }: Tree): boolean {
  return name === RESTORE || name === SIDECAR;
}

/** Whether an earlier injection, or a hand that pasted the same, was here. */
export function isInjected(template: Tree): boolean {
  const containers = [...treesAt(template, 'spec', 'initContainers'), ...treesAt(template, 'spec', 'containers')];
  return containers.some(({ name, args }) => name === RESTORE && Array.isArray(args) && args[0] === 'restore');
}

interface EnvironmentFacts {
  readonly workload: Workload;
  readonly application: PodApplication;
  readonly options: InjectionOptions;
  readonly graceSeconds: number;
  readonly limit: Fact | undefined;
}

/** One block for both containers: each takes what concerns it. */
function environment({ workload, application, options, graceSeconds, limit }: EnvironmentFacts): readonly Tree[] {
  const values: readonly (readonly [string, Tree | undefined])[] = [
    ['WARMSTATE_STATE_DIR', { value: application.stateDir.text }],
    ['WARMSTATE_APPLICATION_ID', valueOf(application.applicationId)],
    ['WARMSTATE_PROCESSING_GUARANTEE', valueOf(application.guarantee)],
    ['WARMSTATE_DESTINATION', text(options.destination)],
    ['WARMSTATE_LINEAGE', fromPod('metadata.namespace')],
    ['WARMSTATE_INSTANCE', fromPod('metadata.name')],
    ['WARMSTATE_APP_VERSION', fromPod(`metadata.labels['${HASH_LABELS[workload.kind]}']`)],
    ['WARMSTATE_STATE_DIR_LIMIT', limit && valueOf(limit)],
    // None at all is no duration; it comes to the same.
    ['WARMSTATE_TERMINATION_GRACE_PERIOD', { value: `${Math.max(1, graceSeconds)}s` }],
  ];
  return values.flatMap(([name, value]) => (value === undefined ? [] : [{ name, ...value }]));
}

function fromPod(fieldPath: string): Tree {
  return { valueFrom: { fieldRef: { fieldPath } } };
}

function text(value: string | undefined): Tree | undefined {
  return value === undefined ? undefined : { value };
}

function valueOf({ text, source }: Fact): Tree {
  return source === undefined ? { value: text } : { valueFrom: source };
}

/** What a pod may fill: beyond it, it is evicted with a second of grace. */
function limitOf(
  volume: StateVolume,
  { container, limit }: PodApplication,
  options: InjectionOptions,
): Fact | undefined {
  const { stateDirLimitBytes } = options;
  if (stateDirLimitBytes !== undefined) return limitFact(String(stateDirLimitBytes), '--state-dir-limit');
  if (limit !== undefined) return limit;
  if (volume.kind === 'persistent') return undefined;
  const quantities = [
    { quantity: volume.sizeLimit, from: `sizeLimit of the volume ${volume.name}` },
    { quantity: at(container, ['resources', 'limits', 'ephemeral-storage']), from: 'limit of ephemeral-storage' },
  ];
  const limits = quantities.flatMap(({ quantity, from }) => {
    const bytes = parseQuantityBytes(quantity);
    return bytes === undefined ? [] : [{ bytes, fact: limitFact(limitText(bytes, quantity), from) }];
  });
  return limits.sort((left, right) => left.bytes - right.bytes)[0]?.fact;
}

function limitFact(text: string, from: string): Fact {
  return { text, source: undefined, from, isAssumed: false };
}

/** As it stands in the manifest, where the setting is written the same way. */
function limitText(bytes: number, quantity: unknown): string {
  return typeof quantity === 'string' && /^\d+(?:\.\d+)?[KMGT]i$/.test(quantity) ? quantity : String(bytes);
}

function withGrace(spec: Tree, graceSeconds: number): Tree {
  return withKeys(spec, { [GRACE_PERIOD]: graceSeconds }, 'containers');
}

function withVolume(spec: Tree, container: Tree, volume: StateVolume): Tree {
  if (volume.kind !== 'missing') return spec;
  return withKeys(spec, {
    containers: treesAt(spec, 'containers').map((each) =>
      each['name'] === container['name']
        ? withKeys(each, { volumeMounts: [...treesAt(each, 'volumeMounts'), volume.mount] })
        : each,
    ),
    volumes: [...treesAt(spec, 'volumes'), addedVolume()],
  });
}

function addedVolume(): Tree {
  return { name: ADDED_VOLUME, emptyDir: {} };
}

/** Meshes redirect the network of all that comes before their own init containers. */
const MESH = /^(?:istio|linkerd)-/;

/** First, so that what follows waits for `restore` and ends before the sidecar; but after the network. */
function withContainers(spec: Tree, facts: ContainerFacts): Tree {
  const inits = treesAt(spec, 'initContainers');
  const index = inits.findLastIndex(({ name }) => MESH.test(String(name))) + 1;
  if (facts.shape === 'native') {
    const initContainers = inits.toSpliced(index, 0, restoreContainer(facts), sidecarContainer(facts));
    return withKeys(spec, { initContainers }, 'containers');
  }
  return withKeys(
    spec,
    {
      initContainers: inits.toSpliced(index, 0, restoreContainer(facts)),
      containers: [...treesAt(spec, 'containers'), sidecarContainer(facts)],
    },
    'containers',
  );
}

function annotated(template: Tree, volume: StateVolume, adds: readonly string[]): Tree {
  const metadata = treeAt(template, 'metadata');
  const lists = VOLUME_LISTS.filter((name) => adds.includes(name)).map((name) => {
    const said = textAt(metadata, 'annotations', name);
    return [name, said === undefined ? volume.name : `${said},${volume.name}`];
  });
  const annotations = withKeys(treeAt(metadata, 'annotations'), {
    ...Object.fromEntries(lists),
    [ADDED_ANNOTATION]: adds.length === 0 ? undefined : adds.join(','),
  });
  return withKeys(metadata, {
    labels: withKeys(treeAt(metadata, 'labels'), { [INJECTED_LABEL]: 'true' }),
    annotations: unlessEmpty(annotations),
  });
}

function isListed(template: Tree, annotation: string, volume: string): boolean {
  return (textAt(template, 'metadata', 'annotations', annotation) ?? '').split(',').includes(volume);
}

function unlessEmpty(tree: Tree): Tree | undefined {
  return Object.keys(tree).length === 0 ? undefined : tree;
}

/** A list that only held what is taken out goes with it. */
function listWithout(list: unknown, isOut: (tree: Tree) => boolean): readonly Tree[] | undefined {
  const trees = treesAt(list);
  const rest = trees.filter((tree) => !isOut(tree));
  return rest.length === 0 ? undefined : rest;
}

function replaceAt(tree: Tree, [step, ...rest]: Path, value: Tree): Tree {
  if (step === undefined) return value;
  return { ...tree, [step]: replaceAt(treeAt(tree, step), rest, value) };
}
