import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import type { RestoreResult } from '../../src/repository/restore-result.ts';
import { frameRecords } from '../../src/rocksdb/record-writer.ts';
import { linkFirst, repeatFirst, rewriteArchive, rewriteDocument } from '../support/hostile.ts';
import { EditBuilder } from '../support/manifest.ts';
import { APPLICATION, listFiles, Scenario } from '../support/scenario.ts';
import { SimulatedStore } from '../support/simulated-store.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';

function reasons({ tasks }: RestoreResult): Readonly<Record<string, string>> {
  return Object.fromEntries(tasks.map(({ task, decision, why }) => [task, `${decision} ${why?.reason ?? ''}`.trim()]));
}

describe('a document', () => {
  const hostile: readonly (readonly [string, (text: string) => string, string])[] = [
    [
      'that names ../../etc/passwd',
      (text) => text.replace('rocksdb/agg/CURRENT', '../../etc/passwd'),
      '../../etc/passwd',
    ],
    ['that names an absolute path', (text) => text.replace('rocksdb/agg/CURRENT', '/etc/passwd'), '/etc/passwd'],
    ['that leaves its store', (text) => text.replace('rocksdb/agg/CURRENT', 'rocksdb/agg/../../../x'), '../../../x'],
    ['that names a file twice', (text) => text.replace('rocksdb/agg/CURRENT', manifestIn(text)), 'is named twice'],
    ['that installs a lock', (text) => text.replace('rocksdb/agg/CURRENT', 'rocksdb/agg/LOCK'), 'rocksdb/agg/LOCK'],
    ['of a task that is a path', (text) => text.replace('"task":"0_0"', '"task":"../0_0"'), '../0_0'],
    ['of a store that is its parent', (text) => text.replace('"name":"agg"', '"name":".."'), 'name of a store'],
    ['of objects elsewhere', (text) => text.replaceAll('orders/test/data/', 'orders/prod/data/'), 'another repository'],
    ['with an offset below 0', (text) => text.replace(/("orders-agg-changelog-0":")/, '$1-'), 'offsets'],
    ['of a format from the future', (text) => text.replace('"format":1', '"format":2'), 'format'],
    ['that is no JSON', (text) => text.slice(0, -20), ''],
    ['that unpacks to a whole memory', () => 'x'.repeat(150 * 1024 * 1024), ''],
  ];

  function manifestIn(text: string): string {
    return /rocksdb\/agg\/MANIFEST-\d+/.exec(text)?.[0] ?? '';
  }

  test.each(hostile)('%s leaves everything cold, and touches nothing', async (_what, change, message) => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await rewriteDocument(scenario, change);
    await scenario.loseDisk();
    const result = await scenario.restore();
    expect(new Set(Object.values(reasons(result)))).toEqual(new Set(['cold damaged']));
    expect(result.tasks[0]?.why?.message).toContain(message);
    expect(await listFiles(scenario.stateDir)).toEqual(['.warmstate/restore.json']);
    expect((await readdir(scenario.path)).sort()).toEqual(['repository', 'state']);
  });

  test('with a file of a petabyte is too large, whatever its record says; the rest comes', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await rewriteDocument(scenario, (text) =>
      text.replace(/("path":"\.checkpoint","sizeBytes":)\d+/, '$11000000000000000'),
    );
    await scenario.loseDisk();
    const result = await scenario.restore();
    expect(reasons(result)).toEqual({
      '0_0': 'cold no_space',
      '0_1': 'warm',
      '1_0': 'warm',
      '1_1': 'warm',
      global: 'warm',
    });
  });

  test('that another one was swapped for is none, and neither is such a record', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    await scenario.moveOffsets('0_0', 5);
    await scenario.snapshot();
    for (const folder of ['snapshots', 'records']) {
      const [older = '', newer = ''] = await scenario.objects(folder);
      await copyFile(older, newer);
    }
    await scenario.loseDisk();
    const result = await scenario.restore();
    expect(new Set(result.tasks.map(({ snapshot }) => snapshot))).toEqual(new Set([first.snapshot]));
    expect(scenario.events).toContainEqual(
      expect.objectContaining({ message: 'passed over a snapshot that cannot be read' }),
    );
  });

  test('that is hostile is told by the program with its exit code, in words', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await rewriteDocument(scenario, (text) => text.replace('rocksdb/agg/CURRENT', '../../etc/passwd'));
    await scenario.loseDisk();
    const failed = await warmstate(['restore', ...scenario.flags, '--on-failure', 'fail']);
    expect([failed.code, JSON.parse(failed.stdout).outcome]).toEqual([7, 'failed']);
    expect(failed.stderr).toContain('../../etc/passwd');
    const cold = await warmstate(['restore', ...scenario.flags]);
    expect([cold.code, JSON.parse(cold.stdout).outcome]).toEqual([0, 'failed']);
  });
});

