import { createHash } from 'node:crypto';
import { compareEpochs } from '../repository/keys.ts';
import type { Claim } from '../repository/record.ts';
import { GLOBAL_TASK } from '../streams/state-directory.ts';
import type { Choice } from './choice.ts';
import { instanceOf, isFirm, type Life, unionOf, type View } from './scene.ts';

/** Who takes something. */
export interface Picker extends Pick<Life, 'epoch' | 'appVersion' | 'claims'> {
  /** Epochs of which it could restore nothing. */
  readonly futile?: readonly string[];
}

/** What is there to be had: less and less, as one after another takes something. */
export class Table {
  readonly #view: View;
  /** Tasks that nobody who lives has, and nobody claims, by the epoch with the best entry of each. */
  readonly #orphans: ReadonlyMap<string, Set<string>>;
  readonly #finishing: ReadonlySet<string>;
  readonly #announced = new Set<string>();
  /** By epoch, how many who live have copied what it held. */
  readonly #copies = new Map<string, number>();
  #lives: readonly Original[] | undefined;

  constructor(view: View) {
    const { scene, held } = view;
    this.#view = view;
    const tasks = [...scene.bestOf.keys()].filter((task) => task !== GLOBAL_TASK && !held.has(task));
    const byEpoch = Map.groupBy(tasks, (task) => scene.bestOf.get(task)?.epoch ?? '');
    this.#orphans = new Map([...byEpoch].map(([epoch, ofEpoch]) => [epoch, new Set(ofEpoch)]));
    this.#finishing = new Set(scene.lives.flatMap(({ epoch, state }) => (state === 'finishing' ? [epoch] : [])));
  }

  /** What somebody announced is left to them while there is something else. */
  note(claims: readonly Claim[]): void {
    for (const { epoch } of claims) this.#announced.add(epoch);
  }

  remove(tasks: Iterable<string>): void {
    const { bestOf } = this.#view.scene;
    for (const task of tasks) this.#orphans.get(bestOf.get(task)?.epoch ?? '')?.delete(task);
  }

