#!/usr/bin/env -S MALLOC_ARENA_MAX=1 node --max-semi-space-size=2
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { constants, hostname } from 'node:os';
import { isatty } from 'node:tty';
import { setFlagsFromString } from 'node:v8';
import { systemClock, systemRandom } from './base/clock.ts';
import { systemErrorCode } from './base/failure.ts';
import { composeCommands } from './commands.ts';
import { invoke, type Output } from './invocation.ts';
import { COMPRESSION_MEMORY_BYTES, OBJECT_MEMORY_BYTES } from './transfer/memory.ts';

// The heap is collected when it has grown by half: left to V8, a restore of 4 GiB needs 10 MB more than one of 1 GiB.
setFlagsFromString('--heap-growing-percent=50');

// The composition root: the process outside, the commands inside.
const version = versionOf(new URL('../package.json', import.meta.url));
const ended = endingSignals();
const exitCode = await invoke(process.argv.slice(2), composeCommands(`warmstate ${version}`), {
  version,
  env: process.env,
  hostName: hostname(),
  readFile: (path) => readFile(path, 'utf8'),
  clock: systemClock,
  random: systemRandom,
  signal: ended.signal,
  endGracefully: ended.endGracefully,
  stdout: outputOf(process.stdout),
  stderr: outputOf(process.stderr),
  memoryOf: (concurrency) => ({
    concurrency,
    bytesPerObject: OBJECT_MEMORY_BYTES,
    compressionBytes: COMPRESSION_MEMORY_BYTES,
  }),
});
// The loop drains by itself: an exit that is forced has been seen to hang in the runtime's own threads.
process.exitCode = ended.exitCode() ?? exitCode;

/**
 * Aborts on the first SIGINT or SIGTERM. A second one ends the process as if nobody listened, unless the command ends
 * by itself: then only a second SIGINT, from somebody who waits at a terminal, hurries it.
 */
function endingSignals(): {
  readonly signal: AbortSignal;
  readonly endGracefully: () => AbortSignal;
  readonly exitCode: () => number | undefined;
} {
  const first = new AbortController();
  const hurried = new AbortController();
  let isGraceful = false;
  let exitCode: number | undefined;
  let interrupts = 0;
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    const listen = (): void => {
      interrupts += name === 'SIGINT' ? 1 : 0;
      const isFirst = !first.signal.aborted;
      if (isFirst) first.abort(new Error(`ended by ${name}`));
      if (!isGraceful || interrupts > 1) exitCode = 128 + constants.signals[name];
      if (isGraceful && interrupts > 1) hurried.abort(new Error(`ended by ${name}`));
      if (isFirst || isGraceful) return;
      process.removeListener(name, listen);
      process.kill(process.pid, name);
    };
    process.on(name, listen);
  }
  const endGracefully = (): AbortSignal => {
    isGraceful = true;
    return hurried.signal;
  };
  return { signal: first.signal, endGracefully, exitCode: () => exitCode };
}

function outputOf(stream: NodeJS.WriteStream & { readonly fd: number }): Output {
  // A reader that goes away (`| head`) has what it wanted.
  stream.on('error', (error) => {
    if (systemErrorCode(error) !== 'EPIPE') throw error;
  });
  const isTerminal = isatty(stream.fd);
  return {
    isTerminal,
    hasColour: isTerminal && (process.env['NO_COLOR'] ?? '') === '',
    columns: () => (isTerminal ? stream.columns : Number.POSITIVE_INFINITY),
    write: (text) => void stream.write(text),
  };
}

function versionOf(packageFile: URL): string {
  const content: unknown = JSON.parse(readFileSync(packageFile, 'utf8'));
  const hasVersion = typeof content === 'object' && content !== null && 'version' in content;
  return hasVersion ? String(content.version) : 'unknown';
}
