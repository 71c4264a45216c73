import { readFile } from 'node:fs/promises';
import { text as readText } from 'node:stream/consumers';
import { Failure, type FailureKind, systemErrorCode } from '../base/failure.ts';
import { cleanManifests, injectManifests, type Result } from '../inject/manifests.ts';
import { type Destination, formatDestination } from '../storage/open-store.ts';
import type { CommandContext } from './command.ts';

export interface InjectSettings {
  /** `-` is standard input. */
  readonly file: string;
  readonly image: string | undefined;
  readonly kubernetesVersion: { readonly major: number; readonly minor: number } | undefined;
  readonly remove: boolean;
  readonly check: boolean;
  readonly applicationId: string | undefined;
  readonly processingGuarantee: string | undefined;
  readonly stateDir: string | undefined;
  readonly destination: Destination | undefined;
  readonly stateDirLimit: number | undefined;
  /** In milliseconds. */
  readonly terminationGracePeriod: number | undefined;
}

/** Prints the manifests with warmstate in them, or without it, and tells what it found, assumed and doubts. */
export async function runInject(
  settings: InjectSettings,
  { emit, print }: Pick<CommandContext, 'emit' | 'print'>,
): Promise<number> {
  const text = await readManifests(settings.file);
  const { text: changedText, remarks, changed } = settings.remove ? cleanManifests(text) : addTo(text, settings);
  for (const { level, message } of remarks) {
    emit({ kind: 'notice', name: level === 'warn' ? 'manifest-doubtful' : 'manifest-understood', level, message });
  }
  if (!settings.check) print(changedText);
  else if (changed.length > 0) throw notUpToDate(changed, settings);
  return 0;
}

function addTo(text: string, settings: InjectSettings): Result {
  const { image, destination, terminationGracePeriod } = settings;
  if (image === undefined) {
    // A name that no registry has would keep every pod from starting.
    throw new Failure('invalid', 'cannot inject: --image is not set', {
      hint: '--image with the name that your cluster pulls warmstate by, or WARMSTATE_IMAGE',
    });
  }
  return injectManifests(text, {
    ...settings,
    image,
    destination: destination && formatDestination(destination),
    stateDirLimitBytes: settings.stateDirLimit,
    terminationGracePeriodSeconds: terminationGracePeriod && Math.ceil(terminationGracePeriod / 1000),
    shape: isBelow(settings.kubernetesVersion, NATIVE_SIDECARS) ? 'beside' : 'native',
  });
}

/** Sidecars among the init containers are on by default, and end in order, since this version. */
const NATIVE_SIDECARS = { major: 1, minor: 29 };

function isBelow(version: InjectSettings['kubernetesVersion'], { major, minor }: typeof NATIVE_SIDECARS): boolean {
  if (version === undefined) return false;
  return version.major < major || (version.major === major && version.minor < minor);
}

const READING: ReadonlyMap<string, { readonly kind: FailureKind; readonly why: string }> = new Map([
  ['ENOENT', { kind: 'missing', why: 'it does not exist' }],
  ['EISDIR', { kind: 'invalid', why: 'it is a directory' }],
]);

async function readManifests(file: string): Promise<string> {
  if (file === '-') return await readText(process.stdin);
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const code = systemErrorCode(cause) ?? '';
    const { kind, why } = READING.get(code) ?? { kind: 'unavailable', why: code };
    throw new Failure(kind, `cannot read the manifests ${file}: ${why}`, { cause });
  }
}

function notUpToDate(changed: readonly string[], { remove, file }: InjectSettings): Failure {
  const what = remove ? 'holds warmstate' : 'is not as inject makes it';
  const hint = `warmstate inject -f ${file}${remove ? ' --remove' : ''} with the same flags, without --check`;
  return new Failure('invalid', `${changed.join(', ')} ${what}`, { hint });
}
