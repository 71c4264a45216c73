import { join } from 'node:path';
import { Failure } from '../base/failure.ts';
import type { FileAccess, FileFacts } from '../base/file-access.ts';

/**
 * `state.dir` of Kafka Streams 2.6 to 4.4:
 *
 *   <state.dir>/<application.id>/            .lock, kafka-streams-process-metadata
 *     <subtopology>_<partition>/ | global/   .checkpoint, <store>.position
 *       rocksdb/<store>/                     one database: key-value, timestamped and versioned stores
 *       <store>/<store>.<segment start ms>/  one database per segment: window and session stores
 *       <store>/…                            whatever a custom store puts there
 */
export const CHECKPOINT_FILE = '.checkpoint';
export const GLOBAL_TASK = 'global';
/** Where warmstate stages and notes things, beside the application directories; no application.id that is served. */
export const WARMSTATE_DIRECTORY = '.warmstate';

const ROCKSDB_PARENT = 'rocksdb';
const TASK_DIRECTORY = /^\d{1,9}_\d{1,9}$/;
const POSITION_SUFFIX = '.position';
// Kafka's rule for names of stores (org.apache.kafka.streams.kstream.internals.Named.validate, 2.6 to 4.4).
const STORE_NAME = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$/;
// Kafka Streams writes `.checkpoint.tmp` and `<store>.position.tmp` and renames them at once.
const TEMPORARY_FILE = /\.tmp$/;
// A directory that Kafka Streams would use: the characters and length of a topic name, without the special names.
const APPLICATION_ID = /^(?!\.{1,2}$|\.warmstate$)[A-Za-z0-9._-]{1,200}$/;
const KSQLDB_APPLICATION = /^_confluent-ksql-/;

/** One task directory as it was listed at one moment. */
export interface TaskListing {
  readonly task: string;
  readonly path: string;
  readonly facts: FileFacts;
  /** `<store>.position` files, by name. */
  readonly positions: readonly string[];
  readonly databases: readonly DatabaseDirectory[];
  /** Custom stores, by name: directories that hold no RocksDB in a place where Kafka Streams puts one. */
  readonly customStores: readonly string[];
  /** The directories whose children are databases, by path below the task directory. */
  readonly parents: ReadonlyMap<string, ParentDirectory>;
}

export interface DatabaseDirectory {
  readonly store: string;
  readonly kind: 'rocksdb' | 'segmented';
  /** Below the task directory. */
  readonly path: string;
  readonly facts: FileFacts;
}

export interface ParentDirectory {
  readonly kind: 'stores' | 'segments';
  readonly facts: FileFacts;
  /** Sorted; segments by their start. */
  readonly children: readonly string[];
}

/** Whether a name is one that Kafka Streams gives to a task directory, `global` included. */
export function isTaskName(name: string): boolean {
  return name === GLOBAL_TASK || TASK_DIRECTORY.test(name);
}

/** Whether Kafka Streams lets a store be called so. */
export function isStoreName(name: string): boolean {
  return STORE_NAME.test(name);
}

/** `<store>.position`: how far interactive queries may trust a store. */
export function isPositionFile(name: string): boolean {
  return name.endsWith(POSITION_SUFFIX) && isStoreName(name.slice(0, -POSITION_SUFFIX.length));
}

/** Refuses what is no application.id, and ksqlDB, which deletes what it does not know in its state directory. */
export function assertSupportedApplication(applicationId: string): void {
  if (!APPLICATION_ID.test(applicationId)) {
    throw new Failure('invalid', `cannot use '${applicationId}' as an application.id: it is no valid name`);
  }
  if (KSQLDB_APPLICATION.test(applicationId)) {
    throw new Failure(
      'invalid',
      `cannot serve ${applicationId}: ksqlDB deletes from its state directory what it does not know`,
      {
        hint: 'leave ksqlDB to its own standby replicas and persistent volumes',
      },
    );
  }
}

/** The applications that keep state below `stateDirectory`, sorted. */
export async function listApplications(files: FileAccess, stateDirectory: string): Promise<readonly string[]> {
  const names = await files.list(stateDirectory);
  if (names === undefined) {
    const isThere = (await files.stat(stateDirectory)) !== undefined;
    throw new Failure(
      isThere ? 'invalid' : 'missing',
      `cannot read the state directory ${stateDirectory}: ${isThere ? 'it is no directory' : 'it does not exist'}`,
      { hint: 'give the state.dir of the application with --state-dir' },
    );
  }
  const applications = [];
  for (const name of names.filter((one) => APPLICATION_ID.test(one))) {
    const children = await files.list(join(stateDirectory, name));
    if (children?.some((child) => child === '.lock' || isTaskName(child))) applications.push(name);
  }
  return applications.sort();
}

