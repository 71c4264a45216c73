import { mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { decodeDocument, encodeDocument, type SnapshotDocument } from '../../src/repository/document.ts';
import { parseSnapshotName, repositoryKeys } from '../../src/repository/keys.ts';
import { decodeRecord, encodeRecord, summarise } from '../../src/repository/record.ts';
import type { RestoreResult } from '../../src/repository/restore-result.ts';
import { nodeDisk } from '../../src/restore/disk.ts';
import { bytesBody } from '../../src/storage/object-store.ts';
import { Killed, mortalDisk } from '../support/mortal-disk.ts';
import { APPLICATION, Scenario } from '../support/scenario.ts';
import { SimulatedStore } from '../support/simulated-store.ts';

const CLOSED = '3.9.2-alos-closed';
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
const KEYS = repositoryKeys({ application: APPLICATION, lineage: 'test' });
const signal = new AbortController().signal;

function decisions({ tasks }: Pick<RestoreResult, 'tasks'>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    tasks.map(({ task, decision, why }) => [task, why === undefined ? decision : `${decision}: ${why.reason}`]),
  );
}

function all(word: string): Record<string, string> {
  return Object.fromEntries(TASKS.map((task) => [task, word]));
}

function newStore(): SimulatedStore {
  return new SimulatedStore({ clock: systemClock });
}

async function readDocument(store: SimulatedStore, snapshot: string | undefined): Promise<SnapshotDocument> {
  const key = KEYS.snapshot(parseSnapshotName(snapshot ?? ''));
  return decodeDocument(store.bytesOf(key), key);
}

/** Makes the newest snapshot one more of the epoch of an earlier one, as a process that goes on running publishes. */
async function joinEpochs(store: SimulatedStore, earlier: string | undefined, newest: string | undefined) {
  const [first, second] = [await readDocument(store, earlier), await readDocument(store, newest)];
  const joined = { ...second, epoch: first.epoch, n: first.n + 1 };
  const recordKey = KEYS.record(first.epoch);
  const record = decodeRecord(store.bytesOf(recordKey), recordKey);
  const tasks = joined.entries.map(summarise);
  await store.put(KEYS.snapshot(joined), bytesBody(await encodeDocument(joined)), { signal });
  await store.put(recordKey, bytesBody(encodeRecord({ ...record, newest: joined.n, tasks })), { signal });
  for (const key of [KEYS.snapshot(second), KEYS.record(second.epoch)]) await store.delete(key, { signal });
  return `${joined.epoch}/${joined.n}`;
}

