import type { Clock, Random } from '../base/clock.ts';
import type { Emit } from '../events/event.ts';
import type { ProxyVariables } from '../storage/s3-proxy.ts';
import type { Look } from './look.ts';

/** What every command is given besides its settings. */
export interface CommandContext {
  readonly operands: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly proxies: ProxyVariables;
  readonly emit: Emit;
  /** Aborts when the process is told to end. */
  readonly signal: AbortSignal;
  /**
   * For a command that ends well by itself when it is told to: then the exit code is its own, a second SIGTERM changes
   * nothing, and what is returned aborts at a second SIGINT.
   */
  readonly endGracefully: () => AbortSignal;
  /** Of standard output. */
  readonly look: () => Look;
  /** Prints an error to standard error; a command that goes on after one says it so. */
  readonly report: (error: unknown) => void;
  /** To standard output. */
  readonly print: (text: string) => void;
}
