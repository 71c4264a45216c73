import { expect, test } from 'vitest';
import { parseListenAddress } from './listen-address.ts';

test.each([
  [':10464', undefined, 10_464],
  ['127.0.0.1:9000', '127.0.0.1', 9000],
  ['[::1]:9000', '::1', 9000],
  ['localhost:0', 'localhost', 0],
])('%s is an address to listen on', (text, host, port) => {
  expect(parseListenAddress(text)).toEqual({ host, port });
});

test.each(['', '10464', ':', ':70000', '::1:80', 'http://localhost:80', 'a b:80', ':-1'])('%j is none', (text) => {
  expect(() => parseListenAddress(text)).toThrow('no address such as :10464');
});