describe('a restore after a restore', () => {
  test('removes what one that was killed left, also where nothing is to be installed', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const left = join(scenario.stateDir, '.warmstate/restore-killed/replaced/0_0');
    await mkdir(left, { recursive: true });
    await writeFile(join(left, '.checkpoint'), 'half');
    expect(decisions(await scenario.restore())).toEqual(all('local'));
    expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
  });

  test('that was killed after any step leaves whole tasks, old or new, or none; and the next one ends well', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = newStore();
    const current = await scenario.hashes();
    await scenario.snapshot({ store });
    for (let steps = 0; ; steps += 17) {
      await scenario.loseDisk();
      await scenario.restore({ store });
      // Two are behind, one cannot be opened, one is gone: all four are to be replaced.
      for (const task of ['0_0', '1_0']) await scenario.moveOffsets(task, -3);
      await rm(join(scenario.applicationDirectory, '0_1/rocksdb/agg/CURRENT'));
      await rm(join(scenario.applicationDirectory, '1_1'), { recursive: true });
      const before = await scenario.hashes();

      const disk = mortalDisk(scenario.stateDir, steps);
      await scenario.restore({ store, disk }).catch((error: unknown) => {
        if (!(error instanceof Killed || error instanceof SuppressedError)) throw error;
      });
      const left = await scenario.hashes();
      for (const task of TASKS) {
        const here = ofTask(left, task);
        const isOneOf = [ofTask(before, task), ofTask(current, task), '{}'].includes(here);
        expect(isOneOf, `${task} after ${disk.trace.at(-1)}`).toBe(true);
      }
      const result = await scenario.restore({ store });
      expect(result.tasks.filter(({ decision }) => decision === 'cold')).toEqual([]);
      expect(await scenario.hashes()).toEqual(current);
      expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
      if (!disk.isDead()) break;
    }
  });

  function ofTask(hashes: Readonly<Record<string, string>>, task: string): string {
    const own = Object.entries(hashes).filter(([path]) => path.startsWith(`${APPLICATION}/${task}/`));
    return JSON.stringify(Object.fromEntries(own));
  }

  test('installs nothing once the application has started meanwhile', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    let asked = 0;
    const result = await scenario.restore({ state: () => (asked++ === 0 ? 'stopped' : 'running') });
    expect(decisions(result)).toEqual(all('cold: application_running'));
    expect(await readdir(scenario.stateDir)).toEqual(['.warmstate']);
  });

  test('says what it did although the disk has no room for restore.json', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    const full = async (): Promise<void> => {
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    };
    expect(decisions(await scenario.restore({ disk: { ...nodeDisk, write: full } }))).toEqual(all('warm'));
    expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual([]);
    const message = `cannot tell the processes after this one: cannot write ${scenario.stateDir}/.warmstate/restore.json: no space`;
    expect(scenario.events).toContainEqual({ kind: 'notice', name: 'step-left-out', level: 'warn', message });
  });

  test('leaves what it cannot better where it is, and says why', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = newStore();
    await scenario.snapshot({ store });
    await scenario.moveOffsets('0_0', -5);
    store.script({ operation: 'get', key: /data/, kind: 'fail-before', times: Infinity });
    const result = await scenario.restore({ store });
    expect([result.outcome, decisions(result)]).toEqual(['local', { ...all('local'), '0_0': 'local: storage' }]);
  });

  test('counts what lies on the volume against its limit', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await rm(join(scenario.applicationDirectory, '0_0'), { recursive: true });
    const sizes = (await scenario.restore({ isDryRun: true })).tasks.map(({ sizeBytes }) => sizeBytes);
    const stateDirLimitBytes = sizes.reduce((sum, size) => sum + size, 0);
    // As much as all tasks take; 60 % of what the others leave is not enough for the one that is missing.
    const result = await scenario.restore({ stateDirLimitBytes, isDryRun: true });
    expect(decisions(result)).toEqual({ ...all('local'), '0_0': 'cold: no_space' });
  });

  test('takes the place of a directory that is still being filled, however young that is', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.rewriteCheckpoint('0_0', (line) => line.replace(/(-win-changelog 0 )\d+/, '$1-4'));
    expect(decisions(await scenario.restore())).toEqual({ ...all('local'), '0_0': 'warm' });
  });
});

