import { basename } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import { systemErrorCode } from '../base/failure.ts';
import { CHECKPOINT_FILE } from '../streams/state-directory.ts';

/** Tells when a task directory seems to have changed. A hint, never a fact: whoever hears it looks. */
export interface TaskWatcher extends AsyncDisposable {
  /** Whether hints come. Where not, the node has no watches left, and the listener has to look by itself. */
  readonly isWatching: boolean;
  /** From now on these task directories, by their path, and no others. */
  watchOnly(paths: readonly string[]): void;
}

export type OpenWatcher = (onHint: (task: string) => void) => TaskWatcher;

/** A node without free watches says one of these. */
const EXHAUSTED = new Set(['ENOSPC', 'EMFILE', 'ENFILE']);

/**
 * Watches task directories alone, not what lies below them: a new `.checkpoint` is to be looked at within milliseconds,
 * everything else can wait for the next sweep.
 */
export const openTaskWatcher: OpenWatcher = (onHint) => new ChokidarWatcher(onHint);

class ChokidarWatcher implements TaskWatcher {
  readonly #watcher: FSWatcher;
  #watched = new Set<string>();
  #isWatching = true;

  constructor(onHint: (task: string) => void) {
    const ignored = (path: string): boolean => !this.#watched.has(path) && basename(path) !== CHECKPOINT_FILE;
    this.#watcher = watch([], { ignored, depth: 0, atomic: false, ignoreInitial: true, followSymlinks: false });
    // Raw events come at once; chokidar's own wait for a listing of the directory, at most one a second.
    this.#watcher.on('raw', (_event, name, details) => {
      const path = watchedPathOf(details);
      if (basename(name) !== CHECKPOINT_FILE) return;
      onHint(
        basename(path) === CHECKPOINT_FILE ? basename(path.slice(0, -CHECKPOINT_FILE.length - 1)) : basename(path),
      );
    });
    this.#watcher.on('error', (error) => {
      if (EXHAUSTED.has(systemErrorCode(error) ?? '')) this.#isWatching = false;
    });
  }

  get isWatching(): boolean {
    return this.#isWatching;
  }

  watchOnly(paths: readonly string[]): void {
    const wanted = new Set(paths);
    const gone = [...this.#watched.difference(wanted)];
    const come = [...wanted.difference(this.#watched)];
    this.#watched = wanted;
    if (gone.length > 0) this.#watcher.unwatch(gone);
    if (come.length > 0) this.#watcher.add(come);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watcher.close();
  }
}

/** Of a raw event: the directory, or the file in it, whose watch it comes from. */
function watchedPathOf(details: unknown): string {
  const hasPath = typeof details === 'object' && details !== null && 'watchedPath' in details;
  return hasPath ? String(details.watchedPath) : '';
}
