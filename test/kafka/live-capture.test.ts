import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { realFiles } from '../../src/base/file-access.ts';
import { CAPTURE_TRIES_MAX } from '../../src/capture/capture.ts';
import { CaptureSession } from '../support/capture-session.ts';
import { writeImage } from '../support/captured-image.ts';
import {
  ImageChecker,
  keepKilling,
  LiveWriter,
  type LiveWriterOptions,
  type RocksDbVersion,
  type WriterMode,
} from '../support/live-writer.ts';
import { slowFiles } from '../support/slow-files.ts';

interface Scenario {
  readonly name: string;
  readonly version: RocksDbVersion;
  readonly modes: readonly WriterMode[];
  /** The writer is killed about once a second and started again. */
  readonly kills?: boolean;
  /** Some accesses of the capture wait up to so long first, as in a container without CPU. */
  readonly stallMsMax?: number;
  /** A capture begins again when its checkpoint was rewritten, so a slow one needs some time between two. */
  readonly operationsPerCheckpoint?: number;
  /** Where the task lies; tmpfs gives other stamps and another order of names. */
  readonly volume?: string;
}

const EVERYTHING: readonly WriterMode[] = ['timestamped', 'churn', 'roll', 'reopen', 'wipe'];
const SCENARIOS: readonly Scenario[] = [
  { name: 'flushes', version: '7.9.2', modes: ['timestamped'] },
  { name: 'flushes and compacts many small tables', version: '7.9.2', modes: ['timestamped', 'churn'] },
  {
    name: 'does so beside a slow capture',
    version: '7.9.2',
    modes: ['timestamped', 'churn'],
    stallMsMax: 10,
    operationsPerCheckpoint: 5000,
  },
  {
    name: 'rolls its manifest beside a slow capture',
    version: '7.9.2',
    modes: ['churn', 'roll'],
    stallMsMax: 10,
    operationsPerCheckpoint: 5000,
  },
  { name: 'closes and opens', version: '7.9.2', modes: ['timestamped', 'reopen'] },
  { name: 'is wiped', version: '7.9.2', modes: ['wipe'] },
  { name: 'is wiped beside a slow capture', version: '7.9.2', modes: ['timestamped', 'wipe'], stallMsMax: 4 },
  { name: 'is wiped on tmpfs', version: '9.7.3', modes: ['timestamped', 'wipe'], volume: '/dev/shm' },
  { name: 'keeps values in blob files', version: '9.7.3', modes: ['churn', 'blobs'] },
  { name: 'is killed', version: '7.9.2', modes: ['timestamped', 'churn', 'roll'], kills: true },
  { name: 'is killed while it is wiped and opened', version: '9.7.3', modes: ['reopen', 'wipe'], kills: true },
  { name: 'does everything', version: '5.18.4', modes: EVERYTHING },
  { name: 'does everything', version: '7.9.2', modes: EVERYTHING },
  { name: 'does everything', version: '9.7.3', modes: EVERYTHING },
  { name: 'does everything on tmpfs', version: '10.1.3', modes: EVERYTHING, volume: '/dev/shm' },
];

/** Accepted images per scenario; set LIVE_CAPTURES to take more. */
const IMAGES = Number(process.env['LIVE_CAPTURES'] ?? 25);
/** A scenario that yields so few images in this time tests nothing, and fails. */
const SECONDS_PER_IMAGE_MAX = 10;

test.for(SCENARIOS)(
  'an image is an exact state, not behind its offsets, when RocksDB $version $name',
  async (scenario) => {
    await using scope = new AsyncDisposableStack();
    const root = await mkdtemp(join(scenario.volume ?? tmpdir(), 'warmstate-live-'));
    scope.defer(() => rm(root, { recursive: true, force: true }));
    const writer: LiveWriterOptions = {
      version: scenario.version,
      taskDirectory: join(root, 'state/orders/0_3'),
      modes: scenario.modes,
      operationsPerSecond: 5000,
      operationsPerCheckpoint: scenario.operationsPerCheckpoint ?? 700,
    };
    const running = scope.use(scenario.kills === true ? killedAgainAndAgain(writer) : await undisturbed(writer));
    const checker = scope.use(await ImageChecker.start(scenario.version));
    const session = scope.use(
      new CaptureSession(writer.taskDirectory, {
        remembers: true,
        files: scenario.stallMsMax === undefined ? realFiles : slowFiles(scenario.stallMsMax),
      }),
    );

    const wrong: string[] = [];
    const counts: Record<string, number> = {};
    let ahead = 0;
    const deadline = AbortSignal.timeout(IMAGES * SECONDS_PER_IMAGE_MAX * 1000);
    for (let accepted = 0; accepted < IMAGES; ) {
      const look = await session.look(CAPTURE_TRIES_MAX, deadline);
      const outcome = look.kind === 'refused' ? look.reason : look.kind;
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      if (look.kind !== 'accepted') {
        await delay(5, undefined, { signal: deadline });
        continue;
      }
      accepted += 1;
      await using capture = look.capture;
      const image = join(root, 'image');
      await writeImage(capture, look.stores, image);
      const verdict = await checker.check(image, scenario.modes);
      if (verdict.ok) ahead += verdict.ahead;
      else wrong.push(`image ${accepted}: ${verdict.error}`);
    }
    const did = await running.end();
    console.log(
      scenario.version,
      scenario.name,
      JSON.stringify({ ...counts, retries: session.retries, ahead, ...did }),
    );
    expect(wrong).toEqual([]);
  },
);

interface Running extends AsyncDisposable {
  /** Ends the writer, and says what it did. */
  end(): Promise<Readonly<Record<string, number>>>;
}

async function undisturbed(options: LiveWriterOptions): Promise<Running> {
  const writer = await LiveWriter.start(options);
  return { end: () => writer.stop(), [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose]() };
}

function killedAgainAndAgain(options: LiveWriterOptions): Running {
  const stopping = new AbortController();
  const killing = keepKilling(options, {
    clock: systemClock,
    signal: stopping.signal,
    lifeMs: () => 300 + Math.random() * 1200,
  });
  const end = async (): Promise<Readonly<Record<string, number>>> => {
    stopping.abort();
    return { killed: await killing };
  };
  return {
    end,
    [Symbol.asyncDispose]: async () => {
      await end();
    },
  };
}
