import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock, systemRandom } from '../../src/base/clock.ts';
import { askBrokers } from '../../src/kafka/ask-brokers.ts';
import type { BrokerFacts } from '../../src/kafka/broker-facts.ts';
import { readClientProperties } from '../../src/kafka/client-properties.ts';
import { Broker } from '../support/kafka/broker.ts';
import { makeAuthority } from '../support/s3-server/certificate.ts';

const TOPICS = 'secured';
const JAAS = 'org.apache.kafka.common.security';
const authority = makeAuthority();
const server = authority.issue(['127.0.0.1', 'localhost']);
const client = authority.issue(['client']);

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(10 * 60_000)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

/** A value of several lines in a properties file. */
const inline = (pem: string): string => pem.trimEnd().replaceAll('\n', '\\n');

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-secured-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  const keystore = (listener: string): Readonly<Record<string, string>> => ({
    [`listener.name.${listener}.ssl.keystore.type`]: 'PEM',
    [`listener.name.${listener}.ssl.keystore.key`]: inline(server.key),
    [`listener.name.${listener}.ssl.keystore.certificate.chain`]: inline(server.cert),
  });
  const sasl = (listener: string): Readonly<Record<string, string>> => ({
    [`listener.name.${listener}.sasl.enabled.mechanisms`]: 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER',
    [`listener.name.${listener}.plain.sasl.jaas.config`]: `${JAAS}.plain.PlainLoginModule required user_reader="let me in";`,
    [`listener.name.${listener}.scram-sha-256.sasl.jaas.config`]: `${JAAS}.scram.ScramLoginModule required;`,
    [`listener.name.${listener}.scram-sha-512.sasl.jaas.config`]: `${JAAS}.scram.ScramLoginModule required;`,
    [`listener.name.${listener}.oauthbearer.sasl.jaas.config`]: `${JAAS}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
  });
  const more = {
    ...keystore('tls'),
    'listener.name.tls.ssl.client.auth': 'required',
    'listener.name.tls.ssl.truststore.type': 'PEM',
    'listener.name.tls.ssl.truststore.certificates': inline(authority.cert),
    ...sasl('sasl'),
    ...keystore('both'),
    ...sasl('both'),
  };
  broker = held.use(await Broker.start(signal, more, { TLS: 'SSL', SASL: 'SASL_PLAINTEXT', BOTH: 'SASL_SSL' }));
  await broker.createTopics(TOPICS, 2);
  for (const mechanism of ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const)
    await broker.addScramUser('scrammer', 'pass=word,"½"', mechanism);
  await writeFile(join(directory, 'ca.pem'), authority.cert);
  await writeFile(join(directory, 'client.pem'), `${client.key}${client.cert}`);
  await writeFile(join(directory, 'token'), unsecuredToken(3600));
  await writeFile(join(directory, 'old-token'), unsecuredToken(-3600));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

/** As brokers believe without a key (RFC 7515, A.5): good for a test. */
function unsecuredToken(validSeconds: number): string {
  const now = Math.floor(Date.now() / 1000);
  const parts = [{ alg: 'none' }, { sub: 'reader', iat: now - 7200, exp: now + validSeconds }];
  return `${parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')}.`;
}

async function ask(listener: string, lines: readonly string[]): Promise<BrokerFacts> {
  const path = join(directory, 'client.properties');
  await writeFile(path, lines.map((line) => line.replaceAll('DIR', directory)).join('\n'));
  const security = await readClientProperties(path, (file) => readFile(file, 'utf8'));
  const [host = '', port] = (broker.listeners.get(listener) ?? broker.bootstrap).split(':');
  const access = { bootstrap: [{ host, port: Number(port) }], security, answerMsMax: 60_000 };
  const question = { applicationId: TOPICS, topics: new Set([`${TOPICS}-input`]) };
  return askBrokers(access, question, { clock: systemClock, random: systemRandom, signal });
}

const TRUST = ['ssl.truststore.type=PEM', 'ssl.truststore.location=DIR/ca.pem'];
const SCRAM = `sasl.jaas.config=${JAAS}.scram.ScramLoginModule required username="scrammer" password="pass=word,\\\\"\\u00bd\\\\"";`;
const PLAIN = `sasl.jaas.config=${JAAS}.plain.PlainLoginModule required username="reader" password="let me in";`;

test.for([
  { what: 'PLAIN', listener: 'SASL', lines: ['security.protocol=SASL_PLAINTEXT', 'sasl.mechanism=PLAIN', PLAIN] },
  {
    what: 'SCRAM-SHA-256',
    listener: 'SASL',
    lines: ['security.protocol=SASL_PLAINTEXT', 'sasl.mechanism=SCRAM-SHA-256', SCRAM],
  },
  {
    what: 'SCRAM-SHA-512 over TLS',
    listener: 'BOTH',
    lines: ['security.protocol=SASL_SSL', 'sasl.mechanism=SCRAM-SHA-512', SCRAM, ...TRUST],
  },
  {
    what: 'OAUTHBEARER with a token in a file',
    listener: 'BOTH',
    lines: [
      'security.protocol=SASL_SSL',
      'sasl.mechanism=OAUTHBEARER',
      'sasl.oauthbearer.token.endpoint.url=file://DIR/token',
      ...TRUST,
    ],
  },
  {
    what: 'TLS with a certificate of the client',
    listener: 'TLS',
    lines: ['security.protocol=SSL', ...TRUST, 'ssl.keystore.type=PEM', 'ssl.keystore.location=DIR/client.pem'],
  },
])('a real broker answers $what', async ({ listener, lines }) => {
  const { topics, isTransactional } = await ask(listener, lines);
  expect(isTransactional).toBe(false);
  expect([...topics]).toMatchObject([[`${TOPICS}-input`, { kind: 'present', id: expect.stringMatching(/^.{22}$/) }]]);
  const found = topics.get(`${TOPICS}-input`);
  expect(found?.kind === 'present' && new Set(found.partitions.keys())).toEqual(new Set([0, 1]));
});

test.for([
  {
    what: 'a wrong password',
    listener: 'SASL',
    lines: ['security.protocol=SASL_PLAINTEXT', 'sasl.mechanism=SCRAM-SHA-256', SCRAM.replace('pass=', 'other=')],
    message: /cannot authenticate with broker .*: Authentication failed/,
  },
  {
    what: 'a token that is too old',
    listener: 'SASL',
    lines: [
      'security.protocol=SASL_PLAINTEXT',
      'sasl.mechanism=OAUTHBEARER',
      'sasl.oauthbearer.token.endpoint.url=file://DIR/old-token',
    ],
    message: /cannot authenticate with broker .*: \{"status":"invalid_token"/,
  },
  {
    what: 'an authority that is not trusted',
    listener: 'BOTH',
    lines: ['security.protocol=SASL_SSL', 'sasl.mechanism=SCRAM-SHA-512', SCRAM],
    message: /cannot ask broker .* \(connect\): .*certificate/,
  },
  {
    what: 'no TLS where it is wanted',
    listener: 'TLS',
    lines: ['security.protocol=PLAINTEXT'],
    message: /cannot ask broker/,
  },
  {
    what: 'TLS where there is none',
    listener: 'SASL',
    lines: ['security.protocol=SSL', ...TRUST],
    message: /cannot ask broker .* \(connect\)/,
  },
])('$what is told as what it is', async ({ listener, lines, message }) => {
  await expect(ask(listener, lines)).rejects.toMatchObject({
    kind: 'unavailable',
    message: expect.stringMatching(message),
    hint: expect.any(String),
  });
});
