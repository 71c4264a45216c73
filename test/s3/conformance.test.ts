import { beforeAll, describe, expect, test } from 'vitest';
import { codeOf, probeServer, type QuestionName } from '../../src/storage/conformance.ts';
import { type Flaw, openPlainClient } from '../support/s3-server/plain-client.ts';
import { SERVER_NAMES, type ServerName, startServer, type TestServer } from '../support/s3-server/real-servers.ts';
import { S3Server } from '../support/s3-server/server.ts';

type Answers = Readonly<Record<string, string>>;
type Differences = Partial<Readonly<Record<QuestionName | FlawName, string>>>;

const signal = AbortSignal.timeout(10 * 60_000);
const MINUTE_MS = 60_000;

/** What a put is answered whose sender is not who it says, or says it wrongly. */
const FLAWS = {
  'no signature': { unsignedHeaders: { authorization: undefined } },
  'a signature that is none': { unsignedHeaders: { authorization: 'AWS4-HMAC-SHA256 rubbish' } },
  'another secret': { secretAccessKey: 'x' },
  'an unknown key': { accessKeyId: 'x' },
  'another region': { region: 'eu-west-1' },
  'a clock that is 20 minutes ahead': { clockAheadMs: 20 * MINUTE_MS },
  'a clock that is 20 minutes behind': { clockAheadMs: -20 * MINUTE_MS },
  'no time': { unsignedHeaders: { 'x-amz-date': undefined } },
  'no hash of the payload': { unsignedHeaders: { 'x-amz-content-sha256': undefined } },
  'another hash of the payload': { unsignedHeaders: { 'x-amz-content-sha256': '0'.repeat(64) } },
  'a header that is not signed': { unsignedHeaders: { 'x-amz-meta-a': 'b' } },
  'another bucket': { bucket: 'other' },
} satisfies Readonly<Record<string, Flaw>>;
type FlawName = keyof typeof FLAWS;

/** Where a real server answers otherwise than the strict one, which answers as AWS documents it. */
const DIFFERENCES: Readonly<Record<ServerName, Differences>> = {
  versitygw: {
    'an unknown key': '404 XAdminUserNotFound',
    'put, encrypted at rest': '200, says nothing of it',
    'the lifecycle of the bucket': '501 NotImplemented',
  },
  SeaweedFS: {
    'a header that is not signed': '403 SignatureDoesNotMatch',
    'a signature that is none': '400 MissingFields',
    'another bucket': '200',
    'another region': '200',
    'list in the order of bytes': 'o/B o/a/1 o/a- o/a.b',
    'no hash of the payload': '403 SignatureDoesNotMatch',
    'no time': '400 AccessDenied',
    'put a payload that is not the signed one': "200, 200 'hello'",
    'put in chunks, with a wrong checksum behind them': '400 IncompleteBody, 404 NoSuchKey',
    'put what is not there, under If-Match': '412 PreconditionFailed',
    'put, encrypted at rest': '500, says nothing of it',
  },
  'rclone serve s3': {
    '8 put one key at once, under If-None-Match: *': '8 won',
    'a clock that is 20 minutes behind': '400 AccessDenied',
    'a signature that is none': '400 MissingFields',
    'another region': '200',
    'get a stretch that ends behind the object': "200 bytes 3-4/5 'lo'",
    'get from the third byte on': "200 bytes 2-4/5 'llo'",
    'get something else, under If-Match': "200 'hello'",
    'get the first byte': "200 bytes 0-0/5 'h'",
    'get the last two bytes': "200 bytes 3-4/5 'lo'",
    'how a list dates objects': 'finer',
    'no hash of the payload': '403 AccessDenied',
    'no signature': '400 UnsupportedAlgorithm',
    'put a payload that is not the signed one': "200, 200 'hello'",
    'put in chunks, with a wrong checksum behind them': "200, 200 'hello'",
    'put over something else, under If-Match': "200, 200 'other'",
    'put what is not there, under If-Match': '200',
    'put what is there, under If-None-Match: *': "200, 200 'other'",
    'put with a wrong checksum': "200, 200 'hello'",
    'put, encrypted at rest': '200, says nothing of it',
    'the lifecycle of the bucket': '200',
  },
};

let strict: Answers = {};
beforeAll(async () => {
  await using server = await S3Server.open();
  strict = await answersOf(server);
});

for (const name of SERVER_NAMES) {
  describe(`${name} and the strict server`, () => {
    let answers: Answers = {};
    beforeAll(async () => {
      await using server = await startServer(name);
      answers = await answersOf(server);
    });

    test('answer every request alike but for what is listed', () => {
      expect(answers).toEqual({ ...strict, ...DIFFERENCES[name] });
    });
  });
}

test('a probe leaves nothing in the store', async () => {
  await using server = await S3Server.open();
  await answersOf(server);
  expect(server.keys()).toEqual([]);
});

async function answersOf(server: TestServer): Promise<Answers> {
  using client = openPlainClient(server);
  const findings = await probeServer({ ask: client.ask, prefix: 'probe-1/', signal });
  const answers = Object.fromEntries(findings.map(({ question, answer }) => [question, answer]));
  for (const [name, flaw] of Object.entries(FLAWS)) {
    using flawed = openPlainClient(server, flaw);
    answers[name] = codeOf(await flawed.ask({ method: 'PUT', key: 'flawed', body: Buffer.from('hello') }, signal));
    await client.ask({ method: 'DELETE', key: 'flawed' }, signal);
  }
  return answers;
}
