import { fileURLToPath } from 'node:url';
import { Failure } from '../base/failure.ts';

/** An identity provider answers at once, or not. */
const TOKEN_MS_MAX = 10_000;

/**
 * Where a token comes from: a file, or an identity provider that gives one for `clientId` and `clientSecret` (RFC 6749,
 * 4.4), as `sasl.oauthbearer.token.endpoint.url` says. Undefined for another kind of URL, or without these.
 */
export function tokenSource(
  endpoint: string,
  options: ReadonlyMap<string, string>,
  readFile: (path: string) => Promise<string>,
): (() => Promise<string>) | undefined {
  const url = URL.parse(endpoint);
  if (url?.protocol === 'file:') return async () => (await readFile(fileURLToPath(url))).trim();
  const [id, secret] = [options.get('clientId'), options.get('clientSecret')];
  if (url === null || !/^https?:$/.test(url.protocol) || id === undefined || secret === undefined) return undefined;
  return () => fetchToken(url, { id, secret, scope: options.get('scope') });
}

async function fetchToken(
  url: URL,
  client: { readonly id: string; readonly secret: string; readonly scope: string | undefined },
): Promise<string> {
  const { id, secret, scope } = client;
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', ...(scope === undefined ? {} : { scope }) }),
    signal: AbortSignal.timeout(TOKEN_MS_MAX),
  });
  const answer: unknown = await response.json();
  const token =
    typeof answer === 'object' && answer !== null && 'access_token' in answer ? answer.access_token : undefined;
  if (response.ok && typeof token === 'string') return token;
  throw new Failure(
    'unavailable',
    `cannot get a token from ${url.origin}${url.pathname}: it answers ${response.status}`,
    {
      detail: 'denied',
      hint: 'compare clientId, clientSecret and scope in sasl.jaas.config of --command-config',
    },
  );
}
