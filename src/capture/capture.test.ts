import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hookedFiles } from '../../test/support/hooked-files.ts';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { ModelDatabase } from '../../test/support/model-database.ts';
import { isFailure } from '../base/failure.ts';
import { ManifestReplay } from '../rocksdb/live-files.ts';
import { type Capture, type CaptureOutcome, captureTask } from './capture.ts';
import { ManifestTails } from './manifest-tail.ts';

let directory: string;
let task: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'warmstate-capture-'));
  task = join(directory, '0_0');
  mkdirSync(task);
});
afterEach(() => rmSync(directory, { recursive: true }));

const CHANGELOG = 'app-agg-changelog';
let files = hookedFiles();
beforeEach(() => {
  files = hookedFiles();
});

function writeCheckpoint(offset: number): void {
  writeFileSync(join(task, '.checkpoint.tmp'), `0\n1\n${CHANGELOG} 0 ${offset}\n`);
  renameSync(join(task, '.checkpoint.tmp'), join(task, '.checkpoint'));
}

function checkpoint(): string {
  return join(task, '.checkpoint');
}

function makeStore(): ModelDatabase {
  const database = new ModelDatabase(join(task, 'rocksdb', 'agg'));
  database.change({ add: [{ number: 7 }, { number: 8 }] });
  writeCheckpoint(100);
  return database;
}

async function capture(isKnown: (path: string) => boolean = () => false, triesMax = 20): Promise<CaptureOutcome> {
  await using manifests = new ManifestTails(files);
  return await captureTask(
    { applicationDirectory: directory, task: '0_0' },
    {
      files,
      manifests,
      clock: new ManualClock({ sleepsPass: true }),
      emit: () => {},
      signal: new AbortController().signal,
    },
    { isKnown: ({ path }) => isKnown(path), triesMax },
  );
}

async function captured(isKnown?: (path: string) => boolean): Promise<Capture> {
  const outcome = await capture(isKnown);
  if (outcome.kind !== 'captured') throw new Error(`not captured: ${JSON.stringify(outcome)}`);
  return outcome.capture;
}

/** What the image would restore to: offset of the checkpoint, live tables of its manifest, tables that can be read. */
async function imageOf(
  one: Capture,
): Promise<{ offset: bigint | undefined; live: number[]; readable: string[]; current: string }> {
  const small = new Map(
    one.stores.flatMap((store) => store.files).map(({ path, bytes }) => [path.split('/').at(-1) ?? '', bytes]),
  );
  const current = Buffer.from(small.get('CURRENT') ?? [])
    .toString()
    .trim();
  const replay = new ManifestReplay();
  replay.feed(small.get(current) ?? new Uint8Array());
  const readable = [];
  for (const { path, source, sizeBytes } of one.stores.flatMap((store) => store.tables)) {
    const buffer = new Uint8Array(sizeBytes);
    if ((await source?.read(buffer, 0)) === sizeBytes) readable.push(`${path.split('/').at(-1)}:${buffer[0]}`);
  }
  return {
    offset: one.sight.checkpoint?.content.offsets.get(`${CHANGELOG}-0`),
    live: (replay.live()?.tables ?? []).map(({ number }) => number),
    readable: readable.sort(),
    current,
  };
}

