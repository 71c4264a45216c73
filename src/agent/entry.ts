import type { Entry, StoredFile } from '../repository/document.ts';
import { readRocksDbVersion } from '../rocksdb/options-file.ts';
import { positionOf, statusOf } from '../streams/family-offsets.ts';
import { offsetsOf, ownOf } from '../streams/offsets.ts';
import type { StoredContent } from './known-tables.ts';
import type { LookedAt } from './looks.ts';
import { travelling } from './task-snapshot.ts';

/** What an entry says besides what the look saw. */
export interface EntryOrigin {
  /** The snapshot that takes it, `<epoch>/<n>`. */
  readonly capturedBy: string;
  /** A moment of this machine's clock by the store's. */
  readonly toStoreTimeMs: (wallMs: number) => number;
  /** What it is by the store's clock, wherever that of this machine was set to. */
  readonly storeTimeMs: () => number;
}

/** The entry that a look would give, without its files: enough to tell whether it would be progress. */
export function sketchEntry(look: LookedAt, origin: EntryOrigin): Entry {
  const stores = travelling(look).map(({ name, kind, columnFamilies }) => {
    return { name, kind, columnFamilies, rocksdbVersion: undefined, files: [] };
  });
  return { ...factsOf(look, origin), files: [], stores };
}

/** The entry of a task whose every file lies in the store by now, as `contents` says by path. */
export function makeEntry(look: LookedAt, contents: ReadonlyMap<string, StoredContent>, origin: EntryOrigin): Entry {
  const place = (path: string): StoredFile => {
    const content = contents.get(path);
    if (content === undefined) throw new Error(`bug: ${path} has no content`);
    const { sizeBytes, sha256, uid, objects } = content;
    return { path, sizeBytes, sha256, uid, objects };
  };
  const stores = travelling(look).map(({ name, kind, columnFamilies, files, tables }) => {
    const options = files.filter(({ path }) => path.includes('/OPTIONS-'));
    const rocksdbVersion = options
      .map(({ bytes }) => readRocksDbVersion(bytes))
      .find((version) => version !== undefined);
    const own = ownOf(look.capture.sight, name);
    return {
      name,
      kind,
      columnFamilies,
      rocksdbVersion,
      status: statusOf(own),
      position: own.length === 0 ? undefined : positionOf(own),
      files: [...files, ...tables].map(({ path }) => place(path)),
    };
  });
  return { ...factsOf(look, origin), files: look.capture.files.map(({ path }) => place(path)), stores };
}

function factsOf(look: LookedAt, origin: EntryOrigin): Omit<Entry, 'files' | 'stores'> {
  const { capture, quality, stateTimeMs, olderByMs } = look;
  const { layout, offsets } = offsetsOf(capture.sight);
  return {
    task: capture.task,
    quality,
    layout,
    // Not later than the capture, nor than now (A5), whatever a clock that ran or was set ahead has stamped: it would never grow old.
    stateTimeMs: Math.floor(
      Math.min(origin.toStoreTimeMs(Math.min(stateTimeMs - olderByMs, capture.capturedAtMs)), origin.storeTimeMs()),
    ),
    capturedAtMs: Math.floor(origin.toStoreTimeMs(capture.capturedAtMs)),
    capturedBy: origin.capturedBy,
    offsets,
  };
}
