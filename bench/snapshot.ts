/**
 * Snapshot and restore of a large state with a directory as store, side by side with `cp -r` and fsync of the same
 * tree: `npm run bench`, with `-- --large` also for four times the state. Prints ratios; the last ones stand in README.md.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, statfs } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MAIN, START } from './installed.ts';
import { print } from './report.ts';
import { APPLICATION_ID, type BenchState, layOutBenchState } from './state.ts';

const GIB_TASKS = 4;
const LARGE_TASKS = 16;
const GIB = 2 ** 30;
const run = promisify(execFile);

interface Cost {
  readonly wallS: number;
  readonly cpuS: number;
  readonly peakMb: number;
  readonly output: { readonly bytesRead?: number; readonly bytesUploaded?: number; readonly requests?: number };
}

const parent = process.env['WARMSTATE_BENCH_DIR'] ?? tmpdir();
const isLarge = process.argv.includes('--large');
const directory = await mkdtemp(join(parent, 'warmstate-bench-'));
try {
  const { bavail, bsize } = await statfs(parent);
  const neededBytes = (isLarge ? 14 : 5) * GIB;
  if (bavail * bsize < neededBytes)
    throw new Error(`${parent} has less than ${neededBytes / GIB} GiB free: set WARMSTATE_BENCH_DIR`);
  print(
    `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, ${new Date().toISOString().slice(0, 10)}`,
  );
  await measure('1 GiB', layOutBenchState(join(directory, 'state'), GIB_TASKS), {
    compressions: ['zstd', 'none'],
    comparesWithCp: true,
  });
  await rm(join(directory, 'state'), { recursive: true });
  if (isLarge) {
    await measure('4 GiB', layOutBenchState(join(directory, 'state'), LARGE_TASKS), {
      compressions: ['zstd'],
      comparesWithCp: false,
    });
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

async function measure(
  name: string,
  state: BenchState,
  options: { readonly compressions: readonly ('zstd' | 'none')[]; readonly comparesWithCp: boolean },
): Promise<void> {
  print(`\n${name}: ${state.files} files`);
  const copied = options.comparesWithCp ? await copy(state.stateDir) : undefined;
  if (copied !== undefined) print(line('cp -r and fsync', copied));
  for (const compression of options.compressions) {
    const repository = join(directory, `repository-${compression}`);
    const snapshot = (): Promise<Cost> =>
      warmstate(['snapshot', '--compression', compression], { stateDir: state.stateDir, repository });
    const full = await snapshot();
    print(line(`snapshot, full, ${compression}`, full, copied));
    const unchanged = await snapshot();
    print(`${line('  unchanged', unchanged, copied)}, ${unchanged.output.bytesRead} bytes of tables read`);
    state.goOn();
    const changed = await snapshot();
    print(
      `${line('  5 % new tables', changed, copied)}, ${((changed.cpuS / full.cpuS) * 100).toFixed(0)} % of the full one's CPU`,
    );
    const stateDir = join(directory, 'restored');
    await mkdir(stateDir);
    print(
      line(
        `restore, ${compression}`,
        await warmstate(['restore', '--on-failure', 'fail'], { stateDir, repository }),
        copied,
      ),
    );
    await rm(stateDir, { recursive: true });
    await rm(repository, { recursive: true });
  }
}

async function warmstate(
  command: readonly string[],
  where: { readonly stateDir: string; readonly repository: string },
): Promise<Cost> {
  const usage = join(directory, 'usage.json');
  // The child writes what it used when it ends; the kernel counts.
  const report = `process.on('exit', () => { require('node:fs').writeFileSync(${JSON.stringify(usage)}, JSON.stringify(process.resourceUsage())); });`;
  const preload = join(directory, 'report.cjs');
  await import('node:fs/promises').then((fs) => fs.writeFile(preload, report));
  const flags = [
    '--state-dir',
    where.stateDir,
    '--application-id',
    APPLICATION_ID,
    '--processing-guarantee',
    'at_least_once',
  ];
  const rest = [
    '--destination',
    `file://${where.repository}`,
    '--instance',
    'bench',
    '--lineage',
    'bench',
    '--output',
    'json',
  ];
  const startedMs = performance.now();
  const [program = '', ...start] = START;
  const { stdout } = await run(program, [...start, '-r', preload, MAIN, ...command, ...flags, ...rest], {
    maxBuffer: 64 * 2 ** 20,
  });
  const wallS = (performance.now() - startedMs) / 1000;
  const { userCPUTime, systemCPUTime, maxRSS } = JSON.parse(await readFile(usage, 'utf8'));
  const output = JSON.parse(stdout);
  if (
    output.tasks.some(
      (task: { outcome?: string; decision?: string }) => task.outcome === 'uncapturable' || task.decision === 'cold',
    )
  ) {
    throw new Error(`a task did not come through: ${stdout.slice(0, 2000)}`);
  }
  return { wallS, cpuS: (userCPUTime + systemCPUTime) / 1e6, peakMb: maxRSS / 1024, output };
}

async function copy(stateDir: string): Promise<Cost> {
  const target = join(directory, 'copy');
  const script = `TIMEFORMAT='%R %U %S'; time (cp -r "$1" "$2" && find "$2" -type f -exec sync {} +)`;
  const { stderr } = await run('bash', ['-c', script, 'copy', stateDir, target]);
  await rm(target, { recursive: true });
  const [wallS = 0, user = 0, system = 0] = stderr.trim().split(' ').map(Number);
  return { wallS, cpuS: user + system, peakMb: 0, output: {} };
}

function line(name: string, cost: Cost, base?: Cost): string {
  const figures = `${cost.wallS.toFixed(1).padStart(6)} s  ${cost.cpuS.toFixed(1).padStart(6)} CPU s`;
  const ratios =
    base === undefined
      ? ''
      : `  ×${(cost.wallS / base.wallS).toFixed(2)} wall, ×${(cost.cpuS / base.cpuS).toFixed(2)} CPU of cp`;
  const peak = cost.peakMb === 0 ? '' : `  peak ${cost.peakMb.toFixed(0)} MB`;
  return `${name.padEnd(26)}${figures}${peak}${ratios}`;
}
