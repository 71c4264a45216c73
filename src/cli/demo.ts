import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { SnapshotResult } from '../agent/snapshot-result.ts';
import { Failure } from '../base/failure.ts';
import { describeBytes, describeCount, describeDuration } from '../base/quantity.ts';
import { type Entry, filesOfEntry, type StoredFile } from '../repository/document.ts';
import type { RestoreResult } from '../repository/restore-result.ts';
import { flipBit, hashState, layOutState } from './demo-state.ts';
import type { Inspection } from './inspection.ts';
import { type Look, paint } from './look.ts';
import { renderTable } from './table.ts';

/** The commands themselves, on the directories of the demo. */
export interface DemoParts {
  /** Where the recordings lie that are shipped with the program. */
  readonly recordings: string;
  readonly stateDir: string;
  readonly repositoryDir: string;
  readonly nowMs: () => number;
  readonly inspect: () => Promise<Inspection>;
  readonly snapshot: () => Promise<SnapshotResult>;
  readonly restore: () => Promise<RestoreResult>;
  /** The entries of the newest snapshot. */
  readonly entries: () => Promise<readonly Entry[]>;
  readonly print: (text: string) => void;
  readonly look: () => Look;
}

/** Of the recorded application. */
export const APPLICATION_ID = 'orders';

/** Tells the story on real state, with the functions that the commands use; throws where it does not come out as told. */
export async function tellStory(parts: DemoParts): Promise<void> {
  const { print } = parts;
  const chapter = openBook(parts);
  const first = await layOutState(parts.recordings, 'first', {
    stateDir: parts.stateDir,
    closedMs: parts.nowMs() - AGE_MS,
  });
  print(
    `State of a real Kafka Streams ${first.version} application, recorded after ${describeCount(first.records, 'record')}.\n` +
      'Everything below happens now, on this machine, with a directory as store.\n',
  );

  chapter('What is on disk');
  print(renderStores(await parts.inspect(), parts.look()));

  chapter('Snapshot');
  const full = await parts.snapshot();
  print(renderSent(full));

  const second = await layOutState(parts.recordings, 'second', {
    stateDir: parts.stateDir,
    closedMs: parts.nowMs() - AGE_MS,
  });
  chapter(`The application goes on: ${describeCount(second.records - first.records, 'record')} more. Snapshot again`);
  const incremental = await parts.snapshot();
  print(renderSent(incremental));
  print(
    `  ${share(incremental.bytesUploaded, full.bytesUploaded)} of the first: what did not change is neither read nor sent\n`,
  );
  const idle = await parts.snapshot();
  print(
    `  once more, with nothing new: ${describeBytes(idle.bytesRead)} read, ${describeBytes(idle.bytesUploaded)} sent\n`,
  );

  const before = await lookAt(parts);
  await loseDisk(parts);
  chapter('The pod is lost, and its disk with it. Restore');
  const restored = await parts.restore();
  print(renderRestored(restored, parts.look()));
  print(renderComparison(before, await lookAt(parts)));

  chapter('One bit in the store goes wrong. Restore once more');
  const victim = largestTable(await parts.entries());
  await flipBit(join(parts.repositoryDir, victim.key));
  await loseDisk(parts);
  const partial = await parts.restore();
  print(renderDamage(partial, victim, parts.look()));
  print(renderRest(before, await lookAt(parts), victim.task));

  print('\nNext: warmstate inspect DIR (a state.dir of yours); docs/configuration.md\n');
}

/** The application was closed so long before the snapshot. */
const AGE_MS = 1000;

function openBook({ print, look }: DemoParts): (title: string) => void {
  let number = 0;
  return (title) => print(`\n${paint(`${++number}. ${title}`, 'heading', look())}\n`);
}

/** All that a restore has to bring back. */
interface Sight {
  readonly tasks: Inspection['tasks'];
  /** sha256 by path. */
  readonly files: ReadonlyMap<string, string>;
}

