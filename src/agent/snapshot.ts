import { join } from 'node:path';
import { Failure } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import type { Emit } from '../events/event.ts';
import { listRepository, type Notice, openRepository } from '../repository/repository.ts';
import { openWriter } from '../repository/writer.ts';
import { assertSupportedApplication, listApplications, listTasks } from '../streams/state-directory.ts';
import { loadLegacy } from './legacy.ts';
import { Round, type SnapshotSettings, type SnapshotWorld } from './round.ts';
import type { SnapshotResult } from './snapshot-result.ts';

/**
 * Publishes one snapshot of everything that can be captured now, carries forward what cannot, and seals its epoch.
 * Failure `missing` where there is no such state directory or application, `unavailable` for storage.
 */
export async function takeSnapshot(settings: SnapshotSettings, world: SnapshotWorld): Promise<SnapshotResult> {
  assertSupportedApplication(settings.applicationId);
  const startedMs = world.clock.monotonicMs();
  const meter = createMeter(world.emit);
  const applicationDirectory = await findApplication(settings, world.files);
  const tasks = await listTasks(world.files, applicationDirectory);
  const published =
    tasks.length === 0
      ? { snapshot: undefined, tasks: [], bytesReused: 0 }
      : await publishTasks(tasks, { ...settings, applicationDirectory }, { ...world, emit: meter.emit });
  const durationMs = world.clock.monotonicMs() - startedMs;
  return { ...published, ...meter.counts(), requests: world.traffic().requests, durationMs };
}

async function publishTasks(
  tasks: readonly string[],
  settings: SnapshotSettings & { readonly applicationDirectory: string },
  world: SnapshotWorld,
): Promise<Pick<SnapshotResult, 'snapshot' | 'tasks' | 'bytesReused'>> {
  const { signal, store, emit } = world;
  const { applicationId: application, lineage, instance } = settings;
  const notice: Notice = (name, message, facts) => emit({ kind: 'notice', name, level: 'warn', message, facts });
  const repository = await openRepository(store, { application, lineage, notice, signal });
  const listing = await listRepository(repository, { signal });
  const legacy = await loadLegacy(repository, listing, { ...world, instance, stateDir: settings.stateDir });
  const writer = await openWriter(repository, listing, {
    instance,
    role: 'snapshot',
    program: settings.program,
    guarantee: settings.processingGuarantee,
    maxAgeMs: settings.maxAgeMs,
    after: legacy.report?.epoch,
    clock: world.clock,
    random: world.random,
    signal,
  });
  return new Round({ settings, world, writer, legacy }).publish(tasks);
}

async function findApplication({ stateDir, applicationId }: SnapshotSettings, files: FileAccess): Promise<string> {
  const applications = await listApplications(files, stateDir);
  const directory = join(stateDir, applicationId);
  if ((await files.stat(directory))?.kind === 'directory') return directory;
  const found = applications.length === 0 ? 'it holds no application yet' : `it holds ${applications.join(', ')}`;
  throw new Failure('missing', `cannot find the application ${applicationId} in ${stateDir}: ${found}`, {
    hint: 'compare --application-id and --state-dir with the application.id and state.dir of the application',
  });
}

/** Counts bytes and objects on their way to the listeners. */
function createMeter(emit: Emit): {
  readonly emit: Emit;
  readonly counts: () => Pick<SnapshotResult, 'bytesRead' | 'bytesUploaded' | 'objectsUploaded'>;
} {
  const counted = { bytesRead: 0, bytesUploaded: 0, objectsUploaded: 0 };
  return {
    counts: () => counted,
    emit: (event) => {
      if (event.kind === 'work-done' && event.work === 'upload') counted.bytesRead += event.bytes;
      if (event.kind === 'object-uploaded') {
        counted.bytesUploaded += event.storedBytes;
        counted.objectsUploaded += 1;
      }
      emit(event);
    },
  };
}