describe('the memory of directories', () => {
  test('Q6: one that was killed under exactly-once is tainted by the restore that finds it and has nothing better', async () => {
    await using scenario = await Scenario.open('3.9.2-eos-flushed');
    const guarantee = 'exactly_once_v2';
    const restored = await scenario.restore({ guarantee });
    expect(decisions(restored)['0_0']).toBe('cold: changing');
    // The application starts over it, as 3.9 does, and writes a checkpoint over what no transaction committed.
    for (const task of ['0_0', '0_1']) await startAgain(scenario, task);
    const { tasks } = await scenario.snapshot({ guarantee });
    const why = Object.fromEntries(tasks.map(({ task, outcome, why }) => [task, `${outcome}: ${why?.reason}`]));
    expect(why).toMatchObject({ '0_0': 'uncapturable: unclean_restart', '0_1': 'uncapturable: unclean_restart' });
    const record = decodeTaints(await readFile((await scenario.objects('records')).at(-1) ?? '', 'utf8'));
    expect(record.map(({ task }) => task)).toEqual(expect.arrayContaining(['0_0', '0_1']));
    // And so it stays, whoever asks.
    expect(decisions(await scenario.restore({ guarantee }))).toMatchObject({ '0_0': 'cold: unclean_restart' });
    expect(decisions(await scenario.restore({ guarantee }))).toMatchObject({ '0_0': 'cold: unclean_restart' });
  });

  function decodeTaints(record: string): readonly { readonly task: string }[] {
    return JSON.parse(record).taints;
  }

  /** Rewrites a checkpoint last, so that by all stamps it covers what is there. */
  async function startAgain(scenario: Scenario, task: string): Promise<void> {
    await scenario.rewriteCheckpoint(task, (line) => line);
    const now = Date.now() / 1000;
    await utimes(join(scenario.applicationDirectory, task, '.checkpoint'), now, now);
  }

  test('Q8: outlasts a restore that leaves an installed directory to a cold start', async () => {
    await using scenario = await Scenario.open('3.9.2-alos-flushed');
    await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore();
    const installed = await installedIn(scenario);
    expect(installed).toContain('global live');
    expect(decisions(await scenario.restore({ guarantee: 'exactly_once_v2' }))['global']).toMatch(/^cold/);
    expect(await installedIn(scenario)).toEqual(installed);
  });

  async function installedIn(scenario: Scenario): Promise<readonly string[]> {
    const report = JSON.parse(await readFile(join(scenario.stateDir, '.warmstate/restore.json'), 'utf8'));
    return report.installed.map(({ task, quality }: { task: string; quality: string }) => `${task} ${quality}`).sort();
  }

  test('Q8: a clean image stays clean for who goes on from it, though its stamps would say live', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore();
    // Without any snapshot to go on from, and under exactly-once, which takes nothing else.
    await rm(scenario.repositoryDir, { recursive: true });
    const guarantee = 'exactly_once_v2';
    const { tasks } = await scenario.snapshot({ guarantee });
    expect(tasks.map(({ outcome, quality }) => `${outcome} ${quality}`)).toEqual(TASKS.map(() => 'captured clean'));
    await rm(join(scenario.stateDir, '.warmstate/restore.json'));
    const forgotten = await scenario.snapshot({ guarantee, instance: 'pod-9' });
    expect(forgotten.tasks.map(({ why }) => why?.reason)).toEqual(TASKS.map(() => 'exactly_once_running'));
  });

  test('Q8: a clean image is none to fetch again for a restore that finds it unopened, though its stamps would say live', async () => {
    await using scenario = await Scenario.open('3.9.2-eos-closed');
    const guarantee = 'exactly_once_v2';
    await scenario.snapshot({ guarantee });
    await scenario.loseDisk();
    await scenario.restore({ guarantee });
    expect((await scenario.restore({ guarantee })).outcome).toBe('local');
  });

  test('A2: what was installed keeps its state time, also where nothing is left to go on from', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore();
    await rm(scenario.repositoryDir, { recursive: true });
    for (const task of TASKS) await scenario.moveOffsets(task, 0);
    const { tasks } = await scenario.snapshot();
    expect(tasks.map(({ outcome }) => outcome)).toEqual(TASKS.map(() => 'captured'));
    expect(tasks.map(({ stateTimeMs }) => stateTimeMs)).toEqual(first.tasks.map(({ stateTimeMs }) => stateTimeMs));
  });

  test('A2: but a directory that the application began anew is as young as it is, whatever offsets were installed before', async () => {
    await using scenario = await Scenario.open();
    await scenario.plantTask('0_0', [{ number: 7 }]);
    const first = await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore();
    await rm(scenario.repositoryDir, { recursive: true });
    await rm(join(scenario.applicationDirectory, '0_0'), { recursive: true });
    await scenario.plantTask('0_0', [{ number: 7 }]);
    const { tasks } = await scenario.snapshot();
    const [before, now] = [first, { tasks }].map((one) => one.tasks[0]);
    expect([now?.outcome, now?.offsets]).toEqual(['captured', before?.offsets]);
    expect(now?.stateTimeMs).toBeGreaterThan(before?.stateTimeMs ?? Infinity);
  });

  test('leans on no table that the repository has lost', async () => {
    await using scenario = await Scenario.open();
    const uid = Buffer.alloc(16, 7);
    await scenario.plantTask('0_0', [{ number: 7 }, { number: 8, uid }]);
    const before = await scenario.hashes();
    await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore();
    await rm(scenario.repositoryDir, { recursive: true });
    await scenario.snapshot();
    await scenario.loseDisk();
    expect(decisions(await scenario.restore())).toEqual({ '0_0': 'warm' });
    expect(await scenario.hashes()).toEqual(before);
  });

  test('calls nothing thrown back that was restored from an older snapshot on purpose', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    await scenario.moveOffsets('0_0', 5);
    await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore({ snapshot: first.snapshot });
    const { tasks } = await scenario.snapshot();
    expect(tasks.map(({ outcome, why }) => [outcome, why])).toEqual([
      ['carried', undefined],
      ...TASKS.slice(1).map(() => ['unchanged', undefined]),
    ]);
    // Below what was installed, though, is.
    await scenario.moveOffsets('0_0', -2);
    expect((await scenario.snapshot()).tasks[0]?.why?.reason).toBe('regressed');
  });
});

