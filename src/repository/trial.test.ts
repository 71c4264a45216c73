import { describe, expect, test } from 'vitest';
import { sampleRecord } from '../../test/support/sample-documents.ts';
import type { Layout } from './document.ts';
import { type Fence, widestFence } from './fence.ts';
import type { EpochRecord, Trial } from './record.ts';
import { findQuarantines, judgeTrial, tasksOnTrial, whyQuarantined } from './trial.ts';

const START_MS = 1_763_854_000_000;
const LATER_MS = START_MS + 1_000_000;

/** The restore number `i` and the process beside the application after it, which saw what `seen` says at that minute. */
interface Life {
  readonly tasks?: readonly string[];
  readonly layout?: Layout | undefined;
  readonly version?: string | undefined;
  readonly seen?: readonly Pick<Trial, 'state' | 'lockLost'>[];
}

const failed = { state: 'failed', lockLost: 2 } as const;
const confirmed = { state: 'confirmed', lockLost: 1 } as const;
const undecided = { state: 'undecided', lockLost: 1 } as const;

const epochOf = (i: number, instance = 'restore'): string => `${START_MS + i}-pod%2F${i}-${instance.slice(0, 4)}`;
const atMs = (i: number): number => START_MS + i * 60_000;

function recordsOf(lives: readonly Life[]): readonly EpochRecord[] {
  return lives.flatMap(({ tasks = ['0_0'], version, seen = [], ...life }, i) => {
    const offsets = new Map<string, bigint>();
    const installed = tasks.map((task) => {
      const layout = 'layout' in life ? life.layout : 'file';
      return { task, layout, snapshot: `${epochOf(i)}/1`, quality: 'clean', stateTimeMs: START_MS, offsets } as const;
    });
    const shared = { tasks: [], taints: [], newest: undefined };
    const ofRestore = { role: 'restore', after: undefined, trial: undefined, appVersion: version } as const;
    const restore = sampleRecord({ ...shared, ...ofRestore, epoch: epochOf(i), installed });
    const runs = seen.map((trial, n) => {
      const ofRun = { installed: [], after: epochOf(i), appVersion: undefined };
      const full = { ...trial, atMs: atMs(i), lockTaken: 2 };
      return sampleRecord({ ...shared, ...ofRun, epoch: epochOf(i, `run${n}`), trial: full });
    });
    return [restore, ...runs];
  });
}

const twice = [{ seen: [failed] }, { seen: [failed] }] as const;

describe('entries are quarantined', () => {
  const rows: readonly [string, readonly Life[], string | undefined, readonly string[]][] = [
    ['not where nothing was ever installed', [], undefined, []],
    ['not after one failed trial', [{ seen: [failed] }], undefined, []],
    ['after two', twice, undefined, ['file 0_0 2']],
    ['after each further one', [...twice, { seen: [failed] }], undefined, ['file 0_0 3']],
    ['not for trials that nobody watched', [{}, {}, { seen: [failed] }], undefined, []],
    ['not for trials that ended otherwise', [{ seen: [undecided] }, { seen: [undecided] }], undefined, []],
    ['not for one restore that two processes watched', [{ seen: [failed, failed] }], undefined, []],
    [
      'where a restarted sidecar saw each only half of it',
      [{ seen: [undecided, undecided] }, { seen: [failed] }],
      undefined,
      ['file 0_0 2'],
    ],
    [
      'for the tasks that were installed in both',
      [
        { tasks: ['0_0', '0_1', 'global'], seen: [failed] },
        { tasks: ['0_1', '0_2', 'global'], seen: [failed] },
      ],
      undefined,
      ['file 0_1 2', 'file global 2'],
    ],
    [
      'not where they were of different layouts',
      [{ seen: [failed] }, { layout: 'column-family', seen: [failed] }],
      undefined,
      [],
    ],
    [
      'not by records that do not say the layout',
      [{ layout: undefined, seen: [failed] }, ...twice.slice(1)],
      undefined,
      [],
    ],
    ['not once the application was seen to live with them later', [...twice, { seen: [confirmed] }], undefined, []],
    ['also where it had lived with them before', [{ seen: [confirmed] }, ...twice], undefined, ['file 0_0 2']],
    ['not after one failure since', [...twice, { seen: [confirmed] }, { seen: [failed] }], undefined, []],
    [
      'where it was seen to live with other tasks only',
      [...twice, { tasks: ['0_1'], seen: [confirmed] }],
      undefined,
      ['file 0_0 2'],
    ],
    [
      'not where one of the two was confirmed after a bad start',
      [{ seen: [failed, confirmed] }, ...twice.slice(1)],
      undefined,
      [],
    ],
    [
      'for the version that was lost',
      [
        { version: 'v2', seen: [failed] },
        { version: 'v2', seen: [failed] },
      ],
      'v2',
      ['file 0_0 2'],
    ],
    [
      'not for another version',
      [
        { version: 'v2', seen: [failed] },
        { version: 'v2', seen: [failed] },
      ],
      'v3',
      [],
    ],
    [
      'not where two versions failed once each',
      [
        { version: 'v2', seen: [failed] },
        { version: 'v3', seen: [failed] },
      ],
      'v3',
      [],
    ],
    ['for every version where none was said', twice, 'v3', ['file 0_0 2']],
    [
      'still where another version lives with them',
      [
        { version: 'v2', seen: [failed] },
        { version: 'v2', seen: [failed] },
        { version: 'v1', seen: [confirmed] },
      ],
      'v2',
      ['file 0_0 2'],
    ],
  ];

  test.each(rows)('%s', (_, lives, appVersion, expected) => {
    const found = findQuarantines(recordsOf(lives), appVersion);
    expect(found.map(({ layout, task, epochs }) => `${layout} ${task} ${epochs.length}`)).toEqual(expected);
  });
});

