import { expect, test } from 'vitest';
import { Failure } from '../base/failure.ts';
import type { Check } from './doctor-check.ts';
import {
  type ApplicationFacts,
  checkApplication,
  checkLock,
  checkSettings,
  checkSpace,
  checkStateDir,
  checkUser,
  checkVolume,
  checkWatches,
  type LockFacts,
  type SpaceFacts,
  type StateDirFacts,
  type UserFacts,
  type WatchFacts,
} from './doctor-pod.ts';

/** Outcome, with the kind of a failed one, message, mend. */
function said(check: Check): readonly (string | undefined)[] {
  const { outcome, message, hint } = check;
  return [check.outcome === 'failed' ? `failed: ${check.kind}` : outcome, message, hint];
}

test('every problem of the settings is a failed check, what is missing or dangerous a warning', () => {
  const problem = new Failure('invalid', 'cannot use --max-age soon: it is not a duration');
  const unknown = new Failure('invalid', 'WARMSTATE_PORT in the environment is not a setting', { hint: 'unset it' });
  const facts = { problems: [problem, unknown], unset: ['--application-id'], warnings: ['no lineage is set'] };
  expect(checkSettings(facts).map(said)).toEqual([
    ['failed: invalid', 'cannot use --max-age soon: it is not a duration', undefined],
    ['failed: invalid', 'WARMSTATE_PORT in the environment is not a setting', 'unset it'],
    ['warn', '--application-id is not set: not every container can do without', 'set --application-id'],
    ['warn', 'no lineage is set', undefined],
  ]);
  expect(checkSettings({ problems: [], unset: [], warnings: [] }).map(said)).toEqual([
    ['ok', 'every value can be used', undefined],
  ]);
});

const EXT4 = { point: '/state', type: 'ext4', isReadOnly: false };
const there: StateDirFacts = { path: '/state', kind: 'directory', isReadable: true, isWritable: true, mount: EXT4 };
const asOwner: UserFacts = {
  uid: 1001,
  gid: 1001,
  groups: [1001],
  stateDir: { uid: 1001, gid: 1001, mode: 0o750 },
  application: undefined,
};
const MEND = 'in the spec of the pod: securityContext: {runAsUser: 1001, runAsGroup: 1001, fsGroup: 1001}';

test.each<[Partial<StateDirFacts>, readonly (string | undefined)[]]>([
  [{}, ['ok', '/state can be read and written', undefined]],
  [
    { kind: 'absent' },
    [
      'failed: missing',
      '/state does not exist',
      "mount the application's volume here, or give its state.dir with --state-dir",
    ],
  ],
  [
    { kind: 'other' },
    ['failed: invalid', '/state is no directory', 'give the state.dir of the application with --state-dir'],
  ],
  [{ isReadable: false }, ['failed: unavailable', '/state cannot be read: permission denied', MEND]],
  [{ isWritable: false }, ['warn', '/state can be read but not written: restore cannot fill it', MEND]],
  [
    { isWritable: false, mount: { ...EXT4, isReadOnly: true } },
    ['ok', '/state is mounted read-only: enough for run and snapshot, not for restore', undefined],
  ],
])('a state directory with %j', (change, expected) => {
  expect(said(checkStateDir({ ...there, ...change }, asOwner))).toEqual(expected);
});

test.each<[StateDirFacts['mount'], readonly (string | undefined)[]]>([
  [EXT4, ['ok', 'ext4, mounted at /state', undefined]],
  [undefined, ['ok', 'this platform does not tell its mounts', undefined]],
  [
    { point: '/', type: 'overlay', isReadOnly: false },
    [
      'warn',
      'no volume is mounted at /state: it lies on the root file system (overlay)',
      'mount one volume at the same path in every container of the pod',
    ],
  ],
  [
    { ...EXT4, type: 'tmpfs' },
    [
      'warn',
      '/state is tmpfs: state counts against the memory limit of the container that writes it',
      'an emptyDir without medium: Memory',
    ],
  ],
])('a volume %j', (mount, expected) => {
  expect(said(checkVolume({ ...there, mount }))).toEqual(expected);
});

const GIB = 2 ** 30;
const roomy: SpaceFacts = { totalBytes: 100 * GIB, freeBytes: 50 * GIB, usedBytes: 2 * GIB, limitBytes: 10 * GIB };

test.each<[Partial<SpaceFacts>, readonly (string | undefined)[]]>([
  [{}, ['ok', '2.0 GiB of state under --state-dir-limit 10 GiB, 50 GiB free of 100 GiB', undefined]],
  [
    { limitBytes: undefined },
    [
      'ok',
      '2.0 GiB of state, 50 GiB free of 100 GiB',
      "--state-dir-limit with the volume's sizeLimit, which no pod can see",
    ],
  ],
  [{ freeBytes: 0 }, ['failed: unavailable', '2.0 GiB of state, and the volume is full', 'make room on the volume']],
  [
    { freeBytes: 9 * GIB },
    [
      'warn',
      '2.0 GiB of state, only 9.0 GiB free of 100 GiB: below a tenth pods are evicted',
      'make room on the volume',
    ],
  ],
  ...[50 * GIB, 9 * GIB].map((freeBytes): [Partial<SpaceFacts>, readonly string[]] => [
    { usedBytes: 9 * GIB, freeBytes },
    [
      'warn',
      '9.0 GiB of state under --state-dir-limit 10 GiB: beyond it the pod is evicted',
      "raise the volume's sizeLimit",
    ],
  ]),
  [
    { limitBytes: 60 * GIB },
    [
      'warn',
      '2.0 GiB of state under --state-dir-limit 60 GiB, but only 50 GiB free of 100 GiB',
      'a larger disk, or a limit that it has room for',
    ],
  ],
])('a volume with %j', (change, expected) => {
  expect(said(checkSpace({ ...roomy, ...change }))).toEqual(expected);
});

