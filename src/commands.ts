import { writeFile } from 'node:fs/promises';
import { takeSnapshot } from './agent/snapshot.ts';
import { Budget } from './base/concurrency.ts';
import { Failure } from './base/failure.ts';
import { realFiles } from './base/file-access.ts';
import { loadNative } from './base/native.ts';
import type { CommandContext } from './cli/command.ts';
import { jsonLine } from './cli/json.ts';
import { printFailedRestore, renderRestore, restoreExitCode, terminationMessage } from './cli/restore.ts';
import { renderSnapshot, snapshotExitCode, snapshotJson } from './cli/snapshot.ts';
import type { Commands } from './invocation.ts';
import { restoreResultJson } from './repository/restore-result.ts';
import { restore } from './restore/restore.ts';
import type { SettingsOf } from './settings.ts';
import type { ObjectStore } from './storage/object-store.ts';
import { observeStore, type Traffic } from './storage/observed-store.ts';
import { openStore } from './storage/open-store.ts';
import { askApplicationLock } from './streams/app-lock.ts';
import { COMPRESSION_MEMORY_BYTES } from './transfer/memory.ts';

/** Every command with its parts; `program` is name and version as documents carry them. */
export function composeCommands(program: string): Commands {
  return {
    snapshot: { run: (settings, context) => runSnapshot(settings, context, program) },
    restore: {
      run: (settings, context) => runRestore(settings, context, program),
      refuse: (settings, problem, context) => printFailedRestore(settings, problem, context),
    },
  };
}

/** A store that moves no byte for so long is given up; `restore` has a setting for it. */
const STALL_TIMEOUT_MS = 60_000;
/** After the deadline a restore has so long to tidy up. */
const OVERTIME_MS = 10_000;
/** Where Kubernetes looks for the last words of a container. */
const TERMINATION_LOG = '/dev/termination-log';

async function runSnapshot(
  settings: SettingsOf<'snapshot'>,
  context: CommandContext,
  program: string,
): Promise<number> {
  const result = await takeSnapshot(
    { ...settings, maxAgeMs: settings.maxAge, program },
    {
      ...context,
      ...(await connect(settings, context)),
      files: realFiles,
      askLock: askApplicationLock,
      memory: new Budget(COMPRESSION_MEMORY_BYTES),
    },
  );
  context.print(settings.output === 'json' ? jsonLine(snapshotJson(result)) : renderSnapshot(result, context.look()));
  return snapshotExitCode(result);
}

async function runRestore(settings: SettingsOf<'restore'>, context: CommandContext, program: string): Promise<number> {
  const inTime = new AbortController();
  const message = `the restore is not done after --deadline ${settings.deadline / 1000}s`;
  const timer = setTimeout(() => inTime.abort(new Failure('deadline', message)), settings.deadline);
  // The kernel's alarm also ends a runtime that hangs at its exit: the application's start is not held up for longer.
  (await loadNative())?.alarm((settings.deadline + OVERTIME_MS) / 1000);
  try {
    const result = await restore(
      {
        ...settings,
        stateDir: settings.to ?? settings.stateDir,
        isDrill: settings.to !== undefined,
        processingGuarantee: settings.processingGuarantee ?? 'auto',
        selection: settings.tasks,
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
      },
    );
    const text = renderRestore(result, context.look(), { isDryRun: settings.dryRun });
    context.print(settings.output === 'json' ? jsonLine(restoreResultJson(result)) : text);
    await writeFile(TERMINATION_LOG, terminationMessage(result), { flag: 'r+' }).catch(() => undefined); // Only a container has one.
    return restoreExitCode(result, settings.onFailure);
  } catch (error) {
    if (context.signal.aborted) throw error;
    context.report(error);
    return printFailedRestore(settings, error, context);
  } finally {
    clearTimeout(timer);
  }
}

async function connect(
  settings: Pick<SettingsOf<'list'>, 'destination'> & { readonly stallTimeout?: number },
  { clock, random }: CommandContext,
): Promise<{ readonly store: ObjectStore; readonly traffic: () => Traffic }> {
  const total = { requests: 0, receivedBytes: 0 };
  const store = observeStore(await openStore(settings.destination, { clock, random }), {
    clock,
    stallTimeoutMs: settings.stallTimeout ?? STALL_TIMEOUT_MS,
    onRequest: ({ operation, sizeBytes }) => {
      total.requests += 1;
      if (operation === 'get') total.receivedBytes += sizeBytes;
    },
  });
  return { store, traffic: () => total };
}
