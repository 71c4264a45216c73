import { expect, test } from 'vitest';
import { isFailure } from '../base/failure.ts';
import { type CommandLine, type Flag, type Program, parseCommandLine } from './program.ts';

const output: Flag = { flag: '--output', placeholder: 'FORMAT', help: 'text or json (default: text)' };
const application: Flag = { flag: '--application-id', placeholder: 'ID', help: "Kafka's application.id" };

const program: Program = {
  version: '1.2.3',
  columns: 80,
  flagsOf: new Map([
    [
      'restore',
      [
        { flag: '--tasks', placeholder: 'TASKS', help: 'what to restore' },
        { flag: '--max-age', placeholder: 'DURATION', help: 'no state older than this' },
        { flag: '--to', placeholder: 'DIR', help: 'fill another directory' },
        { flag: '--dry-run', placeholder: undefined, help: 'print what would be done and do nothing' },
      ],
    ],
    ['show', [application, output]],
    ['verify', [application, output]],
  ]),
};

function parse(line: string): CommandLine {
  return parseCommandLine(line === '' ? [] : line.split(' '), program);
}

/** What the user reads instead: message and hint. */
function refusal(line: string): readonly (string | undefined)[] {
  try {
    return ['not refused', JSON.stringify(parse(line))];
  } catch (error) {
    return isFailure(error, 'invalid') ? [error.message, error.hint] : ['no failure', String(error)];
  }
}

test('a command line is a command, its operands and its flags as they were written', () => {
  expect(parse('verify a/1 b/2 --output json --application-id=orders')).toEqual({
    kind: 'command',
    command: 'verify',
    operands: ['a/1', 'b/2'],
    flags: new Map([
      ['--application-id', 'orders'],
      ['--output', 'json'],
    ]),
  });
});

test('a switch needs no value, and a value that is missing is not the next flag', () => {
  expect(parse('restore --max-age --to /drill --dry-run')).toEqual({
    kind: 'command',
    command: 'restore',
    operands: [],
    flags: new Map([
      ['--max-age', undefined],
      ['--to', '/drill'],
      ['--dry-run', 'true'],
    ]),
  });
});

test('the last one of a repeated flag counts', () => {
  expect(parse('restore --tasks 0_0 --tasks 0_1')).toMatchObject({ flags: new Map([['--tasks', '0_1']]) });
});

test.each([
  ['', ['no command was given', 'warmstate --help']],
  ['restor', ["cannot read the command line: unknown command 'restor'", 'restore']],
  ['prune', ["cannot read the command line: unknown command 'prune'", 'warmstate --help']],
  ['restore --max-agr 5m', ["cannot read the command line: unknown flag '--max-agr'", '--max-age']],
  ['restore --prune off', ["cannot read the command line: unknown flag '--prune'", 'warmstate restore --help']],
  ['restore -x', ["cannot read the command line: unknown flag '-x'", 'warmstate restore --help']],
  [
    'restore now',
    [
      "cannot read the command line: too many arguments for 'restore'. Expected 0 arguments but got 1: now",
      'warmstate restore --help',
    ],
  ],
  [
    'show a/1 b/2',
    [
      "cannot read the command line: too many arguments for 'show'. Expected 1 argument but got 2: a/1, b/2",
      'warmstate show --help',
    ],
  ],
])('the command line %j is refused: %j', (line, said) => {
  expect(refusal(line)).toEqual(said);
});

test('the help lists the commands there are and the exit codes', () => {
  expect(parse('--help')).toEqual({
    kind: 'text',
    text: `Usage: warmstate [options] [command]

Keeps the local state of Kafka Streams applications in object storage.

Options:
  --version   print the version
  -h, --help  print this

Commands:
  restore     fill the state directory from the repository, then exit
  show        print one snapshot in full, the newest by default
  verify      read back what is offered, or the named snapshots, and check every
              byte

Exit codes:
  0 done, 2 wrong command line or settings, 3 not there, 4 held by an application, 5 kept changing,
  6 storage unavailable, 7 bytes are wrong, 8 deadline exceeded, 1 a bug
`,
  });
});

test('the help of a command shows its operand and its flags', () => {
  expect(parse('show --help')).toEqual({
    kind: 'text',
    text: `Usage: warmstate show [options] [SNAPSHOT]

Print one snapshot in full, the newest by default.

Options:
  --application-id ID  Kafka's application.id
  --output FORMAT      text or json (default: text)
  --version            print the version
  -h, --help           print this
`,
  });
});

test('the version is said by the program and by every command', () => {
  const text = { kind: 'text', text: 'warmstate 1.2.3\n' };
  expect([parse('--version'), parse('restore --version')]).toEqual([text, text]);
});
