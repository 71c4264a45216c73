/**
 * A state of 1 GiB to a bucket and back, by warmstate and by what else people use, in one run: the same data, the same
 * server on loopback, rounds interleaved. `npm run bench:storage`; `-- --help` says with what.
 *
 * The kernel counts CPU and memory of the clients, the server's log their requests. Every tree that came back is compared.
 */
import { mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { median, print } from './report.ts';
import { layOutBenchState } from './state.ts';
import { freePort, type Gateway, openGateway, VERSITYGW } from './storage/gateway.ts';
import { type CommandLine, type Cost, execute, measure } from './storage/measure.ts';
import { startResident } from './storage/resident.ts';
import { installPeers, type Peers, type Place, residentLine, type Tool, toolsFor } from './storage/tools.ts';

const PHASES = ['full', 'unchanged', '5 % changed', 'restore'] as const;
type Phase = (typeof PHASES)[number];

interface Measured extends Cost {
  readonly tool: string;
  readonly phase: Phase;
  readonly requests: number;
}

const FREE_BYTES_MIN = 14 * 2 ** 30;

const HELP = `npm run bench:storage -- [--rounds N] [--tasks N] [--only NAME,NAME]

--rounds N        each tool once in each round (3)
--tasks N         of 256 MiB each (4)
--only NAME,NAME  only tools whose names begin so, of warmstate, curl, AWS SDK, s5cmd, rclone, aws-cli and restic (all);
                  curl fetches what warmstate stored, so not without it

WARMSTATE_BENCH_DIR is where it all lies (the directory for temporary files).
`;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    tasks: { type: 'string', default: '4' },
    only: { type: 'string', default: '' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  print(HELP);
  process.exit();
}
const parent = process.env['WARMSTATE_BENCH_DIR'] ?? tmpdir();
const { bavail, bsize } = await statfs(parent);
if (bavail * bsize < FREE_BYTES_MIN) throw new Error(`${parent} has too little room: set WARMSTATE_BENCH_DIR`);

const peers = await installPeers();
const directory = await mkdtemp(join(parent, 'warmstate-bench-'));
try {
  await using gateway = await openGateway(directory);
  const measured = await runRounds(Number(values.rounds), { gateway, peers });
  report(measured, peers);
} finally {
  await rm(directory, { recursive: true, force: true });
}

async function runRounds(
  rounds: number,
  { gateway, peers }: { readonly gateway: Gateway; readonly peers: Peers },
): Promise<readonly Measured[]> {
  const stateDir = join(directory, 'state');
  const state = layOutBenchState(stateDir, Number(values.tasks));
  const measured: Measured[] = [];
  for (let round = 0; round < rounds; round++) {
    const bucket = `round-${round}`;
    await gateway.makeBucket(bucket);
    const place = { gateway, bucket, scratch: directory, stateDir, peers };
    const everyTool = toolsFor(place);
    const tools = everyTool.filter(({ name }) => values.only.split(',').some((begin) => name.startsWith(begin)));
    // Each is first once in a while.
    const turn = [...tools.slice(round % tools.length), ...tools.slice(0, round % tools.length)];
    const of = (tool: Tool, phase: Phase) => async (command: CommandLine) => {
      await execute({ line: ['sync'] });
      await gateway.takeRequests();
      const cost = await measureOrTell(tool, command);
      if (cost === undefined) return;
      measured.push({ tool: tool.name, phase, ...cost, requests: await gateway.takeRequests() });
      print(`round ${round + 1}  ${row(measured.slice(-1), tool.name)}  ${phase}`);
    };
    for (const tool of turn) {
      await tool.prepare?.();
      await of(tool, 'full')(await tool.send(stateDir));
      if (tool.sendsChanges) await of(tool, 'unchanged')(await tool.send(stateDir));
    }
    measured.push(...(await measureResident(place, state.goOn)));
    for (const tool of turn) {
      if (tool.sendsChanges) await of(tool, '5 % changed')(await tool.send(stateDir));
      const target = join(directory, 'fetched');
      await mkdir(target);
      await of(tool, 'restore')(await tool.fetch(target));
      await assertSame(tool, { stateDir, target });
      await rm(target, { recursive: true });
    }
    await gateway.removeBucket(bucket);
  }
  return measured;
}

/** Without what has to start: beside the others, which start anew for every increment. Moves the state on meanwhile. */
async function measureResident(place: Place, goOn: () => void): Promise<readonly Measured[]> {
  const { gateway } = place;
  const measured: Measured[] = [];
  await gateway.takeRequests();
  await using resident = await startResident(residentLine(place), await freePort());
  for (const phase of ['full', 'unchanged', '5 % changed'] as const) {
    if (phase === '5 % changed') goOn();
    const cost = await resident.snapshot();
    measured.push({ tool: 'warmstate run', phase, ...cost, requests: await gateway.takeRequests() });
    print(`         ${row(measured.slice(-1), 'warmstate run')}  ${phase}`);
  }
  return measured;
}

/** Undefined where it failed: a client that does not repeat a stream has no figures then. */
async function measureOrTell(tool: Tool, command: CommandLine): Promise<Cost | undefined> {
  try {
    return await measure(command, join(directory, 'time'));
  } catch (error) {
    if (!tool.mayFail) throw error;
    print(`${tool.name} failed: ${/(?:Error|Request|Exception): .*/.exec(String(error))?.[0] ?? 'no reason'}`);
    return undefined;
  }
}

async function assertSame(
  tool: Tool,
  { stateDir, target }: { readonly stateDir: string; readonly target: string },
): Promise<void> {
  const fetched = tool.fetched(target);
  // What does not send changes brings back the state of before.
  if (fetched === undefined || !tool.sendsChanges) return;
  await execute({ line: ['diff', '--recursive', '--brief', '--exclude=.warmstate', stateDir, fetched] });
}

function report(measured: readonly Measured[], { versions }: Peers): void {
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}`;
  print(`\n${new Date().toISOString().slice(0, 10)}, ${machine}, Node ${process.version}, versitygw ${VERSITYGW}`);
  print(versions.join('\n'));
  for (const phase of PHASES) {
    print(`\n${phase.padEnd(18)}    CPU s    wall s   peak MB  requests   (medians)`);
    const ofPhase = measured.filter((one) => one.phase === phase);
    for (const tool of new Set(ofPhase.map((one) => one.tool))) {
      print(
        row(
          ofPhase.filter((one) => one.tool === tool),
          tool,
        ),
      );
    }
  }
}

function row(measured: readonly Measured[], tool: string): string {
  const middle = (of: (one: Measured) => number): number => median(measured.map(of));
  const figures = [
    middle(({ cpuS }) => cpuS).toFixed(2),
    middle(({ wallS }) => wallS).toFixed(1),
    middle(({ peakMb }) => peakMb).toFixed(0),
    middle(({ requests }) => requests).toFixed(0),
  ];
  return `${tool.padEnd(18)}${figures.map((figure) => figure.padStart(9)).join(' ')}`;
}
