import { EXIT_CODES, isFailure } from '../base/failure.ts';
import { oneLine } from '../base/one-line.ts';
import { type Look, paint } from './look.ts';

/** What the user reads of an error: one line, and one with what to try. A bug of ours is shown with its stack. */
export function renderError(error: unknown, look: Pick<Look, 'hasColour'>): string {
  const name = paint('warmstate:', 'bad', look);
  if (!isFailure(error)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return `${name} this is a bug: ${stack}\n`;
  }
  const hint = error.hint === undefined ? '' : `${paint('try:', 'quiet', look)} ${oneLine(error.hint)}\n`;
  return `${name} ${oneLine(error.message)}\n${hint}`;
}

export function exitCodeOf(error: unknown): number {
  return isFailure(error) ? EXIT_CODES[error.kind] : 1;
}
