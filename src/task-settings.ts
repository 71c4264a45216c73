import type { Setting } from './setting.ts';
import { quantity, taskSelection } from './setting-decoders.ts';

/** Which tasks a pod restores. */
export const TASK_SETTINGS = {
  tasks: {
    placeholder: 'TASKS',
    decode: taskSelection,
    fallback: 'auto',
    help: 'what to restore: auto, all, none, or a list such as 0_0,0_1,global',
  },
  replicas: {
    placeholder: 'NUMBER',
    decode: quantity((value) => {
      return /^\d{1,5}$/.test(value) ? Number(value) : undefined;
    }, 'is not a whole number from 1 to 99999'),
    fallbackHelp: { optional: 'the largest number of instances alive together within --max-age' },
    help: 'how many instances share the tasks: the fair share of --tasks auto',
  },
} as const satisfies Record<string, Setting<unknown>>;
