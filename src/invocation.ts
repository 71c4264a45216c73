import type { Clock, Random } from './base/clock.ts';
import { Failure, messageOf } from './base/failure.ts';
import type { CommandContext } from './cli/command.ts';
import { configJson, type MemoryEstimate, renderConfig } from './cli/config.ts';
import { exitCodeOf, renderError } from './cli/error-line.ts';
import { jsonLine } from './cli/json.ts';
import { COMMANDS, type CommandName, type Flags, parseCommandLine } from './cli/program.ts';
import {
  type ExaminedSettings,
  examineSettings,
  findProblems,
  loadSettings,
  maskSecrets,
  resolveSettings,
  type SettingsWorld,
} from './effective-settings.ts';
import type { Emit } from './events/event.ts';
import { createLogger, type LogLevel } from './events/logger.ts';
import { createProgressBar, createProgressNotices } from './events/progress.ts';
import { flagsOf } from './setting-help.ts';
import type { SettingsOf } from './settings.ts';

/** The commands there are. One that is left out is not in the help either. `config` is always there. */
export type Commands = { readonly [C in Exclude<CommandName, 'config' | 'doctor'>]?: Command<C> } & {
  readonly doctor?: Diagnosis;
};

interface Command<C extends CommandName> {
  /** Prints its result and returns the exit code; what it throws is printed here. */
  run(settings: SettingsOf<C>, context: CommandContext): Promise<number>;
  /** What to do, and with which exit code, about settings that cannot be used; without it they are printed and the exit code is 2. */
  refuse?(
    settings: Partial<SettingsOf<C>>,
    problems: readonly [Failure, ...Failure[]],
    context: CommandContext,
  ): number | Promise<number>;
}

/** A command that takes settings as they are, good or bad, and says itself what is wrong with them. */
interface Diagnosis {
  run(examined: ExaminedSettings, context: CommandContext): Promise<number>;
}

/** The process, as far as it is the program's business. */
export interface World extends SettingsWorld {
  readonly version: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborts, with an Error that says why, when the process is told to end. */
  readonly signal: AbortSignal;
  /** See CommandContext. */
  readonly endGracefully: () => AbortSignal;
  readonly stdout: Output;
  readonly stderr: Output;
  /** What `concurrency` means in memory. */
  readonly memoryOf: (concurrency: number) => MemoryEstimate;
}

export interface Output {
  readonly isTerminal: boolean;
  readonly hasColour: boolean;
  /** Infinity where no terminal is. */
  readonly columns: () => number;
  readonly write: (text: string) => void;
}

/** One call of the program: command line → settings → one command → exit code. Prints every error on its way. */
export async function invoke(argv: readonly string[], commands: Commands, world: World): Promise<number> {
  const names = Object.keys(COMMANDS).filter(
    (name): name is CommandName => name === 'config' || Object.hasOwn(commands, name),
  );
  try {
    const line = parseCommandLine(argv, {
      version: world.version,
      flagsOf: new Map(names.map((name) => [name, flagsOf(name)])),
      columns: Math.min(world.stdout.columns(), HELP_COLUMNS_MAX),
    });
    if (line.kind === 'text') {
      world.stdout.write(line.text);
      return 0;
    }
    const { command, flags } = line;
    if (command === 'config') return await printConfig(flags, world);
    if (command === 'doctor') return await runDoctor(commands.doctor, { ...line, world });
    return await runCommand(command, commands[command], { ...line, world });
  } catch (error) {
    return printError(error, world);
  }
}

const HELP_COLUMNS_MAX = 120;

interface Call {
  readonly command: CommandName;
  readonly operands: readonly string[];
  readonly flags: Flags;
  readonly world: World;
}

async function runCommand<C extends Exclude<CommandName, 'config' | 'doctor'>>(
  name: C,
  command: Command<C> | undefined,
  call: Call,
): Promise<number> {
  const loaded = await loadSettings(name, call.flags, call.world);
  await using output = new AsyncDisposableStack();
  const context = openContext(loaded.settings, call, output);
  for (const message of loaded.warnings)
    context.emit({ kind: 'notice', name: 'setting-doubtful', level: 'warn', message });
  if (loaded.kind === 'loaded') return (await command?.run(loaded.settings, context)) ?? 0;
  if (command?.refuse !== undefined) return await command.refuse(loaded.settings, loaded.problems, context);
  for (const problem of loaded.problems) context.report(problem);
  return exitCodeOf(loaded.problems[0]);
}