describe('what is captured', () => {
  test('offsets are read before databases, and everything is looked at again at the end', async () => {
    makeStore();
    writeFileSync(join(task, 'agg.position'), 'position');
    await using _ = await captured((path) => path.endsWith('000008.sst'));
    const ours = files.trace.filter((line) => !line.endsWith('/0_0') || line.startsWith('hold'));
    expect(ours).toEqual([
      // The listing.
      'stat 0_0/.checkpoint',
      'stat 0_0/agg.position',
      'stat 0_0/rocksdb',
      'list 0_0/rocksdb',
      'stat rocksdb/agg',
      // What is held to the end.
      expect.stringMatching(/^hold .*\/0_0$/),
      'hold rocksdb/agg',
      // Offsets first.
      'hold 0_0/.checkpoint',
      'hold 0_0/agg.position',
      // Then the database; a table that is known needs no descriptor.
      'hold agg/CURRENT',
      'hold agg/MANIFEST-000004',
      'stat agg/000008.sst',
      'stat agg/000007.sst',
      'hold agg/000007.sst',
      'stat agg/MANIFEST-000004',
      'list rocksdb/agg',
      // The same directory, with the same checkpoint?
      'stat 0_0/.checkpoint',
      'stat 0_0/agg.position',
      'stat 0_0/rocksdb',
      'list 0_0/rocksdb',
      'stat rocksdb/agg',
      'stat 0_0/.checkpoint',
    ]);
  });

  test('a table stays readable when the application unlinks it', async () => {
    const database = makeStore();
    await using one = await captured();
    database.change({ remove: [7, 8], add: [{ number: 9 }] });
    expect(await imageOf(one)).toEqual({
      offset: 100n,
      live: [7, 8],
      readable: ['000007.sst:7', '000008.sst:8'],
      current: 'MANIFEST-000004',
    });
  });

  test('the manifest is the prefix that was replayed, CURRENT is made for it', async () => {
    const database = makeStore();
    files.once('after', 'list rocksdb/agg', () => {
      database.change({ add: [{ number: 9 }] });
    });
    // Once all is pinned the application goes on: what it appends, or a CURRENT that names the next manifest, is not ours.
    await using one = await captured();
    expect(await imageOf(one)).toMatchObject({ live: [7, 8], current: 'MANIFEST-000004' });
  });

  test('a torn last record of the manifest is left out', async () => {
    const database = makeStore();
    appendFileSync(join(database.directory, database.manifest), Buffer.from([1, 2, 3, 4, 90, 0, 1, 6]));
    await using one = await captured();
    expect(await imageOf(one)).toMatchObject({ live: [7, 8] });
  });

  test('a task without stores is captured as such', async () => {
    await using one = await captured();
    expect(one.stores).toEqual([]);
    expect(one.sight.checkpoint).toBeUndefined();
  });

  test('a task directory that is not there is gone', async () => {
    rmSync(task, { recursive: true });
    expect(await capture()).toEqual({ kind: 'gone' });
    mkdirSync(task);
  });
});

