import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type Budget, mapBounded } from '../base/concurrency.ts';
import { Failure, isFailure } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import { CAPTURE_TRIES_MAX, type Capture } from '../capture/capture.ts';
import { openTable, type PinnedSource, type PinnedTable, type TableIdentity } from '../capture/pinned-database.ts';
import type { Emit } from '../events/event.ts';
import { type Entry, filesOfEntry, type StoredFile } from '../repository/document.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { Explanation, Reason } from '../streams/reason.ts';
import { bytesSource, hashSource } from '../transfer/source-file.ts';
import { uploadTable } from '../transfer/upload.ts';
import type { SmallFile } from '../transfer/upload-archive.ts';
import type { KnownTables, StoredContent } from './known-tables.ts';
import type { Look, LookedAt, LookOptions } from './looks.ts';
import { Pins } from './pin-limit.ts';
import { archivesToLeave } from './repacking.ts';

/** Smaller tables travel in archives: a request costs more than their bytes. */
const SMALL_TABLE_BYTES = 256 * 1024;
/** A file that is changed in place while it is sent; no setting of Kafka Streams' own does that. */
const MOVED_TRIES_MAX = 3;
/** Tables of such a task will be needed when it can be captured: sent now, they do not delay that. */
const WORTH_SENDING_AHEAD: ReadonlySet<Reason> = new Set([
  'exactly_once_running',
  'guarantee_unknown',
  'segmented',
  'changing',
]);

/** How often what came since is sent ahead, before a task that writes faster than that waits for the next round. */
const AHEAD_TRIES_MAX = 4;

/** What taking a task needs. */
export interface TaskTools {
  readonly files: FileAccess;
  readonly store: ObjectStore;
  readonly nextDataKey: () => string;
  readonly compression: 'zstd' | 'none';
  readonly concurrency: number;
  readonly memory: Budget;
  readonly known: KnownTables;
  /** Looks at the task, with everything that is known of it. */
  readonly look: (options: LookOptions) => Promise<Look>;
  /** How many bytes may be held open now. */
  readonly pinnedBytesMax: () => Promise<number>;
  /** Whether it is time to publish what was sent: what is left waits for the next round. */
  readonly isLate: () => boolean;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

export interface TaskTerms {
  readonly applicationDirectory: string;
  /** Whether an entry of this quality, with these offsets and stores, would be better than what is stored. */
  readonly isProgress: (look: LookedAt) => boolean;
  /** What is stored of the task: its small files serve again where they did not change. */
  readonly previous: Entry | undefined;
  /** Bytes of each archive that the document before uses. */
  readonly archiveUse: ReadonlyMap<string, number>;
  /** Objects that are known to be missing or wrong: what lies in them is sent again. */
  readonly damaged: ReadonlySet<string>;
}

export type TaskOutcome =
  | { readonly kind: 'taken'; readonly taken: TakenTask }
  /** What is stored is as good. */
  | { readonly kind: 'no-progress'; readonly look: LookedAt }
  | {
      readonly kind: 'refused';
      readonly why: Explanation;
      readonly ahead: readonly StoredFile[];
    }
  | { readonly kind: 'gone' };

/** A captured task whose tables lie in the store; its small files are still to be sent. */
export interface TakenTask extends LookedAt, AsyncDisposable {
  /** What is stored already, by path. */
  readonly stored: ReadonlyMap<string, StoredContent>;
  readonly small: readonly (SmallFile & { readonly path: string; readonly uid: string | undefined })[];
}

/**
 * Looks at a task, sends ahead what the repository lacks of it, each table open only while it is sent, and captures it
 * when little is left: so no more than that is ever pinned.
 */
export async function takeTask(task: string, terms: TaskTerms, tools: TaskTools): Promise<TaskOutcome> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await attemptTask(task, terms, tools);
    } catch (error) {
      if (!isFailure(error, 'moved')) throw error;
      const why: Explanation = { reason: 'changing', message: error.message };
      tools.emit({ kind: 'capture-retried', task, why });
      if (attempt < MOVED_TRIES_MAX) continue;
      return { kind: 'refused', why, ahead: [] };
    }
  }
}

