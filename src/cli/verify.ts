import { EXIT_CODES } from '../base/failure.ts';
import { describeBytes, describeCount } from '../base/quantity.ts';
import type { VerifyResult } from '../restore/verify.ts';
import { type Look, paint } from './look.ts';
import { renderTable } from './table.ts';

export function renderVerify(result: VerifyResult, look: Look): string {
  const columns = ['SNAPSHOT', 'TASK', 'PATH', 'PROBLEM'].map((title) => ({ title }));
  // One damaged archive is a problem of every file in it: a row for each task says enough, the JSON says all.
  const ofTasks = Map.groupBy(result.problems, ({ snapshot, task }) => `${snapshot} ${task}`);
  const rows = [...ofTasks.values()].flatMap(([first, ...more]) => {
    if (first === undefined) return [];
    const others = more.length === 0 ? '' : ` and ${describeCount(more.length, 'more file')}`;
    return [
      [first.snapshot, first.task, first.path === undefined ? undefined : `${first.path}${others}`, first.problem],
    ];
  });
  const table = rows.length === 0 ? '' : `${renderTable(columns, rows, look)}\n`;
  const read = `${describeCount(result.snapshots, 'snapshot')}, ${describeCount(result.objects, 'object')}, ${describeBytes(result.bytes)} read`;
  const isSound = result.problems.length === 0;
  const found = isSound
    ? 'everything is as it was stored'
    : `${describeCount(result.problems.length, 'problem')} found`;
  return `${table}${paint(`${read}: ${found}`, isSound ? 'good' : 'bad', look)}\n`;
}

/** The stable shape of `verify --output json`. */
export function verifyJson({ snapshots, objects, bytes, problems }: VerifyResult): object {
  return {
    snapshots,
    objects,
    bytes,
    problems: problems.map(({ snapshot, task, path, problem }) => ({
      snapshot,
      task: task ?? null,
      path: path ?? null,
      problem,
    })),
  };
}

export function verifyExitCode({ problems }: VerifyResult): number {
  return problems.length === 0 ? 0 : EXIT_CODES.corrupt;
}