/** The task directories of an application, in the order of subtopology and partition, `global` last; [] where it has no directory. */
export async function listTasks(files: FileAccess, applicationDirectory: string): Promise<readonly string[]> {
  const names = await files.list(applicationDirectory);
  if (names === undefined) {
    const facts = await files.stat(applicationDirectory);
    if (facts === undefined || facts.kind === 'directory') return [];
    throw new Failure('invalid', `cannot read ${applicationDirectory}: it is no directory`);
  }
  const tasks = [];
  for (const name of names.filter(isTaskName)) {
    const facts = await files.stat(join(applicationDirectory, name));
    if (facts?.kind === 'directory') tasks.push(name);
  }
  return tasks.sort(compareTasks);
}

/** Order of tasks for people: by number, `global` last. */
export function compareTasks(left: string, right: string): number {
  const [leftKey, rightKey] = [taskKey(left), taskKey(right)];
  return leftKey[0] - rightKey[0] || leftKey[1] - rightKey[1];
}

function taskKey(task: string): readonly [number, number] {
  const [subtopology, partition] = task.split('_').map(Number);
  return task === GLOBAL_TASK ? [Infinity, 0] : [subtopology ?? 0, partition ?? 0];
}

/** Lists one task directory; undefined where it is gone, or went while it was listed. */
export async function listTask(
  files: FileAccess,
  applicationDirectory: string,
  task: string,
): Promise<TaskListing | undefined> {
  const path = join(applicationDirectory, task);
  const facts = await files.stat(path);
  const names = await files.list(path);
  if (facts?.kind !== 'directory' || names === undefined) return undefined;

  const listing = {
    positions: names.filter(isPositionFile).sort(),
    databases: [] as DatabaseDirectory[],
    customStores: [] as string[],
    parents: new Map<string, ParentDirectory>(),
  };
  for (const name of [...names].sort()) {
    const parent = await readParent(files, path, name);
    if (parent === 'gone' && TEMPORARY_FILE.test(name)) continue;
    if (parent === 'gone') return undefined;
    if (parent === undefined) continue;
    if (parent.kind === 'custom') {
      listing.customStores.push(name);
      continue;
    }
    listing.parents.set(name, {
      kind: parent.kind,
      facts: parent.facts,
      children: parent.databases.map((one) => one.name),
    });
    for (const database of parent.databases) {
      listing.databases.push({
        store: parent.kind === 'stores' ? database.name : name,
        kind: parent.kind === 'stores' ? 'rocksdb' : 'segmented',
        path: `${name}/${database.name}`,
        facts: database.facts,
      });
    }
  }
  return { task, path, facts, ...listing };
}

type Parent =
  | {
      readonly kind: 'stores' | 'segments';
      readonly facts: FileFacts;
      readonly databases: readonly { readonly name: string; readonly facts: FileFacts }[];
    }
  | { readonly kind: 'custom' };

async function readParent(files: FileAccess, taskPath: string, name: string): Promise<Parent | 'gone' | undefined> {
  const path = join(taskPath, name);
  const facts = await files.stat(path);
  if (facts === undefined) return 'gone';
  if (facts.kind !== 'directory') return undefined;
  const children = await files.list(path);
  if (children === undefined) return 'gone';

  const isStores = name === ROCKSDB_PARENT;
  // What no release would have made is not known to be consistent, wherever it lies.
  if (!isStoreName(name)) return { kind: 'custom' };
  const databases: { name: string; facts: FileFacts }[] = [];
  for (const child of children) {
    const childFacts = await files.stat(join(path, child));
    if (childFacts === undefined) return 'gone';
    if (childFacts.kind !== 'directory' && isStores) continue;
    const isOurs = isStores ? isStoreName(child) : segmentStart(name, child) !== undefined;
    if (childFacts.kind !== 'directory' || !isOurs) return { kind: 'custom' };
    databases.push({ name: child, facts: childFacts });
  }
  databases.sort((left, right) =>
    isStores
      ? compareText(left.name, right.name)
      : Number((segmentStart(name, left.name) ?? 0n) - (segmentStart(name, right.name) ?? 0n)),
  );
  return { kind: isStores ? 'stores' : 'segments', facts, databases };
}

/** The start of a segment of a window or session store, in ms since 1970, from its directory's name. */
export function segmentStart(store: string, directory: string): bigint | undefined {
  const start = directory.startsWith(`${store}.`) ? directory.slice(store.length + 1) : '';
  return /^-?\d{1,19}$/.test(start) ? BigInt(start) : undefined;
}

function compareText(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
