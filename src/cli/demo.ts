import { rm } from 'node:fs/promises';
import { join } from 'node:path';
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
    `The state directory of a real Kafka Streams ${first.version} application, recorded after ${first.records.toLocaleString('en-US')} records.\n` +
      'Everything below happens now, on this machine, with a directory as store.\n',
  );

  chapter('What is on disk');
  print(renderStores(await parts.inspect(), parts.look()));

  chapter('Snapshot');
  const full = await parts.snapshot();
  print(renderSent(full, parts.look()));

  const second = await layOutState(parts.recordings, 'second', {
    stateDir: parts.stateDir,
    closedMs: parts.nowMs() - AGE_MS,
  });
  chapter(`The application goes on: ${describeCount(second.records - first.records, 'record')} more. Snapshot again`);
  const incremental = await parts.snapshot();
  print(renderSent(incremental, parts.look()));
  print(
    `  ${share(incremental.bytesUploaded, full.bytesUploaded)} of the first: what did not change is neither read nor sent\n`,
  );
  const idle = await parts.snapshot();
  print(
    `  once more, with nothing new: ${describeBytes(idle.bytesRead)} read, ${describeBytes(idle.bytesUploaded)} sent\n`,
  );

  const before = await hashState(parts.stateDir);
  await loseDisk(parts);
  chapter('The pod is lost, and its disk with it. Restore');
  const restored = await parts.restore();
  print(renderRestored(restored, parts.look()));
  print(renderComparison(before, await hashState(parts.stateDir)));

  chapter('One bit in the store goes wrong. Restore once more');
  const victim = largestTable(await parts.entries());
  await flipBit(join(parts.repositoryDir, victim.key));
  await loseDisk(parts);
  print(renderDamage(await parts.restore(), victim, parts.look()));

  print('\nNext: warmstate inspect on a state directory of yours, warmstate --help, docs/configuration.md\n');
}

/** The application was closed so long before the snapshot. */
const AGE_MS = 1000;

function openBook({ print, look }: DemoParts): (title: string) => void {
  let number = 0;
  return (title) => print(`\n${paint(`${++number}. ${title}`, 'heading', look())}\n`);
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

function renderSent(result: SnapshotResult, look: Look): string {
  const captured = result.tasks.filter(({ outcome }) => outcome === 'captured');
  const qualities = [...new Set(captured.map(({ quality }) => quality))].join(', ');
  const lines = [
    `${captured.length} of ${describeCount(result.tasks.length, 'task')} captured, ${qualities}`,
    `${describeBytes(result.bytesRead)} read, ${describeBytes(result.bytesUploaded)} sent as ${describeCount(result.objectsUploaded, 'object')}, ${describeDuration(result.durationMs)}`,
  ];
  return indent(`${lines.map((line) => paint(line, undefined, look)).join('\n')}\n`);
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
      index === 0 ? decision : '',
      changelog,
      String(offset),
    ]),
  );
  const warm = tasks.filter(({ decision }) => decision === 'warm').length;
  if (warm !== tasks.length) throw wrong(`only ${warm} of ${tasks.length} tasks came back warm`);
  const summary = `${warm} of ${describeCount(tasks.length, 'task')} warm, ${describeBytes(bytesDownloaded)} fetched, ${describeDuration(durationMs)}`;
  return indent(`${renderTable(columns, rows, look)}${summary}\n`);
}

/** What counts: that every file is what it was. Older OPTIONS files are not needed and stay behind. */
function renderComparison(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string {
  const lost = [...before.keys()].filter((path) => !after.has(path) && !path.includes('/OPTIONS-'));
  const same = [...after].filter(([path, hash]) => before.get(path) === hash).length;
  if (lost.length > 0 || same !== after.size)
    throw wrong(`${lost.length} files are missing, ${after.size - same} differ`);
  const tables = [...after.keys()].filter((path) => path.endsWith('.sst')).length;
  return indent(`${same} of ${after.size} files are identical byte for byte, among them all ${tables} tables\n`);
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
    `the object of ${victim.file.path} of task ${victim.task} (${describeBytes(victim.file.sizeBytes)}) has one bit flipped`,
    `${paint(`${damaged.task} starts cold`, 'warning', look)}: ${damaged.why?.reason}, and is replayed by Kafka Streams as it would be without warmstate`,
    `${tasks.length - cold.length} of ${describeCount(tasks.length, 'task')} warm`,
    'Kafka Streams itself would have opened that table without a word, with entries missing',
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
