import { join } from 'node:path';
import { Failure, isFailure } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import type { ListenAddress } from '../http/listen-address.ts';
import type { AskBrokers } from '../kafka/broker-facts.ts';
import { topicsOf } from '../repository/broker-word.ts';
import { type RepositoryLocation, repositoryKeys } from '../repository/keys.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { S3Store } from '../storage/s3-store.ts';
import { type BrokerCheckSettings, checkBrokers, findCheckpoints } from './doctor-brokers.ts';
import { checkBucket, findBucketFacts } from './doctor-bucket.ts';
import { type Check, type CheckName, failed, ok } from './doctor-check.ts';
import {
  findApplicationFacts,
  findLockFacts,
  findSpaceFacts,
  findStateDirFacts,
  findUserFacts,
  findWatchFacts,
} from './doctor-facts.ts';
import { checkListen, findListenFacts } from './doctor-listen.ts';
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
import { type ProbeWorld, probeStore } from './doctor-probe.ts';
import { checkStore } from './doctor-store.ts';

export interface StateDirSettings {
  readonly stateDir: string;
  readonly applicationId: string | undefined;
  readonly stateDirLimit: number | undefined;
}

export async function diagnoseAddress(address: ListenAddress, world: { readonly signal: AbortSignal }): Promise<Check> {
  return attempt('listen', async () => checkListen(await findListenFacts(address, world), address));
}

/** Looks at the state directory and at what it takes to work with it, and changes nothing. */
export async function diagnoseStateDir(settings: StateDirSettings, files: FileAccess): Promise<readonly Check[]> {
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

export interface BrokersToAsk extends BrokerCheckSettings {
  readonly ask: AskBrokers;
  /** Undefined where it is not known: then only whether they answer is checked. */
  readonly applicationDirectory: string | undefined;
}

/** Asks them as `restore` does. */
export async function diagnoseBrokers(
  { ask, applicationDirectory, ...settings }: BrokersToAsk,
  { files, signal }: { readonly files: FileAccess; readonly signal: AbortSignal },
): Promise<readonly Check[]> {
  const states =
    applicationDirectory === undefined
      ? []
      : await attempt('brokers', () => findCheckpoints(applicationDirectory, files));
  const found = 'outcome' in states ? [] : states;
  const facts = await attempt('brokers', () => ask(topicsOf(found), { signal }));
  return 'outcome' in facts ? [facts] : checkBrokers(facts, found, settings);
}

export interface StoreToProbe {
  /** In words, for the line that says that it could be opened. */
  readonly name: string;
  readonly open: () => Promise<ObjectStore>;
  /** Undefined where they are not known: what is probed then lies beside every application. */
  readonly location: RepositoryLocation | undefined;
}

export function noDestination(): Check {
  const hint = '--destination URL, WARMSTATE_DESTINATION, or destination in the settings file';
  return failed('store', new Failure('invalid', 'there is none to look at: --destination is not set', { hint }));
}

/** Uses a store as warmstate does, with one object that is gone afterwards. */
export async function diagnoseStore(
  { name, open, location }: StoreToProbe,
  world: ProbeWorld,
): Promise<readonly Check[]> {
  const store = await attempt('store', open);
  if ('outcome' in store) return [store];
  return [ok('store', name), ...checkStore(await probeStore(store, keysFor(location), world))];
}

export interface BucketToProbe extends Omit<StoreToProbe, 'open'> {
  readonly open: () => Promise<S3Store>;
  /** `--s3-sse` */
  readonly encryption: string | undefined;
}

/** The same with a bucket; and what else its server shows, if it can be used at all. */
export async function diagnoseBucket(
  { name, open, location, encryption }: BucketToProbe,
  world: ProbeWorld,
): Promise<readonly Check[]> {
  const store = await attempt('store', open);
  if ('outcome' in store) return [store];
  const credentials = await attempt('credentials', async () => ok('credentials', await store.credentialSource()));
  if (credentials.outcome === 'failed') return [ok('store', name), credentials];
  const facts = await probeStore(store, keysFor(location), world);
  const checks = [ok('store', name), credentials, ...checkStore(facts)];
  if (facts.put?.kind !== 'done') return checks;
  const probe = store.probe(`${facts.key}-server/`, world.signal);
  const whole = { prefix: store.probe('', world.signal).prefix, encryption };
  const bucket = await attempt('conditions', async () => checkBucket(await findBucketFacts(probe, whole)));
  return [...checks, ...('outcome' in bucket ? [bucket] : bucket)];
}

function keysFor(location: RepositoryLocation | undefined): (token: string) => string {
  const keys = location && repositoryKeys(location);
  return (token) => keys?.probe(token) ?? `doctor/${token}`;
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
