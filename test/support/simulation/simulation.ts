import { createHash } from 'node:crypto';
import { isFailure } from '../../../src/base/failure.ts';
import { forget } from '../../../src/cli/forget.ts';
import { prune } from '../../../src/cli/prune.ts';
import { deleteInDirectoryOrder } from '../deletion.ts';
import { Bucket, FAIR_WEATHER, type Weather } from './bucket.ts';
import { Chance } from './chance.ts';
import { APPLICATION, Cluster, type StoreShape } from './cluster.ts';
import { TableContents } from './database.ts';
import { Invariants, listOffered, named, type View } from './invariants.ts';
import {
  exists,
  findForgotten,
  findLocalFault,
  type ModelApp,
  readOffsets,
  TASK_EVENTS,
  type TaskEvent,
  taskPath,
} from './model-app.ts';
import { killLife, LINEAGE, type Life, makeVolume, Pod, type PodSettings, type PodWorld, type Volume } from './pod.ts';
import { SimulatedProcess } from './process.ts';
import { RepositoryWatch } from './repository-watch.ts';
import { WorldClock } from './world-clock.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** What may happen in a step, and how often. */
const STEPS = {
  write: 22,
  flush: 10,
  checkpoint: 8,
  commit: 6,
  abort: 1,
  compact: 4,
  roll: 1,
  'wipe-store': 0.4,
  'seconds-pass': 14,
  'minutes-pass': 5,
  'hours-pass': 0.5,
  'start-pod': 3,
  'stop-pod': 1,
  'lose-pod': 0.7,
  'strand-pod': 0.3,
  'restart-app': 0.8,
  'restart-sidecar': 0.8,
  assign: 4,
  glance: 1,
  'stand-by': 2,
  clean: 2,
  freeze: 1,
  thaw: 2.5,
  ambush: 3,
  'turn-clock': 0.5,
  'change-weather': 1.2,
  prune: 0.7,
  forget: 0.15,
  reset: 0.15,
  deploy: 0.3,
  expire: 0.25,
} as const;
type Step = keyof typeof STEPS;

/** What happens more often in the story of one seed: rules that need many of one kind at once are met nowhere else. */
const MOODS: readonly Partial<Record<Step, number>>[] = [
  {},
  {},
  // Little moves for days, and is opened now and then.
  { 'hours-pass': 10, glance: 5, write: 8, clean: 0.5, reset: 0.05 },
  // Pods come and go, and so do histories, while volumes sleep.
  { 'start-pod': 6, 'stop-pod': 2, 'lose-pod': 2, reset: 1, forget: 0.5 },
  // Tasks wander.
  { assign: 10, 'stand-by': 5, 'restart-app': 2, glance: 3 },
  // Much is collected, and much of it meets what is under way.
  { 'minutes-pass': 12, 'hours-pass': 2, prune: 5, ambush: 8 },
];

const PODS_MAX = 3;

/** How many tasks there are, and how often: most of what goes wrong goes wrong with one, and every other costs as much. */
const TASKS = { 1: 5, 2: 3, 3: 2 };

/** Into how many turns of everybody a stretch of time is cut, and how often. */
const TURNS = { 1: 6, 2: 3, 3: 1 };

/** How slow everybody is while hours go by, and how often: who turns every second turns every half an hour, or a few times a day. */
const SLOTHS = { 2_000: 1, 20_000: 3 };

/** Until all has converged, with something to capture before each: writers look around every quarter of an hour. */
const RESTS_MINUTES = [1, 1, 1, 1, 1, 2, 3, 5, 5];

const STORE_SETS: readonly (readonly StoreShape[])[] = [
  [{ name: 'agg', kind: 'plain' }],
  [
    { name: 'agg', kind: 'plain' },
    { name: 'win', kind: 'segmented' },
  ],
  [
    { name: 'agg', kind: 'plain' },
    { name: 'old', kind: 'plain' },
  ],
];

/** How one run of the simulation ended. */
export interface Outcome {
  readonly seed: number;
  /** Steps that were made. */
  readonly steps: number;
  /** What must not be, and was. */
  readonly finding: string | undefined;
  readonly trace: readonly string[];
  /** Of the trace: the same for the same seed. */
  readonly hash: string;
  readonly counts: Readonly<Record<string, number>>;
}

/** Lets whole agents and restores live through so many steps of what may happen to them, and looks after each. */
export async function simulate(
  seed: number,
  options: { readonly steps: number; readonly faults?: boolean },
): Promise<Outcome> {
  const simulation = new Simulation(seed, options.faults ?? true);
  const finding = await simulation
    .run(options.steps)
    .catch((error: unknown) => `bug: ${error instanceof Error ? error.stack : String(error)}`);
  const { trace, counts, stepsMade: steps } = simulation;
  return { seed, steps, finding, trace, hash: createHash('sha256').update(trace.join('\n')).digest('hex'), counts };
}

