import { describeAge, describeBytes } from '../base/quantity.ts';
import type { Quality } from '../streams/quality.ts';
import { jsonTime } from './json.ts';
import { type Look, paint } from './look.ts';
import { renderTable } from './table.ts';

/** What lies in a repository: all its applications, or one of them. */
export type Listing =
  | { readonly kind: 'applications'; readonly applications: readonly ListedApplication[] }
  | {
      readonly kind: 'application';
      readonly application: string;
      readonly lineage: string;
      readonly snapshots: readonly ListedSnapshot[];
      /** What would be offered of each task now. */
      readonly tasks: readonly ListedTask[];
    };

export interface ListedApplication {
  readonly application: string;
  readonly lineage: string;
  readonly instances: number;
  readonly snapshots: number;
  readonly newestMs: number | undefined;
}

export interface ListedSnapshot {
  /** `<epoch>/<n>` */
  readonly snapshot: string;
  readonly instance: string;
  readonly timeMs: number;
  readonly tasks: number;
  /** Of the files, unpacked. */
  readonly sizeBytes: number;
}

export interface ListedTask {
  readonly task: string;
  readonly quality: Quality;
  readonly layout: 'file' | 'column-family';
  readonly stateTimeMs: number;
  readonly sizeBytes: number;
  readonly snapshot: string;
}

const right = 'right' as const;

export function renderListing(listing: Listing, look: Look): string {
  if (listing.kind === 'applications') return renderApplications(listing.applications, look);
  const { application, lineage, snapshots, tasks } = listing;
  const head = `${paint(application, 'heading', look)}, lineage ${lineage}\n`;
  if (snapshots.length === 0) return `${head}nothing stored yet\n`;
  return `${head}\n${renderSnapshots(snapshots, look)}\n${renderTasks(tasks, look)}`;
}

function renderApplications(applications: readonly ListedApplication[], look: Look): string {
  if (applications.length === 0) return 'nothing stored yet\n';
  const columns = [
    { title: 'APPLICATION' },
    { title: 'LINEAGE' },
    { title: 'INSTANCES', align: right },
    { title: 'SNAPSHOTS', align: right },
    { title: 'NEWEST' },
  ];
  const rows = applications.map(({ application, lineage, instances, snapshots, newestMs }) => {
    const newest = newestMs === undefined ? undefined : describeAge(look.nowMs - newestMs);
    return [application, lineage, String(instances), String(snapshots), newest];
  });
  return renderTable(columns, rows, look);
}

function renderSnapshots(snapshots: readonly ListedSnapshot[], look: Look): string {
  const columns = [
    { title: 'INSTANCE' },
    { title: 'TAKEN' },
    { title: 'TASKS', align: right },
    { title: 'SIZE', align: right },
    { title: 'SNAPSHOT' },
  ];
  const rows = snapshots.map(({ snapshot, instance, timeMs, tasks, sizeBytes }) => {
    return [instance, describeAge(look.nowMs - timeMs), String(tasks), describeBytes(sizeBytes), snapshot];
  });
  return renderTable(columns, rows, look);
}

function renderTasks(tasks: readonly ListedTask[], look: Look): string {
  if (tasks.length === 0) return 'no task could be restored from them\n';
  const columns = [
    { title: 'TASK' },
    { title: 'QUALITY' },
    { title: 'LAYOUT' },
    { title: 'STATE' },
    { title: 'SIZE', align: right },
    { title: 'BEST IN' },
  ];
  const rows = tasks.map(({ task, quality, layout, stateTimeMs, sizeBytes, snapshot }) => {
    return [task, quality, layout, describeAge(look.nowMs - stateTimeMs), describeBytes(sizeBytes), snapshot];
  });
  return renderTable(columns, rows, look);
}

/** The lines of `list --output json`, each an object that says its `kind`. */
export function listingJson(listing: Listing): readonly object[] {
  if (listing.kind === 'applications') {
    return listing.applications.map(({ newestMs, ...application }) => {
      return { kind: 'application', ...application, newest: jsonTime(newestMs) };
    });
  }
  const { application, lineage } = listing;
  return [
    ...listing.snapshots.map(({ snapshot, instance, timeMs, tasks, sizeBytes }) => {
      return {
        kind: 'snapshot',
        application,
        lineage,
        snapshot,
        instance,
        time: jsonTime(timeMs),
        tasks,
        bytes: sizeBytes,
      };
    }),
    ...listing.tasks.map(({ task, quality, layout, stateTimeMs, sizeBytes, snapshot }) => {
      const stateTime = jsonTime(stateTimeMs);
      return { kind: 'task', application, lineage, task, quality, layout, stateTime, bytes: sizeBytes, snapshot };
    }),
  ];
}
