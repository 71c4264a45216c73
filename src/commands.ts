import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { takeSnapshot } from './agent/snapshot.ts';
import { snapshotResultJson } from './agent/snapshot-result.ts';
import { Budget } from './base/concurrency.ts';
import { askDiskSpace } from './base/disk-space.ts';
import { Failure } from './base/failure.ts';
import { realFiles } from './base/file-access.ts';
import { setOuterDeadline } from './base/outer-deadline.ts';
import { brokersOf, consultationOf } from './broker-access.ts';
import type { CommandContext } from './cli/command.ts';
import { APPLICATION_ID, tellStory } from './cli/demo.ts';
import {
  diagnoseAddress,
  diagnoseBrokers,
  diagnoseBucket,
  diagnoseStateDir,
  diagnoseStore,
  noDestination,
} from './cli/doctor.ts';
import { type Check, checksJson, doctorExitCode, renderChecks } from './cli/doctor-check.ts';
import { checkSettings } from './cli/doctor-pod.ts';
import { forget, forgetJson, renderForget } from './cli/forget.ts';
import { inspectionJson, renderInspection } from './cli/inspect.ts';
import { inspectStateDirectory } from './cli/inspection.ts';
import { jsonLine } from './cli/json.ts';
import { listingJson, listStored, renderListing } from './cli/list.ts';
import { prune, pruneExitCode, pruneJson, renderPrune } from './cli/prune.ts';
import { openOnlyRepository } from './cli/repository-choice.ts';
import {
  failedTerminationMessage,
  printFailedRestore,
  refuseRestore,
  renderRestore,
  restoreExitCode,
  terminationMessage,
} from './cli/restore.ts';
import { documentJson, findSnapshot, renderDocument } from './cli/show.ts';
import { renderSnapshot, snapshotExitCode } from './cli/snapshot.ts';
import { renderStatus } from './cli/status.ts';
import { renderVerify, verifyExitCode, verifyJson } from './cli/verify.ts';
import type { ExaminedSettings } from './effective-settings.ts';
import { agentStatusJson } from './events/agent-status.ts';
import type { Commands } from './invocation.ts';
import { parseSnapshotName } from './repository/keys.ts';
import { restoreResultJson } from './repository/restore-result.ts';
import { restore } from './restore/restore.ts';
import { verify } from './restore/verify.ts';
import { askForSnapshot, askForStatus } from './run-beside.ts';
import { flagOf, type SettingsOf } from './settings.ts';
import type { ObjectStore } from './storage/object-store.ts';
import { observeStore, type Traffic } from './storage/observed-store.ts';
import { openBucket, openStore, type S3Settings } from './storage/open-store.ts';
import type { S3Store } from './storage/s3-store.ts';
import { askApplicationLock } from './streams/app-lock.ts';
import { COMPRESSION_MEMORY_BYTES } from './transfer/memory.ts';

