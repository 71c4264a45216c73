import type { Decoder } from './setting-decoders.ts';

/**
 * One setting, said once. Its key in SETTINGS is its key in the settings file (`maxAge`); its flag (`--max-age`)
 * and its environment name (`WARMSTATE_MAX_AGE`) follow from that.
 */
export interface Setting<T> {
  /** What stands for the value in the help; undefined for a switch. */
  readonly placeholder: string | undefined;
  /** `-f` */
  readonly short?: string;
  /** From what the user wrote to what the program uses; its message completes "value …". */
  readonly decode: Decoder<T>;
  /** As a user would write it, or where it comes from when it depends on where the program runs. */
  readonly fallback?: string | ((surroundings: Surroundings) => Fallback | undefined);
  /** Variables of others that say the same: they count where none of our sources has a value, the first one first. */
  readonly alsoFrom?: readonly string[];
  /** The default in words, for commands that need a value and for those that do without. */
  readonly fallbackHelp?: { readonly required?: string; readonly optional?: string };
  /** Where it may be set, when not everywhere. */
  readonly sources?: readonly Source[];
  readonly help: string;
}

/** Where a value may come from, the first one that has it wins. */
export type Source = 'flag' | 'environment' | 'file';

/** What defaults may depend on. */
export interface Surroundings {
  readonly hostName: string;
  /** Of the pod's service account, where there is one. */
  readonly namespace: string | undefined;
}

export interface Fallback {
  readonly text: string;
  /** `host name` */
  readonly from?: string;
  /** Why the user should rather set it. */
  readonly warning?: string;
}
