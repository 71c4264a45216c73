/** A request that is answered with an error, as S3 names them. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: number;
  readonly code: string;
  /** Of the answer, beside the usual ones. */
  readonly headers: Readonly<Record<string, string>>;
  /** Elements of the answer's document, beside the usual ones. */
  readonly elements: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    more: {
      readonly message?: string;
      readonly headers?: Readonly<Record<string, string>>;
      readonly elements?: Readonly<Record<string, string>>;
    } = {},
  ) {
    super(more.message ?? code);
    this.status = status;
    this.code = code;
    this.headers = more.headers ?? {};
    this.elements = more.elements ?? {};
  }
}
