import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

const HOLDER = resolve(import.meta.dirname, 'bin/hold-lock.ts');

interface Holder extends AsyncDisposable {
  release(): Promise<void>;
}

/** An application, as far as its lock tells. */
export async function holdLock(applicationDirectory: string): Promise<Holder> {
  const path = join(applicationDirectory, '.lock');
  await writeFile(path, '', { flag: 'a' });
  const child = spawn(process.execPath, [HOLDER, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [said] = await once(child.stdout, 'data');
  if (String(said) !== 'held\n') throw new Error(`the lock was ${said}`);
  const exited = once(child, 'exit');
  const release = async (): Promise<void> => {
    child.stdin.end();
    await exited;
  };
  return { release, [Symbol.asyncDispose]: release };
}
