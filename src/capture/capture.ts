import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { isFailure } from '../base/failure.ts';
import { type FileAccess, type FileFacts, readWhole } from '../base/file-access.ts';
import type { Emit } from '../events/event.ts';
import { decodeCheckpoint } from '../streams/checkpoint-file.ts';
import { type Layout, layoutOf } from '../streams/offsets.ts';
import type { DatabaseSight, TaskSight } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import { CHECKPOINT_FILE, listTask, type TaskListing } from '../streams/state-directory.ts';
import type { ManifestTails } from './manifest-tail.ts';
import { type IsKnown, isSameInode, PinnedDatabase, type PinnedTable } from './pinned-database.ts';

/** A consistent view of one task directory. What is pinned stays readable until it is disposed. */
export interface Capture extends AsyncDisposable {
  readonly task: string;
  readonly capturedAtMs: number;
  /** For the rules of quality. */
  readonly sight: TaskSight;
  /** `.checkpoint` and `*.position`, read before any database; none where the offsets lie inside the databases. */
  readonly files: readonly SmallFile[];
  readonly stores: readonly CapturedStore[];
}

export interface CapturedStore {
  readonly name: string;
  readonly kind: 'rocksdb' | 'segmented';
  readonly columnFamilies: readonly string[];
  readonly files: readonly SmallFile[];
  readonly tables: readonly PinnedTable[];
}

/** A file whose bytes were read whole; `path` is below the task directory. */
export interface SmallFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export type CaptureOutcome =
  | { readonly kind: 'captured'; readonly capture: Capture }
  | { readonly kind: 'refused'; readonly why: Explanation }
  /** There is no such task directory (any more). */
  | { readonly kind: 'gone' };

