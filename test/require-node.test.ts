import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const SCRIPT = resolve(import.meta.dirname, '../scripts/require-node.cjs');

/** Loads the script into a Node that says it is another version. */
async function loadUnder(version: string): Promise<{ code: number; stderr: string }> {
  const pretend = `Object.defineProperty(process.versions, 'node', { value: ${JSON.stringify(version)} }); require(${JSON.stringify(SCRIPT)});`;
  return promisify(execFile)(process.execPath, ['-e', pretend]).then(
    ({ stderr }) => ({ code: 0, stderr }),
    (error: { code: number; stderr: string }) => ({ code: error.code, stderr: error.stderr }),
  );
}

test.each(['20.20.2', '24.11.9', '22.99.0'])('Node %s is told in one sentence that it is too old', async (version) => {
  expect(await loadUnder(version)).toEqual({
    code: 2,
    stderr: `warmstate needs Node 24.12 or newer, this is ${version}
try: run \`npm ci\` with install scripts allowed (they bring the right Node), or put a newer Node on the PATH
`,
  });
});

test.each(['24.12.0', '24.21.0', '26.0.0'])('Node %s is let in', async (version) => {
  expect(await loadUnder(version)).toEqual({ code: 0, stderr: '' });
});