/** Every command with its parts; `program` is name and version as documents carry them. */
export function composeCommands(program: string): Commands {
  return {
    demo: { run: (_settings, context) => runDemo(context, program) },
    // What only it needs, an HTTP server above all, would cost every other command a tenth of a second.
    run: {
      run: async (settings, context) => {
        const { runSidecar } = await import('./run.ts');
        return runSidecar(settings, context, { program, connect: (world) => connect(settings, world) });
      },
      refuse: async (settings, problems, context) => {
        const { runRefused } = await import('./run.ts');
        return runRefused(settings, problems, { ...context, program });
      },
    },
    status: {
      run: async (settings, context) => {
        const status = await askForStatus(settings.listen, context);
        const { output } = settings;
        context.print(output === 'json' ? jsonLine(agentStatusJson(status)) : renderStatus(status, context.look()));
        return 0;
      },
    },
    snapshot: { run: (settings, context) => runSnapshot(settings, context, program) },
    restore: {
      run: (settings, context) => runRestore(settings, context, program),
      refuse: async (settings, problems, context) => {
        await leaveLastWords(failedTerminationMessage(problems));
        return refuseRestore(settings, problems, context);
      },
    },
    list: {
      run: async (settings, context) => {
        const { store } = await connect(settings, context);
        const consultBrokers = consultationOf(settings, context);
        const listing = await listStored(store, settings, { ...context, consultBrokers });
        const lines = (): string => listingJson(listing).map(jsonLine).join('');
        context.print(settings.output === 'json' ? lines() : renderListing(listing, context.look()));
        return 0;
      },
    },
    show: {
      run: async (settings, context) => {
        const { store } = await connect(settings, context);
        const shown = await findSnapshot(store, settings, context);
        const { output } = settings;
        context.print(output === 'json' ? jsonLine(documentJson(shown)) : renderDocument(shown, context.look()));
        return 0;
      },
    },
    verify: {
      run: async (settings, context) => {
        const { store } = await connect(settings, context);
        const { operands, random, emit, signal, print, look } = context;
        const names = operands.map(parseSnapshotName);
        const repository = await openOnlyRepository(store, settings, context);
        if (repository === undefined && operands[0] !== undefined) {
          throw new Failure('missing', `cannot verify ${operands[0]}: nothing is stored yet`);
        }
        const options = { names, concurrency: settings.concurrency, program, random, emit, signal };
        const nothing = { snapshots: 0, objects: 0, bytes: 0, problems: [] };
        const result = repository === undefined ? nothing : await verify(repository, options);
        print(settings.output === 'json' ? jsonLine(verifyJson(result)) : renderVerify(result, look()));
        return verifyExitCode(result);
      },
    },
    prune: {
      run: async (settings, context) => {
        const { store } = await connect(settings, context);
        const collection = await prune(store, settings, { ...context, program });
        const { output, dryRun: isDryRun } = settings;
        const text = (): string => renderPrune(collection, context.look(), { isDryRun });
        context.print(output === 'json' ? jsonLine(pruneJson(collection)) : text());
        return pruneExitCode(collection);
      },
    },
    forget: {
      run: async (settings, context) => {
        const { store } = await connect(settings, context);
        const result = await forget(store, settings, { ...context, program });
        context.print(settings.output === 'json' ? jsonLine(forgetJson(result)) : renderForget(result, context.look()));
        return 0;
      },
    },
    inspect: {
      run: async (settings, context) => {
        const { output } = settings;
        const stateDir = context.operands[0] ?? settings.stateDir;
        const tools = { ...context, files: realFiles, askLock: askApplicationLock };
        const inspection = await inspectStateDirectory({ ...settings, stateDir }, tools);
        context.print(
          output === 'json' ? jsonLine(inspectionJson(inspection)) : renderInspection(inspection, context.look()),
        );
        return 0;
      },
    },
    inject: {
      run: async (settings, context) => {
        const { runInject } = await import('./cli/inject.ts'); // It parses YAML, which nothing else does in most pods.
        return runInject(settings, context);
      },
    },
    doctor: { run: runDoctor },
  };
}

async function runDoctor({ settings, ...found }: ExaminedSettings, context: CommandContext): Promise<number> {
  const { applicationId, stateDirLimit, stateDir, listen } = settings;
  const unset = POD_NEEDS.filter((key) => found.unset.has(key)).map(flagOf);
  const checks = [
    ...checkSettings({ ...found, unset }),
    ...(stateDir === undefined ? [] : await diagnoseStateDir({ stateDir, applicationId, stateDirLimit }, realFiles)),
    ...(listen === undefined ? [] : [await diagnoseAddress(listen, context)]),
    ...(await diagnoseDestination({ settings, unset: found.unset }, context)),
    ...(await diagnoseKafka(settings, context)),
  ];
  context.print(settings.output === 'json' ? jsonLine(checksJson(checks)) : renderChecks(checks, context.look()));
  return doctorExitCode(checks);
}