const emptyDir = { uid: 0, gid: 2000, mode: 0o2777 };
const ofApplication = { path: '/state/orders', uid: 1001, gid: 1001, mode: 0o750 };

test.each<[string, UserFacts, readonly (string | undefined)[]]>([
  ['the owner before the first start', asOwner, ['ok', 'uid 1001, gid 1001', undefined]],
  [
    'the user of the application',
    { ...asOwner, groups: [1001, 2000], stateDir: emptyDir, application: ofApplication },
    ['ok', 'uid 1001, gid 1001, groups 2000, as the application', undefined],
  ],
  [
    'another user of the same group',
    { ...asOwner, uid: 65532, stateDir: emptyDir, application: ofApplication },
    [
      'warn',
      'uid 65532, gid 1001, but the application runs as uid 1001: what restore writes, it could not change',
      'in the spec of the pod: securityContext: {runAsUser: 1001, runAsGroup: 1001, fsGroup: 2000}',
    ],
  ],
  [
    'root beside an application that is not',
    { ...asOwner, uid: 0, gid: 0, groups: [0], application: ofApplication },
    ['warn', 'uid 0, gid 0, but the application runs as uid 1001: what restore writes, it could not change', MEND],
  ],
  [
    'a stranger to the application',
    { ...asOwner, uid: 65532, gid: 65532, groups: [], stateDir: emptyDir, application: ofApplication },
    [
      'failed: unavailable',
      'uid 65532, gid 65532: /state/orders belongs to 1001:1001 (750) and cannot be read',
      'in the spec of the pod: securityContext: {runAsUser: 1001, runAsGroup: 1001, fsGroup: 2000}',
    ],
  ],
  [
    'a stranger to the volume',
    { ...asOwner, uid: 65532, gid: 65532, groups: [] },
    [
      'failed: unavailable',
      'uid 65532, gid 65532: the state directory belongs to 1001:1001 (750) and cannot be read',
      'in the spec of the pod: securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}',
    ],
  ],
  [
    'one who may only look',
    { ...asOwner, uid: 65532, gid: 65532, groups: [], stateDir: { uid: 0, gid: 0, mode: 0o755 } },
    [
      'warn',
      'uid 65532, gid 65532: the state directory belongs to 0:0 (755)',
      'in the spec of the pod: securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}',
    ],
  ],
])('%s', (_, user, expected) => {
  expect(said(checkUser(user))).toEqual(expected);
});

test.each<[Partial<ApplicationFacts>, readonly (string | undefined)[]]>([
  [{}, ['ok', 'orders has 2 tasks in /state', undefined]],
  [{ wanted: undefined }, ['ok', 'orders has 2 tasks in /state', undefined]],
  [{ found: [], tasks: [] }, ['ok', 'none in /state yet, as it should be before the first start', undefined]],
  [{ wanted: 'order', tasks: [] }, ['warn', 'no order in /state, but orders', '--application-id orders']],
  [
    { wanted: undefined, found: ['billing', 'orders'], tasks: [] },
    ['warn', '2 in /state: billing, orders', '--application-id billing, or another of them'],
  ],
  [
    { wanted: '_confluent-ksql-x', found: [] },
    [
      'failed: invalid',
      'cannot serve _confluent-ksql-x: ksqlDB deletes from its state directory what it does not know',
      'leave ksqlDB to its own standby replicas and persistent volumes',
    ],
  ],
])('applications %j', (change, expected) => {
  const facts = { stateDir: '/state', wanted: 'orders', found: ['orders'], tasks: ['0_0', '0_1'], ...change };
  expect(said(checkApplication(facts))).toEqual(expected);
});

test('a directory of ksqlDB is refused also where nobody names it', () => {
  const facts = { stateDir: '/state', wanted: undefined, found: ['_confluent-ksql-a'], tasks: [] };
  expect(said(checkApplication(facts))[0]).toBe('failed: invalid');
  expect(said(checkApplication({ ...facts, wanted: 'orders', found: ['_confluent-ksql-a', 'orders'] }))[0]).toBe(
    'failed: invalid',
  );
});

test.each<[LockFacts, readonly (string | undefined)[]]>([
  [{ application: 'orders', isBound: true, answer: 'running' }, ['ok', 'held: orders is running', undefined]],
  [{ application: 'orders', isBound: true, answer: 'stopped' }, ['ok', 'free: orders is not running', undefined]],
  [{ application: undefined, isBound: true, answer: 'stopped' }, ['ok', 'this file system answers F_GETLK', undefined]],
  [
    { application: undefined, isBound: false, answer: 'unknown' },
    [
      'warn',
      'cannot be asked for: restore goes on only into a directory without tasks',
      'install koffi, an optional dependency, on 64-bit Linux or macOS',
    ],
  ],
  [
    { application: 'orders', isBound: true, answer: 'unknown' },
    [
      'warn',
      'this file system does not answer F_GETLK: restore goes on only into a directory without tasks',
      'a volume on a local file system',
    ],
  ],
])('a lock %j', (facts, expected) => {
  expect(said(checkLock(facts))).toEqual(expected);
});

test.each<[WatchFacts, readonly (string | undefined)[]]>([
  [{ wanted: 3, had: 3, refusal: undefined }, ['ok', '3 of 3 directories can be watched', undefined]],
  [
    { wanted: 3, had: 1, refusal: 'ENOSPC' },
    [
      'warn',
      '1 of 3 directories can be watched (ENOSPC): run looks at the others from time to time',
      'raise fs.inotify.max_user_watches and max_user_instances on the node',
    ],
  ],
])('watches %j', (facts, expected) => {
  expect(said(checkWatches(facts))).toEqual(expected);
});
