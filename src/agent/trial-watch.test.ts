import { describe, expect, test } from 'vitest';
import { NOTHING_SEEN, type TrialSight, type TrialWatch, watchTrial } from './trial-watch.ts';

/**
 * A story in looks: `held x30` is thirty looks, a second apart, at an application that holds its lock; `tried` and
 * `opened` hold it too, and what was tried or opened once stays so; `passed` has no lock, but tried since the last look;
 * `away x30` is half a minute without a look.
 */
function watch(story: string): TrialWatch {
  let watched = NOTHING_SEEN;
  let monotonicMs = 1_000;
  let seen: Pick<TrialSight, 'hasOpened' | 'hasTried'> = { hasOpened: false, hasTried: false };
  for (const step of story.split(', ')) {
    const [what = '', times = '1'] = step.split(' x');
    for (let i = 0; i < Number(times); i++) {
      monotonicMs += 1000;
      if (what === 'opened') seen = { hasOpened: true, hasTried: true };
      if (what === 'tried' || what === 'passed') seen = { ...seen, hasTried: true };
      if (what === 'away') continue;
      const isHeld = what !== 'free' && what !== 'passed';
      const hasTriedAnew = what === 'tried' || what === 'opened' || what === 'passed';
      watched = watchTrial(watched, { monotonicMs, isHeld, hasTriedAnew, ...seen });
    }
  }
  return watched;
}

const short = ({ state, lockTaken, lockLost }: TrialWatch): string => `${state} ${lockTaken}/${lockLost}`;

describe('the application', () => {
  test.each([
    ['is not there yet', 'free x600', 'undecided 0/0'],
    ['opened an installed task and held on for a minute', 'free, held x9, opened x61', 'confirmed 1/0'],
    ['opened one and has not held on for a minute yet', 'free, held x9, opened x60', 'undecided 1/0'],
    ['opened none, and held on for five minutes', 'held x301', 'confirmed 1/0'],
    ['opened none, and has not held on for five minutes yet', 'held x300', 'undecided 1/0'],
    ['was gone in between, so that no minute is unbroken', 'opened x50, free, held x50', 'undecided 2/1'],
    ['could not open a store, again and again', 'tried x5, free x15, held x5, free x15', 'failed 2/2'],
    [
      'could not open a store, and is just starting for the third time',
      'tried x5, free, held x5, free, held',
      'failed 3/2',
    ],
    ['ended once', 'tried x5, free x600', 'undecided 1/1'],
    ['came and went between two looks', 'free x9, passed, free x9', 'undecided 1/0'],
    ['came and went between two looks, and nothing follows', 'free x9, passed, free x10', 'undecided 1/1'],
    ['came and went between two looks, again and again', 'passed, free x4, passed, free x4, passed', 'failed 3/2'],
    ['was seen once, and came and went twice between looks', 'tried, free x4, passed, free x4, passed', 'failed 3/2'],
    ['ended, and left a trace of that', 'tried x5, passed, free x9', 'undecided 1/0'],
    ['ended before it laid hands on it, then came and went', 'held x9, free x5, passed, free x9', 'undecided 2/0'],
    ['opened a task, and ended twice within a minute', 'opened x30, free x15, held x30, free x15', 'failed 2/2'],
    [
      'never laid hands on what was installed',
      'held x30, free x15, held x30, free x15, held x30, free x15',
      'undecided 3/0',
    ],
    [
      'laid hands on it after it had ended for other reasons',
      'held x9, free x15, held x9, tried, free x15',
      'undecided 2/1',
    ],
    ['ended before it laid hands on it, and does so now', 'held x9, free x5, tried x9', 'undecided 2/0'],
    ['failed, and then lives', 'tried x5, free x15, held x5, free x15, held x301', 'confirmed 3/2'],
    ['lives, and ends later', 'opened x61, free x15, held x5, free x15, held x5, free x15', 'confirmed 1/0'],
  ])('%s', (_, story, expected) => {
    expect(short(watch(story))).toBe(expected);
  });

  test.each([
    ['and pod end together: that is nothing against what was installed', 'tried x30, free x9', 'undecided 1/0'],
    ['was seen before and after a pause, which may hide a restart', 'opened x40, away x11, held x40', 'undecided 1/0'],
    ['was seen often enough', 'opened x40, away x9, held x20', 'confirmed 1/0'],
    ['was not seen for five minutes, and is there', 'held, away x600, held', 'undecided 1/0'],
    ['came and went while nobody looked', 'tried x5, away x60, held x5, away x60, free x15', 'undecided 1/1'],
  ])('%s', (_, story, expected) => {
    expect(short(watch(story))).toBe(expected);
  });
});
