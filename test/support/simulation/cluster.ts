import { Changelog } from './changelog.ts';

export interface StoreShape {
  readonly name: string;
  readonly kind: 'plain' | 'segmented';
}

export const APPLICATION = 'app';

/** What Kafka knows of the application: its changelogs, and who has which task. */
export class Cluster {
  readonly tasks: readonly string[];
  readonly isExactlyOnce: boolean;
  /** As exactly-once releases from 3.8 to 4.2.1 leave it where a task is at work. */
  readonly leavesCheckpoint: boolean;
  /** The stores of each task, as the topology of today has them. */
  stores: readonly StoreShape[];
  readonly #changelogs = new Map<string, Changelog>();
  /** Task → pod. */
  readonly owners = new Map<string, string>();
  #values = 0;

  constructor(options: {
    readonly tasks: number;
    readonly isExactlyOnce: boolean;
    readonly leavesCheckpoint: boolean;
    readonly stores: readonly StoreShape[];
  }) {
    this.tasks = Array.from({ length: options.tasks }, (_, partition) => `0_${partition}`);
    this.isExactlyOnce = options.isExactlyOnce;
    this.leavesCheckpoint = options.leavesCheckpoint;
    this.stores = options.stores;
  }

  changelog(task: string, store: string): Changelog {
    const key = `${task}/${store}`;
    const known = this.#changelogs.get(key);
    if (known !== undefined) return known;
    const made = new Changelog(store);
    this.#changelogs.set(key, made);
    return made;
  }

  changelogsOf(task: string): readonly Changelog[] {
    return this.stores.map(({ name }) => this.changelog(task, name));
  }

  /** Never the same twice. */
  nextValue(): number {
    this.#values += 1;
    return this.#values;
  }

  /** As `kafka-streams-application-reset` does it: every changelog begins anew. */
  reset(): void {
    for (const changelog of this.#changelogs.values()) changelog.reset();
  }
}

/** As a checkpoint and an entry name the changelog of a store. */
export function topicOf(store: string): string {
  return `${APPLICATION}-${store}-changelog`;
}

export function partitionOf(task: string): number {
  return Number(task.split('_')[1]);
}
