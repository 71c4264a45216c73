import { join } from 'node:path';
import type { FileAccess } from '../base/file-access.ts';
import type { Emit, NoticeName } from '../events/event.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import { listTasks } from '../streams/state-directory.ts';
import type { SnapshotResult } from './snapshot-result.ts';
import type { Troubles } from './troubles.ts';
import { findWiped, recallTasks, type TaskDirectories, WIPED } from './wipe.ts';

interface ApplicationWorld {
  readonly files: FileAccess;
  readonly askLock: (applicationDirectory: string) => Promise<ApplicationState>;
  readonly emit: Emit;
  readonly troubles: Troubles;
}

/** The application beside us: whether it is there, runs, and which tasks it has. */
export class Application {
  readonly directory: string;
  readonly #world: ApplicationWorld;
  #isFound = false;
  #lock: ApplicationState | undefined;
  #heldSinceMs: number | undefined;
  #tasks: TaskDirectories = new Map();
  /** What was there before it began to clean up. */
  #before: TaskDirectories;
  #wiped: ReadonlySet<string> = new Set();

  /** `installed`: what a restore has put there, to be missed if it is gone at the first look. */
  constructor(
    settings: { readonly stateDir: string; readonly applicationId: string },
    world: ApplicationWorld,
    installed: readonly string[],
  ) {
    this.directory = join(settings.stateDir, settings.applicationId);
    this.#world = world;
    this.#before = new Map(installed.map((task) => [task, undefined]));
  }

  /** Its directory exists. */
  get isFound(): boolean {
    return this.#isFound;
  }

  /** Undefined until it was asked for. */
  get lock(): ApplicationState | undefined {
    return this.#lock;
  }

  get tasks(): ReadonlySet<string> {
    return new Set(this.#tasks.keys());
  }

  /** The tasks that it deleted all at once, as long as they were not captured again. */
  get wiped(): ReadonlySet<string> {
    return this.#wiped;
  }

  /** Looks, and returns whether it has let go of its directory since the last time. */
  async observe(nowMs: number): Promise<{ readonly hasEnded: boolean }> {
    const { files, askLock } = this.#world;
    this.#isFound = (await files.stat(this.directory))?.kind === 'directory';
    const lock = await askLock(this.directory);
    const tasks = await this.#look();
    // All or nothing is noted: that it has ended is told once.
    this.#tasks = tasks;
    const hasEnded = this.#noteLock(lock, nowMs);
    const sight = { before: this.#before, now: tasks, heldSinceMs: this.#heldSinceMs, nowMs };
    const wiped = findWiped(sight);
    this.#before = wiped.size > 0 ? tasks : recallTasks(sight);
    this.#noteWiped(wiped);
    return { hasEnded };
  }

  /** What was captured again has overcome it. */
  noteCaptured({ tasks }: Pick<SnapshotResult, 'tasks'>): void {
    if (this.#wiped.size === 0) return;
    const captured = tasks.filter(({ task, outcome }) => this.#tasks.has(task) && outcome !== 'carried');
    this.#wiped = this.#wiped.difference(new Set(captured.map(({ task }) => task)));
    if (this.#wiped.size === 0) this.#world.troubles.end('wipe');
  }

  /**
   * A number may be given to the next directory at once; when it was born tells them apart where the file system knows.
   * What goes between the listing and the look at it is gone.
   */
  async #look(): Promise<TaskDirectories> {
    const { files } = this.#world;
    const directories = new Map<string, string | undefined>();
    for (const task of await listTasks(files, this.directory)) {
      const facts = await files.stat(join(this.directory, task));
      if (facts !== undefined) directories.set(task, [facts.device, facts.inode, facts.birthtimeNs].join(' '));
    }
    return directories;
  }

  #noteLock(lock: ApplicationState, nowMs: number): boolean {
    const before = this.#lock;
    this.#lock = lock;
    if (lock === 'running') this.#heldSinceMs ??= nowMs;
    else this.#heldSinceMs = undefined;
    if (before === undefined || before === lock) return false;
    const hasEnded = before === 'running' && lock === 'stopped';
    if (hasEnded) this.#notice('application-ended', 'the application has let go of its state directory');
    if (lock === 'running') this.#notice('application-started', 'the application holds its state directory');
    return hasEnded;
  }

  #noteWiped(tasks: ReadonlySet<string>): void {
    if (tasks.size === 0) return;
    this.#wiped = this.#wiped.union(tasks);
    const message = `the application deleted ${[...tasks].join(', ')} at its start or at its end`;
    this.#world.troubles.begin('wipe', { message, hint: WIPED.message });
  }

  #notice(name: NoticeName, message: string): void {
    this.#world.emit({ kind: 'notice', name, level: 'info', message });
  }
}