async function lookAt({ inspect, stateDir }: DemoParts): Promise<Sight> {
  return { tasks: (await inspect()).tasks, files: await hashState(stateDir) };
}

async function loseDisk({ stateDir }: DemoParts): Promise<void> {
  await rm(join(stateDir, APPLICATION_ID), { recursive: true });
  await rm(join(stateDir, '.warmstate'), { recursive: true, force: true });
}

function renderStores({ tasks }: Inspection, look: Look): string {
  const stores = Map.groupBy(
    tasks.flatMap(({ stores: ofTask }) => ofTask),
    ({ name }) => name,
  );
  const right = 'right' as const;
  const columns = [
    { title: 'STORE' },
    { title: 'KIND' },
    { title: 'TASKS', align: right },
    { title: 'TABLES', align: right },
    { title: 'SIZE', align: right },
  ];
  const rows = [...stores].map(([name, ofTasks]) => [
    name,
    ofTasks[0]?.kind,
    String(ofTasks.length),
    String(sum(ofTasks.map(({ tables }) => tables))),
    describeBytes(sum(ofTasks.map(({ sizeBytes }) => sizeBytes))),
  ]);
  return indent(
    `${renderTable(columns, rows, look)}mem, a store in memory, has nothing on disk: it always replays in full\n`,
  );
}

function renderSent(result: SnapshotResult): string {
  const captured = result.tasks.filter(({ outcome }) => outcome === 'captured');
  const qualities = [...new Set(captured.map(({ quality }) => quality))].join(', ');
  const lines = [
    `${captured.length} of ${describeCount(result.tasks.length, 'task')} captured, ${qualities}`,
    `${describeBytes(result.bytesRead)} read, ${describeBytes(result.bytesUploaded)} sent as ${describeCount(result.objectsUploaded, 'object')}, ${describeDuration(result.durationMs)}`,
  ];
  return indent(`${lines.join('\n')}\n`);
}

function renderRestored({ tasks, bytesDownloaded, durationMs }: RestoreResult, look: Look): string {
  const columns = [
    { title: 'TASK' },
    { title: 'DECISION' },
    { title: 'CHANGELOG' },
    { title: 'AT', align: 'right' as const },
  ];
  const rows = tasks.flatMap(({ task, decision, offsets }) =>
    [...offsets].map(([changelog, offset], index) => [
      index === 0 ? task : '',
      index > 0 ? '' : decision === 'warm' ? { text: decision, tone: 'good' as const } : decision,
      changelog,
      String(offset),
    ]),
  );
  const warm = tasks.filter(({ decision }) => decision === 'warm').length;
  if (warm !== tasks.length) throw wrong(`only ${warm} of ${tasks.length} tasks came back warm`);
  const summary = `${warm} of ${describeCount(tasks.length, 'task')} warm, ${describeBytes(bytesDownloaded)} fetched, ${describeDuration(durationMs)}`;
  return indent(`${renderTable(columns, rows, look)}${summary}\n`);
}

/** What counts: that every store, offset and file is what it was. */
function renderComparison(before: Sight, after: Sight): string {
  const [storesBefore, storesAfter] = [storesOf(before.tasks), storesOf(after.tasks)];
  const complete = countSame(storesBefore, storesAfter);
  const [offsetsBefore, offsetsAfter] = [offsetsOf(before.tasks), offsetsOf(after.tasks)];
  const offsets = countSame(offsetsBefore, offsetsAfter);
  const needed = withoutOlderOptions(before.files);
  const same = countSame(needed, after.files);
  const isWhole =
    complete === Math.max(storesBefore.size, storesAfter.size) &&
    offsets === Math.max(offsetsBefore.size, offsetsAfter.size) &&
    same === Math.max(needed.size, after.files.size);
  if (!isWhole) {
    throw wrong(
      `of ${storesBefore.size} stores ${complete} came back, of ${offsetsBefore.size} offsets ${offsets}, of ${needed.size} files ${same}`,
    );
  }
  const tables = [...after.files.keys()].filter((path) => path.endsWith('.sst')).length;
  return indent(
    `${complete} of ${storesBefore.size} stores complete, ${offsets} of ${offsetsBefore.size} offsets as they were\n` +
      `${same} of ${needed.size} files identical byte for byte, among them all ${tables} tables\n`,
  );
}