export interface CaptureTools {
  readonly files: FileAccess;
  readonly manifests: ManifestTails;
  readonly clock: Clock;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

export interface CaptureOptions {
  /** Whether the repository has this table already: then it is not opened. */
  readonly isKnown: IsKnown;
  /** Attempts before the task waits for its next round. */
  readonly triesMax: number;
}

/** Enough for a store that turns over hundreds of tables a second. */
export const CAPTURE_TRIES_MAX = 50;
/** A database without CURRENT is being opened, for some milliseconds, or deleted: waiting longer does not help. */
const CURRENT_TRIES_MAX = 8;
/** `.checkpoint` has a line for each changelog partition, a position file one for each input partition. */
const OFFSET_FILE_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Captures a task directory that an application may be changing at this moment: reads the offsets first, then pins
 * every database, then looks whether it was one directory all the time. Never writes, links or locks anything.
 */
export async function captureTask(
  where: { readonly applicationDirectory: string; readonly task: string },
  tools: CaptureTools,
  options: CaptureOptions,
): Promise<CaptureOutcome> {
  let withoutCurrent = 0;
  for (let attempt = 1; ; attempt++) {
    const outcome = await attemptCapture(where, tools, options);
    if (outcome.kind !== 'again') return outcome;
    tools.emit({ kind: 'capture-retried', task: where.task, why: outcome.why });
    if (outcome.why.reason === 'being_deleted') withoutCurrent += 1;
    if (attempt >= options.triesMax || withoutCurrent >= CURRENT_TRIES_MAX)
      return { kind: 'refused', why: outcome.why };
    await tools.clock.sleep(backOffMs(attempt), tools.signal);
    tools.signal.throwIfAborted();
  }
}

type Attempt = CaptureOutcome | { readonly kind: 'again'; readonly why: Explanation };

async function attemptCapture(
  where: { readonly applicationDirectory: string; readonly task: string },
  tools: CaptureTools,
  options: CaptureOptions,
): Promise<Attempt> {
  const listing = await listTask(tools.files, where.applicationDirectory, where.task);
  if (listing === undefined) {
    const facts = await tools.files.stat(join(where.applicationDirectory, where.task));
    return facts === undefined ? { kind: 'gone' } : changing(`${where.task} changed while it was listed`);
  }
  await using scope = new AsyncDisposableStack();
  try {
    return await captureListed(listing, { tools, options, scope });
  } catch (error) {
    if (isFailure(error, 'corrupt')) return { kind: 'refused', why: { reason: 'damaged', message: error.message } };
    if (isFailure(error, 'invalid'))
      return { kind: 'refused', why: { reason: 'unsupported_store', message: error.message } };
    if (isFailure(error, 'moved')) return changing(error.message);
    throw error;
  }
}

async function captureListed(
  listing: TaskListing,
  context: { readonly tools: CaptureTools; readonly options: CaptureOptions; readonly scope: AsyncDisposableStack },
): Promise<Attempt> {
  const { tools, options, scope } = context;
  // Held to the end, so that a directory that was replaced meanwhile cannot come back under the same inode number.
  const directory = await tools.files.hold(listing.path);
  if (directory === undefined) return changing(`${listing.task} is gone`);
  scope.use(directory);
  if (!isSameInode(directory.facts, listing.facts)) return changing(`${listing.task} was replaced`);
  const databases: PinnedDatabase[] = [];
  for (const database of listing.databases) {
    const tail = tools.manifests.of(join(listing.path, database.path));
    const pinned = await PinnedDatabase.open(tools.files, { ...database, taskPath: listing.path }, tail);
    if (pinned === undefined) return changing(`${database.path} was replaced`);
    databases.push(scope.use(pinned));
  }

  // The offsets first: then no database can be behind them.
  const offsets = await readOffsetFiles(listing, tools.files);
  if (offsets === undefined) return changing('a position file is gone');
  for (const [index, database] of databases.entries()) {
    const trouble = await pinDatabase(database, listing.databases[index]?.path ?? '', { tools, options });
    if (trouble !== undefined) return trouble;
  }
  const sights: DatabaseSight[] = [];
  for (const database of databases) sights.push(await database.sight());
  const stores = await readStores(listing, databases);
  const layout = layoutOf({ databases: sights });
  const moved = await findMovement(listing, offsets.checkpoint?.facts, { layout, files: tools.files });
  if (moved !== undefined) return changing(moved);

  const sight: TaskSight = {
    task: listing.task,
    facts: listing.facts,
    checkpoint:
      offsets.checkpoint === undefined
        ? undefined
        : {
            inode: offsets.checkpoint.facts.inode,
            mtimeNs: offsets.checkpoint.facts.mtimeNs,
            content: decodeCheckpoint(offsets.checkpoint.bytes),
          },
    databases: sights,
    parents: listing.parents,
    customStores: listing.customStores,
  };
  const held = scope.move();
  const capture: Capture = {
    task: listing.task,
    capturedAtMs: tools.clock.nowMs(),
    sight,
    // Offsets that lie inside would be replaced by those of a file.
    files: layout === 'file' ? offsets.files : [],
    stores,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
  return { kind: 'captured', capture };
}

/** Pins one database, again and again while its files move under us; what is held stays held. */
async function pinDatabase(
  database: PinnedDatabase,
  path: string,
  context: { readonly tools: CaptureTools; readonly options: CaptureOptions },
): Promise<Attempt | undefined> {
  const { tools, options } = context;
  for (let attempt = 1; ; attempt++) {
    const result = await database.pin(options.isKnown, tools.signal);
    if (result.kind === 'pinned') return undefined;
    if (result.kind === 'no-current') {
      // D1: whatever else it holds.
      return {
        kind: 'again',
        why: { reason: 'being_deleted', message: `${path} has no CURRENT: it is being deleted or made` },
      };
    }
    tools.emit({ kind: 'capture-retried', task: path, why: { reason: result.reason, message: result.why } });
    if (!(await database.isInPlace())) return changing(`${path} was replaced`);
    if (attempt >= options.triesMax) {
      const message = `${path} did not hold still in ${attempt} tries: ${result.why}`;
      return { kind: 'refused', why: { reason: result.reason, message } };
    }
    await tools.clock.sleep(backOffMs(attempt), tools.signal);
    tools.signal.throwIfAborted();
  }
}

async function readOffsetFiles(
  listing: TaskListing,
  files: FileAccess,
): Promise<
  | {
      readonly checkpoint: { readonly bytes: Uint8Array; readonly facts: FileFacts } | undefined;
      readonly files: readonly SmallFile[];
    }
  | undefined
> {
  const checkpoint = await readWhole(files, join(listing.path, CHECKPOINT_FILE), OFFSET_FILE_BYTES_MAX);
  const small: SmallFile[] = checkpoint === undefined ? [] : [{ path: CHECKPOINT_FILE, bytes: checkpoint.bytes }];
  for (const name of listing.positions) {
    const position = await readWhole(files, join(listing.path, name), OFFSET_FILE_BYTES_MAX);
    if (position === undefined) return undefined;
    small.push({ path: name, bytes: position.bytes });
  }
  return { checkpoint, files: small };
}

/** Q3 and D3: what was captured must have been one directory, with one checkpoint, from the first step to the last. */
async function findMovement(
  listing: TaskListing,
  checkpoint: FileFacts | undefined,
  context: { readonly layout: Layout; readonly files: FileAccess },
): Promise<string | undefined> {
  const after = await listTask(context.files, join(listing.path, '..'), listing.task);
  if (after === undefined) return `${listing.task} is gone`;
  if (!isSameInode(after.facts, listing.facts)) return `${listing.task} was replaced`;
  if (describeDatabases(after) !== describeDatabases(listing)) return 'stores or segments came or went';
  for (const path of new Set([...listing.parents.keys(), ...after.parents.keys()])) {
    if (after.parents.get(path)?.facts.mtimeNs !== listing.parents.get(path)?.facts.mtimeNs) return `${path} changed`;
  }
  // D2: in the file layout `.checkpoint` touches it.
  if (context.layout === 'column-family' && after.facts.mtimeNs !== listing.facts.mtimeNs)
    return `${listing.task} changed`;
  const now = await context.files.stat(join(listing.path, CHECKPOINT_FILE));
  if (now?.inode !== checkpoint?.inode || now?.mtimeNs !== checkpoint?.mtimeNs)
    return `${CHECKPOINT_FILE} was rewritten`;
  return undefined;
}

/** Their directories are held, so that none comes back under the same inode number. */
function describeDatabases(listing: TaskListing): string {
  const databases = listing.databases.map(({ path, facts }) => [path, String(facts.inode)]);
  return JSON.stringify([databases, listing.customStores]);
}

async function readStores(
  listing: TaskListing,
  databases: readonly PinnedDatabase[],
): Promise<readonly CapturedStore[]> {
  const stores = new Map<string, { -readonly [K in keyof CapturedStore]: CapturedStore[K] }>();
  for (const [path, parent] of listing.parents) {
    if (parent.kind === 'segments')
      stores.set(path, { name: path, kind: 'segmented', columnFamilies: [], files: [], tables: [] });
  }
  for (const [index, { store, kind }] of listing.databases.entries()) {
    const database = databases[index];
    if (database === undefined) continue;
    const before = stores.get(store) ?? { name: store, kind, columnFamilies: [], files: [], tables: [] };
    stores.set(store, {
      ...before,
      columnFamilies: [...new Set([...before.columnFamilies, ...database.columnFamilies])],
      files: [...before.files, ...(await database.smallFiles())],
      tables: [...before.tables, ...database.tables()],
    });
  }
  return [...stores.values()];
}

function changing(message: string): { readonly kind: 'again'; readonly why: Explanation } {
  return { kind: 'again', why: { reason: 'changing', message } };
}

/** The first tries follow at once: most files that are missing are in the next edit of the manifest. */
function backOffMs(attempt: number): number {
  return attempt <= 5 ? 0 : Math.min(200, 2 ** (attempt - 5));
}