test('a quarantine names the restores, and ends with what was captured after the last of them failed', () => {
  const records = recordsOf(twice).toReversed();
  expect(findQuarantines(records, undefined)).toEqual([
    { task: '0_0', layout: 'file', untilMs: atMs(1), epochs: [epochOf(0), epochOf(1)] },
  ]);
});

describe('a fence', () => {
  const fenceAt = (beforeMs: number, change: Partial<Fence> = {}): Fence => ({
    ...widestFence({ application: 'orders', lineage: 'shop' }, { timeMs: 1, token: 'a1b2c3d4' }),
    beforeMs,
    ...change,
  });

  test.each<[string, readonly string[], readonly Fence[]]>([
    ['after the last failure ends a quarantine', [], [fenceAt(atMs(1) + 1)]],
    ['between two failures makes the first one count for nothing', [], [fenceAt(atMs(1))]],
    ['from before them does not', ['0_0'], [fenceAt(atMs(0))]],
    ['of the task does', [], [fenceAt(LATER_MS, { tasks: ['0_0'], layout: 'file' })]],
    ['of another task does not', ['0_0'], [fenceAt(LATER_MS, { tasks: ['0_1'] })]],
    ['of another layout does not', ['0_0'], [fenceAt(LATER_MS, { layout: 'column-family' })]],
    ['of one instance does not', ['0_0'], [fenceAt(LATER_MS, { instance: 'orders-0' })]],
  ])('%s', (_, expected, fences) => {
    expect(findQuarantines(recordsOf(twice), undefined, fences).map(({ task }) => task)).toEqual(expected);
  });
});

describe('an offer', () => {
  const quarantines = findQuarantines(recordsOf(twice), undefined);
  const offer = { task: '0_0', layout: 'file', capturedAtMs: atMs(1) } as const;

  test('of a task in quarantine is refused with the restores, and with what ends it', () => {
    expect(whyQuarantined(quarantines, offer)).toEqual({
      reason: 'quarantined',
      message:
        `the application was lost again and again after the restores ${epochOf(0)} and ${epochOf(1)} had installed it: ` +
        'until another --app-version is deployed, only what is captured after 2025-11-22T23:27:40.000Z is installed',
    });
  });

  test.each([
    ['captured later', { capturedAtMs: atMs(1) + 1 }],
    ['of another layout', { layout: 'column-family' as const }],
    ['of another task', { task: '0_1' }],
  ])('%s may be installed', (_, change) => {
    expect(whyQuarantined(quarantines, { ...offer, ...change })).toBeUndefined();
  });
});

describe('what a restore installed', () => {
  test.each<[string, readonly Life[], readonly string[]]>([
    ['is on trial while nobody saw anything', [{ tasks: ['0_0', '0_1'] }], ['0_0', '0_1']],
    ['is on trial after it failed', [{ seen: [failed] }], ['0_0']],
    ['is not, once one of those who watched confirmed it', [{ seen: [confirmed, failed] }], []],
  ])('%s', (_, lives, expected) => {
    expect([...tasksOnTrial(recordsOf(lives), epochOf(0))]).toEqual(expected);
  });

  test('by a restore that nobody knows is not on trial', () => {
    expect(tasksOnTrial(recordsOf([{}]), epochOf(9)).size).toBe(0);
    expect(tasksOnTrial(recordsOf([{}]), undefined).size).toBe(0);
  });
});

test('a confirmation has its own time, whatever was seen after it', () => {
  const [restore, first, second] = recordsOf([{ seen: [confirmed, failed] }]);
  if (restore === undefined || first === undefined || second?.trial === undefined) throw new Error('no records');
  const later = { ...second, trial: { ...second.trial, atMs: LATER_MS } };
  expect(judgeTrial([restore, first, later], restore.epoch)).toEqual({
    state: 'confirmed',
    atMs: atMs(0),
    lockTaken: 4,
    lockLost: 3,
  });
});
