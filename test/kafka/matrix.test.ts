import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { describeResult } from '../support/matrix/cell-result.ts';
import { LINES, lineName, type Scenario } from '../support/matrix/cells.ts';
import { MatrixLine } from '../support/matrix/matrix-line.ts';

/** What the other tests of this folder do not run: other releases and standbys. All cells: `npm run matrix`. */
const CHOSEN: Readonly<Record<string, readonly Scenario[]>> = {
  '2.8.2/exactly_once_v2': ['clean-close', 'killed'],
  '3.5.2/at_least_once': ['killed'],
  '4.4.0-transactional/exactly_once_v2': ['killed'],
  '4.0.2/exactly_once_v2': ['standby', 'other-instance', 'changelog-went-on'],
};
const DURATION_MS_MAX = 40 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(DURATION_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-matrix-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

const chosen = LINES.flatMap((line) => {
  const scenarios = CHOSEN[lineName(line)];
  return scenarios === undefined ? [] : [{ name: lineName(line), line, scenarios }];
});

describe.for(chosen)('$name', ({ name, line, scenarios }) => {
  let opened: MatrixLine;
  beforeAll(async () => {
    opened = await MatrixLine.open(line, { broker, directory: join(directory, name), commit: 'this', signal });
  });

  test.for(scenarios)('%s: comes back warm and right, and only the delta is replayed', async (scenario) => {
    const result = await opened.run(scenario);
    console.log(describeResult(result));
    expect(result.wrong).toEqual([]);
    expect(result.installed.map(({ task, decision }) => [task, decision])).toEqual(
      ['0_0', '0_1', '1_0', '1_1', 'global'].map((task) => [task, 'warm']),
    );
  });
});
