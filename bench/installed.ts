import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

export const MAIN = resolve(import.meta.dirname, '../dist/main.js');

/** The words before `MAIN` that start it as the installed command starts itself, with the Node that runs this. */
export const START = startOf(readFileSync(MAIN, 'utf8'));

function startOf(program: string): readonly string[] {
  const words = /^#!(\/usr\/bin\/env) -S (.*)$/m.exec(program);
  if (words === null) throw new Error(`${MAIN} does not say how it is started`);
  const [, env = '', line = ''] = words;
  return [env, ...line.split(' ').map((word) => (word === 'node' ? process.execPath : word))];
}
