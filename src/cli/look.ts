import { styleText } from 'node:util';

/** What the place where text is printed can show. */
export interface Look {
  /** Lines are wrapped to this width; Infinity where nobody looks at them. */
  readonly columns: number;
  readonly hasColour: boolean;
  /** Ages are counted up to this moment. */
  readonly nowMs: number;
}

export type Tone = 'good' | 'warning' | 'bad' | 'quiet' | 'heading';

const FORMATS = { good: 'green', warning: 'yellow', bad: 'red', quiet: 'dim', heading: 'bold' } as const;

export function paint(text: string, tone: Tone | undefined, look: Pick<Look, 'hasColour'>): string {
  return look.hasColour && tone !== undefined ? styleText(FORMATS[tone], text, { validateStream: false }) : text;
}
