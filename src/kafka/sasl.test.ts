import { describe, expect, test } from 'vitest';
import { beginConversation } from './sasl.ts';

const { signal } = new AbortController();
const text = (bytes: Buffer | undefined): string | undefined => bytes?.toString();

test('PLAIN says name and password at once, and has nothing more to say', async () => {
  const { first, reply } = await beginConversation(
    { mechanism: 'PLAIN', username: 'tim', password: 'tanstaaftanstaaf' },
    { nonce: '', signal },
  );
  expect(text(first)).toBe('\0tim\0tanstaaftanstaaf');
  expect(await reply(Buffer.alloc(0))).toBeUndefined();
});

test('OAUTHBEARER shows its token as RFC 7628 has it', async () => {
  const token = (): Promise<string> => Promise.resolve('vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==');
  const { first } = await beginConversation({ mechanism: 'OAUTHBEARER', token }, { nonce: '', signal });
  expect(text(first)).toBe('n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01');
});

test('a broker that does not like the token says why, and is told that this was heard, once', async () => {
  const { reply } = await beginConversation(
    { mechanism: 'OAUTHBEARER', token: () => Promise.resolve('abc') },
    { nonce: '', signal },
  );
  const why = Buffer.from('{"status":"invalid_token"}');
  expect(text(await reply(why))).toBe('\x01');
  await expect(reply(why)).rejects.toThrow('the broker goes on after it refused the token: {"status":"invalid_token"}');
});

describe('SCRAM', () => {
  // RFC 7677, 3: the example of a conversation.
  const credentials = { mechanism: 'SCRAM-SHA-256', username: 'user', password: 'pencil' } as const;
  const nonce = 'rOprNGfwEbeRWgbNEkqO';
  const challenge = 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096';
  const verdict = 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=';

  test('proves what the RFC proves, and believes the signature of the RFC', async () => {
    const { first, reply } = await beginConversation(credentials, { nonce, signal });
    expect(text(first)).toBe('n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
    expect(text(await reply(Buffer.from(challenge)))).toBe(
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    );
    expect(await reply(Buffer.from(verdict))).toBeUndefined();
  });

  test('a broker that does not know the password is not believed', async () => {
    const { reply } = await beginConversation(credentials, { nonce, signal });
    await reply(Buffer.from(challenge));
    const other = `v=${Buffer.alloc(32, 1).toString('base64')}`;
    await expect(reply(Buffer.from(other))).rejects.toThrow(
      'the broker does not prove that it knows the password of user',
    );
    await expect(reply(Buffer.from('e=other-error'))).rejects.toThrow('does not prove');
  });

  test.for([
    { what: 'the nonce of another conversation', challenge: 'r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096' },
    { what: 'no rounds', challenge: `r=${nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0` },
    { what: 'fewer rounds than Kafka has', challenge: `r=${nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095` },
    { what: 'half a round', challenge: `r=${nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096.5` },
    { what: 'rounds without end', challenge: `r=${nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001` },
  ])('$what is refused', async ({ challenge: strange }) => {
    const { reply } = await beginConversation(credentials, { nonce, signal });
    await expect(reply(Buffer.from(strange))).rejects.toThrow('the broker begins SCRAM-SHA-256 with');
  });

  test('a comma and an equals sign in a name are escaped', async () => {
    const { first } = await beginConversation({ ...credentials, username: 'a=b,c' }, { nonce, signal });
    expect(text(first)).toBe(`n,,n=a=3Db=2Cc,r=${nonce}`);
  });

  test('the letters of a password are taken as they are, as Kafka does', async () => {
    const proofs = ['ﬁ', 'fi'].map(async (password) => {
      const { reply } = await beginConversation({ ...credentials, password }, { nonce, signal });
      return text(await reply(Buffer.from(challenge)));
    });
    const [ligature, letters] = await Promise.all(proofs);
    expect(ligature).not.toBe(letters);
  });
});
