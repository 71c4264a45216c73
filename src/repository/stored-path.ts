import { parseFileName, type RocksFileName } from '../rocksdb/file-name.ts';
import { CHECKPOINT_FILE, isPositionFile, isStoreName, segmentStart } from '../streams/state-directory.ts';
import type { StoredStore } from './document.ts';

/*
 * Which paths a document may name below a task directory. It is hostile input that ends as files beside an
 * application, so only what Kafka Streams and RocksDB would have put there is accepted:
 *
 *   .checkpoint | <store>.position                        of the task itself
 *   rocksdb/<store>/<file>                                of a plain store
 *   <store>/<store>.<segment start>/<file>                of a segmented one
 *   <store>/…                                             of a custom one
 *
 * <file> is a table, a blob file, a manifest, an options file or CURRENT: never a lock, an identity, a log.
 */

const ROCKSDB_PARENT = 'rocksdb';
const CUSTOM_PATH_CHARACTERS_MAX = 1024;

const INSTALLED_KINDS: ReadonlySet<RocksFileName['kind']> = new Set([
  'table',
  'blob',
  'manifest',
  'options',
  'current',
]);
// What belongs to one process or host, whoever put it there.
const NEVER_INSTALLED: ReadonlySet<string> = new Set(['.lock', 'LOCK', 'IDENTITY', 'kafka-streams-process-metadata']);

/** A file in the task directory itself. */
export function isTaskFilePath(path: string): boolean {
  return path === CHECKPOINT_FILE || isPositionFile(path);
}

/** A file of this store. */
export function isStoreFilePath(store: Pick<StoredStore, 'name' | 'kind'>, path: string): boolean {
  const [first = '', second = '', file = '', ...more] = path.split('/');
  switch (store.kind) {
    case 'rocksdb':
      return first === ROCKSDB_PARENT && second === store.name && isDatabaseFile(file) && more.length === 0;
    case 'segmented':
      return (
        first === store.name &&
        first !== ROCKSDB_PARENT &&
        isSegmentOf(store.name, second) &&
        isDatabaseFile(file) &&
        more.length === 0
      );
    case 'other':
      return first === store.name && first !== ROCKSDB_PARENT && second !== '' && isCustomPath(path);
  }
}

/** A table of some store of some task. */
export function isTablePath(path: string): boolean {
  const [first = '', second = '', file = '', ...more] = path.split('/');
  const isDatabase = first === ROCKSDB_PARENT ? isStoreName(second) : isStoreName(first) && isSegmentOf(first, second);
  return isDatabase && parseFileName(file)?.kind === 'table' && more.length === 0;
}

function isSegmentOf(store: string, directory: string): boolean {
  return segmentStart(store, directory) !== undefined;
}

function isDatabaseFile(name: string): boolean {
  const parsed = parseFileName(name);
  return parsed !== undefined && INSTALLED_KINDS.has(parsed.kind);
}

function isCustomPath(path: string): boolean {
  if (path.length > CUSTOM_PATH_CHARACTERS_MAX || /[\p{Cc}\\]/u.test(path) || !path.isWellFormed()) return false;
  return path
    .split('/')
    .every((segment) => segment !== '' && segment !== '.' && segment !== '..' && !NEVER_INSTALLED.has(segment));
}
