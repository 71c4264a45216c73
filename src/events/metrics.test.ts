import { expect, test } from 'vitest';
import { documentedTable } from '../../test/support/documentation.ts';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { sampleStatus, sampleTask, uncapturableTask } from '../../test/support/sample-status.ts';
import type { AgentStatus } from './agent-status.ts';
import type { Event } from './event.ts';
import type { GaugeSettings } from './gauges.ts';
import { createMetrics } from './metrics.ts';

const NO_STATUS = sampleStatus({
  phase: 'starting',
  applicationFound: false,
  applicationRunning: undefined,
  lastSuccessMs: undefined,
  previousShutdown: undefined,
  finalSnapshot: { pendingBytes: 0, estimatedMs: 0 },
  stateDir: { bytes: 0, limitBytes: undefined, availableBytes: undefined },
  restorableBytes: 0,
  restore: undefined,
});
const NO_SETTINGS = {
  isValid: false,
  intervalMs: undefined,
  maxAgeMs: undefined,
  terminationGracePeriodMs: undefined,
} as const;

interface Given {
  readonly status?: AgentStatus;
  readonly settings?: GaugeSettings;
  readonly events?: readonly Event[];
}

/** Every series of a scrape with its value. */
async function scrape({
  status = NO_STATUS,
  settings = NO_SETTINGS,
  events = [],
}: Given = {}): Promise<ReadonlyMap<string, number>> {
  const metrics = createMetrics({
    clock: new ManualClock({ startMs: 1_750_000_000_000 }),
    facts: () => ({ status, settings, version: '1.2.3', nodeVersion: 'v24.12.0' }),
  });
  for (const event of events) metrics.emit(event);
  return seriesIn(await metrics.render());
}

function seriesIn(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}

function ofMetric(series: ReadonlyMap<string, number>, name: string): Readonly<Record<string, number>> {
  const own = [...series].filter(([key]) => key === name || key.startsWith(`${name}{`));
  return Object.fromEntries(own.map(([key, value]) => [key.slice(name.length), value]));
}

