/** Who sends a request, as far as the connection and the headers say. */
export interface RequestOrigin {
  readonly remoteAddress: string | undefined;
  /** Our end of the connection. */
  readonly localAddress: string | undefined;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/**
 * Why a request does not count as one from this machine; undefined where it does. Headers can be forged, so they can
 * only speak against it. The whole of 127/8 would be too much: a mesh delivers what came from elsewhere from 127.0.0.6.
 */
export function refuseForeign({ remoteAddress, localAddress, headers }: RequestOrigin): string | undefined {
  if (!isLoopback(remoteAddress) || !isLoopback(localAddress)) return 'it is answered over the loopback address only';
  const host = headers['host'];
  if (typeof host !== 'string' || !LOOPBACK_HOST.test(host)) return 'its Host is no loopback name or address';
  const forwarded = FORWARDING_HEADERS.find((name) => headers[name] !== undefined);
  if (forwarded !== undefined) return `a proxy passed it on: it has ${forwarded}`;
  if (headers['origin'] !== undefined) return 'a page in a browser sent it';
  return undefined;
}

const LOOPBACK_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;
const FORWARDING_HEADERS = [
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
  'x-envoy-external-address',
  'via',
];

function isLoopback(address: string | undefined): boolean {
  return address === '127.0.0.1' || address === '::1' || address === '::ffff:127.0.0.1';
}
