import { expect, test } from 'vitest';
import { configJson, renderConfig, type ShownSetting } from './config.ts';

const memory = { concurrency: 8, bytesPerObject: 2 ** 21, compressionBytes: 48 * 2 ** 20 };
const base = { environment: undefined, from: undefined, problem: undefined };

const settings: readonly ShownSetting[] = [
  { ...base, key: 'stateDir', flag: '--state-dir', text: '/state', source: 'flag' },
  { ...base, key: 'instance', flag: '--instance', text: 'orders-0', source: 'default', from: 'host name' },
  { ...base, key: 'lineage', flag: '--lineage', text: 'prod', source: 'environment', from: 'WARMSTATE_LINEAGE' },
  {
    ...base,
    key: 'maxAge',
    flag: '--max-age',
    text: 'soon',
    source: 'file',
    from: '/w.yaml',
    problem: 'cannot use it',
  },
  { ...base, key: 'maxBytes', flag: '--max-bytes', text: undefined, source: 'default' },
  { ...base, key: 'tasks', flag: '--tasks', text: 'auto', source: 'default' },
  { ...base, key: 'onFailure', flag: '--on-failure', text: 'fail', source: 'flag', from: '--to' },
];

test('the settings are shown with where they come from, and what they mean in memory', () => {
  expect(renderConfig({ settings, memory }, { columns: 80, hasColour: false, nowMs: 0 })).toBe(`\
SETTING       VALUE     FROM
--state-dir   /state    command line
--instance    orders-0  default, the host name
--lineage     prod      WARMSTATE_LINEAGE
--max-age     soon      /w.yaml
--max-bytes   -         not set
--tasks       auto      default
--on-failure  fail      command line, implied by --to

buffers: 64 MiB at most (8 objects in flight × 2.0 MiB + 48 MiB for compression)
`);
});

test('the JSON of the settings says the same', () => {
  expect(configJson({ settings: settings.slice(2, 5), memory })).toEqual({
    settings: [
      {
        name: 'lineage',
        flag: '--lineage',
        environment: null,
        value: 'prod',
        origin: 'environment',
        from: 'WARMSTATE_LINEAGE',
        problem: null,
      },
      {
        name: 'maxAge',
        flag: '--max-age',
        environment: null,
        value: 'soon',
        origin: 'file',
        from: '/w.yaml',
        problem: 'cannot use it',
      },
      {
        name: 'maxBytes',
        flag: '--max-bytes',
        environment: null,
        value: null,
        origin: 'default',
        from: null,
        problem: null,
      },
    ],
    bufferBytesMax: 64 * 2 ** 20,
  });
});
