import { Failure, isFailure } from '../base/failure.ts';
import { describeBytes, describeCount } from '../base/quantity.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import { assertSupportedApplication } from '../streams/state-directory.ts';
import { type Check, failed, ok, warn } from './doctor-check.ts';
import type { Mount } from './mount-table.ts';

// What the facts of a pod mean: facts in, lines out, nothing is looked at here.

/** Settings as they were found, with everything that is wrong with them. */
export interface SettingsFacts {
  readonly problems: readonly Failure[];
  readonly warnings: readonly string[];
  /** Flags that a pod needs, and has not. */
  readonly unset: readonly string[];
}

export interface StateDirFacts {
  readonly path: string;
  readonly kind: 'directory' | 'other' | 'absent';
  readonly isReadable: boolean;
  readonly isWritable: boolean;
  /** Undefined where the platform has no table of mounts. */
  readonly mount: Mount | undefined;
}

export interface SpaceFacts {
  readonly totalBytes: number;
  /** What this user may still write. */
  readonly freeBytes: number;
  readonly usedBytes: number;
  /** `--state-dir-limit` */
  readonly limitBytes: number | undefined;
}

/** Who this process is, and whose the directories are. */
export interface UserFacts {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly stateDir: Owner;
  /** The application's own directory, made by the user that it runs as. */
  readonly application: (Owner & { readonly path: string }) | undefined;
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
}

export interface ApplicationFacts {
  readonly stateDir: string;
  /** `--application-id` */
  readonly wanted: string | undefined;
  readonly found: readonly string[];
  /** Of the wanted one, or of the only one found. */
  readonly tasks: readonly string[];
}

export interface LockFacts {
  /** Of whose lock; undefined where there is no application to ask for. */
  readonly application: string | undefined;
  /** Whether the C library could be bound. */
  readonly isBound: boolean;
  readonly answer: ApplicationState;
}

export interface WatchFacts {
  /** Directories that `run` would watch, as far as they were tried. */
  readonly wanted: number;
  readonly had: number;
  /** Why no more could be had. */
  readonly refusal: string | undefined;
}

export function checkSettings({ problems, warnings, unset }: SettingsFacts): readonly Check[] {
  const checks = [
    ...problems.map((problem) => failed('settings', problem)),
    ...unset.map((flag) => warn('settings', `${flag} is not set: not every container can do without`, `set ${flag}`)),
    ...warnings.map((message) => warn('settings', message)),
  ];
  return checks.length === 0 ? [ok('settings', 'every value can be used')] : checks;
}

export function checkStateDir(facts: StateDirFacts, user: UserFacts | undefined): Check {
  const { path, kind, isReadable, isWritable, mount } = facts;
  if (kind === 'absent') {
    const hint = "mount the application's volume here, or give its state.dir with --state-dir";
    return failed('state-dir', new Failure('missing', `${path} does not exist`, { hint }));
  }
  if (kind === 'other') {
    const hint = 'give the state.dir of the application with --state-dir';
    return failed('state-dir', new Failure('invalid', `${path} is no directory`, { hint }));
  }
  const mend = user && securityContextFor(user);
  if (!isReadable) {
    const failure = new Failure('unavailable', `${path} cannot be read: permission denied`, { detail: 'denied' });
    return { ...failed('state-dir', failure), hint: mend };
  }
  if (isWritable) return ok('state-dir', `${path} can be read and written`);
  if (mount?.isReadOnly === true) {
    return ok('state-dir', `${path} is mounted read-only: enough for run and snapshot, not for restore`);
  }
  return warn('state-dir', `${path} can be read but not written: restore cannot fill it`, mend);
}

/** File systems that live in memory. */
const IN_MEMORY = new Set(['tmpfs', 'ramfs']);

export function checkVolume({ path, mount }: StateDirFacts): Check {
  if (mount === undefined) return ok('volume', 'this platform does not tell its mounts');
  const { point, type } = mount;
  if (point === '/') {
    const message = `no volume is mounted at ${path}: it lies on the root file system (${type})`;
    return warn('volume', message, 'mount one volume at the same path in every container of the pod');
  }
  if (IN_MEMORY.has(type)) {
    const message = `${point} is ${type}: state counts against the memory limit of the container that writes it`;
    return warn('volume', message, 'an emptyDir without medium: Memory');
  }
  return ok('volume', `${type}, mounted at ${point}`);
}

/** Of the limit, beyond which a volume counts as nearly full: a compaction may write so much at once. */
const USED_SHARE_MAX = 0.85;
/** Of the file system; below it the kubelet evicts pods at once (nodefs.available). */
const FREE_SHARE_MIN = 0.1;

export function checkSpace({ totalBytes, freeBytes, usedBytes, limitBytes }: SpaceFacts): Check {
  const free = `${describeBytes(freeBytes)} free of ${describeBytes(totalBytes)}`;
  const used = `${describeBytes(usedBytes)} of state`;
  if (freeBytes === 0) {
    const hint = 'make room on the volume';
    return failed('space', new Failure('unavailable', `${used}, and the volume is full`, { hint, detail: 'no_space' }));
  }
  const limit = limitBytes === undefined ? '' : ` under --state-dir-limit ${describeBytes(limitBytes)}`;
  if (limitBytes !== undefined && usedBytes > limitBytes * USED_SHARE_MAX) {
    return warn('space', `${used}${limit}: beyond it the pod is evicted`, "raise the volume's sizeLimit");
  }
  if (freeBytes < totalBytes * FREE_SHARE_MIN) {
    return warn('space', `${used}, only ${free}: below a tenth pods are evicted`, 'make room on the volume');
  }
  if (limitBytes === undefined) {
    return ok('space', `${used}, ${free}`, "--state-dir-limit with the volume's sizeLimit, which no pod can see");
  }
  if (limitBytes - usedBytes > freeBytes) {
    return warn('space', `${used}${limit}, but only ${free}`, 'a larger disk, or a limit that it has room for');
  }
  return ok('space', `${used}${limit}, ${free}`);
}

