import { type Agent, createAgent } from './agent/agent.ts';
import { snapshotResultJson } from './agent/snapshot-result.ts';
import { openTaskWatcher } from './agent/watcher.ts';
import { Budget } from './base/concurrency.ts';
import { askDiskSpace } from './base/disk-space.ts';
import { EXIT_CODES, type Failure, isFailure, messageOf } from './base/failure.ts';
import { realFiles } from './base/file-access.ts';
import { setOuterDeadline } from './base/outer-deadline.ts';
import { brokersOf, ROUND_ANSWER_MS_MAX } from './broker-access.ts';
import type { CommandContext } from './cli/command.ts';
import { type AgentProblem, type AgentStatus, agentStatusJson } from './events/agent-status.ts';
import type { Emit, Event } from './events/event.ts';
import type { GaugeSettings } from './events/gauges.ts';
import { createMetrics } from './events/metrics.ts';
import { createProblemLog } from './events/problem-log.ts';
import { checkLiveness, checkReadiness } from './http/health.ts';
import { type ListenAddress, parseListenAddress } from './http/listen-address.ts';
import { openServer, type Served } from './http/server.ts';
import { identityOf } from './run-beside.ts';
import { SETTINGS, type SettingsOf } from './settings.ts';
import type { ObjectStore } from './storage/object-store.ts';
import type { Traffic } from './storage/observed-store.ts';
import { askApplicationLock } from './streams/app-lock.ts';
import { COMPRESSION_MEMORY_BYTES } from './transfer/memory.ts';

interface RunTools {
  /** `warmstate 0.1.0` */
  readonly program: string;
  readonly connect: (
    context: Pick<CommandContext, 'clock' | 'random' | 'emit' | 'proxies'>,
  ) => Promise<{ readonly store: ObjectStore; readonly traffic: () => Traffic }>;
}

/** `warmstate run`: the agent and what it shows of itself, until the process is told to end and the last snapshot is taken. */
export async function runSidecar(
  settings: SettingsOf<'run'>,
  context: CommandContext,
  { program, connect }: RunTools,
): Promise<number> {
  const killed = context.endGracefully();
  const face = createFace(context, {
    program,
    settings: {
      isValid: true,
      intervalMs: settings.interval,
      maxAgeMs: settings.maxAge,
      terminationGracePeriodMs: settings.terminationGracePeriod,
    },
    identity: identityOf(settings),
    agent: () => agent,
  });
  const world = { ...context, emit: face.emit };
  const agent = createAgent(
    {
      ...settings,
      intervalMs: settings.interval,
      bandwidthBytesPerSecond: settings.bandwidth,
      maxAgeMs: settings.maxAge,
      keepWithinMs: settings.keepWithin,
      prunes: settings.prune === 'auto',
      terminationGracePeriodMs: settings.terminationGracePeriod,
      stateDirLimitBytes: settings.stateDirLimit,
      program,
    },
    {
      ...world,
      connect: () => connect(world),
      files: realFiles,
      askLock: askApplicationLock,
      askSpace: askDiskSpace,
      openWatcher: openTaskWatcher,
      askBrokers: brokersOf(settings, world, { answerMsMax: ROUND_ANSWER_MS_MAX }),
      memory: new Budget(COMPRESSION_MEMORY_BYTES),
    },
  );
  await face.showWhile(settings.listen, () => agent.run({ stopping: context.signal, killed }));
  await setOuterDeadline(OVERTIME_MS);
  return 0;
}

/** After its end the process has so long to drain. */
const OVERTIME_MS = 10_000;

/** With settings that cannot be used: says so wherever one looks, and leaves the application alone. */
export async function runRefused(
  settings: Partial<SettingsOf<'run'>>,
  problems: readonly [Failure, ...Failure[]],
  context: CommandContext & Pick<RunTools, 'program'>,
): Promise<number> {
  context.endGracefully();
  const sinceMs = context.clock.nowMs();
  const face = createFace(context, {
    program: context.program,
    settings: { isValid: false, intervalMs: undefined, maxAgeMs: undefined, terminationGracePeriodMs: undefined },
    identity: '',
    agent: () => ({
      status: () => refusedStatus(settings, problems, { sinceMs, nowMs: context.clock.nowMs() }),
      requestSnapshot: () => Promise.reject(problems[0]),
    }),
  });
  await face.showWhile(settings.listen ?? DEFAULT_LISTEN, () => aborted(context.signal));
  return EXIT_CODES.invalid;
}

const DEFAULT_LISTEN = parseListenAddress(SETTINGS.listen.fallback);

