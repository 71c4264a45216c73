import { expect, test } from 'vitest';
import { Failure } from '../base/failure.ts';
import { type Check, checksJson, doctorExitCode, failed, ok, renderChecks, warn } from './doctor-check.ts';

const wall = { columns: Number.POSITIVE_INFINITY, hasColour: false, nowMs: 0 };
const denied = failed('user', new Failure('unavailable', 'cannot read /state', { hint: 'runAsUser: 1001' }));
const checks: readonly Check[] = [
  ok('settings', 'every value can be used'),
  warn('volume', 'no volume is mounted at /state', 'mount one'),
  denied,
];

test('a check is a line, its mend stands below it, and the last line counts', () => {
  expect(renderChecks(checks, wall)).toBe(`\
        CHECK     SEEN
ok      settings  every value can be used
warn    volume    no volume is mounted at /state
                  try: mount one
failed  user      cannot read /state
                  try: runAsUser: 1001

3 checks: 1 failed, 1 warning
`);
  expect(
    renderChecks([ok('settings', 'fine')], wall)
      .split('\n')
      .at(-2),
  ).toBe('1 check: nothing to mend');
});

test('what does not fit is wrapped below itself', () => {
  expect(renderChecks([ok('settings', 'one two three four five six seven')], { ...wall, columns: 40 })).toBe(`\
    CHECK     SEEN
ok  settings  one two three four five
              six seven

1 check: nothing to mend
`);
});

test('the JSON has every check with its mend', () => {
  expect(checksJson(checks)).toEqual({
    checks: [
      { check: 'settings', outcome: 'ok', message: 'every value can be used', hint: null },
      { check: 'volume', outcome: 'warn', message: 'no volume is mounted at /state', hint: 'mount one' },
      { check: 'user', outcome: 'failed', message: 'cannot read /state', hint: 'runAsUser: 1001' },
    ],
  });
});

test('the exit code is the smallest of what failed, and 0 where nothing did', () => {
  const bad = failed('settings', new Failure('invalid', 'cannot use --max-age soon'));
  expect([checks.slice(0, 2), checks, [denied, bad]].map(doctorExitCode)).toEqual([0, 6, 2]);
});
