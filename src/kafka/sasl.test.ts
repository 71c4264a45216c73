import { describe, expect, test } from 'vitest';
import { beginConversation } from './sasl.ts';

const text = (bytes: Buffer | undefined): string | undefined => bytes?.toString();

test('PLAIN says name and password at once, and has nothing more to say', async () => {
  const { first, reply } = await beginConversation(
    { mechanism: 'PLAIN', username: 'tim', password: 'tanstaaftanstaaf' },
    '',
  );
  expect(text(first)).toBe('\0tim\0tanstaaftanstaaf');
  expect(reply(Buffer.alloc(0))).toBeUndefined();
});

test('OAUTHBEARER shows its token as RFC 7628 has it', async () => {
  const token = (): Promise<string> => Promise.resolve('vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==');
  const { first } = await beginConversation({ mechanism: 'OAUTHBEARER', token }, '');
  expect(text(first)).toBe('n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01');
});

describe('SCRAM', () => {
  // RFC 7677, 3: the example of a conversation.
  const credentials = { mechanism: 'SCRAM-SHA-256', username: 'user', password: 'pencil' } as const;
  const nonce = 'rOprNGfwEbeRWgbNEkqO';
  const challenge = 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096';
  const verdict = 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=';

  test('proves what the RFC proves, and believes the signature of the RFC', async () => {
    const { first, reply } = await beginConversation(credentials, nonce);
    expect(text(first)).toBe('n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
    expect(text(reply(Buffer.from(challenge)))).toBe(
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    );
    expect(reply(Buffer.from(verdict))).toBeUndefined();
  });

  test('a broker that does not know the password is not believed', async () => {
    const { reply } = await beginConversation(credentials, nonce);
    reply(Buffer.from(challenge));
    const other = `v=${Buffer.alloc(32, 1).toString('base64')}`;
    expect(() => reply(Buffer.from(other))).toThrow('the broker does not prove that it knows the password of user');
    expect(() => reply(Buffer.from('e=other-error'))).toThrow('does not prove');
  });

  test.for([
    { what: 'the nonce of another conversation', challenge: 'r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096' },
    { what: 'no rounds', challenge: `r=${nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0` },
    { what: 'rounds without end', challenge: `r=${nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001` },
  ])('$what is refused', async ({ challenge: strange }) => {
    const { reply } = await beginConversation(credentials, nonce);
    expect(() => reply(Buffer.from(strange))).toThrow('the broker begins SCRAM-SHA-256 with');
  });

  test('a comma and an equals sign in a name are escaped', async () => {
    const { first } = await beginConversation({ ...credentials, username: 'a=b,c' }, nonce);
    expect(text(first)).toBe(`n,,n=a=3Db=2Cc,r=${nonce}`);
  });
});
