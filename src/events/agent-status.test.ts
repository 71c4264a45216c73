import { expect, test } from 'vitest';
import { sampleStatus, sampleTask, uncapturableTask } from '../../test/support/sample-status.ts';
import { type AgentStatus, agentStatusJson, decodeAgentStatus } from './agent-status.ts';

const cold = uncapturableTask('0_1', { reason: 'no_offset', message: 'there is no .checkpoint' });
const full = sampleStatus({
  tasks: [sampleTask('0_0', { isPending: true }), cold],
  problems: [{ area: 'storage', message: 'cannot put data/1: refused', hint: 'look at it', sinceMs: 1_000 }],
});
const empty = sampleStatus({
  epoch: undefined,
  applicationRunning: undefined,
  lastSuccessMs: undefined,
  snapshot: undefined,
  dueMs: undefined,
  previousShutdown: undefined,
  stateDir: { bytes: 0, limitBytes: undefined, availableBytes: undefined },
  restore: undefined,
});

function overTheWire(status: AgentStatus): unknown {
  return JSON.parse(JSON.stringify(agentStatusJson(status)));
}

test.each([
  ['full of values', full],
  ['without any', empty],
])('a status %s is the same after its way as JSON', (_what, status) => {
  expect(decodeAgentStatus(overTheWire(status))).toEqual(status);
});

test('the JSON of a status has the stable shape', () => {
  expect(overTheWire(full)).toEqual({
    warm: 1,
    cold: 1,
    application: 'orders',
    lineage: 'prod',
    instance: 'orders-0',
    guarantee: 'at_least_once',
    epoch: '1763851022123-orders-0-x7k2',
    phase: 'watching',
    turnedAt: '2026-11-22T23:40:00.000Z',
    applicationFound: true,
    applicationRunning: true,
    problems: [
      { area: 'storage', message: 'cannot put data/1: refused', hint: 'look at it', since: '1970-01-01T00:00:01.000Z' },
    ],
    tasks: [
      {
        task: '0_0',
        state: 'restorable',
        entry: {
          snapshot: '1763851022123-orders-0-x7k2/41',
          quality: 'live',
          stateTime: '2026-11-22T23:37:00.000Z',
          bytes: 4_402_341_478,
          offsets: { 'orders-agg-changelog-0': '9007199254740993' },
        },
        pending: true,
        reason: null,
        message: null,
      },
      {
        task: '0_1',
        state: 'uncapturable',
        entry: null,
        pending: false,
        reason: 'no_offset',
        message: 'there is no .checkpoint',
      },
    ],
    lastSuccess: '2026-11-22T23:37:00.000Z',
    snapshot: '1763851022123-orders-0-x7k2/41',
    due: '2026-11-22T23:42:00.000Z',
    previousShutdown: 'sealed',
    finalSnapshot: { pendingBytes: 12_582_912, estimatedMs: 1500 },
    stateDir: { bytes: 6_442_450_944, limitBytes: 21_474_836_480, availableBytes: 13_958_643_712 },
    restorableBytes: 5_368_709_120,
    restore: {
      outcome: 'partial',
      completedAt: '2026-11-22T20:40:00.000Z',
      durationMs: 12_000,
      bytesDownloaded: 1_073_741_824,
      tasks: [
        { task: '0_0', decision: 'warm', reason: null, message: null },
        { task: '0_1', decision: 'cold', reason: 'damaged', message: 'data/1 has other bytes' },
      ],
    },
  });
});

test.each([[{}], ['<html>'], [{ ...Object(overTheWire(full)), phase: 'dreaming' }]])(
  'what is no status is refused with its place: %j',
  (json) => {
    expect(() => decodeAgentStatus(json)).toThrow(expect.objectContaining({ kind: 'corrupt' }));
  },
);
