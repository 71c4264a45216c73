import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { systemErrorCode } from '../../src/base/failure.ts';
import { type Trouble, TroubleProxy } from '../support/trouble-proxy.ts';

/** Long enough that what passes has passed. */
const SOON_MS = 150;

describe('the proxy between a client and a server that echoes', () => {
  test('passes everything, and both ends of it', async () => {
    const { proxy, client } = await openLine();
    const said = 'x'.repeat(3_000_000);
    client.socket.end(said);
    expect([await client.end, client.heard().length]).toEqual(['ended', said.length]);
    expect(proxy.passedBytes).toEqual({ up: said.length, down: said.length });
    expect(proxy.hasBegun).toBe(false);
  });

  test.each([
    ['cut', 'up', 'abc', 'ended'],
    ['cut', 'down', 'abc', 'ended'],
    ['reset', 'up', '', 'ECONNRESET'],
    ['reset', 'down', '', 'ECONNRESET'],
    ['blackhole', 'up', 'abc', 'open'],
    ['blackhole', 'down', 'abc', 'open'],
    ['halve', 'down', 'abc', 'open'],
    ['throttle', 'down', 'abcdef', 'open'],
  ] as const)(
    '%s after 3 bytes %s lets %j through and leaves the connection %s',
    async (kind, direction, text, end) => {
      const line = await openLine({ kind, direction, afterBytes: 3, meets: 'one' });
      const { client, proxy } = line;
      client.socket.write('abcdef');
      expect(await Promise.race([client.end, delay(SOON_MS, 'open')])).toBe(end);
      await delay(SOON_MS);
      // What was on its way when the connection was reset may be lost too.
      if (text !== '') expect(direction === 'up' ? line.heardByServer() : client.heard()).toBe(text);
      expect(proxy.hasBegun).toBe(true);
    },
  );

  test('halve lets the server hear what it answers in vain', async () => {
    const { client, heardByServer } = await openLine({ kind: 'halve', direction: 'down', afterBytes: 0, meets: 'one' });
    for (const text of ['abc', 'def']) {
      client.socket.write(text);
      await delay(SOON_MS);
    }
    expect([client.heard(), heardByServer()]).toEqual(['', 'abcdef']);
  });

  test('delay holds what comes and loses nothing', async () => {
    const { client } = await openLine({ kind: 'delay', direction: 'down', afterBytes: 0, meets: 'all' });
    const startedAtMs = performance.now();
    client.socket.end('abc');
    expect([await client.end, client.heard()]).toEqual(['ended', 'abc']);
    expect(performance.now() - startedAtMs).toBeGreaterThan(190);
  });

  test('a trouble meets the connection of its byte, or all from then on, and none after it is taken away', async () => {
    for (const meets of ['one', 'all'] as const) {
      const { proxy, client } = await openLine({ kind: 'blackhole', direction: 'up', afterBytes: 4, meets });
      expect([await isAnswered(client), await isAnswered(client)]).toEqual([true, false]);
      expect(await isAnswered(await dial(proxy))).toBe(meets === 'one');
      proxy.script(undefined);
      expect([await isAnswered(client), await isAnswered(await dial(proxy))]).toEqual([false, true]);
    }
  });
});

interface Client {
  readonly socket: Socket;
  readonly heard: () => string;
  /** `ended`, or the code of its error. */
  readonly end: Promise<string>;
}

async function isAnswered({ socket }: Client): Promise<boolean> {
  socket.write('abc');
  return Promise.race([once(socket, 'data').then(() => true), delay(SOON_MS, false)]);
}

async function openLine(trouble?: Trouble) {
  let text = '';
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const proxy = await TroubleProxy.open(`http://127.0.0.1:${port}`);
  onTestFinished(async () => {
    await proxy[Symbol.asyncDispose]();
    server.close();
  });
  proxy.script(trouble);
  return { proxy, client: await dial(proxy), heardByServer: () => text };
}

async function dial(proxy: TroubleProxy): Promise<Client> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(proxy.endpoint).port) });
  onTestFinished(() => void socket.destroy());
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  const end = new Promise<string>((resolve) => {
    socket.once('error', (error) => resolve(systemErrorCode(error) ?? error.message));
    socket.once('end', () => resolve('ended'));
  });
  await once(socket, 'connect');
  return { socket, heard: () => text, end };
}
