import type { Setting } from './setting.ts';
import { choice, mapped, matching, path, Rejected } from './setting-decoders.ts';

interface KubernetesVersion {
  readonly major: number;
  readonly minor: number;
}

/** As `kubectl version` prints it, `v1.28.3`, or less of it. */
function kubernetesVersion(value: string): KubernetesVersion | Rejected {
  const match = /^v?(\d+)\.(\d+)(?:[.+-].*)?$/.exec(value);
  if (match === null) return new Rejected('is not a version such as 1.28');
  return { major: Number(match[1]), minor: Number(match[2]) };
}

/** What only `inject` is told. */
export const INJECT_SETTINGS = {
  file: {
    placeholder: 'FILE',
    short: '-f',
    decode: path,
    sources: ['flag'],
    help: 'the manifests; - for standard input',
  },
  image: {
    placeholder: 'IMAGE',
    decode: matching(/^[\w.:/@-]+$/, 'is not the name of an image'),
    help: 'of warmstate, where the cluster can pull it; without it only --remove works',
  },
  kubernetesVersion: {
    placeholder: 'VERSION',
    decode: kubernetesVersion,
    fallbackHelp: { optional: '1.29 or newer' },
    help: 'below 1.29 there are no native sidecars, and warmstate becomes one more container',
  },
  remove: {
    placeholder: undefined,
    decode: mapped(choice('true', 'false'), (word) => word === 'true'),
    fallback: 'false',
    sources: ['flag'],
    help: 'take out what was injected',
  },
  check: {
    placeholder: undefined,
    decode: mapped(choice('true', 'false'), (word) => word === 'true'),
    fallback: 'false',
    sources: ['flag'],
    help: 'print nothing, and exit 2 where something would change',
  },
} as const satisfies Record<string, Setting<unknown>>;

/** In the order of the table; `file` is required. */
export const INJECT_SETTING_KEYS = ['image', 'kubernetesVersion', 'remove', 'check'] as const;