  /** Where the pod has published since, its documents say what it has. */
  take({ kind, epoch }: Pick<Claim, 'kind' | 'epoch'>, { isPending } = { isPending: true }): void {
    if (isPending) this.remove(this.#view.tasksOf.get(epoch) ?? []);
    if (kind === 'copied') this.#copies.set(epoch, (this.#copies.get(epoch) ?? 0) + 1);
  }

  takeAll({ kind, epochs }: Choice): void {
    for (const epoch of epochs) this.take({ kind, epoch });
  }

  /** What somebody announced to adopt, and still can; or to copy, and nobody has copied. */
  findAnnounced({ epoch: chooser, claims }: Picker): Choice | undefined {
    const word = claims.find(({ kind, epoch }) => kind === 'adopted' && (this.#orphans.get(epoch)?.size ?? 0) > 0);
    if (word !== undefined) return this.#adopt(word.epoch);
    const wants = claims.filter((claim) => claim.kind === 'copied' && !isFirm(claim));
    if (wants.length === 0) return undefined;
    const original = this.#originals().find(
      (one) => one.epoch !== chooser && isAnnounced(copyOf(one), wants) && this.#copiesOf(one) === 0,
    );
    return original && copyOf(original);
  }

  /** One of those that are gone, with no more orphans than there is room for. */
  findOrphans(who: Picker, { roomMax }: { readonly roomMax: number }): Choice | undefined {
    const fitting = [...this.#orphans].filter(
      ([epoch, { size }]) => size > 0 && size <= roomMax && who.futile?.includes(epoch) !== true,
    );
    const first = firstOf(
      fitting.map(([epoch]) => ({
        epoch,
        isAnnounced: this.#announced.has(epoch),
        isFinishing: this.#finishing.has(epoch),
        place: placeOf(epoch, who.epoch),
      })),
      (left, right) =>
        Number(left.isAnnounced) - Number(right.isAnnounced) ||
        Number(left.isFinishing) - Number(right.isFinishing) ||
        compareEpochs(left.place, right.place),
    );
    return first && this.#adopt(first.epoch);
  }

  /** One of those who live, copied as seldom as any, and not more often than that. */
  findCopy(who: Picker, { copiesMax }: { readonly copiesMax: number }): Choice | undefined {
    const wants = who.claims.filter((claim) => !isFirm(claim));
    const isOfAnother = ({ appVersion }: Original): boolean =>
      appVersion === undefined || appVersion !== who.appVersion;
    const candidates = this.#originals()
      .filter(({ epoch, epochs }) => epoch !== who.epoch && !epochs.some((each) => who.futile?.includes(each)))
      .map((original) => ({ ...original, copies: this.#copiesOf(original), isAboutToGo: isOfAnother(original) }));
    const fewest = Math.min(...candidates.map(({ copies }) => copies));
    if (fewest > copiesMax) return undefined;
    const asGood = candidates.filter(({ copies }) => copies === fewest);
    const wanted = asGood.filter(({ epochs }) => wants.length > 0 && isAnnounced({ kind: 'copied', epochs }, wants));
    // What somebody announced a moment ago is no copy yet, but will be.
    const free = asGood.filter(({ epochs }) => !epochs.some((epoch) => this.#announced.has(epoch)));
    // Where they all begin with the same one, those who lose it must not meet again at the next.
    const places = new Map(wants.length === 0 ? [] : asGood.map(({ epoch }) => [epoch, placeOf(epoch, who.epoch)]));
    const first = firstOf(
      [wanted, free, asGood].find((some) => some.length > 0) ?? [],
      (left, right) =>
        Number(right.isAboutToGo) - Number(left.isAboutToGo) ||
        compareEpochs(places.get(left.epoch) ?? '', places.get(right.epoch) ?? '') ||
        right.silentMs - left.silentMs ||
        right.tasks.length - left.tasks.length ||
        compareEpochs(left.epoch, right.epoch),
    );
    return first && copyOf(first);
  }

  #adopt(epoch: string): Choice {
    const tasks = this.#view.tasksOf.get(epoch) ?? [];
    return { kind: 'adopted', epochs: [epoch], tasks, isFinishing: this.#finishing.has(epoch) };
  }

  #originals(): readonly Original[] {
    this.#lives ??= findOriginals(this.#view);
    return this.#lives;
  }

  #copiesOf({ likes }: Original): number {
    return Math.max(...likes.map((epoch) => this.#copies.get(epoch) ?? 0));
  }
}

/** Whether a choice is what these claims say. */
export function isAnnounced({ kind, epochs }: Pick<Choice, 'kind' | 'epochs'>, claims: readonly Claim[]): boolean {
  return epochs.every((epoch) => claims.some((claim) => claim.kind === kind && claim.epoch === epoch));
}

/** Who lives, and may be copied. */
interface Original extends Pick<Life, 'epoch' | 'appVersion' | 'silentMs'> {
  /** What it has is what these held. */
  readonly epochs: readonly string[];
  readonly tasks: readonly string[];
  /** Copies of these are copies of it: who has copied one who lives is as often there as that one. */
  readonly likes: readonly string[];
}

function copyOf({ epochs, tasks }: Original): Choice {
  return { kind: 'copied', epochs, tasks, isFinishing: false };
}

function findOriginals(view: View): readonly Original[] {
  const { scene, others, claimants } = view;
  const lives = new Map(scene.lives.map((life) => [life.epoch, life]));
  const isCopyOfLiving = ({ kind, epoch }: Claim): boolean => kind === 'copied' && lives.get(epoch)?.state === 'alive';
  const likesOf = (epoch: string): readonly string[] => {
    const claims = lives.get(lives.get(epoch)?.after ?? '')?.claims ?? [];
    return [epoch, ...claims.filter(isCopyOfLiving).map((claim) => claim.epoch)];
  };
  const runs = others
    .filter(({ role, state }) => role === 'run' && state === 'alive')
    .map(({ epoch, after, silentMs }) => {
      const { appVersion } = lives.get(after ?? '') ?? {};
      return { epoch, appVersion, silentMs, epochs: [epoch] };
    });
  const restores = claimants
    .filter(({ isPending }) => isPending)
    .map(({ epoch, appVersion, claims }) => {
      const epochs = claims.filter(({ kind }) => kind !== 'copied').map((claim) => claim.epoch);
      return { epoch, appVersion, silentMs: 0, epochs };
    });
  return [...runs, ...restores]
    .map((one) => ({ ...one, tasks: unionOf(one.epochs, view), likes: one.epochs.flatMap(likesOf) }))
    .filter(({ tasks }) => tasks.length > 0);
}

function firstOf<T>(items: readonly T[], compare: (left: T, right: T) => number): T | undefined {
  const [first, ...others] = items;
  return first === undefined
    ? undefined
    : others.reduce((best, item) => (compare(item, best) < 0 ? item : best), first);
}

/** Pods that start together begin in different places. */
function placeOf(epoch: string, chooser: string): string {
  return (
    createHash('sha256')
      .update(`${instanceOf(epoch)} ${chooser}`)
      .digest('hex') + epoch
  );
}
