import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Failure } from '../../src/base/failure.ts';
import { at, numberAt, type Tree, treesAt } from '../../src/inject/tree.ts';
import type { Namespace } from './cluster.ts';

/** What a container writes, line by line, while it runs and to its end: a pod that is deleted takes its logs along. */
export class ContainerLog implements AsyncDisposable {
  readonly #name: string;
  readonly #child: ReturnType<Namespace['cluster']['follow']>;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  private constructor(name: string, child: ReturnType<Namespace['cluster']['follow']>) {
    this.#name = name;
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.#ended = once(child, 'close');
    child.stderr.resume();
  }

  /** From its start, also that after so many restarts; waits for it. */
  static async follow(
    namespace: Namespace,
    { pod, container, restarts = 0 }: { readonly pod: string; readonly container: string; readonly restarts?: number },
  ): Promise<ContainerLog> {
    await namespace.until(`${container} of ${pod} has started`, async () => {
      const status = containerOf(await namespace.get('pod', pod), container);
      const isThere = at(status, ['state', 'running']) ?? at(status, ['state', 'terminated']);
      return isThere !== undefined && (numberAt(status, 'restartCount') ?? 0) >= restarts ? true : undefined;
    });
    const child = namespace.cluster.follow('-n', namespace.name, 'logs', '-f', pod, '-c', container);
    return new ContainerLog(`${container} of ${pod}`, child);
  }

  /** Throws once the container has ended. */
  async nextLine(): Promise<string> {
    const next = await this.#lines.next();
    if (next.done !== true) return next.value;
    throw new Failure('unavailable', `${this.#name} has ended`);
  }

  /** Everything to the end of the container. */
  async toTheEnd(): Promise<readonly string[]> {
    const lines: string[] = [];
    for (;;) {
      const next = await this.#lines.next();
      if (next.done === true) return lines;
      lines.push(next.value);
    }
  }

  async close(): Promise<void> {
    this.#child.kill();
    await this.#ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Its status, wherever in the pod it stands. */
export function containerOf(pod: Tree, name: string): Tree | undefined {
  const all = [...treesAt(pod, 'status', 'initContainerStatuses'), ...treesAt(pod, 'status', 'containerStatuses')];
  return all.find((each) => each['name'] === name);
}
