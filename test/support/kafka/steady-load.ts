import { setTimeout as delay } from 'node:timers/promises';

const PORTION_MS = 500;

/** Feeds an application record after record at a steady rate, until it is stopped. */
export class SteadyLoad implements AsyncDisposable {
  readonly #stopping = new AbortController();
  readonly #feeding: Promise<void>;
  #fed: number;

  private constructor(
    app: { feed(from: number, to: number): Promise<void> },
    { from, perSecond }: { readonly from: number; readonly perSecond: number },
  ) {
    this.#fed = from;
    this.#feeding = this.#feed(app, perSecond);
    this.#feeding.catch(() => undefined); // Told by whoever stops it.
  }

  static start(
    app: { feed(from: number, to: number): Promise<void> },
    rate: { readonly from: number; readonly perSecond: number },
  ): SteadyLoad {
    return new SteadyLoad(app, rate);
  }

  /** How many records there are so far, the earlier ones with them. */
  get fed(): number {
    return this.#fed;
  }

  /** How many records there are then. */
  async stop(): Promise<number> {
    this.#stopping.abort();
    await this.#feeding;
    return this.#fed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #feed(app: { feed(from: number, to: number): Promise<void> }, perSecond: number): Promise<void> {
    const { signal } = this.#stopping;
    let sinceMs = performance.now();
    while (!signal.aborted) {
      const nowMs = performance.now();
      const to = this.#fed + Math.floor(((nowMs - sinceMs) * perSecond) / 1000);
      sinceMs = nowMs;
      if (to > this.#fed) await app.feed(this.#fed, to);
      this.#fed = to;
      await delay(PORTION_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}
