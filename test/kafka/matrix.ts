/**
 * `npm run matrix`: every release × guarantee × scenario with a real broker and real applications, one line for each cell. Writes
 * docs/compatibility.json and, from it, docs/compatibility.md. What a cell showed is kept in .cache/matrix for the same sources, so that a
 * run that broke off goes on; `--cells 3.9.2,4.0.2/at_least_once/killed` chooses, `--again` forgets what is kept of these.
 * Exit code 1 if something is wrong anywhere. Needs a JDK and Maven.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { systemErrorCode } from '../../src/base/failure.ts';
import { Broker } from '../support/kafka/broker.ts';
import { type CellResult, decodeResult, decodeResults, describeResult } from '../support/matrix/cell-result.ts';
import { cellName, isChosen, LINES, SCENARIOS } from '../support/matrix/cells.ts';
import { renderCompatibility } from '../support/matrix/compatibility.ts';
import { MatrixLine } from '../support/matrix/matrix-line.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const DOCUMENT = join(ROOT, 'docs/compatibility.md');
const RESULTS = join(ROOT, 'docs/compatibility.json');
const LINE_MS_MAX = 30 * 60_000;

const { values } = parseArgs({ options: { cells: { type: 'string' }, again: { type: 'boolean', default: false } } });
const chosen = values.cells?.split(',') ?? [];
const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => interrupted.abort(new Error(`ended by ${name}`)));

const sources = sourcesOf();
const commit = git('rev-parse', '--short=12', 'HEAD');
const results = await runCells();
await publish(results);
process.exitCode = results.some(({ wrong }) => wrong.length > 0) ? 1 : 0;

async function runCells(): Promise<readonly CellResult[]> {
  await using held = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'warmstate-matrix-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  let broker: Broker | undefined;
  const found: CellResult[] = [];
  for (const line of LINES) {
    const signal = AbortSignal.any([interrupted.signal, AbortSignal.timeout(LINE_MS_MAX)]);
    let opened: MatrixLine | undefined;
    for (const scenario of SCENARIOS) {
      const cell = cellName(line, scenario);
      if (!isChosen(cell, chosen)) continue;
      let result = values.again ? undefined : await keptResult(cell);
      if (result === undefined) {
        broker ??= held.use(await Broker.start(interrupted.signal));
        opened ??= await MatrixLine.open(line, { broker, directory: join(directory, cell, '..'), commit, signal });
        result = await opened.run(scenario);
        await keep(result);
      }
      process.stdout.write(`${describeResult(result)}\n`);
      found.push(result);
    }
  }
  return found;
}

/** A cell that did not run now keeps what the document has of it. */
async function publish(newer: readonly CellResult[]): Promise<void> {
  const older = decodeResults((await readIfThere(RESULTS)) ?? '[]');
  const byCell = new Map([...older, ...newer].map((result) => [result.cell, result]));
  const cells = LINES.flatMap((line) => SCENARIOS.map((scenario) => cellName(line, scenario)));
  const all = cells.flatMap((cell) => byCell.get(cell) ?? []);
  await writeFile(RESULTS, `${JSON.stringify(all, undefined, 1)}\n`);
  await writeFile(DOCUMENT, renderCompatibility(all));
}

async function keptResult(cell: string): Promise<CellResult | undefined> {
  const text = await readIfThere(keptAt(cell));
  return text === undefined ? undefined : decodeResult(text);
}

async function keep(result: CellResult): Promise<void> {
  const path = keptAt(result.cell);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${JSON.stringify(result, undefined, 1)}\n`);
}

function keptAt(cell: string): string {
  return join(ROOT, '.cache/matrix', sources, `${cell}.json`);
}

/** The commit's tree of src; with uncommitted changes nothing that is kept may be believed. */
function sourcesOf(): string {
  if (git('status', '--porcelain', '--', 'src') !== '') throw new Error('commit the changes in src first');
  return git('rev-parse', '--short=12', 'HEAD:src');
}

function git(...args: readonly string[]): string {
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim();
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
