import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SERVER_NAMES, startServer } from '../support/s3-server/real-servers.ts';
import { destinationOn } from '../support/s3-server/s3-destination.ts';
import { Scenario } from '../support/scenario.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';

describe.each(SERVER_NAMES)('the whole program on %s', (name) => {
  test('snapshots, verifies and restores a recorded state, and what changed of it', async () => {
    await using server = await startServer(name);
    await using scenario = await Scenario.open(CLOSED);
    const env = { ...scenario.environment, ...destinationOn(server, 'some/prefix') };
    const run = async (command: string): Promise<unknown> => {
      const ended = await warmstate([command], { env });
      expect(ended.code, ended.stderr).toBe(0);
      return JSON.parse(ended.stdout);
    };
    const first = await scenario.hashes();
    const tasks = ['0_0', '0_1', '1_0', '1_1', 'global'].map((task) => ({ task, outcome: 'captured' }));
    expect(await run('snapshot')).toMatchObject({ tasks });
    expect(await run('snapshot')).toMatchObject({ bytesUploaded: 0, objectsUploaded: 0 });
    expect(await run('verify')).toMatchObject({ problems: [] });

    await scenario.loseDisk();
    expect(await run('restore')).toMatchObject({ outcome: 'restored' });
    expect(await scenario.hashes()).toEqual(first);

    await scenario.moveOffsets('0_0', 5);
    const second = await scenario.hashes();
    expect(await run('snapshot')).toMatchObject({ snapshot: expect.stringMatching(/./) });
    await scenario.loseDisk();
    expect(await run('restore')).toMatchObject({ outcome: 'restored' });
    expect(await scenario.hashes()).toEqual(second);
    expect(await run('verify')).toMatchObject({ problems: [] });

    // Two pods with other names: one adopts it all, and the other one, that comes second, copies it.
    const pods = ['new-0', 'new-1'].map(async (instance) => {
      const stateDir = join(scenario.path, instance);
      await mkdir(stateDir);
      return warmstate(['restore', '--instance', instance, '--state-dir', stateDir], { env });
    });
    for (const { code, stdout } of await Promise.all(pods)) {
      expect([code, JSON.parse(stdout)]).toMatchObject([0, { outcome: 'restored' }]);
    }
  });
});
