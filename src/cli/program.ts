import { Command, CommanderError, Option } from 'commander';
import { Failure } from '../base/failure.ts';

/** Every command, in the order of `--help`. Which settings each takes stands in settings.ts. */
export const COMMANDS = {
  demo: { summary: 'tell the whole story on a recorded state directory: no cluster, no broker', operand: undefined },
  restore: { summary: 'fill the state directory from the repository, then exit', operand: undefined },
  run: {
    summary: 'watch the state directory and publish snapshots while the application runs, and a last one after it',
    operand: undefined,
  },
  snapshot: { summary: 'publish one snapshot now, then exit', operand: undefined },
  status: { summary: 'print what would be warm if this pod died now, task by task, and why not', operand: undefined },
  list: { summary: 'print what lies in the repository', operand: undefined },
  show: { summary: 'print one snapshot in full, the newest by default', operand: '[SNAPSHOT]' },
  verify: {
    summary: 'read back what is offered, or the named snapshots, and check every byte',
    operand: '[SNAPSHOT...]',
  },
  prune: { summary: 'remove what retention lets go', operand: undefined },
  forget: {
    summary:
      'stop offering what was stored: of an application that was reset or rolled back, of a task, of an instance',
    operand: undefined,
  },
  inspect: { summary: 'print what lies in a state directory and what could be captured', operand: '[DIR]' },
  inject: { summary: 'add restore and run to the pods of Kubernetes manifests', operand: undefined },
  doctor: { summary: 'check settings, permissions, locks and the store, and say what mends them', operand: undefined },
  config: { summary: 'print the effective settings and where each value comes from', operand: undefined },
} as const satisfies Record<string, { readonly summary: string; readonly operand: string | undefined }>;

export type CommandName = keyof typeof COMMANDS;

export interface Flag {
  /** `--max-age` */
  readonly flag: string;
  /** `-f` */
  readonly short?: string | undefined;
  /** What stands for its value in the help; undefined for a switch. */
  readonly placeholder: string | undefined;
  readonly help: string;
}

/** Flag to value as it was written; `undefined` where the value is missing. */
export type Flags = ReadonlyMap<string, string | undefined>;

export type CommandLine =
  | {
      readonly kind: 'command';
      readonly command: CommandName;
      readonly operands: readonly string[];
      readonly flags: Flags;
    }
  | { readonly kind: 'text'; readonly text: string };

export interface Program {
  readonly version: string;
  /** The commands there are, each with the flags it takes. */
  readonly flagsOf: ReadonlyMap<CommandName, readonly Flag[]>;
  /** Of the terminal, for the help. */
  readonly columns: number;
}

/**
 * What a command line asks for. The text of `--help` and `--version` is returned, not printed. Throws a
 * Failure `invalid` for a command, flag or operand that does not exist; a flag without its value is for the
 * settings to judge.
 */
export function parseCommandLine(argv: readonly string[], program: Program): CommandLine {
  if (argv.length === 0) throw new Failure('invalid', 'no command was given', { hint: 'warmstate --help' });
  let parsed: CommandLine | undefined;
  let text = '';
  const root = new Command('warmstate')
    .description('Keeps the local state of Kafka Streams applications in object storage.')
    .configureHelp({ helpWidth: program.columns, subcommandTerm: (command) => command.name(), optionTerm: termOf })
    .configureOutput({ writeOut: (chunk) => void (text += chunk), writeErr: () => undefined })
    .exitOverride()
    .addHelpText('after', `\n${EXIT_CODES_HELP}`);
  addCommonParts(root, program.version);
  for (const [name, flags] of program.flagsOf) {
    const command = addCommand(root, name, flags, program.version);
    command.action(() => {
      parsed = { kind: 'command', command: name, operands: command.args, flags: flagsIn(command, flags) };
    });
  }
  try {
    root.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw refusal(error, namedCommand(argv, program));
  }
  return parsed ?? { kind: 'text', text };
}

const EXIT_CODES_HELP = `Exit codes:
  0 done, 2 wrong command line or settings, 3 not there, 4 held by an application, 5 kept changing,
  6 storage unavailable, 7 bytes are wrong, 8 deadline exceeded, 1 a bug`;

function addCommand(root: Command, name: CommandName, flags: readonly Flag[], version: string): Command {
  const { summary, operand } = COMMANDS[name];
  const command = root
    .command(name)
    .summary(summary)
    .description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`);
  if (operand !== undefined) command.argument(operand);
  for (const { flag, short, placeholder, help } of flags) {
    const names = short === undefined ? flag : `${short}, ${flag}`;
    // Optional to the parser, so that `--max-age --to DIR` is a missing value and not a directory that is an operand.
    command.addOption(new Option(placeholder === undefined ? names : `${names} [${placeholder}]`, help));
  }
  return addCommonParts(command, version).allowExcessArguments(false);
}

function addCommonParts(command: Command, version: string): Command {
  return command
    .helpOption('-h, --help', 'print this')
    .helpCommand(false)
    .version(`warmstate ${version}`, '--version', 'print the version');
}

function termOf(option: Option): string {
  return option.flags.replace('[', '').replace(']', '');
}

function flagsIn(command: Command, flags: readonly Flag[]): Flags {
  const given = new Map<string, string | undefined>();
  const options = new Map(command.options.map((option) => [option.long, option.attributeName()]));
  for (const { flag, placeholder } of flags) {
    const name = options.get(flag);
    if (name === undefined || command.getOptionValueSource(name) !== 'cli') continue;
    const value: unknown = command.getOptionValue(name);
    given.set(flag, typeof value === 'string' ? value : placeholder === undefined ? 'true' : undefined);
  }
  return given;
}

function namedCommand(argv: readonly string[], { flagsOf }: Program): CommandName | undefined {
  return [...flagsOf.keys()].find((name) => name === argv[0]);
}

/** `error: unknown option '--tasl'\n(Did you mean --task?)` as a Failure of ours. */
function refusal(error: CommanderError, command: CommandName | undefined): Failure {
  const [first = '', suggestion] = error.message.split('\n');
  const similar = /\(Did you mean (?:one of )?(.+)\?\)/.exec(suggestion ?? '')?.[1];
  const help = command === undefined ? 'warmstate --help' : `warmstate ${command} --help`;
  const said = first
    .replace(/^error: /, '')
    .replace('unknown option', 'unknown flag')
    .replace(/\.$/, '');
  return new Failure('invalid', `cannot read the command line: ${said}`, { hint: similar ?? help, cause: error });
}
