import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Broker } from '../kafka/broker.ts';
import { departuresFromDelta } from '../kafka/delta.ts';
import { type PrintedTask, ProtectedApp } from '../kafka/protected-app.ts';
import { type Restoration, type StreamsApp, waitUntil } from '../kafka/streams-app.ts';
import { contentsAfter, differences, type Load, STORES, type StoreContents, type StoreName } from '../model.ts';
import type { Sidecar } from '../sidecar.ts';
import type { CellResult, InstalledTask, ReplayedStore, TaskSeen } from './cell-result.ts';
import { cellName, type Line, lineName, type Scenario } from './cells.ts';

/**
 * The records of all scenarios together span less than the windows' retention. The first life fills two segments; the third
 * begins at record 31,200.
 */
const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 1500, payloadBytes: 60 };
const PARTITIONS = 2;
/** Of two subtopologies; and there is the global one. */
const ACTIVE_TASKS = ['0_0', '0_1', '1_0', '1_1'];
const SUBTOPOLOGIES: Readonly<Record<StoreName, string | undefined>> = {
  agg: '0_',
  win: '0_',
  mem: '0_',
  tab: '1_',
  glob: undefined,
};
const FIRST_LIFE = 12_000;
const LATER = 500;
const GONE_ON = 1500;
/**
 * Up to 4.2 a checkpoint is written after 10,000 changelog records of a task; those of the first subtopology get 1.2 for
 * each record that is fed. The second portion is flushed beyond the checkpoint.
 */
const PORTIONS = { toCheckpoint: 10_000, toTables: 3000, inTransaction: 4000 } as const;
/** Of the ends of transactions, one for each changelog. */
const MARKERS_MAX = 100n;
const WITH_STANDBYS = { 'num.standby.replicas': 1 };
/** Of a standby that has everything: the end of the last transaction counts, and is no record. */
const LAG_MAX = 10;
const SETTLED_MS_MAX = 120_000;
const STEADY_MS = 2000;
const INTERVAL_MS = 2000;
const TWO_ROUNDS_MS = 2 * INTERVAL_MS + 1000;
const PUBLISHED_MS_MAX = 20_000;

export interface MatrixLineOptions {
  readonly broker: Broker;
  readonly directory: string;
  /** Of warmstate. */
  readonly commit: string;
  readonly signal: AbortSignal;
}

type OfTask = Pick<PrintedTask, 'task' | 'quality' | 'reason' | 'offsets'>;

/** What a scenario saw; the rest of the result is the same for all. */
type Seen = Omit<CellResult, 'cell' | 'commit' | 'date' | 'seconds'>;

/**
 * One release under one guarantee: an application that was closed and captured once. Every scenario begins with this snapshot
 * in a repository of its own, and goes on with the same topics.
 */
export class MatrixLine {
  readonly #line: Line;
  readonly #options: MatrixLineOptions;
  /** On the machine on which it was closed. */
  readonly #app: ProtectedApp;
  readonly #closed: readonly PrintedTask[];
  #fed = FIRST_LIFE;

  private constructor(line: Line, options: MatrixLineOptions, closed: Closed) {
    this.#line = line;
    this.#options = options;
    this.#app = closed.app;
    this.#closed = closed.tasks;
  }

  static async open(line: Line, options: MatrixLineOptions): Promise<MatrixLine> {
    const name = `matrix-${lineName(line).replaceAll(/[./_]/g, '-')}`;
    const { broker, signal } = options;
    const app = await ProtectedApp.open({
      ...line,
      name,
      broker,
      load: LOAD,
      partitions: PARTITIONS,
      directory: join(options.directory, 'closed'),
      signal,
    });
    await app.feed(0, FIRST_LIFE);
    await using application = await app.start({ isCalm: true });
    await application.caughtUp(FIRST_LIFE, LOAD);
    await application.close();
    const { tasks } = await app.snapshot();
    return new MatrixLine(line, options, { app, tasks });
  }

  async run(scenario: Scenario): Promise<CellResult> {
    const began = new Date();
    const seen = await this.#see(scenario);
    const { commit } = this.#options;
    const seconds = (Date.now() - began.getTime()) / 1000;
    return { cell: cellName(this.#line, scenario), commit, date: began.toISOString(), seconds, ...seen };
  }

  #see(scenario: Scenario): Promise<Seen> {
    switch (scenario) {
      case 'clean-close':
        return this.#cleanClose();
      case 'other-instance':
        return this.#otherInstance();
      case 'two-pods':
        return this.#twoPods();
      case 'changelog-went-on':
        return this.#changelogWentOn();
      case 'standby':
        return this.#standby();
      case 'killed':
        return this.#killed();
    }
  }

  async #cleanClose(): Promise<Seen> {
    const pod = await this.#podWithSnapshot('clean-close');
    return this.#comeBack(pod, await pod.restore());
  }

