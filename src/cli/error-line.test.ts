import { expect, test } from 'vitest';
import { Failure } from '../base/failure.ts';
import { exitCodeOf, renderError } from './error-line.ts';

const plain = { hasColour: false };

test('a failure is one line, and one with what to try', () => {
  const failure = new Failure('conflict', 'cannot restore into /state:\n  orders is running', {
    hint: 'stop orders first',
  });
  expect(renderError(failure, plain)).toBe(
    'warmstate: cannot restore into /state: orders is running\ntry: stop orders first\n',
  );
  expect(renderError(new Failure('missing', 'no snapshot a/1'), plain)).toBe('warmstate: no snapshot a/1\n');
});

test('what others wrote cannot move the cursor of a terminal', () => {
  const failure = new Failure('unavailable', 'cannot ask the broker: \u001B[2Jall is well\r', { hint: 'a\u009Bb' });
  expect(renderError(failure, plain)).toBe(
    'warmstate: cannot ask the broker: \u{fffd}[2Jall is well\u{fffd}\ntry: a\u{fffd}b\n',
  );
});

test('a bug is shown with its stack', () => {
  const bug = new TypeError('x is not a function');
  bug.stack = 'TypeError: x is not a function\n    at here';
  expect(renderError(bug, plain)).toBe('warmstate: this is a bug: TypeError: x is not a function\n    at here\n');
  expect(renderError('thrown', plain)).toBe('warmstate: this is a bug: thrown\n');
});

test('every kind of failure has its exit code, a bug has 1', () => {
  const kinds = ['invalid', 'missing', 'conflict', 'moved', 'unavailable', 'corrupt', 'deadline'] as const;
  expect([...kinds.map((kind) => exitCodeOf(new Failure(kind, ''))), exitCodeOf(new Error('x'))]).toEqual([
    2, 3, 4, 5, 6, 7, 8, 1,
  ]);
});
