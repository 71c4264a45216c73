import { Failure } from '../base/failure.ts';
import { describeAge, describeBytes, describeCount } from '../base/quantity.ts';
import type { Entry, SnapshotDocument, StoredFile } from '../repository/document.ts';
import { parseSnapshotName, type SnapshotName } from '../repository/keys.ts';
import { type ListedDocument, listRepository, loadDocument } from '../repository/repository.ts';
import { loadWithdrawals, type Withdrawals, whyNotOffered } from '../repository/withdrawals.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { Explanation } from '../streams/reason.ts';
import type { CommandContext } from './command.ts';
import { jsonOffsets, jsonTime } from './json.ts';
import { type Look, paint } from './look.ts';
import { openOnlyRepository, type RepositoryChoice } from './repository-choice.ts';
import { offsetCells, renderTable } from './table.ts';

/** One snapshot, and what of it is not offered any more. */
export interface ShownSnapshot {
  readonly document: SnapshotDocument;
  readonly withdrawals: Withdrawals;
}

/** The named snapshot, or the newest. Failure `missing` where there is none. */
export async function findSnapshot(
  store: ObjectStore,
  choice: RepositoryChoice,
  { operands: [named], signal, emit }: Pick<CommandContext, 'operands' | 'signal' | 'emit'>,
): Promise<ShownSnapshot> {
  const wanted = named === undefined ? undefined : parseSnapshotName(named);
  const repository = await openOnlyRepository(store, choice, { signal, emit });
  if (repository === undefined) throw nothingStored();
  const name = wanted ?? newestOf((await listRepository(repository, { signal })).documents);
  if (name === undefined) throw nothingStored();
  const withdrawals = await loadWithdrawals(repository, { signal });
  return { document: await loadDocument(repository, name, { signal }), withdrawals };
}

function newestOf(documents: readonly ListedDocument[]): SnapshotName | undefined {
  return documents.toSorted((left, right) => left.modifiedMs - right.modifiedMs).at(-1)?.name;
}

function nothingStored(): Failure {
  return new Failure('missing', 'there is no snapshot to show: nothing is stored yet', { hint: 'warmstate list' });
}

/** One snapshot in full: tasks, quality, offsets, stores, files. */
export function renderDocument({ document, withdrawals }: ShownSnapshot, look: Look): string {
  const age = describeAge(look.nowMs - document.timeMs);
  const size = describeBytes(sizeOf(document.entries.flatMap(filesOf)));
  const head = [
    paint(`snapshot ${document.epoch}/${document.n}`, 'heading', look),
    `${document.application}, lineage ${document.lineage}, instance ${document.instance}`,
    `taken ${age} (${jsonTime(document.timeMs)}) under ${document.guarantee} by ${document.writer}`,
    `${describeCount(document.entries.length, 'task')}, ${size}`,
  ];
  const entries = document.entries.map((entry) => renderEntry(entry, { document, withdrawals }, look));
  return [`${head.join('\n')}\n`, ...entries].join('\n');
}

function whyNotShownAsOffered(entry: Entry, { document, withdrawals }: ShownSnapshot): Explanation | undefined {
  return whyNotOffered(withdrawals, entry, document.epoch);
}

function renderEntry(entry: Entry, shown: ShownSnapshot, look: Look): string {
  const { document } = shown;
  const { task, quality, layout, stateTimeMs, offsets, stores } = entry;
  const state = describeAge(look.nowMs - stateTimeMs);
  const carried = entry.capturedBy === `${document.epoch}/${document.n}` ? '' : `, taken by ${entry.capturedBy}`;
  const why = whyNotShownAsOffered(entry, shown);
  const withdrawn = why === undefined ? '' : `${paint(`not offered, ${why.reason}: ${why.message}`, 'bad', look)}\n`;
  const head = `${paint(`task ${task}`, 'heading', look)}: ${quality}, ${layout} layout, state of ${state}${carried}\n`;
  const offsetRows = offsetCells(offsets);
  const storeRows = stores.map(({ name, kind, rocksdbVersion, columnFamilies, status, files }) => {
    const families = columnFamilies.filter((family) => family !== 'default');
    const extra = families.length === 0 ? undefined : families.join(', ');
    return [name, kind, rocksdbVersion, String(files.length), describeBytes(sizeOf(files)), status, extra];
  });
  const positionRows = stores.flatMap(({ name, position = new Map<string, bigint>() }) =>
    offsetCells(position).map((cells) => [name, ...cells]),
  );
  const fileRows = filesOf(entry).map(({ path, sizeBytes, sha256 }) => [
    describeBytes(sizeBytes),
    sha256.slice(0, 16),
    path,
  ]);
  const right = 'right' as const;
  const offsetColumns = [{ title: 'CHANGELOG' }, { title: 'OFFSET', align: right }];
  const storeColumns = [
    { title: 'STORE' },
    { title: 'KIND' },
    { title: 'ROCKSDB' },
    { title: 'FILES', align: right },
    { title: 'SIZE', align: right },
    { title: 'STATUS' },
    { title: 'COLUMN FAMILIES' },
  ];
  const positionColumns = [{ title: 'STORE' }, { title: 'INPUT' }, { title: 'POSITION', align: right }];
  const fileColumns = [{ title: 'SIZE', align: right }, { title: 'SHA256' }, { title: 'FILE' }];
  return [
    head,
    withdrawn,
    ...(offsetRows.length === 0 ? [] : [renderTable(offsetColumns, offsetRows, look)]),
    ...(storeRows.length === 0 ? [] : [renderTable(storeColumns, storeRows, look)]),
    ...(positionRows.length === 0 ? [] : [renderTable(positionColumns, positionRows, look)]),
    ...(fileRows.length === 0 ? [] : [renderTable(fileColumns, fileRows, look)]),
  ].join('');
}

/** What `show --output json` prints. */
export function documentJson(shown: ShownSnapshot): object {
  const { document } = shown;
  const { application, lineage, instance, epoch, n, timeMs, writer, guarantee, entries } = document;
  return {
    snapshot: `${epoch}/${n}`,
    application,
    lineage,
    instance,
    time: jsonTime(timeMs),
    writer,
    guarantee,
    tasks: entries.map((entry) => ({
      task: entry.task,
      reason: whyNotShownAsOffered(entry, shown)?.reason ?? null,
      message: whyNotShownAsOffered(entry, shown)?.message ?? null,
      quality: entry.quality,
      layout: entry.layout,
      stateTime: jsonTime(entry.stateTimeMs),
      capturedAt: jsonTime(entry.capturedAtMs),
      capturedBy: entry.capturedBy,
      offsets: jsonOffsets(entry.offsets),
      files: entry.files.map(fileJson),
      stores: entry.stores.map(({ name, kind, rocksdbVersion, columnFamilies, status, position, files }) => ({
        name,
        kind,
        rocksdbVersion: rocksdbVersion ?? null,
        columnFamilies,
        status: status ?? null,
        position: jsonOffsets(position ?? new Map()),
        files: files.map(fileJson),
      })),
    })),
  };
}

function fileJson({ path, sizeBytes, sha256, objects }: StoredFile): object {
  return { path, bytes: sizeBytes, sha256, objects: objects.map(({ key }) => key) };
}

function filesOf(entry: Entry): readonly StoredFile[] {
  return [...entry.files, ...entry.stores.flatMap(({ files }) => files)];
}

function sizeOf(files: readonly StoredFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
