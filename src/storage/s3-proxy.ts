/** The variables by which a proxy is named, as curl and Node's own agents read them. */
export interface ProxyVariables {
  readonly HTTP_PROXY?: string | undefined;
  readonly http_proxy?: string | undefined;
  readonly HTTPS_PROXY?: string | undefined;
  readonly https_proxy?: string | undefined;
  readonly NO_PROXY?: string | undefined;
  readonly no_proxy?: string | undefined;
}

/**
 * Whether requests to a server may go through a proxy. In doubt they may: Node's agent decides in the end, and what
 * goes over it needlessly is only slower.
 */
export function isProxied(
  server: { readonly isSecure: boolean; readonly host: string },
  proxies: ProxyVariables,
): boolean {
  const proxy = server.isSecure
    ? (proxies.https_proxy ?? proxies.HTTPS_PROXY)
    : (proxies.http_proxy ?? proxies.HTTP_PROXY);
  if (proxy === undefined || proxy === '') return false;
  const spared = (proxies.no_proxy ?? proxies.NO_PROXY ?? '').split(',').map((entry) => entry.trim().toLowerCase());
  const host = server.host.toLowerCase();
  return !spared.some((entry) => entry === '*' || entry === host || (entry.startsWith('.') && host.endsWith(entry)));
}
