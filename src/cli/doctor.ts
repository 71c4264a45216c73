import { join } from 'node:path';
import { isFailure } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import { type Check, type CheckName, failed } from './doctor-check.ts';
import {
  findApplicationFacts,
  findLockFacts,
  findSpaceFacts,
  findStateDirFacts,
  findUserFacts,
  findWatchFacts,
} from './doctor-facts.ts';
import {
  checkApplication,
  checkLock,
  checkSpace,
  checkStateDir,
  checkUser,
  checkVolume,
  checkWatches,
  chosenApplication,
} from './doctor-pod.ts';

export interface PodSettings {
  readonly stateDir: string;
  readonly applicationId: string | undefined;
  readonly stateDirLimit: number | undefined;
}

/** Looks at the state directory and at what it takes to work with it, and changes nothing. */
export async function diagnosePod(settings: PodSettings, files: FileAccess): Promise<readonly Check[]> {
  const { stateDir, applicationId, stateDirLimit: limitBytes } = settings;
  const facts = await findStateDirFacts(stateDir);
  if (facts.kind !== 'directory') return [checkStateDir(facts, undefined)];
  const applications = await attempt('application', () => findApplicationFacts(stateDir, applicationId, files));
  const application = 'found' in applications ? chosenApplication(applications) : applicationId;
  const user = await findUserFacts(stateDir, application);
  return [
    checkStateDir(facts, user),
    checkVolume(facts),
    await attempt('space', async () => checkSpace(await findSpaceFacts(stateDir, { files, limitBytes }))),
    ...(user === undefined ? [] : [checkUser(user)]),
    'found' in applications ? checkApplication(applications) : applications,
    await attempt('lock', async () => checkLock(await findLockFacts(stateDir, application))),
    await attempt('watches', async () => {
      const tasks = 'found' in applications ? applications.tasks : [];
      const ofApplication = tasks.map((task) => join(stateDir, application ?? '', task));
      return checkWatches(findWatchFacts([stateDir, ...ofApplication]));
    }),
  ];
}

/** What cannot even be looked at is a failed check. */
async function attempt<T>(check: CheckName, work: () => Promise<T>): Promise<T | Check> {
  try {
    return await work();
  } catch (error) {
    if (isFailure(error)) return failed(check, error);
    throw error;
  }
}
