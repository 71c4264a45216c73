import { expect, test } from 'vitest';
import { findHarmfulRules } from './lifecycle.ts';

function rulesOf(...rules: readonly string[]): string {
  const content = rules.map((rule) => `<Rule>${rule}</Rule>`).join('\n');
  return `<?xml version="1.0"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</LifecycleConfiguration>`;
}

const EXPIRES = '<Status>Enabled</Status><Expiration><Days>30</Days></Expiration>';

test.each([
  ['', '<ID>all</ID><Filter/>', 'all'],
  ['warm/', '<ID>whole bucket</ID><Filter><Prefix></Prefix></Filter>', 'whole bucket'],
  ['warm/', '<ID>ours</ID><Filter><Prefix>warm/</Prefix></Filter>', 'ours'],
  ['warm/', '<ID>above us</ID><Prefix>wa</Prefix>', 'above us'],
  ['warm/', '<ID>below us</ID><Filter><And><Prefix>warm/orders</Prefix></And></Filter>', 'below us'],
  ['a&b/', '<Filter><Prefix>a&amp;b/</Prefix></Filter>', 'for a&b/'],
  ['aéb/', '<Filter><Prefix>a&#xe9;b/</Prefix></Filter>', 'for aéb/'],
])('objects below %j are removed under %s', (prefix, rule, name) => {
  const found = findHarmfulRules(rulesOf(`${rule}${EXPIRES}`), prefix);
  expect(found.map(({ name, does, when }) => [name, does, when])).toEqual([
    [name, 'removes', '30 days after they were stored'],
  ]);
});

test('a date is told as one, and archives are harmful too', () => {
  const dated = '<ID>a</ID><Status>Enabled</Status><Expiration><Date>2027-01-01T00:00:00.000Z</Date></Expiration>';
  const archived =
    '<ID>b</ID><Status>Enabled</Status><Transition><Days>0</Days><StorageClass>GLACIER</StorageClass></Transition>' +
    '<Transition><Days>90</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>';
  expect(findHarmfulRules(rulesOf(dated, archived), 'warm/')).toEqual([
    { name: 'a', does: 'removes', when: 'on 2027-01-01', prefix: '' },
    { name: 'b', does: 'archives', when: '0 days after they were stored', prefix: '' },
    { name: 'b', does: 'archives', when: '90 days after they were stored', prefix: '' },
  ]);
});

test.each([
  ['another prefix', `<Filter><Prefix>logs/</Prefix></Filter>${EXPIRES}`],
  ['a rule that is off', '<Filter/><Status>Disabled</Status><Expiration><Days>30</Days></Expiration>'],
  ['tags', `<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>${EXPIRES}`],
  [
    'old versions',
    '<Status>Enabled</Status><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>',
  ],
  [
    'delete markers',
    '<Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>',
  ],
  [
    'parts of uploads that were given up',
    '<Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>',
  ],
  [
    'a cheaper class that can be read at once',
    '<Status>Enabled</Status><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>',
  ],
])('%s do no harm', (_, rule) => {
  expect(findHarmfulRules(rulesOf(rule), 'warm/')).toEqual([]);
});

test('what is no list of rules has none', () => {
  expect(findHarmfulRules('<Error><Code>NoSuchLifecycleConfiguration</Code></Error>', '')).toEqual([]);
});
