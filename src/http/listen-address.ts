import { Failure } from '../base/failure.ts';

/** Where to listen, as in `--listen`. */
export interface ListenAddress {
  /** A name or an address without brackets; undefined for every address of both families. */
  readonly host: string | undefined;
  /** 0: any that is free. */
  readonly port: number;
}

/** `:10464`, `127.0.0.1:10464`, `[::1]:10464`. Failure `invalid`, whose message completes "value …". */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:\[(?<address>[\da-fA-F:.]+)\]|(?<name>[\w.-]*)):(?<port>\d{1,5})$/.exec(text);
  const { address, name, port = '' } = match?.groups ?? {};
  if (match === null || Number(port) > 65_535) {
    throw new Failure('invalid', 'no address such as :10464, 127.0.0.1:10464 or [::1]:10464');
  }
  const host = address ?? name;
  return { host: host === '' ? undefined : host, port: Number(port) };
}
