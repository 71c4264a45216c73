import { Failure } from '../base/failure.ts';
import { describeBytes, describeDuration, describeRate } from '../base/quantity.ts';
import { type Check, type CheckName, failed, ok, warn } from './doctor-check.ts';
import type { Listed, ProbeFacts, Tried } from './doctor-probe.ts';

// What the answers of a store mean: facts in, lines out.

/** A line per request that was tried, and one for the clock. */
export function checkStore(facts: ProbeFacts): readonly Check[] {
  const { key, sizeBytes } = facts;
  return [
    ...lineOf('put', facts.put, (_, durationMs) => ok('put', describeTransfer(sizeBytes, durationMs))),
    ...lineOf('get', facts.get, ({ isSame }, durationMs) => {
      return isSame ? ok('get', describeTransfer(sizeBytes, durationMs)) : otherBytes('get', key);
    }),
    ...lineOf('range', facts.range, ({ isSame }, durationMs) => {
      return isSame ? ok('range', describeDuration(durationMs)) : otherBytes('range', key);
    }),
    ...lineOf('list', facts.list, (listed, durationMs) => checkListing(listed, durationMs, facts)),
    ...checkDelete(facts),
    ...(facts.list?.kind === 'done' ? [checkClock(facts.list.value.clockAheadMs)] : []),
  ];
}

function lineOf<T>(
  check: CheckName,
  tried: Tried<T>,
  judge: (value: T, durationMs: number) => Check,
): readonly Check[] {
  if (tried === undefined) return [];
  return [tried.kind === 'failed' ? failed(check, tried.failure) : judge(tried.value, tried.durationMs)];
}

function describeTransfer(sizeBytes: number, durationMs: number): string {
  const rate = describeRate((sizeBytes / Math.max(durationMs, 1)) * 1000);
  return `${describeBytes(sizeBytes)} in ${describeDuration(durationMs)} (${rate})`;
}

function otherBytes(check: CheckName, key: string): Check {
  const hint = 'another server or proxy: something between here and the disk changes bytes';
  return failed(check, new Failure('corrupt', `${key} was answered with other bytes than were put`, { hint }));
}

function checkListing({ sizeBytes }: Listed, durationMs: number, facts: ProbeFacts): Check {
  const isPut = facts.put?.kind === 'done';
  if (!isPut || sizeBytes === facts.sizeBytes) return ok('list', describeDuration(durationMs));
  const what = sizeBytes === undefined ? 'is not listed' : `is listed with ${sizeBytes} bytes of ${facts.sizeBytes}`;
  const hint = 'a store whose listings show what was put: snapshots would not be found in this one';
  return failed('list', new Failure('corrupt', `${facts.key} was put and ${what}`, { hint }));
}

function checkDelete(facts: ProbeFacts): readonly Check[] {
  const { key } = facts;
  const tried = facts.delete;
  if (tried?.kind === 'failed' && tried.failure.detail === 'denied') {
    const message = `not allowed: ${key} stays, and nobody with these rights can prune`;
    return [warn('delete', message, 'the right to delete for one who prunes; restore and run do without')];
  }
  return lineOf('delete', tried, ({ isGone }, durationMs) => {
    if (isGone) return ok('delete', describeDuration(durationMs));
    return failed('delete', new Failure('corrupt', `${key} was deleted and is still there`));
  });
}

/** Beyond this the ages of state that people read beside their own clock mislead; S3 refuses requests from 15 min on. */
const CLOCK_APART_MS_MAX = 60_000;

function checkClock(aheadMs: number): Check {
  const apartMs = Math.abs(aheadMs);
  if (apartMs <= CLOCK_APART_MS_MAX) return ok('clock', "within a minute of the store's");
  const message = `${describeDuration(apartMs)} ${aheadMs > 0 ? 'behind' : 'ahead of'} the store's`;
  return warn('clock', message, 'synchronise the clock of this node: S3 refuses requests that are 15 minutes off');
}
