import { Failure } from '../base/failure.ts';
import { parseSizeBytes } from '../base/quantity.ts';
import { assertSupportedApplication } from '../streams/state-directory.ts';
import { type ApplicationFacts, type Fact, findApplication } from './application.ts';
import { SIDECAR } from './containers.ts';
import { type ConfigMaps, findProperties } from './properties.ts';
import { likelyStateDir, mountPathOf, normalPath } from './state-volume.ts';
import { at, type Path, type Tree, textAt, treeAt, treesAt } from './tree.ts';
import type { Workload } from './workload.ts';

/** What the user says himself; it wins over what is found. */
export interface Answers {
  readonly applicationId: string | undefined;
  readonly processingGuarantee: string | undefined;
  readonly stateDir: string | undefined;
}

/** A Kafka Streams application in a pod. */
export interface PodApplication {
  readonly container: Tree;
  readonly applicationId: Fact;
  readonly guarantee: Fact;
  readonly stateDir: Fact & { readonly text: string };
  /** What it may fill, where an annotation says it. */
  readonly limit: Fact | undefined;
  /** The names of the volumeClaimTemplates. */
  readonly claims: readonly string[];
}

const STATE_VOLUME_ANNOTATION = 'warmstate.dev/state-volume';
const APPLICATION_ID_ANNOTATION = 'warmstate.dev/application-id';
const GUARANTEE_ANNOTATION = 'warmstate.dev/processing-guarantee';
const LIMIT_ANNOTATION = 'warmstate.dev/state-dir-limit';
const DEFAULT_CONTAINER = 'kubectl.kubernetes.io/default-container';

/** The application of a workload; undefined where nothing says that there is one. Refuses what cannot be told. */
export function findPodApplication(
  { tree, templatePath }: Workload,
  answers: Answers,
  configMaps: ConfigMaps,
): PodApplication | undefined {
  const spec = treeAt(tree, ...templatePath, 'spec');
  const annotation = (name: string): string | undefined => saidOf(tree, templatePath, name)?.text;
  const told = (answer: string | undefined, flag: string, name: string): Fact | undefined =>
    saying(answer, flag) ?? saidOf(tree, templatePath, name);

  const { container, facts } = chooseContainer(spec, annotation(DEFAULT_CONTAINER), configMaps);
  const applicationId =
    told(answers.applicationId, '--application-id', APPLICATION_ID_ANNOTATION) ?? facts.applicationId;
  if (applicationId === undefined) return undefined;
  if (applicationId.text !== undefined) assertSupportedApplication(applicationId.text);
  if (applicationId.text === undefined && applicationId.source === undefined) {
    throw new Failure('invalid', `the application.id (${applicationId.from}) is known in the cluster only`, {
      hint: `--application-id, or the annotation ${APPLICATION_ID_ANNOTATION}`,
    });
  }
  const claims = treesAt(tree, 'spec', 'volumeClaimTemplates').map((claim) => textAt(claim, 'metadata', 'name') ?? '');
  return {
    container,
    applicationId,
    guarantee: readGuarantee(
      told(answers.processingGuarantee, '--processing-guarantee', GUARANTEE_ANNOTATION) ?? facts.guarantee,
    ),
    stateDir: findStateDir(facts.stateDir, {
      answer: answers.stateDir,
      volume: annotation(STATE_VOLUME_ANNOTATION),
      spec,
      container,
      claims,
    }),
    limit: readLimit(saidOf(tree, templatePath, LIMIT_ANNOTATION)),
    claims,
  };
}

/** An annotation of the pods, which they can be asked for in the cluster too, or else of what makes them. */
function saidOf(tree: Tree, templatePath: Path, name: string): Fact | undefined {
  const from = `annotation ${name}`;
  const text = textAt(tree, ...templatePath, 'metadata', 'annotations', name);
  if (text === undefined) return saying(textAt(tree, 'metadata', 'annotations', name), from);
  return { text, source: { fieldRef: { fieldPath: `metadata.annotations['${name}']` } }, from, isAssumed: false };
}

function saying(text: string | undefined, from: string): Fact | undefined {
  return text === undefined ? undefined : { text, source: undefined, from, isAssumed: false };
}

interface Candidate {
  readonly container: Tree;
  readonly facts: ApplicationFacts;
}

/** The only container that names an application.id, else the default one of the pod, else the first. */
function chooseContainer(spec: Tree, preferred: string | undefined, configMaps: ConfigMaps): Candidate {
  const candidates = treesAt(spec, 'containers')
    .filter(({ name }) => name !== SIDECAR)
    .map((container) => ({ container, facts: findApplication(findProperties(container, configMaps)) }));
  const telling = candidates.filter(({ facts }) => facts.applicationId?.isAssumed === false);
  const byName = candidates.find(({ container }) => container['name'] === preferred);
  const chosen = byName ?? telling[0] ?? candidates[0];
  if (chosen === undefined) throw new Failure('invalid', 'the pod has no container');
  if (byName === undefined && telling.length > 1) {
    const names = telling.map(({ container }) => String(container['name'])).join(' and ');
    throw new Failure('invalid', `the containers ${names} have an application.id each`, {
      hint: `the annotation ${DEFAULT_CONTAINER} on the pod`,
    });
  }
  return chosen;
}

