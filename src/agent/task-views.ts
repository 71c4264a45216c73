import { mapBounded } from '../base/concurrency.ts';
import { isFailure } from '../base/failure.ts';
import { hasEqualOffsets } from '../repository/best.ts';
import { offsetsOf } from '../streams/offsets.ts';
import type { Explanation } from '../streams/reason.ts';
import type { Epoch } from './epoch.ts';
import type { Look, Pulse } from './looks.ts';
import type { TaskFinding } from './round-parts.ts';

/** What the last look at a task saw of it. */
export interface Glance {
  /** Why it could not be captured then. */
  readonly why: Explanation | undefined;
  /** It could be captured, and is not what is stored. */
  readonly isPending: boolean;
  /** Of its tables, and of those among them that the repository lacked. */
  readonly liveBytes: number;
  readonly missingBytes: number;
}

interface TaskView {
  /** As of now, of the last look, and of the last round. */
  pulse: Pulse | undefined;
  lookedPulse: Pulse | undefined;
  roundPulse: Pulse | undefined;
  /** By the steady clock; undefined where the next look must not wait. */
  lookedMs: number | undefined;
  /** Time alone may change what a look finds. */
  isUnsettled: boolean;
  glance: Glance | undefined;
}

/** Looks that only learn need not try as often as those that capture. */
const GLANCE_TRIES_MAX = 5;
const GLANCES_AT_ONCE = 4;
/** A task whose checkpoint is rewritten again and again is looked at no more often. */
const GLANCE_MS_MIN = 1000;
/** Tables that come and go are not urgent, and every look asks for the stamps of all of them. */
const TABLES_GLANCE_MS_MIN = 30_000;
/** Of a task that nobody has felt the pulse of. */
const UNFELT: Pulse = { checkpoint: '', whole: '' };

/** The tasks that are there, and how each has changed since it was looked at. */
export class TaskViews {
  #views = new Map<string, TaskView>();
  #hinted = new Set<string>();
  #changedAtMs = Number.NEGATIVE_INFINITY;

  get present(): ReadonlySet<string> {
    return new Set(this.#views.keys());
  }

  /** Since the last round. */
  get changed(): ReadonlySet<string> {
    return new Set([...this.#views].flatMap(([task, view]) => (isChanged(view) ? [task] : [])));
  }

  /** Something can be captured, and is not what is stored. */
  get hasPending(): boolean {
    return [...this.#views.values()].some(({ glance }) => glance?.isPending === true);
  }

  /** When the last change was seen, by the steady clock. */
  get changedAtMs(): number {
    return this.#changedAtMs;
  }

  glanceOf(task: string): Glance | undefined {
    return this.#views.get(task)?.glance;
  }

  /** Somebody says that it seems to have changed. */
  hint(task: string): void {
    this.#hinted.add(task);
  }

  /** These are there now. */
  list(tasks: readonly string[]): void {
    const unseen = { pulse: UNFELT, lookedPulse: undefined, roundPulse: undefined, glance: undefined };
    const create = (): TaskView => ({ ...unseen, lookedMs: undefined, isUnsettled: false });
    this.#views = new Map(tasks.map((task) => [task, this.#views.get(task) ?? create()]));
  }

  /**
   * Looks at once at what has changed, of those that were hinted at, or with `isSweep` of all. An unchanged task costs
   * no read.
   */
  async refresh(
    epoch: Epoch,
    how: { readonly isSweep: boolean; readonly nowMs: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const due = [...this.#views].filter(([task]) => how.isSweep || this.#hinted.has(task));
    await mapBounded(due, { limit: GLANCES_AT_ONCE, signal: how.signal }, async ([task, view], signal) => {
      const pulse = await feel(epoch, task, signal);
      if (pulse?.whole !== view.pulse?.whole) this.#changedAtMs = how.nowMs;
      view.pulse = pulse;
      if (!isGlanceDue(view, how.nowMs)) return;
      this.#hinted.delete(task);
      // What changes during the look changes the pulse after it.
      view.lookedPulse = pulse;
      view.lookedMs = how.nowMs;
      const options = { isKnown: () => true, triesMax: GLANCE_TRIES_MAX, signal };
      view.glance = await describe(task, await epoch.looks.look(task, options), epoch);
    });
    for (const task of this.#hinted) if (!this.#views.has(task)) this.#hinted.delete(task);
  }

  /** Looks at all of them whether they changed or not: what is on disk now will not come again. */
  invalidate(): void {
    for (const view of this.#views.values()) {
      view.lookedPulse = undefined;
      view.lookedMs = undefined;
    }
  }

  /** A round begins: returns what makes its findings known here. */
  beginRound(): (findings: ReadonlyMap<string, TaskFinding>) => void {
    const began = new Map([...this.#views].map(([task, view]) => [task, view.pulse] as const));
    return (findings) => {
      for (const [task, pulse] of began) {
        const view = this.#views.get(task);
        const finding = findings.get(task);
        if (view === undefined) continue;
        view.roundPulse = pulse;
        const why = finding?.result.why;
        view.isUnsettled = why?.reason === 'changing' || why?.reason === 'being_deleted';
        if (view.glance !== undefined) view.glance = { ...view.glance, why, isPending: false, missingBytes: 0 };
      }
    };
  }
}

function isChanged({ pulse, roundPulse, isUnsettled }: TaskView): boolean {
  return isUnsettled || pulse?.whole !== roundPulse?.whole;
}

function isGlanceDue({ pulse, lookedPulse, lookedMs }: TaskView, nowMs: number): boolean {
  if (lookedMs === undefined) return true;
  if (pulse?.whole === lookedPulse?.whole) return false;
  const isUrgent = pulse?.checkpoint !== lookedPulse?.checkpoint;
  return nowMs - lookedMs >= (isUrgent ? GLANCE_MS_MIN : TABLES_GLANCE_MS_MIN);
}

/** A task that cannot be read is looked at, and told so, when that changes. */
async function feel(epoch: Epoch, task: string, signal: AbortSignal): Promise<Pulse | undefined> {
  try {
    return await epoch.looks.feel(task, signal);
  } catch (error) {
    if (!isFailure(error, 'unavailable')) throw error;
    return { checkpoint: error.message, whole: error.message };
  }
}

async function describe(task: string, look: Look, epoch: Epoch): Promise<Glance | undefined> {
  if (look.kind === 'gone') return undefined;
  await using capture = look.kind === 'looked' ? look.look.capture : look.capture;
  const tables = (capture?.stores ?? []).flatMap((store) => store.tables);
  const sum = (some: typeof tables): number => some.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
  const entry = epoch.entries.get(task);
  const isStored = capture !== undefined && entry !== undefined && hasEqualOffsets(entry, offsetsOf(capture.sight));
  return {
    why: look.kind === 'refused' ? look.why : undefined,
    isPending: look.kind === 'looked' && !isStored,
    liveBytes: sum(tables),
    missingBytes: sum(tables.filter((table) => epoch.known.find(table) === undefined)),
  };
}
