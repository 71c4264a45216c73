/** A mapping of a parsed manifest. Nothing is known of its shape: manifests are other people's. */
export type Tree = Readonly<Record<string, unknown>>;

export type Path = readonly (string | number)[];

export function at(value: unknown, path: Path): unknown {
  let here = value;
  for (const step of path) {
    if (Array.isArray(here)) here = typeof step === 'number' ? (here as readonly unknown[])[step] : undefined;
    else here = isTree(here) && Object.hasOwn(here, step) ? here[step] : undefined;
  }
  return here;
}

/** What lies at a path where that is a mapping, else an empty one. */
export function treeAt(value: unknown, ...path: Path): Tree {
  const found = at(value, path);
  return isTree(found) ? found : {};
}

/** The mappings of the list at a path; an empty list where there is none. */
export function treesAt(value: unknown, ...path: Path): readonly Tree[] {
  const found = at(value, path);
  return Array.isArray(found) ? found.filter(isTree) : [];
}

/** The texts of the list at a path. */
export function textsAt(value: unknown, ...path: Path): readonly string[] {
  const found = at(value, path);
  return Array.isArray(found) ? found.filter((item) => typeof item === 'string') : [];
}

export function textAt(value: unknown, ...path: Path): string | undefined {
  const found = at(value, path);
  return typeof found === 'string' ? found : undefined;
}

export function numberAt(value: unknown, ...path: Path): number | undefined {
  const found = at(value, path);
  return typeof found === 'number' ? found : undefined;
}

/** The mapping of a list that has this name. */
export function named(trees: readonly Tree[], name: string): Tree | undefined {
  return trees.find((tree) => tree['name'] === name);
}

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The same mapping with other values; one that is undefined is taken out, a new one stands last, or before `before`. */
export function withKeys(tree: Tree, values: Tree, before?: string): Tree {
  const old = Object.entries(tree).flatMap(([key, value]): [string, unknown][] => {
    if (!Object.hasOwn(values, key)) return [[key, value]];
    return values[key] === undefined ? [] : [[key, values[key]]];
  });
  const added = Object.entries(values).filter(([key, value]) => value !== undefined && !Object.hasOwn(tree, key));
  const index = before === undefined ? -1 : old.findIndex(([key]) => key === before);
  return Object.fromEntries(index < 0 ? [...old, ...added] : old.toSpliced(index, 0, ...added));
}
