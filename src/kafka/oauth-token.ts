import { fileURLToPath } from 'node:url';
import { Failure, messageOf } from '../base/failure.ts';

/** An identity provider answers at once, or not. */
const TOKEN_MS_MAX = 10_000;
/** Tokens travel in headers, and have some KiB. */
const TOKEN_BYTES_MAX = 256 * 1024;

/**
 * Where a token comes from: a file, or an identity provider that gives one for `clientId` and `clientSecret` (RFC 6749,
 * 4.4), as `sasl.oauthbearer.token.endpoint.url` says. Undefined for another kind of URL, or without these.
 */
export function tokenSource(
  endpoint: string,
  options: ReadonlyMap<string, string>,
  readFile: (path: string) => Promise<string>,
): ((signal: AbortSignal) => Promise<string>) | undefined {
  const url = URL.parse(endpoint);
  if (url?.protocol === 'file:') return () => readToken(fileURLToPath(url), readFile);
  const [id, secret] = [options.get('clientId'), options.get('clientSecret')];
  if (url === null || !/^https?:$/.test(url.protocol) || id === undefined || secret === undefined) return undefined;
  return (signal) => fetchToken(url, { id, secret, scope: options.get('scope') }, signal);
}

async function readToken(path: string, readFile: (path: string) => Promise<string>): Promise<string> {
  try {
    return (await readFile(path)).trim();
  } catch (cause) {
    throw new Failure('unavailable', `cannot read the token ${path}: ${messageOf(cause)}`, {
      cause,
      hint: 'compare sasl.oauthbearer.token.endpoint.url of --command-config with where the token is mounted',
    });
  }
}

interface TokenClient {
  readonly id: string;
  readonly secret: string;
  readonly scope: string | undefined;
}

async function fetchToken(url: URL, { id, secret, scope }: TokenClient, signal: AbortSignal): Promise<string> {
  const { status, text } = await post(url, {
    headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', ...(scope === undefined ? {} : { scope }) }),
    signal: AbortSignal.any([signal, AbortSignal.timeout(TOKEN_MS_MAX)]),
  });
  const token = status === 200 ? accessTokenIn(text) : undefined;
  if (token !== undefined) return token;
  const what = status === 200 ? 'answers without an access_token' : `answers ${status}`;
  throw new Failure('unavailable', `cannot get a token from ${url.origin}${url.pathname}: it ${what}`, {
    detail: 'denied',
    hint: 'compare clientId, clientSecret and scope in sasl.jaas.config of --command-config',
  });
}

async function post(url: URL, request: RequestInit): Promise<{ readonly status: number; readonly text: string }> {
  try {
    const response = await fetch(url, { ...request, method: 'POST' });
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of response.body ?? []) {
      sizeBytes += chunk.length;
      if (sizeBytes > TOKEN_BYTES_MAX) throw new Error(`it answers more than ${TOKEN_BYTES_MAX} bytes`);
      chunks.push(chunk);
    }
    return { status: response.status, text: Buffer.concat(chunks).toString() };
  } catch (cause) {
    // What went wrong in the network is the cause of what `fetch` throws.
    const why = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
    throw new Failure('unavailable', `cannot get a token from ${url.origin}${url.pathname}: ${messageOf(why)}`, {
      cause,
      hint: 'compare sasl.oauthbearer.token.endpoint.url of --command-config with the address of the identity provider',
    });
  }
}

function accessTokenIn(text: string): string | undefined {
  try {
    const answer: unknown = JSON.parse(text);
    if (typeof answer !== 'object' || answer === null || !('access_token' in answer)) return undefined;
    return typeof answer.access_token === 'string' ? answer.access_token : undefined;
  } catch {
    return undefined; // Some answer a page.
  }
}
