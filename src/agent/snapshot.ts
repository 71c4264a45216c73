import { join } from 'node:path';
import { Failure } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import { assertSupportedApplication, listApplications, listTasks } from '../streams/state-directory.ts';
import { Epoch } from './epoch.ts';
import type { SnapshotResult } from './snapshot-result.ts';
import type { SnapshotSettings, SnapshotWorld } from './snapshot-world.ts';

/**
 * Publishes one snapshot of everything that can be captured now, carries forward what cannot, and seals its epoch.
 * Failure `missing` where there is no such state directory or application, `unavailable` for storage.
 */
export async function takeSnapshot(settings: SnapshotSettings, world: SnapshotWorld): Promise<SnapshotResult> {
  assertSupportedApplication(settings.applicationId);
  const startedMs = world.clock.monotonicMs();
  const applicationDirectory = await findApplication(settings, world.files);
  const tasks = await listTasks(world.files, applicationDirectory);
  const result = tasks.length === 0 ? NOTHING : await publishTasks(tasks, { settings, applicationDirectory, world });
  return { ...result, requests: world.traffic().requests, durationMs: world.clock.monotonicMs() - startedMs };
}

const NOTHING = { snapshot: undefined, tasks: [], bytesReused: 0, bytesRead: 0, bytesUploaded: 0, objectsUploaded: 0 };

async function publishTasks(
  tasks: readonly string[],
  context: {
    readonly settings: SnapshotSettings;
    readonly applicationDirectory: string;
    readonly world: SnapshotWorld;
  },
): Promise<Omit<SnapshotResult, 'requests' | 'durationMs'>> {
  const { settings, applicationDirectory, world } = context;
  await using epoch = await Epoch.open(settings, world, 'snapshot');
  epoch.looks.isRunning = (await world.askLock(applicationDirectory)) !== 'stopped';
  const record = { state: 'sealed' } as const;
  const order = { tasks, changed: new Set(tasks), wiped: new Set<string>(), isForced: true, record };
  const { isUnfinished: _isUnfinished, ...result } = await epoch.takeRound(order, world.signal);
  return result;
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
