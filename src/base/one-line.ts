/**
 * What others wrote (a broker, a bucket, a disk) as a part of one line: without what breaks it, or moves the cursor of a
 * terminal.
 */
export function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, ' ').replaceAll(/\p{Cc}/gu, '\u{fffd}');
}
