import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { expect, test } from 'vitest';
import { systemClock } from '../base/clock.ts';
import { openServer } from '../http/server.ts';
import { diagnoseAddress } from './doctor.ts';
import { checkListen } from './doctor-listen.ts';

const HOST = '127.0.0.1';
const world = { signal: new AbortController().signal };

test('an address that nobody has is free, and stays so', async () => {
  const { server, port } = await listenAnywhere();
  server.close();
  await once(server, 'close');
  const expected = { outcome: 'ok', message: `${HOST}:${port} is free` };
  expect(await diagnoseAddress({ host: HOST, port }, world)).toMatchObject(expected);
  expect(await diagnoseAddress({ host: HOST, port }, world)).toMatchObject(expected);
});

test('a run that answers there is as it should be', async () => {
  await using server = await openServer(
    { host: HOST, port: 0 },
    {
      metrics: async () => ({ contentType: 'text/plain', text: '' }),
      liveness: () => [],
      readiness: () => [],
      status: () => ({ tasks: [] }),
      snapshot: async () => ({}),
      preStop: () => {},
      identity: '',
      report: () => {},
    },
    { clock: systemClock },
  );
  expect(await diagnoseAddress({ host: HOST, port: server.port }, world)).toMatchObject({
    outcome: 'ok',
    message: `run answers at ${HOST}:${server.port}`,
  });
});

test('an address that another program has is a warning', async () => {
  const { server, port } = await listenAnywhere();
  server.on('connection', (socket) => socket.resume().end('what?\n'));
  expect(await diagnoseAddress({ host: HOST, port }, world)).toMatchObject({
    outcome: 'warn',
    message: `${HOST}:${port} is taken by another program: run works on without metrics and probes`,
  });
  server.close();
  await once(server, 'close');
});

test('an address that this machine has not is a warning', async () => {
  // Of the range for documentation (RFC 5737): no machine has it.
  expect(
    await diagnoseAddress({ host: '192.0.2.1', port: 10_464 }, { signal: AbortSignal.timeout(60_000) }),
  ).toMatchObject({
    check: 'listen',
    outcome: 'warn',
  });
});

test('an address of both families is told by its port, one of IPv6 in brackets', () => {
  expect(checkListen({ kind: 'free' }, { host: undefined, port: 10_464 }).message).toBe(':10464 is free');
  expect(checkListen({ kind: 'refused', code: 'EACCES' }, { host: '::1', port: 80 }).message).toBe(
    '[::1]:80 cannot be had (EACCES): run works on without metrics and probes',
  );
});

async function listenAnywhere(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const address = server.address();
  return { server, port: typeof address === 'object' ? (address?.port ?? 0) : 0 };
}
