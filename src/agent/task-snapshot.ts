import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type Budget, mapBounded } from '../base/concurrency.ts';
import { isFailure } from '../base/failure.ts';
import { CAPTURE_TRIES_MAX, type Capture, type CaptureTools, captureTask } from '../capture/capture.ts';
import { openTable, type PinnedSource, type PinnedTable } from '../capture/pinned-database.ts';
import { type Entry, filesOfEntry, type StoredFile } from '../repository/document.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import {
  type Guarantee,
  type JudgeContext,
  type Judgement,
  judge,
  type Quality,
  type TaskMemory,
  verdictUnder,
} from '../streams/quality.ts';
import type { Explanation, Reason } from '../streams/reason.ts';
import { bytesSource, hashSource } from '../transfer/source-file.ts';
import { uploadTable } from '../transfer/upload.ts';
import type { SmallFile } from '../transfer/upload-archive.ts';
import type { KnownTables, StoredContent } from './known-tables.ts';
import { archivesToLeave } from './repacking.ts';

/** Smaller tables travel in archives: a request costs more than their bytes. */
const SMALL_TABLE_BYTES = 256 * 1024;
/** A file that is changed in place while it is sent; no setting of Kafka Streams' own does that. */
const MOVED_TRIES_MAX = 3;
/** Tables of such a task will be needed when it can be captured: sent now, they do not delay that. */
const WORTH_SENDING_AHEAD: ReadonlySet<Reason> = new Set(['exactly_once_running', 'changing']);

/** What taking a task needs besides the capture. */
export interface TaskTools extends CaptureTools {
  readonly store: ObjectStore;
  readonly nextDataKey: () => string;
  readonly compression: 'zstd' | 'none';
  readonly concurrency: number;
  readonly memory: Budget;
  readonly known: KnownTables;
}

export interface TaskTerms {
  readonly applicationDirectory: string;
  readonly guarantee: Guarantee;
  /** What is known of the task besides the look at it. */
  readonly contextOf: (capture: Capture) => Omit<JudgeContext, 'nowMs'>;
  /** Whether an entry of this quality, with these offsets and stores, would be better than what is stored. */
  readonly isProgress: (look: LookedAt) => boolean;
  /** What is stored of the task: its small files serve again where they did not change. */
  readonly previous: Entry | undefined;
  /** Bytes of each archive that the document before uses. */
  readonly archiveUse: ReadonlyMap<string, number>;
}

export interface LookedAt {
  readonly capture: Capture;
  readonly judgement: Judgement;
  readonly quality: Quality;
}

export type TaskOutcome =
  | { readonly kind: 'taken'; readonly taken: TakenTask }
  /** What is stored is as good. */
  | { readonly kind: 'no-progress'; readonly look: LookedAt }
  | {
      readonly kind: 'refused';
      readonly why: Explanation;
      readonly judgement: Judgement | undefined;
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
      return { kind: 'refused', why, judgement: undefined, ahead: [] };
    }
  }
}

async function attemptTask(task: string, terms: TaskTerms, tools: TaskTools): Promise<TaskOutcome> {
  const first = await lookAt(task, { terms, tools, isKnown: () => true, earlier: undefined });
  if (first.kind === 'gone') return first;
  if (first.kind === 'refused') {
    await using capture = first.capture;
    const tables = capture !== undefined && WORTH_SENDING_AHEAD.has(first.why.reason) ? tablesOf(capture) : [];
    const ahead = await sendAhead(join(terms.applicationDirectory, task), tables, tools);
    return { kind: 'refused', why: first.why, judgement: first.judgement, ahead };
  }
  await using scope = new AsyncDisposableStack();
  scope.use(first.look.capture);
  if (!terms.isProgress(first.look)) return { kind: 'no-progress', look: first.look };

  const tables = tablesOf(first.look.capture);
  tools.emit({ kind: 'work-announced', work: 'upload', bytes: missingBytes(tables, tools.known) });
  await sendAhead(join(terms.applicationDirectory, task), tables, tools);
  const leave = archivesLeft(terms, tables, tools.known);
  const isKnown = (table: Pick<PinnedTable, 'sizeBytes' | 'uid' | 'facts'>): boolean =>
    isKept(tools.known.find(table), leave);
  // What was looked at without opening anything is good enough where nothing is to be opened.
  if (tables.every(isKnown))
    return { kind: 'taken', taken: await sendPinned(first.look, { leave, terms, tools, scope }) };
  const second = await lookAt(task, { terms, tools, isKnown, earlier: first.look.judgement.memory });
  if (second.kind === 'gone') return second;
  if (second.kind === 'refused') {
    await second.capture?.[Symbol.asyncDispose]();
    return { kind: 'refused', why: second.why, judgement: second.judgement, ahead: [] };
  }
  scope.use(second.look.capture);
  return { kind: 'taken', taken: await sendPinned(second.look, { leave, terms, tools, scope }) };
}

