import { type FileAccess, realFiles } from '../../src/base/file-access.ts';

/** The real file system; `before` runs ahead of each access and may change what it will find. */
export function interleavedFiles(before: (verb: 'list' | 'stat' | 'hold') => void): FileAccess {
  return {
    list: (path) => {
      before('list');
      return realFiles.list(path);
    },
    stat: (path) => {
      before('stat');
      return realFiles.stat(path);
    },
    hold: (path) => {
      before('hold');
      return realFiles.hold(path);
    },
  };
}
