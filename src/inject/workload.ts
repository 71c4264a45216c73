import { isTree, type Path, type Tree, textAt, treeAt, treesAt } from './tree.ts';

/** An object of a manifest that makes pods. */
export interface Workload {
  readonly kind: string;
  /** `Deployment orders` */
  readonly title: string;
  readonly tree: Tree;
  /** Where the template of its pods stands in it. */
  readonly templatePath: Path;
  /** What its labels say of injection. */
  readonly wish: 'wanted' | 'unwanted' | undefined;
}

/** What warmstate can be added to, with the label in which each revision of the pods has its hash. */
export const HASH_LABELS: Readonly<Record<string, string>> = {
  Deployment: 'pod-template-hash',
  StatefulSet: 'controller-revision-hash',
};

export function isInjectable({ kind }: Workload): boolean {
  return Object.hasOwn(HASH_LABELS, kind);
}

export const INJECT_LABEL = 'warmstate.dev/inject';

/** Everything in a document that makes pods, of whatever kind. Lists are walked. */
export function findWorkloads(tree: unknown): readonly Workload[] {
  if (!isTree(tree)) return [];
  const kind = textAt(tree, 'kind') ?? '';
  if (kind.endsWith('List')) return treesAt(tree, 'items').flatMap(findWorkloads);
  const templatePath = templatePathOf(tree);
  if (templatePath === undefined) return [];
  const title = `${kind} ${textAt(tree, 'metadata', 'name') ?? textAt(tree, 'metadata', 'generateName') ?? '(no name)'}`;
  const labels = [treeAt(tree, 'metadata', 'labels'), treeAt(tree, ...templatePath, 'metadata', 'labels')];
  return [{ kind, title, tree, templatePath, wish: wishOf(labels.map((each) => each[INJECT_LABEL])) }];
}

/** ConfigMaps of the document by name: charts keep the environment of their pods there. */
export function findConfigMaps(document: unknown): readonly (readonly [string, Tree])[] {
  const kind = textAt(document, 'kind') ?? '';
  if (kind.endsWith('List')) return treesAt(document, 'items').flatMap(findConfigMaps);
  const name = textAt(document, 'metadata', 'name');
  return kind === 'ConfigMap' && name !== undefined ? [[name, treeAt(document, 'data')]] : [];
}

function templatePathOf(tree: Tree): Path | undefined {
  const paths = [['spec', 'template'], ['spec', 'jobTemplate', 'spec', 'template'], []];
  return paths.find((path) => treesAt(tree, ...path, 'spec', 'containers').length > 0);
}

function wishOf(values: readonly unknown[]): Workload['wish'] {
  const said = new Set(values.map(String));
  if (said.has('false')) return 'unwanted';
  return said.has('true') ? 'wanted' : undefined;
}
