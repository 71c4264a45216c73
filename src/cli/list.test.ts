import { expect, test } from 'vitest';
import { widestFence } from '../repository/fence.ts';
import { type Listing, listingJson, renderListing } from './list.ts';

const nowMs = Date.UTC(2026, 10, 22, 23, 40);
const look = { columns: 80, hasColour: false, nowMs };

const applications: Listing = {
  kind: 'applications',
  applications: [
    { application: 'orders', lineage: 'prod', instances: 3, snapshots: 12, newestMs: nowMs - 180_000 },
    { application: 'payments', lineage: 'default', instances: 1, snapshots: 0, newestMs: undefined },
  ],
};

const application = {
  kind: 'application',
  application: 'orders',
  lineage: 'prod',
  snapshots: [
    {
      snapshot: '1763851022123-orders-0-x7k2/12',
      instance: 'orders-0',
      timeMs: nowMs - 180_000,
      contents: { tasks: 4, sizeBytes: 2 ** 30 },
    },
  ],
  tasks: [
    {
      task: 'global',
      quality: 'clean',
      layout: 'file',
      stateTimeMs: nowMs - 240_000,
      sizeBytes: 2 ** 20,
      snapshot: '1763851022123-orders-0-x7k2/12',
    },
  ],
  fences: [],
  quarantines: [],
} as const satisfies Listing;

const quarantined: Listing = {
  ...application,
  quarantines: [
    {
      task: 'global',
      layout: 'file',
      appVersion: 'v2',
      untilMs: nowMs - 60_000,
      epochs: ['1763851100000-orders-0-aaaa', '1763851200000-orders-0-bbbb'],
    },
  ],
};

test('the applications of a repository are one table', () => {
  expect(renderListing(applications, look)).toBe(`\
APPLICATION  LINEAGE  INSTANCES  SNAPSHOTS  NEWEST
orders       prod             3         12  3 min ago
payments     default          1          0
`);
});

test('one application is its snapshots and the best entry of each task', () => {
  expect(renderListing(application, look)).toBe(`\
orders, lineage prod

INSTANCE  TAKEN      TASKS     SIZE  SNAPSHOT
orders-0  3 min ago      4  1.0 GiB  1763851022123-orders-0-x7k2/12

TASK    QUALITY  LAYOUT  STATE         SIZE  BEST IN
global  clean    file    4 min ago  1.0 MiB  1763851022123-orders-0-x7k2/12
`);
});

test('what is in quarantine is said with its version and the restores that led to it', () => {
  expect(
    renderListing(quarantined, { ...look, columns: 160 })
      .split('\n')
      .slice(-3)
      .join('\n'),
  ).toBe(`\
IN QUARANTINE  LAYOUT  FOR VERSION  WHAT WAS CAPTURED BEFORE  SINCE THE RESTORES
global         file    v2           1 min ago                 1763851100000-orders-0-aaaa, 1763851200000-orders-0-bbbb
`);
  expect(listingJson(quarantined).slice(-1)).toEqual([
    {
      kind: 'quarantine',
      application: 'orders',
      lineage: 'prod',
      task: 'global',
      layout: 'file',
      appVersion: 'v2',
      until: '2026-11-22T23:39:00.000Z',
      restores: ['1763851100000-orders-0-aaaa', '1763851200000-orders-0-bbbb'],
    },
  ]);
});

test('nothing is said to be nothing', () => {
  expect([
    renderListing({ kind: 'applications', applications: [] }, look),
    renderListing({ ...application, snapshots: [], tasks: [] }, look),
  ]).toEqual(['nothing stored yet\n', 'orders, lineage prod\nnothing stored yet\n']);
});

test('the JSON of a listing is one object per application, snapshot and task', () => {
  expect([...listingJson(applications), ...listingJson(application)]).toEqual([
    {
      kind: 'application',
      application: 'orders',
      lineage: 'prod',
      instances: 3,
      snapshots: 12,
      newest: '2026-11-22T23:37:00.000Z',
    },
    { kind: 'application', application: 'payments', lineage: 'default', instances: 1, snapshots: 0, newest: null },
    {
      kind: 'snapshot',
      application: 'orders',
      lineage: 'prod',
      snapshot: '1763851022123-orders-0-x7k2/12',
      instance: 'orders-0',
      time: '2026-11-22T23:37:00.000Z',
      tasks: 4,
      bytes: 2 ** 30,
    },
    {
      kind: 'task',
      application: 'orders',
      lineage: 'prod',
      task: 'global',
      quality: 'clean',
      layout: 'file',
      stateTime: '2026-11-22T23:36:00.000Z',
      bytes: 2 ** 20,
      snapshot: '1763851022123-orders-0-x7k2/12',
    },
  ]);
});

test('fences are listed with their scope, and in JSON as lines of their own', () => {
  const name = { timeMs: nowMs - 60_000, token: 'a1b2c3d4' };
  const fence = {
    ...widestFence({ application: 'orders', lineage: 'prod' }, name),
    tasks: ['0_1'],
    instance: 'orders-0',
  };
  const fenced: Listing = { ...quarantined, quarantines: [], fences: [fence] };
  expect(renderListing(fenced, { ...look, columns: 160 })).toContain(
    'forgotten  56 s ago      0_1, instance orders-0\n',
  );
  expect(listingJson(fenced).slice(-1)).toMatchObject([
    { kind: 'fence', reason: 'forgotten', tasks: ['0_1'], instance: 'orders-0', layout: null, quality: null },
  ]);
});
