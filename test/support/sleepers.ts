export interface Sleeper {
  readonly wakeAtMs: number;
  /** Goes on at once where it aborts. */
  readonly signal: AbortSignal;
  /** With which it is forgotten. */
  readonly process: object;
  readonly goOn: () => void;
}

interface Place {
  readonly sleeper: Sleeper;
  /** Of those that wake at the same time, who came first wakes first. */
  readonly turn: number;
  index: number;
}

/** Who sleeps, in the order of waking: a binary heap, with one listener for all that one signal wakes. */
export class Sleepers {
  readonly #heap: Place[] = [];
  readonly #places = new Map<Sleeper, Place>();
  readonly #bySignal = new Map<AbortSignal, { readonly sleepers: Set<Sleeper>; readonly stop: () => void }>();
  #turns = 0;

  get first(): Sleeper | undefined {
    return this.#heap[0]?.sleeper;
  }

  add(sleeper: Sleeper): void {
    const place = { sleeper, turn: this.#turns++, index: this.#heap.length };
    this.#places.set(sleeper, place);
    this.#heap.push(place);
    this.#rise(place);
    this.#listen(sleeper);
  }

  wake(sleeper: Sleeper): void {
    this.#remove(sleeper);
    sleeper.goOn();
  }

  forget(process: object): void {
    for (const sleeper of this.#places.keys()) {
      if (sleeper.process === process) this.#remove(sleeper);
    }
  }

  #listen(sleeper: Sleeper): void {
    const { signal } = sleeper;
    const heard = this.#bySignal.get(signal);
    if (heard !== undefined) {
      heard.sleepers.add(sleeper);
      return;
    }
    const sleepers = new Set([sleeper]);
    const wakeAll = (): void => {
      for (const one of sleepers) this.wake(one);
    };
    signal.addEventListener('abort', wakeAll, { once: true });
    this.#bySignal.set(signal, { sleepers, stop: () => signal.removeEventListener('abort', wakeAll) });
  }

  #remove(sleeper: Sleeper): void {
    const place = this.#places.get(sleeper);
    if (place === undefined) return;
    this.#places.delete(sleeper);
    const last = this.#heap.pop();
    if (last !== undefined && last !== place) {
      this.#put(last, place.index);
      this.#rise(last);
      this.#sink(last);
    }
    const heard = this.#bySignal.get(sleeper.signal);
    heard?.sleepers.delete(sleeper);
    if (heard?.sleepers.size !== 0) return;
    heard.stop();
    this.#bySignal.delete(sleeper.signal);
  }

  #rise(place: Place): void {
    for (;;) {
      const above = this.#heap[(place.index - 1) >> 1];
      if (above === undefined || isBefore(above, place)) return;
      this.#swap(above, place);
    }
  }

  #sink(place: Place): void {
    for (;;) {
      const [left, right] = [this.#heap[2 * place.index + 1], this.#heap[2 * place.index + 2]];
      const below = left !== undefined && right !== undefined && isBefore(right, left) ? right : left;
      if (below === undefined || isBefore(place, below)) return;
      this.#swap(place, below);
    }
  }

  #swap(above: Place, below: Place): void {
    const { index } = above;
    this.#put(above, below.index);
    this.#put(below, index);
  }

  #put(place: Place, index: number): void {
    this.#heap[index] = place;
    place.index = index;
  }
}

function isBefore(one: Place, other: Place): boolean {
  const [left, right] = [one.sleeper.wakeAtMs, other.sleeper.wakeAtMs];
  return left < right || (left === right && one.turn < other.turn);
}
