import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Clock } from '../base/clock.ts';
import { EXIT_CODES } from '../base/failure.ts';
import { REASONS, type Reason } from '../streams/reason.ts';
import type { Emit, Event, SnapshotTrigger } from './event.ts';
import { GAUGES, type GaugeFacts } from './gauges.ts';

export interface Metrics {
  /** Counts. */
  readonly emit: Emit;
  /** When the store last answered, by our clock. */
  readonly storageAnsweredMs: () => number | undefined;
  readonly contentType: string;
  /** The text of `/metrics` as of now. */
  readonly render: () => Promise<string>;
}

/** Counters from events, gauges from what is known at the moment of a scrape. All series that can be foreseen exist from the start. */
export function createMetrics(options: { readonly clock: Clock; readonly facts: () => GaugeFacts }): Metrics {
  const registry = new Registry();
  const counters = createCounters(registry);
  let storageAnsweredMs: number | undefined;
  const answered = new Gauge({
    name: 'warmstate_storage_last_success_timestamp_seconds',
    help: 'When the store last answered; 0 before the first time.',
    registers: [registry],
  });
  const prunedAt = new Gauge({
    name: 'warmstate_prune_last_success_timestamp_seconds',
    help: 'When this instance last removed what retention lets go; 0: never.',
    registers: [registry],
  });
  const repositoryBytes = new Gauge({
    name: 'warmstate_repository_bytes',
    help: 'What lies in the repository; 0 before this instance counted it.',
    registers: [registry],
  });
  const fill = GAUGES.map(({ name, help, labels, read }) => {
    const gauge = new Gauge({ name, help, labelNames: labels, registers: [registry] });
    return (facts: GaugeFacts): void => {
      gauge.reset();
      if (labels.length === 0) gauge.remove(); // A gauge without labels starts with a zero that may not be true.
      for (const sample of read(facts)) gauge.set(sample.labels, sample.value);
    };
  });
  addProcessMetrics(registry);
  return {
    emit: (event) => {
      count(event, counters);
      if (event.kind === 'prune-finished') {
        prunedAt.set(options.clock.nowMs() / 1000);
        repositoryBytes.set(event.repositoryBytes);
      }
      const isAnswer = event.kind === 'storage-request' && (event.failure === undefined || event.failure === 'missing');
      if (isAnswer) storageAnsweredMs = options.clock.nowMs();
    },
    storageAnsweredMs: () => storageAnsweredMs,
    contentType: registry.contentType,
    render: () => {
      const facts = options.facts();
      for (const one of fill) one(facts);
      answered.set((storageAnsweredMs ?? 0) / 1000);
      return registry.metrics();
    },
  };
}

const TRIGGERS: readonly SnapshotTrigger[] = ['interval', 'request', 'pre_stop', 'final'];
const RESULTS = ['published', 'unchanged', 'failed'];
const OPERATIONS = ['put', 'get', 'head', 'list', 'delete'];
/** What a request can fail of. */
const FAILURES = [...Object.keys(EXIT_CODES).filter((kind) => kind !== 'moved'), 'aborted'];
/** Why a capture is made again. */
const RETRIES: readonly Reason[] = REASONS.filter((reason) =>
  ['changing', 'being_deleted', 'incomplete', 'damaged'].includes(reason),
);
/** From what nothing but a heartbeat costs to what an hour's upload takes. */
const SNAPSHOT_BUCKETS = [0.05, 0.25, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600];
const REQUEST_BUCKETS = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

type Counters = ReturnType<typeof createCounters>;

