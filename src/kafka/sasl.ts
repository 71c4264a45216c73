import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { Failure } from '../base/failure.ts';

/** What a client of Kafka proves its identity with. */
export type Credentials =
  | { readonly mechanism: 'PLAIN' | ScramMechanism; readonly username: string; readonly password: string }
  | { readonly mechanism: 'OAUTHBEARER'; readonly token: (signal: AbortSignal) => Promise<string> };

export type ScramMechanism = 'SCRAM-SHA-256' | 'SCRAM-SHA-512';

/** One conversation: what is said first, and what is said to each answer; undefined: nothing is left to say. */
export interface Conversation {
  readonly first: Buffer;
  readonly reply: (answer: Buffer) => Promise<Buffer | undefined>;
}

/** `nonce`: letters and digits that nobody can guess. */
export async function beginConversation(
  credentials: Credentials,
  { nonce, signal }: { readonly nonce: string; readonly signal: AbortSignal },
): Promise<Conversation> {
  switch (credentials.mechanism) {
    case 'PLAIN': {
      const first = Buffer.from(`\0${credentials.username}\0${credentials.password}`); // RFC 4616
      return { first, reply: () => Promise.resolve(undefined) };
    }
    case 'OAUTHBEARER':
      return showToken(await credentials.token(signal));
    case 'SCRAM-SHA-256':
    case 'SCRAM-SHA-512':
      return beginScram({ ...credentials, mechanism: credentials.mechanism, nonce });
  }
}

/** RFC 7628: whoever does not like the token answers why, and refuses it once that was acknowledged (3.2.3). */
function showToken(token: string): Conversation {
  const acknowledgement = Buffer.from('\x01');
  let isOver = false;
  const reply = async (answer: Buffer): Promise<Buffer | undefined> => {
    if (isOver) throw new Failure('corrupt', `the broker goes on after it refused the token: ${answer.toString()}`);
    isOver = answer.length > 0;
    return isOver ? acknowledgement : undefined;
  };
  return { first: Buffer.from(`n,,\x01auth=Bearer ${token}\x01\x01`), reply };
}

/** Kafka's own least: whoever asks for fewer wants to guess the password from the proof. */
const ITERATIONS_MIN = 4096;
/** Whoever asks for more would keep us busy. */
const ITERATIONS_MAX = 1_000_000;

const deriveKey = promisify(pbkdf2);

/** RFC 5802: both sides prove that they know the password, and none shows it. */
function beginScram(of: {
  readonly mechanism: ScramMechanism;
  readonly username: string;
  readonly password: string;
  readonly nonce: string;
}): Conversation {
  const hash = of.mechanism === 'SCRAM-SHA-256' ? 'sha256' : 'sha512';
  const lengthBytes = hash === 'sha256' ? 32 : 64;
  const hmac = (key: Uint8Array, text: string): Buffer => createHmac(hash, key).update(text).digest();
  const name = of.username.replaceAll('=', '=3D').replaceAll(',', '=2C');
  const opening = `n=${name},r=${of.nonce}`;
  let signature: Buffer | undefined;

  const prove = async (challenge: string): Promise<Buffer> => {
    const { r: nonce = '', s: salt = '', i: count = '' } = fieldsOf(challenge);
    const iterations = Number(count);
    const isPossible = Number.isInteger(iterations) && iterations >= ITERATIONS_MIN && iterations <= ITERATIONS_MAX;
    if (!nonce.startsWith(of.nonce) || !isPossible)
      throw new Failure('corrupt', `the broker begins ${of.mechanism} with ${JSON.stringify(challenge)}`);
    // Kafka takes the letters of a password as they are (ScramFormatter.java), where the RFC normalises them.
    const salted = await deriveKey(of.password, Buffer.from(salt, 'base64'), iterations, lengthBytes, hash);
    const closing = `c=${Buffer.from('n,,').toString('base64')},r=${nonce}`;
    const whole = `${opening},${challenge},${closing}`;
    const clientKey = hmac(salted, 'Client Key');
    const clientSignature = hmac(createHash(hash).update(clientKey).digest(), whole);
    signature = hmac(hmac(salted, 'Server Key'), whole);
    const proof = clientKey.map((byte, index) => byte ^ (clientSignature[index] ?? 0));
    return Buffer.from(`${closing},p=${Buffer.from(proof).toString('base64')}`);
  };
  const check = (verdict: string, expected: Buffer): undefined => {
    const shown = Buffer.from(fieldsOf(verdict)['v'] ?? '', 'base64');
    if (shown.length !== expected.length || !timingSafeEqual(shown, expected))
      throw new Failure('corrupt', `the broker does not prove that it knows the password of ${of.username}`);
  };
  return {
    first: Buffer.from(`n,,${opening}`),
    reply: async (answer) => {
      if (signature === undefined) return prove(answer.toString());
      return check(answer.toString(), signature);
    },
  };
}

function fieldsOf(message: string): Readonly<Record<string, string>> {
  return Object.fromEntries(message.split(',').map((field) => [field.slice(0, 1), field.slice(2)]));
}
