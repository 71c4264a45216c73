import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { ScriptedBroker } from '../../test/support/scripted-broker.ts';
import { systemRandom } from '../base/clock.ts';
import { askBrokers } from './ask-brokers.ts';
import type { Security } from './broker-connection.ts';
import type { BrokerAddress, BrokerFacts } from './broker-facts.ts';

const { signal } = new AbortController();
const AGG = 'orders-agg-changelog';
const ID = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
const CLEAR: Security = { tls: undefined, credentials: undefined };

function ask(
  ports: readonly number[],
  { security = CLEAR, answerMsMax = 10_000, topics = [AGG] } = {},
): Promise<BrokerFacts> {
  const bootstrap = ports.map((port): BrokerAddress => ({ host: '127.0.0.1', port }));
  const world = { clock: new ManualClock({ sleepsPass: true }), random: systemRandom, signal };
  return askBrokers({ bootstrap, security, answerMsMax }, { applicationId: 'orders', topics: new Set(topics) }, world);
}

/** A listener of whatever kind; ends with all of its connections. */
async function listen(serve: (socket: Socket) => void): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    serve(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new TypeError('a TCP server has a port');
  return {
    port: address.port,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const logs = [{ start: 0n, end: 7n }];

test.for([
  { when: 'before it says anything', bytes: [] },
  { when: 'within an answer', bytes: [0, 0, 0, 100, 0] },
])('whoever hangs up $when is not waited for', async ({ bytes }) => {
  await using broker = await listen((socket) => socket.once('data', () => socket.end(Buffer.from(bytes))));
  await expect(ask([broker.port])).rejects.toMatchObject({
    kind: 'unavailable',
    message: `cannot ask broker 127.0.0.1:${broker.port} (ApiVersions): it closed the connection`,
  });
});

test('whoever answers byte by byte is not waited for', async () => {
  await using broker = await listen((socket) => {
    const drip = (): unknown => socket.writable && socket.write(Buffer.alloc(1), () => setTimeout(drip, 50));
    socket.once('data', () => socket.write(Buffer.from([0, 1, 0, 0]), drip));
  });
  await expect(ask([broker.port], { answerMsMax: 5000 })).rejects.toMatchObject({
    kind: 'unavailable',
    message: `cannot ask brokers at 127.0.0.1:${broker.port}: no answer within 5 s`,
  });
});

test.for([-1, 0x7fff_ffff])('a broker at port %i is left out, and the others are heard', async (port) => {
  await using broker = await ScriptedBroker.start({ topics: { [AGG]: { id: ID, logs } }, others: [{ node: 2, port }] });
  expect((await ask([broker.port])).topics.get(AGG)).toMatchObject({ partitions: new Map([[0, { end: 7n }]]) });
});

test('a broker that is silent is left out, and the others are heard', async () => {
  await using silent = await listen(() => {});
  const others = [{ node: 2, port: silent.port }];
  await using broker = await ScriptedBroker.start({ topics: { [AGG]: { id: ID, logs } }, others });
  const facts = await ask([broker.port], { answerMsMax: 2000 });
  expect(facts.topics.get(AGG)).toMatchObject({ partitions: new Map([[0, { end: 7n }]]) });
  expect(facts.isTransactional).toBeUndefined();
});

test('where the first address is silent the next one is asked', async () => {
  await using silent = await listen(() => {});
  await using broker = await ScriptedBroker.start({ topics: { [AGG]: { id: ID, logs } } });
  const facts = await ask([silent.port, broker.port], { answerMsMax: 2000 });
  expect(facts.topics.get(AGG)).toMatchObject({ kind: 'present' });
});

test('a name that no topic can have is said to be unknown, and the others are heard', async () => {
  const endless = 'x'.repeat(100_000);
  const topics = { [AGG]: { id: ID, logs }, [endless]: { id: ID, logs } };
  await using broker = await ScriptedBroker.start({ topics });
  const facts = await ask([broker.port], { topics: [AGG, endless] });
  expect([...facts.topics.keys()]).toEqual([AGG]);
});

test('keys and certificates that are none are a wrong setting', async () => {
  const pem = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
  const tls = { trusted: pem, certificate: pem, key: pem, keyPassword: undefined, checksHost: true };
  await using broker = await listen(() => {});
  await expect(ask([broker.port], { security: { tls, credentials: undefined } })).rejects.toMatchObject({
    kind: 'invalid',
    message: expect.stringMatching(/^cannot use the keys and certificates of --command-config: ./),
  });
});

test('an answer larger than any that is needed is not waited for', async () => {
  await using broker = await listen((socket) => {
    const size = Buffer.alloc(4);
    size.writeInt32BE(32 * 1024 * 1024);
    socket.once('data', () => socket.write(size));
  });
  await expect(ask([broker.port])).rejects.toMatchObject({
    kind: 'unavailable',
    message: expect.stringMatching(/its answer has 33554432 bytes: this is no listener of Kafka$/),
  });
});

test('a broker that gives topics no id says nothing of ids', async () => {
  await using broker = await ScriptedBroker.start({ topics: { [AGG]: { id: Buffer.alloc(16), logs } } });
  expect((await ask([broker.port])).topics.get(AGG)).toMatchObject({ kind: 'present', id: undefined });
});
