import { isDeepStrictEqual } from 'node:util';
import type { Entry } from '../repository/document.ts';
import type { SnapshotContents } from '../repository/writer.ts';
import type { Explanation } from '../streams/reason.ts';
import type { LookedAt } from './looks.ts';

/** A changelog that the stored entry has and this look has not yet: a directory that is being filled again is no new topology. */
export function findUnfilled(previous: Entry, { capture }: LookedAt): string | undefined {
  const unknown = capture.sight.checkpoint?.content.unknown;
  return [...previous.offsets.keys()].find((changelog) => unknown?.has(changelog));
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