class Simulation {
  readonly trace: string[] = [];
  readonly counts: Record<string, number> = {};
  stepsMade = 0;
  readonly #chance: Chance;
  readonly #hasFaults: boolean;
  readonly #clock = new WorldClock();
  readonly #cluster: Cluster;
  readonly #contents = new TableContents();
  readonly #watch: RepositoryWatch;
  readonly #bucket: Bucket;
  readonly #invariants = new Invariants();
  readonly #world: PodWorld;
  readonly #isStateful: boolean;
  readonly #weights: Readonly<Record<Step, number>>;
  #pods: Pod[] = [];
  /** Sidecars whose pods are gone, or think so. */
  #strays: Life<unknown>[] = [];
  /** Volumes of pods that are gone and may come back. */
  readonly #volumes = new Map<string, Volume>();
  #names = 0;
  readonly #deletions = new Map<string, Generator<string, void>>();
  /** The application is reset, and not yet forgotten. */
  #isResetting = false;
  #resets = 0;
  /** The faults have ended. */
  #isCalm = false;
  #commands = 0;
  /** Who may have acted since the last look, and have ended since. */
  #acted: readonly Life<unknown>[] = [];
  #seenVersion = -1;
  #seenHour = -1;
  #finding: string | undefined;

  constructor(seed: number, hasFaults: boolean) {
    this.#chance = new Chance(seed);
    this.#hasFaults = hasFaults;
    const chance = this.#chance;
    this.#cluster = new Cluster({
      tasks: Number(chance.weighted(TASKS)),
      isExactlyOnce: chance.happens(0.4),
      leavesCheckpoint: chance.happens(0.5),
      stores: chance.pick(STORE_SETS) ?? [],
    });
    this.#isStateful = chance.happens(0.5);
    this.#weights = { ...STEPS, ...(hasFaults ? chance.pick(MOODS) : NO_FAULTS) };
    this.#watch = new RepositoryWatch(this.#clock);
    this.#bucket = new Bucket(this.#clock, chance, this.#watch);
    this.#world = {
      clock: this.#clock,
      bucket: this.#bucket,
      watch: this.#watch,
      cluster: this.#cluster,
      contents: this.#contents,
      chance,
      trace: (line) => this.#note(line),
    };
  }

  async run(steps: number): Promise<string | undefined> {
    this.#startPod();
    for (; this.stepsMade < steps; this.stepsMade++) {
      await this.#step();
      const finding = await this.#look();
      if (finding !== undefined) return finding;
    }
    return this.#converge();
  }

  #note(line: string): void {
    this.trace.push(`${this.stepsMade} ${(this.#clock.steadyMs / 1000).toFixed(3)} ${line}`);
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  get #lives(): readonly Life<unknown>[] {
    this.#strays = this.#strays.filter(({ isOver }) => !isOver);
    return [...this.#pods.flatMap(({ lives }) => lives), ...this.#strays];
  }

  async #step(): Promise<void> {
    const chance = this.#chance;
    const step = chance.weighted(this.#weights);
    this.#count(step);
    if (isTaskEvent(step)) this.#actOnTask(step);
    else await this.#act(step);
    await this.#pass(1 + chance.below(40));
    this.#goOn();
  }

  async #act(step: Exclude<Step, TaskEvent>): Promise<void> {
    const chance = this.#chance;
    switch (step) {
      case 'seconds-pass':
        return this.#pass(chance.durationMs(SECOND_MS, 15 * SECOND_MS));
      case 'minutes-pass':
        return this.#pass(chance.durationMs(MINUTE_MS, 12 * MINUTE_MS));
      case 'hours-pass':
        for (const { app } of this.#pods) app?.catchUp();
        return this.#pass(chance.durationMs(HOUR_MS, 30 * HOUR_MS), Number(chance.weighted(SLOTHS)));
      case 'start-pod':
        if (this.#pods.length < PODS_MAX && !this.#isResetting) this.#startPod();
        return;
      case 'stop-pod':
        if (this.#pods.length > 1 || chance.happens(0.3)) this.#stopPod(chance.pick(this.#pods));
        return;
      case 'lose-pod':
        return this.#losePod(chance.pick(this.#pods));
      case 'strand-pod':
        return this.#strandPod(chance.pick(this.#pods));
      case 'restart-app':
        return this.#restartApp(chance.pick(this.#appPods));
      case 'restart-sidecar':
        return this.#restartSidecar(chance.pick(this.#appPods));
      case 'assign':
        return this.#assign({ isMove: chance.happens(0.3) });
      case 'glance':
        return this.#glance(chance.pick(this.#appPods));
      case 'stand-by':
        return this.#standBy(chance.pick(this.#appPods));
      case 'clean':
        return this.#clean(chance.pick(this.#appPods));
      case 'freeze': {
        const life = chance.pick(this.#lives);
        if (life !== undefined) this.#freeze(life);
        return;
      }
      case 'thaw':
        for (const { process } of this.#lives) if (process.isFrozen && chance.happens(0.6)) this.#thaw(process);
        return;
      case 'ambush':
        return this.#ambush(chance.pick(this.#lives));
      case 'turn-clock': {
        const pod = chance.pick(this.#pods);
        if (pod === undefined) return;
        pod.hasTurnedClock = true;
        pod.volume.skewMs += (chance.happens(0.5) ? 1 : -1) * chance.durationMs(SECOND_MS, 4 * HOUR_MS);
        return this.#note(`${pod.name} turns its clock to ${pod.volume.skewMs} ms ahead`);
      }
      case 'change-weather':
        this.#bucket.weather = this.#drawWeather();
        this.#bucket.isAway = chance.happens(0.1);
        return this.#note(`weather ${this.#bucket.isAway ? 'away' : JSON.stringify(this.#bucket.weather)}`);
      case 'prune':
        return this.#prune();
      case 'forget':
        return this.#forget();
      case 'reset':
        return this.#reset();
      case 'deploy':
        return this.#deploy();
      case 'expire':
        return this.#expire();
    }
  }

  /** Lets time go by, in as few turns as that length is worth. */
  async #pass(ms: number, sloth?: number): Promise<void> {
    await this.#clock.advance(ms, ms <= SECOND_MS ? 1 : ms / Number(this.#chance.weighted(TURNS)), sloth);
  }

  #drawWeather(): Weather {
    const chance = this.#chance;
    if (chance.happens(0.4)) return FAIR_WEATHER;
    const draw = (most: number): number => (chance.happens(0.5) ? 0 : most * chance.fraction());
    return { refused: draw(0.15), lost: draw(0.1), late: draw(0.1), slow: draw(0.2), cut: draw(0.05) };
  }

  /** What follows by itself: containers that ended are followed by others. */
  #goOn(): void {
    for (const pod of this.#pods) {
      const { restoring } = pod;
      if (restoring?.isOver === true) {
        pod.restoring = undefined;
        if (restoring.process.isDead) pod.startRestore();
        else this.#startApp(pod, restoring);
      }
      const isSuspended = pod.lives.some(({ process }) => process.isSuspended);
      if (pod.restartsAtMs !== undefined && pod.restartsAtMs <= this.#clock.steadyMs && !isSuspended) {
        pod.restartsAtMs = undefined;
        pod.startApp();
        this.#assign({ isMove: false });
      }
      if (pod.app !== undefined && pod.sidecar?.isOver !== false && this.#isSoon(0.3)) pod.startSidecar();
    }
    for (const [key, deletion] of this.#deletions)
      if (this.#chance.happens(0.3) && deletion.next().done === true) this.#deletions.delete(key);
    if (this.#isResetting && this.#chance.happens(0.5)) void this.#command('forget', (parts) => this.#forgetAll(parts));
  }

  #startPod(): Pod {
    const chance = this.#chance;
    const taken = new Set(this.#pods.map(({ name }) => name));
    const free = Array.from({ length: PODS_MAX + 1 }, (_, n) => `app-${n}`).find((name) => !taken.has(name));
    const name = this.#isStateful && free !== undefined ? free : `app-${this.#names++}-x`;
    const old = chance.happens(0.7) ? this.#volumes.get(name) : undefined;
    this.#volumes.delete(name);
    const pod = new Pod(name, this.#world, { settings: this.#drawSettings(), volume: old ?? makeVolume(this.#world) });
    if (this.#hasFaults && chance.happens(0.3))
      pod.volume.skewMs = (chance.happens(0.5) ? 1 : -1) * chance.durationMs(SECOND_MS, 5 * HOUR_MS);
    this.#pods.push(pod);
    const restoring = pod.startRestore();
    if (this.#hasFaults && !this.#isCalm && chance.happens(0.25)) this.#ambush(restoring);
    this.#note(`${name} starts${old === undefined ? '' : ' on its old volume'}, ${pod.volume.skewMs} ms ahead`);
    return pod;
  }

  #drawSettings(): PodSettings {
    const chance = this.#chance;
    return {
      maxAgeMs: chance.happens(0.8) ? 23 * HOUR_MS : 12 * HOUR_MS,
      keepWithinMs: chance.happens(0.5) ? 6 * HOUR_MS : HOUR_MS,
      intervalMs: chance.pick([30 * SECOND_MS, 2 * MINUTE_MS, 5 * MINUTE_MS]) ?? MINUTE_MS,
      prunes: chance.happens(0.7),
      hasSlowLine: !this.#isCalm && chance.happens(0.3),
      watches: chance.happens(0.8),
    };
  }

  #startApp(pod: Pod, restored: NonNullable<Pod['restoring']>): void {
    const reasons = restored.result?.tasks.flatMap(({ why }) => why?.reason ?? []);
    const hasLooked = reasons !== undefined && !reasons.some((reason) => reason === 'storage' || reason === 'deadline');
    const forgotten = this.#findForgotten(pod);
    // What nobody could ask for is not known to be forgotten: who lets volumes sleep through a reset has `--on-failure fail`.
    if (!hasLooked && forgotten !== undefined) {
      pod.startRestore();
      return;
    }
    this.#note(`${pod.name} opens its volume`);
    if (forgotten !== undefined) this.#finding ??= `what is forgotten stays so: ${pod.name}: ${forgotten}`;
    pod.startApp();
    if (this.#isSoon(0.8)) pod.startSidecar();
    this.#assign({ isMove: false });
  }

  /** A container may be slow to start; what nobody watched before it was closed is not promised, so not at the end. */
  #isSoon(likelihood: number): boolean {
    return this.#isCalm || this.#chance.happens(likelihood);
  }

  /** A volume that wakes up after its history was forgotten must not bring it back. */
  #findForgotten(pod: Pod): string | undefined {
    const view = this.#view(pod);
    return this.#cluster.tasks.map((task) => findForgotten(task, view)).find((found) => found !== undefined);
  }

  #view(pod: Pod) {
    return { disk: pod.disk, cluster: this.#cluster, contents: this.#contents, nowMs: () => this.#clock.nowMs };
  }

  get #appPods(): readonly Pod[] {
    return this.#pods.filter(({ app }) => app !== undefined);
  }

  #ownerOf(task: string): Pod | undefined {
    return this.#pods.find(({ app }) => app?.tasks.includes(task) === true);
  }

  #actOnTask(event: TaskEvent): void {
    const task = this.#chance.pick(this.#cluster.tasks);
    if (task === undefined) return;
    const standbys = this.#appPods.filter(({ app }) => app?.standbys.includes(task));
    const actor = this.#chance.happens(0.3)
      ? (this.#chance.pick(standbys) ?? this.#ownerOf(task))
      : this.#ownerOf(task);
    actor?.app?.do(task, event);
    if (event === 'checkpoint' && this.#chance.happens(0.7)) actor?.hint(task);
    this.#note(`${event} ${task}${actor === undefined ? '' : ` of ${actor.name}`}`);
  }

  /** Every task that nobody has goes to somebody, most likely to who has most of it; one that somebody has may move. */
  #assign({ isMove }: { readonly isMove: boolean }): void {
    const chance = this.#chance;
    const pods = this.#appPods;
    if (pods.length === 0) return;
    for (const task of this.#cluster.tasks) {
      const owner = this.#ownerOf(task);
      if (owner !== undefined && !(isMove && chance.happens(0.4))) continue;
      const far = pods.map((pod) => sumOf(readOffsets(task, pod.disk)));
      const mostFar = Math.max(...far);
      const next = chance.happens(0.7) ? pods[far.indexOf(mostFar)] : chance.pick(pods);
      if (next === undefined || next === owner) continue;
      if (owner !== undefined) this.#close(owner, task);
      this.#open(next, task);
    }
  }

  #open(pod: Pod, task: string): void {
    const isSlow = !this.#isCalm && this.#chance.happens(0.3);
    this.#occupy(pod, task, { how: `opens${isSlow ? ' slowly' : ''}`, open: (app) => app.open(task, { isSlow }) });
  }

  /** A task is assigned and taken away again before anything of it is replayed. */
  #glance(pod: Pod | undefined): void {
    const task = this.#chance.pick(this.#cluster.tasks);
    if (pod?.app === undefined || task === undefined || pod.app.tasks.includes(task)) return;
    if (readOffsets(task, pod.disk) === undefined) return;
    this.#occupy(pod, task, { how: 'glances at', open: (app) => app.standBy(task) });
    pod.app.endStandby(task);
    pod.hint(task);
  }

  #standBy(pod: Pod | undefined): void {
    const task = this.#chance.pick(this.#cluster.tasks);
    if (pod?.app === undefined || task === undefined || pod.app.tasks.includes(task)) return;
    if (pod.app.standbys.includes(task)) {
      this.#note(`${pod.name} stands by for ${task} no more`);
      pod.app.endStandby(task);
    } else if (this.#ownerOf(task) !== undefined) {
      this.#occupy(pod, task, { how: 'stands by for', open: (app) => app.standBy(task) });
    }
  }

  #occupy(
    pod: Pod,
    task: string,
    { how, open }: { readonly how: string; readonly open: (app: ModelApp) => string | undefined },
  ): void {
    const { app } = pod;
    if (app === undefined) return;
    const deletion = this.#deletions.get(`${pod.name}/${task}`);
    if (deletion !== undefined) while (deletion.next().done !== true);
    this.#deletions.delete(`${pod.name}/${task}`);
    const fault = open(app);
    this.#note(`${pod.name} ${how} ${task}${fault === undefined ? '' : `, anew: ${fault}`}`);
    const installedMs = pod.installed.get(task);
    // What was young enough is not for ever.
    if (fault !== undefined && installedMs !== undefined && this.#clock.steadyMs - installedMs < HOUR_MS / 2)
      this.#finding ??= `what is installed is true: ${pod.name}: ${fault}`;
    pod.installed.delete(task);
  }

  #stopPod(pod: Pod | undefined, graceMs = this.#chance.durationMs(10 * SECOND_MS, 3 * MINUTE_MS)): void {
    if (pod === undefined) return;
    this.#note(`${pod.name} is stopped`);
    this.#remove(pod);
    if (pod.restoring !== undefined) killLife(pod.restoring);
    this.#closeAll(pod);
    pod.app = undefined;
    pod.restartsAtMs = undefined;
    const { sidecar } = pod;
    if (sidecar === undefined || sidecar.isOver) return;
    sidecar.stopping.abort(new Error('ended by SIGTERM'));
    this.#strays.push(sidecar);
    this.#clock.wakeAfter(graceMs, () => killLife(sidecar));
  }

  #losePod(pod: Pod | undefined): void {
    if (pod === undefined) return;
    this.#note(`${pod.name} is lost`);
    this.#remove(pod);
    pod.kill();
  }

  /** Its node is cut off, and nobody has told it: another pod of its name may start. */
  #strandPod(pod: Pod | undefined): void {
    if (pod === undefined) return;
    this.#note(`${pod.name} is stranded`);
    pod.app?.crash();
    pod.app = undefined;
    for (const life of pod.lives) {
      this.#freeze(life);
      this.#strays.push(life);
    }
    // Its volume stays with what is alive there: no other node mounts it.
    this.#remove(pod);
  }

  #remove(pod: Pod): void {
    this.#pods = this.#pods.filter((other) => other !== pod);
    if (this.#isStateful && pod.lives.every(({ process }) => !process.isFrozen))
      this.#volumes.set(pod.name, pod.volume);
    for (const key of this.#deletions.keys()) if (key.startsWith(`${pod.name}/`)) this.#deletions.delete(key);
  }

  #restartApp(pod: Pod | undefined): void {
    if (pod?.app === undefined) return;
    const isClean = this.#chance.happens(0.5);
    this.#note(`${pod.name} restarts its application${isClean ? '' : ', which crashed'}`);
    if (isClean) this.#closeAll(pod);
    else pod.app.crash();
    pod.app = undefined;
    pod.restartsAtMs = this.#clock.steadyMs + this.#chance.durationMs(SECOND_MS, 90 * SECOND_MS);
  }

  #closeAll(pod: Pod): void {
    for (const task of pod.app?.standbys ?? []) pod.app?.endStandby(task);
    for (const task of pod.app?.tasks ?? []) this.#close(pod, task);
  }

  #close(pod: Pod, task: string): void {
    pod.app?.close(task);
    pod.hint(task);
  }

  #restartSidecar(pod: Pod | undefined): void {
    if (pod?.sidecar === undefined || pod.sidecar.isOver) return;
    this.#note(`${pod.name} restarts its sidecar`);
    killLife(pod.sidecar);
    pod.startSidecar();
  }

  /** Kafka's cleaner takes what is assigned to others away, file by file. */
  #clean(pod: Pod | undefined): void {
    const task = this.#chance.pick(this.#cluster.tasks);
    if (pod?.app === undefined || task === undefined) return;
    if (pod.app.tasks.includes(task) || pod.app.standbys.includes(task)) return;
    if (!exists(pod.disk, taskPath(task))) return;
    const key = `${pod.name}/${task}`;
    const deletion = this.#deletions.get(key) ?? deleteInDirectoryOrder(taskPath(task), { files: pod.disk });
    this.#deletions.set(key, deletion);
    this.#note(`${pod.name} deletes ${task}`);
    for (let left = 1 + this.#chance.below(12); left > 0; left--)
      if (deletion.next().done === true) this.#deletions.delete(key);
  }

  /** Alone, or with its machine: then its application does nothing either, has lost its tasks when it wakes up, and begins anew. */
  #freeze(life: Life<unknown>): void {
    const suspended = this.#chance.happens(0.4);
    life.process.freeze({ suspended });
    this.#note(`${life.process.name} freezes${suspended ? ' with its machine' : ''}`);
    const pod = this.#pods.find(({ lives }) => lives.includes(life));
    if (!life.process.isSuspended || pod?.app === undefined) return;
    pod.app.crash();
    pod.app = undefined;
    pod.restartsAtMs = this.#clock.steadyMs;
  }

  #thaw(process: SimulatedProcess): void {
    process.thaw();
    this.#note(`${process.name} thaws`);
  }

  /** Between two calls of a process something happens. */
  #ambush(life: Life<unknown> | undefined): void {
    const chance = this.#chance;
    if (life === undefined) return;
    const pod = this.#pods.find(({ lives }) => lives.includes(life));
    const kind = chance.weighted({ kill: 1, freeze: 2, act: 5, clean: 2, prune: 2, expire: 0.2 });
    const act = (): void => {
      this.#note(`ambush on ${life.process.name}: ${kind}`);
      if (kind === 'kill') killLife(life);
      else if (kind === 'freeze') this.#freeze(life);
      else if (kind === 'clean') this.#clean(pod);
      else if (kind === 'prune') this.#pruneUnder(life);
      else if (kind === 'expire') this.#expire();
      else for (let left = 1 + chance.below(3); left > 0; left--) this.#actOnTask(chance.pick(TASK_EVENTS) ?? 'write');
    };
    life.process.ambush({ ...this.#drawPlace(kind), act });
  }

  /** Where in what a process does something meets it. */
  #drawPlace(kind: string): { readonly on: 'any' | 'request' | 'commit'; readonly callsLeft: number } {
    const chance = this.#chance;
    const isOfStore = kind === 'prune' || kind === 'kill' || kind === 'freeze' || kind === 'expire';
    // What is sent and not yet in a document is what a collection must spare.
    const places =
      kind === 'prune' ? (['request', 'commit', 'commit'] as const) : (['any', 'request', 'commit'] as const);
    const on = isOfStore ? (chance.pick(places) ?? 'any') : 'any';
    const callsLeft = { any: chance.durationMs(1, 120), request: chance.durationMs(1, 20), commit: chance.below(2) };
    return { on, callsLeft: callsLeft[on] };
  }

  /** A collection meets what is under way, which takes long. */
  #pruneUnder(life: Life<unknown>): void {
    const chance = this.#chance;
    life.process.freeze({ suspended: false });
    this.#clock.wakeAfter(chance.durationMs(SECOND_MS, 20 * MINUTE_MS), () => life.process.thaw());
    this.#prune();
  }

  #expire(): void {
    const keys = this.#bucket.keys().filter((key) => key.includes('/data/'));
    const key = this.#chance.pick(keys);
    if (key === undefined) return;
    this.#note(`${key} expires`);
    this.#bucket.expire(key);
  }

  /** A command in a pod of its own, which may end badly. */
  async #command(name: string, work: (parts: CommandParts) => Promise<string>): Promise<void> {
    const process = new SimulatedProcess(`${name}${this.#commands++}`, this.#clock, () => 0);
    const life: Life<unknown> = {
      process,
      stopping: new AbortController(),
      killed: new AbortController(),
      isOver: false,
    };
    this.#strays.push(life);
    try {
      const said = await work({ process, random: this.#chance, signal: life.killed.signal });
      this.#note(`${process.name} ${said}`);
    } catch (error) {
      if (!isFailure(error)) life.bug = error;
      this.#note(`${process.name} failed: ${error instanceof Error ? error.message : String(error)}`);
      if (life.bug !== undefined) this.#finding ??= `bug: ${describeBug(life.bug)}`;
    } finally {
      life.isOver = true;
    }
  }

  #prune(): void {
    const settings = {
      applicationId: APPLICATION,
      lineage: LINEAGE,
      maxAge: 23 * HOUR_MS,
      keepWithin: HOUR_MS,
      dryRun: false,
    };
    void this.#command('prune', async ({ process, random, signal }) => {
      const context = { random, signal, emit: () => {}, program: 'prune' };
      const { documents, objects, missing } = await prune(this.#bucket.viewOf(process), settings, context);
      return `removed ${documents} documents and ${objects} objects, ${missing.length} are missing`;
    });
  }

  #forget(): void {
    const task = this.#chance.pick(this.#cluster.tasks);
    void this.#command('forget', async (parts) =>
      this.#forgetBy(parts, { all: false, task: task === undefined ? [] : [task] }),
    );
  }

  /** Of what stands when it begins: what was reset since is another matter. */
  async #forgetAll(parts: CommandParts): Promise<string> {
    const reset = this.#resets;
    const said = await this.#forgetBy(parts, { all: true, task: undefined }).catch((error: unknown) => {
      if (isFailure(error, 'missing')) return 'found nothing';
      throw error;
    });
    if (reset === this.#resets) this.#isResetting = false;
    return said;
  }

  async #forgetBy(
    { process, random, signal }: CommandParts,
    scope: { readonly all: boolean; readonly task: readonly string[] | undefined },
  ): Promise<string> {
    const settings = {
      applicationId: APPLICATION,
      lineage: LINEAGE,
      instance: undefined,
      layout: undefined,
      before: undefined,
      dryRun: false,
      ...scope,
    };
    const { entries } = await forget(this.#bucket.viewOf(process), settings, {
      random,
      signal,
      emit: () => {},
      program: 'forget',
    });
    return `forgot ${entries.length}`;
  }

  /** The operator stops the application, begins its changelogs anew, forgets, and starts it. */
  #reset(): void {
    if (this.#isResetting) return;
    this.#note('reset');
    for (const pod of this.#pods) {
      if (this.#chance.happens(0.5)) this.#stopPod(pod);
      else this.#losePod(pod);
    }
    this.#cluster.reset();
    this.#isResetting = true;
    this.#resets += 1;
    this.#invariants.forget();
  }

  /** Another version of the application has other stores; it starts on what the one before left. */
  #deploy(): void {
    const stores = this.#chance.pick(STORE_SETS);
    if (stores === undefined || stores === this.#cluster.stores) return;
    this.#note(`deploys ${stores.map(({ name }) => name).join(' and ')}`);
    for (const pod of this.#appPods) this.#restartApp(pod);
    this.#cluster.stores = stores;
    // What is offered is of another topology from here on, also where that of before comes back.
    this.#seenVersion = -1;
  }

  async #look(): Promise<string | undefined> {
    for (const life of this.#lives)
      if (life.bug !== undefined) return `bug in ${life.process.name}: ${describeBug(life.bug)}`;
    if (this.#finding !== undefined) return this.#finding;
    await this.#watch.read();
    const hour = Math.floor(this.#clock.steadyMs / HOUR_MS);
    if (this.#isResetting || (this.#watch.version === this.#seenVersion && hour === this.#seenHour))
      return this.#watch.faults[0];
    this.#seenVersion = this.#watch.version;
    this.#seenHour = hour;
    const finding = this.#invariants.find(this.#sight());
    this.#acted = this.#lives;
    return finding;
  }

  #sight(): View {
    const maxAgeMs = Math.min(...this.#pods.map(({ settings }) => settings.maxAgeMs), 23 * HOUR_MS);
    const acting = [...this.#acted, ...this.#lives].map((life) => life.maxAgeMs ?? Number.POSITIVE_INFINITY);
    const ages = { maxAgeMs, promisedMs: Math.min(maxAgeMs, ...acting) };
    return { cluster: this.#cluster, watch: this.#watch, contents: this.#contents, nowMs: this.#clock.nowMs, ...ages };
  }

  /** After the faults end all comes to rest, and a new pod starts warm with everything. */
  async #converge(): Promise<string | undefined> {
    this.#note('the faults end');
    this.#isCalm = true;
    for (const { app } of this.#pods) app?.catchUp();
    this.#bucket.weather = FAIR_WEATHER;
    this.#bucket.isAway = false;
    this.#clock.wakeInTime();
    for (const { process } of this.#lives) {
      process.leaveAlone();
      this.#thaw(process);
    }
    // A clock that is set, and set back, while nobody looks and reaches the store, is known of nowhere (README).
    for (const pod of this.#pods) if (pod.app !== undefined && pod.sidecar?.isOver !== false) pod.startSidecar();
    const early = await this.#rest(MINUTE_MS);
    if (early !== undefined) return early;
    for (const pod of this.#pods) this.#setClockRight(pod);
    for (let tries = 0; this.#isResetting; tries++) {
      await this.#command('forget', (parts) => this.#forgetAll(parts));
      if (tries > 3) return 'all converges: forget fails in fair weather';
    }
    // Somebody has to notice what expired, and writers look around every quarter of an hour.
    this.#prune();
    if (this.#pods.length === 0) this.#setClockRight(this.#startPod());
    for (const [rest, minutes] of RESTS_MINUTES.entries()) {
      this.#assign({ isMove: false });
      for (const task of this.#cluster.tasks)
        for (const event of ['write', 'commit', 'checkpoint'] as const) this.#ownerOf(task)?.app?.do(task, event);
      const finding = await this.#rest(minutes * MINUTE_MS);
      if (finding !== undefined) return finding;
      if (rest === 4 || rest === 6) this.#beginTaintedAnew();
    }
    const lives = this.#lives;
    for (const pod of this.#pods) this.#stopPod(pod, HOUR_MS);
    for (const stray of this.#strays) stray.stopping.abort(new Error('ended by SIGTERM'));
    // Fifty looks at what was half deleted, of at most six seconds each here: that twice, and the last snapshot.
    const ended = await this.#rest(20 * MINUTE_MS, { parts: 200, isOver: () => this.#lives.length === 0 });
    if (ended !== undefined) return ended;
    for (const { process, describe } of lives) this.#note(`${process.name}: ${describe?.()}`);
    if (this.#lives.length > 0)
      return `all converges: ${this.#lives.map(({ process }) => process.name).join()} did not end`;
    return this.#findColdStart();
  }

  #setClockRight(pod: Pod): void {
    if (pod.volume.skewMs === 0) return;
    pod.volume.skewMs = 0;
    pod.hasTurnedClock = true;
  }

  /**
   * What was opened over writes that nobody could vouch for (Q6), has stamps of a clock that went back (Q5), or parents that were
   * changed since its offsets were written, is refused for long where offsets are written at the close only.
   */
  #beginTaintedAnew(): void {
    for (const task of this.#cluster.tasks) {
      const owner = this.#ownerOf(task);
      if (owner === undefined) continue;
      const whyNot = owner.sidecar?.whyNot?.(task);
      const isRefused = whyNot === 'unclean_restart' || (this.#cluster.isExactlyOnce && HIDES_TAINT.has(whyNot));
      if (!isRefused && !owner.hasTurnedClock) continue;
      this.#note(`${owner.name} begins ${task} anew`);
      this.#close(owner, task);
      owner.disk.removeTree(taskPath(task));
      this.#open(owner, task);
    }
  }

  async #rest(
    ms: number,
    { parts, isOver }: { readonly parts: number; readonly isOver: () => boolean } = { parts: 2, isOver: () => false },
  ): Promise<string | undefined> {
    for (let part = 0; part < parts && !isOver(); part++) {
      await this.#clock.advance(ms / parts, ms / parts);
      this.#goOn();
      const finding = await this.#look();
      if (finding !== undefined) return finding;
    }
    return undefined;
  }

  async #findColdStart(): Promise<string | undefined> {
    const settings: PodSettings = { ...this.#drawSettings(), maxAgeMs: 12 * HOUR_MS };
    const pod = new Pod('app-last', this.#world, { settings, volume: makeVolume(this.#world) });
    const life = pod.startRestore({ replicas: 1 });
    await this.#clock.advance(20 * MINUTE_MS, 10 * SECOND_MS);
    if (life.bug !== undefined) return `bug in ${life.process.name}: ${describeBug(life.bug)}`;
    if (life.result === undefined) return 'all converges: the last restore did not end';
    for (const task of this.#cluster.tasks) {
      const logs = this.#cluster.changelogsOf(task).filter(({ lastCommitted }) => lastCommitted >= 0);
      if (logs.length === 0) continue;
      const told = life.result.tasks.find((one) => one.task === task);
      if (told?.decision !== 'warm')
        return `all converges: ${task} starts cold: ${told?.why?.reason} ${told?.why?.message}; offered: ${JSON.stringify(
          listOffered(this.#sight())
            .filter(({ entry }) => entry.task === task)
            .map(({ epoch, entry }) => [epoch, entry.capturedBy]),
        )}`;
      const fault = findLocalFault(task, this.#view(pod));
      if (fault !== undefined) return `what is installed is true: ${fault}`;
      const offsets = readOffsets(task, pod.disk);
      const behind = logs.find(
        ({ store, lastCommitted }) => (offsets?.get(`${APPLICATION}-${store}-changelog`) ?? -1) < lastCommitted,
      );
      if (behind !== undefined)
        return `all converges: ${task} starts behind: ${behind.store} was closed at ${behind.lastCommitted}, has ${JSON.stringify([...(offsets ?? [])])}`;
    }
    return named('all converges', await this.#findMissing());
  }

  async #findMissing(): Promise<string | undefined> {
    const process = new SimulatedProcess('last-prune', this.#clock, () => 0);
    const settings = {
      applicationId: APPLICATION,
      lineage: LINEAGE,
      maxAge: 23 * HOUR_MS,
      keepWithin: HOUR_MS,
      dryRun: true,
    };
    const context = { random: this.#chance, signal: new AbortController().signal, emit: () => {}, program: 'prune' };
    const { missing } = await prune(this.#bucket.viewOf(process), settings, context);
    const [first] = missing.filter((key) => !this.#watch.expired.has(key) && !this.#watch.isGivenUp(key));
    return first === undefined ? undefined : `${first} is missing`;
  }
}

/** What may be said of an exactly-once task instead of that it is tainted. */
const HIDES_TAINT: ReadonlySet<string | undefined> = new Set(['changing', 'no_offset', 'wiped_by_application']);

interface CommandParts {
  readonly process: SimulatedProcess;
  readonly random: Chance;
  readonly signal: AbortSignal;
}

/** What is left out where nothing is to go wrong. */
const NO_FAULTS = {
  'hours-pass': 0,
  glance: 0,
  'lose-pod': 0,
  'strand-pod': 0,
  'restart-sidecar': 0,
  'wipe-store': 0,
  abort: 0,
  freeze: 0,
  thaw: 0,
  ambush: 0,
  'turn-clock': 0,
  'change-weather': 0,
  forget: 0,
  reset: 0,
  expire: 0,
};

function isTaskEvent(step: Step): step is Step & TaskEvent {
  return (TASK_EVENTS as readonly string[]).includes(step);
}

function sumOf(offsets: ReadonlyMap<string, number> | undefined): number {
  return [...(offsets?.values() ?? [])].reduce((sum, offset) => sum + offset + 1, 0);
}

function describeBug(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
