import { describe, expect, test } from 'vitest';
import { parseJavaProperties } from './java-properties.ts';

describe('a properties file', () => {
  test.for([
    { text: 'a=b', is: { a: 'b' }, what: 'an equals sign separates' },
    { text: 'a : b\nc d', is: { a: 'b', c: 'd' }, what: 'so do a colon and a space' },
    {
      text: '# a=b\n  ! c=d\n\n e = f ',
      is: { e: 'f ' },
      what: 'comments and empty lines are nothing, space at the end is',
    },
    { text: 'a=b\\\n    c\\\n  d\ne=f', is: { a: 'bcd', e: 'f' }, what: 'a backslash at the end goes on' },
    { text: 'a=b\\\\\nc=d', is: { a: 'b\\', c: 'd' }, what: 'an escaped one does not' },
    { text: 'a\\ b\\==c\\tA\\:', is: { 'a b=': 'c\tA:' }, what: 'escapes are undone' },
    { text: 'a=1\na=2\nb', is: { a: '2', b: '' }, what: 'the last one wins, and a key may stand alone' },
    { text: 'a=b\\', is: { a: 'b' }, what: 'the file may end in a continued line' },
    {
      text: 'sasl.jaas.config=org.Plain required \\\r\n  username="x" \\\r\n  password="y=#";\r\n',
      is: { 'sasl.jaas.config': 'org.Plain required username="x" password="y=#";' },
      what: 'a JAAS entry over several lines of Windows',
    },
  ])('$what', ({ text, is }) => {
    expect(Object.fromEntries(parseJavaProperties(text))).toEqual(is);
  });
});
