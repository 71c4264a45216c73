import { describeAge, describeBytes } from '../base/quantity.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import type { Quality } from '../streams/quality.ts';
import type { InspectedTask, Inspection } from './inspection.ts';
import { jsonOffsets, jsonTime } from './json.ts';
import { type Look, paint } from './look.ts';
import { type Cell, offsetCells, renderTable } from './table.ts';

export function renderInspection({ application, state, tasks }: Inspection, look: Look): string {
  if (application === undefined) return 'no application in this state directory\n';
  const head = `${paint(application, 'heading', look)} is ${STATES[state]}\n`;
  if (tasks.length === 0) return `${head}no task directories\n`;
  return `${head}\n${renderTasks(tasks, look)}\n${renderStores(tasks, look)}${renderOffsets(tasks, look)}${renderPositions(tasks, look)}`;
}

const STATES: Readonly<Record<ApplicationState, string>> = {
  running: 'running',
  stopped: 'not running',
  unknown: 'running or not: this platform cannot tell',
};

function renderTasks(tasks: readonly InspectedTask[], look: Look): string {
  const columns = ['TASK', 'LAYOUT', 'AT LEAST ONCE', 'EXACTLY ONCE', 'STATE', 'WHY'].map((title) => ({ title }));
  const rows = tasks.map(({ task, layout, quality, stateTimeMs, why }) => [
    task,
    layout,
    qualityCell(quality.at_least_once),
    qualityCell(quality.exactly_once_v2),
    stateTimeMs === undefined ? undefined : describeAge(look.nowMs - stateTimeMs),
    why === undefined ? undefined : `${why.reason}: ${why.message}`,
  ]);
  return renderTable(columns, rows, look);
}

function qualityCell(quality: Quality | undefined): Cell {
  return quality === undefined ? { text: 'refused', tone: 'warning' } : quality;
}

function renderStores(tasks: readonly InspectedTask[], look: Look): string {
  // Up to Kafka Streams 4.2 no store has one.
  const hasStatus = tasks.some(({ stores }) => stores.some(({ status }) => status !== undefined));
  const rows = tasks.flatMap(({ task, stores }) =>
    stores.map(({ name, kind, tables, sizeBytes, columnFamilies, status }) => {
      const families = columnFamilies.filter((family) => family !== 'default');
      return [
        task,
        name,
        kind,
        String(tables),
        describeBytes(sizeBytes),
        ...(hasStatus ? [status] : []),
        families.length === 0 ? undefined : families.join(', '),
      ];
    }),
  );
  if (rows.length === 0) return 'no stores on disk: what is in memory only replays in full\n';
  const columns = [
    { title: 'TASK' },
    { title: 'STORE' },
    { title: 'KIND' },
    { title: 'TABLES', align: RIGHT },
    { title: 'SIZE', align: RIGHT },
    ...(hasStatus ? [{ title: 'STATUS' }] : []),
    { title: 'COLUMN FAMILIES' },
  ];
  return renderTable(columns, rows, look);
}

function renderOffsets(tasks: readonly InspectedTask[], look: Look): string {
  const rows = tasks.flatMap(({ task, offsets }) => offsetCells(offsets).map((cells) => [task, ...cells]));
  if (rows.length === 0) return '';
  const columns = [{ title: 'TASK' }, { title: 'CHANGELOG' }, { title: 'OFFSET', align: RIGHT }];
  return `\n${renderTable(columns, rows, look)}`;
}

function renderPositions(tasks: readonly InspectedTask[], look: Look): string {
  const rows = tasks.flatMap(({ task, stores }) =>
    stores.flatMap(({ name, position }) => offsetCells(position).map((cells) => [task, name, ...cells])),
  );
  if (rows.length === 0) return '';
  const columns = [{ title: 'TASK' }, { title: 'STORE' }, { title: 'INPUT' }, { title: 'POSITION', align: RIGHT }];
  return `\n${renderTable(columns, rows, look)}`;
}

const RIGHT = 'right' as const;

const RUNNING: Readonly<Record<ApplicationState, boolean | null>> = { running: true, stopped: false, unknown: null };

/** The stable shape of `inspect --output json`. */
export function inspectionJson({ application, state, tasks }: Inspection): object {
  return {
    application: application ?? null,
    running: RUNNING[state],
    tasks: tasks.map(({ task, layout, quality, why, stateTimeMs, offsets, stores }) => ({
      task,
      layout,
      quality: { at_least_once: quality.at_least_once ?? null, exactly_once_v2: quality.exactly_once_v2 ?? null },
      reason: why?.reason ?? null,
      message: why?.message ?? null,
      stateTime: jsonTime(stateTimeMs),
      offsets: jsonOffsets(offsets),
      stores: stores.map(({ name, kind, tables, sizeBytes, columnFamilies, status, position }) => ({
        name,
        kind,
        tables,
        bytes: sizeBytes,
        columnFamilies,
        status: status ?? null,
        position: jsonOffsets(position),
      })),
    })),
  };
}
