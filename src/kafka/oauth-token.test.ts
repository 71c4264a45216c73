import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tokenSource } from './oauth-token.ts';

const { signal } = new AbortController();
const asked: { readonly authorization: string | undefined; readonly body: string }[] = [];
let answer: (response: ServerResponse) => void = () => {};
let endpoint = '';
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    asked.push({ authorization: request.headers.authorization, body: Buffer.concat(chunks).toString() });
    answer(response);
  });
});

beforeAll(async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new TypeError('a TCP server has a port');
  endpoint = `http://127.0.0.1:${address.port}/token`;
});

afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const OPTIONS = new Map([
  ['clientId', 'id'],
  ['clientSecret', 'secret'],
  ['scope', 'kafka'],
]);

async function token(url = endpoint): Promise<string> {
  const source = tokenSource(url, OPTIONS, () => Promise.reject(new Error('ENOENT')));
  if (source === undefined) throw new Error('no source');
  return source(signal);
}

test('an identity provider is asked by name and secret, and gives a token', async () => {
  answer = (response) => response.end('{"access_token":"abc","token_type":"Bearer"}');
  expect(await token()).toBe('abc');
  expect(asked).toEqual([
    {
      authorization: `Basic ${Buffer.from('id:secret').toString('base64')}`,
      body: 'grant_type=client_credentials&scope=kafka',
    },
  ]);
});

test.for([
  { what: 'a refusal', status: 401, body: '{"error":"invalid_client"}', why: 'it answers 401' },
  { what: 'a page', status: 200, body: '<html>', why: 'it answers without an access_token' },
  { what: 'a token that is none', status: 200, body: '{"access_token":1}', why: 'it answers without an access_token' },
])('$what is told', async ({ status, body, why }) => {
  answer = (response) => response.writeHead(status).end(body);
  await expect(token()).rejects.toMatchObject({
    kind: 'unavailable',
    detail: 'denied',
    message: `cannot get a token from ${endpoint}: ${why}`,
  });
});

test('an answer without end is not read to its end', async () => {
  answer = (response) => {
    const more = (): void => {
      if (!response.destroyed) response.write(Buffer.alloc(64 * 1024), more);
    };
    more();
  };
  await expect(token()).rejects.toMatchObject({
    kind: 'unavailable',
    message: `cannot get a token from ${endpoint}: it answers more than 262144 bytes`,
  });
});

test('where nobody is there, why is told', async () => {
  await expect(token('http://127.0.0.1:1/token')).rejects.toMatchObject({
    kind: 'unavailable',
    message: expect.stringMatching(/^cannot get a token from http:\/\/127.0.0.1:1\/token: ./),
    hint: 'compare sasl.oauthbearer.token.endpoint.url of --command-config with the address of the identity provider',
  });
});

test('a file that cannot be read is named', async () => {
  await expect(token('file:///run/token')).rejects.toMatchObject({
    kind: 'unavailable',
    message: 'cannot read the token /run/token: ENOENT',
  });
});

test.for(['ftp://idp/token', 'idp', 'https://idp/token'])('%s without what it needs is no source', (url) => {
  expect(tokenSource(url, new Map(), () => expect.unreachable())).toBeUndefined();
});
