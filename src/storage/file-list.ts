import { mapBounded } from '../base/concurrency.ts';
import { translated, unless } from './file-operations.ts';
import { type FilePlace, factsOf, isALink, lookAt, pathOf } from './file-place.ts';
import { isKeySegment, objectPrefixParts } from './object-key.ts';
import type { ObjectPage } from './object-store.ts';

/** As the port promises. */
const PAGE_OBJECTS_MAX = 1000;

/** Twice what Node's pool runs at once, so that it never waits for us. */
const LOOKS_AT_ONCE = 8;

/** Walks in the order of names. Files that vanish meanwhile, and names that are no keys, are left out. */
export async function* listFiles(place: FilePlace, prefix: string, signal: AbortSignal): AsyncGenerator<ObjectPage> {
  const { folders, begin } = objectPrefixParts(prefix);
  signal.throwIfAborted();
  let keys: string[] = [];
  if (await areFolders(place, folders)) {
    for await (const key of keysBelow(place, folders.join('/'), { begin, signal })) {
      keys.push(key);
      if (keys.length < PAGE_OBJECTS_MAX) continue;
      yield await pageOf(place, keys, signal);
      keys = [];
    }
  }
  yield await pageOf(place, keys, signal);
}

async function areFolders(place: FilePlace, folders: readonly string[]): Promise<boolean> {
  for (const index of folders.keys()) {
    const stats = await lookAt(place, folders.slice(0, index + 1).join('/'));
    if (stats?.isDirectory() !== true) return false;
  }
  return true;
}

async function* keysBelow(
  place: FilePlace,
  folder: string,
  { begin, signal }: { readonly begin: string; readonly signal: AbortSignal },
): AsyncGenerator<string> {
  const path = pathOf(place, folder);
  const entries = await translated(`list ${path}`, unless(place.files.readDirectory(path), 'ENOENT', 'ENOTDIR'));
  const named = (entries ?? []).filter(({ name }) => name.startsWith(begin) && isKeySegment(name));
  for (const entry of named.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    signal.throwIfAborted();
    const key = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isSymbolicLink()) throw isALink(pathOf(place, key));
    if (entry.isFile()) yield key;
    if (entry.isDirectory()) yield* keysBelow(place, key, { begin: '', signal });
  }
}

async function pageOf(place: FilePlace, keys: readonly string[], signal: AbortSignal): Promise<ObjectPage> {
  const found = await mapBounded(keys, { limit: LOOKS_AT_ONCE, signal }, async (key) => {
    const stats = await lookAt(place, key);
    return stats?.isFile() === true ? [factsOf(key, stats)] : [];
  });
  return { storeTimeMs: place.clock.nowMs(), objects: found.flat() };
}
