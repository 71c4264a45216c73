import { isDeepStrictEqual } from 'node:util';
import { type InjectionOptions, inject, isInjected, remove } from './injection.ts';
import { type Manifest, parseManifests, renderManifest } from './manifest-stream.ts';
import type { Answers } from './pod.ts';
import type { Remark } from './remarks.ts';
import { chooseTargets, naming } from './targets.ts';
import { isTree, type Tree, treeAt } from './tree.ts';
import { findConfigMaps, findWorkloads, type Workload } from './workload.ts';

/** What became of a stream of manifests. */
export interface Result {
  readonly text: string;
  readonly remarks: readonly Remark[];
  /** The workloads that are not as they were. */
  readonly changed: readonly string[];
}

/**
 * Adds warmstate to every workload that asks for it by label, or where none does, to those that run a Kafka Streams
 * application. Everything else passes through as it is. Refuses what it does not understand.
 */
export function injectManifests(text: string, options: InjectionOptions & Answers): Result {
  const manifests = parseManifests(text);
  const configMaps = new Map(manifests.flatMap(({ content }) => findConfigMaps(content)));
  const choice = chooseTargets(workloadsOf(manifests), options, configMaps);
  const injections = choice.targets.map(({ workload, clean, application }) => ({
    workload,
    ...naming(workload, () => inject(clean, application, options)),
  }));
  const remarks = injections.flatMap(({ workload: { title }, remarks }) =>
    remarks.map(({ level, message }) => ({ level, message: `${title}: ${message}` })),
  );
  return { ...rewrite(manifests, injections), remarks: [...remarks, ...choice.remarks] };
}

/** Takes out what an injection added. */
export function cleanManifests(text: string): Result {
  const manifests = parseManifests(text);
  const injections = workloadsOf(manifests)
    .filter((workload) => isInjected(templateOf(workload)))
    .map((workload) => ({ workload, tree: remove(workload) }));
  return { ...rewrite(manifests, injections), remarks: [] };
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
