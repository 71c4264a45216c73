/**
 * `npm run mutate [-- RULE…]`: takes every rule of docs/rules.md out of a copy of the sources, one condition after another, runs the
 * tests that should notice, and prints a line for each. `Q1` chooses a rule, `Q` all that begin with it. `--write` makes
 * docs/decisions/0029-every-rule-is-seen-to-matter.md of a run of all; `--jobs 2` does two at a time, each in a copy of its own. Exit
 * code 1 where the removal of something is not noticed, where a line of code has moved, or where tests fail that nothing was taken from.
 */
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { mapBounded } from '../../src/base/concurrency.ts';
import { MutantTree, type Outcome } from './mutant-tests.ts';
import type { Mutation } from './mutation.ts';
import { MUTATIONS } from './mutations.ts';
import { describeFinding, type Finding, renderFindings, summariseFindings } from './report.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const DOCUMENT = join(ROOT, 'docs/decisions/0029-every-rule-is-seen-to-matter.md');

const { values, positionals } = parseArgs({
  options: { write: { type: 'boolean', default: false }, jobs: { type: 'string', default: '1' } },
  allowPositionals: true,
});
const chosen = MUTATIONS.filter(({ rule }) => isChosen(rule));
if (chosen.length === 0) throw new Error(`no rule is called ${positionals.join(' or ')}`);
if (values.write && chosen.length < MUTATIONS.length) throw new Error('--write takes a run of all rules');
const jobs = Number(values.jobs);
if (!(jobs >= 1)) throw new Error(`--jobs takes a number, not ${values.jobs}`);
const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => interrupted.abort(new Error(`ended by ${name}`)));

const of = { commit: commitOf(), date: today() };
const findings = await run(chosen);
const noticed = findings.filter(({ outcome }) => outcome.kind === 'failed');
print(summariseFindings(findings));
if (values.write) await writeFile(DOCUMENT, renderFindings(findings, of));
process.exitCode = noticed.length === chosen.length ? 0 : 1;

async function run(mutations: readonly Mutation[]): Promise<readonly Finding[]> {
  await using held = new AsyncDisposableStack();
  const idle: MutantTree[] = [];
  for (let job = 0; job < jobs; job++) idle.push(held.use(await MutantTree.copy(interrupted.signal)));
  const [first] = idle;
  if (first !== undefined) await assertPassing(first, mutations);
  // Awaited here: the trees go when this function is left.
  const found = await mapBounded(mutations, { limit: jobs, signal: interrupted.signal }, async (mutation) => {
    const tree = idle.pop();
    if (tree === undefined) throw new Error('bug: there are more jobs than trees');
    const startedMs = performance.now();
    const outcome = await tree.testWithout(mutation).catch(toOutcome);
    const finding = { mutation, outcome, seconds: (performance.now() - startedMs) / 1000 };
    idle.push(tree);
    print(describeFinding(finding));
    return finding;
  });
  return found;
}

/** As they are, the tests that are to notice say nothing. */
async function assertPassing(tree: MutantTree, mutations: readonly Mutation[]): Promise<void> {
  const [whole, partly] = [mutations.filter(({ only }) => only === undefined), mutations.filter(({ only }) => only)];
  const names = [...new Set(partly.map(({ only }) => only))].join('|');
  for (const [files, only] of [
    [filesOf(whole), undefined],
    [filesOf(partly).difference(filesOf(whole)), names],
  ] as const) {
    const outcome = files.size === 0 ? undefined : await tree.test([...files], only);
    if (outcome === undefined || outcome.kind === 'passed') continue;
    throw new Error(`tests fail that nothing was taken from: ${JSON.stringify(outcome)}`);
  }
}

function filesOf(mutations: readonly Mutation[]): Set<string> {
  return new Set(mutations.flatMap(({ tests }) => tests));
}

/** A text that is not there (once) any more spoils one mutation, not the run. */
function toOutcome(error: unknown): Outcome {
  interrupted.signal.throwIfAborted();
  return { kind: 'broken', why: String(error) };
}

function isChosen(rule: string): boolean {
  return (
    positionals.length === 0 || positionals.some((one) => one === rule || (/^[A-Z]$/.test(one) && rule.startsWith(one)))
  );
}

function commitOf(): string {
  const isChanged = git('status', '--porcelain', '--', 'src', 'test') !== '';
  return `${git('rev-parse', '--short=12', 'HEAD')}${isChanged ? ', with changes' : ''}`;
}

function git(...args: readonly string[]): string {
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim();
}

function today(): string {
  return new Date().toISOString().slice(0, 10);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
