import { join } from 'node:path';
import type { DiskSpace } from '../base/disk-space.ts';
import { Failure, isFailure } from '../base/failure.ts';
import type { AgentStatus } from '../events/agent-status.ts';
import type { SnapshotTrigger } from '../events/event.ts';
import { readRestoreReport } from '../repository/recall.ts';
import type { RestoreReport } from '../repository/restore-result.ts';
import { assertSupportedApplication } from '../streams/state-directory.ts';
import type { Agent, AgentSettings, AgentWorld } from './agent.ts';
import { describeAgent } from './agent-status.ts';
import { Application } from './application.ts';
import type { EpochResult } from './epoch.ts';
import { Housekeeper } from './housekeeper.ts';
import { Publisher } from './publisher.ts';
import { Requests } from './requests.ts';
import { Rhythm } from './rhythm.ts';
import { type Due, RENEWAL_MS, schedule, TURN_MS } from './schedule.ts';
import type { SnapshotResult } from './snapshot-result.ts';
import { TaskViews } from './task-views.ts';
import { ApplicationTrial } from './trial.ts';
import { TrialNews } from './trial-news.ts';
import { Troubles } from './troubles.ts';
import { aborting, Wake } from './wake.ts';
import type { TaskWatcher } from './watcher.ts';
import { freshlyInstalled } from './wipe.ts';

/** All tasks are looked through this often: what no watch tells. */
const SWEEP_MS = 10_000;
/** So often where the node has no watches left: a new checkpoint is worth most at once (Q2). */
const SWEEP_WITHOUT_WATCHES_MS = 1000;
/** How often the lock is asked for at the end. */
const RELEASE_POLL_MS = 200;
/** Without a lock to ask for, an application counts as closed when nothing has changed for so long. */
const STILL_MS = 5000;
/** Where nobody told: the default of Kubernetes. */
const GRACE_MS_DEFAULT = 30_000;
/** Of a known grace period so much is left for the process to end. */
const GRACE_MARGIN_MS = 2000;
/** Between tries at the last snapshot, at most. */
const LAST_RETRY_MS = 2000;

/**
 * One loop decides from what it finds; watch events, requests and the clock only wake it. It goes on turning while a
 * round is under way: checkpoints are looked at when they are written, and the record is renewed.
 */
export class Loop implements Agent {
  readonly #settings: AgentSettings;
  readonly #world: AgentWorld;
  readonly #troubles: Troubles;
  readonly #publisher: Publisher;
  readonly #housekeeper: Housekeeper;
  readonly #views = new TaskViews();
  readonly #rhythm: Rhythm;
  readonly #wake = new Wake();
  readonly #requests = new Requests();
  readonly #trialNews: TrialNews;
  /** Aborts whatever is under way: killed, or out of time. */
  readonly #ending = new AbortController();
  /** Aborts what is no part of the end. */
  #isOver = false;
  #bug: { readonly error: unknown } | undefined;
  #work: Promise<void> | undefined;

  #phase: AgentStatus['phase'] = 'starting';
  #turnedAtMs: number;
  #application: Application;
  #hasEnded = false;
  #report: RestoreReport | undefined;
  #space: DiskSpace | undefined;
  #observedMs = Number.NEGATIVE_INFINITY;
  #sweptMs = Number.NEGATIVE_INFINITY;
  /** When the state directory could last be read. */
  #readMs = Number.NEGATIVE_INFINITY;
  #isReadable = true;
  #roundDueMs: number | undefined;

  constructor(settings: AgentSettings, world: AgentWorld) {
    this.#settings = settings;
    this.#world = world;
    this.#troubles = new Troubles(world.clock);
    this.#publisher = new Publisher(settings, { ...world, troubles: this.#troubles });
    this.#housekeeper = new Housekeeper(settings, world);
    this.#trialNews = new TrialNews(
      { clock: world.clock, troubles: this.#troubles, note: (news) => this.#publisher.note(news) },
      settings.terminationGracePeriodMs ?? GRACE_MS_DEFAULT,
    );
    this.#application = this.#meet([]);
    this.#turnedAtMs = world.clock.nowMs();
    this.#rhythm = new Rhythm(settings, () => world.random.fraction());
  }

