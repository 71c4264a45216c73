import { expect, test } from 'vitest';
import { refuseForeign } from './origin.ts';

const HERE = { remoteAddress: '127.0.0.1', localAddress: '127.0.0.1', headers: { host: 'localhost:10464' } };
const ADDRESS = 'it is answered over the loopback address only';
const HOST = 'its Host is no loopback name or address';

test.each([
  ['127.0.0.1', '127.0.0.1', 'localhost:10464'],
  ['127.0.0.1', '127.0.0.1', '127.0.0.1'],
  ['::1', '::1', '[::1]:10464'],
  ['::ffff:127.0.0.1', '::ffff:127.0.0.1', 'LOCALHOST'],
])('from %s to %s as %s is a request from here', (remoteAddress, localAddress, host) => {
  expect(refuseForeign({ remoteAddress, localAddress, headers: { host } })).toBeUndefined();
});

test.each([
  ['another pod', { remoteAddress: '10.1.2.3', localAddress: '10.1.2.4' }, ADDRESS],
  ['this pod over its own address', { remoteAddress: '10.1.2.4', localAddress: '10.1.2.4' }, ADDRESS],
  ['this machine to the address of the pod', { localAddress: '10.1.2.4' }, ADDRESS],
  ['a mesh that delivers for another pod', { remoteAddress: '127.0.0.6' }, ADDRESS],
  ['nobody knows where', { remoteAddress: undefined }, ADDRESS],
  ['another pod that forges its Host', { remoteAddress: '10.1.2.3', headers: { host: 'localhost' } }, ADDRESS],
  [
    'another pod that forges what a proxy would say',
    { remoteAddress: '10.1.2.3', headers: { host: 'localhost', 'x-forwarded-for': '127.0.0.1' } },
    ADDRESS,
  ],
  ['a proxy beside us that keeps the Host', { headers: { host: 'orders-0.orders:10464' } }, HOST],
  ['a name that begins like ours', { headers: { host: 'localhost.evil.example' } }, HOST],
  ['somebody who names no Host', { headers: {} }, HOST],
  [
    'a proxy beside us that says so',
    { headers: { host: 'localhost', 'x-forwarded-for': '10.1.2.3' } },
    'a proxy passed it on: it has x-forwarded-for',
  ],
  [
    'a page in the browser of somebody who forwards the port',
    { headers: { host: 'localhost', origin: 'https://evil.example' } },
    'a page in a browser sent it',
  ],
])('a request from %s is refused', (_who, given, why) => {
  expect(refuseForeign({ ...HERE, ...given })).toBe(why);
});
