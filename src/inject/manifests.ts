import { isDeepStrictEqual } from 'node:util';
import { Failure, isFailure } from '../base/failure.ts';
import { type InjectionOptions, inject, isInjected, remove } from './injection.ts';
import { type Manifest, parseManifests, renderManifest } from './manifest-stream.ts';
import { type Answers, findPodApplication, type PodApplication } from './pod.ts';
import type { ConfigMaps } from './properties.ts';
import type { Remark } from './remarks.ts';
import { isTree, type Tree, treeAt } from './tree.ts';
import { findConfigMaps, findWorkloads, HASH_LABELS, INJECT_LABEL, type Workload } from './workload.ts';

/** What became of a stream of manifests. */
export interface Result {
  readonly text: string;
  readonly remarks: readonly Remark[];
  /** The workloads that are not as they were. */
  readonly changed: readonly string[];
}

export type { Answers, InjectionOptions };

/**
 * Adds warmstate to every workload that asks for it by label, or where none does, to every one that runs a Kafka Streams
 * application as far as the manifests tell. Everything else passes through as it is. Refuses what it does not understand.
 */
export function injectManifests(text: string, options: InjectionOptions & Answers): Result {
  const manifests = parseManifests(text);
  const configMaps = new Map(manifests.flatMap(({ content }) => findConfigMaps(content)));
  const targets = chooseTargets(manifests, options, configMaps);
  const injections = targets.map(({ workload, clean, application }) => ({
    workload,
    ...naming(workload, () => inject(clean, application, options)),
  }));
  const remarks = injections.flatMap(({ workload: { title }, remarks }) =>
    remarks.map(({ level, message }) => ({ level, message: `${title}: ${message}` })),
  );
  return { ...rewrite(manifests, injections), remarks };
}

/** Takes out what an injection added. */
export function cleanManifests(text: string): Result {
  const manifests = parseManifests(text);
  const injections = workloadsOf(manifests)
    .filter((workload) => isInjected(templateOf(workload)))
    .map((workload) => ({ workload, tree: remove(workload) }));
  return { ...rewrite(manifests, injections), remarks: [] };
}

interface Target {
  readonly workload: Workload;
  /** Without what an earlier injection left. */
  readonly clean: Workload;
  readonly application: PodApplication;
}

function chooseTargets(manifests: readonly Manifest[], answers: Answers, configMaps: ConfigMaps): readonly Target[] {
  const workloads = workloadsOf(manifests).filter(({ wish }) => wish !== 'unwanted');
  const wanted = workloads.filter(({ wish }) => wish === 'wanted');
  const candidates = wanted.length > 0 ? wanted : workloads;
  const known = candidates.filter(({ kind }) => HASH_LABELS[kind] !== undefined);
  // An answer is for one application.
  const isAnswered = Object.values(pickAnswers(answers)).some((answer) => answer !== undefined);
  if (isAnswered && known.length > 1) {
    const titles = known.map(({ title }) => title).join(', ');
    throw new Failure('invalid', `cannot tell which of ${titles} the flags are for`, {
      hint: `the label ${INJECT_LABEL}: "true" on one of them, or one manifest after the other`,
    });
  }
  const targets = candidates.flatMap((workload) => {
    const isKnown = HASH_LABELS[workload.kind] !== undefined;
    const clean = { ...workload, tree: remove(workload) };
    const application = naming(workload, () => findPodApplication(clean, isKnown ? answers : NO_ANSWERS, configMaps));
    if (application === undefined && wanted.length === 0 && !(isKnown && candidates.length === 1)) return [];
    if (application === undefined) throw noApplicationId(workload);
    if (!isKnown) throw unknownKind(workload);
    return [{ workload, clean, application }];
  });
  if (targets.length > 0) return targets;
  throw new Failure('invalid', 'cannot inject: no Deployment or StatefulSet here runs a Kafka Streams application', {
    hint: `the label ${INJECT_LABEL}: "true" on the one that does, and --application-id`,
  });
}

const NO_ANSWERS: Answers = { applicationId: undefined, processingGuarantee: undefined, stateDir: undefined };

function pickAnswers({ applicationId, processingGuarantee, stateDir }: Answers): Answers {
  return { applicationId, processingGuarantee, stateDir };
}

function noApplicationId({ title }: Workload): Failure {
  return new Failure('invalid', `cannot inject into ${title}: its application.id is not in the manifest`, {
    hint: '--application-id, or the annotation warmstate.dev/application-id on the pod',
  });
}

function unknownKind({ title, kind }: Workload): Failure {
  const hint =
    kind === 'Pod'
      ? 'the manifest of what makes the pod'
      : `a Deployment or a StatefulSet, or the label ${INJECT_LABEL}: "false" to leave it alone`;
  return new Failure('invalid', `cannot inject into ${title}: only Deployments and StatefulSets are understood`, {
    hint,
  });
}

/** Says of which workload a refusal is. */
function naming<T>({ title }: Workload, decide: () => T): T {
  try {
    return decide();
  } catch (error) {
    if (!isFailure(error)) throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    throw new Failure(error.kind, `cannot inject into ${title}: ${error.message}`, { cause: error, ...hint });
  }
}

function workloadsOf(manifests: readonly Manifest[]): readonly Workload[] {
  return manifests.flatMap(({ content }) => findWorkloads(content));
}

function templateOf({ tree, templatePath }: Workload): Tree {
  return treeAt(tree, ...templatePath);
}

interface Rewritten {
  readonly workload: Workload;
  readonly tree: Tree;
}

function rewrite(manifests: readonly Manifest[], rewritten: readonly Rewritten[]): Omit<Result, 'remarks'> {
  const changed = rewritten.filter(({ workload, tree }) => !isDeepStrictEqual(workload.tree, tree));
  const trees = new Map(changed.map(({ workload, tree }) => [workload.tree, tree]));
  const text = manifests.map((manifest) => renderManifest(manifest, substitute(manifest.content, trees))).join('');
  return { text, changed: changed.map(({ workload }) => workload.title) };
}

/** The content with other trees in the places of some; workloads stand at the top, or in Lists. */
function substitute(content: unknown, trees: ReadonlyMap<Tree, Tree>): unknown {
  if (!isTree(content)) return content;
  const other = trees.get(content);
  if (other !== undefined) return other;
  const { items } = content;
  return Array.isArray(items) ? { ...content, items: items.map((item) => substitute(item, trees)) } : content;
}
