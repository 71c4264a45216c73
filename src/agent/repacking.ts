import type { Entry, StoredFile } from '../repository/document.ts';
import { filesOfEntry } from '../repository/document.ts';

/** A restore reads every archive that it needs whole; in more than this many a task's small files are too scattered. */
const ARCHIVES_MAX = 8;
/** An archive that is used for less than this share is read mostly for nothing. */
const USED_SHARE_MIN = 0.5;

/** How much of each archive the entries of a document use, by its key. */
export function measureArchives(entries: readonly Entry[]): ReadonlyMap<string, number> {
  const used = new Map<string, number>();
  const counted = new Set<string>();
  for (const { sizeBytes, objects } of entries.flatMap(filesOfEntry)) {
    const [object] = objects;
    if (object?.kind !== 'archived' || counted.has(`${object.key} ${object.entry}`)) continue;
    counted.add(`${object.key} ${object.entry}`);
    used.set(object.key, (used.get(object.key) ?? 0) + sizeBytes);
  }
  return used;
}

/**
 * Which of a task's small files are sent again although the repository has them: all of them where they lie in too
 * many archives, else those in archives that are hardly used. Returns the keys of the archives to leave.
 */
export function archivesToLeave(
  files: readonly Pick<StoredFile, 'objects'>[],
  usedBytes: ReadonlyMap<string, number>,
): ReadonlySet<string> {
  const archives = new Map<string, number>();
  for (const { objects } of files) {
    for (const object of objects) if (object.kind === 'archived') archives.set(object.key, object.contentBytes);
  }
  if (archives.size > ARCHIVES_MAX) return new Set(archives.keys());
  const isSparse = ([key, contentBytes]: readonly [string, number]): boolean =>
    (usedBytes.get(key) ?? 0) < contentBytes * USED_SHARE_MIN;
  return new Set([...archives].filter(isSparse).map(([key]) => key));
}
