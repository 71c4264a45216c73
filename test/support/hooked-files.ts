import { basename, dirname } from 'node:path';
import { type FileAccess, realFiles } from '../../src/base/file-access.ts';

export interface HookedFiles extends FileAccess {
  /** What was asked, in order: `hold agg/000007.sst`; a path is shown by its last two names. */
  readonly trace: readonly string[];
  /** Runs `work` once, just before or after the operation that shows in the trace as `operation`. */
  once(when: 'before' | 'after', operation: string, work: () => void): void;
  /** Runs it before every such operation. */
  always(operation: string, work: () => void): void;
}

/** The real file system, with places where a test plays the application that changes it at the worst moment. */
export function hookedFiles(): HookedFiles {
  const trace: string[] = [];
  const hooks: { when: 'before' | 'after'; operation: string; work: () => void; once: boolean }[] = [];
  const run = (when: 'before' | 'after', operation: string): void => {
    for (const hook of hooks.filter((one) => one.when === when && one.operation === operation)) {
      if (hook.once) hooks.splice(hooks.indexOf(hook), 1);
      hook.work();
    }
  };
  const hooked = async <T>(verb: string, path: string, work: () => Promise<T>): Promise<T> => {
    const operation = `${verb} ${basename(dirname(path))}/${basename(path)}`;
    run('before', operation);
    trace.push(operation);
    const result = await work();
    run('after', operation);
    return result;
  };
  return {
    trace,
    list: (path) => hooked('list', path, () => realFiles.list(path)),
    stat: (path) => hooked('stat', path, () => realFiles.stat(path)),
    hold: (path) => hooked('hold', path, () => realFiles.hold(path)),
    once: (when, operation, work) => hooks.push({ when, operation, work, once: true }),
    always: (operation, work) => hooks.push({ when: 'before', operation, work, once: false }),
  };
}