describe('while the application goes on', () => {
  test('a table that was compacted away is looked for in the next edit, and what is held stays held', async () => {
    const database = makeStore();
    files.once('before', 'hold agg/000007.sst', () => database.change({ remove: [7], add: [{ number: 9 }] }));
    await using one = await captured();
    expect(await imageOf(one)).toMatchObject({ live: [8, 9], readable: ['000008.sst:8', '000009.sst:9'] });
    expect(files.trace.filter((line) => line === 'hold agg/000008.sst')).toHaveLength(1);
    expect(files.trace.filter((line) => line === 'hold agg/MANIFEST-000004')).toHaveLength(1);
  });

  test('a table that no longer is live is let go', async () => {
    const database = makeStore();
    files.once('before', 'hold agg/000007.sst', () => database.change({ remove: [7, 8], add: [{ number: 9 }] }));
    await using one = await captured();
    expect(await imageOf(one)).toMatchObject({ live: [9], readable: ['000009.sst:9'] });
  });

  test('a table of another size begins the database again', async () => {
    const database = makeStore();
    files.once('before', 'stat agg/000007.sst', () => truncateSync(database.path(7), 50));
    files.once('before', 'hold agg/CURRENT', () =>
      files.once('before', 'hold agg/CURRENT', () => database.writeTable({ number: 7 })),
    );
    await using one = await captured();
    expect(await imageOf(one)).toMatchObject({ readable: ['000007.sst:7', '000008.sst:8'] });
    expect(files.trace.filter((line) => line === 'hold agg/000008.sst')).toHaveLength(2);
  });

  test('a table that shrinks between its look and its opening is not taken', async () => {
    const database = makeStore();
    files.once('before', 'hold agg/000007.sst', () => truncateSync(database.path(7), 50));
    files.once('before', 'hold agg/CURRENT', () =>
      files.once('before', 'hold agg/CURRENT', () => database.writeTable({ number: 7 })),
    );
    await using one = await captured();
    expect(await imageOf(one)).toMatchObject({ readable: ['000007.sst:7', '000008.sst:8'] });
  });

  test('a manifest that is rolled while files are opened is read anew, under its new name', async () => {
    const database = makeStore();
    files.once('before', 'hold agg/000007.sst', () => {
      database.rollManifest();
      database.change({ add: [{ number: 9 }], remove: [7] });
    });
    await using one = await captured();
    expect(await imageOf(one)).toMatchObject({
      live: [8, 9],
      current: 'MANIFEST-000005',
      readable: ['000008.sst:8', '000009.sst:9'],
    });
  });

  test('a store that is made anew in its directory, with the same names, is captured anew', async () => {
    makeStore();
    // The wipe falls between the opening of the tables and the last look at the manifest: every number is reused.
    files.once('before', 'stat agg/MANIFEST-000004', () => {
      for (const name of ['CURRENT', 'MANIFEST-000004', '000007.sst', '000008.sst'])
        unlinkSync(join(task, 'rocksdb/agg', name));
      new ModelDatabase(join(task, 'rocksdb/agg')).change({
        add: [{ number: 7, sizeBytes: 100, largestSequence: 1n }],
      });
      writeFileSync(join(task, 'rocksdb/agg/000007.sst'), new Uint8Array(100).fill(77));
      writeCheckpoint(3);
    });
    await using one = await captured();
    expect(await imageOf(one)).toEqual({
      offset: 3n,
      live: [7],
      readable: ['000007.sst:77'],
      current: 'MANIFEST-000004',
    });
  });

  test('a store whose directory is replaced is never captured under the old checkpoint', async () => {
    makeStore();
    files.once('after', 'hold 0_0/.checkpoint', () => {
      rmSync(join(task, 'rocksdb/agg'), { recursive: true });
      new ModelDatabase(join(task, 'rocksdb/agg'));
    });
    files.once('after', 'stat 0_0/.checkpoint', () => {
      files.once('before', 'stat 0_0/.checkpoint', () => {});
    });
    const outcome = await capture();
    if (outcome.kind !== 'captured') throw new Error('not captured');
    await using one = outcome.capture;
    // The second attempt lists the new directory; its parent is younger than the checkpoint, which the rules refuse (D2).
    expect(files.trace.filter((line) => line === 'hold 0_0/.checkpoint')).toHaveLength(2);
    const parent = one.sight.parents.get('rocksdb');
    expect((parent?.facts.mtimeNs ?? 0n) > (one.sight.checkpoint?.mtimeNs ?? 0n)).toBe(true);
  });

  test('a position file that goes meanwhile begins the task again', async () => {
    makeStore();
    writeFileSync(join(task, 'agg.position'), 'position');
    files.once('before', 'hold 0_0/agg.position', () => unlinkSync(join(task, 'agg.position')));
    await using one = await captured();
    expect(one.files.map(({ path }) => path)).toEqual(['.checkpoint']);
    expect(files.trace.filter((line) => line === 'hold 0_0/.checkpoint')).toHaveLength(2);
  });

  test('Q3: a checkpoint that is rewritten meanwhile begins the task again', async () => {
    const database = makeStore();
    files.once('before', 'hold agg/CURRENT', () => {
      database.change({ add: [{ number: 9 }] });
      writeCheckpoint(200);
    });
    await using one = await captured();
    expect(await imageOf(one)).toMatchObject({ offset: 200n, live: [7, 8, 9] });
  });

  test.each([
    ['one that was put in its place with the same time', () => writeCheckpoint(200), 0],
    ['one that was written in place', () => writeFileSync(checkpoint(), `0\n1\n${CHANGELOG} 0 200\n`), 1],
  ])('Q3: %s is another checkpoint', async (_name, rewrite, seconds) => {
    makeStore();
    utimesSync(checkpoint(), 1_000_000_000, 1_000_000_000);
    files.once('before', 'hold agg/CURRENT', () => {
      rewrite();
      utimesSync(checkpoint(), 1_000_000_000 + seconds, 1_000_000_000 + seconds);
    });
    await using one = await captured();
    expect((await imageOf(one)).offset).toBe(200n);
  });

  test('D3: a segment that goes meanwhile begins the task again', async () => {
    for (const start of [0, 1000]) {
      new ModelDatabase(join(task, 'win', `win.${start}`)).change({ add: [{ number: 7 }] });
    }
    writeFileSync(join(task, '.checkpoint'), '0\n1\napp-win-changelog 0 9\n');
    files.once('before', 'list win/win.1000', () => rmSync(join(task, 'win/win.0'), { recursive: true }));
    await using one = await captured();
    expect(one.sight.databases.map(({ path }) => path)).toEqual(['win/win.1000']);
  });

  test('D3: a window store without segments that goes meanwhile begins the task again', async () => {
    makeStore();
    mkdirSync(join(task, 'win'));
    files.once('before', 'hold agg/000007.sst', () => rmSync(join(task, 'win'), { recursive: true }));
    const one = await captured();
    expect([...one.sight.parents.keys()]).toEqual(['rocksdb']);
    await one[Symbol.asyncDispose]();
  });

  test('D3: a segment that comes meanwhile begins the task again', async () => {
    new ModelDatabase(join(task, 'win', 'win.0')).change({ add: [{ number: 7 }] });
    writeFileSync(join(task, '.checkpoint'), '0\n1\napp-win-changelog 0 9\n');
    files.once('before', 'list win/win.0', () => new ModelDatabase(join(task, 'win', 'win.1000')));
    await using one = await captured();
    expect(one.sight.databases.map(({ path }) => path)).toEqual(['win/win.0', 'win/win.1000']);
  });

  test('D3: a segment that comes while its parent keeps its time begins the task again', async () => {
    new ModelDatabase(join(task, 'win', 'win.0')).change({ add: [{ number: 7 }] });
    writeFileSync(join(task, '.checkpoint'), '0\n1\napp-win-changelog 0 9\n');
    utimesSync(join(task, 'win'), 1_000_000_000, 1_000_000_000);
    files.once('before', 'hold win.0/CURRENT', () => {
      new ModelDatabase(join(task, 'win', 'win.1000'));
      utimesSync(join(task, 'win'), 1_000_000_000, 1_000_000_000);
    });
    await using one = await captured();
    expect(one.sight.databases.map(({ path }) => path)).toEqual(['win/win.0', 'win/win.1000']);
  });

  test('D3: so does a database that is replaced while its parent keeps its time', async () => {
    const database = makeStore();
    utimesSync(join(task, 'rocksdb'), 1_000_000_000, 1_000_000_000);
    files.once('before', 'hold agg/CURRENT', () => {
      renameSync(database.directory, join(directory, 'old'));
      new ModelDatabase(database.directory).change({ add: [{ number: 9 }] });
      utimesSync(join(task, 'rocksdb'), 1_000_000_000, 1_000_000_000);
    });
    await using one = await captured();
    expect((await imageOf(one)).live).toEqual([9]);
    expect(files.trace.filter((line) => line === 'hold agg/CURRENT')).toHaveLength(2);
  });

  test('D3: a task directory into which all of the old one was moved is another one', async () => {
    makeStore();
    files.once('before', 'hold agg/CURRENT', replaceTaskDirectory);
    await using one = await captured();
    expect(one.sight.facts.inode).toBe(statSync(task, { bigint: true }).ino);
  });

  test('D3: one that was replaced before it was held is noticed before anything of it is read', async () => {
    makeStore();
    files.once('before', `hold ${basename(directory)}/0_0`, replaceTaskDirectory);
    await using one = await captured();
    expect(one.sight.facts.inode).toBe(statSync(task, { bigint: true }).ino);
    expect(files.trace.filter((line) => line === 'hold 0_0/.checkpoint')).toHaveLength(1);
  });

  function replaceTaskDirectory(): void {
    const old = join(directory, 'old');
    renameSync(task, old);
    mkdirSync(task);
    for (const name of ['rocksdb', '.checkpoint']) renameSync(join(old, name), join(task, name));
  }

  test.each([
    ['begins the task again where offsets lie inside', ['offsets'], 2],
    ['is what a checkpoint does in the file layout', [], 1],
  ])('D2: a change of the task directory meanwhile %s', async (_name, columnFamilies, attempts) => {
    new ModelDatabase(join(task, 'rocksdb', 'agg'), { columnFamilies }).change({ add: [{ number: 7 }] });
    writeCheckpoint(100);
    files.once('before', 'hold agg/CURRENT', () => {
      writeFileSync(join(task, 'passing'), '');
      unlinkSync(join(task, 'passing'));
    });
    await using one = await captured();
    expect(one.sight.databases.map(({ own }) => own !== undefined)).toEqual([columnFamilies.length > 0]);
    expect(files.trace.filter((line) => line === 'hold agg/CURRENT')).toHaveLength(attempts);
  });

  test('the task directory itself being replaced begins the task again', async () => {
    makeStore();
    files.once('before', 'list rocksdb/agg', () => {
      renameSync(task, join(directory, 'old'));
      mkdirSync(task);
      new ModelDatabase(join(task, 'rocksdb/agg'));
      writeCheckpoint(1);
    });
    await using one = await captured();
    expect(await imageOf(one)).toMatchObject({ offset: 1n, live: [] });
  });

  test('a table that is changed in place after it was pinned is noticed', async () => {
    const database = makeStore();
    await using one = await captured();
    const table = one.stores[0]?.tables.find(({ path }) => path.endsWith('000007.sst'));
    truncateSync(database.path(7), 10);
    const error = await table?.source?.assertUnchanged().catch((thrown: unknown) => thrown);
    expect(isFailure(error, 'moved') ? error.message : error).toBe(
      'cannot use rocksdb/agg/000007.sst: it was changed in place while it was read',
    );
  });
});