async function diagnoseKafka(
  { stateDir, applicationId, processingGuarantee, maxAge, ...brokers }: ExaminedSettings['settings'],
  context: CommandContext,
): Promise<readonly Check[]> {
  const { bootstrapServers, commandConfig } = brokers;
  const ask = brokersOf({ bootstrapServers, commandConfig, applicationId }, context);
  if (ask === undefined) return [];
  const isKnown = stateDir !== undefined && applicationId !== undefined;
  const applicationDirectory = isKnown ? join(stateDir, applicationId) : undefined;
  const question = { ask, applicationDirectory, guarantee: processingGuarantee, maxAgeMs: maxAge };
  return diagnoseBrokers(question, { files: realFiles, signal: context.signal });
}

async function diagnoseDestination(
  { settings, unset }: Pick<ExaminedSettings, 'settings' | 'unset'>,
  context: CommandContext,
): Promise<readonly Check[]> {
  const { destination, applicationId, lineage } = settings;
  if (destination === undefined) return unset.has('destination') ? [noDestination()] : [];
  const isKnown = applicationId !== undefined && lineage !== undefined;
  const location = isKnown ? { application: applicationId, lineage } : undefined;
  if (destination.kind === 'file') {
    const open = (): Promise<ObjectStore> => openStore({ destination }, context);
    return diagnoseStore({ name: `the directory ${destination.directory}`, open, location }, context);
  }
  const name = `the bucket ${destination.bucket}`;
  const open = (): Promise<S3Store> => openBucket(destination, settings, context);
  return diagnoseBucket({ name, open, location, encryption: settings.s3Sse }, context);
}

/** What one of the containers of a pod refuses to start without. */
const POD_NEEDS = ['applicationId', 'processingGuarantee'] as const;

/** From the checkout as from the installed package: both have it beside the folder of this file. */
const RECORDINGS = fileURLToPath(new URL('../demo/state', import.meta.url));

