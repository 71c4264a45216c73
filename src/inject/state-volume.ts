import { posix } from 'node:path';
import { Failure } from '../base/failure.ts';
import { at, isTree, named, type Tree, textAt, treeAt, treesAt } from './tree.ts';

/** The volume on which an application keeps its state. */
export interface StateVolume {
  readonly name: string;
  /**
   * `missing`: the state lies on the container's own layer; `scratch`: an emptyDir, gone with its pod; `persistent`: what
   * outlives it.
   */
  readonly kind: 'missing' | 'scratch' | 'persistent';
  /**
   * What mounts it where the state is, which may be below where the application mounts it: then the directory is made with
   * the mount, and warmstate sees nothing beside it.
   */
  readonly mount: Tree;
  /** Of an emptyDir. */
  readonly sizeLimit: unknown;
  readonly isInMemory: boolean;
}

/** The volume that is added where the state lies on the container's own layer. */
export const ADDED_VOLUME = 'warmstate-state';

/** The volume under a state directory, as it is mounted in the application's container. */
export function findStateVolume(spec: Tree, container: Tree, where: StatePlace): StateVolume {
  const { stateDir, claims } = where;
  const mount = treesAt(container, 'volumeMounts')
    .filter((each) => isInside(stateDir, textAt(each, 'mountPath') ?? ''))
    .sort((left, right) => (textAt(right, 'mountPath') ?? '').length - (textAt(left, 'mountPath') ?? '').length)[0];
  if (mount === undefined) return added(stateDir);
  const name = textAt(mount, 'name') ?? '';
  if (mount['readOnly'] === true) throw unusable(stateDir, `the volume ${name}, which is mounted read-only`);
  if (mount['subPathExpr'] !== undefined) throw unusable(stateDir, `a subPathExpr of the volume ${name}`);
  const volume = named(treesAt(spec, 'volumes'), name);
  const below = posix.relative(textAt(mount, 'mountPath') ?? '', stateDir);
  const subPath = posix.join(textAt(mount, 'subPath') ?? '', below);
  const found = {
    name,
    mount: { name, mountPath: stateDir, ...(subPath === '.' ? {} : { subPath }) },
    sizeLimit: at(volume, ['emptyDir', 'sizeLimit']),
    isInMemory: textAt(volume, 'emptyDir', 'medium') === 'Memory',
  };
  if (claims.includes(name)) return { ...found, kind: 'persistent' };
  if (volume === undefined) throw unusable(stateDir, `the volume ${name}, which the pod does not have`);
  if (volume['emptyDir'] !== undefined) return { ...found, kind: 'scratch' };
  if (UNWRITABLE.some((kind) => volume[kind] !== undefined)) {
    throw unusable(stateDir, `the volume ${name}, which no application can write`);
  }
  return { ...found, kind: 'persistent' };
}

export interface StatePlace {
  readonly stateDir: string;
  /** The names of the volumeClaimTemplates. */
  readonly claims: readonly string[];
}

const UNWRITABLE = ['configMap', 'secret', 'projected', 'downwardAPI', 'image'];

function added(stateDir: string): StateVolume {
  if (stateDir === '/') throw new Failure('invalid', 'the state directory is the root of the container');
  const mount = { name: ADDED_VOLUME, mountPath: stateDir };
  return { name: ADDED_VOLUME, kind: 'missing', mount, sizeLimit: undefined, isInMemory: false };
}

/** Where a volume is mounted that is said to hold the state. */
export function mountPathOf(container: Tree, volume: string): string | undefined {
  return textAt(named(treesAt(container, 'volumeMounts'), volume), 'mountPath');
}

/**
 * Where the only volume is mounted that looks like one for state. Applications with a directory of their own often say
 * it where no manifest shows it.
 */
export function likelyStateDir(spec: Tree, container: Tree, claims: readonly string[]): string | undefined {
  const writable = treesAt(container, 'volumeMounts').filter((mount) => {
    const volume = treeAt(named(treesAt(spec, 'volumes'), textAt(mount, 'name') ?? ''));
    const isVolume = claims.includes(textAt(mount, 'name') ?? '') || Object.keys(volume).length > 0;
    return isVolume && mount['readOnly'] !== true && !UNWRITABLE.some((kind) => isTree(volume[kind]));
  });
  const likely = writable.filter((mount) => LIKELY.test(`${textAt(mount, 'name')} ${textAt(mount, 'mountPath')}`));
  return likely.length === 1 ? textAt(likely[0], 'mountPath') : undefined;
}

const LIKELY = /state|streams|rocksdb/i;

/** An absolute path without `.`, `..` and slashes at its end. */
export function normalPath(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

function isInside(path: string, directory: string): boolean {
  const base = normalPath(directory);
  return directory !== '' && (base === '/' || path === base || path.startsWith(`${base}/`));
}

function unusable(stateDir: string, what: string): Failure {
  return new Failure('invalid', `the state directory ${stateDir} lies on ${what}`);
}