function refusedStatus(
  settings: Partial<SettingsOf<'run'>>,
  problems: readonly [Failure, ...Failure[]],
  { sinceMs, nowMs }: { readonly sinceMs: number; readonly nowMs: number },
): AgentStatus {
  const message = problems.map((problem) => problem.message).join('; ');
  const hint = problems.map((problem) => problem.hint).find((one) => one !== undefined);
  return {
    application: settings.applicationId ?? 'unknown',
    lineage: settings.lineage ?? 'unknown',
    instance: settings.instance ?? 'unknown',
    guarantee: settings.processingGuarantee ?? 'unknown',
    epoch: undefined,
    phase: 'starting',
    turnedAtMs: nowMs,
    applicationFound: false,
    applicationRunning: undefined,
    problems: [{ area: 'settings', message, hint, sinceMs }],
    tasks: [],
    lastSuccessMs: undefined,
    snapshot: undefined,
    dueMs: undefined,
    previousShutdown: undefined,
    finalSnapshot: { pendingBytes: 0, estimatedMs: 0 },
    stateDir: { bytes: 0, limitBytes: settings.stateDirLimit, availableBytes: undefined },
    restorableBytes: 0,
    restore: undefined,
  };
}

/** What the world sees of a run. */
interface Face {
  /** Counts, logs, and shows that the process lives. */
  readonly emit: Emit;
  /** Serves HTTP and logs problems as long as `work` lasts. */
  readonly showWhile: (address: ListenAddress, work: () => Promise<void>) => Promise<void>;
}

function createFace(
  context: CommandContext,
  parts: Pick<RunTools, 'program'> & {
    readonly settings: GaugeSettings;
    readonly identity: string;
    readonly agent: () => Pick<Agent, 'status' | 'requestSnapshot'>;
  },
): Face {
  const { clock } = context;
  let happenedMs = clock.nowMs();
  let listenProblem: AgentProblem | undefined;
  const status = (): AgentStatus => {
    const known = parts.agent().status();
    return { ...known, problems: [...known.problems, ...(listenProblem === undefined ? [] : [listenProblem])] };
  };
  const version = parts.program.split(' ').at(-1) ?? '';
  const facts = () => ({ status: status(), settings: parts.settings, version, nodeVersion: process.version });
  const metrics = createMetrics({ clock, facts });
  const emit = (event: Event): void => {
    happenedMs = clock.nowMs();
    metrics.emit(event);
    context.emit(event);
  };
  const served: Served = {
    metrics: async () => ({ contentType: metrics.contentType, text: await metrics.render() }),
    liveness: () => checkLiveness({ nowMs: clock.nowMs(), aliveMs: Math.max(happenedMs, status().turnedAtMs) }),
    readiness: () => {
      return checkReadiness(status(), { nowMs: clock.nowMs(), storageAnsweredMs: metrics.storageAnsweredMs() });
    },
    status: () => agentStatusJson(status()),
    snapshot: async () => snapshotResultJson(await parts.agent().requestSnapshot('request')),
    // How it ended is an event and, where it matters, a problem in the status.
    preStop: () =>
      void parts
        .agent()
        .requestSnapshot('pre_stop')
        .catch(() => undefined),
    identity: parts.identity,
    report: (error) => {
      const stack = error instanceof Error ? (error.stack ?? '') : '';
      emit({ kind: 'notice', name: 'request-broke', level: 'error', message: messageOf(error), facts: { stack } });
    },
  };
  return {
    emit,
    showWhile: async (address, work) => {
      const over = new AbortController();
      const signal = over.signal;
      await Promise.all([
        work().finally(() => over.abort()),
        keepServing(address, served, {
          clock,
          emit,
          signal,
          onProblem: (problem) => {
            listenProblem = problem;
          },
        }),
        logProblems(status, { clock, emit, signal }),
      ]);
    },
  };
}

/** Another process may give the port back: a pod on the host's network that is replaced. */
const LISTEN_AGAIN_MS = 30_000;

/** Serves until the signal; without the port, says so and tries again. */
async function keepServing(
  address: ListenAddress,
  served: Served,
  world: Pick<CommandContext, 'clock' | 'emit' | 'signal'> & {
    readonly onProblem: (problem: AgentProblem | undefined) => void;
  },
): Promise<void> {
  const { clock, emit, signal } = world;
  const sinceMs = clock.nowMs();
  while (!signal.aborted) {
    try {
      await using server = await openServer(address, served, { clock });
      world.onProblem(undefined);
      const { port } = server;
      emit({ kind: 'notice', name: 'listening', level: 'info', message: `listening on port ${port}`, facts: { port } });
      await aborted(signal);
    } catch (error) {
      const hint = isFailure(error) ? error.hint : undefined;
      world.onProblem({ area: 'listen', message: messageOf(error), hint, sinceMs });
      await clock.sleep(LISTEN_AGAIN_MS, signal);
    }
  }
}

const PROBLEM_LOOK_MS = 1000;

async function logProblems(
  status: () => AgentStatus,
  { clock, emit, signal }: Pick<CommandContext, 'clock' | 'emit' | 'signal'>,
): Promise<void> {
  const log = createProblemLog(emit);
  while (!signal.aborted) {
    log(status().problems);
    await clock.sleep(PROBLEM_LOOK_MS, signal);
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