test('before anything happened every series that can be foreseen is there with 0', async () => {
  const series = await scrape();
  const ours = [...series].filter(([key]) => key.startsWith('warmstate_'));
  const ones = ours.filter(([, value]) => value !== 0);
  expect(ones).toEqual([
    ['warmstate_build_info{version="1.2.3",node_version="v24.12.0"}', 1],
    ['warmstate_config_info{application_id="orders",processing_guarantee="at_least_once",lineage="prod"}', 1],
    ['warmstate_phase{phase="starting"}', 1],
  ]);
  const names = ours.map(([key]) => key.replace(/\{.*/, ''));
  const counted = Object.fromEntries(
    [...new Set(names)].map((name) => [name, names.filter((one) => one === name).length]),
  );
  expect(counted).toMatchObject({
    warmstate_snapshots_total: 4 * 3,
    warmstate_snapshot_duration_seconds_count: 4,
    warmstate_storage_requests_total: 5,
    warmstate_storage_request_failures_total: 5 * 7,
    warmstate_capture_retries_total: 4,
    warmstate_tasks: 3,
    warmstate_restore_info: 5,
    warmstate_restore_tasks: 3,
    warmstate_previous_shutdown_info: 4,
    warmstate_state_dir_limit_bytes: 1,
    warmstate_pruned_objects_total: 1,
    warmstate_repository_bytes: 1,
  });
  expect(counted).not.toHaveProperty('warmstate_state_dir_available_bytes'); // Zero would not be true.
});

test('what happens is counted', async () => {
  const series = await scrape({
    events: [
      {
        kind: 'snapshot-finished',
        trigger: 'pre_stop',
        result: 'published',
        snapshot: 'e/1',
        tasks: 2,
        uploadedBytes: 100,
        reusedBytes: 300,
        durationMs: 1500,
      },
      { kind: 'object-uploaded', key: 'data/1', storedBytes: 40 },
      { kind: 'object-uploaded', key: 'data/2', storedBytes: 60 },
      { kind: 'capture-retried', task: '0_0', why: { reason: 'changing', message: 'the manifest rolled' } },
      { kind: 'storage-request', operation: 'put', durationMs: 30, sizeBytes: 40, failure: undefined },
      { kind: 'storage-request', operation: 'put', durationMs: 70, sizeBytes: 0, failure: 'unavailable' },
    ],
  });
  const nonZero = (name: string) =>
    Object.fromEntries(Object.entries(ofMetric(series, name)).filter(([, value]) => value !== 0));
  expect(nonZero('warmstate_snapshots_total')).toEqual({ '{trigger="pre_stop",result="published"}': 1 });
  expect(nonZero('warmstate_snapshot_duration_seconds_sum')).toEqual({ '{trigger="pre_stop"}': 1.5 });
  expect(nonZero('warmstate_uploaded_bytes_total')).toEqual({ '': 100 });
  expect(nonZero('warmstate_reused_bytes_total')).toEqual({ '': 300 });
  expect(nonZero('warmstate_capture_retries_total')).toEqual({ '{reason="changing"}': 1 });
  expect(nonZero('warmstate_storage_requests_total')).toEqual({ '{operation="put"}': 2 });
  expect(nonZero('warmstate_storage_request_failures_total')).toEqual({ '{operation="put",reason="unavailable"}': 1 });
  expect(nonZero('warmstate_storage_request_duration_seconds_sum')).toEqual({ '{operation="put"}': 0.1 });
  expect(nonZero('warmstate_storage_last_success_timestamp_seconds')).toEqual({ '': 1_750_000_000 });
});

test.each([
  ['unavailable', 0],
  ['deadline', 0],
  ['missing', 1_750_000_000], // It said so.
])('a request that ends as %s means that storage answered at %i', async (failure, at) => {
  const event: Event = { kind: 'storage-request', operation: 'get', durationMs: 1, sizeBytes: 0, failure };
  expect((await scrape({ events: [event] })).get('warmstate_storage_last_success_timestamp_seconds')).toBe(at);
});

test('gauges say what the agent knows at the moment of the scrape', async () => {
  const status = sampleStatus({
    tasks: [
      sampleTask('0_0', { isPending: true }),
      sampleTask('0_1', { why: { reason: 'exactly_once_running', message: 'm' } }),
      uncapturableTask('1_0', { reason: 'no_offset', message: 'm' }),
      sampleTask('1_1', { state: 'pending', entry: undefined, isPending: true }),
    ],
  });
  const settings = { isValid: true, intervalMs: 300_000, maxAgeMs: 82_800_000, terminationGracePeriodMs: 30_000 };
  const series = await scrape({ status, settings });
  const of = (name: string) => ofMetric(series, `warmstate_${name}`);
  expect(of('config_valid')).toEqual({ '': 1 });
  expect([of('application_found'), of('application_running')]).toEqual([{ '': 1 }, { '': 1 }]);
  expect(of('phase')).toEqual({ '{phase="starting"}': 0, '{phase="watching"}': 1, '{phase="finishing"}': 0 });
  expect([of('snapshot_interval_seconds'), of('max_age_seconds')]).toEqual([{ '': 300 }, { '': 82_800 }]);
  expect(of('termination_grace_period_seconds')).toEqual({ '': 30 });
  expect(of('last_snapshot_success_timestamp_seconds')).toEqual({ '': 1_795_390_620 });
  expect(of('tasks')).toEqual({ '{state="restorable"}': 2, '{state="pending"}': 1, '{state="uncapturable"}': 1 });
  expect(of('task_state_timestamp_seconds')).toEqual({ '{task="0_0"}': 1_795_390_620, '{task="0_1"}': 1_795_390_620 });
  expect(of('task_stored_bytes')).toEqual({ '{task="0_0"}': 4_402_341_478, '{task="0_1"}': 4_402_341_478 });
  expect(of('task_pending')).toEqual({ '{task="0_0"}': 1, '{task="0_1"}': 0, '{task="1_0"}': 0, '{task="1_1"}': 1 });
  expect(of('task_uncapturable')).toEqual({
    '{task="0_1",reason="exactly_once_running"}': 1,
    '{task="1_0",reason="no_offset"}': 1,
  });
  expect(of('restore_info')).toMatchObject({ '{outcome="partial"}': 1, '{outcome="failed"}': 0 });
  expect(of('restore_tasks')).toEqual({
    '{decision="warm",reason=""}': 1,
    '{decision="local",reason=""}': 0,
    '{decision="cold",reason=""}': 0,
    '{decision="cold",reason="damaged"}': 1,
  });
  expect(of('previous_shutdown_info')).toMatchObject({ '{result="sealed"}': 1, '{result="killed"}': 0 });
  expect([of('state_dir_limit_bytes'), of('state_dir_available_bytes')]).toEqual([
    { '': 20 * 2 ** 30 },
    { '': 13 * 2 ** 30 },
  ]);
  expect([of('final_snapshot_pending_bytes'), of('final_snapshot_estimated_seconds')]).toEqual([
    { '': 12 * 2 ** 20 },
    { '': 1.5 },
  ]);
});

test('a task that is gone takes its series along', async () => {
  let tasks = [sampleTask('0_0'), sampleTask('0_1')];
  const metrics = createMetrics({
    clock: new ManualClock(),
    facts: () => ({ status: sampleStatus({ tasks }), settings: NO_SETTINGS, version: '1', nodeVersion: 'v24' }),
  });
  await metrics.render();
  tasks = [sampleTask('0_1')];
  expect(ofMetric(seriesIn(await metrics.render()), 'warmstate_task_pending')).toEqual({ '{task="0_1"}': 0 });
});

test('the documented metrics are the metrics there are, with their types and labels', async () => {
  const status = sampleStatus({ tasks: [sampleTask('0_0', { why: { reason: 'no_offset', message: 'm' } })] });
  const metrics = createMetrics({
    clock: new ManualClock(),
    facts: () => ({ status, settings: NO_SETTINGS, version: '1', nodeVersion: 'v24' }),
  });
  const text = await metrics.render();
  const actual = [...text.matchAll(/^# TYPE (\S+) (\S+)\n(.*)$/gm)].map(([, name = '', type = '', first = '']) => {
    const labels = [...first.matchAll(/(\w+)="/g)].map(([, label]) => label).filter((label) => label !== 'le');
    return {
      name: `\`${name}\``,
      type,
      labels: name === 'warmstate_restore_replay_records' ? 'task' : labels.join(', '),
    };
  });
  const documented = documentedTable('configuration.md', 'Metrics').map(([name = '', type = '', labels = '']) => ({
    name,
    type,
    labels: labels.replaceAll(/ ?\([^)]*\)/g, ''),
  }));
  const byName = (left: { name: string }, right: { name: string }): number => (left.name < right.name ? -1 : 1);
  expect(documented.toSorted(byName)).toEqual(actual.toSorted(byName));
});
