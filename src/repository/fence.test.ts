import { describe, expect, test } from 'vitest';
import { SAMPLE_KEYS } from '../../test/support/sample-documents.ts';
import {
  covers,
  decodeFence,
  encodeFence,
  type Fence,
  type FencedState,
  type FenceScope,
  stemsFrom,
  whyFenced,
  widestFence,
} from './fence.ts';

const NOW_MS = 1_763_854_600_000;
const EVERYTHING = { tasks: undefined, instance: undefined, layout: undefined, quality: undefined };

function fence(change: Partial<Fence> = {}): Fence {
  const name = { timeMs: NOW_MS, token: 'a1b2c3d4' };
  const said = { writer: 'warmstate 0.1.0', reason: 'forgotten', beforeMs: NOW_MS } as const;
  return { application: 'orders', lineage: 'shop', ...name, ...said, ...EVERYTHING, ...change };
}

function state(change: Partial<FencedState> = {}): FencedState {
  const stateTimeMs = NOW_MS - 1;
  return { task: '0_3', layout: 'file', quality: 'clean', stateTimeMs, isOf: (name) => name === 'orders-0', ...change };
}

describe('state', () => {
  test.each<[string, boolean, Partial<Fence>, Partial<FencedState>]>([
    ['from before a fence is withdrawn', true, {}, {}],
    ['from that very moment is not', false, {}, { stateTimeMs: NOW_MS }],
    ['of a task that is fenced is withdrawn', true, { tasks: ['0_1', '0_3'] }, {}],
    ['of another task is not', false, { tasks: ['0_1'] }, {}],
    ['of an instance that is fenced is withdrawn', true, { instance: 'orders-0' }, {}],
    ['of another instance is not', false, { instance: 'orders-1' }, {}],
    ['of a layout that is fenced is withdrawn', true, { layout: 'file' }, {}],
    ['of another layout is not', false, { layout: 'column-family' }, {}],
    ['of a quality that is fenced is withdrawn', true, { quality: 'live' }, { quality: 'live' }],
    ['of another quality is not', false, { quality: 'live' }, {}],
    ['of no quality is not withdrawn for its quality', false, { quality: 'live' }, { quality: undefined }],
    ['of no quality is withdrawn for its age', true, {}, { quality: undefined }],
    ['that only one part of a scope holds is not', false, { tasks: ['0_3'], instance: 'orders-1' }, {}],
  ])('%s', (_, isFenced, ofFence, ofState) => {
    expect(whyFenced([fence(ofFence)], state(ofState)) !== undefined).toBe(isFenced);
  });

  test('is withdrawn by any one of several fences, and the reason says which', () => {
    const fences = [fence({ tasks: ['0_1'] }), fence({ reason: 'regressed', beforeMs: NOW_MS + 1 })];
    expect(whyFenced(fences, state())).toEqual({
      reason: 'forgotten',
      message:
        'a fence of 2025-11-22T23:36:40.000Z (the task was thrown back by Kafka) withdrew what is older than 2025-11-22T23:36:40.001Z',
    });
  });
});

test('an entry stems from who offers it and from who took its bytes', () => {
  const entry = { epoch: '1763854560123-orders-1-a1b2', capturedBy: '1763854560000-orders-0-zzzz/7' };
  expect(['orders-0', 'orders-1', 'orders-2'].filter((instance) => stemsFrom(entry, instance))).toEqual([
    'orders-0',
    'orders-1',
  ]);
});

describe('a fence covers another one', () => {
  const scope = (change: Partial<FenceScope> = {}): FenceScope => ({ beforeMs: NOW_MS, ...EVERYTHING, ...change });
  test.each<[string, boolean, FenceScope, FenceScope]>([
    ['that is the same', true, scope(), scope()],
    ['that reaches less far', true, scope(), scope({ beforeMs: NOW_MS - 1 })],
    [
      'that is narrower',
      true,
      scope(),
      scope({ tasks: ['0_3'], instance: 'orders-0', layout: 'file', quality: 'live' }),
    ],
    ['of some of its tasks', true, scope({ tasks: ['0_1', '0_3'] }), scope({ tasks: ['0_3'] })],
    ['not one that reaches further', false, scope(), scope({ beforeMs: NOW_MS + 1 })],
    ['not one of all tasks, being of some', false, scope({ tasks: ['0_3'] }), scope()],
    ['not one of another task', false, scope({ tasks: ['0_3'] }), scope({ tasks: ['0_3', '0_4'] })],
    ['not one of all instances, being of one', false, scope({ instance: 'orders-0' }), scope()],
    ['not one of another quality', false, scope({ quality: 'live' }), scope({ quality: 'clean' })],
  ])('%s: %s', (_, isCovered, one, other) => {
    expect(covers(one, other)).toBe(isCovered);
  });
});

test('a fence is read as it was written, under its own key alone', () => {
  const full = fence({ tasks: ['0_3'], instance: 'orders-0', layout: 'file', quality: 'live' });
  for (const one of [fence(), full]) expect(decodeFence(encodeFence(one), SAMPLE_KEYS.fence(one))).toEqual(one);
  const elsewhere = SAMPLE_KEYS.fence({ timeMs: NOW_MS + 1, token: 'a1b2c3d4' });
  expect(() => decodeFence(encodeFence(full), elsewhere)).toThrow(expect.objectContaining({ kind: 'corrupt' }));
});

test('a fence that cannot be read withdraws all that was current when it was put up', () => {
  const widest = widestFence({ application: 'orders', lineage: 'shop' }, { timeMs: NOW_MS, token: 'a1b2c3d4' });
  expect(whyFenced([widest], state({ stateTimeMs: NOW_MS }))).toBeDefined();
  expect(whyFenced([widest], state({ stateTimeMs: NOW_MS + 4000 }))).toBeUndefined();
});