const GUARANTEES: ReadonlyMap<string, string> = new Map([
  ['at_least_once', 'at_least_once'],
  ['exactly_once', 'exactly_once_v2'],
  ['exactly_once_beta', 'exactly_once_v2'],
  ['exactly_once_v2', 'exactly_once_v2'],
  ['auto', 'auto'],
]);

/** What nobody says is no reason to believe in Kafka's default: state of a wrong guarantee can be wrong. */
function readGuarantee(fact: Fact | undefined): Fact {
  if (fact === undefined) return { text: 'auto', source: undefined, from: 'not in the manifest', isAssumed: true };
  if (fact.text === undefined && fact.source !== undefined) return fact;
  const text = GUARANTEES.get(fact.text?.toLowerCase() ?? '');
  if (text === undefined) {
    const said = fact.text ?? 'known in the cluster only';
    throw new Failure('invalid', `the processing.guarantee (${fact.from}) is ${said}`, {
      hint: '--processing-guarantee at_least_once or exactly_once_v2',
    });
  }
  // Where the words differ, the pod cannot be asked.
  return { ...fact, text, source: text === fact.text ? fact.source : undefined };
}

/** What warmstate could not read in the pod would start it cold. */
function readLimit(fact: Fact | undefined): Fact | undefined {
  if (fact?.text === undefined || (parseSizeBytes(fact.text) ?? 0) > 0) return fact;
  throw new Failure('invalid', `the ${fact.from} is ${fact.text}, which is no size above zero`, {
    hint: 'a size such as 20Gi',
  });
}

interface StateDirSources {
  readonly answer: string | undefined;
  /** The volume that is said to hold the state. */
  readonly volume: string | undefined;
  readonly spec: Tree;
  readonly container: Tree;
  readonly claims: readonly string[];
}

function findStateDir(found: Fact | undefined, sources: StateDirSources): PodApplication['stateDir'] {
  const fact = sources.answer === undefined ? stateDirFact(found, sources) : saying(sources.answer, '--state-dir');
  if (fact?.text === undefined) {
    throw new Failure('invalid', `the state directory (${fact?.from}) is known in the cluster only`, {
      hint: `--state-dir, or the annotation ${STATE_VOLUME_ANNOTATION}`,
    });
  }
  const workingDir = textAt(sources.container, 'workingDir');
  const path = fact.text.startsWith('/') || workingDir === undefined ? fact.text : `${workingDir}/${fact.text}`;
  if (!path.startsWith('/')) {
    throw new Failure(
      'invalid',
      `the state directory ${path} (${fact.from}) is relative to what only the image knows`,
      {
        hint: '--state-dir with the whole path',
      },
    );
  }
  return { ...fact, text: normalPath(path) };
}

/** A volume that is named, or that looks like it, tells more than a default. */
function stateDirFact(found: Fact | undefined, { volume, spec, container, claims }: StateDirSources): Fact | undefined {
  if (found?.isAssumed === false) return found;
  if (volume !== undefined) {
    const path = mountPathOf(container, volume);
    if (path !== undefined) return saying(path, `annotation ${STATE_VOLUME_ANNOTATION}`);
    throw new Failure('invalid', `the container ${textAt(container, 'name')} does not mount the volume ${volume}`);
  }
  const likely = likelyStateDir(spec, container, claims);
  if (likely === undefined) return found;
  return { text: likely, source: undefined, from: 'the volume that is mounted there', isAssumed: true };
}

/** The user that the application runs as, as far as the manifest says it. */
export function userOf(
  spec: Tree,
  container: Tree,
): { readonly own: Tree; readonly uid: unknown; readonly fsGroup: unknown } {
  const own = treeAt(container, 'securityContext');
  const ids = Object.fromEntries(
    ['runAsUser', 'runAsGroup'].flatMap((key) => (own[key] === undefined ? [] : [[key, own[key]]])),
  );
  const uid = own['runAsUser'] ?? at(spec, ['securityContext', 'runAsUser']);
  const fsGroup = at(spec, ['securityContext', 'fsGroup']);
  return { own: { ...ids, ...(uid === 0 ? {} : { runAsNonRoot: true }) }, uid, fsGroup };
}

/** Whether another container of the pod says that it uses a port. */
export function portUser(spec: Tree, port: number): string | undefined {
  const others = treesAt(spec, 'containers').filter(({ name }) => name !== SIDECAR);
  return textAt(
    others.find((container) => treesAt(container, 'ports').some(({ containerPort }) => containerPort === port)),
    'name',
  );
}