async function attemptTask(task: string, terms: TaskTerms, tools: TaskTools): Promise<TaskOutcome> {
  const taskPath = join(terms.applicationDirectory, task);
  const first = await tools.look({ isKnown: () => true, triesMax: CAPTURE_TRIES_MAX, signal: tools.signal });
  if (first.kind === 'gone') return first;
  if (first.kind === 'refused') {
    await using capture = first.capture;
    const tables = capture !== undefined && WORTH_SENDING_AHEAD.has(first.why.reason) ? tablesOf(capture) : [];
    await sendAhead(taskPath, tables, { ...tools, isSent: isLarge });
    return { kind: 'refused', why: first.why, ahead: storedOf(tables, tools.known) };
  }
  await using scope = new AsyncDisposableStack();
  scope.use(first.look.capture);
  if (!terms.isProgress(first.look)) return { kind: 'no-progress', look: first.look };

  let tables = tablesOf(first.look.capture);
  tools.emit({ kind: 'work-announced', work: 'upload', bytes: missingBytes(tables, tools.known) });
  for (let attempt = 1; ; attempt++) {
    // Where more is new than may be held at once, what is small goes ahead as well.
    await sendAhead(taskPath, tables, { ...tools, isSent: attempt === 1 ? isLarge : () => true });
    const ahead = (): readonly StoredFile[] => storedOf(tables, tools.known);
    if (tools.isLate() && tables.some((table) => isLarge(table) && tools.known.find(table) === undefined)) {
      return {
        kind: 'refused',
        why: { reason: 'changing', message: 'its upload takes several rounds' },
        ahead: ahead(),
      };
    }
    const leave = attempt === 1 ? archivesLeft(terms, tables, tools.known).union(terms.damaged) : terms.damaged;
    const isKnown = (table: TableIdentity): boolean => isKept(tools.known.find(table), leave);
    // What was looked at without opening anything is good enough where nothing is to be opened.
    if (attempt === 1 && tables.every(isKnown))
      return { kind: 'taken', taken: await sendPinned(first.look, { leave, terms, tools, scope }) };
    const pins = new Pins(await tools.pinnedBytesMax());
    const second = await tools.look({
      isKnown: (table) => isKnown(table) || !pins.take(table),
      triesMax: CAPTURE_TRIES_MAX,
      signal: tools.signal,
    });
    if (second.kind === 'gone') return second;
    if (second.kind === 'refused') {
      await second.capture?.[Symbol.asyncDispose]();
      return { kind: 'refused', why: second.why, ahead: WORTH_SENDING_AHEAD.has(second.why.reason) ? ahead() : [] };
    }
    if (!pins.isExceeded) {
      scope.use(second.look.capture);
      return { kind: 'taken', taken: await sendPinned(second.look, { leave, terms, tools, scope }) };
    }
    await second.look.capture[Symbol.asyncDispose]();
    tables = tablesOf(second.look.capture);
    if (attempt >= AHEAD_TRIES_MAX) {
      const message = 'it writes more than may be held open at once, faster than it can be sent';
      return { kind: 'refused', why: { reason: 'changing', message }, ahead: ahead() };
    }
  }
}

/** Sends tables that the repository lacks, as long as there is time, each open only while it is sent. */
async function sendAhead(
  taskPath: string,
  tables: readonly PinnedTable[],
  tools: TaskTools & { readonly isSent: (table: PinnedTable) => boolean },
): Promise<void> {
  const missing = tables.filter((table) => tools.isSent(table) && tools.known.find(table) === undefined);
  await mapBounded(missing, { limit: tools.concurrency, signal: tools.signal }, async (table, signal) => {
    if (tools.isLate()) return;
    await using source = await openTable(tools.files, taskPath, table);
    if (source === undefined) return; // Compacted away since: nobody needs it any more.
    try {
      tools.known.learnAt(source.facts, await sendTable(source, table.uid, { ...tools, signal }));
    } catch (error) {
      if (!isFailure(error, 'moved')) throw error;
    }
  });
}

/** Those of the tables that the repository has. */
function storedOf(tables: readonly PinnedTable[], known: KnownTables): readonly StoredFile[] {
  return tables.flatMap((table) => {
    const content = known.find(table);
    return content === undefined ? [] : [{ ...content, path: table.path }];
  });
}

async function sendTable(source: PinnedSource, uid: string | undefined, tools: TaskTools): Promise<StoredContent> {
  if (uid === undefined) {
    const sha256 = await hashSource(source, tools.signal);
    const known = tools.known.findByHash(sha256, source.sizeBytes);
    if (known !== undefined) return { ...known, uid: undefined };
  }
  const { sha256, objects } = await uploadTable(source, {
    store: tools.store,
    nextKey: tools.nextDataKey,
    compression: tools.compression,
    memory: tools.memory,
    emit: tools.emit,
    signal: tools.signal,
  });
  return { sizeBytes: source.sizeBytes, sha256, uid, objects };
}