function createCounters(registry: Registry) {
  const counter = <const L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> =>
    new Counter({ name, help, labelNames, registers: [registry] });
  const histogram = <const L extends string>(
    name: string,
    help: string,
    shape: { readonly label: L; readonly buckets: number[] },
  ): Histogram<L> =>
    new Histogram({ name, help, labelNames: [shape.label], buckets: shape.buckets, registers: [registry] });
  const counters = {
    snapshots: counter('warmstate_snapshots_total', 'Rounds that are over.', ['trigger', 'result']),
    snapshotDuration: histogram('warmstate_snapshot_duration_seconds', 'How long rounds took.', {
      label: 'trigger',
      buckets: SNAPSHOT_BUCKETS,
    }),
    uploadedBytes: counter('warmstate_uploaded_bytes_total', 'Bytes sent, as they lie in the store.'),
    reusedBytes: counter('warmstate_reused_bytes_total', 'Bytes of snapshots that lay in the repository already.'),
    prunedObjects: counter('warmstate_pruned_objects_total', 'Objects that retention let go.'),
    retries: counter('warmstate_capture_retries_total', 'Captures that were made again.', ['reason']),
    requests: counter('warmstate_storage_requests_total', 'Requests to the store.', ['operation']),
    requestFailures: counter('warmstate_storage_request_failures_total', 'Requests to the store that failed.', [
      'operation',
      'reason',
    ]),
    requestDuration: histogram('warmstate_storage_request_duration_seconds', 'How long requests to the store took.', {
      label: 'operation',
      buckets: REQUEST_BUCKETS,
    }),
  };
  for (const trigger of TRIGGERS) {
    counters.snapshotDuration.zero({ trigger });
    for (const result of RESULTS) counters.snapshots.inc({ trigger, result }, 0);
  }
  for (const operation of OPERATIONS) {
    counters.requests.inc({ operation }, 0);
    counters.requestDuration.zero({ operation });
    for (const reason of FAILURES) counters.requestFailures.inc({ operation, reason }, 0);
  }
  for (const reason of RETRIES) counters.retries.inc({ reason }, 0);
  return counters;
}

function count(event: Event, counters: Counters): void {
  switch (event.kind) {
    case 'snapshot-finished': {
      const { trigger, result, durationMs, reusedBytes } = event;
      counters.snapshots.inc({ trigger, result });
      counters.snapshotDuration.observe({ trigger }, durationMs / 1000);
      counters.reusedBytes.inc(reusedBytes);
      return;
    }
    case 'prune-finished':
      counters.prunedObjects.inc(event.documents + event.objects);
      return;
    case 'object-uploaded':
      counters.uploadedBytes.inc(event.storedBytes);
      return;
    case 'capture-retried':
      counters.retries.inc({ reason: event.why.reason });
      return;
    case 'storage-request': {
      const { operation, durationMs, failure } = event;
      counters.requests.inc({ operation });
      counters.requestDuration.observe({ operation }, durationMs / 1000);
      if (failure !== undefined) counters.requestFailures.inc({ operation, reason: failure });
      return;
    }
    case 'notice':
    case 'phase-changed':
    case 'work-announced':
    case 'work-done':
    case 'work-finished':
      return;
  }
}

/** The library's own, without those that promtool objects to, and without what costs a timer or hundreds of series. */
const PROCESS_METRICS = [
  'process_cpu_user_seconds_total',
  'process_cpu_system_seconds_total',
  'process_cpu_seconds_total',
  'process_start_time_seconds',
  'process_resident_memory_bytes',
  'process_virtual_memory_bytes',
  'process_open_fds',
  'process_max_fds',
  'nodejs_eventloop_lag_seconds',
  'nodejs_heap_size_total_bytes',
  'nodejs_heap_size_used_bytes',
  'nodejs_external_memory_bytes',
];
/** The library's monitor of the event loop is not among them: it must not wake a process that rests. */
const MONITOR_PRECISION_MS = 3_600_000;

function addProcessMetrics(registry: Registry): void {
  const all = new Registry();
  collectDefaultMetrics({ register: all, eventLoopMonitoringPrecision: MONITOR_PRECISION_MS });
  for (const name of PROCESS_METRICS) {
    const metric = all.getSingleMetric(name);
    if (metric !== undefined) registry.registerMetric(metric);
  }
}