type Look =
  | { readonly kind: 'looked'; readonly look: LookedAt }
  | {
      readonly kind: 'refused';
      readonly why: Explanation;
      readonly judgement: Judgement | undefined;
      readonly capture: Capture | undefined;
    }
  | { readonly kind: 'gone' };

async function lookAt(
  task: string,
  how: {
    readonly terms: TaskTerms;
    readonly tools: TaskTools;
    readonly isKnown: (table: PinnedTable) => boolean;
    /** Of a look before the uploads: what passed then goes on passing though tables are compacted meanwhile (Q2). */
    readonly earlier: TaskMemory | undefined;
  },
): Promise<Look> {
  const { terms, tools } = how;
  const outcome = await captureTask({ applicationDirectory: terms.applicationDirectory, task }, tools, {
    isKnown: (table) => how.isKnown({ ...table, source: undefined }),
    triesMax: CAPTURE_TRIES_MAX,
  });
  if (outcome.kind === 'gone') return outcome;
  if (outcome.kind === 'refused')
    return { kind: 'refused', why: outcome.why, judgement: undefined, capture: undefined };
  const { capture } = outcome;
  const context = terms.contextOf(capture);
  const memory = how.earlier ?? context.memory;
  const judgement = judge(capture.sight, { ...context, memory, nowMs: tools.clock.nowMs() });
  const verdict = verdictUnder(terms.guarantee, judgement);
  if (verdict.kind === 'refused') return { kind: 'refused', why: verdict.why, judgement, capture };
  return { kind: 'looked', look: { capture, judgement, quality: verdict.quality } };
}

/** Sends the large tables that the repository lacks, and returns those of `tables` that it has then. */
async function sendAhead(
  taskPath: string,
  tables: readonly PinnedTable[],
  tools: TaskTools,
): Promise<readonly StoredFile[]> {
  const missing = tables.filter(
    (table) => table.sizeBytes >= SMALL_TABLE_BYTES && tools.known.find(table) === undefined,
  );
  await mapBounded(missing, { limit: tools.concurrency, signal: tools.signal }, async (table, signal) => {
    await using source = await openTable(tools.files, taskPath, table);
    if (source === undefined) return; // Compacted away since: nobody needs it any more.
    try {
      tools.known.learnAt(source.facts, await sendTable(source, table.uid, { ...tools, signal }));
    } catch (error) {
      if (!isFailure(error, 'moved')) throw error;
    }
  });
  return tables.flatMap((table) => {
    const content = tools.known.find(table);
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
  await mapBounded(tables, { limit: tools.concurrency, signal: tools.signal }, async (table, signal) => {
    const known =
      table.source === undefined ? tools.known.find(table) : await recognise(table, table.source, { ...tools, signal });
    if (known !== undefined && (table.source === undefined || isKept(known, leave))) stored.set(table.path, known);
    else if (table.source === undefined) throw new Error(`bug: ${table.path} is neither known nor open`);
    else if (table.sizeBytes < SMALL_TABLE_BYTES)
      small.push({ entry: `${task}/${table.path}`, path: table.path, uid: table.uid, source: table.source });
    else stored.set(table.path, await sendTable(table.source, table.uid, { ...tools, signal }));
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
