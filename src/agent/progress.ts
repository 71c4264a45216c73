import { isDeepStrictEqual } from 'node:util';
import type { Entry } from '../repository/document.ts';
import type { SnapshotContents } from '../repository/writer.ts';
import { offsetsOf } from '../streams/offsets.ts';
import type { Explanation } from '../streams/reason.ts';
import type { LookedAt } from './looks.ts';

/**
 * A changelog that the stored entry has and this look has not yet, or a store without any: a directory that is being filled
 * again is no new topology.
 */
export function findUnfilled(previous: Entry, { capture, judgement }: LookedAt): string | undefined {
  const { layout, unknown } = offsetsOf(capture.sight);
  const changelog = [...previous.offsets.keys()].find((one) => unknown.has(one));
  if (changelog !== undefined || layout === 'file') return changelog;
  const unserved = new Set(capture.stores.map(({ name }) => name)).difference(judgement.stores);
  return previous.stores.find(({ name }) => unserved.has(name))?.name;
}

/** A changelog that stands behind where it was seen in this very directory. */
export function findRegression(
  before: ReadonlyMap<string, bigint>,
  now: ReadonlyMap<string, bigint>,
): Explanation | undefined {
  const [changelog, offset] = [...before].find(([key, value]) => (now.get(key) ?? value) < value) ?? [];
  if (changelog === undefined) return undefined;
  const message = `${changelog} stood at ${offset} in this directory and stands at ${now.get(changelog)} now: its topic was recreated or cut`;
  return { reason: 'regressed', message };
}

/** Whether a document would say anything at all. */
export function saysSomething({ entries, ahead, seen }: SnapshotContents): boolean {
  return entries.length > 0 || ahead.length > 0 || seen.size > 0;
}

/** Whether a document would say nothing that the one before does not say. */
export function saysTheSame(contents: SnapshotContents, before: SnapshotContents): boolean {
  return (
    isDeepStrictEqual(contents.entries, before.entries) &&
    isDeepStrictEqual(contents.ahead, before.ahead) &&
    isDeepStrictEqual(contents.seen, before.seen)
  );
}
