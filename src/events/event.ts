/** What the program tells the world. Domain code emits facts; log lines, metrics and progress bars listen. */
export type Event =
  /** Bytes of work that lie ahead became known; adds to what was announced before. */
  | { readonly kind: 'work-announced'; readonly work: Work; readonly bytes: number }
  /** Bytes of work done, as read from or written to local disk (unpacked). */
  | { readonly kind: 'work-done'; readonly work: Work; readonly bytes: number }
  | { readonly kind: 'work-finished'; readonly work: Work }
  /** One attempt at a consistent capture failed and is made again. */
  | { readonly kind: 'capture-retried'; readonly task: string; readonly reason: string }
  | { readonly kind: 'object-uploaded'; readonly key: string; readonly storedBytes: number }
  | {
      readonly kind: 'notice';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly facts?: Facts;
    };

export type Work = 'upload' | 'download' | 'verify';

export type Facts = Readonly<Record<string, string | number | boolean>>;

export type Emit = (event: Event) => void;
