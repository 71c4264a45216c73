import { describe, expect, test } from 'vitest';
import { Fleet } from '../../test/support/fleet.ts';
import { Failure } from '../base/failure.ts';

const LATENCY_MS = 20;

/** Two that are gone, and one that lives. */
async function openFleet(): Promise<Fleet> {
  const fleet = new Fleet({ seed: 1, latencyMs: LATENCY_MS });
  await fleet.run('a', ['0_0']);
  await fleet.run('b', ['0_1']);
  await fleet.run('c', ['0_2']);
  await fleet.pass(60_000);
  for (const pod of ['a', 'b']) await fleet.close(pod);
  return fleet;
}

/** Does something before the n-th time that the records are listed. */
function atLook(n: number, act: () => Promise<void>): (operation: string, key: string) => Promise<void> {
  let looks = 0;
  return async (operation, key) => {
    if (operation === 'list' && key.endsWith('/records/')) looks += 1;
    if (operation === 'list' && key.endsWith('/records/') && looks === n) await act();
  };
}

const unavailable = async (): Promise<void> => {
  throw new Failure('unavailable', 'cannot list: the store is away');
};

describe('a restore that has announced what it adopts', () => {
  test('looks once more before it downloads, and leaves it to who came first by then', async () => {
    const fleet = await openFleet();
    const alone = await fleet.until(fleet.restore('x', { runs: false, replicas: 3 }));
    const [task = ''] = alone.tasks;
    const wanted = fleet.epochOf(task === '0_0' ? 'a' : 'b');

    const again = await openFleet();
    let downloads = 0;
    // The first look of all, one for who is new, and the one before the download.
    const before = atLook(3, () => again.announce('first', [{ epoch: wanted, kind: 'adopted', isSettled: false }]));
    const outcome = await again.until(
      again.restore('x', {
        replicas: 3,
        before,
        isDamaged: () => {
          downloads += 1;
          return false;
        },
      }),
    );
    expect(outcome.tasks).toEqual([task === '0_0' ? '0_1' : '0_0']);
    expect(downloads).toBe(1);
    for (const each of [fleet, again]) await each.end();
  });

  test.each([2, 3])('carries it out where the store fails at its look (no. %i)', async (look) => {
    const fleet = await openFleet();
    const failures: string[] = [];
    const before = atLook(look, unavailable);
    const onFailure = (what: string): void => void failures.push(what);
    const { tasks } = await fleet.until(fleet.restore('x', { replicas: 3, before, onFailure }));
    expect(tasks).toHaveLength(1);
    expect(failures).toEqual(['choose more tasks']);
    await fleet.end();
  });

  test('carries it out where the store fails while it waits for a last snapshot', async () => {
    const fleet = await openFleet();
    for (const [n, pod] of ['a', 'b'].entries()) {
      await fleet.announce(`first-${n}`, [{ epoch: fleet.epochOf(pod), kind: 'adopted', isSettled: true }]);
    }
    await fleet.close('c', 'finishing');
    const before = atLook(4, unavailable);
    const { tasks } = await fleet.until(fleet.restore('x', { replicas: 3, before, onFailure: () => undefined }));
    expect(tasks).toEqual(['0_2']);
    await fleet.end();
  });

  test('gives signs of life while it waits for a last snapshot: its claim would lapse', async () => {
    const fleet = await openFleet();
    for (const pod of ['a', 'b']) fleet.kill(pod);
    await fleet.close('c', 'finishing');
    const puts: number[] = [];
    const before = async (operation: string): Promise<void> => {
      if (operation === 'put') puts.push(fleet.clock.nowMs());
    };
    const { tasks } = await fleet.until(
      fleet.restore('x', { replicas: 1, waitForFinalMs: 600_000, downloadMs: 1, before }),
    );
    expect(tasks).toEqual(['0_0', '0_1', '0_2']);
    const longestMs = Math.max(...puts.slice(1).map((atMs, n) => atMs - (puts[n] ?? 0)));
    expect(longestMs).toBeLessThan(90_000);
    await fleet.end();
  });
});

describe('where all that was chosen is damaged', () => {
  test('the next instance is adopted', async () => {
    for (const pod of ['a', 'b']) {
      const fleet = await openFleet();
      const of = fleet.epochOf(pod);
      const outcome = await fleet.until(fleet.restore('x', { replicas: 3, isDamaged: ({ epoch }) => epoch === of }));
      expect(outcome.tasks).toEqual([pod === 'a' ? '0_1' : '0_0']);
      await fleet.end();
    }
  });

  test('one that lives is copied where nobody else is left', async () => {
    const fleet = await openFleet();
    const isDamaged = ({ task }: { readonly task: string }): boolean => task !== '0_2';
    expect((await fleet.until(fleet.restore('x', { isDamaged }))).tasks).toEqual(['0_2']);
    await fleet.end();
  });

  test('no more than four are tried in a row', async () => {
    const fleet = new Fleet({ seed: 1, latencyMs: LATENCY_MS });
    const pods = Array.from({ length: 12 }, (_, n) => `gone-${n}`);
    for (const [n, pod] of pods.entries()) await fleet.run(pod, [`0_${n}`]);
    await fleet.pass(60_000);
    for (const pod of pods) await fleet.close(pod);
    const tried = new Set<string>();
    const outcome = await fleet.until(
      fleet.restore('x', {
        replicas: 12,
        isDamaged: ({ task }) => {
          tried.add(task);
          return true;
        },
      }),
    );
    expect([outcome.tasks, tried.size]).toEqual([[], 4]);
    await fleet.end();
  });
});