describe('a damaged entry', () => {
  /** Snapshots of two instances, two of each in one epoch; the newest archive of `pod-0` is gone. */
  async function damageNewest(scenario: Scenario, store: SimulatedStore) {
    const first = await scenario.snapshot({ store });
    await scenario.moveOffsets('0_0', 5);
    const second = await scenario.snapshot({ store });
    const joined = await joinEpochs(store, first.snapshot, second.snapshot);
    const [, archive = ''] = store.keys().filter((key) => key.includes('/data/'));
    await store.delete(archive, { signal });
    await scenario.loseDisk();
    return { first: first.snapshot, joined };
  }

  test('is replaced by what its epoch had published before, however much others published since', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = newStore();
    const { first } = await damageNewest(scenario, store);
    // Another instance, younger, with more documents than anybody looks through, and none of this task.
    await using other = await Scenario.open(CLOSED);
    for (const task of ['0_0', '0_1', '1_0', 'global'])
      await rm(join(other.applicationDirectory, task), { recursive: true });
    let newest = (await other.snapshot({ store, instance: 'pod-1' })).snapshot;
    for (let count = 0; count < 9; count++) {
      newest = await joinEpochs(store, newest, (await other.snapshot({ store, instance: 'pod-1' })).snapshot);
    }
    const result = await scenario.restore({ store });
    expect(decisions(result)).toEqual({ ...all('warm'), '0_0': 'warm: damaged' });
    expect(result.tasks[0]?.snapshot).toBe(first);
  });

  test('of a snapshot that was asked for by name is replaced by nothing', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = newStore();
    const { joined } = await damageNewest(scenario, store);
    const result = await scenario.restore({ store, snapshot: joined });
    expect(decisions(result)).toEqual({ ...all('warm'), '0_0': 'cold: damaged' });
  });

  test('is no record that says other things than its document: the document counts', async () => {
    await using scenario = await Scenario.open('3.9.2-alos-flushed');
    const store = newStore();
    const { snapshot, tasks } = await scenario.snapshot({ store });
    expect(tasks.find(({ task }) => task === 'global')?.quality).toBe('live');
    const { epoch } = parseSnapshotName(snapshot ?? '');
    store.tamper(KEYS.record(epoch), (bytes) => {
      const record = decodeRecord(bytes, KEYS.record(epoch));
      return encodeRecord({ ...record, tasks: record.tasks.map((task) => ({ ...task, quality: 'clean' })) });
    });
    await scenario.loseDisk();
    const result = await scenario.restore({ store, guarantee: 'exactly_once_v2' });
    expect(decisions(result)).toEqual({ '1_0': 'warm', '1_1': 'warm', global: 'cold: guarantee_unknown' });
    expect(scenario.events).toContainEqual({
      kind: 'notice',
      name: 'record-contradicted',
      level: 'warn',
      message: `the record of ${epoch} does not say of global what the snapshot ${snapshot} says`,
    });
  });
});