async function runDoctor(doctor: Diagnosis | undefined, call: Call): Promise<number> {
  const examined = await examineSettings(call.flags, call.world);
  await using output = new AsyncDisposableStack();
  return (await doctor?.run(examined, openContext(examined.settings, call, output))) ?? 0;
}

function openContext(
  { logLevel = 'info', logFormat = 'auto' }: { readonly logLevel?: LogLevel; readonly logFormat?: LogFormat },
  { world, operands, command }: Call,
  output: AsyncDisposableStack,
): CommandContext {
  const emit = openLog({ level: logLevel, format: logFormat, command, world, output });
  const { clock, random, signal, endGracefully, stdout, env: proxies } = world;
  const look = () => ({ columns: stdout.columns(), hasColour: stdout.hasColour, nowMs: clock.nowMs() });
  const report = (error: unknown): void => void printError(error, world);
  return { operands, clock, random, proxies, emit, signal, endGracefully, look, report, print: stdout.write };
}

/** Who waits for a command wants to see that it goes on; beside a `run` nobody waits. */
const PROGRESS_MS = 10_000;
const PROGRESS_OF_RUN_MS = 300_000;

type LogFormat = SettingsOf<'list'>['logFormat'];

/** Log lines and progress share standard error: a bar where a person watches, lines elsewhere. */
function openLog(options: {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly command: CommandName;
  readonly world: World;
  readonly output: AsyncDisposableStack;
}): Emit {
  const { world, level, output } = options;
  const { stderr, clock } = world;
  const format = options.format !== 'auto' ? options.format : stderr.isTerminal ? 'text' : 'json';
  const logger = { format, level, hasColour: stderr.hasColour, clock };
  if (format === 'text' && stderr.isTerminal) {
    const bar = output.adopt(createProgressBar({ clock, columns: stderr.columns, write: stderr.write }), (progress) =>
      progress.end(),
    );
    return fanOut([createLogger({ ...logger, write: bar.writeLine }), bar.emit]);
  }
  const log = createLogger({ ...logger, write: stderr.write });
  const everyMs = options.command === 'run' ? PROGRESS_OF_RUN_MS : PROGRESS_MS;
  return fanOut([log, createProgressNotices({ clock, everyMs }, log)]);
}

function fanOut(listeners: readonly Emit[]): Emit {
  return (event) => {
    for (const listen of listeners) listen(event);
  };
}

/** Shows everything even where something is wrong: that is when one looks. */
async function printConfig(flags: Flags, world: World): Promise<number> {
  const effective = await resolveSettings('config', flags, world);
  const values = new Map(effective.settings.map(({ key, value }) => [key, value]));
  const concurrency = values.get('concurrency');
  const settings = effective.settings.map(({ value: _value, problem, text, ...setting }) => ({
    ...setting,
    text: text === undefined ? undefined : maskSecrets(text),
    problem: problem?.message,
  }));
  const memory = world.memoryOf(typeof concurrency === 'number' ? concurrency : 0);
  const look = { columns: world.stdout.columns(), hasColour: world.stdout.hasColour, nowMs: world.clock.nowMs() };
  const config = { settings, memory };
  world.stdout.write(values.get('output') === 'json' ? jsonLine(configJson(config)) : renderConfig(config, look));
  const problems = findProblems(effective);
  for (const warning of effective.warnings) world.stderr.write(`warmstate: warning: ${warning}\n`);
  for (const problem of problems) printError(problem, world);
  return problems.length === 0 ? 0 : exitCodeOf(problems[0]);
}

function printError(error: unknown, { signal, stderr }: World): number {
  const said = signal.aborted ? new Failure('conflict', messageOf(signal.reason), { cause: error }) : error;
  stderr.write(renderError(said, stderr));
  return exitCodeOf(said);
}
