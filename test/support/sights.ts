import type { FileFacts } from '../../src/base/file-access.ts';
import { decodeCheckpoint } from '../../src/streams/checkpoint-file.ts';
import type { FamilySight } from '../../src/streams/family-offsets.ts';
import type { DatabaseSight, JudgeContext, TaskSight } from '../../src/streams/quality.ts';
import type { ParentDirectory } from '../../src/streams/state-directory.ts';

const APPLICATION_ID = 'orders';

/** When the checkpoint of `taskSight` was written; with nanoseconds, as a file system with fine stamps has them. */
export const CHECKPOINT_NS = 1_700_000_000_123_456_789n;

/** A stamp so many milliseconds after that checkpoint. */
export function after(ms: number): bigint {
  return CHECKPOINT_NS + BigInt(ms) * 1_000_000n;
}

export function before(ms: number): bigint {
  return after(-ms);
}

/**
 * A task of the application `orders`, cleanly closed: a plain store, a window store with two segments, and a
 * checkpoint that is younger than all of it.
 */
export function taskSight(changes: Partial<TaskSight> = {}): TaskSight {
  return {
    task: '0_3',
    facts: directoryFacts(before(600_000)),
    checkpoint: checkpointSight(['orders-agg-changelog 3 100', 'orders-win-changelog 3 200']),
    databases: [databaseSight('rocksdb/agg'), databaseSight('win/win.0'), databaseSight('win/win.3600000')],
    parents: new Map([
      ['rocksdb', parentOf('stores', ['agg'])],
      ['win', parentOf('segments', ['win.0', 'win.3600000'])],
    ]),
    customStores: [],
    ...changes,
  };
}

export function checkpointSight(
  entries: readonly string[],
  changes: Partial<NonNullable<TaskSight['checkpoint']>> = {},
): NonNullable<TaskSight['checkpoint']> {
  const text = ['0', String(entries.length), ...entries, ''].join('\n');
  return { inode: 77n, mtimeNs: CHECKPOINT_NS, content: decodeCheckpoint(Buffer.from(text)), ...changes };
}

/** A database with one table that is older than the checkpoint. */
export function databaseSight(path: string, changes: Partial<DatabaseSight> = {}): DatabaseSight {
  const [parent = '', name = ''] = path.split('/');
  return {
    store: parent === 'rocksdb' ? name : parent,
    path,
    manifest: 'MANIFEST-000005',
    columnFamilies: ['default'],
    greatestSequence: 1_000n,
    newestDropped: false,
    tables: [tableSight(before(5_000))],
    bornNs: before(3_600_000),
    own: undefined,
    ...changes,
  };
}

/**
 * A database of the column-family layout, cleanly closed, with one table that was written at the moment which
 * is the checkpoint's in the other layout.
 */
export function familyDatabase(
  path: string,
  changes: Partial<Extract<FamilySight, { kind: 'read' }>> = {},
  rest: Partial<DatabaseSight> = {},
): DatabaseSight {
  const { store } = databaseSight(path);
  return databaseSight(path, {
    columnFamilies: ['default', 'offsets'],
    tables: [tableSight(CHECKPOINT_NS)],
    own: {
      kind: 'read',
      offsets: new Map([[`orders-${store}-changelog-3`, 100n]]),
      unknown: new Set(),
      status: 'closed',
      position: new Map(),
      writtenNs: CHECKPOINT_NS,
      hasData: true,
      ...changes,
    },
    ...rest,
  });
}

/** One that was made, and never flushed. */
export function unwrittenDatabase(path: string, bornNs: bigint): DatabaseSight {
  const nothing = { offsets: new Map<string, bigint>(), status: undefined, writtenNs: undefined, hasData: false };
  return familyDatabase(path, nothing, { tables: [], greatestSequence: 0n, bornNs });
}

export function tableSight(mtimeNs: bigint, birthtimeNs = mtimeNs): DatabaseSight['tables'][number] {
  return { mtimeNs, birthtimeNs };
}

export function parentOf(
  kind: ParentDirectory['kind'],
  children: readonly string[],
  mtimeNs: bigint = before(60_000),
): ParentDirectory {
  return { kind, facts: { ...directoryFacts(mtimeNs), inode: 500n }, children };
}

/** A look a minute after the checkpoint, at an application that does not run, with no memory of it. */
export function lookContext(changes: Partial<JudgeContext> = {}): JudgeContext {
  return {
    applicationId: APPLICATION_ID,
    nowMs: Number(after(60_000) / 1_000_000n),
    isRunning: false,
    clockWasSet: false,
    memory: undefined,
    installedQuality: undefined,
    transactionalStores: false,
    ...changes,
  };
}

function directoryFacts(mtimeNs: bigint): FileFacts {
  return {
    kind: 'directory',
    device: 8n,
    inode: 12n,
    sizeBytes: 4096,
    mtimeNs,
    ctimeNs: mtimeNs,
    birthtimeNs: before(3_600_000),
  };
}