describe('an archive', () => {
  test.each<readonly [string, (tar: Buffer) => Buffer, string]>([
    ['with a symbolic link', (tar) => linkFirst(tar, '/etc/passwd'), 'is a SymbolicLink'],
    ['with a link that leads out', (tar) => linkFirst(tar, '../../../x'), 'is a SymbolicLink'],
    ['with a file twice', repeatFirst, 'twice'],
    ['that ends in the middle', (tar) => tar.subarray(0, 1000), ''],
    ['that holds nothing', () => Buffer.alloc(1024), ''],
    ['that unpacks to a whole memory', () => Buffer.alloc(256 * 1024 * 1024), 'unpacks to more than'],
  ])('%s leaves everything cold, and writes nothing outside', async (_what, change, message) => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await rewriteArchive(scenario, change);
    await scenario.loseDisk();
    const result = await scenario.restore();
    expect(new Set(Object.values(reasons(result)))).toEqual(new Set(['cold damaged']));
    expect(result.tasks[0]?.why?.message).toContain(message);
    expect(await listFiles(scenario.stateDir)).toEqual(['.warmstate/restore.json']);
    expect((await readdir(scenario.path)).sort()).toEqual(['repository', 'state']);
  });
});

describe('a large table whose object is', () => {
  test.each<readonly [string, (bytes: Uint8Array) => Uint8Array]>([
    ['truncated', (bytes) => bytes.subarray(0, bytes.byteLength - 1)],
    ['empty', () => new Uint8Array()],
    ['longer', (bytes) => Buffer.concat([bytes, Buffer.from('more')])],
    ['bit-flipped at its begin', (bytes) => bytes.map((byte, at) => (at === 0 ? byte ^ 1 : byte))],
    ['bit-flipped in its middle', (bytes) => bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ 16 : byte))],
    ['bit-flipped at its end', (bytes) => bytes.map((byte, at) => (at === bytes.length - 1 ? byte ^ 128 : byte))],
  ])('%s leaves its task cold, and the other one comes', async (_how, damage) => {
    await using scenario = await Scenario.open();
    const store = new SimulatedStore();
    for (const [task, number] of [['0_0', 7] as const, ['0_1', 9] as const])
      await scenario.plantTask(task, [{ number }]);
    await scenario.snapshot({ store });
    const [table = ''] = store.keys().filter((key) => /\/data\/.*-000000$/.test(key));
    store.tamper(table, damage);
    await scenario.loseDisk();
    const result = await scenario.restore({ store });
    expect(Object.values(reasons(result)).sort()).toEqual(['cold damaged', 'warm']);
    expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
  });

  test('swapped for that of another table is not taken for it', async () => {
    await using scenario = await Scenario.open();
    const store = new SimulatedStore();
    for (const [task, number] of [['0_0', 7] as const, ['0_1', 9] as const])
      await scenario.plantTask(task, [{ number }]);
    await scenario.snapshot({ store });
    const [one = '', other = ''] = store.keys().filter((key) => key.includes('/data/') && !key.endsWith('.tar.zst'));
    const [oneBytes, otherBytes] = [store.bytesOf(one), store.bytesOf(other)];
    store.tamper(one, () => otherBytes);
    store.tamper(other, () => oneBytes);
    await scenario.loseDisk();
    expect(reasons(await scenario.restore({ store }))).toEqual({ '0_0': 'cold damaged', '0_1': 'cold damaged' });
    expect(await listFiles(scenario.stateDir)).toEqual(['.warmstate/restore.json']);
  });

  test('wrong in the air alone is damaged all the same: it is not what was captured', async () => {
    await using scenario = await Scenario.open();
    const store = new SimulatedStore();
    await scenario.plantTask('0_0', [{ number: 7 }]);
    await scenario.snapshot({ store });
    await scenario.loseDisk();
    store.script({ operation: 'get', key: /data/, kind: 'flip' });
    expect(reasons(await scenario.restore({ store }))).toEqual({ '0_0': 'cold damaged' });
    expect(reasons(await scenario.restore({ store }))).toEqual({ '0_0': 'warm' });
  });
});

