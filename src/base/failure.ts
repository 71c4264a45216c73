/** What a failure means for the caller. A kind exists only because somebody reacts differently to it. */
export type FailureKind =
  /** Wrong command line, setting or document from outside: repeat only after a change. */
  | 'invalid'
  /** What was named does not exist. */
  | 'missing'
  /** Somebody else holds it; waiting or asking them may help. */
  | 'conflict'
  /** It changed while it was read: read it again. */
  | 'moved'
  /** Storage, network, disk or permission: retried with back-off. */
  | 'unavailable'
  /** Bytes are wrong: never retried, published or installed. */
  | 'corrupt'
  /** Out of time. */
  | 'deadline';

/** The process exit code of each kind. 1 is a bug of ours, which is no Failure. */
export const EXIT_CODES: Readonly<Record<FailureKind, number>> = {
  invalid: 2,
  missing: 3,
  conflict: 4,
  moved: 5,
  unavailable: 6,
  corrupt: 7,
  deadline: 8,
};

/** What an `unavailable` failure was, where a command tells its user so in a word of its own. */
export type FailureDetail = 'denied' | 'no_space';

/**
 * The only error this program throws on purpose. The message says what could not be done, to what, with
 * the values, in lower case and without a full stop; `hint` says what to try.
 */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly kind: FailureKind;
  readonly hint: string | undefined;
  readonly detail: FailureDetail | undefined;

  constructor(
    kind: FailureKind,
    message: string,
    options: { readonly cause?: unknown; readonly hint?: string; readonly detail?: FailureDetail } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.kind = kind;
    this.hint = options.hint;
    this.detail = options.detail;
  }
}

export function isFailure(error: unknown, ...kinds: readonly FailureKind[]): error is Failure {
  return error instanceof Failure && (kinds.length === 0 || kinds.includes(error.kind));
}

/** The `code` of a Node system error such as ENOENT, or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