  async #otherInstance(): Promise<Seen> {
    const pod = (await this.#podWithSnapshot('other-instance')).as('pod-1');
    await this.#feed(LATER);
    return this.#comeBack(pod, await pod.restore());
  }

  async #twoPods(): Promise<Seen> {
    const pods = [
      await this.#podWithSnapshot('two-pods/0'),
      await this.#app.on(join(this.#options.directory, 'two-pods/1'), { instance: 'pod-1' }),
    ] as const;
    const destination = `file://${pods[0].repository}`;
    const installed = await pods[0].restore({ tasks: 'all' });
    await pods[1].restore({ tasks: 'all', destination });
    const before = [await directoriesOf(pods[0]), await directoriesOf(pods[1])] as const;
    await using first = await pods[0].start({ isCalm: true });
    await using second = await pods[1].start({ isCalm: true, joins: true });
    const both = [first, second] as const;
    await this.#settled(both, async () => {
      const { active } = await second.tasks();
      return active.length > 0;
    });
    await this.#feed(LATER);
    await first.caughtUp(this.#fed, LOAD);
    const expected = contentsAfter(this.#fed, LOAD);
    const wrong: string[] = [];
    for (const store of STORES) {
      const lines = differences(await contentsOfBoth(both, store), expected[store]);
      wrong.push(...lines.map((line) => `${store} ${line}`));
    }
    const dealt = (await second.tasks()).active;
    await Promise.all([first.kill(), second.kill()]);
    const seen = both.map(({ restorations }) => firstOfEach(restorations));
    // What is in memory may have come with a warm-up replica, which became the active task.
    const persistent = seen.flat().filter(({ store }) => store !== 'mem');
    const departures = departuresFromDelta(persistent, onDisk(installed), this.#line.guarantee);
    const wiped = await Promise.all(pods.map((pod, n) => wipedSince(pod, before[n] ?? new Map())));
    return {
      captured: { closed: this.#closed.map((task) => this.#seen(task)) },
      installed: installed.map((task) => this.#installed(task)),
      replayed: replayedStores(seen.flat()),
      facts: [`dealt to the second pod: ${dealt.join(', ')}`],
      wrong: [...departures, ...wiped.flat(), ...wrong],
    };
  }

  async #changelogWentOn(): Promise<Seen> {
    {
      await using application = await this.#app.start({ isCalm: true });
      await this.#feed(GONE_ON);
      await application.caughtUp(this.#fed, LOAD);
      await application.kill();
    }
    const pod = await this.#podWithSnapshot('changelog-went-on');
    const installed = await pod.restore();
    await this.#feed(LATER);
    return this.#comeBack(pod, installed);
  }

  /** The owner's disk is lost; the other pod, closed before, had standby tasks of what the owner worked on. */
  async #standby(): Promise<Seen> {
    const owner = await this.#podWithSnapshot('standby/owner');
    const other = await this.#app.on(join(this.#options.directory, 'standby/other'), { instance: 'pod-1' });
    await owner.restore();
    let standby: readonly string[];
    let running: readonly PrintedTask[];
    {
      await using working = await owner.start({ isCalm: true, streams: WITH_STANDBYS });
      await using waiting = await other.start({ isCalm: true, streams: WITH_STANDBYS, joins: true });
      const hasStandby = async (): Promise<boolean> => (await waiting.tasks()).standby.length > 0;
      await this.#settled([working, waiting], hasStandby);
      await this.#feed(LATER);
      await working.caughtUp(this.#fed, LOAD);
      await this.#settled([working, waiting], async () => (await hasStandby()) && (await waiting.lag()) < LAG_MAX);
      ({ standby } = await waiting.tasks());
      running = (await other.snapshot()).tasks;
      await waiting.close();
      await working.kill();
    }
    const closed = (await other.snapshot()).tasks;
    await other.loseDisk();
    await this.#feed(LATER);
    const pod = other.as('pod-2');
    const seen = await this.#comeBack(pod, await pod.restore({ tasks: 'all' }));
    const isStandby = ({ task }: PrintedTask): boolean => standby.includes(task);
    return {
      ...seen,
      captured: {
        running: running.filter(isStandby).map((task) => this.#seen(task)),
        closed: closed.filter(isStandby).map((task) => this.#seen(task)),
      },
      facts: [`standby tasks: ${standby.join(', ')}`],
    };
  }

  /** Its `run` outlives the application and takes what lies on the disk then; of a lost node only what was published before is left. */
  async #killed(): Promise<Seen> {
    const pod = await this.#podWithSnapshot('killed');
    await pod.restore();
    await using sidecar = pod.sidecar({ interval: `${INTERVAL_MS / 1000}s` });
    const facts: string[] = [];
    let running: readonly OfTask[];
    {
      await using application = await pod.start({ commitIntervalMs: 2000 });
      for (const portion of [PORTIONS.toCheckpoint, PORTIONS.toTables]) {
        await this.#feed(portion);
        await application.caughtUp(this.#fed, LOAD);
      }
      running = await this.#published(sidecar);
      // At-least-once nothing takes back what is written and not sent: the model would have to know of it.
      if (this.#line.guarantee === 'exactly_once_v2') facts.push(await this.#untilInTransaction());
      await application.kill();
    }
    const code = await sidecar.end();
    if (code !== 0) throw new Error(`run ended with ${code}: ${sidecar.transcript}`);
    await pod.loseDisk();
    await this.#feed(LATER);
    const seen = await this.#comeBack(pod, await pod.restore());
    return { ...seen, captured: { 'before the kill': running.map((task) => this.#seen(task)) }, facts };
  }

  /** What `run` offers once it has taken everything that it can take. */
  async #published(sidecar: Sidecar): Promise<readonly OfTask[]> {
    const limitMs = performance.now() + PUBLISHED_MS_MAX;
    for (;;) {
      await delay(TWO_ROUNDS_MS, undefined, { signal: this.#options.signal });
      const { tasks } = await sidecar.status();
      if (performance.now() > limitMs || tasks.every(({ pending }) => !pending))
        return tasks.map(({ task, reason, entry }) => ({
          task,
          reason,
          quality: entry?.quality ?? null,
          offsets: entry?.offsets ?? {},
        }));
    }
  }

  /** The application starts on what was installed, and works off all that there is. */
  async #comeBack(pod: ProtectedApp, installed: readonly PrintedTask[]): Promise<Seen> {
    const before = await directoriesOf(pod);
    await using application = await pod.start({ isCalm: true });
    await application.caughtUp(this.#fed, LOAD);
    const restorations = firstOfEach(application.restorations);
    const departures = departuresFromDelta(restorations, onDisk(installed), this.#line.guarantee);
    const wiped = await wipedSince(pod, before);
    const unlike = await application.differencesFrom(this.#fed, LOAD);
    await application.kill();
    return {
      captured: { closed: this.#closed.map((task) => this.#seen(task)) },
      installed: installed.map((task) => this.#installed(task)),
      replayed: replayedStores(restorations),
      facts: [],
      wrong: [...departures, ...wiped, ...unlike],
    };
  }

  /** A new machine, and a repository that holds what was captured after the close. */
  async #podWithSnapshot(name: string): Promise<ProtectedApp> {
    const pod = await this.#app.on(join(this.#options.directory, name));
    // Nothing in a repository is changed once it is there: links will do.
    await promisify(execFile)('cp', ['-rl', this.#app.repository, pod.repository]);
    return pod;
  }

  async #feed(records: number): Promise<void> {
    const from = this.#fed;
    this.#fed += records;
    await this.#app.feed(from, this.#fed);
  }

  /** Until every task has its owner, `holds`, and both are still so a moment later. */
  async #settled(instances: readonly StreamsApp[], holds: () => Promise<boolean>): Promise<void> {
    const { signal } = this.#options;
    const isSettled = async (): Promise<boolean> => {
      const owned = await Promise.all(instances.map(async (instance) => (await instance.tasks()).active));
      return owned.flat().sort().join() === ACTIVE_TASKS.join() && (await holds());
    };
    const isSteady = async (): Promise<boolean> => {
      if (!(await isSettled())) return false;
      await delay(STEADY_MS, undefined, { signal });
      return isSettled();
    };
    await waitUntil(isSteady, { what: 'the tasks to be dealt', timeoutMs: SETTLED_MS_MAX, signal });
  }

  /** Until the changelogs hold records of a transaction that is not committed yet; says whether it still is not. */
  async #untilInTransaction(): Promise<string> {
    const written = await this.#endSum('.*-changelog');
    const committed = await this.#committedSum();
    await this.#feed(PORTIONS.inTransaction);
    const isWritten = async (): Promise<boolean> => (await this.#endSum('.*-changelog')) > written + MARKERS_MAX;
    const { signal } = this.#options;
    await waitUntil(isWritten, { what: 'a transaction to reach the changelogs', timeoutMs: 60_000, signal });
    const isOpen = (await this.#committedSum()) === committed;
    return `killed in an open transaction: ${isOpen ? 'yes' : 'perhaps'}`;
  }

  async #endSum(topics: string): Promise<bigint> {
    const pattern = new RegExp(`^${this.#app.name}-${topics}-\\d+$`);
    const ends = await this.#options.broker.endOffsets();
    return sum([...ends].filter(([partition]) => pattern.test(partition)).map(([, end]) => end));
  }

  async #committedSum(): Promise<bigint> {
    return sum([...(await this.#options.broker.committedOffsets(this.#app.name)).values()]);
  }

  #installed(task: PrintedTask): InstalledTask {
    return { ...this.#seen(task), decision: task.decision ?? 'cold' };
  }

  #seen({ task, quality, reason, offsets }: OfTask): TaskSeen {
    const closed = this.#closed.find((one) => one.task === task)?.offsets ?? {};
    const isSame = Object.entries(offsets).every(([changelog, offset]) => closed[changelog] === offset);
    const isThere = Object.keys(offsets).length > 0;
    return { task, quality, reason, state: isThere ? (isSame ? 'as-closed' : 'since-the-close') : 'none' };
  }
}

interface Closed {
  readonly app: ProtectedApp;
  readonly tasks: readonly PrintedTask[];
}

function onDisk(installed: readonly PrintedTask[]): readonly PrintedTask[] {
  return installed.filter(({ decision }) => decision !== 'cold');
}

/** A task that moves is restored again, from where it has come to. */
function firstOfEach(restorations: readonly Restoration[]): readonly Restoration[] {
  const firsts = new Map<string, Restoration>();
  for (const restoration of restorations)
    if (!firsts.has(restoration.changelog)) firsts.set(restoration.changelog, restoration);
  return [...firsts.values()];
}

function replayedStores(restorations: readonly Restoration[]): ReplayedStore[] {
  return STORES.map((store) => {
    const own = restorations.filter((restoration) => restoration.store === store);
    const sorted = own.toSorted((a, b) => (a.changelog < b.changelog ? -1 : 1));
    return {
      store,
      from: sorted.map(({ startingOffset }) => String(startingOffset)),
      to: sorted.map(({ endingOffset }) => String(endingOffset)),
      records: Number(sum(sorted.map(({ totalRestored }) => totalRestored))),
    };
  });
}

/** Every directory of the state, with what tells it from a later one of the same name. */
async function directoriesOf(pod: ProtectedApp): Promise<ReadonlyMap<string, string>> {
  const root = join(pod.stateDir, pod.name);
  const found = new Map<string, string>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (!entry.isDirectory()) continue;
    const path = join(entry.parentPath, entry.name);
    const { ino, birthtimeMs } = await stat(path);
    found.set(path.slice(root.length + 1), `${ino} ${birthtimeMs}`);
  }
  return found;
}

async function wipedSince(pod: ProtectedApp, before: ReadonlyMap<string, string>): Promise<readonly string[]> {
  const now = await directoriesOf(pod);
  return [...before].filter(([path, identity]) => now.get(path) !== identity).map(([path]) => `${path}: wiped`);
}

/** Each has the entries of its own tasks, if it has any of the store; of the global table both have all. */
async function contentsOfBoth(instances: readonly StreamsApp[], store: StoreName): Promise<StoreContents> {
  const subtopology = SUBTOPOLOGIES[store];
  const contents = await Promise.all(
    instances.map(async (instance) => {
      const { active } = await instance.tasks();
      const has = subtopology === undefined || active.some((task) => task.startsWith(subtopology));
      return has ? instance.contentsOf(store) : new Map<string, string>();
    }),
  );
  return new Map(contents.flatMap((each) => [...each]));
}

function sum(numbers: readonly bigint[]): bigint {
  return numbers.reduce((total, number) => total + number, 0n);
}
