import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export interface TempDirectory extends AsyncDisposable {
  readonly path: string;
}

/** A directory of its own for one test, gone with it. `parent` for a file system of another kind. */
export async function openTempDirectory(parent: string = tmpdir()): Promise<TempDirectory> {
  const path = await mkdtemp(join(parent, 'warmstate-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/** Makes files with some content, and directories where a path ends with a slash. */
export async function plant(directory: string, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const target = join(directory, path);
    await mkdir(path.endsWith('/') ? target : dirname(target), { recursive: true });
    if (!path.endsWith('/')) await writeFile(target, 'content');
  }
}