async function runDemo(context: CommandContext, program: string): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'warmstate-demo-'));
  const [stateDir, repositoryDir] = [join(directory, 'state'), join(directory, 'repository')];
  const where = {
    applicationId: APPLICATION_ID,
    instance: 'demo',
    lineage: 'demo',
    appVersion: undefined,
    processingGuarantee: 'exactly_once_v2',
    transactionalStores: false,
  } as const;
  // The story says itself what goes wrong on purpose.
  const world = { ...context, emit: () => {}, files: realFiles, askLock: askApplicationLock, askSpace: askDiskSpace };
  const storage = (): ReturnType<typeof connect> =>
    connect({ destination: { kind: 'file', directory: repositoryDir } }, context);
  try {
    await mkdir(stateDir);
    await tellStory({
      recordings: RECORDINGS,
      stateDir,
      repositoryDir,
      nowMs: () => context.clock.nowMs(),
      inspect: () => inspectStateDirectory({ ...where, stateDir }, world),
      snapshot: async () =>
        takeSnapshot(
          {
            ...where,
            stateDir,
            program,
            compression: 'zstd',
            concurrency: 8,
            maxAgeMs: DEMO_MAX_AGE_MS,
            keepWithinMs: SNAPSHOT_KEEP_WITHIN_MS,
          },
          { ...world, ...(await storage()), memory: new Budget(COMPRESSION_MEMORY_BYTES) },
        ),
      restore: async () =>
        restore(
          {
            ...where,
            stateDir,
            program,
            isDrill: false,
            isDryRun: false,
            snapshot: undefined,
            selection: { kind: 'all' },
            replicas: undefined,
            waitForFinalMs: 0,
            concurrency: 8,
            maxAgeMs: DEMO_MAX_AGE_MS,
            layoutMax: 'column-family',
            stateDirLimitBytes: undefined,
            bytesMax: undefined,
          },
          { ...world, ...(await storage()) },
        ),
      entries: async () => {
        const choice = { applicationId: APPLICATION_ID, lineage: where.lineage };
        return (await findSnapshot((await storage()).store, choice, context)).document.entries;
      },
      print: context.print,
      look: context.look,
    });
    return 0;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const DEMO_MAX_AGE_MS = 23 * 3_600_000;

/** A store that moves no byte for so long is given up; `restore` has a setting for it. */
const STALL_TIMEOUT_MS = 60_000;
/** A restore after its deadline, and `run` after its end, have so long to tidy up. */
const OVERTIME_MS = 10_000;
/** Where Kubernetes looks for the last words of a container. */
const TERMINATION_LOG = '/dev/termination-log';

/** What `--keep-within` is unless set, and only `run` takes it. */
const SNAPSHOT_KEEP_WITHIN_MS = 6 * 3_600_000;

async function runSnapshot(
  settings: SettingsOf<'snapshot'>,
  context: CommandContext,
  program: string,
): Promise<number> {
  const result =
    (await askForSnapshot(settings, context)) ??
    (await takeSnapshot(
      { ...settings, maxAgeMs: settings.maxAge, keepWithinMs: SNAPSHOT_KEEP_WITHIN_MS, program },
      {
        ...context,
        ...(await connect(settings, context)),
        files: realFiles,
        askLock: askApplicationLock,
        askSpace: askDiskSpace,
        consultBrokers: consultationOf(settings, context),
        memory: new Budget(COMPRESSION_MEMORY_BYTES),
      },
    ));
  context.print(
    settings.output === 'json' ? jsonLine(snapshotResultJson(result)) : renderSnapshot(result, context.look()),
  );
  return snapshotExitCode(result);
}

async function runRestore(settings: SettingsOf<'restore'>, context: CommandContext, program: string): Promise<number> {
  const inTime = new AbortController();
  const message = `the restore is not done after --deadline ${settings.deadline / 1000}s`;
  const timer = setTimeout(() => inTime.abort(new Failure('deadline', message)), settings.deadline);
  await setOuterDeadline(settings.deadline + OVERTIME_MS);
  try {
    const result = await restore(
      {
        ...settings,
        stateDir: settings.to ?? settings.stateDir,
        isDrill: settings.to !== undefined,
        processingGuarantee: settings.processingGuarantee ?? 'auto',
        selection: settings.tasks,
        waitForFinalMs: Math.min(settings.waitForFinal, settings.deadline / 2), // What is there is better than nothing.
        maxAgeMs: settings.maxAge,
        layoutMax: settings.maxLayout,
        stateDirLimitBytes: settings.stateDirLimit,
        bytesMax: settings.maxBytes,
        isDryRun: settings.dryRun,
        program,
      },
      {
        ...context,
        ...(await connect(settings, context)),
        signal: AbortSignal.any([context.signal, inTime.signal]),
        files: realFiles,
        askLock: askApplicationLock,
        askSpace: askDiskSpace,
        consultBrokers: consultationOf(settings, context),
      },
    );
    const text = renderRestore(result, context.look(), { isDryRun: settings.dryRun });
    context.print(settings.output === 'json' ? jsonLine(restoreResultJson(result)) : text);
    await leaveLastWords(terminationMessage(result));
    return restoreExitCode(result, settings.onFailure);
  } catch (error) {
    if (context.signal.aborted) throw error;
    context.report(error);
    await leaveLastWords(failedTerminationMessage([error]));
    return printFailedRestore(settings, error, context);
  } finally {
    clearTimeout(timer);
  }
}

async function leaveLastWords(message: string): Promise<void> {
  await writeFile(TERMINATION_LOG, message, { flag: 'r+' }).catch(() => undefined); // Only a container has one.
}

async function connect(
  settings: S3Settings & Pick<SettingsOf<'list'>, 'destination'> & { readonly stallTimeout?: number },
  { clock, random, emit, proxies }: Pick<CommandContext, 'clock' | 'random' | 'emit' | 'proxies'>,
): Promise<{ readonly store: ObjectStore; readonly traffic: () => Traffic }> {
  const total = { requests: 0, receivedBytes: 0 };
  const store = observeStore(await openStore(settings, { clock, random, proxies }), {
    clock,
    stallTimeoutMs: settings.stallTimeout ?? STALL_TIMEOUT_MS,
    onRequest: ({ operation, durationMs, sizeBytes, failure }) => {
      emit({ kind: 'storage-request', operation, durationMs, sizeBytes, failure });
      total.requests += 1;
      if (operation === 'get') total.receivedBytes += sizeBytes;
    },
  });
  return { store, traffic: () => total };
}
