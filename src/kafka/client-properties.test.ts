import { describe, expect, test } from 'vitest';
import { readClientProperties } from './client-properties.ts';

const CERTIFICATE = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
const KEY = '-----BEGIN PRIVATE KEY-----\nMIIC\n-----END PRIVATE KEY-----\n';

function read(lines: readonly string[], files: Readonly<Record<string, string>> = {}) {
  const all: Readonly<Record<string, string>> = { 'client.properties': lines.join('\n'), ...files };
  return readClientProperties('client.properties', (path) => {
    const text = all[path];
    return text === undefined ? Promise.reject(new Error(`ENOENT ${path}`)) : Promise.resolve(text);
  });
}

describe('a properties file for clients', () => {
  test('none, or one that says nothing of security, is talked in the clear', async () => {
    const clear = { tls: undefined, credentials: undefined };
    expect(await readClientProperties(undefined, () => expect.unreachable())).toEqual(clear);
    expect(await read(['client.id=x', 'request.timeout.ms=100'])).toEqual(clear);
  });

  test('SASL_PLAINTEXT with PLAIN', async () => {
    const jaas = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="a b" password="x\\\\"y";';
    expect(
      await read(['security.protocol=SASL_PLAINTEXT', 'sasl.mechanism=PLAIN', `sasl.jaas.config=${jaas}`]),
    ).toEqual({
      tls: undefined,
      credentials: { mechanism: 'PLAIN', username: 'a b', password: 'x"y' },
    });
  });

  test('SASL_SSL with SCRAM, a truststore and a keystore as files in PEM', async () => {
    const security = await read(
      [
        'security.protocol=SASL_SSL',
        'sasl.mechanism=SCRAM-SHA-512',
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=u password='p;';",
        'ssl.truststore.type=PEM',
        'ssl.truststore.location=/tls/ca.pem',
        'ssl.keystore.type=pem',
        'ssl.keystore.location=/tls/client.pem',
        'ssl.key.password=secret',
        'ssl.endpoint.identification.algorithm=',
      ],
      { '/tls/ca.pem': CERTIFICATE, '/tls/client.pem': KEY + CERTIFICATE },
    );
    expect(security).toEqual({
      tls: {
        trusted: CERTIFICATE,
        certificate: KEY + CERTIFICATE,
        key: KEY + CERTIFICATE,
        keyPassword: 'secret',
        checksHost: false,
      },
      credentials: { mechanism: 'SCRAM-SHA-512', username: 'u', password: 'p;' },
    });
  });

  test('the protocol may be written in small letters, as Kafka takes it', async () => {
    expect(await read(['security.protocol=ssl'])).toMatchObject({ tls: { checksHost: true } });
  });

  test('SSL alone trusts whom Node.js trusts, and checks the host', async () => {
    expect(await read(['security.protocol=SSL'])).toEqual({
      tls: { trusted: undefined, certificate: undefined, key: undefined, keyPassword: undefined, checksHost: true },
      credentials: undefined,
    });
  });

  test('keys and certificates may stand in the file itself', async () => {
    const inline = (pem: string): string => pem.replaceAll('\n', '\\n');
    const { tls } = await read([
      'security.protocol=SSL',
      'ssl.truststore.type=PEM',
      `ssl.truststore.certificates=${inline(CERTIFICATE)}`,
      'ssl.keystore.type=PEM',
      `ssl.keystore.key=${inline(KEY)}`,
      `ssl.keystore.certificate.chain=${inline(CERTIFICATE)}`,
    ]);
    expect(tls).toMatchObject({ trusted: CERTIFICATE.trim(), key: KEY.trim(), certificate: CERTIFICATE.trim() });
  });

  test('a token may come from a file, read each time', async () => {
    const { credentials } = await read(
      [
        'security.protocol=SASL_SSL',
        'sasl.mechanism=OAUTHBEARER',
        'sasl.oauthbearer.token.endpoint.url=file:///run/token',
      ],
      { '/run/token': 'abc\n' },
    );
    expect(credentials?.mechanism === 'OAUTHBEARER' && (await credentials.token(new AbortController().signal))).toBe(
      'abc',
    );
  });

  const SASL = 'security.protocol=SASL_PLAINTEXT';
  test.for([
    { lines: ['security.protocol=TLS'], why: 'security.protocol is TLS' },
    {
      lines: ['security.protocol=SSL', 'ssl.truststore.location=a.jks'],
      why: 'ssl.truststore.type is not set, which is JKS to Kafka, and only PEM can be read',
    },
    {
      lines: ['security.protocol=SSL', 'ssl.keystore.type=JKS', 'ssl.keystore.location=a.jks'],
      why: 'ssl.keystore.type is JKS, and only PEM can be read',
    },
    {
      lines: ['security.protocol=SSL', 'ssl.truststore.type=PEM', 'ssl.truststore.location=binary'],
      why: 'binary holds nothing in PEM',
    },
    {
      lines: ['security.protocol=SSL', 'ssl.keystore.type=PEM', 'ssl.keystore.location=key'],
      why: 'the keystore has a key and no certificate',
    },
    { lines: [SASL], why: 'sasl.mechanism is GSSAPI' },
    { lines: [SASL, 'sasl.mechanism=AWS_MSK_IAM'], why: 'sasl.mechanism is AWS_MSK_IAM' },
    {
      lines: [SASL, 'sasl.mechanism=PLAIN', 'sasl.jaas.config=x required username="u";'],
      why: 'sasl.jaas.config has no username="…" and password="…"',
    },
    { lines: [SASL, 'sasl.mechanism=OAUTHBEARER'], why: 'sasl.oauthbearer.token.endpoint.url is not set' },
    {
      lines: [SASL, 'sasl.mechanism=OAUTHBEARER', 'sasl.oauthbearer.token.endpoint.url=https://idp/token'],
      why: 'sasl.oauthbearer.token.endpoint.url is https://idp/token',
    },
  ])('is refused where $why', async ({ lines, why }) => {
    await expect(read(lines, { binary: '\0\u0001', key: KEY })).rejects.toMatchObject({
      kind: 'invalid',
      message: `cannot use client.properties for --command-config: ${why}`,
    });
  });

  test('a file that is not there is named', async () => {
    const lines = ['security.protocol=SSL', 'ssl.truststore.type=PEM', 'ssl.truststore.location=/none.pem'];
    await expect(read(lines)).rejects.toMatchObject({
      kind: 'invalid',
      message: 'cannot read /none.pem, which is for talking to brokers: ENOENT /none.pem',
    });
  });
});