  requestSnapshot(trigger: 'request' | 'pre_stop'): Promise<SnapshotResult> {
    if (this.#isOver) return Promise.reject(new Failure('conflict', 'cannot take a snapshot: warmstate run is ending'));
    const unusable = this.#troubles.problems.find(({ area }) => area === 'settings');
    if (unusable !== undefined) return Promise.reject(new Failure('invalid', unusable.message));
    if (trigger === 'pre_stop') {
      if (this.#trialNews.expectEnd()) this.#publisher.tell('finishing', this.#ending.signal);
      this.#publisher.hurry();
    }
    const result = this.#requests.add(trigger);
    this.#wake.call();
    return result;
  }

  async run({ stopping, killed }: Parameters<Agent['run']>[0]): Promise<void> {
    const end = (): void => {
      this.#ending.abort(killed.reason);
      this.#wake.call();
    };
    stopping.addEventListener('abort', this.#wake.call, { once: true });
    killed.addEventListener('abort', end, { once: true });
    if (killed.aborted) end();
    try {
      await this.#watch(stopping);
      if (!this.#ending.signal.aborted && this.#bug === undefined) await this.#finish();
    } catch (error) {
      if (!this.#ending.signal.aborted) throw error;
    } finally {
      this.#isOver = true;
      await this.#work;
      await this.#housekeeper.end();
      await this.#publisher[Symbol.asyncDispose]();
      this.#requests.take().reject(new Failure('conflict', 'cannot take a snapshot: warmstate run has ended'));
      stopping.removeEventListener('abort', this.#wake.call);
      killed.removeEventListener('abort', end);
    }
    if (this.#bug !== undefined) throw this.#bug.error;
  }

  status(): AgentStatus {
    return describeAgent({
      settings: this.#settings,
      clock: this.#world.clock,
      phase: this.#phase,
      turnedAtMs: this.#turnedAtMs,
      problems: this.#troubles.problems,
      application: this.#application,
      publisher: this.#publisher,
      views: this.#views,
      report: this.#report,
      space: this.#space,
      roundDueMs: this.#roundDueMs,
    });
  }

  async #watch(stopping: AbortSignal): Promise<void> {
    this.#enter('starting');
    await using watcher = this.#world.openWatcher((task) => {
      this.#views.hint(task);
      this.#wake.call();
    });
    await this.#readReport();
    this.#troubles.attempt('settings', () => assertSupportedApplication(this.#settings.applicationId));
    while (!stopping.aborted && !this.#ending.signal.aborted && this.#bug === undefined) {
      const { wakeMs } = await this.#turn(watcher);
      await this.#wake.rest(wakeMs - this.#world.clock.monotonicMs(), this.#world.clock);
    }
  }

  async #turn(watcher: TaskWatcher): Promise<Due> {
    const { clock } = this.#world;
    const nowMs = clock.monotonicMs();
    this.#publisher.clockWatch.sample();
    await this.#unlessUnreadable(async () => {
      // Hints may come by the dozen.
      if (nowMs - this.#observedMs >= TURN_MS) await this.#observe(nowMs);
      watcher.watchOnly([...this.#views.present].map((task) => join(this.#application.directory, task)));
      await this.#refresh(nowMs, watcher.isWatching ? SWEEP_MS : SWEEP_WITHOUT_WATCHES_MS);
    });
    // Right after a checkpoint both guarantees grant what soon only one does.
    const isFleeting = this.#settings.processingGuarantee === 'auto' && this.#views.hasPending;
    this.#rhythm.see(nowMs, { hasChanged: this.#views.changed.size > 0, isFleeting });
    const { situation } = this.#rhythm;
    const due = schedule({
      nowMs,
      isOpen: this.#publisher.epoch !== undefined,
      isBusy: this.#work !== undefined || this.#troubles.has('settings'),
      ...situation,
      isUnfinished: situation.isUnfinished || (this.#publisher.epoch?.hasWithdrawn ?? false),
      hasEnded: this.#hasEnded,
      request: this.#requests.trigger,
      retryMs: this.#publisher.retryMs,
      renewedMs: this.#publisher.renewedMs,
    });
    const signal = this.#ending.signal;
    if (due.open) this.#begin(() => this.#publisher.open(signal));
    if (due.renew) this.#publisher.beginRenewal(signal);
    const { epoch } = this.#publisher;
    if (epoch !== undefined) this.#housekeeper.begin(epoch, signal, (error) => void (this.#bug = { error }));
    const { round } = due;
    if (round !== undefined) this.#begin(() => this.#takeRound(round, {}));
    this.#roundDueMs = due.roundDueMs;
    this.#turnedAtMs = clock.nowMs();
    return due;
  }

  /** What goes on beside the turns; one thing at a time. Its Failures are noted where they happen. */
  #begin(work: () => Promise<unknown>): void {
    this.#work = work()
      .then(
        () => undefined,
        (error: unknown) => {
          this.#requests.take().reject(error);
          if (!isFailure(error) && !this.#ending.signal.aborted) this.#bug = { error };
        },
      )
      .finally(() => {
        this.#work = undefined;
        this.#wake.call();
      });
  }

  async #takeRound(trigger: SnapshotTrigger, record: { readonly state?: 'sealed' }): Promise<EpochResult> {
    const requests = this.#requests.take();
    const finish = this.#rhythm.begin(this.#world.clock.monotonicMs());
    const tasks = [...this.#views.present];
    const hasEnded = this.#hasEnded;
    this.#hasEnded = false;
    const changed = trigger === 'interval' && !hasEnded ? this.#views.changed : new Set(tasks);
    const settle = this.#views.beginRound();
    const order = { tasks, changed, wiped: this.#application.wiped, isForced: false, record };
    try {
      const result = await this.#publisher.takeRound(trigger, order, this.#ending.signal);
      settle(this.#publisher.epoch?.findings ?? new Map());
      finish(result);
      this.#application.noteCaptured(result);
      requests.resolve(result);
      return result;
    } catch (error) {
      this.#hasEnded ||= hasEnded;
      requests.reject(error);
      throw error;
    }
  }

  async #observe(nowMs: number): Promise<void> {
    this.#observedMs = nowMs;
    const { hasEnded } = await this.#application.observe(nowMs);
    await this.#trialNews.look(this.#application.lock, this.#publisher.epoch?.earlierTrial);
    this.#views.list([...this.#application.tasks]);
    if (this.#phase === 'starting') this.#enter('watching');
    if (!hasEnded) return;
    // What is on disk now is what the next life of the application begins with: it is looked at before that (Q6).
    this.#views.invalidate();
    this.#sweptMs = Number.NEGATIVE_INFINITY;
    this.#hasEnded = true;
  }

  async #refresh(nowMs: number, sweepMs: number): Promise<void> {
    const { epoch } = this.#publisher;
    if (epoch === undefined) return;
    epoch.looks.isRunning = this.#application.lock !== 'stopped';
    const isSweep = nowMs - this.#sweptMs >= sweepMs;
    if (isSweep) {
      this.#sweptMs = nowMs;
      this.#space = await this.#world.askSpace(this.#settings.stateDir);
    }
    await this.#views.refresh(epoch, { isSweep, nowMs, signal: this.#ending.signal });
    await epoch.looks.forgetGone(this.#views.present, this.#ending.signal);
    // The next document may be hours away, and this process gone before it.
    const taints = epoch.newTaints;
    if (taints !== undefined) this.#publisher.note({ taints });
  }

  async #unlessUnreadable(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#troubles.end('state-dir');
      this.#readMs = this.#world.clock.monotonicMs();
      this.#isReadable = true;
    } catch (error) {
      if (!isFailure(error)) throw error;
      if (this.#ending.signal.aborted) return; // It was given up, and says nothing of the directory.
      this.#isReadable = false;
      this.#troubles.begin('state-dir', error);
    }
  }

  async #readReport(): Promise<void> {
    const { files, emit } = this.#world;
    await this.#unlessUnreadable(async () => {
      const report = await readRestoreReport(this.#settings.stateDir, files, (name, message, facts) =>
        emit({ kind: 'notice', name, level: 'warn', message, facts }),
      );
      this.#report = report?.application === this.#settings.applicationId ? report : undefined;
      const { directory: applicationDirectory } = this.#application;
      this.#trialNews.begin(new ApplicationTrial({ ...this.#world, applicationDirectory, report: this.#report }));
      this.#application = this.#meet(freshlyInstalled(this.#report, this.#world.clock.nowMs()));
    });
  }

  #meet(installed: readonly string[]): Application {
    return new Application(this.#settings, { ...this.#world, troubles: this.#troubles }, installed);
  }

  /** The last snapshot, once the application is closed; what was published before stands if time runs out. */
  async #finish(): Promise<void> {
    this.#enter('finishing');
    await this.#housekeeper.end();
    if (this.#troubles.has('settings')) return;
    this.#trialNews.end();
    this.#publisher.hurry();
    const { clock } = this.#world;
    const { terminationGracePeriodMs: graceMs } = this.#settings;
    using over = aborting();
    const timeUp =
      graceMs === undefined ? undefined : this.#endAfter(graceMs - Math.min(GRACE_MARGIN_MS, graceMs / 4), over.signal);
    const aliveness = this.#keepAlive(over.signal);
    const startedMs = clock.monotonicMs();
    let [isTold, isEarlyDone] = [false, false];
    while (!this.#ending.signal.aborted && !(await this.#isReleased(startedMs))) {
      if (!isTold) this.#publisher.tell('finishing', this.#ending.signal);
      isTold = true;
      // It may be killed before the application is closed: then this is what stands.
      const isHalfOver = clock.monotonicMs() - startedMs >= (graceMs ?? GRACE_MS_DEFAULT) / 2;
      if (!isEarlyDone && isHalfOver && this.#work === undefined) {
        isEarlyDone = true;
        this.#begin(() => this.#tryLast({}));
      }
      await clock.sleep(RELEASE_POLL_MS, this.#ending.signal);
    }
    // What is under way may take all the time that is left.
    const isUnderWay = this.#work !== undefined && !this.#ending.signal.aborted;
    if (isUnderWay) this.#publisher.tell('released', this.#ending.signal);
    await this.#work;
    while (!this.#ending.signal.aborted && !(await this.#tryLast({ state: 'sealed' }))) {
      if (!this.#isReadable) break; // Nothing more will come of it.
      await clock.sleep(LAST_RETRY_MS * this.#world.random.fraction(), this.#ending.signal);
    }
    over[Symbol.dispose]();
    await Promise.all([timeUp, aliveness]);
  }

  /** The record goes on being renewed, and the loop counts as turning, while the last snapshot is under way. */
  async #keepAlive(over: AbortSignal): Promise<void> {
    const { clock } = this.#world;
    while (!over.aborted && !this.#ending.signal.aborted) {
      this.#turnedAtMs = clock.nowMs();
      const isDue = clock.monotonicMs() - this.#publisher.renewedMs >= RENEWAL_MS;
      if (isDue && this.#publisher.epoch !== undefined) this.#publisher.beginRenewal(this.#ending.signal);
      await clock.sleep(TURN_MS, over);
    }
  }

  /** Whether the application has let go of its directory; where nobody can tell, whether it has been still for long. */
  async #isReleased(sinceMs: number): Promise<boolean> {
    const nowMs = this.#world.clock.monotonicMs();
    let isReleased = false;
    await this.#unlessUnreadable(async () => {
      await this.#observe(nowMs);
      await this.#refresh(nowMs, SWEEP_WITHOUT_WATCHES_MS);
      const { lock } = this.#application;
      const stillSinceMs = Math.max(sinceMs, this.#views.changedAtMs);
      isReleased = lock === 'stopped' || (lock === 'unknown' && nowMs - stillSinceMs >= STILL_MS);
    });
    // Of what cannot be read for so long nothing can be taken: the pod is not kept waiting for it.
    return isReleased || nowMs - Math.max(sinceMs, this.#readMs) >= STILL_MS;
  }

  /** Whether the last snapshot is published, and so noted. */
  async #tryLast(record: { readonly state?: 'sealed' }): Promise<boolean> {
    const { signal } = this.#ending;
    try {
      if (this.#publisher.epoch === undefined) await this.#publisher.open(signal);
      const { epoch } = this.#publisher;
      // Where nobody can ask for the lock, it has been still for long.
      if (epoch !== undefined && record.state !== undefined) epoch.looks.isRunning = false;
      if (record.state !== undefined) await this.#publisher.renew({ state: 'released' }, signal);
      const { snapshot, isUnfinished } = await this.#takeRound('final', record);
      if (snapshot === undefined) await this.#publisher.renew(record, signal);
      return !isUnfinished;
    } catch (error) {
      if (!isFailure(error) && !signal.aborted) throw error;
      return false;
    }
  }

  /** Aborts whatever is under way after so long, unless it is over before. */
  async #endAfter(ms: number, over: AbortSignal): Promise<void> {
    await this.#world.clock.sleep(ms, over);
    if (over.aborted) return;
    this.#troubles.begin('storage', { message: 'the grace period ended before the last snapshot was published' });
    this.#ending.abort(new Failure('deadline', 'the grace period is over'));
  }

  #enter(phase: AgentStatus['phase']): void {
    this.#phase = phase;
    this.#world.emit({ kind: 'phase-changed', phase });
  }
}