/** Of the task that is cold nothing may be there, of the others everything. */
function renderRest(before: Sight, after: Sight, coldTask: string): string {
  const isOfOthers = (path: string): boolean => !path.startsWith(`${APPLICATION_ID}/${coldTask}/`);
  const others = new Map([...before.files].filter(([path]) => isOfOthers(path)));
  const needed = withoutOlderOptions(others);
  const same = countSame(needed, after.files);
  if (same !== needed.size || same !== after.files.size)
    throw wrong(`beside ${coldTask}, ${same} of ${needed.size} files came back, and ${after.files.size} are there`);
  return indent(
    `${same} of ${needed.size} files of the other tasks identical, nothing of ${coldTask} installed\n` +
      'Kafka Streams does not notice such a bit in a table: it runs, entries missing\n',
  );
}

/** RocksDB keeps older OPTIONS files that it never reads: only the newest of a directory, which sorts last, travels. */
function withoutOlderOptions(files: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const options = [...files.keys()].filter((path) => path.includes('/OPTIONS-')).sort();
  const older = new Set(options.filter((path, index) => dirname(path) === dirname(options[index + 1] ?? '')));
  return new Map([...files].filter(([path]) => !older.has(path)));
}

/** A line of facts per store, by task and name. */
function storesOf(tasks: Inspection['tasks']): ReadonlyMap<string, string> {
  return new Map(
    tasks.flatMap(({ task, stores }) =>
      stores.map(({ name, kind, tables, sizeBytes }) => [`${task}/${name}`, `${kind} ${tables} ${sizeBytes}`] as const),
    ),
  );
}

function offsetsOf(tasks: Inspection['tasks']): ReadonlyMap<string, bigint> {
  return new Map(
    tasks.flatMap(({ task, offsets }) =>
      [...offsets].map(([partition, offset]) => [`${task}/${partition}`, offset] as const),
    ),
  );
}

function countSame<T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>): number {
  return [...before].filter(([key, value]) => after.get(key) === value).length;
}

interface Victim {
  readonly task: string;
  readonly file: StoredFile;
  readonly key: string;
}

function largestTable(entries: readonly Entry[]): Victim {
  const stretches = entries.flatMap((entry) =>
    filesOfEntry(entry).flatMap((file) => {
      const [object] = file.objects;
      return object?.kind === 'stretch' ? [{ task: entry.task, file, key: object.key }] : [];
    }),
  );
  const [largest] = stretches.sort((left, right) => right.file.sizeBytes - left.file.sizeBytes);
  if (largest === undefined) throw wrong('no table is large enough for an object of its own');
  return largest;
}

function renderDamage({ tasks }: RestoreResult, victim: Victim, look: Look): string {
  const cold = tasks.filter(({ decision }) => decision === 'cold');
  const [damaged] = cold;
  if (damaged === undefined || damaged.task !== victim.task || cold.length > 1)
    throw wrong('the damage was not noticed');
  const lines = [
    `in the object of ${victim.file.path} of task ${victim.task} (${describeBytes(victim.file.sizeBytes)})`,
    `${paint(`${damaged.task} starts cold`, 'warning', look)} (${damaged.why?.reason}): replayed in full, as without warmstate`,
    `${tasks.length - cold.length} of ${describeCount(tasks.length, 'task')} warm`,
  ];
  return indent(`${lines.join('\n')}\n`);
}

function wrong(what: string): Failure {
  return new Failure('corrupt', `cannot go on with the demo: ${what}`, { hint: 'this is a bug: please report it' });
}

function share(part: number, whole: number): string {
  return `${((part / whole) * 100).toFixed(1)} %`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, '  ');
}
