import type { CellResult, ReplayedStore, TaskSeen } from './cell-result.ts';
import { cellName, LINES, type Line, SCENARIO_TITLES, SCENARIOS, type Scenario } from './cells.ts';

/** docs/compatibility.md, from what the cells showed. Lines and cells that have not run are left out. */
export function renderCompatibility(results: readonly CellResult[]): string {
  const byCell = new Map(results.map((result) => [result.cell, result]));
  const find: Find = (line, scenario) => byCell.get(cellName(line, scenario));
  const lines = LINES.filter((line) => SCENARIOS.some((scenario) => find(line, scenario) !== undefined));
  return [
    '# What you get, release by release',
    '',
    ...INTRODUCTION,
    '',
    '## Which state is warm, and how old it is',
    '',
    ...table(
      ['Kafka Streams', 'guarantee', 'after a clean close', 'after a kill', 'after a lost node', 'from a standby'],
      lines.map((line) => [releaseOf(line), line.guarantee, ...promisesOf(line, find)]),
    ),
    '',
    ...LEGEND,
    '',
    '## What was replayed',
    '',
    ...REPLAY_INTRODUCTION,
    '',
    ...table(
      ['Kafka Streams', 'guarantee', 'scenario', 'warm', 'agg', 'win', 'tab', 'glob', 'wiped', 'stores'],
      lines.flatMap((line) => SCENARIOS.flatMap((scenario) => replayRow(line, scenario, find))),
    ),
    '',
    '## What ran',
    '',
    ...table(
      ['Kafka Streams', 'guarantee', 'scenarios', 'right', 'date', 'warmstate'],
      lines.map((line) => runRow(line, find)),
    ),
    '',
  ].join('\n');
}

type Find = (line: Line, scenario: Scenario) => CellResult | undefined;

const INTRODUCTION = [
  'Written by `npm run matrix` from what real runs showed (docs/compatibility.json); not by hand. In each cell a real Kafka Streams',
  'application of that release works against a real broker (Kafka 4.4.0), is captured by warmstate, loses its disk, is restored, and is',
  'compared store by store with a model that computes every entry from the numbers of the records alone. The application has a',
  'key-value store (`agg`), a windowed one (`win`), a table (`tab`), a global table (`glob`) and one in memory (`mem`), in two',
  'subtopologies of two partitions: the tasks 0_0, 0_1, 1_0, 1_1 and `global`.',
] as const;

const LEGEND = [
  'Counted are the tasks that have an owner; the global table is a full copy in every instance, and any will do.',
  '',
  '- **as of the close**: what the application had when it closed. Only what others wrote since is replayed.',
  '- **as of the last checkpoint**: Kafka Streams up to 4.2 writes one after 10,000 changelog records of a task, and `run` publishes it within',
  '  `--interval` (5 minutes). A task that gets fewer stays as of the last close, and has at most so many to replay.',
  '- **as of the last flush**: Kafka Streams from 4.3 on writes offsets together with the data, when a write buffer (16 MB by default) is full or',
  '  the store is closed. A store that never fills one stays as of the last close, and so do tasks with windows or sessions.',
  '- **as of the last close**: nothing newer is there, or nothing newer can be trusted. What the application did since its last clean close is',
  '  replayed. Where that is longer ago than `--max-age` (23 hours), or never was, the task starts cold.',
  '- **cold**: nothing is restored, and the changelog is replayed from its beginning, as without warmstate.',
  '',
  'After a kill warmstate lives on in its container and takes what lies on the disk then; of a lost node only what `run` had published',
  'before is left. Stores in memory are replayed in full in every case.',
] as const;

const REPLAY_INTRODUCTION = [
  "What the application's restore listener said of its start on what was restored: for each store the first offset of each partition of its",
  'changelog, and the number of records replayed, of all that the changelog had. Under exactly-once offsets count the ends of transactions, too,',
  'which are no records. `mem` was replayed in full in every cell.',
] as const;

/** The summary's cells after release and guarantee. */
function promisesOf(line: Line, find: Find): readonly string[] {
  const killed = find(line, 'killed');
  const standby = find(line, 'standby');
  return [
    promise(line, find(line, 'clean-close')?.installed, 'as of the close'),
    promise(line, killed?.installed.filter(hasOwner), 'as of the last close'),
    promise(line, killed?.captured['before the kill']?.filter(hasOwner), 'as of the last close'),
    promise(line, standby?.captured['closed'], 'as of its close'),
  ];
}

/** What the tasks have, the most first: `2 of 4 warm as of the last checkpoint, 2 of 4 warm as of the last close`. */
function promise(line: Line, tasks: readonly TaskSeen[] | undefined, closed: string): string {
  if (tasks === undefined) return 'not run';
  const later =
    closed === 'as of its close' ? closed : isFileLayout(line) ? 'as of the last checkpoint' : 'as of the last flush';
  const words = tasks.map((task) => {
    if (task.quality === null || task.state === 'none') return 'cold';
    return `warm ${task.state === 'since-the-close' ? later : closed}`;
  });
  const kinds = [...Map.groupBy(words, (word) => word)];
  return kinds
    .map(([word, all]) => (kinds.length === 1 ? `**${word}**` : `${all.length} of ${words.length} **${word}**`))
    .join(', ');
}

/** Into the global table no transaction writes, and any instance's will do. */
function hasOwner({ task }: TaskSeen): boolean {
  return task !== 'global';
}

function replayRow(line: Line, scenario: Scenario, find: Find): readonly (readonly string[])[] {
  const result = find(line, scenario);
  if (result === undefined) return [];
  const { installed, wrong } = result;
  const warm = installed.filter(({ decision }) => decision === 'warm').length;
  const stores = ['agg', 'win', 'tab', 'glob'].map((name) =>
    replayCell(result.replayed.find((one) => one.store === name)),
  );
  const wiped = wrong.filter((text) => text.endsWith(': wiped')).length;
  const right = wrong.length === 0 ? 'equal the model' : `WRONG: ${wrong.length}`;
  const counts = [`${warm} of ${installed.length}`, ...stores, wiped === 0 ? 'nothing' : String(wiped), right];
  return [[releaseOf(line), line.guarantee, SCENARIO_TITLES[scenario], ...counts]];
}

function replayCell(store: ReplayedStore | undefined): string {
  if (store === undefined || store.from.length === 0) return 'not opened';
  return `${store.records} from ${store.from.join(', ')}`;
}

function runRow(line: Line, find: Find): readonly string[] {
  const results = SCENARIOS.flatMap((scenario) => find(line, scenario) ?? []);
  const right = results.filter(({ wrong }) => wrong.length === 0).length;
  const dates = [...new Set(results.map(({ date }) => date.slice(0, 10)))].sort();
  const commits = [...new Set(results.map(({ commit }) => commit))];
  return [
    releaseOf(line),
    line.guarantee,
    `${results.length} of ${SCENARIOS.length}`,
    String(right),
    dates.join(', '),
    commits.join(', '),
  ];
}

function releaseOf({ version, transactionalStores }: Line): string {
  return transactionalStores ? `${version}, transactional stores` : version;
}

/** Up to 4.2 offsets lie in a file beside the stores. */
function isFileLayout({ version }: Line): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < 4 || (major === 4 && minor < 3);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  return [tableRow(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(tableRow)];
}

function tableRow(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}