describe('what cannot be captured is refused with its reason', () => {
  async function refusal(triesMax?: number): Promise<unknown> {
    const outcome = await capture(() => false, triesMax);
    return outcome.kind === 'refused' ? outcome.why : outcome;
  }

  test('D1: a database without CURRENT, whatever else it holds', async () => {
    const database = makeStore();
    unlinkSync(join(database.directory, 'CURRENT'));
    expect(await refusal()).toEqual({
      reason: 'being_deleted',
      message: 'rocksdb/agg has no CURRENT: it is being deleted or made',
    });
  });

  test('D1: an empty directory of a segment', async () => {
    new ModelDatabase(join(task, 'win', 'win.0'));
    mkdirSync(join(task, 'win', 'win.1000'));
    writeFileSync(join(task, '.checkpoint'), '0\n1\napp-win-changelog 0 9\n');
    expect(await refusal()).toEqual({
      reason: 'being_deleted',
      message: 'win/win.1000 has no CURRENT: it is being deleted or made',
    });
  });

  test('a table that is lost for good', async () => {
    const database = makeStore();
    unlinkSync(database.path(7));
    expect(await refusal(5)).toEqual({
      reason: 'incomplete',
      message: 'rocksdb/agg did not hold still in 5 tries: rocksdb/agg/000007.sst is gone',
    });
  });

  test('a database that never holds still', async () => {
    const database = makeStore();
    let next = 9;
    files.always('hold agg/CURRENT', () => {
      const doomed = next++;
      files.once('before', `hold agg/${String(doomed).padStart(6, '0')}.sst`, () =>
        database.change({ remove: [doomed] }),
      );
      database.change({ add: [{ number: doomed }] });
    });
    expect(await refusal(5)).toMatchObject({ reason: 'changing' });
  });

  test('a manifest with a flipped bit', async () => {
    const database = makeStore();
    const manifest = join(database.directory, database.manifest);
    const bytes = readFileSync(manifest);
    bytes[10] = (bytes[10] ?? 0) ^ 4;
    writeFileSync(manifest, bytes);
    expect(await refusal(3)).toMatchObject({
      reason: 'damaged',
      message: expect.stringContaining('rocksdb/agg did not hold still in 3 tries'),
    });
  });

  test('a checkpoint with a wrong count', async () => {
    makeStore();
    writeFileSync(join(task, '.checkpoint'), `0\n2\n${CHANGELOG} 0 5\n`);
    expect(await refusal()).toEqual({
      reason: 'damaged',
      message: "cannot read .checkpoint: it announces '2' entries and has 1",
    });
  });

  test('a CURRENT that leads out of the database', async () => {
    const database = makeStore();
    writeFileSync(join(database.directory, 'CURRENT'), '../../../MANIFEST-000004\n');
    expect(await refusal(2)).toMatchObject({ reason: 'damaged' });
  });
});