/** Sends the large tables that are pinned, and gathers what is small. What `scope` holds goes with the result. */
async function sendPinned(
  look: LookedAt,
  how: {
    readonly leave: ReadonlySet<string>;
    readonly terms: TaskTerms;
    readonly tools: TaskTools;
    readonly scope: AsyncDisposableStack;
  },
): Promise<TakenTask> {
  const { terms, tools, leave } = how;
  const stored = new Map<string, StoredContent>();
  const small: TakenTask['small'][number][] = [];
  const { task } = look.capture;
  const tables = travelling(look).flatMap((store) => store.tables);
  const pinnedBytes = tables.reduce((sum, { source }) => sum + (source?.sizeBytes ?? 0), 0);
  await mapBounded(tables, { limit: tools.concurrency, signal: tools.signal }, async (table, signal) => {
    const known =
      table.source === undefined ? tools.known.find(table) : await recognise(table, table.source, { ...tools, signal });
    if (known !== undefined && (table.source === undefined || isKept(known, leave))) stored.set(table.path, known);
    else if (table.source === undefined) throw new Error(`bug: ${table.path} is neither known nor open`);
    else if (!isLarge(table))
      small.push({ entry: `${task}/${table.path}`, path: table.path, uid: table.uid, source: table.source });
    else {
      await assertRoom(task, pinnedBytes, tools);
      stored.set(table.path, await sendTable(table.source, table.uid, { ...tools, signal }));
    }
  });

  const before = new Map(
    (terms.previous === undefined ? [] : filesOfEntry(terms.previous)).map((file) => [file.path, file]),
  );
  for (const { path, bytes } of [...look.capture.files, ...travelling(look).flatMap((store) => store.files)]) {
    const known = before.get(path);
    const isSame =
      known?.sizeBytes === bytes.byteLength && known.sha256 === createHash('sha256').update(bytes).digest('hex');
    if (isSame && isKept(known, leave)) stored.set(path, known);
    else small.push({ entry: `${task}/${path}`, path, uid: undefined, source: bytesSource(path, bytes) });
  }
  const held = how.scope.move();
  return { ...look, stored, small, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

/** Lets everything go, to begin again with less, where the volume has run short since it was pinned. */
async function assertRoom(task: string, pinnedBytes: number, tools: TaskTools): Promise<void> {
  const bytesMax = await tools.pinnedBytesMax();
  if (pinnedBytes <= bytesMax) return;
  throw new Failure(
    'moved',
    `cannot hold ${pinnedBytes} bytes of ${task}: the volume is short, ${bytesMax} are allowed`,
  );
}

/** A small table without an id by its content: read it must be, but not be sent. A large one is looked up when it is sent. */
async function recognise(
  { uid, sizeBytes }: PinnedTable,
  source: PinnedSource,
  { known, signal }: TaskTools,
): Promise<StoredContent | undefined> {
  if (uid !== undefined || sizeBytes >= SMALL_TABLE_BYTES) return undefined;
  return known.findByHash(await hashSource(source, signal), sizeBytes);
}

/** The stores that have an offset, and so travel (C3). */
export function travelling({ capture, judgement }: Pick<LookedAt, 'capture' | 'judgement'>): Capture['stores'] {
  return capture.stores.filter((store) => judgement.stores.has(store.name));
}

function isLarge({ sizeBytes }: Pick<PinnedTable, 'sizeBytes'>): boolean {
  return sizeBytes >= SMALL_TABLE_BYTES;
}

function tablesOf(capture: Capture): readonly PinnedTable[] {
  return capture.stores.flatMap((store) => store.tables);
}

function archivesLeft(terms: TaskTerms, tables: readonly PinnedTable[], known: KnownTables): ReadonlySet<string> {
  const ofTables = tables.flatMap((table) => known.find(table) ?? []);
  const others =
    terms.previous === undefined ? [] : filesOfEntry(terms.previous).filter((file) => file.uid === undefined);
  return archivesToLeave([...ofTables, ...others], terms.archiveUse);
}

/** Whether the repository's copy may serve again. */
function isKept(content: StoredContent | undefined, leave: ReadonlySet<string>): content is StoredContent {
  return content !== undefined && !content.objects.some((object) => leave.has(object.key));
}

function missingBytes(tables: readonly PinnedTable[], known: KnownTables): number {
  return tables.filter((table) => known.find(table) === undefined).reduce((sum, table) => sum + table.sizeBytes, 0);
}
