/** A Java properties file as `java.util.Properties.load` reads it; a later line wins. */
export function parseJavaProperties(text: string): ReadonlyMap<string, string> {
  const properties = new Map<string, string>();
  for (const line of logicalLines(text)) {
    const [, key = '', value = ''] = /^((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)$/su.exec(line) ?? [];
    properties.set(unescape(key), unescape(value));
  }
  return properties;
}

/** Without comments and empty lines; a line that ends with an odd number of backslashes goes on in the next one. */
function logicalLines(text: string): readonly string[] {
  const lines: string[] = [];
  let open: string | undefined;
  for (const natural of text.split(/\r\n|\n|\r/)) {
    const line = natural.replace(/^[ \t\f]+/, '');
    if (open === undefined && (line === '' || /^[#!]/.test(line))) continue;
    const isContinued = (/\\*$/.exec(line)?.[0].length ?? 0) % 2 === 1;
    const whole: string = (open ?? '') + (isContinued ? line.slice(0, -1) : line);
    open = isContinued ? whole : undefined;
    if (!isContinued) lines.push(whole);
  }
  return open === undefined ? lines : [...lines, open];
}

const ESCAPED: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', f: '\f' };

function unescape(text: string): string {
  return text.replaceAll(
    /\\(?:u([0-9a-fA-F]{4})|(.))/gs,
    (_all, code: string | undefined, letter: string | undefined) => {
      if (code !== undefined) return String.fromCharCode(Number.parseInt(code, 16));
      return ESCAPED[letter ?? ''] ?? letter ?? '';
    },
  );
}