describe('a state directory with', () => {
  /** A tag that no release knows, and that must not be skipped. */
  const UNKNOWN_TAG = 99;

  test('a manifest from the future is refused with the number, and the other tasks come', async () => {
    await using scenario = await Scenario.open();
    for (const task of ['0_0', '0_1']) await scenario.plantTask(task, [{ number: 7 }]);
    const manifest = join(scenario.applicationDirectory, '0_1/rocksdb/agg/MANIFEST-000004');
    const edit = new EditBuilder().counters(0, 1000, 0n).varint(UNKNOWN_TAG).varint(1).bytes();
    await writeFile(manifest, frameRecords([edit]));
    const { tasks } = await scenario.snapshot();
    expect(tasks.map(({ task, outcome, why }) => [task, outcome, why?.reason])).toEqual([
      ['0_0', 'captured', undefined],
      ['0_1', 'uncapturable', 'unsupported_store'],
    ]);
    expect(tasks[1]?.why?.message).toContain(String(UNKNOWN_TAG));
    // Whoever restores has nothing better, and leaves it to the release that wrote it.
    const before = await listFiles(scenario.applicationDirectory);
    expect(reasons(await scenario.restore())).toEqual({ '0_0': 'local', '0_1': 'cold unsupported_store' });
    expect(await listFiles(scenario.applicationDirectory)).toEqual(before);
  });

  test.each([
    ['empty', ''],
    ['of zeros', '\0'.repeat(4096)],
    ['of text', 'not a manifest at all\n'.repeat(200)],
  ])('a manifest that is %s costs that task alone', async (_how, content) => {
    await using scenario = await Scenario.open();
    for (const task of ['0_0', '0_1']) await scenario.plantTask(task, [{ number: 7 }]);
    await writeFile(join(scenario.applicationDirectory, '0_1/rocksdb/agg/MANIFEST-000004'), content);
    const { tasks } = await scenario.snapshot({ clock: { ...systemClock, sleep: async () => {} } });
    expect(tasks.map(({ outcome, why }) => [outcome, why?.reason])).toEqual([
      ['captured', undefined],
      ['uncapturable', 'damaged'],
    ]);
  });

  test('links, pipes and strange names is captured without following, waiting for, or taking any of them', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const before = await scenario.hashes();
    await symlink('/etc', join(scenario.applicationDirectory, '7_0'));
    await symlink('/etc/passwd', join(scenario.applicationDirectory, '0_0/strange'));
    execFileSync('mkfifo', [
      join(scenario.applicationDirectory, '0_0/pipe'),
      join(scenario.applicationDirectory, '5_5'),
    ]);
    await mkdir(join(scenario.applicationDirectory, 'not-a-task/rocksdb/agg'), { recursive: true });
    const { tasks } = await scenario.snapshot();
    expect(tasks.map(({ task, outcome }) => `${task} ${outcome}`)).toEqual(
      ['0_0', '0_1', '1_0', '1_1', 'global'].map((task) => `${task} captured`),
    );
    await scenario.loseDisk();
    await scenario.restore();
    expect(await scenario.hashes()).toEqual(before);
    expect(await listFiles(join(scenario.applicationDirectory, '0_0'))).not.toContain('strange');
  });

  test('a restore.json that is rubbish, a directory or a pipe is as good as one without', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const report = join(scenario.stateDir, '.warmstate/restore.json');
    await mkdir(dirname(report));
    for (const text of ['', '{}', '{"format":1}', '{"format":7}', 'x'.repeat(1000)]) {
      await writeFile(report, text);
      expect((await scenario.snapshot()).tasks.map(({ outcome }) => outcome)).toEqual(Array(5).fill('unchanged'));
    }
    expect(reasons(await scenario.restore())).toMatchObject({ '0_0': 'local' });
    expect(JSON.parse(await readFile(report, 'utf8'))).toMatchObject({ format: 1, application: APPLICATION });
  });
});