export function checkUser(user: UserFacts): Check {
  const { application, stateDir } = user;
  const groups = user.groups.filter((group) => group !== user.gid);
  const self = `uid ${user.uid}, gid ${user.gid}${groups.length === 0 ? '' : `, groups ${groups.join(', ')}`}`;
  const owner = application ?? stateDir;
  const mend = securityContextFor(user);
  if (!allows(owner, user, READ)) {
    const what = application?.path ?? 'the state directory';
    const message = `${self}: ${what} belongs to ${ownerText(owner)} and cannot be read`;
    return failed('user', new Failure('unavailable', message, { hint: mend, detail: 'denied' }));
  }
  if (application !== undefined && application.uid !== user.uid) {
    const message = `${self}, but the application runs as uid ${application.uid}: what restore writes, it could not change`;
    return warn('user', message, mend);
  }
  if (application === undefined && !allows(stateDir, user, WRITE)) {
    return warn('user', `${self}: the state directory belongs to ${ownerText(stateDir)}`, mend);
  }
  return ok('user', application === undefined ? self : `${self}, as the application`);
}

const READ = 0o5; // To list a directory and to go through it.
const WRITE = 0o7;
const SET_GROUP = 0o2000;

function allows(owner: Owner, user: UserFacts, wanted: number): boolean {
  if (user.uid === 0) return true;
  const isOfGroup = owner.gid === user.gid || user.groups.includes(owner.gid);
  const bits = owner.uid === user.uid ? owner.mode >> 6 : isOfGroup ? owner.mode >> 3 : owner.mode;
  return (bits & wanted) === wanted;
}

function ownerText({ uid, gid, mode }: Owner): string {
  return `${uid}:${gid} (${(mode & 0o777).toString(8)})`;
}

/** What makes all containers of a pod one user, as the application is already or as this process is. */
function securityContextFor({ uid, gid, stateDir, application }: UserFacts): string {
  const [runAsUser, runAsGroup] = application === undefined ? [uid, gid] : [application.uid, application.gid];
  // An emptyDir with an fsGroup shows it as its group, with the set-group bit.
  const fsGroup = (stateDir.mode & SET_GROUP) === 0 ? runAsGroup : stateDir.gid;
  return `in the spec of the pod: securityContext: {runAsUser: ${runAsUser}, runAsGroup: ${runAsGroup}, fsGroup: ${fsGroup}}`;
}

/** The one that is named, or the only one there is. */
export function chosenApplication({ wanted, found }: Pick<ApplicationFacts, 'wanted' | 'found'>): string | undefined {
  return wanted ?? (found.length === 1 ? found[0] : undefined);
}

export function checkApplication(facts: ApplicationFacts): Check {
  const { stateDir, found, tasks } = facts;
  const application = chosenApplication(facts);
  const refused = [...(application === undefined ? [] : [application]), ...found].flatMap(refusalOf);
  if (refused[0] !== undefined) return failed('application', refused[0]);
  if (application !== undefined && found.includes(application)) {
    return ok('application', `${application} has ${describeCount(tasks.length, 'task')} in ${stateDir}`);
  }
  const [other] = found;
  if (other === undefined) {
    return ok('application', `none in ${stateDir} yet, as it should be before the first start`);
  }
  const names = found.join(', ');
  return application === undefined
    ? warn('application', `${found.length} in ${stateDir}: ${names}`, `--application-id ${other}, or another of them`)
    : warn('application', `no ${application} in ${stateDir}, but ${names}`, `--application-id ${other}`);
}

/** ksqlDB harms also those that lie beside it. */
function refusalOf(application: string): readonly Failure[] {
  try {
    assertSupportedApplication(application);
    return [];
  } catch (error) {
    if (isFailure(error)) return [error];
    throw error;
  }
}

export function checkLock({ application, isBound, answer }: LockFacts): Check {
  if (!isBound) {
    const message = 'cannot be asked for: restore goes on only into a directory without tasks';
    return warn('lock', message, 'install koffi, an optional dependency, on 64-bit Linux or macOS');
  }
  if (answer === 'unknown') {
    const message = 'this file system does not answer F_GETLK: restore goes on only into a directory without tasks';
    return warn('lock', message, 'a volume on a local file system');
  }
  if (application === undefined) return ok('lock', 'this file system answers F_GETLK');
  return ok('lock', answer === 'running' ? `held: ${application} is running` : `free: ${application} is not running`);
}

export function checkWatches({ wanted, had, refusal }: WatchFacts): Check {
  if (refusal === undefined) return ok('watches', `${had} of ${wanted} directories can be watched`);
  const message = `${had} of ${wanted} directories can be watched (${refusal}): run looks at the others from time to time`;
  return warn('watches', message, 'raise fs.inotify.max_user_watches and max_user_instances on the node');
}
